"""User selection and rank adaptation in the link, against loops over drops in float64 and against limits."""

import numpy as np
import pytest
from tolerances import FLOAT32, RATE

from benchmarks.build import ChannelDraw, build_link
from receivers.estimation.perfect import PerfectEstimator
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.feedback.perfect import PerfectFeedback
from scenarios.sweep import expand
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, Panel
from simulator.downlink import user_selection
from simulator.downlink.scheduler import Scheduler, adaptive_layers, band_samples, expected_rates
from simulator.link import Link
from simulator.outcomes import LinkOutcome
from simulator.precoding.linear import Rzf, Zf
from simulator.precoding.wmmse import Wmmse
from simulator.reporting.uplink import UplinkModel
from tests.links import over

PANEL = Panel(4, 1, 2)
SNRS_DB = (-5.0, 20.0)


def gaussian(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def config(rx=1, layers=1, subcarriers=4, panel=PANEL):
    return CsiConfig(panel, rx, subcarriers, 360e3, 2, layers)


def link(cfg, precoders=("zf",), schemes=None, uplink=None, **fields):
    named = precoders if isinstance(precoders, dict) else {n: registry.build("precoders", n) for n in precoders}
    reporting = over(schemes or {"perfect": PerfectFeedback(cfg)}, uplink)
    defaults = dict(reporting=reporting, precoders=named, snr_db=SNRS_DB)
    return Link(cfg, PerfectEstimator(), **{**defaults, **fields})


def outcomes(a_link, h):
    return {(scheme, name): outcome for scheme, name, outcome in a_link.run(h, seed=1) if name}


def zf_rates(g, noise_var):
    """Rates of all rows ``g [user, port]`` with equal powers."""
    return np.log2(1 + 1 / np.diag(np.linalg.inv(g @ g.conj().T)).real / noise_var / len(g))


class TestWideband:
    def test_one_sample_is_the_narrow_band(self, rng):
        g = gaussian(rng, 5, 8, 4)
        for call in (
            lambda g, **wide: user_selection.semi_orthogonal(g, 3, 0.5, **wide),
            lambda g, **wide: user_selection.greedy_sum_rate(g, 0.1, 3, **wide),
        ):
            np.testing.assert_array_equal(call(g[:, None], wideband=True), call(g))

    @pytest.mark.parametrize("threshold", [0.6, 1.0])
    def test_semi_orthogonal_equals_a_loop(self, rng, threshold):
        g = gaussian(rng, 20, 3, 7, 6)
        chosen = user_selection.semi_orthogonal(g, 4, threshold, wideband=True)
        for rows, users in zip(g.astype(np.complex128), chosen, strict=True):
            left, basis, expected = list(range(7)), [], []
            while left and len(expected) < 4:
                rest = {k: rows[:, k] - sum((np.sum(q.conj() * rows[:, k], 1, keepdims=True)) * q for q in basis)
                        for k in left}  # fmt: skip
                best = max(left, key=lambda k: np.linalg.norm(rest[k]))
                expected.append(best)
                q = rest[best] / np.linalg.norm(rest[best], axis=1, keepdims=True)
                basis.append(q)
                cosine = [
                    np.linalg.norm(np.sum(q.conj() * rows[:, k], 1)) / np.linalg.norm(rows[:, k]) for k in range(7)
                ]
                left = [k for k in left if k != best and cosine[k] < threshold]
            np.testing.assert_array_equal(users, expected + [-1] * (4 - len(expected)))

    @pytest.mark.parametrize("weighted", [False, True])
    def test_greedy_equals_a_loop(self, rng, weighted):
        g = gaussian(rng, 15, 3, 5, 4)
        weights = rng.uniform(0.1, 3, (15, 5)) if weighted else np.ones((15, 5))
        chosen = user_selection.greedy_sum_rate(g, 0.3, 3, False, weights if weighted else None, wideband=True)
        for rows, weight, users in zip(g.astype(np.complex128), weights, chosen, strict=True):
            group, rate = [], 0.0
            while len(group) < 3:
                rates = {}
                for k in set(range(5)) - set(group):
                    some = [*group, k]
                    rates[k] = np.mean([weight[some] @ zf_rates(one[some], 0.3) for one in rows])
                best = max(rates, key=rates.get)
                if rates[best] <= rate:
                    break
                group, rate = [*group, best], rates[best]
            np.testing.assert_array_equal(users, group + [-1] * (3 - len(group)))

    def test_samples_lie_evenly_in_the_band(self):
        np.testing.assert_array_equal(band_samples(3), [0, 1, 2])
        np.testing.assert_array_equal(band_samples(16), np.arange(16))
        for count in (17, 52, 624):
            samples = band_samples(count)
            assert len(samples) == 16 and 0 <= samples[0] and samples[-1] < count
            assert np.ptp(np.diff(samples)) <= 1 and abs(samples.mean() - (count - 1) / 2) <= 1


class TestScheduler:
    def test_users_in_order_by_the_strongest_layer(self, rng):
        rows = gaussian(rng, 10, 4, 6, 2, 8)
        chosen = Scheduler("semi_orthogonal", 4, threshold=0.35).select(rows, 0.1, 1)
        expected = user_selection.semi_orthogonal(rows[:, :, :, 0], 4, 0.35, wideband=True)
        assert (expected < 0).any() and (np.diff(expected, axis=1) < 0).any()
        for mine, users in zip(chosen, expected, strict=True):
            served = np.sort(users[users >= 0])
            np.testing.assert_array_equal(mine, [*served, *[-1] * (4 - len(served))])

    def test_expected_rates(self, rng):
        g = gaussian(rng, 3, 4, 5, 6)
        users = np.array([[4, 1, -1], [-1, -1, -1], [2, 0, 3]])
        found = expected_rates(g, users, 0.2)
        assert (found[1] == 0).all() and (found > 0).sum() == 5
        np.testing.assert_allclose(found[0, [1, 4]], np.mean([zf_rates(x[[1, 4]], 0.2) for x in g[0]], axis=0))
        np.testing.assert_allclose(found[2, [2, 0, 3]], np.mean([zf_rates(x[[2, 0, 3]], 0.2) for x in g[2]], axis=0))

    def test_proportional_fair_equals_its_recursion(self, rng):
        """Averages start equal, at the even share of the mean rate alone, and pass from slot to slot, drop by drop."""
        drops, slots, users = 4, 12, 5
        gains = np.array([4, 2, 1, 1, 0.25], np.float32)
        g = gaussian(rng, drops, slots, 3, users, 8) * gains[:, None]
        scheduler = Scheduler("proportional_fair", 2, window_slots=4.0)
        chosen = scheduler.select(g.reshape(drops * slots, 3, users, 1, 8), 0.1, slots).reshape(drops, slots, 2)
        for b in range(drops):
            rows = g[b].astype(np.complex128)
            alone = [np.mean([zf_rates(x[[k]], 0.1)[0] for x in rows[0]]) for k in range(users)]
            average = np.full(users, np.mean(alone) * 2 / users)
            for t in range(slots):
                weighted = user_selection.greedy_sum_rate(rows[t], 0.1, 2, False, 1 / average, wideband=True)
                served = np.sort(weighted[weighted >= 0])
                np.testing.assert_array_equal(chosen[b, t][chosen[b, t] >= 0], served)
                rate = np.zeros(users)
                rate[served] = np.mean([zf_rates(x[served], 0.1) for x in rows[t]], axis=0)
                average += (rate - average) / 4

    def test_one_slot_of_static_users_each(self, rng):
        """Users that never change share the time evenly, however strong."""
        g = gaussian(rng, 6, 1, 2, 4, 8) * np.array([8, 4, 2, 1], np.float32)[:, None]
        rows = np.repeat(g, 40, axis=1).reshape(240, 2, 4, 1, 8)
        chosen = Scheduler("proportional_fair", 1, window_slots=10.0).select(rows, 0.1, 40).reshape(6, 40)
        counts = np.array([np.bincount(x, minlength=4) for x in chosen])
        assert counts.min() >= 8 and counts.max() <= 13
        greedy = Scheduler("greedy", 1).select(rows, 0.1, 40)
        assert (greedy == greedy.reshape(6, 40, 1)[:, :1].repeat(40, 1).reshape(-1, 1)).all()

    def test_refuses_nonsense(self, rng):
        rows = gaussian(rng, 2, 2, 3, 1, 4)
        for call in (
            lambda: Scheduler("round_robin", 2),
            lambda: Scheduler("greedy", 4).select(rows, 0.1, 1),
            lambda: Scheduler("semi_orthogonal", 2, threshold=0.0).select(rows, 0.1, 1),
        ):
            with pytest.raises(ConfigError, match=r"scheduling\.name|num_selected|threshold"):
                call()


class TestInTheLink:
    @pytest.mark.parametrize("name", ["semi_orthogonal", "greedy", "proportional_fair"])
    def test_rates_equal_the_loop(self, rng, name):
        """Only the chosen users are precoded for, at the SNR's own choice; all others have nothing."""
        h = gaussian(rng, 4, 6, 1, 8, 3, 4)
        scheduler = Scheduler(name, 3)
        outcome = outcomes(link(config(), scheduler=scheduler), h)["perfect", "zf"]
        np.testing.assert_array_equal(outcome.rate, outcome.rate_ref)
        rows = h[:, :, 0].transpose(0, 3, 4, 1, 2).reshape(12, 4, 6, 1, 8)  # [drop * slot, n, user, 1, port]
        for s, snr_db in enumerate(SNRS_DB):
            noise_var = 10 ** (-snr_db / 10)
            chosen = scheduler.select(rows, noise_var, 3)
            for (b, t), users in zip(np.ndindex(4, 3), chosen, strict=True):
                users = users[users >= 0]
                expected = np.zeros(6)
                expected[users] = np.mean(
                    [zf_rates(x[users, 0].astype(complex), noise_var) for x in rows[b * 3 + t]], 0
                )
                np.testing.assert_allclose(outcome.rate[s, b, :, t], expected, rtol=RATE, atol=RATE)
                np.testing.assert_array_equal(outcome.rank[s, b, :, t], np.isin(np.arange(6), users))

    @pytest.mark.long
    def test_everybody_selected_is_no_scheduling(self, rng):
        h = gaussian(rng, 6, 3, 2, 8, 1, 4)
        for name in ("mrt", "rzf", "bd", "rzf_robust"):
            plain = outcomes(link(config(2, 2), (name,)), h)["perfect", name]
            chosen = outcomes(link(config(2, 2), (name,), scheduler=Scheduler("semi_orthogonal", 3, 1.0)), h)
            np.testing.assert_allclose(chosen["perfect", name].rate, plain.rate, rtol=RATE)

    @pytest.mark.long
    def test_more_users_than_ports(self, rng):
        h = gaussian(rng, 30, 12, 1, 4, 1, 4)
        cfg = config(panel=Panel(4))
        rates = {}
        for name in ("semi_orthogonal", "greedy"):
            outcome = outcomes(link(cfg, ("rzf",), scheduler=Scheduler(name, 4)), h)["perfect", "rzf"]
            assert outcome.rate.shape == (2, 30, 12, 1) and (np.sum(outcome.rate > 0, axis=2) <= 4).all()
            rates[name] = outcome.rate.sum(axis=2).mean(axis=(1, 2))
        first = outcomes(link(cfg, ("rzf",)), h[:, :4])["perfect", "rzf"].rate.sum(axis=2).mean(axis=(1, 2))
        assert (rates["greedy"] > 1.1 * first).all() and (rates["semi_orthogonal"] > 1.1 * first).all()

    def test_proportional_fair_is_fairer_than_greedy(self, rng):
        h = gaussian(rng, 10, 6, 1, 8, 10, 2) * np.array([4, 2, 1, 1, 0.5, 0.5], np.float32)[:, None, None, None, None]
        fairness, total = {}, {}
        for name in ("greedy", "proportional_fair"):
            scheduler = Scheduler(name, 2, window_slots=5.0)
            outcome = outcomes(link(config(subcarriers=2), scheduler=scheduler), h)["perfect", "zf"]
            fairness[name] = registry.build("metrics", "fairness").evaluate(outcome)["fairness"].mean(axis=1)
            total[name] = registry.build("metrics", "sum_rate_bpshz").evaluate(outcome)["sum_rate_bpshz"].mean(axis=1)
        assert (fairness["proportional_fair"] > 1.3 * fairness["greedy"]).all()
        assert (total["greedy"] > total["proportional_fair"]).all()

    def test_nobody_is_served_unheard(self, rng):
        h = gaussian(rng, 40, 4, 1, 8, 1, 2)
        fields = dict(scheduler=Scheduler("greedy", 2), uplink=UplinkModel(loss_probability=0.5, on_loss="none"))
        a_link = link(config(subcarriers=2), **fields)
        csi = next(o for _, name, o in a_link.run(h, seed=1) if name is None)
        heard = csi.correlation2[:, :, 0, 0, 0] > 0
        outcome = outcomes(a_link, h)["perfect", "zf"]
        served = outcome.rank[..., 0] > 0
        assert not (served & ~heard).any()
        np.testing.assert_array_equal(served.sum(axis=2) > 0, np.broadcast_to(heard.any(axis=1), (2, 40)))
        assert (outcome.rank_ref[1] > 0).sum() == 80

    def test_total_loss_is_outage(self, rng):
        h = gaussian(rng, 3, 4, 1, 8, 1, 2)
        fields = dict(scheduler=Scheduler("greedy", 2), uplink=UplinkModel(loss_probability=1.0))
        outcome = outcomes(link(config(subcarriers=2), **fields), h)["perfect", "zf"]
        assert (outcome.rate == 0).all()
        for name in ("outage_rate", "outage_gamma"):
            for value in registry.build("metrics", name).evaluate(outcome).values():
                assert (value == 1).all()

    @pytest.mark.long
    @pytest.mark.parametrize("layers", [1, 2])
    def test_wmmse_rzf_zf_in_order(self, rng, layers):
        """With perfect CSI, on average at every SNR."""
        h = gaussian(rng, 60, 4, 2, 8, 1, 1)
        precoders = {"zf": Zf(), "rzf": Rzf(), "wmmse": Wmmse(6)}
        found = outcomes(link(config(2, layers, 1), precoders=precoders, snr_db=(-10.0, 5.0, 20.0)), h)
        zf, rzf, wmmse = (found["perfect", n].rate.sum(axis=2).mean(axis=(1, 2)) for n in ("zf", "rzf", "wmmse"))
        assert (rzf > zf).all() and (wmmse > rzf).all()

    @pytest.mark.slow
    def test_wmmse_rzf_zf_in_order_umi(self, eager):
        scenario = {**SCENARIO, "carrier": {"num_rb": 13}, "ue": {"num_users": 4, "num_rx_ant": 2}}
        scenario |= {"channel": {"model": "umi"}, "bs": {"n1": 4, "n2": 2}, "snr_db": [-10, 0, 10, 20, 30]}
        scenario |= {"precoding": {"precoders": ["zf", "rzf", "wmmse"]}}
        point = expand(scenario)[0]
        found = outcomes(build_link(point.scenario), ChannelDraw(point).block(0, 32))
        zf, rzf, wmmse = (found["perfect", n].rate.sum(axis=2).mean(axis=(1, 2)) for n in ("zf", "rzf", "wmmse"))
        assert (rzf >= zf).all() and (wmmse >= rzf * (1 - 1e-6)).all() and (wmmse[:3] > rzf[:3]).all()


class TestRank:
    def test_search_finds_the_best_of_few(self, rng):
        """A rate that adds up over users has no better combination than the one found."""
        value = rng.uniform(0, 1, (20, 3, 4)).cumsum(axis=2) - 0.5 * np.arange(4)
        known = np.ones((20, 3, 4), bool)
        known[0, 1, 2:] = False

        def rate(mask):
            count = mask.sum(axis=2)
            return np.where(
                count > 0, np.take_along_axis(value, np.maximum(count, 1)[..., None] - 1, 2)[..., 0], 0
            ).sum(1)

        found = adaptive_layers(known, rate)
        limit = np.where(known, value, -np.inf)
        np.testing.assert_array_equal(found.sum(axis=2), 1 + np.argmax(limit, axis=2))
        assert not (found & ~known).any()

    @pytest.mark.long
    def test_one_user_takes_the_best_number_of_layers(self, rng):
        h = gaussian(rng, 30, 1, 4, 8, 1, 4)
        snrs_db = (-10.0, 0.0, 10.0, 30.0)
        outcome = outcomes(link(config(4, 4), ("svd",), snr_db=snrs_db, adaptive_rank=True), h)["perfect", "svd"]
        power = np.linalg.svd(np.moveaxis(h[:, 0, :, :, 0].astype(complex), 3, 1), compute_uv=False) ** 2  # [b, n, 4]
        for s, snr_db in enumerate(snrs_db):
            rates = [np.log2(1 + 10 ** (snr_db / 10) / r * power[..., :r]).sum(2).mean(1) for r in (1, 2, 3, 4)]
            np.testing.assert_allclose(outcome.rate[s, :, 0, 0], np.max(rates, axis=0), rtol=RATE)
            clear = np.diff(np.sort(rates, axis=0)[-2:], axis=0)[0] > 1e-3
            assert clear.mean() > 0.8
            np.testing.assert_array_equal(outcome.rank[s, clear, 0, 0], 1 + np.argmax(rates, axis=0)[clear])
        mean = registry.build("metrics", "rank_mean").evaluate(outcome)["rank_mean"].mean(axis=1)
        assert (np.diff(mean) >= 0).all() and mean[0] < 2 and mean[-1] == 4

    @pytest.mark.long
    @pytest.mark.parametrize("name", ["zf", "rzf", "bd", "mrt"])
    def test_never_worse_than_fixed_with_perfect_csi(self, rng, name):
        h = gaussian(rng, 20, 3, 2, 8, 1, 4)
        adaptive = outcomes(link(config(2, 2), (name,), adaptive_rank=True), h)["perfect", name]
        two = outcomes(link(config(2, 2), (name,)), h)["perfect", name].rate.sum(axis=2)
        assert (adaptive.rate.sum(axis=2) >= two * (1 - RATE)).all(), "in no drop, with an antenna per layer"
        one = outcomes(link(config(2, 1), (name,)), h)["perfect", name].rate.sum(axis=2)
        mean = adaptive.rate.sum(axis=2).mean(axis=(1, 2))
        assert (mean >= np.maximum(one.mean(axis=(1, 2)), two.mean(axis=(1, 2))) * (1 - RATE)).all()
        assert 1 <= adaptive.rank.min() < adaptive.rank.max() == 2

    @pytest.mark.long
    def test_zero_layers_take_no_power(self, rng):
        """Reports of rank 1 in a link that wants two layers: the link of one layer."""
        h = gaussian(rng, 8, 2, 2, 8, 1, 8)
        found = []
        for layers in (1, 2):
            cfg = CsiConfig(PANEL, 2, 8, 360e3, 2, layers)
            scheme = EnhancedTypeTwoFeedback(cfg, seed=1, combination=2, rank=1)
            found.append(outcomes(link(cfg, ("zf", "rzf", "bd", "slnr"), schemes={"e": scheme}, snr_db=(0.0, 20.0)), h))
        for name in ("zf", "rzf", "bd", "slnr"):
            np.testing.assert_allclose(found[1]["e", name].rate, found[0]["e", name].rate, rtol=RATE, atol=RATE)
        assert (found[1]["e", "zf"].rank == 1).all() and found[1]["e", "zf"].max_rank == 2

    @pytest.mark.long
    def test_with_a_scheduler(self, rng):
        h = gaussian(rng, 10, 5, 2, 8, 2, 4)
        fields = dict(scheduler=Scheduler("semi_orthogonal", 2), adaptive_rank=True)
        outcome = outcomes(link(config(2, 2), **fields), h)["perfect", "zf"]
        assert ((outcome.rank > 0).sum(axis=2) == 2).all() and set(np.unique(outcome.rank)) == {0, 1, 2}
        np.testing.assert_array_equal(outcome.rate > 0, outcome.rank > 0)


class TestMetrics:
    @staticmethod
    def outcome(rate, rank, rate_ref=None, rank_ref=None, **fields):
        rate, rank = np.array(rate, float)[None, None], np.array(rank)[None, None]  # [snr, drop, user, slot]
        rate_ref = rate if rate_ref is None else np.array(rate_ref, float)[None, None]
        rank_ref = rank if rank_ref is None else np.array(rank_ref)[None, None]
        return LinkOutcome(rate, rate_ref, (0.9,), (1.0,), rank=rank, rank_ref=rank_ref, **fields)

    def test_fairness(self):
        metric = registry.build("metrics", "fairness")
        for rate, expected in (([[1, 3], [2, 2]], 1.0), ([[4, 0], [0, 0]], 0.5), ([[0, 0], [0, 0]], 0.0)):
            assert metric.evaluate(self.outcome(rate, rate))["fairness"] == pytest.approx(expected)
        assert metric.evaluate(self.outcome([[3], [1], [2]], [[1]] * 3))["fairness"] == pytest.approx(36 / 42)
        assert metric.evaluate(self.outcome([[3, 1]], [[1, 1]])) == {}

    def test_rank_mean_counts_who_is_served(self):
        metric = registry.build("metrics", "rank_mean")
        rank = [[2, 0], [1, 3], [0, 0]]
        assert metric.evaluate(self.outcome(rank, rank, max_rank=3))["rank_mean"] == pytest.approx(2.0)
        assert metric.evaluate(self.outcome(rank, np.zeros((3, 2), int), max_rank=3))["rank_mean"] == 0
        assert metric.evaluate(self.outcome(rank, rank, max_rank=1)) == {}

    def test_outage_of_served_users_only(self):
        rate, rank = [[2.0, 0], [0.5, 0], [0, 3.0]], [[1, 0], [1, 0], [0, 1]]
        reference, rank_ref = [[2.0, 0], [0, 1], [0, 4.0]], [[1, 0], [0, 1], [0, 1]]
        outage = {}
        for scheduled in (False, True):
            outcome = self.outcome(rate, rank, reference, rank_ref, scheduled=scheduled)
            for name, key in (("outage_rate", "outage_rate_1"), ("outage_gamma", "outage_gamma_0.9")):
                outage[name, scheduled] = registry.build("metrics", name).evaluate(outcome)[key].item()
        assert outage["outage_rate", False] == pytest.approx(4 / 6)
        assert outage["outage_rate", True] == pytest.approx(1 / 3)
        assert outage["outage_gamma", False] == pytest.approx(2 / 6)
        assert outage["outage_gamma", True] == pytest.approx(1 / 2)  # users 0 and 2


SCENARIO = {
    "name": "unit",
    "carrier": {"num_rb": 4},
    "bs": {"n1": 2, "n2": 1, "num_pol": 2},
    "ue": {"num_users": 6, "num_rx_ant": 2},
    "channel": {"model": "rayleigh"},
    "feedback": [{"scheme": "perfect"}],
    "snr_db": [10],
}
TWO = {"name": "greedy", "num_selected": 2}


class TestScenario:
    def test_hashes_stay_at_the_defaults(self):
        small = {**SCENARIO, "ue": {"num_users": 2}}
        plain = expand(small)[0]
        assert expand({**small, "scheduling": {"name": "none"}, "precoding": {"rank": "fixed"}})[0].key == plain.key
        dump = plain.scenario.model_dump()
        assert "scheduling" not in dump and "rank" not in dump["precoding"]
        others = {expand({**small, **x})[0].key for x in ({"scheduling": TWO}, {"precoding": {"rank": "adaptive"}})}
        assert len(others | {plain.key}) == 3
        assert expand({**small, "scheduling": TWO})[0].channel_key == plain.channel_key

    @pytest.mark.long
    def test_build_and_run(self):
        """More users than ports."""
        precoding = {"precoders": ["zf", "bd"], "layers_per_user": 2, "rank": "adaptive"}
        point = expand({**SCENARIO, "scheduling": TWO, "precoding": precoding})[0]
        a_link = build_link(point.scenario)
        assert a_link.scheduler == Scheduler("greedy", 2) and a_link.adaptive_rank
        outcome = outcomes(a_link, ChannelDraw(point).block(0, 4))["perfect", "bd"]
        assert ((outcome.rank > 0).sum(axis=2) <= 2).all() and (outcome.rate.sum(axis=2) > 0).all()

    def test_one_of_many_by_svd(self):
        scenario = {**SCENARIO, "scheduling": {**TWO, "num_selected": 1}, "precoding": {"precoders": ["svd"]}}
        assert build_link(expand(scenario)[0].scenario).scheduler.num_selected == 1

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({}, r"^ue\.num_users: got 6; allowed: at most 4 streams"),
            ({"scheduling": {"name": "greedy"}}, r"^scheduling\.num_selected: got None"),
            ({"scheduling": {"num_selected": 2}}, r"^scheduling\.num_selected: got 2; allowed: null"),
            ({"scheduling": {**TWO, "num_selected": 7}}, r"^scheduling\.num_selected: got 7; .* ue\.num_users = 6"),
            (
                {"scheduling": {**TWO, "num_selected": 5}},
                r"^scheduling\.num_selected: got 5; allowed: at most 4 streams",
            ),
            ({"scheduling": {**TWO, "name": "best"}}, r"^scheduling\.name: got 'best'.*greedy"),
            ({"scheduling": {**TWO, "threshold": 0}}, r"^scheduling\.threshold: got 0"),
            ({"scheduling": {**TWO, "window_slots": 0.5}}, r"^scheduling\.window_slots: got 0\.5"),
            ({"scheduling": TWO, "precoding": {"rank": "best"}}, r"^precoding\.rank: got 'best'"),
        ],
        ids=str,
    )
    def test_bad_input(self, changes, message):
        with pytest.raises(ConfigError, match=message):
            expand({**SCENARIO, **changes})

    def test_svd_for_two(self):
        scenario = expand({**SCENARIO, "scheduling": TWO, "precoding": {"precoders": ["svd"]}})[0].scenario
        with pytest.raises(ConfigError, match=r"^precoding\.precoders: got 'svd'.*scheduling\.num_selected is 2"):
            build_link(scenario)


@pytest.mark.long
def test_all_precoders_serve_any_plan(rng):
    """Users and layers that a plan leaves out cost nobody anything, whatever the precoder."""
    h = gaussian(rng, 4, 5, 2, 8, 1, 2)
    names = [name for name in registry.names("precoders") if not name.startswith(("svd", "wmmse"))]
    precoders = {name: registry.build("precoders", name) for name in names} | {"wmmse": Wmmse(1)}
    found = outcomes(
        link(config(2, 2, 2), precoders, snr_db=(10.0,), scheduler=Scheduler("greedy", 3), adaptive_rank=True), h
    )
    for name in precoders:
        outcome = found["perfect", name]
        assert np.isfinite(outcome.rate).all() and (outcome.rate.sum(axis=2) > 0).all()
        assert (outcome.rate[outcome.rank == 0] == 0).all()
        np.testing.assert_allclose(outcome.rate, outcome.rate_ref, rtol=FLOAT32)
