"""Effective SINR, waterfalls, decoded blocks, link adaptation and throughput."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import sionna.sys
import tensorflow as tf
from scipy.stats import norm

from scenarios.schema import parse_scenario
from simulator.core.errors import ConfigError
from simulator.core.units import db_to_lin, lin_to_db
from simulator.nr.mcs import block_size, cqi_table, mcs_table
from simulator.phy import transport_block
from simulator.phy.bler import EesmBler
from simulator.phy.block_decoder import BlockDecoder
from simulator.phy.transport_block import TransportBlock
from simulator.throughput.blocks import Throughput, num_data_re, sample_of_re
from simulator.throughput.link_adaptation import OuterLoop, highest_row

BLER_TABLES = Path(sionna.sys.__file__).parent / "bler_tables"


@pytest.fixture(scope="module")
def model():
    return EesmBler()


def selective(rng, *shape, spread_db=4.0, mean_db=10.0):
    """SINRs that vary over all axes, linear."""
    return db_to_lin(rng.normal(mean_db, spread_db, shape)).astype(np.float32)


class TestEffectiveSinr:
    def test_a_flat_channel_has_its_sinr(self, model):
        for level_db in (-20.0, 0.0, 12.5, 40.0):
            flat = np.full((3, 7, 2), db_to_lin(level_db), np.float32)
            effective = model.effective_sinr_db(flat, model.beta([2, 4, 8], [0.3, 0.5, 0.9]))
            np.testing.assert_allclose(effective, level_db, atol=1e-5)

    def test_against_a_loop_and_sionna(self, model, rng):
        sinr = selective(rng, 5, 9, 3)
        sinr[2, :, 1] = 0  # a layer that is not used
        sinr[3, 4, 0] = 0  # a hole in a layer that is
        sinr[4] = 0
        index = np.array([0, 9, 14, 22, 28])
        table = mcs_table(1)
        beta = model.beta(table.modulation_order[index], table.rate[index])
        effective = model.effective_sinr_db(sinr, beta)
        for i in range(4):
            layers = [v for v in range(3) if any(sinr[i, :, v] > 0)]
            terms = [np.exp(-float(sinr[i, n, v]) / beta[i]) for n in range(9) for v in layers]
            assert effective[i] == pytest.approx(10 * np.log10(-beta[i] * np.log(np.mean(terms))), abs=1e-4)
        assert effective[4] == -np.inf
        # Sionna takes single zeros for unused elements: without the hole.
        peer = sionna.sys.EESM()(sinr.transpose(1, 0, 2)[None], index.astype(np.int32), mcs_table_index=1)
        np.testing.assert_allclose(effective[:3], lin_to_db(peer[:3]), atol=1e-4)

    def test_lies_between_the_least_and_the_mean(self, model, rng):
        sinr = selective(rng, 50, 20, 2, spread_db=8)
        low = model.effective_sinr_db(sinr, np.full(50, 1.6))
        high = model.effective_sinr_db(sinr, np.full(50, 130.0))
        assert (lin_to_db(sinr.min(axis=(1, 2))) <= low).all() and (low < high).all()
        assert (high <= lin_to_db(sinr.mean(axis=(1, 2), dtype=np.float64))).all()

    def test_betas_of_table_3_are_those_of_equal_rows(self, model):
        third, first = mcs_table(3), mcs_table(1)
        beta = model.beta(third.modulation_order, third.rate)
        assert (beta[:6] == 1.6).all()
        np.testing.assert_array_equal(beta[6:15], model.beta(first.modulation_order[:9], first.rate[:9]))


class TestWaterfalls:
    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_monotone(self, model, number):
        """Block errors fall with the SINR; a higher rate of a modulation needs more of it."""
        table = mcs_table(number)
        for num_re in (150, 1000, 20000):
            rows = model.waterfall(num_re, 2, table.modulation_order, table.rate)
            s = np.arange(-20, 45, 0.25)
            bler = np.stack([rows.bler(x) for x in s])
            assert (np.diff(bler, axis=0) <= 0).all() and bler[0].min() > 0.99 and bler[-1].max() < 1e-4
            same = np.diff(table.modulation_order) == 0
            grows = np.diff(block_size(num_re, 2, table.modulation_order, table.rate).tb_size) > 0
            assert (np.diff(rows.threshold_db(0.1))[same & grows] > 0).all()
            np.testing.assert_allclose(rows.bler(rows.threshold_db(0.1)), 0.1, rtol=1e-6)

    def test_shannon_bound_and_gap(self, model):
        """Long blocks need 1 to 4 dB more than log2(1 + SINR) says: the shaping loss of QAM, and that of the code."""
        for number in (1, 2, 3):
            table = mcs_table(number)
            need = model.waterfall(20000, 1, table.modulation_order, table.rate).threshold_db(0.1)
            gap = need - lin_to_db(2**table.efficiency - 1)
            assert (gap > 0.9).all() and (gap < 4).all()

    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_against_the_points_of_sionna(self, model, number):
        """Every point of Sionna's tables inside a waterfall, in dB."""
        stored = json.loads((BLER_TABLES / f"PDSCH_table{number}.json").read_text())["category"]["1"]["index"]
        table = mcs_table(number)
        deviation = {False: [], True: []}  # by whether there are 500 bits
        for mcs, curves in stored[str(number)]["MCS"].items():
            order, rate = table.modulation_order[int(mcs)], table.rate[int(mcs)]
            for size in sorted(map(int, curves["CBS"]))[1:]:
                here = model.code_block(order, rate, size)
                deviation[size >= 500] += [
                    s + here.std_db * norm.ppf(bler) - here.mean_db
                    for s, bler in zip(curves["SNR_db"], curves["CBS"][str(size)]["BLER"], strict=True)
                    if 0.02 < bler < 0.9
                ]
        short, long = (np.array(deviation[key]) for key in (False, True))
        assert len(short) > 35 and len(long) > 30
        assert np.abs(long).max() < 0.45 and np.abs(long.mean()) < 0.15
        assert np.abs(short).max() < 1.1 and np.abs(short).mean() < 0.4

    def test_too_fast_to_decode(self, model):
        """24 bits and their CRC at a target rate of 0.93: more than 0.95 is coded."""
        row = model.waterfall(5, 1, 6, 948 / 1024)
        assert row.bler(60.0) == 1 and row.threshold_db(0.1) == np.inf
        assert not TransportBlock(5, 1, 6, 948 / 1024).decode(np.full((3, 5, 1), 1e6, np.float32), seed=1).any()


