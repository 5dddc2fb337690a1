"""Transport blocks in the link: CQI of a report, what the gNB expects from it, blocks over the true channel."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from receivers.estimation.perfect import PerfectEstimator
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.feedback.perfect import PerfectFeedback
from simulator.core.seeding import derive_wide
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel
from simulator.link import Link
from simulator.maths.rates import known_rows, noise_powers
from simulator.nr.cqi import cqi_widths, differential, subband_index
from simulator.nr.mcs import cqi_table, mcs_table
from simulator.phy.bler import EesmBler
from simulator.precoding.linear import Mrt, Zf
from simulator.reporting.reporting import Reporting
from simulator.reporting.uplink import UplinkModel
from simulator.throughput.blocks import Throughput
from simulator.throughput.cqi import Cqi, alone
from tests.links import over

CONFIG = CsiConfig(Panel(4, 2, 2), 2, 13, 360e3, 4, num_layers=2)


@pytest.fixture(scope="module")
def model():
    return EesmBler()


def channel(rng, batch=6, users=2, rx=2, slots=4, ports=16, samples=13):
    """Frequency-flat, so that effective SINRs are SINRs; static."""
    h = rng.standard_normal((batch, users, rx, ports, 1, 1, 2)).astype(np.float32).view(np.complex64)[..., 0]
    return np.ascontiguousarray(np.broadcast_to(h / np.float32(2**0.5), (batch, users, rx, ports, slots, samples)))


def link(model, config=CONFIG, schemes=None, precoders=None, snr_db=(5.0, 12.0), cqi=1, uplink=None, **more):
    return Link(
        config=config,
        estimator=PerfectEstimator(),
        reporting=over(schemes or {"perfect": PerfectFeedback(config)}, uplink),
        precoders=precoders or {"zf": Zf()},
        snr_db=snr_db,
        throughput=Throughput(model, 13 * 12, cqi=cqi, olla=None),
        **more,
    )


def outcomes(built, h, seed=3):
    found = {(label, name): outcome for label, name, outcome in built.run(h, seed=seed)}
    return found


def test_sinr_of_a_user_alone_against_a_loop(rng):
    """Equal powers on the layers that are known, MMSE receiver, in float64."""
    h = channel(rng, 2, 3, 2, 1, 8, 2)[..., 0, :]  # [batch, user, rx, port, n]
    rows = rng.standard_normal((2, 2, 3, 2, 8, 2)).view(np.complex128)[..., 0].astype(np.complex64)
    rows[0, :, 1, 1] = 0  # rank 1
    rows[1, :, 2] = 0  # nothing known
    found = alone(np.moveaxis(h, -1, 1), rows, np.float32([0.5, 0.05]))
    for s, noise_var in enumerate((0.5, 0.05)):
        for b, n, u in np.ndindex(2, 2, 3):
            g = rows[b, n, u].astype(np.complex128)
            known = [v for v in range(2) if np.any(g[v])]
            e = np.zeros((2, 2), complex)
            for v in known:
                e[:, v] = h[b, u, :, :, n] @ g[v].conj() / np.linalg.norm(g[v]) / np.sqrt(len(known))
            for v in range(2):
                others = noise_var * np.eye(2) + sum(np.outer(e[:, j], e[:, j].conj()) for j in range(2) if j != v)
                wanted = np.real(e[:, v].conj() @ np.linalg.solve(others, e[:, v]))
                assert found[s, b, n, u, v] == pytest.approx(wanted, rel=2e-3, abs=1e-6)


def test_one_user_gets_the_mcs_of_its_cqi(model, rng):
    """Alone on a flat channel with a fixed precoder the gNB expects exactly the level of the CQI."""
    config = CsiConfig(Panel(4, 2, 2), 1, 13, 360e3, 4)
    h = channel(rng, 24, 1, 1)
    built = link(model, config, {"perfect": PerfectFeedback(config)}, {"mrt": Mrt()}, snr_db=(-18.0, -8.0, 2.0))
    blocks = outcomes(built, h)["perfect", "mrt"].throughput
    table, cqis, num_re = mcs_table(1), cqi_table(1), built.throughput.num_re
    levels = model.waterfall(num_re, 1, cqis.modulation_order, cqis.rate).threshold_db(0.1)
    needed = model.waterfall(num_re, 1, table.modulation_order, table.rate).threshold_db(0.1)
    sinr_db = 10 * np.log10(np.sum(np.abs(h[:, 0, 0, :, 0, 0]) ** 2, axis=1))
    for s, snr_db in enumerate((-18.0, -8.0, 2.0)):
        for drop in range(24):
            met = levels[levels <= sinr_db[drop] + snr_db]
            level = met[-1] if len(met) else levels[0] - 2
            wanted = max(np.flatnonzero(needed <= level + 1e-3), default=0)
            assert (blocks.mcs[s, drop] == wanted).all()
    assert len(np.unique(blocks.mcs)) > 5


@pytest.mark.long
def test_goodput_stays_below_the_rate_and_an_ideal_cqi_is_the_bound(model, rng):
    h = channel(rng, 40)
    wideband = outcomes(link(model), h)["perfect", "zf"]
    ideal = outcomes(link(model, cqi=None), h)["perfect", "zf"].throughput
    assert (wideband.throughput.goodput_bpshz <= wideband.rate).all()
    assert (ideal.bler[ideal.mcs > 0] <= 0.102).all()
    assert ideal.goodput_bpshz.mean() > wideband.throughput.goodput_bpshz.mean() > 0.6 * ideal.goodput_bpshz.mean()
    # Zero forcing on perfect CSI: what the gNB expects of two users, from CQIs of users alone, is on the safe side.
    assert wideband.throughput.bler.mean() < 0.1


@pytest.mark.long
def test_every_report_carries_the_same_cqi_field(model, rng):
    """Four bits in the reports of every scheme where the gNB adapts to them, none elsewhere; the PMI stays as it is."""
    schemes = {"perfect": PerfectFeedback(CONFIG), "etype2": EnhancedTypeTwoFeedback(CONFIG, combination=2)}
    h = channel(rng, 2)
    found = {cqi: outcomes(link(model, schemes=schemes, cqi=cqi), h) for cqi in (1, None)}
    for label in schemes:
        with_cqi, without = found[1][label, None], found[None][label, None]
        assert (with_cqi.num_bits - without.num_bits == 4).all()
        assert with_cqi.part1_bits - without.part1_bits == 4


class Inverted(UplinkModel):
    """Inverts one bit of every report."""

    may_fail, position = True, 0

    def transmit(self, report, *, seed):
        bits = report.bits.copy()
        bits[..., self.position] ^= 1
        return CsiReport(bits, report.num_bits), np.zeros(report.num_bits.shape, bool)


class Counting(EnhancedTypeTwoFeedback):
    """Counts the reports that its twin at the gNB reconstructs."""

    counted: ClassVar[list[int]] = []

    def reconstruct(self, report):
        self.counted.append(report.num_bits.size)
        return super().reconstruct(report)


class SomeInverted(UplinkModel):
    """Inverts the last bit of some reports, or of none, and always makes new arrays."""

    def transmit(self, report, *, seed):
        bits = report.bits.copy()
        for drop in self.scheme or ():
            bits[drop, 0, report.num_bits[drop, 0] - 1] ^= 1
        return CsiReport(bits, report.num_bits), np.zeros(report.num_bits.shape, bool)


@pytest.mark.parametrize("inverted", [(), (1, 5)])
def test_a_report_with_a_cqi_is_reconstructed_once(model, rng, inverted):
    """The UE reads its own report for the CQI; the gNB needs only those again whose bits changed on the way."""
    scheme = Counting(CONFIG, combination=2)
    h = channel(rng, 6, slots=1)
    Counting.counted.clear()
    uplink = SomeInverted(scheme=inverted)
    reporting = Reporting(scheme, uplink)
    csi = CsiEstimate(h[..., 0, :], np.zeros((6, 2), np.float32))
    known = reporting.run(None, csi, (6, 1), seed=1, cqi=Cqi(link(model).throughput, CONFIG, (5.0,)))
    assert Counting.counted == [12] + [4] * bool(inverted)
    sent = scheme.report(csi)
    for drop in inverted:
        sent.bits[drop, 0, sent.num_bits[drop, 0] - 1] ^= 1
    np.testing.assert_array_equal(known.csi.w, EnhancedTypeTwoFeedback(CONFIG, combination=2).reconstruct(sent).w)
    assert (known.csi.w[list(inverted), 0] != 0).any() or not inverted


@pytest.mark.long
def test_the_gnb_reads_the_cqi_from_the_bits(model, rng):
    """A wrong CQI bit changes the MCS by its weight and nothing of the CSI."""
    config = CsiConfig(Panel(4, 2, 2), 1, 13, 360e3, 4)
    h = channel(rng, 24, 1, 1)

    def blocks(uplink):
        found = outcomes(link(model, config, {"p": PerfectFeedback(config)}, {"mrt": Mrt()}, uplink=uplink), h)
        return found["p", "mrt"], found["p", None]

    (right, csi), table = blocks(UplinkModel()), cqi_table(1)
    mcs, num_re = mcs_table(1), Throughput(model, 13 * 12).num_re
    levels = model.waterfall(num_re, 1, table.modulation_order, table.rate).threshold_db(0.1)
    needed = model.waterfall(num_re, 1, mcs.modulation_order, mcs.rate).threshold_db(0.1)
    levels = np.concatenate([levels[:1] - 2, levels])
    sinr_db = 10 * np.log10(np.sum(np.abs(h[:, 0, 0, :, 0, 0]) ** 2, axis=1)) + np.array([[5.0], [12.0]])
    sent = np.maximum(np.searchsorted(levels[1:], sinr_db, side="right"), 0)
    for position in range(4):
        uplink = Inverted()
        object.__setattr__(uplink, "position", position)
        wrong, csi_wrong = blocks(uplink)
        received = sent ^ (8 >> position)
        wanted = np.maximum((needed <= levels[received][..., None] + 1e-3).sum(axis=-1) - 1, 0)
        assert (wrong.throughput.mcs[:, :, 0] == wanted[..., None]).all()
        assert (wrong.rate == right.rate).all() and csi_wrong.wrong.all() and not np.any(csi.wrong)
    uplink = Inverted()
    object.__setattr__(uplink, "position", 4 + 64 * 7 + 3)  # a mantissa bit of the channel itself
    spoiled, _ = blocks(uplink)
    assert (spoiled.throughput.mcs == right.throughput.mcs).mean() > 0.8 and (spoiled.rate != right.rate).any()


@pytest.mark.parametrize(
    "make", [lambda: UplinkModel(bit_flip_probability=0.02), lambda: coded(-3.0), lambda: coded(0.0)]
)
def test_uplink_errors_do_not_depend_on_what_is_sent(make, rng):
    """What lets one transmission stand for the reports of all SNRs of the downlink, which differ in their CQI."""
    bits = rng.integers(0, 2, (40, 1, 30)).astype(np.uint8)
    uplink, length = make(), np.full((40, 1), 30)
    zero, lost = uplink.transmit(CsiReport(np.zeros_like(bits), length), seed=5)
    arrived, lost_too = uplink.transmit(CsiReport(bits, length), seed=5)
    np.testing.assert_array_equal(arrived.bits ^ bits, zero.bits)
    np.testing.assert_array_equal(lost, lost_too)
    assert zero.bits.any() or lost.any()


def coded(snr_db):
    from simulator.reporting.coded_uplink import CodedUplink

    return CodedUplink(snr_db=snr_db, num_re=24, fading="rayleigh")


@pytest.mark.long
def test_lost_reports_take_their_cqi_along(model, rng):
    """A UE is not served before its first report; then with the CQI of the last good one, of a channel that fades."""
    h = channel(rng, 50, slots=4)
    h = h * np.float32([1, 1, 0.1, 0.1])[:, None]  # 20 dB down from the third slot on
    lossy = UplinkModel(loss_probability=0.5)
    lost = outcomes(link(model, uplink=lossy), h)
    blocks, sent = lost["perfect", "zf"].throughput, ~lost["perfect", None].lost  # [batch, user, slot]
    known = np.logical_or.accumulate(sent, axis=-1)
    assert (blocks.sent == known).all()
    old = known[..., 3] & ~sent[..., 2] & ~sent[..., 3] & sent.all(axis=1, keepdims=True)[..., :1].repeat(2, 1)[..., 0]
    assert old.any()
    fresh = sent[..., 3] & sent.all(axis=1, keepdims=True)[..., :1].repeat(2, 1)[..., 0]
    assert blocks.bler[1][..., 3][old].mean() > 0.9 > 0.3 > blocks.bler[1][..., 3][fresh].mean()


class TestSubbandCqi:
    """A differential CQI of two bits for every subband next to the wideband one."""

    CONFIG = CsiConfig(Panel(4, 2, 2), 1, 13, 360e3, 4)  # subbands of 4, 4, 4 and 1 samples

    def uneven(self, rng, batch=24, spread_db=6.0):
        """Flat within every subband: effective SINRs of subbands are SINRs."""
        h = channel(rng, batch, 1, 1, slots=2)
        step = 10 ** (spread_db * rng.standard_normal((batch, 4)) / 20)
        return h * step[:, np.arange(13) // 4][:, None, None, None, None].astype(np.float32)

    def link(self, model, uplink=None, **more):
        built = link(model, self.CONFIG, {"p": PerfectFeedback(self.CONFIG)}, {"mrt": Mrt()}, uplink=uplink, **more)
        return replace(built, throughput=replace(built.throughput, subband_cqi=True))

    def test_levels_of_the_table(self):
        """TS 38.214, Table 5.2.2.1-1, offset by offset."""
        for wideband, subband in np.ndindex(16, 16):
            offset = subband - wideband
            wanted = 3 if offset <= -1 else 0 if offset == 0 else 1 if offset == 1 else 2
            assert differential(np.array(subband), np.array(wideband)) == wanted
            near = wideband + {0: 0, 1: 1, 2: 2, 3: -1}[wanted]
            assert subband_index(np.array(wanted), np.array(wideband)) == min(max(near, 0), 15)
        assert cqi_widths() == (4,) and cqi_widths(3) == (4, 2, 2, 2)

    def test_bits_in_a_report(self, model, rng):
        h, built = self.uneven(rng), self.link(model)
        reports = []

        class Spy(UplinkModel):
            def transmit(self, report, *, seed):
                reports.append(report)
                return super().transmit(report, seed=seed)

        found = outcomes(self.link(model, uplink=Spy()), h)["p", None]
        assert found.part1_bits == 4 + 4 * 2
        scheme = built.reporting["p"].scheme
        assert (found.num_bits == scheme.max_bits + 12).all()
        assert built.reporting["p"].payload((4, 2, 2, 2, 2)).max_bits == scheme.max_bits + 12
        table, num_re = cqi_table(1), built.throughput.num_re
        levels = model.waterfall(num_re, 1, table.modulation_order, table.rate).threshold_db(0.1)
        sinr_db = 10 * np.log10(np.sum(np.abs(h[:, 0, 0, :, 0, ::4]) ** 2, axis=1)) + 5.0  # the first SNR is sent
        bits, seen = reports[0].bits.reshape(24, 2, -1)[:, 0], set()
        for drop in range(24):
            wideband = int("".join(map(str, bits[drop, :4])), 2)
            for band in range(4):
                offset = int((levels <= sinr_db[drop, band]).sum()) - wideband
                wanted = 3 if offset < 0 else min(offset, 2)
                assert bits[drop, 4 + 2 * band : 6 + 2 * band].tolist() == [wanted >> 1, wanted & 1]
                seen.add(wanted)
        assert seen == {0, 1, 2, 3}

    def test_the_gnb_scales_every_subband_by_its_own_cqi(self, model, rng):
        """What a UE alone would have there is the level of its CQI, or that of the band where this is beyond it."""
        built = self.link(model)
        cqi = Cqi(built.throughput, self.CONFIG, (5.0,))
        rows = self.uneven(rng)[:, 0, :, :, 0]  # [batch, layer, port, n]
        rows = np.ascontiguousarray(np.moveaxis(rows, -1, 1))[:, :, None]  # [batch, n, user, layer, port]
        sent = np.concatenate([rng.integers(3, 13, (1, 24, 1, 1, 1)), rng.integers(0, 4, (1, 24, 1, 1, 4))], axis=-1)
        amplitude = cqi.amplitude(rows, sent)
        assert amplitude.shape == (1, 24, 13, 1, 1, 1)
        got = 10 * np.log10(np.sum(np.abs(rows * amplitude[0]) ** 2, axis=-1))[:, :, 0, 0] + 5.0  # [batch, n]
        table = cqi_table(1)
        levels = model.waterfall(built.throughput.num_re, 1, table.modulation_order, table.rate).threshold_db(0.1)
        whole = replace(built.throughput, subband_cqi=False)
        plain = Cqi(whole, self.CONFIG, (5.0,)).amplitude(rows, sent[..., :1])[0, :, 0, 0, 0, 0]
        for drop, band in np.ndindex(24, 4):
            index, level = sent[0, drop, 0, 0, 0], sent[0, drop, 0, 0, 1 + band]
            own = 10 * np.log10(np.sum(np.abs(rows[drop, 4 * band, 0, 0] * plain[drop]) ** 2)) + 5.0
            wanted = levels[index - 1 + [0, 1, 2, -1][level]]
            wanted = max(wanted, own) if level == 2 else min(wanted, own) if level == 3 else wanted
            np.testing.assert_allclose(got[drop, 4 * band : 4 * band + 4], wanted, atol=0.02)

    def test_errors_and_losses_take_their_own_field_along(self, model, rng):
        """A wrong bit of one subband; lost reports keep all fields of the last good one."""
        h = self.uneven(rng)
        csi = CsiEstimate(np.moveaxis(h, 4, 1).reshape(48, 1, 1, 16, 13), np.zeros((48, 1), np.float32))
        scheme = PerfectFeedback(self.CONFIG)

        def known(uplink):
            cqi = Cqi(self.link(model).throughput, self.CONFIG, (5.0, 12.0))
            return Reporting(scheme, uplink).run(None, csi, (24, 2), seed=1, cqi=cqi).cqi

        right, uplink = known(UplinkModel()), Inverted()
        object.__setattr__(uplink, "position", 4 + 2 * 2)  # the higher bit of the third subband
        wrong = known(uplink)
        assert right.shape == (2, 24, 1, 2, 5)
        np.testing.assert_array_equal(wrong ^ right, np.broadcast_to([0, 0, 0, 2, 0], right.shape))
        lossy = UplinkModel(loss_probability=0.5)
        lost = lossy.transmit(
            CsiReport(np.zeros((48, 1, 1), np.uint8), np.ones((48, 1), int)), seed=derive_wide(1, "uplink")
        )[1]
        got = known(lossy)
        late = np.flatnonzero(~lost.reshape(24, 2)[:, 0] & lost.reshape(24, 2)[:, 1])
        assert late.size
        np.testing.assert_array_equal(got[:, late, :, 1], right[:, late, :, 0])

    def test_it_describes_a_selective_channel_better(self, model, rng):
        """Expected SINRs of the subbands are nearer to the true ones where the gNB knows directions alone."""
        config = CsiConfig(Panel(4, 2, 2), 1, 16, 360e3, 4)
        h = self.uneven(rng, 60)[..., np.r_[0:13, 12, 12, 12]]
        scheme = EnhancedTypeTwoFeedback(config, combination=2, rank=1)
        csi = CsiEstimate(np.ascontiguousarray(h[..., 0, :]), np.zeros((60, 1), np.float32))
        rec = scheme.reconstruct(scheme.report(csi))
        rows = known_rows(rec, config)
        true = alone(np.ascontiguousarray(np.moveaxis(csi.h_hat, -1, 1)), rows, noise_powers((5.0,)))[0, :, :, 0, 0]
        error = []
        for subband in (False, True):
            cqi = Cqi(replace(link(model, config).throughput, subband_cqi=subband), config, (5.0,))
            amplitude = cqi.amplitude(rows, cqi.at_ue(csi, rec)[:, :, :, None])
            scaled = np.asarray(rows) * amplitude[0]
            expected = 10 ** (5.0 / 10) * np.sum(np.abs(scaled) ** 2, axis=-1)[:, :, 0, 0]
            error.append(np.mean(np.abs(10 * np.log10(expected / true))))
        assert error[1] < 0.6 * error[0]


def test_a_scenario_asks_for_subband_cqis():
    from benchmarks.build import build_payloads
    from benchmarks.runner import load_points

    most = {}
    for cqi in ("wideband", "subband", "ideal"):
        scenario = load_points("throughput_umi", [f"throughput.cqi={cqi}"])[1][0].scenario
        most[cqi] = [payload.max_bits for payload in build_payloads(scenario).values()]
        subbands = scenario.csi_config.num_subbands
    assert np.all(np.subtract(most["wideband"], most["ideal"]) == 4)
    assert np.all(np.subtract(most["subband"], most["wideband"]) == 2 * subbands) and subbands > 1
