"""Codebook subset restriction and rank restriction: bit strings of TS 38.214 that keep a UE away from beams and ranks.

Bit strings are text of 0 and 1, most significant bit first, as the standard writes bit sequences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from receivers.codebooks.combination import combination_members, combination_rank
from simulator.core.errors import ConfigError
from simulator.core.types import Panel

NUM_GROUPS = 4  # of beams that a Type II bitmap restricts
FULL = 3  # level of the largest amplitude, 1
LEVELS = (0.0, math.sqrt(1 / 4), math.sqrt(1 / 2), 1.0)  # largest amplitudes (TS 38.214, Table 5.2.2.2.3-6)
_GROUP_BITS = 11  # of B1: C(16, 4) = 1,820 sets


def allowed_ranks(bits: str | None, most: int, field: str) -> list[int]:
    """Ranks whose bit is 1: the least significant one is that of rank 1.

    Args:
        bits: RI restriction, or None: all ranks.
        most: ranks of the codebook, the number of bits.
        field: of the scheme, for the message.

    Raises:
        ConfigError: another number of bits, or no rank left.
    Source: TS 38.214, 5.2.2.2.1 (``typeI-SinglePanel-ri-Restriction``), 5.2.2.2.3, 5.2.2.2.5.
    """
    if bits is None:
        return list(range(1, most + 1))
    ranks = [rank for rank, bit in enumerate(_flags(bits, most, field)[::-1], 1) if bit]
    if not ranks:
        raise ConfigError(field, bits, "at least one 1: a rank that is allowed")
    return ranks


def type1_bitmap(panel: Panel, over: tuple[int, int], restricted: Sequence[tuple[int, int]]) -> str:
    """``n1-n2-codebookSubsetRestriction`` of Type I with the beams (l, m) restricted, all others allowed."""
    width = panel.n2 * over[1]
    bits = np.ones(panel.n1 * over[0] * width, np.int64)
    for column, row in restricted:
        bits[width * column + row] = 0
    return "".join(map(str, bits[::-1]))


def type1_allowed(bits: str, panel: Panel, over: tuple[int, int], field: str) -> np.ndarray:
    r"""Whether the beam :math:`v_{l,m}` is allowed, bool ``[l, m]``: bit :math:`a_{N_2 O_2 l + m}`.

    Raises:
        ConfigError: another number of bits.
    Source: TS 38.214, 5.2.2.2.1.
    """
    size = panel.n1 * over[0], panel.n2 * over[1]
    return _flags(bits, math.prod(size), field)[::-1].reshape(size)


def type2_bitmap(panel: Panel, over: tuple[int, int], levels: Mapping[tuple[int, int], np.ndarray]) -> str:
    """``n1-n2-codebookSubsetRestriction`` of Type II: the largest amplitudes in four groups of neighbouring beams.

    Args:
        panel: gNB panel.
        over: (O1, O2).
        levels: of the group (r1, r2) for its beams (N1 r1 + x1, N2 r2 + x2), integers ``[x1, x2]``, 0 to 3:
            amplitudes :data:`LEVELS`.
    """
    groups = np.array(sorted(over[0] * r2 + r1 for r1, r2 in levels))
    number = combination_rank(groups, over[0] * over[1])
    parts = [f"{number:0{_GROUP_BITS}b}"] if panel.n2 > 1 else []
    for g in groups.tolist():
        level = np.asarray(levels[g % over[0], g // over[0]]).T.ravel()  # by N1 x2 + x1
        parts += [f"{value:02b}" for value in level[::-1]]
    return "".join(parts)


def type2_levels(bits: str, panel: Panel, over: tuple[int, int], field: str) -> np.ndarray:
    r"""Level of the largest amplitude of every beam in the order of :class:`receivers.codebooks.beams.BeamGroups`.

    B = B1 B2. B1 (11 bits, none if N2 = 1) is the number of the set of four groups
    :math:`G(r_1, r_2) = \{v_{N_1 r_1 + x_1, N_2 r_2 + x_2}\}`, which have the numbers :math:`O_1 r_2 + r_1`. B2 has two
    bits for each of their beams, in every group that with the largest :math:`N_1 x_2 + x_1` first. Beams of other
    groups are not restricted.

    Returns:
        int64 ``[O1 O2, N1 N2]``, 0 to 3, see :data:`LEVELS`.

    Raises:
        ConfigError: another number of bits, no set of groups, panels of more than 32 ports (no source for them), or
            no beam of a group with the amplitude 1 left.
    Source: TS 38.214, 5.2.2.2.3, Table 5.2.2.2.3-6.
    """
    if panel.num_ports > 32:
        raise ConfigError(field, f"{len(bits)} bits", f"null with {panel.num_ports} ports, at most 32")
    (o1, o2), n1, n2 = over, panel.n1, panel.n2
    head = _GROUP_BITS if n2 > 1 else 0
    flags = _flags(bits, head + NUM_GROUPS * 2 * n1 * n2, field)
    number, groups = int(bits[:head] or "0", 2), np.arange(NUM_GROUPS)
    if head:
        sets = math.comb(o1 * o2, NUM_GROUPS)
        if number >= sets:
            raise ConfigError(field, f"B1 = {number}", f"0..{sets - 1}, the sets of {NUM_GROUPS} of {o1 * o2} groups")
        groups = combination_members(np.array(number), o1 * o2, NUM_GROUPS)
    by_beam = np.full((n1 * o1, n2 * o2), FULL, np.int64)  # [m1, m2]
    values = flags[head:].reshape(NUM_GROUPS, n2 * n1, 2)[:, ::-1] @ [2, 1]
    for g, level in zip(groups.tolist(), values.reshape(NUM_GROUPS, n2, n1), strict=True):
        r1, r2 = g % o1, g // o1
        by_beam[n1 * r1 : n1 * (r1 + 1), n2 * r2 : n2 * (r2 + 1)] = level.T
    # m_i = O_i n_i + q_i; groups of orthogonal beams q = O2 q1 + q2, their beams n = N1 n2 + n1
    levels = by_beam.reshape(n1, o1, n2, o2).transpose(1, 3, 2, 0).reshape(o1 * o2, n1 * n2)
    if not (levels == FULL).any():
        raise ConfigError(field, bits, "a beam with amplitude 1: the strongest coefficient has it")
    return levels


def _flags(bits: str, number: int, field: str) -> np.ndarray:
    """Bits in the order written, bool ``[number]``."""
    if len(bits) != number or set(bits) - set("01"):
        got = bits if len(bits) <= 40 else f"{len(bits)} characters"
        raise ConfigError(field, got, f"{number} characters 0 or 1, in quotes")
    return np.array([bit == "1" for bit in bits])
