"""From weights and channels to policies, and their choice in the link."""

import dataclasses

import numpy as np
import pytest
from eager import eagerly

from benchmarks import precision
from benchmarks.dataset import make_dataset
from benchmarks.train import train
from receivers.feedback.rp_mpq import RpMpqFeedback
from receivers.precision.offline import parse_precision
from receivers.precision.policy_set import PolicySet
from receivers.precision.violation import hoyer_sparsity, violation_cost
from receivers.quantization.weight_bits import WIDTHS
from receivers.training.recipe import parse_training
from receivers.weights.folder import TrainedModel
from scenarios.dataset import parse_recipe
from simulator.core.errors import ConfigError, StoreError
from simulator.core.types import CsiConfig, CsiEstimate, Panel

WEIGHTS = "csinet-100"
SMALL = {"samples": 120, "kl_samples": 60, "rank": 16, "probes": 2, "candidates": 2, "bins": 4, "snr_db": [10, 20]}
CONFIG = CsiConfig(Panel(8, 2, 2), num_rx_ant=1, num_subcarriers=52, spacing_hz=360e3, subband_size=4)


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    recipe = {
        "name": "precision",
        "seed": 1,
        "carrier": {"carrier_hz": 3.5e9, "num_rb": 52, "subcarrier_spacing_hz": 30e3, "granularity": "rb"},
        "bs": {"n1": 8, "n2": 2, "num_pol": 2},
        "parts": [{"channel": {"model": "cdl", "profile": p, "rotate": True}} for p in "AD"],
        "splits": {"val": 130, "test": 60},
        "shard_samples": 100,
    }
    with eagerly():
        return make_dataset(parse_recipe(recipe), tmp_path_factory.mktemp("precision") / "store")


@pytest.fixture(scope="module")
def made(store, tmp_path_factory):
    recipe = parse_precision({**SMALL, "savings": (75, 95, 5)})
    found, offline = precision.make_policies(WEIGHTS, store, recipe, lambda line: None)
    path = tmp_path_factory.mktemp("policies") / "precision.npz"
    found.save(path)
    return path, found, offline


@pytest.mark.long
def test_policies_keep_their_budgets_and_survive_their_file(made):
    path, found, offline = made
    budgets = parse_precision({**SMALL, "savings": (75, 95, 5)}).budgets
    np.testing.assert_allclose(budgets, [1.0, 0.8, 0.6, 0.4, 0.2])
    rows = range(len(offline.kappa))
    for budget, candidates, chosen in zip(budgets, offline.candidates, offline.representatives, strict=True):
        assert chosen in candidates
        assert all(offline.kappa[rows, policy].sum() <= budget * (1 + 1e-9) for policy in candidates)
        assert offline.divergence[chosen] == min(offline.divergence[policy] for policy in candidates)
    assert (np.diff(found.kappa) >= 0).all() and found.refined.any() and found.ilp.any()
    np.testing.assert_allclose(found.kappa, (found.policies / WIDTHS[0] @ offline.kappa[:, 0]), rtol=1e-12)
    again = PolicySet.load(path)
    assert again.meta == found.meta
    for field in dataclasses.fields(PolicySet)[1:-1]:
        np.testing.assert_array_equal(getattr(again, field.name), getattr(found, field.name))
    for one, two in zip(again.surrogates, found.surrogates, strict=True):
        np.testing.assert_array_equal(one.table, two.table)


@pytest.mark.long
def test_the_task_gives_the_same_policies(made, store, tmp_path):
    data = {"task": "policies", "name": "p", "weights": WEIGHTS, "dataset": "precision"}
    data["precision"] = {**SMALL, "savings": (75, 95, 5)}
    card = train(parse_training(data), store, tmp_path / "p", lambda line: None)
    assert card["policies"]["file"] == "precision.npz" and card["weights"] == WEIGHTS
    again = PolicySet.load(tmp_path / "p" / "precision.npz")
    np.testing.assert_array_equal(again.policies, made[1].policies)
    np.testing.assert_array_equal(again.omega, made[1].omega)


def test_rates_are_those_of_the_formula(store):
    trained = TrainedModel(WEIGHTS)
    data = precision.calibration(store, "test", trained, 5, 13)
    assert data.h.shape == (5, 32, 13) and data.step == 4
    latent = trained.encode(data.images)
    outcome = precision.measure(trained, [latent], data, [10.0], 52, "test")
    codec = precision.LatentCodec(trained, None, None, "fixed", "latent", "shipped", 1)
    x_hat = trained.decode(codec.decode(*codec.encode(latent))[0])
    h_hat = precision.from_angular_delay(precision.to_complex(x_hat), CONFIG.panel, 52)[..., ::4]
    for sample in range(5):
        rate = rate_ref = 0.0
        for n in range(13):
            h, w = np.complex128(data.h[sample, :, n]), np.complex128(h_hat[sample, :, n])
            rate += np.log2(1 + 10 * abs(np.vdot(w / np.linalg.norm(w), h)) ** 2) / 13
            rate_ref += np.log2(1 + 10 * np.linalg.norm(h) ** 2) / 13
        assert outcome.rate[0, 0, sample] == pytest.approx(rate, rel=1e-5)
        assert outcome.rate_ref[0, sample] == pytest.approx(rate_ref, rel=1e-5)
        error = np.sum((data.images[sample] - x_hat[sample]) ** 2) / np.sum(data.images[sample] ** 2)
        assert outcome.nmse[0, sample] == pytest.approx(error, rel=1e-5)
    assert violation_cost(outcome.rate, outcome.rate_ref, 0.5).shape == (1, 1, 5)


