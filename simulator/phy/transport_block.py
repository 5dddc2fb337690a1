"""Transport blocks coded, sent over parallel AWGN channels, and decoded: the exact mode of the throughput."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sionna.phy.mapping import Constellation, Demapper, Mapper
from sionna.phy.nr import TBDecoder, TBEncoder

from simulator.core.errors import ConfigError
from simulator.core.seeding import derive
from simulator.mcs import block_size

_MAX_BLOCKS = 256  # of one call
_CHUNK_BITS = 2**19  # coded bits of one call: about 0.2 GiB of messages between the nodes of the code
_SMALL = 4000  # coded bits up to which XLA takes longer to compile than it saves
_MAX_RATE = 0.95  # above, a UE may skip decoding (TS 38.214, 5.1.3)
_NOISE_RANGE = 1e-9, 1e9


class TransportBlock:
    r"""Transport block of one size: CRC, segmentation, LDPC, rate matching, QAM, and all of it back.

    Every symbol is received as :math:`y = x + n` with a noise variance of 1 / SINR, which is what a linear detector
    leaves of a resource element on one layer. Rates below the mother code's (1/5, or 1/3 for base graph 1) repeat the
    circular buffer, and the receiver adds the log-likelihood ratios. Bits are not scrambled: they are random.

    Args:
        num_re: resource elements with data.
        num_layers: layers of the codeword, 1..4.
        modulation_order: bits of a QAM symbol.
        rate: target code rate.
        sample_of_re: int ``[re]``, frequency sample whose SINR each resource element has; None: one each.
        num_iter: iterations of belief propagation.

    Source: TS 38.212, 7.2; TS 38.211, 7.3.1.3 (symbol i goes to layer i mod the number of layers); Sionna's
    ``TBEncoder``, ``TBDecoder``.
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
        self.tb_size, self._order, self._num_cb = int(sizes.tb_size), modulation_order, int(sizes.num_cb)
        self._sample_of_re = np.arange(num_re) if sample_of_re is None else np.asarray(sample_of_re)
        if self._sample_of_re.shape != (num_re,):
            raise ConfigError("sample_of_re", list(self._sample_of_re.shape), f"[{num_re}]")
        self._num_layers = num_layers
        self.num_coded_bits = num_re * num_layers * modulation_order
        cb_size, length = int(sizes.cb_size), self.num_coded_bits // self._num_cb
        self._decodable = cb_size <= _MAX_RATE * length
        actual = cb_size / length
        small_graph = cb_size <= 292 or (cb_size <= 3824 and actual <= 0.67) or actual <= 0.25
        self._mother = cb_size * (5 if small_graph else 3)  # coded bits before any repetition
        self._repeats = self._mother < length
        self._rate, self._num_iter = rate, num_iter

    @property
    def blocks_per_call(self) -> int:
        """Blocks that are decoded at once, always, so that memory stays bounded and one shape is compiled."""
        return max(1, min(_MAX_BLOCKS, _CHUNK_BITS // self.num_coded_bits))

    def decode(self, sinr: NDArray[np.float32], *, seed: int) -> NDArray[np.bool_]:
        """Whether each block passed its CRC, bool ``[block]``.

        Args:
            sinr: post-detection SINR float32 ``[block, sample, layer]``, linear; ``sample`` is ``re`` without
                ``sample_of_re``.
            seed: of bits and noise.

        Raises:
            ConfigError: too few samples, or another number of layers.
        """
        sinr = np.asarray(sinr, np.float32)
        samples = self._sample_of_re.max() + 1
        if sinr.ndim != 3 or sinr.shape[1] < samples or sinr.shape[2] != self._num_layers:
            raise ConfigError("sinr", list(sinr.shape), f"[block, at least {samples}, {self._num_layers}]")
        ack = np.zeros(len(sinr), bool)
        if not self._decodable:
            return ack
        size = self.blocks_per_call
        for start in range(0, len(sinr), size):
            part = sinr[start : start + size]
            filled = np.pad(part, ((0, size - len(part)), (0, 0), (0, 0)))
            key = tf.constant([derive(seed, "transport block", start), 0], tf.int32)
            ack[start : start + size] = self._chain(tf.constant(filled), key).numpy()[: len(part)]
        return ack

    @cached_property
    def _chain(self) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """SINRs ``[block, sample, layer]`` to CRC status ``[block]``, compiled."""
        coded = self._num_cb * self._mother if self._repeats else self.num_coded_bits
        # One bit per symbol leaves the circular buffer as it is; QPSK, the only one repeated, treats all bits alike.
        encoder = TBEncoder(
            self.tb_size,
            coded,
            min(self._rate, 948 / 1024),  # decides on segmentation only
            1 if self._repeats else self._order,
            num_layers=1 if self._repeats else self._num_layers,
            channel_type="PDSCH",
            use_scrambler=False,
        )
        decoder = TBDecoder(encoder, num_bp_iter=self._num_iter)
        points = Constellation("qam", self._order)
        mapper, demapper = Mapper(constellation=points), Demapper("app", constellation=points)
        source = self._source_of_bits()

        @tf.function(jit_compile=self.num_coded_bits > _SMALL)
        def chain(sinr: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
            blocks = sinr.shape[0]
            bits = tf.random.stateless_uniform((blocks, self.tb_size), key, 0, 2, tf.int32)
            c = tf.gather(encoder(tf.cast(bits, tf.float32)), source, axis=-1)
            x = mapper(c)
            by_symbol = tf.reshape(tf.gather(sinr, self._sample_of_re, axis=1), (blocks, -1))
            noise_var = tf.clip_by_value(1 / by_symbol, *_NOISE_RANGE)
            noise = tf.random.stateless_normal((2, *x.shape), key + tf.constant([0, 1])) * tf.sqrt(noise_var / 2)
            llr = demapper(x + tf.complex(noise[0], noise[1]), noise_var)
            if self._repeats:
                llr = tf.transpose(tf.math.unsorted_segment_sum(tf.transpose(llr), source, coded))
            return decoder(llr)[1]

        return chain

    def _source_of_bits(self) -> NDArray[np.int32]:
        """Which bit of the mother code every sent bit is: code block by code block, around its circular buffer."""
        if not self._repeats:
            return np.arange(self.num_coded_bits, dtype=np.int32)
        lengths = np.diff(np.linspace(0, self.num_coded_bits, self._num_cb + 1).astype(int))
        return np.concatenate(
            [np.arange(length) % self._mother + i * self._mother for i, length in enumerate(lengths)]
        ).astype(np.int32)
