"""CSI-RS on the frequency samples of a channel: received resource elements and despread pilots."""

from __future__ import annotations

import numpy as np

from simulator.core.errors import ConfigError
from simulator.core.shapes import flat_tail
from simulator.core.types import RadioGeometry
from simulator.nr.csi_rs import CsiRs


class CsiRsSignal:
    r"""Received CSI-RS :math:`y = \sum_p h_p s_p`, and its despreading.

    On a resource element the L ports of a CDM group share the power of the gNB: :math:`|s_p|^2 = 1 / L`. All
    elements of a resource see the channel of one slot, those of a second slot, too.

    Args:
        resource: CSI-RS resource.
        geometry: frequency samples; over the subcarriers of one sample the channel is flat.

    Attributes:
        positions: float64 ``[group, pilot]``, where the despread pilots of a CDM group lie, in frequency samples.
        noise_gain: variance of the noise on a despread pilot over that on a resource element.

    Raises:
        ConfigError: the band is narrower than the CSI-RS of one resource block.
    """

    def __init__(self, resource: CsiRs, geometry: RadioGeometry):
        width = geometry.subcarriers_per_sample
        self.resource, self._flat = resource, width == 12
        self._blocks = resource.resource_blocks(geometry.num_subcarriers * width)
        if not len(self._blocks):
            needed = int(resource.k_bar.max()) + resource.cdm[0]
            raise ConfigError(
                "carrier.num_subcarriers", geometry.num_subcarriers, f"at least {needed} (CSI-RS row {resource.row})"
            )
        self._slots_per_frame = max(round(10 * geometry.spacing_hz / width / 15e3), 1)
        taps = np.arange(resource.cdm[0])
        elements = 12 * self._blocks[:, None] + resource.k_bar[:, None, None] + taps
        self._samples = elements // width  # [location, rb, k']
        positions = self._samples.mean(axis=-1)
        self._shared = len(positions) > len(set(resource.group))  # row 1: one port, several locations
        if self._shared:
            positions = positions.mean(axis=0)[None] if self._flat else positions.T.reshape(1, -1)
        self.positions = positions
        self.noise_gain = 1 / len(elements) if self._shared and self._flat else 1.0
        self._spread = (resource.code.reshape(resource.num_cdm, -1) / np.sqrt(resource.num_cdm)).astype(np.float32)

    def receive(self, h: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Resource elements without noise.

        Args:
            h: channel complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``.
            slots: numbers of the slots.

        Returns:
            complex64 ``[batch, user, rx_ant, location, element, slot, rb]``, elements ``(k', l')``.
        """
        count, (taps, times) = self.resource.num_cdm, self.resource.cdm
        y = np.empty((*h.shape[:3], len(self._samples), count, len(slots), len(self._blocks)), np.complex64)
        for i, group in enumerate(self.resource.group):
            ports = h[:, :, :, group * count : (group + 1) * count]
            for tap in range(1 if self._flat else taps):
                part = slice(None) if self._flat else slice(tap * times, (tap + 1) * times)
                y[:, :, :, i, part] = _mix(self._spread.T[part], ports[..., self._samples[i, :, tap]])
        y *= self._symbols(slots)
        return y

    def elements(self, grid: np.ndarray) -> np.ndarray:
        """Resource elements of the CSI-RS out of received slots, as :meth:`receive` gives them.

        Args:
            grid: complex64 ``[batch, user, rx_ant, slot, symbol, subcarrier]``, one frequency sample per subcarrier,
                with the symbols of all slots of the resource.
        """
        resource = self.resource
        l = resource.l_bar[:, None, None, None] + np.arange(resource.cdm[1])[:, None]  # noqa: E741
        y = grid[..., l, np.swapaxes(self._samples, 1, 2)[:, :, None]]  # [.., slot, location, k', l', rb]
        return np.moveaxis(y.reshape(*y.shape[:5], y.shape[5] * y.shape[6], y.shape[-1]), 3, 5)

    def despread(self, y: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Pilots complex64 ``[batch, user, rx_ant, port, slot, pilot]``: the channel at ``positions`` plus noise."""
        z = _mix(self._spread, y * np.conj(self._symbols(slots)))  # [b, u, rx, location, port of the group, slot, rb]
        lead, shape = z.shape[:3], z.shape[5:]
        if not self._shared:
            return z.reshape(*lead, z.shape[3] * z.shape[4], *shape)
        if self._flat:
            return z.mean(axis=3)
        return flat_tail(np.moveaxis(z, 3, -1), 5)

    def _symbols(self, slots: np.ndarray) -> np.ndarray:
        """Sequence complex64 ``[location, element, slot, rb]``."""
        frame = np.asarray(slots) % self._slots_per_frame
        per_frame = self._slots_per_frame
        known = {int(n): self.resource.symbols(self._blocks, int(n), per_frame) for n in set(frame.tolist())}
        r = np.stack([known[int(n)] for n in frame], axis=-2)  # [location, k', l', slot, rb]
        return r.reshape(r.shape[0], -1, *r.shape[3:])


def _mix(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Real ``[out, in]`` times complex64 ``[..., in, slot, rb]``."""
    if x.shape[-3] == 1:
        return x * matrix[:, :, None]
    flat = flat_tail(np.ascontiguousarray(x), x.ndim - 2).view(np.float32)
    return np.matmul(matrix, flat).view(np.complex64).reshape(*x.shape[:-3], len(matrix), *x.shape[-2:])
