"""Free phases of subband directions: a phase per subband and a delay change no precoding gain, but the sparsity."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

START_DELAYS = (0.0, 0.25, 0.5, 0.75)  # from which the alternation starts, in taps


def starts(c: np.ndarray) -> Iterator[np.ndarray]:
    """Coefficients complex64 ``[..., row, unit]`` with the strongest row real, then delayed by fractions of a tap.

    The other rows then show their delays against the strongest one.
    """
    row = np.sum(np.abs(c) ** 2, axis=-1).argmax(axis=-1)[..., None, None]
    top = np.take_along_axis(c, row, axis=-2)
    c = c * (top.conj() / np.maximum(np.abs(top), 1e-30))
    units = c.shape[-1]
    for delay in START_DELAYS:
        yield (c * np.exp(-2j * np.pi * delay / units * np.arange(units))).astype(np.complex64)


def delay_turns(num_units: int) -> np.ndarray:
    r""":math:`e^{j 2 \pi f t / N}`, complex64 ``[tap, unit]``."""
    time = np.arange(num_units)
    return np.exp(2j * np.pi / num_units * np.outer(time, time)).astype(np.complex64)


def with_phases_of(c: np.ndarray, w: np.ndarray) -> np.ndarray:
    """``c`` complex64 ``[..., row, unit]``, every unit turned to a real inner product with ``w``."""
    inner = np.sum(np.conj(c) * w, axis=-2)
    return c * np.exp(1j * np.angle(inner))[..., None, :]


def aligned(c: np.ndarray, keep: Callable[[np.ndarray], np.ndarray], rounds: int, first_rounds: int) -> np.ndarray:
    """``c`` complex64 ``[item, row, unit]`` with the phases under which most energy is in few coefficients.

    Alternately the coefficients that ``keep`` leaves, for given phases, and the phases that fit them best. Of the four
    starts the one with most kept energy after ``first_rounds`` runs on to ``rounds``.

    Args:
        c: one direction per column.
        keep: complex64 ``[item, row, tap]``, unitary DFT of ``c``, to the same with small coefficients 0.
        rounds: of the alternation.
        first_rounds: of them before the best start is chosen.
    """
    units = c.shape[2]
    turns = delay_turns(units) * np.float32(units**-0.5)
    best, most = c, np.full(len(c), -np.inf)
    for start in starts(c):
        found, energy = _rounds(start, keep, turns, first_rounds)
        better = energy > most
        best = np.where(better[:, None, None], found, best)
        most = np.where(better, energy, most)
    return _rounds(best, keep, turns, rounds - first_rounds)[0]


def _rounds(
    c: np.ndarray, keep: Callable[[np.ndarray], np.ndarray], turns: np.ndarray, rounds: int
) -> tuple[np.ndarray, np.ndarray]:
    energy, back = np.zeros(len(c)), turns.conj()
    for number in range(rounds):
        kept = keep(c @ back)
        if number == rounds - 1:
            energy = np.sum(np.square(kept.real) + np.square(kept.imag), axis=(1, 2))
        inner = np.sum(np.conj(c) * (kept @ turns), axis=1)
        c = c * (inner / np.maximum(np.abs(inner), 1e-12))[:, None]
    return c, energy
