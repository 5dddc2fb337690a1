"""Shipped weights: intact, small, honest cards whose numbers hold; damaged folders are refused."""

import json
import shutil
from functools import cache

import numpy as np
import pytest
import zoo_scores
from keras import ops
from keras.config import backend
from marks import long_but
from tolerances import SIGMAS
from zoo_scores import loaded

from benchmarks.cli_train import score_lines
from receivers.feedback.latents import LatentCodec
from receivers.models.klt import Klt
from receivers.weights.folder import TrainedModel, TrainedPredictor, zoo_folder, zoo_names
from simulator.core import registry
from simulator.core.errors import ConfigError, StoreError
from simulator.core.types import CsiConfig, CsiEstimate, Panel

# One of each kind; the others are long tests.
QUICK = ("csinet-100", "evt-120", "csirs-delay-beam", "tiny-wifo-mobility", "vb-munich")
NETWORKS = [n for n in zoo_names() if not n.startswith("klt")]
BITS = [n for n in NETWORKS if n.startswith("vb-")]
CODED = [n for n in NETWORKS if n not in BITS]
CHANNEL = [n for n in CODED if not n.startswith("evt")]


def test_training_prints_the_scores_of_every_card():
    cards = {path.parent.name: json.loads(path.read_text()) for path in zoo_folder().glob("*/card.json")}
    lines = {name: score_lines(card.get("test", {})) for name, card in cards.items()}
    assert any("bits " in line for line in lines["beamdelay-temporal"])


def test_the_zoo_is_complete_and_small():
    for architecture in ("csinet", "crnet", "transnet", "stqenet"):
        assert {f"{architecture}-100", f"{architecture}-250"} <= set(zoo_names())
    assert {"evt-80", "evt-120", "evt-240", "klt-mixed", "vb-munich", "vb-munich-teacher"} <= set(zoo_names())
    sizes = {p: p.stat().st_size for p in zoo_folder().rglob("*") if p.is_file()}
    assert max(sizes.values()) < 10e6 and sum(sizes.values()) < 80e6


# Scores --------------------------------------------------------------------------------------------------------------

STORED = json.loads((zoo_scores.GOLDEN / "zoo.json").read_text())
# Float32 products in another order; they turn a cell or a bit now and then, which counts after a quantiser.
ROUNDING, CELLS = 1e-4, 2e-3
# JAX has no float64 unless asked: nearly singular systems of slow channels are solved in float32.
SINGULAR = {"delay-beam-mobility": 1e-2} if backend() == "jax" else {}


def as_stored(name, samples):
    """Whether the means are those in the list."""
    assert set(samples) == set(STORED[name])
    return all(
        abs(values.mean() - STORED[name][key])
        <= (
            CELLS
            if key == "coded" or any(w in key for w in ("bits", "searched", "etype2"))
            else SINGULAR.get(name, ROUNDING)
        )
        * STORED[name][key]
        for key, values in samples.items()
    )


@pytest.fixture(scope="module")
def samples():
    """Values of the samples of a stored batch, by weight set: computed once."""
    return cache(zoo_scores.samples)


def test_every_weight_set_has_stored_scores():
    """Of a new one, and of new weights, by ``python tests/golden/make_zoo.py``."""
    assert (
        set(STORED)
        == set(zoo_scores.NAMES)
        == set(zoo_names()) | set(zoo_names("prediction")) | {"csirs-delay-beam", "refine-urban", "ntc-urban"}
    )


def marked(name):
    """One weight set of each network runs under the other backends, too."""
    family = [n for n in zoo_scores.NAMES if n.partition("-")[0] == name.partition("-")[0]]
    marks = [pytest.mark.backend] if name == family[0] else []
    return pytest.param(name, marks=marks if name in QUICK else [*marks, pytest.mark.long])


@pytest.mark.long
@pytest.mark.parametrize("name", map(marked, zoo_scores.NAMES))
def test_weights_score_on_stored_channels_as_when_they_were_shipped(name, samples):
    assert as_stored(name, samples(name)), {key: values.mean() for key, values in samples(name).items()}


_SGCS = "sgcs_subband"


