"""MCS and CQI tables, and the transport block size, of TS 38.214 as data and pure functions in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.core.errors import ConfigError

MAX_LAYERS = 4  # of one codeword (TS 38.211, 7.3.1.3)
MAX_DATA_SHARE = 156 / 168  # resource elements of a slot that count for the transport block size (TS 38.214, 5.1.3.2)


@dataclass(frozen=True)
class CodingTable:
    """Rows of modulation order and target code rate.

    Args:
        field: name of the index in error messages.
        first: index of the first row: 0 of an MCS table, 1 of a CQI table, whose 0 stands for out of range.
        modulation_order: int64 ``[row]``, bits of a QAM symbol.
        rate: float64 ``[row]``, information bits over coded bits.
    """

    field: str
    first: int
    modulation_order: NDArray[np.int64]
    rate: NDArray[np.float64]

    @property
    def efficiency(self) -> NDArray[np.float64]:
        """Spectral efficiency ``modulation_order * rate`` [bit per resource element and layer], float64 ``[row]``."""
        return self.modulation_order * self.rate

    def row(self, index: ArrayLike) -> NDArray[np.int64]:
        """Row of every index; ConfigError for an index that the table does not have."""
        index = np.asarray(index)
        last = self.first + len(self.rate) - 1
        wrong = (index < self.first) | (index > last)
        if wrong.any():
            raise ConfigError(self.field, int(index[wrong].flat[0]), f"{self.first}..{last}")
        return np.asarray(index - self.first, np.int64)


def mcs_table(number: int) -> CodingTable:
    """MCS table 1 (up to 64QAM), 2 (256QAM) or 3 (low spectral efficiency) of PDSCH.

    Source: TS 38.214, Tables 5.1.3.1-1, 5.1.3.1-2 and 5.1.3.1-3. Reserved indices are left out.
    """
    return _table("throughput.mcs", 0, "mcs_table", _MCS, number)


def cqi_table(number: int) -> CodingTable:
    """CQI table 1, 2 or 3, the companions of the MCS tables of the same number.

    Source: TS 38.214, Tables 5.2.2.1-2, 5.2.2.1-3 and 5.2.2.1-4.
    """
    return _table("throughput.cqi", 1, "cqi_table", _CQI, number)


@dataclass(frozen=True)
class BlockSize:
    """Transport block and its code blocks, int64 ``[...]`` each.

    Args:
        tb_size: information bits of the transport block.
        cb_size: bits of a code block that the LDPC code protects, CRCs included.
        num_cb: code blocks of the transport block.
    """

    tb_size: NDArray[np.int64]
    cb_size: NDArray[np.int64]
    num_cb: NDArray[np.int64]


def block_size(num_re: ArrayLike, num_layers: ArrayLike, modulation_order: ArrayLike, rate: ArrayLike) -> BlockSize:
    r"""Transport block size from :math:`N_{info} = N_{RE} R Q_m \upsilon`, and its segmentation.

    Args:
        num_re: resource elements with data, at most ``MAX_DATA_SHARE`` of the allocation.
        num_layers: layers of the codeword, 1..4.
        modulation_order: bits of a QAM symbol.
        rate: target code rate.

    Returns:
        Sizes of the shape that the arguments broadcast to.

    Source: TS 38.214, 5.1.3.2; TS 38.212, 5.2.2 and 7.2.1.
    """
    layers = np.asarray(num_layers)
    if (layers < 1).any() or (layers > MAX_LAYERS).any():
        raise ConfigError("num_layers", layers.tolist(), f"1..{MAX_LAYERS} (one codeword)")
    rate = np.asarray(rate, np.float64)
    num_info = np.asarray(num_re) * rate * modulation_order * layers
    # Step 3: up to 3824 bits by table.
    step = 2.0 ** np.maximum(3, _floor_log2(num_info) - 6)
    small = np.maximum(24, step * np.floor(num_info / step))
    listed = _TB_SIZES[np.minimum(np.searchsorted(_TB_SIZES, small), len(_TB_SIZES) - 1)]
    # Step 4: above, in whole bytes of equal code blocks; ties are rounded up.
    step = 2.0 ** (_floor_log2(num_info - 24) - 5)
    large = np.maximum(3840, step * np.floor((num_info - 24) / step + 0.5))
    blocks = np.where(
        rate <= 0.25, np.ceil((large + 24) / 3816), np.where(large > 8424, np.ceil((large + 24) / 8424), 1)
    )
    computed = 8 * blocks * np.ceil((large + 24) / (8 * blocks)) - 24
    by_table = num_info <= 3824
    tb_size = np.where(by_table, listed, computed).astype(np.int64)
    num_cb = np.where(by_table, 1, blocks).astype(np.int64)
    protected = tb_size + np.where(tb_size > 3824, 24, 16)
    return BlockSize(tb_size, protected // num_cb + np.where(num_cb > 1, 24, 0), num_cb)


def _floor_log2(x: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.frexp(np.maximum(x, 1.0))[1].astype(np.int64) - 1


def _table(field: str, first: int, kind: str, rows: dict[int, dict[int, list[float]]], number: int) -> CodingTable:
    if number not in rows:
        raise ConfigError(f"throughput.{kind}", number, ", ".join(map(str, rows)))
    order = [q for q, rates in rows[number].items() for _ in rates]
    rate = [r / 1024 for rates in rows[number].values() for r in rates]
    return CodingTable(field, first, np.array(order), np.array(rate))


# Modulation order -> 1024 times the code rate.
_16QAM = [340, 378, 434, 490, 553, 616]
_64QAM = [438, 466, 517, 567, 616, 666, 719, 772]
_MCS: dict[int, dict[int, list[float]]] = {
    1: {
        2: [120, 157, 193, 251, 308, 379, 449, 526, 602, 679],
        4: [*_16QAM, 658],
        6: [*_64QAM, 822, 873, 910, 948],
    },
    2: {
        2: [120, 193, 308, 449, 602],
        4: [*_16QAM[1:], 658],
        6: [*_64QAM[1:], 822, 873],
        8: [682.5, 711, 754, 797, 841, 885, 916.5, 948],
    },
    3: {
        2: [30, 40, 50, 64, 78, 99, 120, 157, 193, 251, 308, 379, 449, 526, 602],
        4: _16QAM,
        6: _64QAM,
    },
}
_CQI: dict[int, dict[int, list[float]]] = {
    1: {2: [78, 120, 193, 308, 449, 602], 4: [378, 490, 616], 6: [466, 567, 666, 772, 873, 948]},
    2: {2: [78, 193, 449], 4: [378, 490, 616], 6: [466, 567, 666, 772, 873], 8: [711, 797, 885, 948]},
    3: {2: [30, 50, 78, 120, 193, 308, 449, 602], 4: [378, 490, 616], 6: [466, 567, 666, 772]},
}
# TS 38.214, Table 5.1.3.2-1: steps of 8, 16, 24, ... up to each bound.
_TB_SIZES = np.array(
    [
        *range(24, 193, 8), *range(208, 385, 16), *range(408, 577, 24), *range(608, 737, 32), *range(768, 929, 40),
        984, 1032, 1064, 1128, 1160, 1192, 1224, 1256, 1288, 1320, 1352, 1416, 1480, 1544, 1608, 1672, 1736, 1800,
        1864, 1928, 2024, 2088, 2152, 2216, 2280, 2408, 2472, 2536, 2600, 2664, 2728, 2792, 2856, 2976, 3104, 3240,
        3368, 3496, 3624, 3752, 3824,
    ]
)  # fmt: skip
