"""Refined Type I codebook of Release 19, mode B: a beam and a phase of its own for every layer."""

from __future__ import annotations

from itertools import product

import numpy as np

from receivers.codebooks.beams import BeamGroups
from receivers.codebooks.pmi import Pmi, PmiCodebook, oversampling, subband_order
from simulator.core import bitfield
from simulator.core.errors import ConfigError
from simulator.core.types import Panel
from simulator.core.units import db_to_lin
from simulator.maths.transforms import subband_eigenvectors, unit_power

_FIELD = "feedback.type1"
_GROUPS = 4  # groups of beams whose phases are all tried
_CHUNK = 16  # reports selected at a time


class TypeOneModeBCodebook(PmiCodebook):
    r"""Ranks 1 to 4 on 48, 64 and 128 ports.

    Layer l is :math:`[v_l; \varphi_{c_l} v_l]`, :math:`\varphi_c = e^{j \pi c / 2}`, with any beam :math:`v_l` of one
    group of orthogonal beams and any :math:`c_l` of 4 in every subband.

    The standard leaves the selection to the UE. Here, of the four groups with the most energy in such beams: for each
    layer's eigenvectors (rank 1: the channel) the beam with the most energy, or as many different beams with the most
    energy of all layers; of them, and all phases, those with the largest energy (rank 1) or log-determinant.

    A PMI has ``i11`` ``[report]`` (the group, :math:`O_2 q_1 + q_2`), ``i12`` ``[report, layer]`` and ``i2``
    ``[report, subband, layer]``.

    Args:
        panel: gNB panel.
        num_samples: frequency samples of the channel.
        unit: samples of one subband.
        rank: layers, 1..4.
        snr_db: SNR of the selection at rank 2 and higher [dB].
    Raises:
        ConfigError: for parameters that are not in the tables.
    Source: TS 38.214 (Rel. 19), 5.2.2.2.1a, codebookMode modeB.
    """

    def __init__(self, panel: Panel, num_samples: int, unit: int, rank: int, snr_db: float = 10.0):
        if not 1 <= rank <= 4:
            raise ConfigError(f"{_FIELD}.rank", rank, f"1..4 with {panel.num_ports} ports")
        self.rank, self.unit, self.snr_db = rank, unit, snr_db
        self.num_units = -(-num_samples // unit)
        self._groups = BeamGroups(panel, *oversampling(panel, _FIELD, large=True))
        self._order = subband_order(self.num_units)
        self._choices = np.array(list(product(range(4), repeat=rank)))  # c of all layers
        self._beam_bits = (self._groups.num_beams - 1).bit_length()
        self._widths = [(self._groups.num_groups - 1).bit_length(), rank * self._beam_bits, 2 * rank * self.num_units]
        self.part2_bits = sum(self._widths)

    def select(self, h: np.ndarray) -> Pmi:
        """PMI of channels complex64 ``[report, rx_ant, port, subcarrier]``."""
        parts = [self._select(h[i : i + _CHUNK]) for i in range(0, len(h), _CHUNK)]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _select(self, h: np.ndarray) -> Pmi:
        h = unit_power(h, num_lead=1)
        if self.rank == 1:  # energy counts
            v = np.moveaxis(h, 2, 3).conj().reshape(len(h), 1, -1, h.shape[2])
        else:
            v = subband_eigenvectors(h, self.unit, self.rank)
        vectors, reports = self._groups.vectors, np.arange(len(h))
        x = v.reshape(*v.shape[:3], 2, -1) @ vectors.reshape(-1, vectors.shape[2]).conj().T
        energy = np.sum(np.square(x.real) + np.square(x.imag), axis=(2, 3))  # [report, layer, beam of all groups]
        energy = energy.reshape(*energy.shape[:2], *vectors.shape[:2])
        groups = np.argsort(-energy.max(axis=3).sum(axis=1), axis=1, kind="stable")[:, :_GROUPS]
        own = energy.argmax(axis=3)  # [report, layer, group]
        different = np.argsort(-energy.sum(axis=1), axis=2, kind="stable")[..., : self.rank]  # [report, group, layer]
        sets = [beams[reports, :, group] for beams in (own, np.swapaxes(different, 1, 2)) for group in groups.T]
        chosen = [*groups.T, *groups.T]
        found = [self._phases(h, group, beams) for group, beams in zip(chosen, sets, strict=True)]
        score, i2 = (np.stack(each) for each in zip(*found, strict=True))
        best = score.argmax(axis=0)
        i12 = self._groups.num_beams - 1 - np.stack(sets)[best, reports]
        return {"i11": np.stack(chosen)[best, reports], "i12": i12, "i2": self._choices[i2[best, reports]]}

    def _phases(self, h: np.ndarray, group: np.ndarray, beams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score ``[report]`` of beams ``[report, layer]`` of a group and, in every subband, the best phases."""
        vectors = self._groups.vectors[group[:, None], beams]  # [report, layer, element]
        received = np.einsum("nrpes,nle->nsrlp", h.reshape(*h.shape[:2], 2, -1, h.shape[3]), vectors, optimize=True)
        turned = received[..., :1] + received[..., 1:] * 1j ** np.arange(4)  # [report, subcarrier, rx_ant, layer, c]
        rows = np.arange(self.rank)
        scale = float(db_to_lin(self.snr_db)) / self.rank / 2
        scores = np.empty((self.num_units, len(h), len(self._choices)))
        for t in range(self.num_units):
            e = turned[:, t * self.unit : (t + 1) * self.unit]
            e = e.reshape(len(h), -1, 4 * self.rank) * np.float32(np.sqrt(scale / e.shape[1]))
            every = (np.swapaxes(e.conj(), 1, 2) @ e).reshape(len(h), self.rank, 4, self.rank, 4)
            first, second = self._choices[:, :, None], self._choices[:, None]
            gram = every[:, rows[:, None], first, rows, second]
            full = gram[..., 0, 0].real if self.rank == 1 else np.linalg.slogdet(gram + np.eye(self.rank))[1]
            scores[t] = full
        return scores.max(axis=2).sum(axis=0), scores.argmax(axis=2).T

    def precoder(self, pmi: Pmi) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]``."""
        v = self._groups.vectors[pmi["i11"][:, None], self._groups.num_beams - 1 - pmi["i12"]]
        v = np.moveaxis(v, 1, 2)[..., None] / np.sqrt(2)  # [report, element, layer, 1]
        phase = 1j ** np.swapaxes(pmi["i2"], 1, 2)[:, None]  # [report, 1, layer, unit]
        return np.concatenate([v * np.ones_like(phase), v * phase], axis=1).astype(np.complex64)

    def pack(self, pmi: Pmi) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """No part 1; part 2: i_{1,1}, i_{1,2} of all layers, then i_2 of the even and of the odd subbands."""
        parts = [
            bitfield.pack(pmi["i11"][:, None], self._widths[0]),
            bitfield.pack(pmi["i12"], self._beam_bits),
            bitfield.pack(pmi["i2"][:, self._order].reshape(len(pmi["i11"]), -1), 2),
        ]
        part2 = np.concatenate(parts, axis=1)
        return part2[:, :0], part2, np.full(len(part2), self.part2_bits, np.int64)

    def unpack(self, part1: np.ndarray, part2: np.ndarray, num_bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        """PMI and ``valid``: beams that exist."""
        group, beams, phases = np.split(part2[:, : self.part2_bits], np.cumsum(self._widths)[:-1], axis=1)
        i12 = bitfield.unpack(beams, self._beam_bits)
        valid = (np.asarray(num_bits) == self.part2_bits) & (i12 < self._groups.num_beams).all(axis=1)
        i2 = np.empty((len(part2), self.num_units, self.rank), np.int64)
        i2[:, self._order] = bitfield.unpack(phases, 2).reshape(i2.shape)
        i11 = bitfield.unpack(group, self._widths[0])[:, 0]
        return {"i11": i11, "i12": np.minimum(i12, self._groups.num_beams - 1), "i2": i2}, valid
