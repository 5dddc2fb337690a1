"""Channel coding of a downlink transport block: CRC, segmentation, LDPC, rate matching, and back."""

from __future__ import annotations

from typing import Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sionna.phy.fec.crc import CRCDecoder, CRCEncoder
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder

from simulator.nr.mcs import BlockSize

_LOWEST = {"bg1": 3, "bg2": 5}  # coded bits per bit of a code block before repetition: rates 1/3 and 1/5
MAX_RATE = 0.95  # of a code block; above, a UE may skip decoding (TS 38.214, 5.1.3)


def base_graph(tb_size: int, rate: float) -> Literal["bg1", "bg2"]:
    """LDPC base graph of a transport block of ``tb_size`` bits and target code rate (TS 38.212, 7.2.2)."""
    return "bg2" if tb_size <= 292 or (tb_size <= 3824 and rate <= 0.67) or rate <= 0.25 else "bg1"


def code_block_lengths(num_coded_bits: int, num_cb: int, bits_per_re: int) -> NDArray[np.int64]:
    """Coded bits of every code block, int64 ``[num_cb]`` (TS 38.212, 5.4.2.1).

    Args:
        num_coded_bits: of the transport block.
        num_cb: code blocks.
        bits_per_re: layers times bits of a QAM symbol.
    """
    whole, rest = divmod(num_coded_bits // bits_per_re, num_cb)
    return bits_per_re * (whole + (np.arange(num_cb) >= num_cb - rest))


class DlSchCode:
    """Code of a transport block.

    The CRC of the transport block has 16 bits up to 3,824 information bits and 24 above; that of a code block 24 where
    there are several. Where the rate falls below 1/3 (base graph 1) or 1/5 (base graph 2), bits repeat from the start
    of the buffer, and the receiver adds their log-likelihood ratios. Redundancy version 0.

    Args:
        sizes: of the transport block, see :func:`simulator.nr.mcs.block_size`.
        num_coded_bits: G.
        rate: target code rate, decides on the base graph.
        modulation_order: bits of a QAM symbol.
        num_layers: layers of the codeword.
        num_iter: iterations of belief propagation.

    Source: TS 38.212, 7.2 and 5.4.2; Sionna's CRC and LDPC blocks. Sionna's ``TBEncoder`` takes a CRC of 24 bits at
    3,824 information bits, and the base graph by the length and rate of the code block in place of those of the
    transport block.
    """

    def __init__(
        self, sizes: BlockSize, num_coded_bits: int, rate: float, modulation_order: int, num_layers: int, num_iter: int
    ):
        self.tb_size, self._num_cb, cb_size = (int(x) for x in (sizes.tb_size, sizes.num_cb, sizes.cb_size))
        lengths = code_block_lengths(num_coded_bits, self._num_cb, modulation_order * num_layers)
        self.decodable = cb_size <= MAX_RATE * lengths.min()
        if not self.decodable:
            return
        graph = base_graph(self.tb_size, rate)
        self._mother = min(int(lengths.max()), _LOWEST[graph] * cb_size)
        ldpc = LDPC5GEncoder(cb_size, self._mother, bg=graph)
        # Without punctured bits to prune, Sionna cuts its matrix to size 0.
        punctured = ldpc.n_ldpc - (ldpc.k_ldpc - ldpc.k) - 2 * ldpc.z - ldpc.n
        self._ldpc = ldpc, LDPC5GDecoder(ldpc, num_iter=num_iter, return_infobits=True, prune_pcm=punctured > 0)
        self._tb_crc = _crc("CRC16" if self.tb_size <= 3824 else "CRC24A")
        self._cb_crc = _crc("CRC24B") if self._num_cb > 1 else None
        self._source = tf.constant(self._sent_bits(lengths, modulation_order), tf.int32)

    def _sent_bits(self, lengths: NDArray[np.int64], modulation_order: int) -> NDArray[np.int64]:
        """Index of every coded bit in the encoder outputs: rate matching, then interleaving (5.4.2.1, 5.4.2.2)."""
        order = []
        for block, length in enumerate(lengths.tolist()):
            selected = block * self._mother + np.arange(length) % self._mother
            order.append(selected.reshape(modulation_order, -1).T.ravel())
        return np.concatenate(order)

    def encode(self, bits: tf.Tensor) -> tf.Tensor:
        """Information bits float32 ``[block, tb_size]`` to coded bits float32 ``[block, G]``."""
        protected = self._tb_crc[0](bits)
        blocks = tf.reshape(protected, (bits.shape[0], self._num_cb, -1))
        coded = self._ldpc[0](blocks if self._cb_crc is None else self._cb_crc[0](blocks))
        return tf.gather(tf.reshape(coded, (bits.shape[0], -1)), self._source, axis=-1)

    def decode(self, llr: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Information bits float32 ``[block, tb_size]`` and CRC status bool ``[block]``.

        Args:
            llr: float32 ``[block, G]``, log P(1) / P(0) of the coded bits.
        """
        count = self._num_cb * self._mother
        buffer = tf.transpose(tf.math.unsorted_segment_sum(tf.transpose(llr), self._source, count))
        blocks = self._ldpc[1](tf.reshape(buffer, (llr.shape[0], self._num_cb, self._mother)))
        if self._cb_crc is not None:
            blocks = self._cb_crc[1](blocks)[0]
        bits, good = self._tb_crc[1](tf.reshape(blocks, (llr.shape[0], -1)))
        return bits, tf.squeeze(tf.cast(good, tf.bool), axis=-1)


def _crc(name: str) -> tuple[CRCEncoder, CRCDecoder]:
    encoder = CRCEncoder(name)
    return encoder, CRCDecoder(encoder)
