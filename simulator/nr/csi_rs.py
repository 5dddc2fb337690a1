"""CSI-RS of TS 38.211: which resource elements carry which ports, and the sequence on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import hadamard

from simulator.core.errors import ConfigError
from simulator.nr.gold import gold_sequence

SYMBOLS = 14  # OFDM symbols of a slot
# Resource elements of a CDM group along frequency and time.
CDM = {"noCDM": (1, 1), "fd-CDM2": (2, 1), "cdm4-FD2-TD2": (2, 2), "cdm8-FD2-TD4": (2, 4)}


@dataclass(frozen=True)
class Row:
    """One row of Table 7.4.1.5.3-1; its locations run over ``shifts``, then over k_i, then over ``times``.

    Args:
        num_ports: ports X.
        densities: resource elements per port and resource block that are allowed.
        cdm: a key of ``CDM``.
        num_k: how many k_i.
        times: (i, d) stands for the symbol l_i + d.
        shifts: offsets added to every k_i.
    """

    num_ports: int
    densities: tuple[float, ...]
    cdm: str
    num_k: int = 1
    times: tuple[tuple[int, int], ...] = ((0, 0),)
    shifts: tuple[int, ...] = (0,)

    @property
    def num_locations(self) -> int:
        """Pairs (k-bar, l-bar)."""
        return self.num_k * len(self.times) * len(self.shifts)


_ANY, _PAIR = (1.0, 0.5), ((0, 0), (0, 1))
ROWS = {
    1: Row(1, (3.0,), "noCDM", shifts=(0, 4, 8)),
    2: Row(1, _ANY, "noCDM"),
    3: Row(2, _ANY, "fd-CDM2"),
    4: Row(4, (1.0,), "fd-CDM2", shifts=(0, 2)),
    5: Row(4, (1.0,), "fd-CDM2", times=_PAIR),
    6: Row(8, (1.0,), "fd-CDM2", 4),
    7: Row(8, (1.0,), "fd-CDM2", 2, _PAIR),
    8: Row(8, (1.0,), "cdm4-FD2-TD2", 2),
    9: Row(12, (1.0,), "fd-CDM2", 6),
    10: Row(12, (1.0,), "cdm4-FD2-TD2", 3),
    11: Row(16, _ANY, "fd-CDM2", 4, _PAIR),
    12: Row(16, _ANY, "cdm4-FD2-TD2", 4),
    13: Row(24, _ANY, "fd-CDM2", 3, (*_PAIR, (1, 0), (1, 1))),
    14: Row(24, _ANY, "cdm4-FD2-TD2", 3, ((0, 0), (1, 0))),
    15: Row(24, _ANY, "cdm8-FD2-TD4", 3),
    16: Row(32, _ANY, "fd-CDM2", 4, (*_PAIR, (1, 0), (1, 1))),
    17: Row(32, _ANY, "cdm4-FD2-TD2", 4, ((0, 0), (1, 0))),
    18: Row(32, _ANY, "cdm8-FD2-TD4", 4),
}
# More ports are those of several resources of 24 or 32 ports (Release 19): their number, and the ports of each.
AGGREGATED = {48: (2, 24), 64: (2, 32), 128: (4, 32)}
PORTS = (*sorted({row.num_ports for row in ROWS.values()}), *AGGREGATED)
_PER_SLOT = 2  # aggregated resources in a slot
# Values of k_i that the bitmap of the row can signal (7.4.1.5.3).
_K = {1: range(4), 2: range(12), 4: range(0, 12, 4)}


class CsiRs:
    """One CSI-RS resource; its ports 3000 + s + jL are numbered s + jL here, with CDM groups j of L ports.

    48, 64 and 128 ports are two, two and four resources of 24 or 32, one set of ports after the other: two in a slot,
    each right after the one before, the others in the next slot (symbols from 14 on).

    Args:
        num_ports: 1, 2, 4, 8, 12, 16, 24, 32, or 48, 64, 128.
        row: of Table 7.4.1.5.3-1; None takes the one with the largest CDM groups.
        density: resource elements per port and resource block, 3, 1 or 0.5 (even resource blocks); None takes 1 where
            the row has it.
        k: the k_i, increasing; None packs them from 0 up.
        l: l_0 and, where the row has it, l_1.
        scrambling_id: n_ID, 0..1023.

    Raises:
        ConfigError: ports without a row, density or k_i that the row does not have, resources that overlap or do not
            fit into the slot.

    Source: 3GPP TS 38.211, 7.4.1.5.2, 7.4.1.5.3, Tables 7.4.1.5.3-1 to -5; aggregation: TS 38.214 (Rel. 19), 5.2.2.3.1,
        the order of the ports and the symbols are ours.
    """

    def __init__(
        self,
        num_ports: int,
        *,
        row: int | None = None,
        density: float | None = None,
        k: Sequence[int] | None = None,
        l: Sequence[int] = (4, 8),  # noqa: E741 - as in the standard
        scrambling_id: int = 0,
    ):
        self._resources, ports = AGGREGATED.get(num_ports, (1, num_ports))
        self.row = _choose(ports, row, density)
        table = ROWS[self.row]
        self.num_ports = num_ports
        self.density = table.densities[0] if density is None else float(density)
        self.cdm = CDM[table.cdm]
        if not 0 <= scrambling_id < 1024:
            raise ConfigError("csi_rs.scrambling_id", scrambling_id, "0..1023")
        self.scrambling_id = scrambling_id
        allowed = _K.get(self.row, range(0, 12, 2))
        k = list(allowed[: table.num_k] if k is None else k)
        if len(k) != table.num_k or k != sorted(set(k)) or not set(k) <= set(allowed):
            raise ConfigError("csi_rs.k", k, f"{table.num_k} of {', '.join(map(str, allowed))}, increasing")
        if len(l) < 1 + max(i for i, _ in table.times):
            raise ConfigError("csi_rs.l", list(l), f"l_0 and l_1 (row {self.row})")
        after = self.cdm[1] if self.cdm[1] == 4 else 2  # symbols from one resource of a slot to the next
        starts = [SYMBOLS * slot + after * n for slot, n in (divmod(i, _PER_SLOT) for i in range(self._resources))]
        places = [
            (base + d, start + l[i] + t) for start in starts for i, t in table.times for base in k for d in table.shifts
        ]
        self.k_bar, self.l_bar = np.array(places).T
        groups = np.arange(len(places))
        self.group = groups if len(table.shifts) < 3 else 0 * groups  # row 1: one port at all its locations
        self._check(k, list(l))

    def _check(self, k: list[int], l: list[int]) -> None:  # noqa: E741
        elements = [
            (int(a) + f, int(b) + t)
            for a, b in zip(self.k_bar, self.l_bar, strict=True)
            for f in range(self.cdm[0])
            for t in range(self.cdm[1])
        ]
        if len(set(elements)) < len(elements):
            raise ConfigError("csi_rs.k, csi_rs.l", (k, l), "locations that do not overlap")
        slots = {(int(b) // SYMBOLS, (int(b) + self.cdm[1] - 1) // SYMBOLS) for b in self.l_bar}
        if max(e[0] for e in elements) > 11 or min(e[1] for e in elements) < 0 or slots != self._slots:
            raise ConfigError("csi_rs.k, csi_rs.l", (k, l), "resource elements inside 12 subcarriers and 14 symbols")

    @property
    def num_cdm(self) -> int:
        """Ports of a CDM group, L."""
        return self.cdm[0] * self.cdm[1]

    @property
    def code(self) -> np.ndarray:
        """:math:`w_f(k') w_t(l')`, float32 ``[port of the group, k', l']``."""
        frequency, time = (hadamard(n).astype(np.float32) for n in self.cdm)
        return (time[:, None, None, :] * frequency[None, :, :, None]).reshape(self.num_cdm, *self.cdm)

    def resource_blocks(self, num_subcarriers: int) -> np.ndarray:
        """Resource blocks n that carry CSI-RS as a whole, int ``[rb]``, in a band of ``num_subcarriers``."""
        last = num_subcarriers - int(self.k_bar.max()) - self.cdm[0]
        return np.arange(0, last // 12 + 1 if last >= 0 else 0, 2 if self.density == 0.5 else 1)

    @property
    def num_slots(self) -> int:
        """Slots with resource elements."""
        return -(-self._resources // _PER_SLOT)

    @property
    def _slots(self) -> set[tuple[int, int]]:
        return {(slot, slot) for slot in range(self.num_slots)}

    def symbols(self, blocks: np.ndarray, slot: int, slots_per_frame: int | None = None) -> np.ndarray:
        r"""QPSK symbols :math:`r_{l, n_{s,f}}(m')` on every resource element, complex64 ``[location, k', l', rb]``.

        :math:`m' = \lfloor n \alpha \rfloor + k' + \lfloor \bar k \rho / 12 \rfloor`, :math:`\alpha = \rho` for one
        port, :math:`2 \rho` for more.

        Args:
            blocks: resource blocks n.
            slot: in the frame.
            slots_per_frame: after the last one comes slot 0; None: no end.
        """
        alpha = self.density * (1 if self.num_ports == 1 else 2)
        shift = (self.k_bar * self.density // 12).astype(int)
        taps, times = (np.arange(n) for n in self.cdm)
        m = np.floor(blocks * alpha).astype(int) + taps[:, None, None] + shift[:, None, None, None]
        l = SYMBOLS * slot + self.l_bar[:, None] + times  # noqa: E741 - [location, l']
        if slots_per_frame is not None:
            l = l % (SYMBOLS * slots_per_frame)  # noqa: E741
        r = csi_rs_sequence(int(m.max()) + 1, l, 0, self.scrambling_id)  # [location, l', m]
        return np.take_along_axis(r[:, None], np.broadcast_to(m, (*m.shape[:2], len(times), m.shape[3])), axis=-1)

    def grid(self, num_subcarriers: int, slot: int = 0) -> np.ndarray:
        """What every port sends with amplitude 1, from a slot on: complex64 ``[port, symbol, subcarrier]``."""
        out = np.zeros((self.num_ports, SYMBOLS * self.num_slots, num_subcarriers), np.complex64)
        blocks = self.resource_blocks(num_subcarriers)
        r = self.symbols(blocks, slot)
        for i, group in enumerate(self.group):
            for s, f, t in np.ndindex(self.code.shape):
                k, l = 12 * blocks + self.k_bar[i] + f, self.l_bar[i] + t  # noqa: E741
                out[group * self.num_cdm + s, l, k] = self.code[s, f, t] * r[i, f, t]
        return out


def csi_rs_sequence(length: int, symbol: np.ndarray | int, slot: int, scrambling_id: int) -> np.ndarray:
    r"""CSI-RS sequence :math:`r(m)`, complex64 ``[..., length]``, unit modulus, for OFDM symbols ``[...]`` of a slot.

    Source: 3GPP TS 38.211, 7.4.1.5.2, with :math:`c_{init} = (2^{10} (14 n_{s,f} + l + 1)(2 n_{ID} + 1) + n_{ID})
    \bmod 2^{31}`.
    """
    c_init = (
        2**10 * (SYMBOLS * slot + np.asarray(symbol, np.int64) + 1) * (2 * scrambling_id + 1) + scrambling_id
    ) % 2**31
    signs = 1 - 2 * gold_sequence(c_init, 2 * length).astype(np.float32)
    return (signs[..., ::2] + 1j * signs[..., 1::2]).astype(np.complex64) / np.float32(np.sqrt(2))


def _choose(num_ports: int, row: int | None, density: float | None) -> int:
    """Row of the table for these ports."""
    rows = [n for n, entry in ROWS.items() if entry.num_ports == num_ports]
    if not rows:
        raise ConfigError("bs (CSI-RS ports, num_pol * n1 * n2)", num_ports, ", ".join(map(str, PORTS)))
    if row is not None and row not in rows:
        raise ConfigError("csi_rs.row", row, f"{', '.join(map(str, rows))} ({num_ports} ports)")
    rows = rows if row is None else [row]
    fitting = [n for n in rows if density is None or density in ROWS[n].densities]
    if not fitting:
        known = sorted({d for n in rows for d in ROWS[n].densities})
        raise ConfigError("csi_rs.density", density, f"{', '.join(f'{d:g}' for d in known)} ({num_ports} ports)")
    if density is None and row is None:
        fitting = [n for n in fitting if 1.0 in ROWS[n].densities]
    return min(fitting, key=lambda n: ROWS[n].num_locations)
