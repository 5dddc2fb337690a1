"""Coefficients of the enhanced Type II codebooks: a budget, four bits of amplitude reference, 3 + 4 bits each."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from receivers.codebooks.beams import BeamGroups
from receivers.codebooks.etype2_payload import EnhancedTypeTwoPayload
from receivers.codebooks.pmi import Pmi, PmiCodebook
from receivers.codebooks.ports import PortGroups

_CHUNK = 256  # reports selected at a time
_LEAST = 2.0 ** (-7 / 2)  # p^(2)


class CoefficientCodebook(PmiCodebook):
    r"""Common part of the codebooks of Releases 16 and 17: vectors in space, taps, coefficients of both.

    .. math:: x_{i,f} = p^{(1)}_{\lfloor i/L \rfloor} p^{(2)}_{i,f} e^{j 2 \pi c_{i,f} / 16}, \quad
        p^{(1)} = 2^{-(15-k)/4}, \; p^{(2)} = 2^{-(7-k)/2}

    with :math:`p^{(1)} = 1` in the polarisation of the strongest coefficient, which is 1 itself.

    Source: TS 38.214, Tables 5.2.2.2.5-2 and -3.
    """

    num_beams: int  # L
    num_units: int  # N_3
    budget: int  # K_0
    payload: EnhancedTypeTwoPayload
    strongest_taps: int = 1  # taps among which the strongest coefficient is
    _groups: BeamGroups | PortGroups

    def pack(self, pmi: Pmi) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Part 1: number of non-zero coefficients minus 1. Part 2: groups 0, 1, 2 of TS 38.214, 5.2.3."""
        return self.payload.pack(pmi)

    def unpack(self, part1: np.ndarray, part2: np.ndarray, num_bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        """PMI and ``valid``: a known number of coefficients, a length that it implies, indices that exist."""
        return self.payload.unpack(part1, part2, num_bits)

    def lengths(self, part1: np.ndarray) -> np.ndarray:
        """Whole, without group 2, without groups 1 and 2."""
        return self.payload.lengths(part1)

    def select(self, h: np.ndarray) -> Pmi:
        """PMI of channels complex64 ``[report, rx_ant, port, subcarrier]``."""
        parts = [self._select(h[i : i + _CHUNK]) for i in range(0, len(h), _CHUNK)]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    @abstractmethod
    def _select(self, h: np.ndarray) -> Pmi:
        """The same for a few reports at a time."""

    def _largest(self, x: np.ndarray) -> np.ndarray:
        """``x`` with the coefficients of the budget, the others 0: K0 of a layer, 2 K0 of all layers."""
        size = np.abs(x).reshape(len(x), self.rank, -1)
        count = min(self.budget, size.shape[2])
        keep = np.zeros(size.shape, bool)
        np.put_along_axis(keep, np.argpartition(-size, count - 1, axis=2)[..., :count], True, axis=2)
        if self.rank * count > self.payload.most:  # a strongest coefficient of 1 in every layer is never dropped
            relative = (size / np.maximum(size.max(axis=2, keepdims=True), 1e-30) * keep).reshape(len(x), -1)
            keep = np.zeros(relative.shape, bool)
            np.put_along_axis(
                keep, np.argpartition(-relative, self.payload.most - 1, axis=1)[:, : self.payload.most], True, axis=1
            )
        return x * keep.reshape(x.shape)

    def _representable(self, x: np.ndarray) -> np.ndarray:
        """``x`` without coefficients that 0 is nearer to than the least amplitude in their polarisation."""
        size = np.abs(x).max(axis=3)
        own = self.polarisation == np.arange(2)[:, None]
        peak = np.where(own, size[:, :, None], 0).max(axis=3)  # [report, layer, polarisation]
        return x * (np.abs(x) >= _LEAST / 2 * peak[:, :, self.polarisation, None])

    def _quantize(self, x: np.ndarray, limit: np.ndarray | None = None) -> Pmi:
        """Indices of coefficients ``[report, layer, row, tap]`` whose largest is in the first ``strongest_taps``.

        ``limit``: largest amplitudes ``[report, row]``, 1 where the strongest one may be; None: 1 everywhere.
        """
        by_place = np.swapaxes(x[..., : self.strongest_taps], 2, 3).reshape(*x.shape[:2], -1)
        size = np.abs(by_place)
        if limit is not None:
            size = np.where(np.tile(limit == 1, self.strongest_taps)[:, None], size, -1)
        strongest = size.argmax(axis=2)
        top = np.take_along_axis(by_place, strongest[..., None], axis=2)[..., None]
        first = self.payload.first(strongest)
        bitmap = (x != 0) | first  # even if the channel is zero
        x = x / np.where(top == 0, 1, top)
        size = np.abs(x)
        other = np.where(self._own(strongest), 0, size.max(axis=3)).max(axis=2)
        reference = np.clip(np.round(15 + 4 * np.log2(np.maximum(other, 1e-9))), 1, 15).astype(np.int64)
        relative = size / self._references(reference, strongest)
        amplitude = np.clip(np.round(7 + 2 * np.log2(np.maximum(relative, 1e-9))), 0, 7).astype(np.int64)
        phase = np.round(np.angle(x) * (16 / (2 * np.pi))).astype(np.int64) % 16
        amplitude = np.where(first, 7, amplitude * bitmap)
        return {
            "bitmap": bitmap.astype(np.int64),
            "strongest": strongest,
            "reference": reference,
            "amplitude": amplitude,
            "phase": np.where(first, 0, phase * bitmap),
        }

    @property
    def polarisation(self) -> np.ndarray:
        """0 or 1, of every row."""
        return np.arange(self.payload.shape[1]) % (2 * self.num_beams) // self.num_beams

    def _own(self, strongest: np.ndarray) -> np.ndarray:
        """Rows in the polarisation of the strongest coefficient's place, bool ``[report, layer, row]``."""
        found: np.ndarray = self.polarisation == self.polarisation[strongest % self.payload.shape[1]][..., None]
        return found

    def _references(self, reference: np.ndarray, strongest: np.ndarray) -> np.ndarray:
        """p^(1) of every row, ``[report, layer, row, 1]``: 1 in the polarisation of the strongest coefficient."""
        return np.where(self._own(strongest), 1.0, 2.0 ** (-(15 - reference[..., None]) / 4))[..., None]

    def _coefficients(self, pmi: Pmi) -> np.ndarray:
        """Coefficients complex64 ``[report, layer, row, tap]`` of indices."""
        size = self._references(pmi["reference"], pmi["strongest"]) * 2.0 ** (-(7 - pmi["amplitude"]) / 2)
        return (pmi["bitmap"] * size * np.exp(2j * np.pi / 16 * pmi["phase"])).astype(np.complex64)

    def precoder(self, pmi: Pmi) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]``."""
        turns = np.exp(2j * np.pi / self.num_units * pmi["taps"][..., None] * np.arange(self.num_units))
        weights = self._coefficients(pmi) @ turns.astype(np.complex64)
        return self._groups.combine(pmi["group"], pmi["beams"], weights)
