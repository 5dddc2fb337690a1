"""Plausibility of the declared order of a flattened port axis, from the phases of neighbouring antennas."""

from __future__ import annotations

from collections.abc import Collection
from itertools import permutations

import numpy as np

from simulator.core.errors import ConfigError
from simulator.core.types import Panel

PORT_AXES = ("pol", "n1", "n2")
_SAMPLES, _OTHERS, _LEAST = 256, 16, 8
_SIGMAS, _GAIN = 6.0, 0.03


def neighbour_coherence(x: np.ndarray) -> np.ndarray:
    r"""Coherence of neighbouring columns and of neighbouring rows of a panel, mean of both, 0..1, ``[sample]``.

    :math:`|\sum h_{m+1} h_m^*| / \sqrt{\sum |h_{m+1}|^2 \sum |h_m|^2}` with sums over the whole panel: 1 for a plane
    wave, near 1 for waves from few directions, near 0 for independent antennas.

    Args:
        x: complex ``[sample, any, pol, n1, n2]``.
    """
    parts = []
    for axis in (3, 4):
        if x.shape[axis] > 1:
            y = np.moveaxis(x, axis, 1)
            late, early = (part.reshape(len(x), -1) for part in (y[:, 1:], y[:, :-1]))
            energy = np.sum(np.abs(late) ** 2, axis=1) * np.sum(np.abs(early) ** 2, axis=1)
            inner = np.abs(np.sum(late * early.conj(), axis=1))
            parts.append(inner / np.maximum(np.sqrt(energy), 1e-300))
    return np.mean(parts, axis=0)


def likely_order(
    h: np.ndarray, panel: Panel, declared: tuple[str, ...], down: Collection[str] = ()
) -> tuple[str, ...] | None:
    """Another order of joined panel axes in the file that explains the channels far better, or None.

    Waves come from few directions, so that the phase step between neighbours is nearly the same all over the panel; a
    wrong order joins antennas that are no neighbours. The mean :func:`neighbour_coherence` of another order must be
    larger by 0.03 and by six times the standard error of the difference over at least 8 samples, which independent
    antennas never reach. Reversed axes, and columns taken for rows in a square panel, cannot be detected this way.

    Args:
        h: complex ``[sample, rx_ant, port, slot, subcarrier]``, read in the declared order.
        panel: gNB panel.
        declared: names of the axes that one axis of the file joins, slowest first, of pol, n1 and n2.
        down: those of them that were reversed on reading.
    """
    size = dict(zip(PORT_AXES, (panel.num_pol, panel.n1, panel.n2), strict=True))
    if len(h) < _LEAST or panel.n1 * panel.n2 == 1:
        return None
    rows = np.unique(np.linspace(0, len(h) - 1, _SAMPLES).astype(int))
    x = np.moveaxis(h[rows], 2, -1).reshape(len(rows), -1, panel.num_ports)
    x = x[:, :: max(1, x.shape[1] // _OTHERS)].astype(np.complex128)
    x = x.reshape(*x.shape[:2], *size.values())
    x = x[(..., *(slice(None, None, -1 if name in down else 1) for name in PORT_AXES))]
    rest = tuple(name for name in PORT_AXES if name not in declared)
    filed = x.transpose(0, 1, *(2 + PORT_AXES.index(name) for name in rest + declared))  # as in the file
    found = {}
    for order in permutations(declared):
        names = rest + order
        y = filed.reshape(*x.shape[:2], *(size[name] for name in names))
        found[order] = neighbour_coherence(y.transpose(0, 1, *(2 + names.index(name) for name in PORT_AXES)))
    best = max(found, key=lambda order: found[order].mean())  # the first of equal ones
    gain = found[best] - found[declared]
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    return best if gain.mean() > max(_GAIN, _SIGMAS * error) else None


def require_order(h: np.ndarray, panel: Panel, declared: tuple[str, ...], down: Collection[str] = ()) -> None:
    """ConfigError that names the :func:`likely_order` where it differs from the declared one; same arguments."""
    best = likely_order(h, panel, declared, down)
    if best is not None:
        raise ConfigError(
            "import.axes",
            f"{'*'.join(declared)}, under which neighbouring antennas look unrelated",
            f"{'*'.join(best)} (slowest first), under which they do not (--format generic takes axes in any order), "
            "or check=false",
        )


def below_horizon(h: np.ndarray, panel: Panel) -> np.ndarray:
    """Whether the mean vertical direction points down when rows count upwards, bool ``[sample]``.

    The phase between neighbouring rows, mean over all others, is then negative. False for a single row.
    """
    x = np.moveaxis(h, 2, -1).reshape(len(h), -1, panel.n2)
    step = np.sum(x[:, :, 1:] * x[:, :, :-1].conj(), axis=(1, 2))
    return step.imag < 0
