"""(l) Beam-delay reports and their reconstruction, in one batch compared with one by one."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.timing import in_turn, row
from receivers.feedback.beamdelay import BeamDelayFeedback
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel


def measure(num_reports: int = 1024, rounds: int = 3) -> list[dict[str, Any]]:
    """Reports and reconstructions per second at 32 ports, 13 subbands, 114 bits; targets 1,000/s and 3,000/s.

    ``equal_to`` is the share of reports that differ between the two.
    """
    config = CsiConfig(Panel(8, 2, 2), 1, 52, 360e3, 4)
    csi = _estimate(num_reports, np.random.default_rng(11))
    scheme = BeamDelayFeedback(config, bits=114)
    report = scheme.report(csi)
    few = 16
    ones = [CsiEstimate(csi.h_hat[i : i + 1], csi.error_var[i : i + 1]) for i in range(few)]
    sent = [CsiReport(report.bits[i : i + 1], report.num_bits[i : i + 1]) for i in range(few)]
    single = np.concatenate([scheme.report(one).bits for one in ones])
    deviation = float(np.mean((single != report.bits[:few]).any(axis=(1, 2))))
    calls = {
        "report": lambda: scheme.report(csi),
        "report alone": lambda: [scheme.report(one) for one in ones],
        "reconstruct": lambda: scheme.reconstruct(report),
        "reconstruct alone": lambda: [scheme.reconstruct(one) for one in sent],
    }
    seconds = {name: float(np.median(value)) for name, value in in_turn(calls, rounds).items()}
    rows = []
    for name, target in (("report", 1000), ("reconstruct", 3000)):
        ours, alone = num_reports / seconds[name], few / seconds[f"{name} alone"]
        item = f"l: beam-delay {name}, 114 bits, 32 ports, 13 subbands, against {target:,}/s (peer: one by one)"
        note = f"{num_reports} reports; {ours / alone:.1f} x one by one"
        rows.append(row(item, ours, alone, "reports/s", ours / target, 1.0, deviation, note))
    return rows


def _estimate(num_reports: int, rng: np.random.Generator) -> CsiEstimate:
    """Channels of 12 plane waves with exponential delays (100 ns in the mean)."""
    h = np.zeros((num_reports, 1, 1, 32, 52), complex)
    for _ in range(12):
        u, v, delay = rng.random((2, num_reports, 1)), rng.random((num_reports, 1)), rng.exponential(0.036, num_reports)
        column = np.exp(2j * np.pi * (u[0] * np.arange(8)))[:, :, None] * np.exp(2j * np.pi * v * np.arange(2))[:, None]
        gain = rng.standard_normal((num_reports, 2, 2)) @ [1, 1j]
        port = (gain[:, :, None] * column.reshape(num_reports, 1, 16)).reshape(num_reports, 1, 1, 32, 1)
        h += port * np.exp(-2j * np.pi * delay[:, None, None, None, None] * np.arange(52))
    return CsiEstimate(h.astype(np.complex64), np.zeros((num_reports, 1), np.float32))
