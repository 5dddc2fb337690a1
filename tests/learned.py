"""What networks learn in a few steps, as TensorFlow found it: every backend must come to the same."""

import json
from pathlib import Path

import numpy as np

RECORDED = Path(__file__).parent / "golden" / "learned.json"
# Some steps in float32, each backend with its own order of sums and its own exponentials; relative to the largest.
TOLERANCE = 1e-3


def drawn_weight(weight, rng, spread=1.0):
    """A weight that does not depend on the start of a backend: gains near 1, others near 0; integers as they are."""
    if weight.dtype != np.float32:
        return weight
    start = np.round(weight) if weight.ndim < 2 else 0  # some start with small random numbers
    scale = np.sqrt(np.prod(weight.shape[:-1], dtype=int)) if weight.ndim > 1 else 3
    return (start + spread * rng.standard_normal(weight.shape) / scale).astype(np.float32)


def moved(before, after):
    """Root mean square of the change of every weight of floating point."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a.dtype == np.float32]
    return [float(np.sqrt(np.mean((b - a.astype(float)) ** 2))) for a, b in pairs]


def assert_as_recorded(name, found):
    """As ``python tests/golden/make_learned.py`` wrote it."""
    recorded = json.loads(RECORDED.read_text())[name]
    assert set(found) == set(recorded)
    for key, wanted in recorded.items():
        error = np.abs(np.subtract(found[key], wanted)).max() / np.abs(wanted).max()
        assert error < TOLERANCE, f"{key}: relative difference {error:.2g}"
    losses = recorded["loss"]
    assert max(recorded["moved"]) > 1e-3 and max(losses) - min(losses) > 0.01 * max(losses), "nothing was learned"
