"""Time that schemes take for a report at the UE and at the gNB, measured while the link runs.

It is the time of the processor, in all threads of the process: other work on the machine does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from simulator.reporting.reporting import Reporting

_UE, _GNB = ("report", "report_after"), ("reconstruct", "reconstruct_after")


@contextmanager
def timed(reporting: Mapping[str, Reporting]) -> Iterator[Callable[[], np.ndarray]]:
    """Time the schemes of a link while it runs.

    Encoding is what a scheme computes from its channel estimate, decoding what it computes from the bits; estimation,
    prediction, and beamforming of ports do not count.

    Yields:
        function that returns milliseconds per report, float32 ``[scheme, 2]`` (UE, gNB), since it was called last.
    """
    ends = [(end, names) for each in reporting.values() for end, names in ((each.scheme, _UE), (each.gnb, _GNB))]
    watches = [_Stopwatch() for _ in ends]
    for (end, names), watch in zip(ends, watches, strict=True):
        for name in names:
            setattr(end, name, watch.around(getattr(end, name)))

    def taken() -> np.ndarray:
        return np.array([watch.taken() for watch in watches], np.float32).reshape(-1, 2)

    try:
        yield taken
    finally:
        for end, names in ends:
            for name in names:
                delattr(end, name)


class _Stopwatch:
    """Adds up the time of calls [s], and the reports that they were about."""

    def __init__(self) -> None:
        self.seconds, self.reports = 0.0, 0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, timed; its first argument is a CsiEstimate or a CsiReport."""

        def of_reports(first: Any, *rest: Any) -> Any:
            start = time.process_time()
            found = call(first, *rest)
            self.seconds += time.process_time() - start
            self.reports += int(np.size(first.num_bits if hasattr(first, "num_bits") else first.error_var))
            return found

        return of_reports

    def taken(self) -> float:
        """Milliseconds per report since the last call; NaN without any."""
        seconds, reports = self.seconds, self.reports
        self.seconds, self.reports = 0.0, 0
        return 1e3 * seconds / reports if reports else float("nan")