def of_the_card(name):
    """Mean and standard error of what the card tells of the quantities of the stored scores: linear."""
    test = json.loads((zoo_folder() / name / "card.json").read_text()).get("test", {})

    def linear(entry):
        mean, half = (entry[_SGCS], entry["ci95"]) if _SGCS in entry else (10 ** (entry["nmse_db"] / 10), None)
        return mean, (entry["ci95"] * np.log(10) / 10 * mean if half is None else half) / 1.96

    if "by_bits" in test:
        return {f"{n} bits": linear(e) for n, e in test["by_bits"].items() if int(n) in zoo_scores.BITS}
    if "by_data_set" in test:
        return {"time": linear(next(iter(test["by_data_set"].values()))["time"])}
    if "by_channel" in test:
        return {
            f"{channel}, {snr}": (value, 0.0)
            for channel, scores in test["by_channel"].items()
            for snr, value in scores.items()
            if f"{channel}, {snr}" in STORED[name]
        }
    if "by_report" in test:
        return {
            label: linear(scores["refined"]) for label, scores in test["by_report"].items() if label in STORED[name]
        }
    if "by_step" in test:
        found = {label: scores for label, scores in test["by_step"].items() if label in STORED[name]}
        lengths = {f"{label} bits": (s["bits"]["bits"], s["bits"]["ci95"] / 1.96) for label, s in found.items()}
        return {label: linear(scores["sgcs"]) for label, scores in found.items()} | lengths
    codec = loaded(name).codec
    entry = test["codecs"][f"{codec.quantizer}-b{codec.bits}-range-latent"]
    return {"unquantized": linear(test["unquantized"]), "coded": linear(entry), "bits": (entry["bits_mean"], 0.05)}


@pytest.mark.parametrize("name", [n for n in zoo_scores.NAMES if n != "klt-mixed"])
@pytest.mark.long
def test_cards_tell_what_the_weights_do(name, samples):
    """Within the standard errors of both; a batch holds the parts of the data set in their proportions."""
    told = of_the_card(name)
    assert len(told) > 2 or len(told) == len(STORED[name]) or name == "vb-munich-teacher"
    for key, (mean, error) in told.items():
        values = samples(name)[key]
        if name in BITS:  # three slots of a UE are one independent sample
            values = values.reshape(-1, 3).mean(axis=1)
        error = np.hypot(error, values.std(ddof=1) / np.sqrt(len(values)))
        assert abs(values.mean() - mean) < SIGMAS * error, (key, values.mean(), mean, error)


@pytest.mark.parametrize("name", ["csirs-delay-beam", "lstm-mobility", "evt-80", "csinet-100", "vb-munich"])
@pytest.mark.long
def test_other_weights_have_other_scores(name):
    """The test above sees a weight that is off by two hundredths of its spread."""

    def change(model):
        rng = np.random.default_rng(1)
        for w in model.weights:
            value = np.asarray(ops.convert_to_numpy(w))
            w.assign(value + 0.02 * value.std() * rng.standard_normal(value.shape))

    assert not as_stored(name, zoo_scores.samples(name, change))


# Cards and files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.long) for n in NETWORKS])
class TestZoo:
    @pytest.mark.long
    def test_card_and_files_agree(self, name):
        trained = loaded(name)  # compares the SHA-256
        card = trained.card
        assert card["name"] == name and len(card["dataset"]["store_sha256"]) == 64
        assert {"backend", "epochs", "seconds", "curve"} <= set(card["training"])
        params = card["cost"]["encoder"]["params"] + card["cost"]["decoder"]["params"]
        assert sum(int(np.prod(w.shape)) for w in trained.model.trainable_weights) == params
        assert card["test"]["num_samples"] >= 4500

    def test_training_had_settled(self, name):
        """The last epochs change the objective, loss and what the bits cost, by less than two per cent.

        Of CRNet only the last epoch was scored with statistics of batch norm of its own: its training loss serves.
        """
        card = loaded(name).card
        if "val_loss" not in card["training"]["curve"][-2]:
            losses = [e["loss"] for e in card["training"]["curve"]]
            assert abs(losses[-1] - losses[-2]) < 0.02 * losses[-1]
            return
        weight = ((card["recipe"].get("rate") or {}).get("weight") or [0])[0]
        curve = [e["val_loss"] + e.get("val_rate", weight * e.get("val_bits", 0)) for e in card["training"]["curve"]]
        assert abs(curve[-1] - curve[-2]) < 0.02 * curve[-1]


@pytest.mark.long
@pytest.mark.parametrize("name", zoo_names("prediction"))
def test_predictors(name, rng):
    """Card, convergence, and a forward pass; what a shipped predictor is worth is in its card."""
    trained = TrainedPredictor(name)
    card = trained.card
    assert card["name"] == name and trained.model.count_params() == card["parameters"]
    assert {"backend", "epochs", "seconds", "curve"} <= set(card["training"])
    curve = [e["val_loss"] for e in card["training"]["curve"]]
    assert len(curve) == card["training"]["epochs"] and abs(curve[-1] - curve[-2]) < 0.02 * curve[-1]
    for entry in card["test"]["by_data_set"].values():
        assert entry["time"]["num_samples"] >= 1000 and -40 < entry["time"]["nmse_db"] < 0
    sizes = (getattr(trained.model, "num_subcarriers", 8), getattr(trained.model, "num_antennas", 4), 2)
    history = rng.standard_normal((2, trained.max_history_slots, *sizes)).astype(np.float32)
    future = trained.model.forecast(history, trained.horizon_slots)
    assert future.shape == (2, trained.horizon_slots, *sizes) and np.isfinite(np.asarray(future)).all()