def estimate(store, count=60):
    h = next(store.read("test"))[0][:count, 0, :, 0]
    return CsiEstimate(np.ascontiguousarray(h[:, None, None]), np.zeros((count, 1), np.float32))


@pytest.mark.parametrize("controller", ["online", "random", "static", "ilp"])
@pytest.mark.long
def test_the_link_runs_at_the_chosen_precision(controller, made, store):
    path, found, _ = made
    scheme = RpMpqFeedback(
        CONFIG, weights=WEIGHTS, policies=str(path), controller=controller, budget=0.5, gamma=0.95, seed=3
    )
    csi = estimate(store)
    chosen, report, bops = scheme.choose(csi), scheme.report(csi), scheme.ue_bops(csi)
    np.testing.assert_array_equal(bops[:, 0], found.bops[chosen])
    allowed = found.ilp if controller == "ilp" else found.refined
    assert allowed[chosen].all()
    if controller in ("static", "ilp"):
        assert len(np.unique(chosen)) == 1 and found.kappa[chosen[0]] <= 0.5
    # every report is what the encoder at this sample's precision gives
    trained = TrainedModel(WEIGHTS)
    encoder = precision.MixedPrecisionEncoder(trained.model.encoder, **found.meta["options"])
    images = precision.calibration(store, "test", trained, 60, 52).images
    latent = np.concatenate([encoder.encode(x[None], found.policies[p]) for x, p in zip(images, chosen, strict=True)])
    codec = precision.LatentCodec(trained, None, None, "fixed", "latent", "shipped", 1)
    bits, num_bits = codec.encode(latent)
    width = report.bits.shape[-1]
    assert (bits[:, :width] == report.bits[:, 0]).mean() > 0.999  # a batch may round a latent to the other cell
    np.testing.assert_array_equal(num_bits, report.num_bits[:, 0])


@pytest.mark.long
def test_the_online_controller_stays_within_its_budget(made, store):
    """On (most of) its calibration samples; it may cost less where more bits do not help."""
    path, found, _ = made
    trained = TrainedModel(WEIGHTS)
    images = precision.calibration(store, "val", trained, 120, 52).images
    np.testing.assert_allclose(hoyer_sparsity(images), found.sparsity)
    h = next(store.read("val"))[0][:100, 0, :, 0]
    csi = CsiEstimate(np.ascontiguousarray(h[:, None, None]), np.zeros((100, 1), np.float32))
    for budget in (0.3, 0.5, 0.7):
        scheme = RpMpqFeedback(CONFIG, weights=WEIGHTS, policies=str(path), budget=budget, gamma=0.95)
        assert found.kappa[scheme.choose(csi)].mean() < budget + 0.05  # 100 of 120 calibration samples


@pytest.mark.long
def test_bad_input(made, store, tmp_path):
    path = made[0]
    build = {"weights": WEIGHTS, "policies": str(path)}
    with pytest.raises(ConfigError, match=r"rp-mpq.budget: got 0.05; allowed: at least"):
        RpMpqFeedback(CONFIG, **build, budget=0.05)
    with pytest.raises(ConfigError, match=r"rp-mpq.gamma: got 0.5; allowed: 0.99, 0.98, 0.95"):
        RpMpqFeedback(CONFIG, **build, gamma=0.5)
    with pytest.raises(ConfigError, match=r"rp-mpq.policies.*csilink policies"):
        RpMpqFeedback(CONFIG, weights=WEIGHTS, policies=str(tmp_path / "none.npz"))
    with pytest.raises(StoreError, match="other weights"):
        RpMpqFeedback(CONFIG, weights="csinet-250", policies=str(path))
    (tmp_path / "damaged.npz").write_bytes(path.read_bytes()[:-900])
    with pytest.raises(StoreError, match="no policies"):
        PolicySet.load(tmp_path / "damaged.npz")
    with pytest.raises(ConfigError, match=r"budget: got .*allowed: at least"):
        precision.make_policies(WEIGHTS, store, parse_precision({**SMALL, "savings": (98, 99, 1)}), lambda line: None)
    with pytest.raises(ConfigError, match="samples"):
        precision.make_policies(WEIGHTS, store, parse_precision({**SMALL, "kl_samples": 10}), lambda line: None)
    with pytest.raises(ConfigError, match="codec"):
        precision.make_policies("vb-munich", store, parse_precision(SMALL), lambda line: None)
    with pytest.raises(ConfigError, match="gammas"):
        parse_precision({"gammas": [1.5]})


def test_few_samples_per_bin_are_pooled_and_said(store):
    lines = []
    recipe = parse_precision({**SMALL, "savings": (80, 80, 5), "bins": 10, "min_samples": 20})
    found, _ = precision.make_policies(WEIGHTS, store, recipe, lines.append)
    assert found.surrogates[0].pooled.all()
    assert "10 of 10 bins have too few samples: mean over all used" in lines[-1]
