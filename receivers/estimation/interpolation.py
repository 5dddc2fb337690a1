"""From pilots to all frequency samples, and its effect on noise and on channels of any delay."""

from __future__ import annotations

from typing import Literal

import numpy as np


class Interpolation:
    """Nearest pilot, or the line through the two pilots around a sample (the outermost two beyond the ends).

    Args:
        positions: of the pilots of every CDM group, increasing, in frequency samples, float64 ``[group, pilot]``.
        num_samples: frequency samples.
        kind: "nearest" or "linear"; a single pilot is always held.

    Attributes:
        exact: the pilots are the samples.
        noise_gain: mean variance of white noise of unit variance on the pilots, after interpolation.
    """

    def __init__(self, positions: np.ndarray, num_samples: int, kind: Literal["nearest", "linear"] = "linear"):
        self._positions, self._samples = positions, np.arange(num_samples)
        last = positions.shape[1] - 1
        below = np.stack([np.searchsorted(p, self._samples, side="right") - 1 for p in positions])
        self._low = np.clip(below, 0, max(last - 1, 0))
        self._high = np.minimum(self._low + 1, last)
        start, end = (np.take_along_axis(positions, i, axis=1) for i in (self._low, self._high))
        weight = (self._samples - start) / np.where(end > start, end - start, 1)
        self._weight = (weight > 0.5) * 1.0 if kind == "nearest" else weight
        self.exact = positions.shape == (1, num_samples) and (positions == self._samples).all()
        two = self._high > self._low
        self.noise_gain = float(np.mean(np.where(two, (1 - self._weight) ** 2 + self._weight**2, 1.0)))

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Pilots complex64 ``[..., port, slot, pilot]`` to samples ``[..., port, slot, subcarrier]``."""
        if self.exact:
            return z
        *lead, ports, slots, pilots = z.shape
        groups, samples = self._low.shape
        # Index of the pilot below into everything but the leading axes, so that all groups are gathered at once.
        rows = np.arange(ports * slots).reshape(groups, -1, 1) * pilots
        index = (rows + self._low[:, None]).ravel()
        step = np.zeros_like(z)
        step[..., :-1] = z[..., 1:] - z[..., :-1]
        out, rise = (np.take(x.reshape(-1, ports * slots * pilots), index, axis=1) for x in (z, step))
        weight = np.repeat(self._weight.astype(np.float32), 2, axis=-1)[:, None]
        parts = rise.view(np.float32).reshape(-1, groups, ports // groups * slots, 2 * samples)
        parts *= weight
        out += rise
        return out.reshape(*lead, ports, slots, samples)

    def spectrum(self, delays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""Interpolation of a channel :math:`e^{-j 2 \pi f \tau}`: mean power of the error, and of the result.

        Args:
            delays: :math:`\tau` in cycles per frequency sample, float64 ``[delay]``.

        Returns:
            float64 ``[delay]`` twice.
        """
        error, power = np.zeros((2, len(delays)))
        wave = np.exp(-2j * np.pi * self._samples[:, None] * delays)
        for positions, low, high, weight in zip(self._positions, self._low, self._high, self._weight, strict=True):
            pilots = np.exp(-2j * np.pi * positions[:, None] * delays)
            seen = (1 - weight[:, None]) * pilots[low] + weight[:, None] * pilots[high]
            error += np.mean(np.abs(seen - wave) ** 2, axis=0)
            power += np.mean(np.abs(seen) ** 2, axis=0)
        return error / len(self._low), power / len(self._low)
