"""The pseudo-random sequence of NR."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SKIPPED = 1600  # N_C
_STEP = 28  # bits that depend on earlier ones only


def gold_sequence(c_init: ArrayLike, length: int) -> NDArray[np.uint8]:
    r"""Length-31 Gold sequences :math:`c(n) = (x_1(n + 1600) + x_2(n + 1600)) \bmod 2`.

    :math:`x_1(n + 31) = x_1(n + 3) + x_1(n)` starts from one, :math:`x_2(n + 31) = x_2(n + 3) + x_2(n + 2) +
    x_2(n + 1) + x_2(n)` from the bits of ``c_init``.

    Args:
        c_init: integers ``[...]`` in [0, 2^31).
        length: bits of each sequence.

    Returns:
        uint8 0/1 ``[..., length]``.

    Source: 3GPP TS 38.211, 5.2.1.
    """
    c_init = np.asarray(c_init, np.int64)
    x1 = np.zeros(_SKIPPED + length + _STEP, np.uint8)
    x2 = np.zeros((*c_init.shape, len(x1)), np.uint8)
    x1[0] = 1
    x2[..., :31] = c_init[..., None] >> np.arange(31) & 1
    for n in range(0, _SKIPPED + length - 31, _STEP):
        end = min(n + _STEP, len(x1) - 31)
        x1[n + 31 : end + 31] = x1[n + 3 : end + 3] ^ x1[n:end]
        x2[..., n + 31 : end + 31] = (
            x2[..., n + 3 : end + 3] ^ x2[..., n + 2 : end + 2] ^ x2[..., n + 1 : end + 1] ^ x2[..., n:end]
        )
    return x1[_SKIPPED : _SKIPPED + length] ^ x2[..., _SKIPPED : _SKIPPED + length]
