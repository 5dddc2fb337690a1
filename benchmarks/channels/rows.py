"""Rows of the table: measured against the standard, with a standard error and a z-score."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.core.seeding import derive
from simulator.core.types import Panel, RadioGeometry

_SEED = 38901


def geometry(panel: Panel, carrier_hz: float = 3.5e9, users: int = 1, rx: int = 1, rx_rows: int = 1) -> RadioGeometry:
    """Omnidirectional elements, so that no pattern changes directions and powers."""
    return RadioGeometry(
        carrier_hz=carrier_hz, panel=panel, num_users=users, num_rx_ant=rx, ue_num_rows=rx_rows, num_subcarriers=2,
        spacing_hz=30e3, antenna_pattern="omni",
    )  # fmt: skip


def seeded(item: str, *key: Any) -> None:
    """Seed Sionna for one block of draws."""
    from simulator.phy.sionna_env import set_seed

    set_seed(derive(_SEED, item, *key))


def generator(*key: Any) -> np.random.Generator:
    """Generator for a reference's own draws."""
    return np.random.default_rng(derive(_SEED, "reference", *key))


def row(item: str, quantity: str, standard: float, samples: np.ndarray, unit: str = "") -> dict[str, Any]:
    """Mean of independent samples and the standard's value."""
    samples = np.asarray(samples, float)
    error = max(float(np.std(samples)) / np.sqrt(len(samples)), 1e-12)
    return line(item, quantity, standard, float(np.mean(samples)), error, unit, len(samples))


def paired(item: str, quantity: str, standard: np.ndarray, samples: np.ndarray, unit: str = "") -> dict[str, Any]:
    """Mean of samples whose expectation differs from sample to sample."""
    difference = np.asarray(samples, float) - standard
    error = max(float(np.std(difference)) / np.sqrt(len(difference)), 1e-12)
    return line(item, quantity, float(np.mean(standard)), float(np.mean(samples)), error, unit, len(difference))


def exact(item: str, quantity: str, error: np.ndarray, tolerance: float, unit: str = "") -> dict[str, Any]:
    """Largest error of a quantity without spread; a fifth of the tolerance stands for the standard error."""
    return line(item, quantity, 0.0, float(np.max(np.abs(error))), tolerance / 5, unit, int(np.size(error)))


def line(
    item: str, quantity: str, standard: float, measured: float, error: float, unit: str, count: int
) -> dict[str, Any]:
    """One row."""
    return {
        "item": item, "quantity": quantity, "standard": standard, "measured": measured, "std_error": error,
        "z": (measured - standard) / error, "unit": unit, "num_samples": count,
    }  # fmt: skip


def worst(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of the largest |z|."""
    return max(rows, key=lambda each: abs(each["z"]))
