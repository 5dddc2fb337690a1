"""Measures the waterfalls of simulator/phy/bler_table.json: ``python -m benchmarks.bler_table FILE``.

Every curve is the share of code blocks that a decoder of 20 iterations loses in AWGN, a normal distribution function
of the SNR in dB whose mean and standard deviation are fitted by maximum likelihood.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm

from simulator.core.durable import write_bytes
from simulator.core.seeding import derive
from simulator.core.units import db_to_lin, lin_to_db

# Rates by modulation order and transport block size, all of one code block. Rates up to 1/4 have small ones only.
_SMALL, _MEDIUM = (24, 104), (480, 1928)
# Base graph 2 ends at a rate of 0.67 for medium sizes: one point on each side.
GRID = {
    8: {**dict.fromkeys(_SMALL + _MEDIUM, (0.6, 0.7, 0.8, 0.88, 0.945)), 8192: (0.6, 0.8, 0.945)},
    6: {
        **dict.fromkeys(_SMALL, (0.4, 0.6, 0.8, 0.945)),
        **dict.fromkeys(_MEDIUM, (0.4, 0.6, 0.8, 0.945, 0.66, 0.69, 0.88)),
        8192: (0.4, 0.66, 0.945, 0.88),
    },
    4: {
        **dict.fromkeys(_SMALL, (0.3, 0.5, 0.7, 0.85)),
        **dict.fromkeys(_MEDIUM, (0.3, 0.5, 0.7, 0.85, 0.66)),
        8192: (0.3, 0.7),
    },
    2: {
        **dict.fromkeys(_SMALL, (0.2, 0.35, 0.5, 0.7, 0.85)),
        **dict.fromkeys(_MEDIUM, (0.2, 0.35, 0.5, 0.7, 0.85, 0.66)),
        3752: (0.2, 0.5),
        8192: (0.27, 0.5, 0.7),
    },
}


def measure(order: int, tb_size: int, rate: float, seed: int = 1) -> dict[str, float]:
    """One curve: ``rate`` that was coded, CRC included; ``mean_db`` and ``std_db`` of its waterfall."""
    from simulator.phy.transport_block import TransportBlock

    cb_size = tb_size + (16 if tb_size <= 3824 else 24)
    num_re = int(np.ceil(cb_size / rate / order))
    block = TransportBlock(num_re, 1, order, (tb_size + 0.01) / (num_re * order))
    if block.tb_size != tb_size:
        raise AssertionError(f"transport block of {block.tb_size} bits instead of {tb_size}")
    actual = cb_size / (num_re * order)
    width = 8 / np.sqrt(cb_size)  # of a waterfall, roughly [dB]
    points: list[tuple[float, int, int]] = []  # SNR [dB], blocks, lost

    def at(snr_db: float, count: int) -> int:
        sinr = np.full((count, num_re, 1), db_to_lin(snr_db), np.float32)
        lost = count - int(block.decode(sinr, seed=derive(seed, "curve", order, tb_size, rate, len(points))).sum())
        points.append((snr_db, count, lost))
        return lost

    few = block.blocks_per_call
    low, high = -np.inf, np.inf
    snr_db = lin_to_db(2 ** (order * actual) - 1) + 0.8 + width
    while True:  # a point inside the waterfall
        lost = at(snr_db, few)
        if 0.1 * few < lost < 0.9 * few or high - low < 0.2 * width:
            break
        low, high = (snr_db, high) if lost >= 0.9 * few else (low, snr_db)
        snr_db = (low + high) / 2 if np.isfinite(high - low) else snr_db + (3 if lost >= 0.9 * few else -3) * width
    for z in (1.28, -0.5, 1.28, 0.4):
        mean, std = fit(points, width)
        at(mean + z * std, few)
    mean, std = fit(points, width)
    return {"rate": actual, "mean_db": mean, "std_db": std}


def fit(points: list[tuple[float, int, int]], width: float) -> tuple[float, float]:
    """Mean and standard deviation [dB] of greatest likelihood, the latter within a factor of about 2 of ``width``."""
    snr_db, count, lost = np.array(points, float).T

    def loss(x: np.ndarray) -> float:
        z = (snr_db - x[0]) / np.exp(x[1])
        likelihood = lost * norm.logsf(z) + (count - lost) * norm.logcdf(z)
        return float(-likelihood.sum() + 2 * (x[1] - np.log(width)) ** 2)

    start = [np.average(snr_db, weights=1e-3 + lost * (count - lost)), np.log(width)]
    best = minimize(loss, start, method="Nelder-Mead").x
    return float(best[0]), float(np.exp(best[1]))


def main(path: Path) -> None:
    """Measure the curves that the file does not hold yet, and write it after every curve."""
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    for tb_size in GRID[2]:  # small ones first
        for order in GRID:
            rates = GRID[order].get(tb_size, ())
            curves = found.setdefault(str(order), {}).setdefault(str(tb_size), []) if rates else []
            for rate in rates[len(curves) :]:
                curve = measure(order, tb_size, rate)
                curves.append({key: round(value, 4) for key, value in curve.items()})
                write_bytes(path, (json.dumps(found, indent=1) + "\n").encode())
                print(order, tb_size, curves[-1], flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
