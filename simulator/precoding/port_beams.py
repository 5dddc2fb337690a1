"""Beamformed CSI-RS: the gNB sends every port into one direction of the uplink, with one of its delays taken off."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import ConfigError
from simulator.core.types import CsiReconstruction, Panel
from simulator.core.units import db_to_lin

_OVERSAMPLING = 4


@dataclass(frozen=True)
class PortBeams:
    r"""CSI-RS ports of every user: port i of a polarisation has the precoder :math:`b_i e^{j 2 \pi n \tau_i}`.

    Those of several stations follow each other, ``trp, pol, i``.

    The gNB made them and knows them; the UE sees the ports alone.

    Args:
        beams: :math:`b_i`, unit norm over elements of a polarisation, complex64
            ``[batch, user, trp, port/2, element]``.
        turns: :math:`e^{j 2 \pi n \tau_i}`, complex64 ``[batch, user, trp, port/2, subcarrier]``.
    """

    beams: NDArray[np.complex64]
    turns: NDArray[np.complex64]

    def channel(self, h: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Channel of the ports ``[batch, user, rx_ant, port, slot, subcarrier]`` for that of the antennas ``h``."""
        batch, users, rx, _, slots, samples = h.shape
        trps, elements = self.beams.shape[2], self.beams.shape[4]
        by_element = h.reshape(batch, users, rx, trps, 2, elements, slots * samples)
        ports = self.beams[:, :, None, :, None] @ by_element
        ports = ports.reshape(batch, users, rx, trps, 2, -1, slots, samples) * self.turns[:, :, None, :, None, :, None]
        return ports.reshape(batch, users, rx, -1, slots, samples).astype(np.complex64, copy=False)

    def to_antennas(self, csi: CsiReconstruction, subband_of: NDArray[np.int64]) -> CsiReconstruction:
        """Directions of antennas for directions of ports, by slot; unit norm on every frequency sample.

        Args:
            csi: ``w`` complex64 ``[batch * slot, user, port, layer, subband or subcarrier]``.
            subband_of: subband of every frequency sample.
        """
        w = csi.value if csi.value.shape[-1] == len(subband_of) else csi.value[..., subband_of]
        slots = len(w) // len(self.beams)
        beams, turns = (np.repeat(x, slots, axis=0) for x in (self.beams, self.turns))
        trps, half = beams.shape[2:4]
        by_port = w.reshape(*w.shape[:2], trps, 2, half, *w.shape[3:]) * turns[:, :, :, None, :, None]
        flat = by_port.reshape(*by_port.shape[:5], -1)
        found = (np.swapaxes(beams, 3, 4)[:, :, :, None] @ flat).reshape(*w.shape[:2], -1, *w.shape[3:])
        norm = np.linalg.norm(found, axis=2, keepdims=True)
        return CsiReconstruction(w=(found / np.maximum(norm, 1e-12)).astype(np.complex64), valid=csi.valid)


