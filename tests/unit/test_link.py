"""The whole link against an independent float64 loop over users, subcarriers and streams; its uplink; its channels."""

import copy
import dataclasses
import json
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.special import j0
from tolerances import FLOAT32, RATE, assert_close, assert_mean

from benchmarks.build import ChannelDraw, build_link, build_payloads
from receivers.estimation.noisy import NoisyEstimator
from receivers.estimation.perfect import PerfectEstimator
from receivers.feedback.dft import DftFeedback
from receivers.feedback.perfect import PerfectFeedback
from receivers.feedback.rvq import RvqFeedback
from receivers.prediction.ar import ArPredictor
from receivers.prediction.repeat import RepeatPredictor
from receivers.prediction.wiener_doppler import WienerDopplerPredictor
from scenarios.sweep import expand
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.interfaces import Precoder
from simulator.core.seeding import derive_wide
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport, Panel, RadioGeometry
from simulator.link import Link
from simulator.outcomes import LinkOutcome
from simulator.phy.rayleigh import Rayleigh
from simulator.precoding.linear import Mrt
from simulator.reporting.uplink import UplinkModel
from tests.links import over

PANEL = Panel(4, 1, 2)
SNRS_DB = (-10.0, 5.0, 25.0)


def channel(rng, batch=3, users=3, rx=1, slots=2, subcarriers=5, panel=PANEL):
    shape = (batch, users, rx, panel.num_ports, slots, subcarriers, 2)
    return (rng.standard_normal(shape) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def config(rx=1, layers=1, subcarriers=5, panel=PANEL):
    return CsiConfig(panel, rx, subcarriers, 360e3, subband_size=2, num_layers=layers)


def link(cfg, schemes=("perfect",), precoders=("mrt", "zf", "rzf"), uplink=None, **fields):
    built = {"perfect": PerfectFeedback(cfg)}
    if cfg.num_layers == 1:
        built["rvq"] = RvqFeedback(cfg, bits=5, frequency="subband", seed=3)
        built["dft"] = DftFeedback(cfg, cophasing="subband")
    chosen = over({name: built[name] for name in schemes}, uplink)
    named = {name: registry.build("precoders", name) for name in precoders}
    defaults = dict(config=cfg, estimator=PerfectEstimator(), reporting=chosen, precoders=named, snr_db=SNRS_DB)
    return Link(**{**defaults, **fields})


def outcomes(a_link, h, seed=1):
    """``{(scheme, precoder or None): outcome}``."""
    return {(scheme, name): outcome for scheme, name, outcome in a_link.run(h, seed=seed)}


# The reference: float64, one matrix at a time, LMMSE by an explicit inverse.


def reference_rows(h, layers):
    """Strongest singular directions times singular values of one user ``[rx, port]``."""
    _, sigma, vh = np.linalg.svd(h)
    return sigma[:layers, None] * vh[:layers]


def reference_weights(name, g, noise_var):
    gram = g @ g.conj().T
    inverse = {"mrt": lambda: np.eye(len(g)), "zf": lambda: np.linalg.inv(gram), "svd": lambda: np.eye(len(g))}
    inverse["rzf"] = lambda: np.linalg.inv(gram + len(g) * noise_var * np.eye(len(g)))
    columns = g.conj().T @ inverse[name]()
    return columns / np.linalg.norm(columns, axis=0) / np.sqrt(len(g))


def reference_rates(h, rows_of, name, snr_db, layers):
    """User rates ``[snr, batch, user, slot]``; ``rows_of(batch, user, slot, subcarrier)`` is what the gNB knows."""
    h = h.astype(np.complex128)
    batch, users, rx, _, slots, subcarriers = h.shape
    rates = np.zeros((len(snr_db), batch, users, slots))
    for s, b, t, n in np.ndindex(len(snr_db), batch, slots, subcarriers):
        noise_var = 10 ** (-snr_db[s] / 10)
        w = reference_weights(name, np.concatenate([rows_of(b, u, t, n) for u in range(users)]), noise_var)
        for u in range(users):
            e = h[b, u, :, :, t, n] @ w
            for layer in range(layers):
                own = u * layers + layer
                covariance = noise_var * np.eye(rx, dtype=complex)
                for j in range(users * layers):
                    if j != own:
                        covariance += np.outer(e[:, j], e[:, j].conj())
                sinr = np.real(e[:, own].conj() @ np.linalg.inv(covariance) @ e[:, own])
                rates[s, b, u, t] += np.log2(1 + sinr) / subcarriers
    return rates


class TestRates:
    @pytest.mark.parametrize(("users", "rx", "layers"), [(1, 1, 1), (3, 1, 1), (3, 2, 1), (2, 2, 2), (2, 4, 3)])
    @pytest.mark.parametrize("name", ["mrt", "zf", "rzf"])
    def test_perfect_feedback_against_the_loop(self, rng, users, rx, layers, name):
        h = channel(rng, batch=2, users=users, rx=rx)
        outcome = outcomes(link(config(rx, layers), precoders=(name,)), h)["perfect", name]
        h64 = h.astype(np.complex128)

        def known(b, u, t, n):
            return reference_rows(h64[b, u, :, :, t, n], layers)

        expected = reference_rates(h, known, name, SNRS_DB, layers)
        assert outcome.rate.shape == (3, 2, users, 2)
        np.testing.assert_allclose(outcome.rate, expected, rtol=RATE, atol=RATE)
        np.testing.assert_array_equal(outcome.rate, outcome.rate_ref)

    @pytest.mark.parametrize("scheme", ["rvq", "dft"])
    @pytest.mark.parametrize("rx", [1, 2])
    def test_beam_feedback_against_the_loop(self, rng, scheme, rx):
        """The precoder comes from the reported beams of the right subband, the rate from the true channel."""
        cfg = config(rx)
        h = channel(rng, rx=rx)
        # MRT only: two users may report the same DFT beam, for which the reference has no inverse.
        name = "mrt" if scheme == "dft" else "zf"
        outcome = outcomes(link(cfg, (scheme,), precoders=(name,)), h)[scheme, name]
        slots_first = np.moveaxis(h, 4, 1).reshape(-1, *h.shape[1:4], 5)
        plugged = link(cfg, (scheme,)).reporting[scheme].scheme
        w = plugged.reconstruct(plugged.report(CsiEstimate(slots_first, np.zeros((6, 3), np.float32)))).w
        w = w.reshape(3, 2, *w.shape[1:]).astype(np.complex128)  # [batch, slot, user, port, layer, subband]

        def known(b, u, t, n):
            return w[b, t, u, :, :, n // 2].conj().T

        expected = reference_rates(h, known, name, SNRS_DB, 1)
        np.testing.assert_allclose(outcome.rate, expected, rtol=RATE, atol=RATE)
        assert (outcome.rate_ref.mean(axis=(1, 2, 3)) > outcome.rate.mean(axis=(1, 2, 3))).all()

    def test_single_user_mrt_is_the_shannon_formula(self, rng):
        h = channel(rng, users=1, subcarriers=1)
        outcome = outcomes(link(config(subcarriers=1)), h)
        gain = np.sum(np.abs(h.astype(np.complex128)) ** 2, axis=(2, 3, 5))  # [batch, user, slot]
        for s, snr_db in enumerate(SNRS_DB):
            expected = np.log2(1 + 10 ** (snr_db / 10) * gain)
            for name in ("mrt", "zf", "rzf"):
                np.testing.assert_allclose(outcome["perfect", name].rate[s], expected, rtol=FLOAT32)

    @pytest.mark.parametrize("layers", [1, 2, 4])
    def test_svd_is_the_closed_form(self, rng, layers):
        h = channel(rng, users=1, rx=4)
        outcome = outcomes(link(config(4, layers), precoders=("svd", "svd_water_filling")), h)
        sigma = np.linalg.svd(np.moveaxis(h.astype(np.complex128), (4, 5), (2, 3)), compute_uv=False)[..., :layers]
        for s, snr_db in enumerate(SNRS_DB):
            snr = 10 ** (snr_db / 10)
            expected = np.log2(1 + snr / layers * sigma**2).sum(axis=-1).mean(axis=-1)
            np.testing.assert_allclose(outcome["perfect", "svd"].rate[s], expected, rtol=RATE)
            filled = outcome["perfect", "svd_water_filling"].rate[s]
            assert (filled > expected * (1 - RATE)).all()
            if layers > 1 and snr_db < 0:
                assert (filled > expected * 1.01).all()

    def test_the_schemes_see_the_same_channel_and_the_reference_is_shared(self, rng):
        result = outcomes(link(config(), ("perfect", "dft", "rvq")), channel(rng))
        for name in ("mrt", "zf", "rzf"):
            for scheme in ("dft", "rvq"):
                np.testing.assert_array_equal(result[scheme, name].rate_ref, result["perfect", name].rate)

    def test_csi_outcome(self, rng):
        h = channel(rng)
        result = outcomes(link(config(), ("perfect", "dft")), h)
        perfect, dft = result["perfect", None], result["dft", None]
        np.testing.assert_array_equal(perfect.h_hat, h)
        np.testing.assert_allclose(perfect.correlation2, 1, rtol=FLOAT32)
        assert (perfect.num_bits == 64 * 8 * 5).all() and perfect.num_bits.shape == (3, 3, 2)
        assert dft.h_hat is None and dft.correlation2.shape == (3, 3, 1, 2, 5)
        assert (dft.num_bits == 4 + 2 * 3).all() and (dft.correlation2 < 1).all()


@pytest.mark.parametrize("rx", [1, 2])
def test_rho_of_matrices_is_the_cosine_of_directions_for_one_antenna(rng, rx):
    """So the loss and the spectral efficiency of NF-KD, Table 4, are the same numbers there; with two antennas not."""
    noisy = link(config(rx), estimator=NoisyEstimator(snr_db=3.0))
    outcome = outcomes(noisy, channel(rng, rx=rx))["perfect", None]
    for one, other in (
        ("rho", "cosine"),
        ("rho_bf_gain_loss_db", "bf_gain_loss_db"),
        ("rho_se_bpshz", "rho2_se_bpshz"),
    ):
        of_matrices, of_directions = (registry.build("metrics", name).evaluate(outcome)[name] for name in (one, other))
        assert np.allclose(of_matrices, of_directions, rtol=FLOAT32) is (rx == 1)


class TestUplink:
    """Slots fade independently, so the cosine tells whose report the gNB uses."""

    def cosines(self, h, b, u, t, source):
        """Squared cosine of slot ``t`` with the channel of slot ``source`` on every subcarrier, 0 without a source."""
        if source < 0:
            return np.zeros(h.shape[-1])
        x, y = h[b, u, 0, :, t].astype(np.complex128), h[b, u, 0, :, source].astype(np.complex128)
        norms = np.sum(np.abs(x) ** 2, axis=0) * np.sum(np.abs(y) ** 2, axis=0)
        return np.abs(np.sum(x.conj() * y, axis=0)) ** 2 / norms

    @pytest.mark.long
    def test_total_loss_is_no_rate(self, rng):
        h = channel(rng)
        for on_loss in ("last", "none"):
            uplink = UplinkModel(loss_probability=1.0, on_loss=on_loss)
            for outcome in outcomes(link(config(), ("perfect", "dft", "rvq"), uplink=uplink), h).values():
                if isinstance(outcome, LinkOutcome):
                    assert (outcome.rate == 0).all() and (outcome.rate_ref > 0).all()
                else:
                    assert (outcome.correlation2 == 0).all() and (outcome.num_bits > 0).all()

    @pytest.mark.parametrize("on_loss", ["last", "none"])
    def test_the_last_good_report_or_nothing(self, rng, on_loss):
        h = channel(rng, batch=30, slots=4)
        uplink = UplinkModel(loss_probability=0.4, on_loss=on_loss)
        c2 = outcomes(link(config(), uplink=uplink), h)["perfect", None].correlation2[:, :, 0]  # [b, u, slot, n]
        fresh = (c2 > 1 - 1e-4).all(axis=-1)
        assert_mean(~fresh, 0.4)
        for b, u in np.ndindex(30, 3):
            newest = -1
            for t in range(4):
                newest = t if fresh[b, u, t] else newest
                source = newest if fresh[b, u, t] or on_loss == "last" else -1
                np.testing.assert_allclose(c2[b, u, t], self.cosines(h, b, u, t, source), atol=1e-4)

    def test_rates_with_losses_against_the_loop(self, rng):
        """The gNB precodes every slot for the last good reports; a user it never heard gets no power."""
        h = channel(rng, batch=20)
        result = outcomes(link(config(), uplink=UplinkModel(loss_probability=0.5)), h)
        c2 = result["perfect", None].correlation2[:, :, 0]
        fresh = (c2 > 1 - 1e-4).all(axis=-1)
        silent = ~fresh[:, :, 0]
        rate = result["perfect", "zf"].rate
        assert silent.any() and (rate[:, :, :, 0][:, silent] == 0).all() and (rate[:, :, :, 0][:, ~silent] > 0).all()
        everyone = fresh.all(axis=1)  # [batch, slot]: all reports arrived
        slots, reference = (np.moveaxis(x, 3, 2) for x in (rate, result["perfect", "zf"].rate_ref))
        assert everyone.any()
        np.testing.assert_allclose(slots[:, everyone], reference[:, everyone], rtol=RATE)
        alone = (~silent).sum(axis=1) == 1  # one user heard: all power is its own
        gain = np.sum(np.abs(h[:, :, 0, :, 0].astype(np.complex128)) ** 2, axis=2)  # [batch, user, n]
        expected = np.log2(1 + 10 ** (SNRS_DB[2] / 10) * gain).mean(axis=-1)
        assert alone.any()
        np.testing.assert_allclose(rate[2, :, :, 0][alone][~silent[alone]], expected[alone][~silent[alone]], rtol=RATE)

    @pytest.mark.long
    def test_all_schemes_meet_the_same_losses(self, rng):
        h = channel(rng, batch=30)
        uplink = UplinkModel(loss_probability=0.4, on_loss="none")
        result = outcomes(link(config(), ("perfect", "dft", "rvq"), uplink=uplink), h)
        lost = [(result[s, None].correlation2 == 0).all(axis=(2, 4)) for s in ("perfect", "dft", "rvq")]
        assert lost[0].any()
        np.testing.assert_array_equal(lost[0], lost[1])
        np.testing.assert_array_equal(lost[0], lost[2])

    @pytest.mark.long
    @pytest.mark.parametrize("probability", [1e-3, 0.5])
    def test_bit_flips_never_raise(self, rng, probability):
        h = channel(rng, panel=Panel(3, 1, 2))  # 12 beams in 4 bits: some patterns are no codeword
        uplink = UplinkModel(bit_flip_probability=probability)
        a_link = link(config(panel=Panel(3, 1, 2)), ("perfect", "dft", "rvq"), uplink=uplink)
        for seed in range(2):
            for outcome in outcomes(a_link, h, seed).values():
                if isinstance(outcome, LinkOutcome):
                    assert np.isfinite(outcome.rate).all() and (outcome.rate >= 0).all()
                else:
                    assert np.isfinite(outcome.correlation2).all()
                    assert outcome.h_hat is None or np.isfinite(outcome.h_hat).all()

    @pytest.mark.long
    def test_seeds(self, rng):
        h = channel(rng, batch=20)
        uplink = UplinkModel(loss_probability=0.5, bit_flip_probability=0.1)
        a_link = link(config(), ("rvq",), uplink=uplink)
        runs = [outcomes(a_link, h, seed)["rvq", "zf"].rate for seed in (1, 1, 2)]
        np.testing.assert_array_equal(runs[0], runs[1])
        assert (runs[0] != runs[2]).any()


def test_noisy_estimates_reach_the_report(rng):
    """Feedback of a noisy estimate has the NMSE of the estimate; the rate counts on the true channel."""
    h = channel(rng, batch=40)
    result = outcomes(link(config(), estimator=NoisyEstimator(snr_db=10.0)), h)
    error = np.abs(result["perfect", None].h_hat - h) ** 2
    per_report = error.mean(axis=(2, 3, 5)) / (np.abs(h) ** 2).mean(axis=(2, 3, 5))
    assert_mean(per_report, 0.1)
    mrt = result["perfect", "mrt"]
    assert (mrt.rate != mrt.rate_ref).all() and mrt.rate.mean() < mrt.rate_ref.mean()


SCENARIO = {
    "name": "unit",
    "seed": 5,
    "carrier": {"num_rb": 4},
    "bs": {"n1": 4, "n2": 1, "num_pol": 2},
    "ue": {"num_users": 2},
    "channel": {"model": "rayleigh", "taps": 3},
    "feedback": [{"scheme": "perfect"}, {"scheme": "rvq", "bits": [4, 6]}],
    "precoding": {"precoders": ["mrt", "zf"]},
    "snr_db": [10],
}


def draw(**changes):
    return ChannelDraw(expand({**SCENARIO, **changes})[0])


class TestBuild:
    def test_drops_are_reproducible_and_different(self):
        one, two = draw(), draw()
        np.testing.assert_array_equal(one.block(24, 8), two.block(24, 8))
        first = one.block(0, 8)
        assert (first != one.block(8, 8)).all()
        np.testing.assert_array_equal(one.block(0, 8), first)
        np.testing.assert_array_equal(one.block(3, 5), first[3:])
        assert first.shape == (8, 2, 1, 8, 1, 4) and first.dtype == np.complex64

    def test_the_channel_depends_on_the_channel_alone(self):
        """Scheme, precoder, SNR, uplink, estimator, and the speed of a single slot leave the channels as they are."""
        base = draw().block(0, 4)
        for change in (
            {"feedback": [{"scheme": "dft"}]},
            {"snr_db": [0, 20]},
            {"precoding": {"precoders": ["rzf"]}},
            {"uplink": {"loss_probability": 0.5}},
            {"estimation": {"name": "noisy", "snr_db": 5}},
            {"ue": {"num_users": 2, "speed_mps": 1.0}},
        ):
            np.testing.assert_array_equal(draw(**change).block(0, 4), base)
        for change in ({"seed": 6}, {"channel": {"model": "rayleigh"}}):
            assert (draw(**change).block(0, 4) != base).all()

    def test_a_source_that_does_not_draw_by_drop_is_refused(self, monkeypatch):
        monkeypatch.setattr(Rayleigh, "sample", lambda self, batch_size, *, seed: None)
        with pytest.raises(ConfigError, match=r"^channel\.model: got 'rayleigh'; allowed: .* first\)"):
            draw()

    def test_per_sample_normalisation(self):
        power = np.mean(np.abs(draw().block(0, 8)) ** 2, axis=(2, 3, 4, 5))
        np.testing.assert_allclose(power, 1, rtol=FLOAT32)

    def test_per_dataset_normalisation_is_one_factor(self):
        raw, scaled = (draw(normalization=kind).block(0, 256) for kind in ("none", "per_dataset"))
        power = np.mean(np.abs(scaled) ** 2, axis=(1, 2, 3, 4, 5))
        assert np.std(power) > 0.05, "every drop has unit power: normalised per sample"
        assert np.mean(power) == pytest.approx(1, abs=0.1)
        np.testing.assert_array_equal(raw, scaled)  # of mean power 1 by definition

    def test_labels_are_stable(self):
        scenario = expand(SCENARIO)[0].scenario
        assert list(build_payloads(scenario)) == ["perfect", "rvq-b4", "rvq-b6"]
        assert list(build_link(scenario).precoders) == ["mrt", "zf"]

    def test_a_scheme_twice_is_an_error(self):
        twice = {**SCENARIO, "feedback": [{"scheme": "rvq", "bits": 4}, {"scheme": "rvq", "bits": [2, 4]}]}
        with pytest.raises(ConfigError, match="rvq-b4"):
            build_payloads(expand(twice)[0].scenario)
        named = {**SCENARIO, "feedback": [{"scheme": "rvq", "bits": 4}, {"scheme": "rvq", "bits": 4, "label": "again"}]}
        assert list(build_payloads(expand(named)[0].scenario)) == ["rvq-b4", "again"]

    def test_the_built_link_runs(self):
        scenario = expand(SCENARIO)[0].scenario
        result = outcomes(build_link(scenario), draw().block(0, 4))
        assert set(result) == {(s, p) for s in ("perfect", "rvq-b4", "rvq-b6") for p in (None, "mrt", "zf")}
        assert_close(result["perfect", None].correlation2, np.ones((4, 2, 1, 1, 4)), FLOAT32)


class Remembering(PerfectFeedback):
    """Keeps what the UE knew."""

    def report(self, csi):
        self.csi = csi
        return super().report(csi)


@pytest.mark.parametrize(("history", "delay"), [(1, 2), (3, 0), (3, 1)])
def test_feedback_delay_and_history(rng, history, delay):
    """Slot t is scored with the channel of slot t - delay; the UE knows exactly its last slots, noisy as estimated."""
    h = channel(rng, batch=2, users=2, slots=6)
    scheme = Remembering(config())
    a_link = link(
        config(),
        precoders=("zf",),
        history_slots=history,
        estimator=NoisyEstimator(snr_db=20.0),
    )
    a_link = dataclasses.replace(a_link, reporting=over({"perfect": scheme}, UplinkModel(delay_slots=delay)))
    found = outcomes(a_link, h)
    first = history - 1 + delay
    csi, scored = found["perfect", None], range(first, 6)
    np.testing.assert_array_equal(csi.h, h[..., first:, :])
    estimated = NoisyEstimator(snr_db=20.0).estimate(h, seed=derive_wide(1, "estimation")).h_hat
    estimated = np.moveaxis(estimated, 4, 1)  # [batch, slot, ...]
    for position, slot in enumerate(scored):
        np.testing.assert_array_equal(csi.h_hat[..., position, :], estimated[:, slot - delay])
    assert csi.num_bits.shape == (2, 2, len(scored)) and found["perfect", "zf"].rate.shape == (3, 2, 2, len(scored))
    if history == 1:
        assert scheme.csi.history is None
        return
    known = scheme.csi.history.reshape(2, 6 - history + 1, *scheme.csi.history.shape[1:])
    for position in range(known.shape[1]):
        for age in range(history):
            np.testing.assert_array_equal(
                known[:, position, ..., history - 1 - age, :], estimated[:, position + history - 1 - age]
            )
    np.testing.assert_array_equal(scheme.csi.history[..., -1, :], scheme.csi.h_hat)


def test_delay_without_enough_slots_is_named(rng):
    a_link = link(config(), uplink=UplinkModel(delay_slots=2))
    with pytest.raises(ConfigError, match=r"time\.num_slots: got 2; allowed: at least 3"):
        outcomes(a_link, channel(rng))


@pytest.mark.parametrize("axis", range(6))
def test_empty_channels_are_refused(rng, axis):
    h = channel(rng)
    with pytest.raises(ConfigError, match=r"^h: got \[.*0.*\]; allowed: \[batch, user, .*, each at least 1"):
        outcomes(link(config()), np.take(h, [], axis=axis))
    with pytest.raises(ConfigError, match=r"^h: got \[3, 3, 1, 8, 5\]"):
        outcomes(link(config()), h[..., 0, :])


def test_lost_reports_and_delay_together(rng):
    """The gNB falls back on the last report that had arrived before the delay."""
    h = channel(rng, batch=40, users=1, slots=5)
    a_link = link(config(), precoders=("mrt",), uplink=UplinkModel(loss_probability=0.5, delay_slots=1))
    used = outcomes(a_link, h, seed=4)["perfect", None].h_hat
    age = np.full((40, 4), -1)
    for drop in range(40):
        for slot in range(4):
            for past in range(slot, -1, -1):
                if np.array_equal(used[drop, ..., slot, :], h[drop, ..., past, :]):
                    age[drop, slot] = slot - past
                    break
    none = ~used.any(axis=(1, 2, 3, 5))
    assert ((age >= 0) | none).all() and not ((age >= 0) & none).any()
    assert abs(np.mean(age == 0) - 0.5) < 5 * np.sqrt(0.25 / 160) and age.max() >= 2
    for slot in range(1, 4):  # a report that is not replaced gets one slot older
        old = age[:, slot] > 0
        np.testing.assert_array_equal(age[old, slot], age[old, slot - 1] + 1)


GEOMETRY = RadioGeometry(3.5e9, PANEL, 2, 1, 5, 360e3, slot_s=1e-3)


class Recording(RepeatPredictor):
    """Keeps the histories that it was asked about."""

    def predict(self, history, num_slots):
        self.history = history
        return super().predict(history, num_slots)


def moving(rng, turns, slots, batch=12, users=2):
    """Rayleigh fading with Jakes' spectrum, ``turns`` of maximum Doppler per slot."""
    root = np.linalg.cholesky(toeplitz(j0(2 * np.pi * turns * np.arange(slots))) + 1e-9 * np.eye(slots))
    return (root @ channel(rng, batch, users, slots=slots)).astype(np.complex64)


def predicting(history=6, delay=2, cfg=None, scheme=PerfectFeedback, fields=None, **predictions):
    """Link with one entry without prediction, ``aged``, and one for each ``(predictor, side)``, by label."""
    cfg, fields = cfg or config(), dict(fields or {})
    uplink = fields.pop("uplink", UplinkModel(delay_slots=delay))
    return Link(
        config=cfg,
        estimator=PerfectEstimator(),
        reporting=over({label: scheme(cfg) for label in ("aged", *predictions)}, uplink, predictions),
        precoders={"zf": registry.build("precoders", "zf")},
        snr_db=SNRS_DB,
        **{"history_slots": history, **fields},
    )


def both_sides():
    made = {"repeat": RepeatPredictor(GEOMETRY), "ar": ArPredictor(GEOMETRY), "w": WienerDopplerPredictor(GEOMETRY)}
    return {f"{name}_{at}": (predictor, at) for name, predictor in made.items() for at in ("ue", "gnb")}


def nmse(csi):
    return np.mean(np.abs(csi.h_hat - csi.h) ** 2) / np.mean(np.abs(csi.h) ** 2)


class TestPrediction:
    def test_it_lowers_the_error_of_old_csi(self, rng):
        a_link = predicting(**both_sides())
        found = outcomes(a_link, moving(rng, 0.08, 11))
        aged, rate = nmse(found["aged", None]), found["aged", "zf"].rate
        assert aged == pytest.approx(2 * (1 - j0(2 * np.pi * 0.08 * 2)), rel=0.1)
        for label in both_sides():
            if label.startswith("repeat"):
                np.testing.assert_array_equal(found[label, None].h_hat, found["aged", None].h_hat)
                continue
            assert nmse(found[label, None]) < 0.3 * aged
            assert (found[label, "zf"].rate.mean(axis=(1, 2, 3))[1:] > rate.mean(axis=(1, 2, 3))[1:]).all()

    def test_all_entries_are_scored_on_the_same_slots(self, rng):
        h = moving(rng, 0.05, 10)
        found = outcomes(predicting(**both_sides()), h)
        alone = outcomes(predicting(), h)
        for label in ("aged", *both_sides()):
            np.testing.assert_array_equal(found[label, None].h, h[..., 7:, :])
            assert found[label, None].h_hat.shape == h[..., 7:, :].shape
            assert found[label, None].num_bits.shape == (12, 2, 3)
            np.testing.assert_array_equal(found[label, "zf"].rate_ref, found["aged", "zf"].rate_ref)
        np.testing.assert_array_equal(alone["aged", None].h_hat, found["aged", None].h_hat)
        np.testing.assert_array_equal(alone["aged", "zf"].rate, found["aged", "zf"].rate)

    @pytest.mark.parametrize(("history", "delay"), [(3, 0), (4, 2), (1, 1)])
    def test_both_sides_predict_from_the_same_slots(self, rng, history, delay):
        """Feedback without loss: the histories of UE and gNB are the same channels, up to the slot of the report."""
        h = moving(rng, 0.05, 8)
        ue, gnb = Recording(GEOMETRY), Recording(GEOMETRY)
        found = outcomes(predicting(history, delay, ue=(ue, "ue"), gnb=(gnb, "gnb")), h)
        np.testing.assert_array_equal(found["ue", None].h_hat, found["gnb", None].h_hat)
        scored = 8 - history + 1 - delay
        assert gnb.history.shape == (12 * scored, 2, 1, PANEL.num_ports, history, 5)
        known = gnb.history.reshape(12, scored, *gnb.history.shape[1:])
        told = ue.history.reshape(12, scored + delay, *ue.history.shape[1:])
        for slot in range(scored):
            np.testing.assert_array_equal(known[:, slot], h[..., slot : slot + history, :])
            np.testing.assert_array_equal(told[:, slot], known[:, slot])

    def test_a_channel_that_stands_still(self, rng):
        h = np.repeat(channel(rng, 3, 2, slots=1), 10, axis=4)
        found = outcomes(predicting(**both_sides()), h)
        for label in both_sides():
            assert_close(found[label, None].h_hat, h[..., 7:, :], FLOAT32)
            np.testing.assert_allclose(found[label, "zf"].rate, found["aged", "zf"].rate, rtol=RATE)

    def test_without_delay_it_is_the_present_estimate(self, rng):
        h = moving(rng, 0.08, 8)
        found = outcomes(predicting(delay=0, **both_sides()), h)
        for label in both_sides():
            np.testing.assert_array_equal(found[label, None].h_hat, h[..., 5:, :])

    @pytest.mark.parametrize("on_loss", ["last", "none"])
    def test_lost_reports(self, rng, on_loss):
        """The history has the last good report; with ``none``, a slot whose own report was lost is served blindly."""
        h = channel(rng, batch=30, users=2, slots=7)
        uplink = UplinkModel(loss_probability=0.4, on_loss=on_loss, delay_slots=1)
        gnb = Recording(GEOMETRY)
        found = outcomes(predicting(3, fields={"uplink": uplink}, gnb=(gnb, "gnb")), h)
        aged, used = found["aged", None].h_hat, found["gnb", None].h_hat
        # A report of the warm-up may stand in for lost ones, which an entry without prediction does not have.
        heard = aged.any(axis=(2, 3, 5))
        assert (~heard).any()
        for b, u, slot in zip(*np.nonzero(heard), strict=True):
            np.testing.assert_array_equal(used[b, u, ..., slot, :], aged[b, u, ..., slot, :])
        if on_loss == "none":
            np.testing.assert_array_equal(used, aged)
        history = gnb.history.reshape(30, 4, 2, 1, PANEL.num_ports, 3, 5)
        ages = set()
        for b, end, u in np.ndindex(30, 4, 2):
            if not used[b, u, ..., end, :].any():
                continue
            source = []  # slots whose channels the history has
            for place in range(3):
                x = history[b, end, u, :, :, place]
                (slot,) = (s for s in range(end + 3) if np.array_equal(x, h[b, u, :, :, s]))
                source.append(slot)
            assert source == sorted(source)
            for place, slot in enumerate(source):  # the last good one, or the first good one where there is none yet
                assert slot <= end + place or set(source[:place]) <= {slot}
            ages |= {end + place - slot for place, slot in enumerate(source)}
        assert {-1, 0, 1, 2} <= ages

    def test_all_entries_meet_the_same_losses(self, rng):
        h = moving(rng, 0.05, 8, batch=30)
        uplink = UplinkModel(loss_probability=0.4, on_loss="none", delay_slots=1)
        found = outcomes(predicting(4, fields={"uplink": uplink}, **both_sides()), h)
        lost = {label: ~found[label, None].h_hat.any(axis=(2, 3, 5)) for label in ("aged", *both_sides())}
        assert lost["aged"].any()
        for label in lost:
            np.testing.assert_array_equal(lost[label], lost["aged"])

    def test_total_loss(self, rng):
        uplink = UplinkModel(loss_probability=1.0, delay_slots=1)
        found = outcomes(predicting(fields={"uplink": uplink}, **both_sides()), moving(rng, 0.05, 8, batch=2))
        for label in both_sides():
            assert not found[label, None].h_hat.any() and not found[label, "zf"].rate.any()

    def test_implicit_schemes_predict_at_the_ue(self, rng):
        h = moving(rng, 0.08, 11)
        ar = ArPredictor(GEOMETRY)

        def rvq(cfg):
            return RvqFeedback(cfg, bits=8, frequency="subband", seed=3)

        found = outcomes(predicting(scheme=rvq, ue=(ar, "ue")), h)
        assert found["ue", None].correlation2.mean() > found["aged", None].correlation2.mean() + 0.02
        with pytest.raises(ConfigError, match=r"feedback\.gnb\.predict\.at: got 'gnb'; allowed: ue.*explicit scheme"):
            outcomes(predicting(scheme=rvq, gnb=(ar, "gnb")), h)

    def test_errors(self):
        pair = (ArPredictor(GEOMETRY, order=4), "ue")
        with pytest.raises(
            ConfigError, match=r"time\.history_slots: got 4; allowed: at least 5, which ArPredictor needs"
        ):
            predicting(history=4, ar=pair)
        with pytest.raises(ConfigError) as caught:  # of all schemes at once
            predicting(history=4, ar=pair, rate=(ArPredictor(GEOMETRY, order=5), "ue"))
        assert [e.allowed.split(",")[0] for e in caught.value.all] == ["at least 5", "at least 6"]


@pytest.fixture
def predictors(monkeypatch):
    """The predictors by name, also where the package was installed before they came."""
    known, group = registry._points, "csilink.predictors"
    modules = {"repeat": "repeat:RepeatPredictor", "ar": "ar:ArPredictor"}
    ours = {name: EntryPoint(name, f"receivers.prediction.{value}", group) for name, value in modules.items()}
    monkeypatch.setattr(registry, "_points", lambda kind: ours if kind == "predictors" else known(kind))


@pytest.mark.usefixtures("predictors")
class TestBuildPrediction:
    TIME = {"num_slots": 8, "history_slots": 4}

    def built(self, *feedback, **changes):
        data = {**SCENARIO, "time": self.TIME, "uplink": {"delay_slots": 2}, "feedback": list(feedback), **changes}
        scenario = expand(data)[0].scenario
        return scenario, build_link(scenario)

    def test_labels_and_parameters(self):
        scenario, a_link = self.built(
            {"scheme": "perfect"},
            {"scheme": "perfect", "predict": {"at": "gnb", "name": "repeat"}},
            {"scheme": "rvq", "bits": [4, 6], "predict": {"at": "ue", "name": "ar", "order": 3}},
            {"scheme": "rvq", "bits": 4, "predict": {"at": "ue", "name": "ar"}, "label": "mine"},
        )
        labels = ["perfect", "perfect+repeat@gnb", "rvq-b4+ar@ue", "rvq-b6+ar@ue", "mine"]
        assert list(a_link.reporting) == list(build_payloads(scenario)) == labels
        first, *ahead = [reporting.prediction for reporting in a_link.reporting.values()]
        assert first is None and [p.predictor.num_history for p in ahead] == [1, 4, 4, 3]
        assert ahead[0].at == "gnb"
        found = outcomes(a_link, ChannelDraw(expand(json.loads(scenario.model_dump_json()))[0]).block(0, 3))
        assert {scheme for scheme, _ in found} == set(labels)
        np.testing.assert_array_equal(found["perfect+repeat@gnb", None].h_hat, found["perfect", None].h_hat)

    def test_entries_without_prediction_keep_their_hash(self):
        plain, _ = self.built({"scheme": "perfect"})
        assert "predict" not in json.loads(plain.model_dump_json())["feedback"][0]
        ar = {"scheme": "perfect", "predict": {"at": "ue", "name": "ar"}}
        scenario, _ = self.built(ar)
        assert json.loads(scenario.model_dump_json())["feedback"] == [{**ar, "label": None}]

    @pytest.mark.parametrize(
        ("predict", "message"),
        [
            ({"at": "ue", "name": "lstm"}, r"feedback\.perfect\.predict\.name: got 'lstm'; allowed: ar, repeat"),
            ({"at": "gNB", "name": "ar"}, r"predict\.at: got 'gNB' \(did you mean gnb\?\); allowed: 'ue' or 'gnb'"),
            ({"name": "ar"}, r"predict\.at: required"),
            (
                {"at": "ue", "name": "ar", "taps": 3},
                r"predict: unknown: taps; allowed: order, loading",
            ),
            ({"at": "ue", "name": "ar", "order": 0}, r"predict\.order: got 0"),
            ({"at": "ue", "name": "ar", "order": 4}, r"time\.history_slots: got 4; allowed: at least 5"),
        ],
    )
    def test_errors(self, predict, message):
        with pytest.raises(ConfigError, match=message):
            self.built({"scheme": "perfect", "predict": predict})


class Keeping(PerfectFeedback):
    """Claims one bit and keeps the estimate in the object."""

    label, max_bits = "keeping", 1
    kept = None

    def report(self, csi):
        self.kept = csi.h_hat
        return CsiReport(np.ones((*csi.h_hat.shape[:2], 1), np.uint8), np.ones(csi.h_hat.shape[:2], np.int64))

    def reconstruct(self, report):
        h = np.ones((*report.bits.shape[:2], *self._shape), np.complex64) if self.kept is None else self.kept
        return CsiReconstruction(h=h)


def test_what_a_scheme_keeps_at_the_ue_does_not_get_to_the_gnb(rng):
    """UE and gNB are two objects: the trick that would score as perfect scores as a constant."""
    cfg = config()
    a_link = link(cfg, schemes=("perfect",), precoders=("zf",))
    a_link = dataclasses.replace(a_link, reporting=over({"perfect": PerfectFeedback(cfg), "trick": Keeping(cfg)}))
    found = outcomes(a_link, channel(rng))
    assert found["perfect", None].correlation2.min() > 0.999
    assert found["trick", None].correlation2.mean() < 0.4


def test_twins_have_the_same_arguments():
    cfg = config()
    first = RvqFeedback(cfg, bits=7, frequency="subband", seed=9)
    twin = first.twin()
    assert twin is not first and (twin.bits, twin.frequency, twin.seed) == (7, "subband", 9)
    assert copy.deepcopy(twin).twin().bits == 7


class Loud(Precoder):
    """Maximum ratio with twice the power at low noise."""

    noise_dependent = True

    def __init__(self, factor):
        self.factor = factor

    def weights(self, g, noise_var):
        return Mrt().weights(g, noise_var) * (self.factor if noise_var < 0.01 else 1)


@pytest.mark.parametrize(
    ("factor", "fine"), [(1.0, True), (0.5, True), (1.01, False), (2.0**0.5, False), (np.nan, False)]
)
def test_the_total_power_of_a_precoder_is_checked(rng, factor, fine):
    a_link = link(config(), precoders=())
    a_link = dataclasses.replace(a_link, precoders={"loud": Loud(factor)})
    if fine:
        outcomes(a_link, channel(rng))
        return
    with pytest.raises(ConfigError, match=r"^precoding\.precoders: got 'loud, total power .*; allowed: at most 1"):
        outcomes(a_link, channel(rng))
