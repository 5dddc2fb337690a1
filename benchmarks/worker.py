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
from pathlib import Path


def main() -> None:
    """Serve jobs until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ[name] = "1"
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print does not mix with answers
    for line in sys.stdin:
        job = json.loads(line)
        try:
            answer = _serve(job)
        except BaseException as error:
            from simulator.core.errors import CsilinkError

            user_error = isinstance(error, CsilinkError)
            answer = {"error": str(error), "user": user_error, "trace": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")


def _serve(job: dict[str, str]) -> dict[str, str]:
    from benchmarks.chunk import run_chunk
    from benchmarks.store import write_bytes

    write_bytes(Path(job["path"]), run_chunk(job["scenario"], int(job["first"]), int(job["drops"])))
    return {"done": job["path"]}


if __name__ == "__main__":
    main()
