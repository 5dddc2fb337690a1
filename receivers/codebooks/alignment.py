"""Free phases of subband directions: a phase per subband and a delay change no precoding gain, but the sparsity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simulator.maths.product import product

START_DELAYS = (0.0, 0.25, 0.5, 0.75)  # from which the alternation starts, in taps
_ITEMS = 128  # at a time, which a cache holds


def starts(c: np.ndarray, num_units: int | None = None) -> Iterator[np.ndarray]:
    """Coefficients complex64 ``[..., row, unit]`` with the strongest row real, then delayed by fractions of a tap.

    The other rows then show their delays against the strongest one. The units are those of the band, or, interval after
    interval, ``num_units`` of each; the same fractions then turn the intervals, too.
    """
    for phases in _first_phases(c, num_units):
        yield (c * phases[..., None, :]).astype(np.complex64)


def _first_phases(c: np.ndarray, num_units: int | None = None) -> Iterator[np.ndarray]:
    row = np.sum(np.square(c.real) + np.square(c.imag), axis=-1).argmax(axis=-1)[..., None, None]
    top = np.take_along_axis(c, row, axis=-2)[..., 0, :]
    turn, units = top.conj() / np.maximum(np.abs(top), 1e-30), num_units or c.shape[-1]
    interval, unit = np.divmod(np.arange(c.shape[-1]), units)
    for delay in START_DELAYS:
        shift = 2j * np.pi * delay * units / c.shape[-1] * interval
        yield turn * np.exp(-2j * np.pi * delay / units * unit - shift).astype(np.complex64)


def delay_turns(num_units: int) -> np.ndarray:
    r""":math:`e^{j 2 \pi f t / N}`, complex64 ``[tap, unit]``."""
    time = np.arange(num_units)
    return np.exp(2j * np.pi / num_units * np.outer(time, time)).astype(np.complex64)


def with_phases_of(c: np.ndarray, w: np.ndarray) -> np.ndarray:
    """``c`` complex64 ``[..., row, unit]``, every unit turned to a real inner product with ``w``."""
    inner = np.sum(np.conj(c) * w, axis=-2)
    return c * np.exp(1j * np.angle(inner))[..., None, :]


def sparse_phases(c: np.ndarray, floor: np.ndarray, rounds: int, first_rounds: int) -> np.ndarray:
    """Phases of the units under which most energy is in few coefficients, complex64 ``[item, unit]`` of magnitude 1.

    Alternately the coefficients of more power than a floor, for given phases, and the phases that fit these best. Of
    four starts the one with most energy in such coefficients after ``first_rounds`` runs on to ``rounds``.

    Args:
        c: one direction per column, complex64 ``[item, row, unit]``.
        floor: power ``[item]``; half the largest power of a coefficient where that is less.
        rounds: of the alternation.
        first_rounds: of them before the best start is chosen.
    """
    found = np.empty((len(c), c.shape[2]), np.complex64)
    for items in (slice(i, i + _ITEMS) for i in range(0, len(c), _ITEMS)):
        part, low = _large_rows(c[items], floor[items]), floor[items].astype(np.float32)
        x = _real(np.ascontiguousarray(part.transpose(2, 1, 0)))
        tried = [_rounds(x, phases.T, low, first_rounds) for phases in _first_phases(part)]
        best = np.argmax([energy for _, energy in tried], axis=0)
        phases = np.stack([phases for phases, _ in tried], axis=1)[:, best, np.arange(len(part))]
        found[items] = _rounds(x, phases, low, rounds - first_rounds)[0].T
    return found


def _large_rows(c: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """``c`` without rows of less energy than the floor, or than a quarter of the strongest: none of theirs counts."""
    energy = np.sum(np.square(c.real) + np.square(c.imag), axis=2)
    least = np.minimum(floor, 0.25 * energy.max(axis=1))
    count = int(np.sum(energy > least[:, None], axis=1).max())
    rows = np.sort(np.argsort(-energy, axis=1, kind="stable")[:, : max(count, 1)], axis=1)
    return np.take_along_axis(c, rows[:, :, None], axis=1)


def _real(x: np.ndarray) -> np.ndarray:
    """Real parts, then imaginary parts, along the first axis."""
    return np.stack([x.real, x.imag]).reshape(-1, *x.shape[1:])


def _rounds(x: np.ndarray, phases: np.ndarray, floor: np.ndarray, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Phases after some rounds, and the energy ``[item]`` that the last one kept.

    Items are the last axis and numbers real, so that products are of whole matrices and sums over long rows.

    Args:
        x: coefficients float32 ``[part * unit, row, item]``.
        phases: complex64 ``[unit, item]``.
        floor: ``[item]``.
        rounds: of the alternation.
    """
    units, energy = len(phases), np.zeros(x.shape[2], np.float32)
    turns = delay_turns(units) * np.float32(units**-0.5)
    there = np.block([[turns.real, turns.imag], [-turns.imag, turns.real]])  # to taps; its transpose: back
    x = _turned(x, phases)
    for number in range(rounds):
        taps = product(there, x.reshape(2 * units, -1)).reshape(x.shape)
        power = np.square(taps[:units])
        power += np.square(taps[units:])
        kept = power > np.minimum(floor, 0.5 * power.max(axis=0).max(axis=0))
        if number == rounds - 1:
            energy = np.sum(power * kept, axis=(0, 1))
        taps[:units] *= kept
        taps[units:] *= kept
        fit = product(there.T, taps.reshape(2 * units, -1)).reshape(x.shape)
        inner = _inner(x[:units], fit[:units]) + _inner(x[units:], fit[units:])
        inner = inner + 1j * (_inner(x[:units], fit[units:]) - _inner(x[units:], fit[:units]))
        turn = inner / np.maximum(np.abs(inner), 1e-12)
        x, phases = _turned(x, turn), phases * turn
    return phases, energy


def _inner(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.einsum("uri,uri->ui", x, y)


def _turned(x: np.ndarray, phases: np.ndarray) -> np.ndarray:
    units, found = len(phases), np.empty_like(x)
    real, imag = (np.ascontiguousarray(part)[:, None] for part in (phases.real, phases.imag))
    np.multiply(x[:units], real, out=found[:units])
    np.multiply(x[:units], imag, out=found[units:])
    found[:units] -= x[units:] * imag
    found[units:] += x[units:] * real
    return found
