"""(l) Beam-delay reports and their reconstruction, in batches on every core, compared with one by one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np

from benchmarks.speed.timing import in_turn, row
from receivers.feedback.beamdelay import BeamDelayFeedback
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel

_TARGETS = {"report": 1000, "reconstruct": 3000}


def measure(num_reports: int = 1024, rounds: int = 3, processes: int | None = None) -> list[dict[str, Any]]:
    """Reports and reconstructions per second at 32 ports, 13 subbands, 114 bits; targets 1,000/s and 3,000/s.

    As in a run, a process on every core has drops of its own: their rates add up. ``equal_to`` is the share of reports
    that differ from those made one by one.

    Args:
        num_reports: of a batch.
        rounds: of which the median counts.
        processes: at the same time; None: one for each core.
    """
    together = _together(num_reports, rounds, processes or len(os.sched_getaffinity(0)))
    scheme, csi, report = _batch(num_reports)
    few = 16
    ones = [CsiEstimate(csi.h_hat[i : i + 1], csi.error_var[i : i + 1]) for i in range(few)]
    sent = [CsiReport(report.bits[i : i + 1], report.num_bits[i : i + 1]) for i in range(few)]
    single = np.concatenate([scheme.report(one).bits for one in ones])
    deviation = float(np.mean((single != report.bits[:few]).any(axis=(1, 2))))
    calls = {
        "report": lambda: [scheme.report(one) for one in ones],
        "reconstruct": lambda: [scheme.reconstruct(one) for one in sent],
    }
    alone = {name: few / float(np.median(seconds)) for name, seconds in in_turn(calls, rounds).items()}
    rows = []
    for name, target in _TARGETS.items():
        ours = sum(rates[name] for rates in together)
        item = f"l: beam-delay {name}, 114 bits, 32 ports, 13 subbands, against {target:,}/s (peer: one by one)"
        note = f"batches of {num_reports} in {len(together)} processes; {ours / alone[name]:.1f} x one by one"
        rows.append(row(item, ours, alone[name], "reports/s", ours / target, 1.0, deviation, note))
    return rows


def _batch(num_reports: int) -> tuple[BeamDelayFeedback, CsiEstimate, CsiReport]:
    scheme = BeamDelayFeedback(CsiConfig(Panel(8, 2, 2), 1, 52, 360e3, 4), bits=114)
    csi = _estimate(num_reports, np.random.default_rng(11))
    return scheme, csi, scheme.report(csi)


def _together(num_reports: int, rounds: int, processes: int) -> list[dict[str, float]]:
    """Rates [1/s] of processes that begin at the same time."""
    command = [sys.executable, "-m", "benchmarks.speed.beamdelay", str(num_reports), str(rounds)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    started = [subprocess.Popen(command, env=environment, **pipes) for _ in range(processes)]
    for process in started:
        process.stdout.readline()
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=600)[0].split() for process in started]
    return [dict(zip(_TARGETS, map(float, words), strict=True)) for words in said]


def _alone(num_reports: int, rounds: int) -> None:
    """Say that all is ready, wait for a line, say the rates."""
    scheme, csi, report = _batch(num_reports)
    print("ready", flush=True)
    sys.stdin.readline()
    calls = {"report": lambda: scheme.report(csi), "reconstruct": lambda: scheme.reconstruct(report)}
    seconds = in_turn(calls, rounds)
    print(*(num_reports / float(np.median(seconds[name])) for name in _TARGETS))


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


if __name__ == "__main__":
    _alone(*map(int, sys.argv[1:]))
