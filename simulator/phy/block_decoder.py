"""Decodes transport blocks of any MCS and rank; decoders are kept for later blocks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simulator.phy.transport_block import TransportBlock


class BlockDecoder:
    """Exact mode of :class:`simulator.throughput.blocks.Throughput`.

    Args:
        sample_of_re: int ``[re]``, frequency sample of every resource element with data.
        num_iter: iterations of belief propagation.
    """

    def __init__(self, sample_of_re: NDArray[np.int64], num_iter: int = 20):
        num_re = len(sample_of_re)

        # A compiled chain holds the graph of its code: the least used ones go.
        @lru_cache(maxsize=128)
        def block(num_layers: int, modulation_order: int, rate: float) -> TransportBlock:
            return TransportBlock(num_re, num_layers, modulation_order, rate, sample_of_re, num_iter)

        self._block = block

    def decode(
        self, sinr: NDArray[np.float32], modulation_order: int, rate: float, *, seed: int | Sequence[int]
    ) -> NDArray[np.bool_]:
        """ACK bool ``[block]`` of blocks with SINRs float32 ``[block, sample, layer]``; a seed for each."""
        return self._block(sinr.shape[-1], int(modulation_order), float(rate)).decode(sinr, seed=seed)