def deviation_db(row, effective_db, share):
    """How far from the waterfall a block error rate lies [dB]."""
    received = (1 - share) ** (1 / row.num_cb)
    return row.mean_db + row.std_db * norm.ppf(received) - effective_db


# Table, MCS, resource elements, layers: with and without repetition, all modulations.
BLOCKS = [(1, 0, 264, 1), (1, 13, 132, 2), (1, 22, 132, 1), (2, 24, 132, 1)]


@pytest.mark.long
class TestDecodedBlocks:
    @pytest.mark.parametrize(("number", "mcs", "num_re", "layers"), BLOCKS)
    def test_agrees_with_the_fast_mode(self, model, rng, number, mcs, num_re, layers):
        """AWGN and a selective channel within 0.4 dB at about 10 % block errors."""
        table = mcs_table(number)
        order, rate = int(table.modulation_order[mcs]), float(table.rate[mcs])
        row, block = model.waterfall(num_re, layers, order, rate), TransportBlock(num_re, layers, order, rate)
        need, count = row.threshold_db(0.1), 256
        flat = np.full((count, num_re, layers), db_to_lin(need), np.float32)
        share = 1 - block.decode(flat, seed=3).mean()
        assert abs(deviation_db(row, need, share)) < 0.3
        uneven = selective(rng, 1, num_re // 12, layers, spread_db=3.0, mean_db=float(need) + 1)
        uneven = np.repeat(uneven, 12, axis=1)
        effective = model.effective_sinr_db(uneven, model.beta(order, rate))[0]
        uneven = np.broadcast_to(uneven * db_to_lin(need - effective), flat.shape).astype(np.float32)
        effective = model.effective_sinr_db(uneven[:1], model.beta(order, rate))[0]
        share = 1 - block.decode(uneven, seed=4).mean()
        assert 0 < share < 1
        assert abs(deviation_db(row, effective, share)) < 0.5

    def test_every_block_has_its_own_sinrs_and_seeds(self):
        """12 samples of 11 resource elements; good and bad blocks mixed; more blocks than one call takes."""
        cells = sample_of_re(12, 1, 2 / 14)
        decoder = BlockDecoder(cells)
        sinr = np.full((300, 12, 1), db_to_lin(-8.0), np.float32)
        sinr[::3] = db_to_lin(8.0)
        ack = decoder.decode(sinr, 2, 308 / 1024, seed=5)
        np.testing.assert_array_equal(ack, np.arange(300) % 3 == 0)
        edge = np.full((256, 12, 1), db_to_lin(-0.5), np.float32)
        first, again, other = (decoder.decode(edge, 2, 308 / 1024, seed=s) for s in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert 10 < first.sum() < 246 and (first != other).any()
        # With a seed for each, a block does not depend on those decoded with it.
        seeds = list(range(700, 956))
        each = decoder.decode(edge, 2, 308 / 1024, seed=seeds)
        np.testing.assert_array_equal(decoder.decode(edge[:99], 2, 308 / 1024, seed=seeds[99:0:-1]), each[99:0:-1])

    def test_wrong_shapes(self):
        block = TransportBlock(12, 2, 2, 0.5)
        for shape in ((3, 11, 2), (3, 12, 1), (3, 24)):
            with pytest.raises(ConfigError, match=r"sinr: got .*allowed: \[block, at least 12, 2\]"):
                block.decode(np.ones(shape, np.float32), seed=1)
        with pytest.raises(ConfigError, match="sample_of_re"):
            TransportBlock(12, 1, 2, 0.5, sample_of_re=np.zeros(11, int))


class TestLinkAdaptation:
    def test_the_highest_row_that_meets_the_target(self):
        threshold = np.array([0.0, 2.0, 1.5, np.inf])  # not monotone: 1.5 dB is enough for row 2
        effective = np.array([[-0.1, 0.0, 1.6, 9.0]])
        np.testing.assert_array_equal(highest_row(effective, threshold[:, None]), [-1, 0, 2, 2])

    @pytest.mark.long
    def test_inner_and_outer_loop_are_those_of_sionna(self):
        """With Sionna's tables: the same MCS for SINRs of 26 UEs, the same offsets after ACKs and NACKs."""
        abstraction = sionna.sys.PHYAbstraction(
            load_bler_tables_from=[str(BLER_TABLES / "PDSCH_table1.json")],
            cbs_interp_min_max_delta=(24, 2025, 500),
            bler_interp_delta=0.25,
        )
        users, step_up, first = 26, 0.7, 3  # MCS 0 to 2 are not in its tables
        inner = sionna.sys.InnerLoopLinkAdaptation(abstraction, bler_target=0.1)
        outer = sionna.sys.OuterLoopLinkAdaptation(abstraction, num_ut=users, bler_target=0.1, delta_up=step_up)
        grid = np.arange(-5, 30.01, 0.1)

        def bler(mcs):
            number, re = (np.full(len(grid), x, np.int32) for x in (mcs, 300))
            sinr = db_to_lin(grid).astype(np.float32)
            return abstraction(number, sinr_eff=sinr, num_allocated_re=re, mcs_category=1)[3].numpy()

        threshold = np.array([grid[np.argmax(bler(mcs) <= 0.1)] for mcs in range(first, 29)]) - 0.05
        effective = np.linspace(-4.52, 20.52, users)
        sinr, re = tf.constant(db_to_lin(effective), tf.float32), tf.fill([users], 300)
        ours = np.maximum(highest_row(effective[None], threshold[:, None]), 0) + first
        np.testing.assert_array_equal(ours, inner(sinr_eff=sinr, num_allocated_re=re, mcs_category=1))
        loop = OuterLoop(0.1, step_up)
        offset = loop.start((users,))
        rng = np.random.default_rng(5)
        for _ in range(6):
            ack, sent = rng.random(users) < 0.6, rng.random(users) < 0.8
            harq = tf.constant(np.where(sent, ack, -1), tf.int32)
            theirs = outer(num_allocated_re=re, harq_feedback=harq, sinr_eff=sinr, mcs_category=1)
            offset = loop.update(offset, ack, sent)
            np.testing.assert_allclose(offset, outer.offset, atol=1e-4)
            ours = np.maximum(highest_row((effective - offset)[None], threshold[:, None]), 0) + first
            assert np.mean(ours == theirs.numpy()) > 0.9  # rounding to its grid of 0.1 dB

    def test_offsets_are_clipped(self):
        loop = OuterLoop(0.5, 3.0, limits_db=(-4.0, 5.0))
        offset = loop.start((2,))
        for _ in range(3):
            offset = loop.update(offset, [True, False], True)
        np.testing.assert_array_equal(offset, [-4, 5])

    @pytest.mark.parametrize(
        ("values", "field"), [((0.0, 1.0), "target_bler"), ((1.0, 1.0), "target_bler"), ((0.1, 0.0), "olla_step_db")]
    )
    def test_errors(self, values, field):
        with pytest.raises(ConfigError, match=f"throughput.{field}"):
            OuterLoop(*values)

    @pytest.mark.parametrize(
        ("field", "legal", "illegal"),
        [
            ("target_bler", (1e-5, 0.5), (0.99e-5, 0.51, 0.0, float("nan"))),
            ("overhead", (0.0, 0.9), (-0.01, 0.91)),
            ("olla_step_db", (1e-9, 50.0), (0.0, -1.0, float("inf"))),
        ],
    )
    def test_limits_are_the_same_wherever_they_are_checked(self, model, field, legal, illegal):
        base = {"name": "x", "carrier": {"num_rb": 4}, "channel": {"model": "rayleigh"}}
        base |= {"feedback": [{"scheme": "perfect"}], "snr_db": 0}
        takers = [
            ("target_bler overhead olla_step_db", lambda x: parse_scenario({**base, "throughput": {field: x}})),
            ("target_bler overhead", lambda x: Throughput(model, 24 * 12, **{field: x})),
            ("target_bler", OuterLoop),
            ("olla_step_db", lambda x: OuterLoop(step_up_db=x)),
        ]
        for take in (take for fields, take in takers if field in fields.split()):
            for value in legal:
                take(value)
            for value in illegal:
                with pytest.raises(ConfigError, match=f"^throughput.{field}: got"):
                    take(value)


def fast(model, **changes):
    return Throughput(model, **{"num_subcarriers": 24 * 12, **changes})


class TestThroughput:
    @pytest.mark.long
    def test_against_a_loop(self, model, rng):
        """Two SNRs, two drops, three slots, two UEs of up to two layers; one UE is not served in a slot."""
        sinr, predicted = (selective(rng, 2, 2, 3, 24, 2, 2) for _ in range(2))
        predicted[..., 1, 1] = 0
        predicted[:, 0, 1, :, 0] = 0
        chain = fast(model)
        out = chain.run(sinr, predicted, seed=3)
        table, loop = mcs_table(1), OuterLoop()
        num_re = 24 * 144
        for snr, drop, user in np.ndindex(2, 2, 2):
            offset = 0.0
            for slot in range(3):
                at = (snr, drop, user, slot)
                expected, true = predicted[snr, drop, slot, :, user], sinr[snr, drop, slot, :, user]
                layers = [v for v in range(2) if expected[:, v].any()]
                assert out.num_layers[at] == len(layers)
                if not layers:
                    assert out.mcs[at] == -1 and out.goodput_bpshz[at] == out.bler[at] == 0 and not out.ack[at]
                    continue

                def bler(rows, i, values, less_db=0.0, layers=layers):
                    order, rate = rows.modulation_order[i], rows.rate[i]
                    effective = model.effective_sinr_db(values[:, layers], model.beta(order, rate))
                    return model.waterfall(num_re, len(layers), order, rate).bler(effective - less_db)

                met = [bler(table, i, expected, offset) <= 0.1 for i in range(29)]
                mcs = max([i for i in range(29) if met[i]], default=0)
                assert out.mcs[at] == mcs
                lost = bler(table, mcs, true)
                assert out.bler[at] == pytest.approx(lost, abs=1e-5)
                bits = block_size(num_re, len(layers), table.modulation_order[mcs], table.rate[mcs]).tb_size
                assert out.goodput_bpshz[at] == pytest.approx((1 - lost) * bits / (24 * 12 * 15), abs=1e-4)
                offset += -1 / 9 if out.ack[at] else 1
                assert loop.step_down_db == pytest.approx(1 / 9)

    def test_perfect_prediction_stays_below_shannon(self, model, rng):
        sinr = selective(rng, 1, 40, 1, 24, 2, 2, spread_db=5)
        for mean_db in (-10, 0, 10, 20):
            x = sinr * np.float32(db_to_lin(mean_db - 10))
            for number in (1, 2, 3):
                out = fast(model, mcs=number, cqi=number, olla=None).run(x, x, seed=1)
                shannon = np.log2(1 + x).mean(axis=3).sum(axis=-1)  # [snr, batch, slot, user]
                assert (out.goodput_bpshz[..., 0] < shannon[:, :, 0]).all()
                in_range = (out.mcs > 0) & (out.mcs < 27)
                assert out.bler[in_range].max(initial=0) < 0.35  # CQI and MCS have effective SINRs of their own
            assert out.goodput_bpshz.mean() > 0.4 * shannon.mean() or mean_db > 10

    def test_cqi_against_a_loop(self, model, rng):
        """The highest row of the CQI table that meets the target, 0 where none does."""
        chain, table = fast(model), cqi_table(1)
        for layers, mean_db in ((1, -12.0), (1, 3.0), (2, 11.0), (1, 30.0)):
            sinr = selective(rng, 1, 1, 1, 24, 1, 2, mean_db=mean_db)[0, 0, 0, :, 0]
            sinr[:, layers:] = 0
            levels = model.waterfall(24 * 144, layers, table.modulation_order, table.rate).threshold_db(0.1)
            betas = model.beta(table.modulation_order, table.rate)
            met = [
                model.effective_sinr_db(sinr[:, :layers], b) >= level for b, level in zip(betas, levels, strict=True)
            ]
            assert chain.cqi_of(sinr) == 1 + max(np.flatnonzero(met), default=-1)

    def test_the_gain_brings_the_effective_sinr_to_the_cqi(self, model, rng):
        """The SINR at which the row of the CQI just meets the target; 2 dB less than that of CQI 1 for CQI 0."""
        sinr = selective(rng, 1, 50, 1, 24, 2, 2)[:, :, 0].swapaxes(2, 3)  # [snr, drop, user, sample, layer]
        sinr[:, :10, :, :, 1] = 0
        sinr[:, 10:12] = 0
        chain, table = fast(model), cqi_table(1)
        cqi = chain.cqi_of(10 * sinr)
        gain = chain.gain(cqi, sinr)
        assert (gain[:, 10:12] == 0).all() and np.isfinite(gain).all()
        levels = chain.model.waterfall(chain.num_re, 1, table.modulation_order, table.rate).threshold_db(0.1)
        for reported, level in ((cqi[0, 0, 0], levels[cqi[0, 0, 0] - 1]), (15, levels[14]), (0, levels[0] - 2)):
            factor = chain.gain(np.full(cqi.shape, reported), sinr)[0, 0, 0]
            row = max(reported - 1, 0)
            beta = model.beta(table.modulation_order[row], table.rate[row])
            assert model.effective_sinr_db(factor * sinr[0, 0, 0], beta) == pytest.approx(level, abs=0.05)
        heard = np.delete(gain, [10, 11], axis=1)
        assert 4 < np.median(heard) < 10  # a CQI is rounded down
        for drop in range(50):  # whoever needs more iterations
            np.testing.assert_array_equal(
                chain.gain(cqi[:, drop : drop + 1], sinr[:, drop : drop + 1])[:, 0], gain[:, drop]
            )

    def test_the_outer_loop_has_run_before(self, model, rng):
        """After a warm-up over the slots of the drop the first scored one meets the target, without it all is lost."""
        sinr = selective(rng, 1, 300, 2, 8, 1, 1, spread_db=1.5)
        cold, warm = (
            Throughput(model, 8 * 12, olla=OuterLoop(0.1, 0.5, warm_up_slots=slots)).run(sinr, 3 * sinr, seed=2)
            for slots in (0, 200)
        )
        assert cold.bler[..., 0].mean() > 0.8
        assert 0.05 < warm.bler[..., 0].mean() < 0.16

    def test_a_cqi_rounded_down_delivers_less(self, model, rng):
        sinr = selective(rng, 1, 200, 1, 24, 1, 1)
        chain = fast(model, olla=None)
        own = np.moveaxis(sinr[:, :, 0], 2, 3)
        factor = chain.gain(chain.cqi_of(own), own)[:, :, None, None, :, None]
        wideband, ideal = (chain.run(sinr, x, seed=1) for x in (sinr * factor, sinr))
        assert ideal.goodput_bpshz.mean() > 1.01 * wideband.goodput_bpshz.mean()
        assert (ideal.bler[ideal.mcs > 0] <= 0.102).all()

    @pytest.mark.parametrize("bias_db", [-4.0, 5.0])
    @pytest.mark.long
    def test_the_outer_loop_finds_the_target(self, model, rng, bias_db):
        """SINRs that the gNB expects wrongly by a constant: without the loop all or nothing is lost."""
        slots = 400
        sinr = selective(rng, 1, 6, slots, 8, 2, 1, spread_db=1.5)
        wrong = sinr * np.float32(db_to_lin(bias_db))
        chain = Throughput(model, 8 * 12, olla=OuterLoop(0.1, 0.3))
        settled = slice(slots // 4, None)
        bler = chain.run(sinr, wrong, seed=1).bler[..., settled].mean()
        assert 0.07 < bler < 0.13
        open_loop = dataclasses.replace(chain, olla=None).run(sinr, wrong, seed=1).bler.mean()
        assert open_loop < 0.01 if bias_db < 0 else open_loop > 0.9

    def test_seeded(self, model, rng):
        sinr, predicted = (selective(rng, 1, 30, 2, 24, 1, 1) for _ in range(2))
        first, again, other = (fast(model).run(sinr, predicted, seed=s) for s in (1, 1, 2))
        for field in dataclasses.fields(first):
            np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
        assert (first.ack != other.ack).any()

    @pytest.mark.long
    def test_exact_mode(self, model, rng, monkeypatch):
        """Decoded blocks of two UEs, of one and two layers, compared with the probabilities of the fast mode."""
        monkeypatch.setattr(transport_block, "_MAX_BLOCKS", 100)
        sinr = np.full((1, 100, 1, 2, 2, 2), db_to_lin(6.0), np.float32)
        sinr *= db_to_lin(rng.normal(0, 1.5, (1, 100, 1, 1, 2, 1))).astype(np.float32)
        predicted = np.full_like(sinr, db_to_lin(6.0))
        predicted[..., 0, 0] = 0  # the second layer alone: it comes first for the decoder
        sinr[..., 0, 0] = 0
        decoder = BlockDecoder(sample_of_re(2, 12, 1 / 7))
        exact = Throughput(model, 24, decoder, olla=None).run(sinr, predicted, seed=2)
        tables = Throughput(model, 24, olla=None).run(sinr, predicted, seed=2)
        np.testing.assert_array_equal(exact.mcs, tables.mcs)
        assert set(np.unique(exact.bler)) == {0, 1} and (exact.ack == (exact.bler == 0)).all()
        for user in range(2):
            ours, theirs = exact.bler[:, :, user].mean(), tables.bler[:, :, user].mean()
            sigma = np.sqrt((tables.bler[:, :, user] * (1 - tables.bler[:, :, user])).sum()) / 100
            assert abs(ours - theirs) < 0.08 + 3 * sigma
        assert exact.goodput_bpshz[exact.ack].min() > 0
        # Another SNR before it leaves all blocks as they are.
        more = Throughput(model, 24, decoder, olla=None).run(
            *(np.concatenate([x * np.float32(0.5), x]) for x in (sinr, predicted)), seed=2
        )
        np.testing.assert_array_equal(more.ack[1:], exact.ack)

    def test_resource_elements(self):
        """12 DM-RS of 168 always count; the rest is spread over all subcarriers alike."""
        assert num_data_re(12, 0) == 156 and num_data_re(12 * 52, 1 / 7) == 52 * 144 and num_data_re(12, 0.5) == 84
        cells = sample_of_re(52, 12, 1 / 7)
        assert set(cells[:535]) == set(range(52))  # frequency first: one symbol, less the seventh that is not data
        counts = np.bincount(cells)
        assert len(counts) == 52 and counts.min() >= 143 and counts.max() <= 145

    def test_errors(self, model):
        one, five = (np.ones((1, 1, 1, 2, 1, v), np.float32) for v in (1, 5))
        with pytest.raises(ConfigError, match="predicted"):
            fast(model).run(one, five, seed=1)
        with pytest.raises(ConfigError, match=r"layers_per_user: got 5; allowed: 1\.\.4"):
            fast(model).run(five, five, seed=1)
        for changes, field in (
            ({"overhead": 1.0}, "overhead"),
            ({"target_bler": 0.0}, "target_bler"),
            ({"mcs": 5}, "mcs_table"),
        ):
            with pytest.raises(ConfigError, match=f"throughput.{field}"):
                fast(model, **changes)


@pytest.mark.long
def test_built_from_a_scenario():
    from benchmarks.build import build_throughput

    data = {
        "name": "t",
        "carrier": {"num_rb": 4},
        "bs": {"n1": 4, "n2": 1, "num_pol": 1},
        "channel": {"model": "rayleigh"},
        "feedback": [{"scheme": "perfect"}],
        "snr_db": [10],
    }
    assert build_throughput(parse_scenario(data)) is None
    section = {"mcs_table": 2, "cqi": "ideal", "olla": False, "overhead": 0.25}
    built = build_throughput(parse_scenario({**data, "throughput": section}))
    assert (built.num_subcarriers, built.mcs, built.cqi, built.olla, built.decoder) == (48, 2, None, None, None)
    section = {"mode": "exact", "target_bler": 0.2, "olla_step_db": 0.5}
    carrier = {"num_subcarriers": 40, "granularity": "subcarrier"}
    built = build_throughput(parse_scenario({**data, "carrier": carrier, "throughput": section}))
    assert (built.num_subcarriers, built.cqi, built.olla) == (40, 1, OuterLoop(0.2, 0.5, warm_up_slots=100))
    out = built.run(*(np.full((1, 2, 1, 40, 1, 1), 1e3, np.float32) for _ in range(2)), seed=1)
    assert out.ack.all() and out.goodput_bpshz == pytest.approx(5.5547 * 12 / 15, rel=0.01)
    with pytest.raises(ConfigError, match=r"precoding.layers_per_user: got 5; allowed: 1\.\.4"):
        parse_scenario(
            {**data, "bs": {"n1": 8}, "ue": {"num_rx_ant": 5}, "precoding": {"layers_per_user": 5}, "throughput": {}}
        )
