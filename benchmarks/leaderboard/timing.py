"""Time of a report at the UE and at the gNB, in one thread of a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from simulator.core.errors import StoreError

_DROPS = 8  # that pass through the link together
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


def report_times(scenario: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Milliseconds per report of every scheme, ``label -> (encode, decode)``.

    Up to eight drops pass through the link twice; the second pass counts. Encoding is what the scheme computes from its
    channel estimate, decoding what it computes from the bits; estimation, prediction and beamforming of ports do not
    count.

    Args:
        scenario: plain data.

    Raises:
        StoreError: the process failed; the message ends with its last line.
    """
    environment = {
        **os.environ,
        **dict.fromkeys(_THREADS, "1"),
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.leaderboard.timing"],
        input=json.dumps(scenario, default=str),
        capture_output=True,
        text=True,
        env={**environment, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        return {label: tuple(pair) for label, pair in json.loads(done.stdout.splitlines()[-1]).items()}
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise StoreError(f"times of the reports: the process ended ({last})") from None


class _Stopwatch:
    """Adds up the time of calls [s], and the reports that they were about."""

    def __init__(self) -> None:
        self.seconds, self.reports = 0.0, 0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(first: Any, *rest: Any) -> Any:
            start = time.perf_counter()
            found = call(first, *rest)
            self.seconds += time.perf_counter() - start
            self.reports += first.num_bits.size if hasattr(first, "num_bits") else first.error_var.size
            return found

        return timed

    @property
    def milliseconds(self) -> float:
        """Of one report."""
        return round(1e3 * self.seconds / max(self.reports, 1), 4)


def measured(scenario: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """As :func:`report_times`, in this process."""
    from benchmarks.build import ChannelDraw, build_link
    from benchmarks.memory import block_drops
    from scenarios.schema import parse_scenario
    from scenarios.sweep import Point

    parsed = parse_scenario(scenario)
    draw, link, drops = ChannelDraw(Point(parsed, {})), build_link(parsed), min(block_drops(parsed.geometry), _DROPS)
    h = draw.block(0, drops)
    uplink = draw.uplink(0, h)
    watches: dict[str, tuple[_Stopwatch, _Stopwatch]] = {}
    for label, reporting in link.reporting.items():
        ue, gnb = watches[label] = _Stopwatch(), _Stopwatch()
        for watch, end, names in (
            (ue, reporting.scheme, ("report", "report_after")),
            (gnb, reporting.gnb, ("reconstruct", "reconstruct_after")),
        ):
            for name in names:
                if hasattr(end, name):
                    setattr(end, name, watch.around(getattr(end, name)))
    for _ in range(2):
        for pair in watches.values():
            for watch in pair:
                watch.seconds, watch.reports = 0.0, 0
        for _ in link.run(h, seed=1, uplink=uplink):
            pass
    return {label: (ue.milliseconds, gnb.milliseconds) for label, (ue, gnb) in watches.items()}


if __name__ == "__main__":
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    print(json.dumps(measured(json.loads(sys.stdin.read()))), file=out)