@dataclass(frozen=True)
class PortBeamforming:
    r"""Ports of the most power in the uplink, for every user, and every station, by itself.

    Beams are columns of a DFT (orthogonal, the best of 4 x 4 rotations), delays multiples of :math:`1 / (N \Delta f)`
    (the best of four offsets); of all pairs of both the P/2 with most power, over both polarisations and the antennas
    of the UE. A port covers ``taps`` delays in a row where the UE may report several: pairs are then taken one after
    another by the power that no port before covers. Before all that the uplink is calibrated to the carrier of the
    downlink: the elements are a little closer together in its wave lengths.

    Args:
        panel: gNB panel with two polarisations, or those of several stations.
        num_ports: P of a station, an even number.
        delays: pairs of beams and delays; otherwise beams alone, over the whole band.
        carrier_ratio: carrier of the uplink over that of the downlink.
        uplink_snr_db: power of the uplink over the noise of its measurement, on an antenna and frequency sample [dB];
            None: no noise.
        taps: delays in a row that a port covers.

    Raises:
        ConfigError: one polarisation, or more ports than there are beams (and delays).
    """

    panel: Panel
    num_ports: int
    delays: bool = True
    carrier_ratio: float = 1.0
    uplink_snr_db: float | None = None
    taps: int = 1

    def __post_init__(self) -> None:
        if self.panel.num_pol != 2:
            raise ConfigError("bs.num_pol", self.panel.num_pol, "2 with beamformed CSI-RS")
        most = self.panel.of_trp.num_ports
        if self.num_ports < 2 or self.num_ports % 2 or (self.num_ports > most and not self.delays):
            allowed = "an even number" + ("" if self.delays else f", at most {most} without delays")
            raise ConfigError("feedback.beamformed.ports", self.num_ports, allowed)

    @property
    def all_ports(self) -> int:
        """Ports of all stations for one user."""
        return self.num_ports * self.panel.num_trps

    @cached_property
    def _sent(self) -> NDArray[np.complex64]:
        return _beams(self.panel)

    @cached_property
    def _calibrated(self) -> NDArray[np.complex64]:
        noise_var = 0.0 if self.uplink_snr_db is None else float(db_to_lin(-self.uplink_snr_db))
        return _calibration(self.panel, self.carrier_ratio, noise_var)

    def design(self, uplink: NDArray[np.complex64], *, seed: int) -> PortBeams:
        """Ports from a measurement of the uplink.

        Args:
            uplink: of unit mean power for every user, in the axes of the downlink, complex64
                ``[batch, user, rx_ant, port, subcarrier]``.
            seed: of the noise.
        """
        if self.uplink_snr_db is not None:
            rng = np.random.default_rng(seed)
            noise = rng.standard_normal((*uplink.shape, 2), np.float32).view(np.complex64)[..., 0]
            uplink = uplink + np.float32(np.sqrt(db_to_lin(-self.uplink_snr_db) / 2)) * noise
        trps = self.panel.num_trps
        found = [self._of_station(own) for drop in uplink for h in drop for own in np.split(h, trps, axis=1)]
        lead = *uplink.shape[:2], trps
        beams, turns = (np.stack(part).reshape(*lead, *part[0].shape) for part in zip(*found, strict=True))
        return PortBeams(beams.astype(np.complex64), turns.astype(np.complex64))

    def _of_station(self, h: NDArray[np.complex64]) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        """Beams ``[port/2, element]`` and turns ``[port/2, subcarrier]`` for ``h [rx_ant, port, subcarrier]``."""
        panel, samples = self.panel, h.shape[-1]
        by_element = h.reshape(-1, panel.n1 * panel.n2, samples)
        seen = (self._sent @ self._calibrated) @ by_element[:, None]  # [rx_ant * pol, rotation, beam, subcarrier]
        offsets = np.arange(_OVERSAMPLING if self.delays else 1) / _OVERSAMPLING
        turns = np.exp(2j * np.pi / samples * np.outer(offsets, np.arange(samples))).astype(np.complex64)
        taps = np.fft.ifft(seen[..., None, :] * turns, axis=-1, norm="ortho")
        power = np.sum(np.square(taps.real) + np.square(taps.imag), axis=0)  # [rotation, beam, offset, delay]
        if not self.delays:
            power = power.sum(axis=-1, keepdims=True)
        power = np.swapaxes(power, 1, 2)
        half = self.num_ports // 2
        if half > power[0, 0].size:
            raise ConfigError("feedback.beamformed.ports", self.num_ports, f"at most {2 * power[0, 0].size}")
        flat = power.reshape(*power.shape[:2], -1)
        best = np.sort(flat, axis=-1)[..., -half:].sum(axis=-1)
        rotation, offset = np.unravel_index(best.argmax(), best.shape)
        beam, delay = self._strongest(power[rotation, offset], half)
        turn = np.exp(2j * np.pi / samples * np.outer(delay + offsets[offset], np.arange(samples)))
        return self._sent[rotation, beam], turn

    def _strongest(self, power: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of most power ``[beam, delay]``, by decreasing power."""
        left, found = power.astype(np.float64), []
        columns = power.shape[1]
        for _ in range(count):
            covered = sum((np.roll(left, -tap, axis=1) for tap in range(self.taps)), np.zeros_like(left))
            covered.reshape(-1)[found] = -1.0
            place = int(covered.argmax())
            found.append(place)
            row, column = divmod(place, columns)
            left[row, (column + np.arange(self.taps)) % columns] = 0.0
        return tuple(np.divmod(np.array(found), columns))  # type: ignore[return-value]


def _beams(panel: Panel) -> NDArray[np.complex64]:
    r"""Orthonormal beams :math:`e^{j 2 \pi (a \nu_1 + b \nu_2)}`, complex64 ``[rotation, beam, element]``."""
    axes = []
    for size in (panel.n1, panel.n2):
        rotations = np.arange(_OVERSAMPLING if size > 1 else 1) / _OVERSAMPLING
        nu = (rotations[:, None] + np.arange(size)) / size
        axes.append(np.exp(2j * np.pi * nu[..., None] * np.arange(size)) / np.sqrt(size))
    size = panel.n1 * panel.n2
    return np.einsum("rna,smb->rsnmab", *axes).reshape(-1, size, size).astype(np.complex64)


def _calibration(panel: Panel, ratio: float, noise_var: float) -> NDArray[np.complex64]:
    r"""What the elements would receive at the carrier of the downlink, from what they receive at another one.

    Linear MMSE estimate for directions uniform in :math:`\nu \in [-1/2, 1/2]` cycles per element on both axes, elements
    counted from the middle: :math:`R_{DU} (R_{UU} + \sigma^2 I)^{-1}`, entries :math:`\mathrm{sinc}(m - n r)` and
    :math:`\mathrm{sinc}((m - n) r)`; complex64 ``[element, element]``.
    """
    axes = []
    for size in (panel.n1, panel.n2):
        place = np.arange(size) - (size - 1) / 2
        cross = np.sinc(np.subtract.outer(place, ratio * place))
        own = np.sinc(ratio * np.subtract.outer(place, place))
        axes.append(cross @ np.linalg.inv(own + max(noise_var, 1e-3) * np.eye(size)))
    return np.kron(*axes).astype(np.complex64)