class TestCodes:
    @pytest.mark.long
    @pytest.mark.parametrize("name", long_but(CODED, "csinet-100", "evt-80"))
    def test_tables_are_codes(self, name):
        trained = loaded(name)
        rng = np.random.default_rng(1)
        for key, table in trained.tables.items():
            quantizer, _, bits = key.rpartition("-b")
            assert table.counts.shape == (trained.input.num_latents, 2 ** int(bits))
            assert (table.counts.sum(axis=1) == table.counts.sum(axis=1)[0]).all()
            latent = rng.uniform(-1, 1, (3, trained.input.num_latents)).astype(np.float32)
            for coder in ("fixed", "huffman", "range"):
                codec = LatentCodec(trained, quantizer, int(bits), coder, "latent", "shipped", 1)
                received, valid = codec.decode(*codec.encode(latent))
                assert valid.all() and received.shape == latent.shape

    @pytest.mark.parametrize("name", CODED)
    def test_shipped_codec_is_of_its_class(self, name):
        """Bits of the card: about 100 or 250 in the mean, exactly the class for eigenvectors."""
        card = loaded(name).card
        wanted = 250 if name.endswith("-rates") else int(name.rpartition("-")[2])
        codec = f"{card['codec']['quantizer']}-b{card['codec']['bits']}"
        if name in CHANNEL:
            entry = card["test"]["codecs"][f"{codec}-range-latent"]
            assert 0.8 * wanted < entry["bits_mean"] < 1.2 * wanted
            assert {"klt_at_these_bits", "sparse_at_these_bits", "by_channel"} <= set(entry)
        else:
            assert card["test"]["codecs"][f"{codec}-fixed-latent"]["bits_max"] == wanted


def test_more_bits_are_better():
    """One network for all lengths: every doubling helps from 8 bits on; a teacher of one length is better there."""
    by_bits = {name: loaded(name).card["test"]["by_bits"] for name in BITS}
    nmse = {int(n): entry["nmse_db"] for n, entry in by_bits["vb-munich"].items()}
    assert sorted(nmse) == [2**i for i in range(9)] and max(nmse.values()) < 0.1
    assert all(nmse[2 * n] < nmse[n] for n in (4, 8, 16, 32, 64, 128))
    assert list(by_bits["vb-munich-teacher"]) == ["256"]
    assert by_bits["vb-munich-teacher"]["256"]["nmse_db"] < nmse[256]
    for name in BITS:
        assert loaded(name).codec is None and loaded(name).tables == {}


@pytest.mark.parametrize("name", CHANNEL)
def test_networks_beat_the_klt_at_their_bits(name):
    """At the rate that they were trained for, by more than both half-widths."""
    card = loaded(name).card
    entry = card["test"]["codecs"][f"{card['codec']['quantizer']}-b{card['codec']['bits']}-range-latent"]
    yardstick = entry["klt_at_these_bits"]
    assert yardstick["bits_mean"] > entry["bits_mean"]
    assert entry["nmse_db"] + entry["ci95"] < yardstick["nmse_db"] - yardstick["ci95"]


@pytest.mark.long
def test_damaged_folders_are_refused(tmp_path):
    source = zoo_folder() / CHANNEL[0]

    def copy(name):
        shutil.copytree(source, tmp_path / name)
        return tmp_path / name

    for file in ("model.weights.h5", "tables.npz"):
        folder = copy(f"damaged-{file}")
        data = bytearray((folder / file).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / file).write_bytes(data)
        with pytest.raises(StoreError, match=rf"{file}.*damaged, SHA-256"):
            TrainedModel(str(folder))
        (folder / file).unlink()
        with pytest.raises(StoreError, match="missing"):
            TrainedModel(str(folder))
    # Tables of another model: the hash in the card does not fit.
    folder = copy("mixed-up")
    shutil.copy(zoo_folder() / CHANNEL[-1] / "tables.npz", folder)
    with pytest.raises(StoreError, match=r"tables\.npz.*SHA-256"):
        TrainedModel(str(folder))
    # Another number of latents than the weights have.
    folder = copy("mismatch")
    card = json.loads((folder / "card.json").read_text())
    card["model"]["params"]["num_latents"] = 77
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(StoreError, match="no weights of the model in the card"):
        _ = TrainedModel(str(folder)).model
    with pytest.raises(ConfigError, match="weights"):
        TrainedModel("nowhere")


