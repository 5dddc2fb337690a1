"""Demodulation reference signals (DM-RS) of the PDSCH: resource elements and cover codes of every antenna port."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import ConfigError

_GROUPS = {1: 2, 2: 3}  # CDM groups of a configuration type
_SUBCARRIERS = 12


@dataclass(frozen=True)
class Dmrs:
    r"""DM-RS of one slot, the same in every resource block.

    Port 1000 + p of type 1 lies on subcarriers :math:`4n + 2k' + \Delta` of an OFDM symbol, of type 2 on
    :math:`6n + k' + \Delta`, with the cover code :math:`w_f(k') w_t(l')` and the amplitude :math:`\beta`: all power of
    the CDM groups without data goes to the pilots, :math:`\beta^2` = number of these groups. Averaged over all their
    resource elements a port then has the power of its data.

    Args:
        config_type: 1 (6 resource elements per port, block and symbol) or 2 (4 of them).
        length: 1 or 2 adjacent symbols (``l'``).
        additional: further positions in the slot, 0..3 (0..1 for two symbols).
        cdm_groups: CDM groups without data, 1..2 (type 1) or 1..3 (type 2); None: all.

    Raises:
        ConfigError: a value out of range.

    Source: TS 38.211, 7.4.1.1.2, Tables 7.4.1.1.2-1 and -2; TS 38.214, Table 4.1-1.
    """

    config_type: int = 1
    length: int = 1
    additional: int = 1
    cdm_groups: int | None = None

    def __post_init__(self) -> None:
        _among("dmrs.config_type", self.config_type, 1, 2)
        _among("dmrs.length", self.length, 1, 2)
        _among("dmrs.additional", self.additional, 0, 3 if self.length == 1 else 1)
        if self.cdm_groups is not None:
            _among("dmrs.cdm_groups", self.cdm_groups, 1, _GROUPS[self.config_type])

    @property
    def groups(self) -> int:
        """CDM groups without data."""
        return self.cdm_groups or _GROUPS[self.config_type]

    @property
    def ports(self) -> NDArray[np.int64]:
        """Orthogonal ports, int64 ``[port]``, counted from 1000: those of the groups in use."""
        every = np.arange(2 * _GROUPS[self.config_type] * self.length)
        return every[every // 2 % _GROUPS[self.config_type] < self.groups]

    @property
    def num_symbols(self) -> int:
        """OFDM symbols with DM-RS."""
        return self.length * (1 + self.additional)

    def codes(self) -> NDArray[np.float32]:
        """Pilots before scrambling, float32 ``[port, subcarrier of a block, symbol]``; 0 where a port is silent."""
        codes = np.zeros((len(self.ports), _SUBCARRIERS, self.num_symbols), np.float32)
        for row, port in zip(codes, self.ports, strict=True):
            group = port // 2 % _GROUPS[self.config_type]
            in_frequency = np.array([1, 1 - 2 * (port % 2)])
            in_time = np.array([1, 1 if port < 2 * _GROUPS[self.config_type] else -1])[: self.length]
            if self.config_type == 1:
                subcarriers, cover = np.arange(group, _SUBCARRIERS, 2), np.tile(in_frequency, 3)
            else:
                subcarriers, cover = 2 * group + np.array([0, 1, 6, 7]), np.tile(in_frequency, 2)
            row[subcarriers] = np.outer(cover, np.tile(in_time, 1 + self.additional)) * np.sqrt(self.groups)
        return codes


def _among(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(field, value, f"{low}..{high}")
