"""Fields of a CQI in a report: wideband index, and differential indices of the subbands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CQI_BITS = 4  # of a wideband CQI (TS 38.214, Tables 5.2.2.1-2 to 5.2.2.1-4)
SUBBAND_CQI_BITS = 2
AT_LEAST, AT_MOST = 2, 3  # levels without an end: two or more above, one or more below the wideband CQI
_OFFSETS = np.array([0, 1, 2, -1])  # of the levels


def cqi_widths(num_subbands: int = 0) -> tuple[int, ...]:
    """Bits of every field: the wideband CQI, then one for each subband; none of these for a wideband CQI alone.

    Source: TS 38.212, Table 6.3.2.1.2-3 (wideband CQI, then the subbands in increasing order, in part 1).
    """
    return (CQI_BITS, *(SUBBAND_CQI_BITS,) * num_subbands)


def differential(subband: NDArray[np.int64], wideband: NDArray[np.int64]) -> NDArray[np.int64]:
    """Differential CQI int64 of a CQI index of a subband: 0 and 1 for these offsets, 2 for more, 3 for less.

    Source: TS 38.214, Table 5.2.2.1-1.
    """
    offset = subband - wideband
    return np.where(offset < 0, AT_MOST, np.minimum(offset, AT_LEAST))


def subband_index(level: NDArray[np.int64], wideband: NDArray[np.int64]) -> NDArray[np.int64]:
    """CQI index int64, 0 to 15, that a differential CQI stands for; of levels without an end the nearest one."""
    return np.clip(wideband + _OFFSETS[level], 0, 15)
