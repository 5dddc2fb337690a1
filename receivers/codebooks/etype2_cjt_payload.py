"""Enhanced Type II PMI for coherent joint transmission as bits, in the groups of TS 38.214, 5.2.3."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np

from receivers.codebooks.combination import combination_bits, combination_members, combination_rank
from receivers.codebooks.etype2_payload import EnhancedTypeTwoPayload
from receivers.codebooks.pmi import Pmi
from simulator.core import bitfield


@dataclass(frozen=True)
class CjtPayload(EnhancedTypeTwoPayload):
    """Parts 1 and 2 of a PMI of :class:`receivers.codebooks.etype2_cjt.CjtCodebook`.

    Other than in Release 16: i_{1,1} and i_{1,2} hold a number for each of N stations, and i_{1,9} ends group 1. L is
    the sum of all L_j.

    Args:
        trp_beams: L_1, ..., L_N.
        num_offsets: values of an element of i_{1,9}, N_3 O_3; 1 without i_{1,9} (mode 2).

    Source: TS 38.214 (Rel. 18), 5.2.2.2.8 and 5.2.3.
    """

    trp_beams: tuple[int, ...] = ()
    num_offsets: int = 1

    def _heads(self, nonzero: int) -> tuple[list[tuple[str, int, int]], list[tuple[str, int, int]]]:
        group0, group1 = super()._heads(nonzero)
        sets = [(f"beams {j}", 1, combination_bits(self.group_size, count)) for j, count in enumerate(self.trp_beams)]
        others = [field for field in group0 if field[0] not in ("group", "beams")]
        return [("group", len(self.trp_beams), self._group_bits), *sets, *others], group1

    def _basis_numbers(self, pmi: Pmi) -> dict[str, np.ndarray]:
        sets = np.split(pmi["beams"], np.cumsum(self.trp_beams)[:-1], axis=1)
        numbers = {f"beams {j}": combination_rank(members, self.group_size)[:, None] for j, members in enumerate(sets)}
        return {"group": pmi["group"], **numbers}

    def _basis_of(self, numbers: dict[str, np.ndarray]) -> tuple[Pmi, np.ndarray]:
        """Groups and beams of all stations; all values of i_{1,1} exist, as O_1 O_2 is a power of two."""
        found, good = [], np.ones(len(numbers["group"]), bool)
        for j, count in enumerate(self.trp_beams):
            number = numbers[f"beams {j}"][:, 0]
            exists = number < comb(self.group_size, count)
            found.append(combination_members(np.where(exists, number, 0), self.group_size, count))
            good &= exists
        return {"group": numbers["group"], "beams": np.concatenate(found, axis=1)}, good

    @property
    def _offset_bits(self) -> int:
        return (self.num_offsets - 1).bit_length()

    @property
    def tail_bits(self) -> int:
        """Bits of i_{1,9}."""
        return (len(self.trp_beams) - 1) * self._offset_bits

    def _tail(self, pmi: Pmi) -> np.ndarray:
        if not self.tail_bits:
            return super()._tail(pmi)
        return bitfield.pack(pmi["offset"], self._offset_bits)

    def _tail_values(self, bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        if not self.tail_bits:
            return super()._tail_values(bits)
        offset = bitfield.unpack(bits, self._offset_bits)
        return {"offset": offset}, (offset < self.num_offsets).all(axis=1)
