"""A worker process of the local engine: one JSON job per line on standard input, one JSON answer per line back.

A separate program instead of `multiprocessing`, so that user scripts need no `__main__` guard. Every worker computes
with one thread, whatever their number, so that results do not depend on it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve jobs until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ[name] = "1"
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # output of libraries does not mix with answers
    for line in sys.stdin:
        job = json.loads(line)
        try:
            answer = _serve(job)
        except BaseException as error:
            from simulator.core.errors import CsilinkError

            user_error = isinstance(error, CsilinkError)
            answer = {"error": str(error), "user": user_error, "trace": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")


def _serve(job: dict[str, Any]) -> dict[str, str]:
    from benchmarks.seal import Identity, sealed
    from simulator.core.durable import write_bytes

    identity = Identity(job["point"], int(job["first"]), int(job["drops"]))
    data = compute(job["scenario"], identity.first, identity.drops, job["content"])
    write_bytes(Path(job["path"]), sealed(data, identity))
    return {"done": job["path"]}


def compute(scenario_text: str, first: int, drops: int, content: Mapping[str, str]) -> bytes:
    """:func:`~benchmarks.chunk.run_chunk`, whose inputs must be unchanged since the start of the run.

    Raises:
        StoreError: a file or plug-in has another content, here or by now.
    """
    from benchmarks.chunk import run_chunk
    from simulator.core.content import expecting

    _forget_others(scenario_text, json.dumps(dict(content), sort_keys=True))
    with expecting(content):
        return run_chunk(scenario_text, first, drops)


@lru_cache(maxsize=2)
def _forget_others(scenario_text: str, content: str) -> None:
    """A scenario whose files changed since this process built its link is built anew."""
    from benchmarks.chunk import _prepared

    _prepared.cache_clear()


if __name__ == "__main__":
    main()
