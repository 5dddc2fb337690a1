"""Transport blocks coded, sent over parallel AWGN channels, and decoded: the exact mode of the throughput."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sionna.phy.mapping import Constellation, Demapper, Mapper

from simulator.core.errors import ConfigError
from simulator.core.seeding import derive_wide
from simulator.nr.mcs import block_size
from simulator.phy.dl_sch import DlSchCode

_MAX_BLOCKS = 256  # of one call
_CHUNK_BITS = 2**19  # coded bits of one call: about 0.2 GiB of messages between the nodes of the code
_SMALL = 4000  # coded bits up to which XLA takes longer to compile than it saves
_NOISE_RANGE = 1e-9, 1e9


class TransportBlock:
    r"""Transport block of one size: CRC, segmentation, LDPC, rate matching, QAM, and all of it back.

    Every symbol is received as :math:`y = x + n` with a noise variance of 1 / SINR, as after a linear detector on one
    layer of a resource element. Bits are not scrambled: they are random.

    Args:
        num_re: resource elements with data.
        num_layers: layers of the codeword, 1..4.
        modulation_order: bits of a QAM symbol.
        rate: target code rate.
        sample_of_re: int ``[re]``, frequency sample whose SINR each resource element has; None: one each.
        num_iter: iterations of belief propagation.

    Source: TS 38.212, 7.2 (:class:`~simulator.phy.dl_sch.DlSchCode`); TS 38.211, 7.3.1.3 (symbol i goes to layer i mod
    the number of layers).
    """

    def __init__(
        self,
        num_re: int,
        num_layers: int,
        modulation_order: int,
        rate: float,
        sample_of_re: NDArray[np.int64] | None = None,
        num_iter: int = 20,
    ):
        sizes = block_size(num_re, num_layers, modulation_order, rate)
        self._order, self._num_layers = modulation_order, num_layers
        self.num_coded_bits = num_re * num_layers * modulation_order
        self._code = DlSchCode(sizes, self.num_coded_bits, rate, modulation_order, num_layers, num_iter)
        self.tb_size = self._code.tb_size
        self._sample_of_re = np.arange(num_re) if sample_of_re is None else np.asarray(sample_of_re)
        if self._sample_of_re.shape != (num_re,):
            raise ConfigError("sample_of_re", list(self._sample_of_re.shape), f"[{num_re}]")

    @property
    def blocks_per_call(self) -> int:
        """Blocks that are decoded at once, always, so that memory stays bounded and one shape is compiled."""
        return max(1, min(_MAX_BLOCKS, _CHUNK_BITS // self.num_coded_bits))

    def decode(self, sinr: NDArray[np.float32], *, seed: int | Sequence[int]) -> NDArray[np.bool_]:
        """Whether each block passed its CRC, bool ``[block]``.

        Args:
            sinr: post-detection SINR float32 ``[block, sample, layer]``, linear; ``sample`` is ``re`` without
                ``sample_of_re``.
            seed: of bits and noise; or one for every block, which then does not depend on the others.

        Raises:
            ConfigError: too few samples, or another number of layers.
        """
        sinr = np.asarray(sinr, np.float32)
        samples = self._sample_of_re.max() + 1
        if sinr.ndim != 3 or sinr.shape[1] < samples or sinr.shape[2] != self._num_layers:
            raise ConfigError("sinr", list(sinr.shape), f"[block, at least {samples}, {self._num_layers}]")
        ack = np.zeros(len(sinr), bool)
        if not self._code.decodable:
            return ack
        size = self.blocks_per_call
        seeds = [derive_wide(seed, "block", block) for block in range(len(sinr))] if isinstance(seed, int) else seed
        for start in range(0, len(sinr), size):
            part = sinr[start : start + size]
            filled = np.pad(part, ((0, size - len(part)), (0, 0), (0, 0)))
            bits, noise = self._drawn(seeds[start : start + size], size)
            ack[start : start + size] = self._chain(*map(tf.constant, (filled, bits, noise))).numpy()[: len(part)]
        return ack

    def _drawn(self, seeds: Sequence[int], size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Bits ``[block, bit]``, and unit noise ``[2, block, symbol]``, of ``size`` blocks; 0 without a seed."""
        bits = np.zeros((size, self.tb_size), np.float32)
        noise = np.zeros((2, size, self.num_coded_bits // self._order), np.float32)
        for block, seed in enumerate(seeds):
            rng = np.random.default_rng(seed)
            bits[block] = rng.integers(0, 2, self.tb_size, np.int8)
            noise[:, block] = rng.standard_normal((2, noise.shape[2]), np.float32)
        return bits, noise

    @cached_property
    def _chain(self) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
        """SINRs ``[block, sample, layer]``, bits and noise to CRC status ``[block]``, compiled."""
        code = self._code
        points = Constellation("qam", self._order)
        mapper, demapper = Mapper(constellation=points), Demapper("app", constellation=points)

        @tf.function(jit_compile=self.num_coded_bits > _SMALL, autograph=False)
        def chain(sinr: tf.Tensor, bits: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
            blocks = sinr.shape[0]
            x = mapper(code.encode(bits))
            by_symbol = tf.reshape(tf.gather(sinr, self._sample_of_re, axis=1), (blocks, -1))
            noise_var = tf.clip_by_value(1 / by_symbol, *_NOISE_RANGE)
            noise *= tf.sqrt(noise_var / 2)
            llr = demapper(x + tf.complex(noise[0], noise[1]), noise_var)
            return code.decode(llr)[1]

        return chain
