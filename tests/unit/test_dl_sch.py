"""Coding of downlink transport blocks: bits against Sionna where it is right, all kinds of sizes, 3,824 bits."""

import numpy as np
import pytest
import tensorflow as tf
from sionna.phy.fec.crc import CRCEncoder
from sionna.phy.nr import TBEncoder

from simulator.nr.mcs import MAX_LAYERS, block_size, mcs_table
from simulator.phy.dl_sch import DlSchCode, base_graph, code_block_lengths
from simulator.phy.transport_block import TransportBlock
from simulator.throughput.blocks import num_data_re


def code(num_re, layers, order, rate, num_iter=10):
    return DlSchCode(block_size(num_re, layers, order, rate), num_re * layers * order, rate, order, layers, num_iter)


def random_bits(rng, built, count=2):
    return rng.integers(0, 2, (count, built.tb_size)).astype(np.float32)


def assert_decodes(rng, built):
    """Without noise, at a confidence of a channel that just works."""
    bits = random_bits(rng, built, 1)
    llr = 8 * (2 * built.encode(tf.constant(bits)).numpy() - 1)
    back, good = built.decode(tf.constant(llr))
    assert good.numpy().all()
    np.testing.assert_array_equal(back.numpy(), bits)


@pytest.mark.parametrize(
    ("num_re", "layers", "order", "rate"),
    [
        (144, 1, 2, 308 / 1024),  # base graph 2
        (156, 2, 6, 719 / 1024),  # base graph 1, one code block
        (1300, 1, 6, 948 / 1024),  # one code block of nearly 8,448 bits
        (2011, 1, 4, 658 / 1024),  # code blocks of different lengths
        (4032, 3, 8, 797 / 1024),  # several layers, 256QAM
    ],
)
def test_coded_bits_are_those_of_sionna(rng, num_re, layers, order, rate):
    """CRCs, segmentation, LDPC, rate matching and interleaving, bit by bit."""
    built = code(num_re, layers, order, rate)
    bits = tf.constant(random_bits(rng, built))
    length = num_re * layers * order
    peer = TBEncoder(built.tb_size, length, rate, order, num_layers=layers, channel_type="PDSCH", use_scrambler=False)
    np.testing.assert_array_equal(built.encode(bits).numpy(), peer(bits).numpy())


@pytest.mark.long
def test_3824_bits_have_a_crc_of_16(rng):
    """TS 38.212, 7.2.1: CRC24A from 3,825 bits on; one code block of 3,840 bits, which base graph 2 takes."""
    built = code(4032, 4, 2, 120 / 1024)
    assert built.tb_size == 3824 and base_graph(3824, 120 / 1024) == "bg2"
    bits = random_bits(rng, built, 1)
    coded = built.encode(tf.constant(bits)).numpy()[0]
    # One row of an interleaver with two: every other bit. The first 2 Zc = 768 bits of the block are never sent.
    length = len(coded)
    selected = np.stack([coded[0::2], coded[1::2]]).reshape(length)
    protected = CRCEncoder("CRC16")(tf.constant(bits)).numpy()[0]
    np.testing.assert_array_equal(selected[: 3840 - 768], protected[768:])
    np.testing.assert_array_equal(selected[5 * 3840 :], selected[: length - 5 * 3840])  # repeats from the start
    assert_decodes(rng, built)


@pytest.mark.long
def test_a_link_with_3824_bits_decodes(eager):
    block = TransportBlock(4032, 4, 2, 120 / 1024)
    lost, fine = (block.decode(np.full((2, 4032, 4), level, np.float32), seed=1) for level in (1e-3, 1.0))
    assert not lost.any() and fine.all()


@pytest.mark.parametrize(
    ("tb_size", "rate", "graph"),
    [(292, 0.9, "bg2"), (293, 0.67, "bg2"), (304, 0.68, "bg1"), (3824, 0.67, "bg2"), (3840, 0.67, "bg1"),
     (3840, 0.25, "bg2"), (100_000, 0.26, "bg1")],
)  # fmt: skip
def test_base_graph(tb_size, rate, graph):
    assert base_graph(tb_size, rate) == graph


def test_lengths_of_code_blocks_against_a_loop():
    """TS 38.212, 5.4.2.1, as the text has it."""
    for symbols, per_re, count in ((2011, 4, 3), (100, 2, 1), (777, 24, 7), (13, 6, 13)):
        total = symbols * per_re
        expected = [
            per_re
            * (total // (per_re * count) if r <= count - (symbols % count) - 1 else -(-total // (per_re * count)))
            for r in range(count)
        ]
        found = code_block_lengths(total, count, per_re)
        assert found.tolist() == expected and found.sum() == total


def kinds():
    """One transport block of every kind that tables 1 to 3, 1 to 275 RB and 1 to 4 layers have, the smallest one.

    Kinds differ in the CRC, the base graph, the code blocks (1, 2, 3, more), equal lengths or not, and repetition.
    """
    found = {}
    rb = np.arange(1, 276)
    for number in (1, 2, 3):
        table = mcs_table(number)
        for order, rate in zip(table.modulation_order.tolist(), table.rate.tolist(), strict=True):
            for layers in range(1, MAX_LAYERS + 1):
                num_re = np.array([num_data_re(12 * n, 1 / 7) for n in rb])
                sizes = block_size(num_re, layers, order, rate)
                for i in range(len(rb)):
                    tb, cb, count = (int(x[i]) for x in (sizes.tb_size, sizes.cb_size, sizes.num_cb))
                    length = int(num_re[i]) * layers * order // count
                    graph = base_graph(tb, rate)
                    repeats = length > cb * {"bg1": 3, "bg2": 5}[graph]
                    kind = (tb <= 3824, tb == 3824, graph, min(count, 4), bool(int(num_re[i]) % count), repeats)
                    if kind not in found or num_re[i] < found[kind][0]:
                        found[kind] = (int(num_re[i]), layers, order, rate)
    return found


@pytest.mark.long
def test_blocks_of_every_kind_are_decoded(rng):
    seen = kinds()
    assert len(seen) >= 20 and any(kind[1] for kind in seen)
    for key in seen.values():
        built = code(*key, num_iter=6)
        if built.decodable:
            assert_decodes(rng, built)