@pytest.mark.long
def test_klt_compacts_energy_and_meets_its_budget():
    """Principal directions: coefficients are uncorrelated with the variances of the transform."""
    rng = np.random.default_rng(3)
    mix = rng.standard_normal((64, 64)) @ (np.diag(np.geomspace(1, 0.01, 64)) @ rng.standard_normal((64, 64)))
    z = rng.standard_normal((3000, 64, 2)) @ [1, 1j]
    x = (z @ (mix + 1j * rng.standard_normal((64, 64)) * 0.1 * np.abs(mix).mean())).astype(np.complex64)
    images = x.reshape(-1, 8, 8, 1).view(np.float32)
    klt = Klt.fit(images, num_components=64, num_samples=1500)
    c = klt.coefficients(images)
    covariance = c.T @ c.conj() / len(c)
    np.testing.assert_allclose(np.diag(covariance).real, klt.variances, rtol=1e-3, atol=1e-7 * klt.variances[0])
    off = covariance - np.diag(np.diag(covariance))
    assert np.abs(off).max() < 1e-4 * klt.variances[0]
    np.testing.assert_allclose(klt.images(c, 8, 8), images, atol=1e-3 * np.abs(images).max())
    from receivers.coding.range_coder import RangeCoder

    for bits in (40, 120):
        step = klt.step_for(bits, 127)
        coder = RangeCoder(255, **RangeCoder.fit(klt.counts(step, 127)))
        _, num_bits = coder.encode(klt.cells(c[1500:], step, 127))
        assert 0.93 * bits < num_bits.mean() < 1.1 * bits + 2


def test_klt_reaches_the_rate_distortion_bound_of_a_gaussian_source():
    """Entropy-coded uniform quantisation is 0.25 bit per coefficient from Shannon's bound at high rate."""
    rng = np.random.default_rng(4)
    std = np.geomspace(4, 1, 16)
    x = ((rng.standard_normal((6000, 16, 2)) @ [1, 1j]) * std).astype(np.complex64)
    images = x.reshape(-1, 4, 4, 1).view(np.float32)
    klt = Klt.fit(images[:3000], num_components=16, num_samples=3000)
    from receivers.coding.range_coder import RangeCoder

    step = klt.step_for(100, 127)
    coder = RangeCoder(255, **RangeCoder.fit(klt.counts(step, 127)))
    cells = klt.cells(klt.coefficients(images[3000:]), step, 127)
    _, num_bits = coder.encode(cells)
    distortion = np.mean((klt.images(klt.values(cells, step, 127), 4, 4) - images[3000:]) ** 2)  # per real entry
    bound = np.sum(np.log2(std**2 / distortion))  # 32 reals, half a log each; all above the water level
    assert bound < num_bits.mean() < bound + 32 * 0.27 + 2  # and the coder


class TestShared:
    """One network for all schemes of a process that name the same weights."""

    def test_as_long_as_the_card_is_the_same(self, tmp_path):
        for name in ("one", "two"):
            shutil.copytree(zoo_folder() / "csinet-100", tmp_path / name)
        first = TrainedModel.shared(str(tmp_path / "one"))
        assert TrainedModel.shared(str(tmp_path / "one")) is first
        assert TrainedModel.shared(str(tmp_path / "one"), alone=True) is not first
        assert TrainedModel.shared(str(tmp_path / "two")) is not first
        card = tmp_path / "one" / "card.json"
        card.write_text(card.read_text().replace('"description": "', '"description": "new '))
        assert TrainedModel.shared(str(tmp_path / "one")) is not first
        (tmp_path / "two" / "model.weights.h5").write_bytes(b"damaged")
        with pytest.raises(StoreError, match="damaged"):
            TrainedModel.shared(str(tmp_path / "two"))

    def test_only_the_last_ones_are_kept(self, tmp_path):
        first = TrainedModel.shared("csinet-100")
        for n in range(8):
            shutil.copytree(zoo_folder() / "csinet-100", tmp_path / str(n))
            TrainedModel.shared(str(tmp_path / str(n)))
        assert TrainedModel.shared("csinet-100") is not first

    @pytest.mark.long
    def test_no_scheme_changes_its_weights(self, rng):
        """Rounded encoders are copies."""
        config = CsiConfig(Panel(8, 2, 2), 1, 52, 360e3, subband_size=4)
        h = rng.standard_normal((2, 1, 1, 32, 52, 2)).astype(np.float32).view(np.complex64)[..., 0]
        csi = CsiEstimate(h, np.zeros((2, 1), np.float32))
        before = TrainedModel("csinet-100").model.get_weights()
        plain = registry.build("feedback", "autoencoder", config, weights="csinet-100")
        sent = plain.report(csi)
        rounded = registry.build("feedback", "autoencoder", config, weights="csinet-100", weight_bits=4)
        rounded.reconstruct(rounded.report(csi))
        again = plain.report(csi)
        assert (sent.num_bits == again.num_bits).all() and (sent.bits == again.bits).all()
        for a, b in zip(before, TrainedModel.shared("csinet-100", alone=True).model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
