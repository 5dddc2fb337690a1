"""Exp-Golomb codes of large parts, by a range coder, many reports in lockstep."""

from __future__ import annotations

import numpy as np

from receivers.coding.range_coder import RangeDecoder, RangeEncoder

_LONGEST = 20  # bits of a length


def put_escape(encoder: RangeEncoder, value: np.ndarray) -> None:
    """Exp-Golomb code of order 0 of values >= 0; nothing for negative ones."""
    active = value >= 0
    value = np.maximum(value, 0) + 1
    width = np.floor(np.log2(value)).astype(np.int64)  # exact up to 2**48
    for digit in range(_LONGEST):
        now = active & (digit <= width)
        if not now.any():
            break
        _put_bits(encoder, digit < width, now)
    for digit in range(int(width.max())):
        _put_bits(encoder, value >> np.maximum(width - 1 - digit, 0) & 1, active & (digit < width))


def _put_bits(encoder: RangeEncoder, bit: np.ndarray, active: np.ndarray) -> None:
    share = np.where(active, 1, 2).astype(np.uint64)
    encoder.put(np.where(active, bit, 0).astype(np.uint64), share, 1)


def take_escape(decoder: RangeDecoder, active: np.ndarray) -> np.ndarray:
    """What :func:`put_escape` coded where ``active``, 0 elsewhere."""
    width = np.zeros(len(active), np.int64)
    longer = active.copy()
    for _ in range(_LONGEST):
        if not longer.any():
            break
        longer = longer & (_take_bits(decoder, longer) == 1) & decoder.determined
        width += longer
    value = np.ones(len(active), np.int64)
    for digit in range(int(width.max())):
        now = digit < width
        value = np.where(now, 2 * value + _take_bits(decoder, now), value)
    return np.where(active, value - 1, 0)


def _take_bits(decoder: RangeDecoder, active: np.ndarray) -> np.ndarray:
    bit = np.where(active, decoder.target(1), 0)
    decoder.take(bit.astype(np.uint64), np.where(active, 1, 2).astype(np.uint64), 1)
    return bit
