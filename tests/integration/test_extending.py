"""The examples of docs/extending.md as a guest package: built through the registry, called, run in a link."""

import hashlib
import json
import re
import sys
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from benchmarks.runner import run
from benchmarks.train import train
from csilink import testing
from receivers.models.codeword_refiner import from_tokens, to_tokens
from receivers.training.data.images import ImageView, load_images
from receivers.training.recipe import parse_training
from receivers.weights.folder import TrainedModel
from simulator.core import registry
from simulator.core.errors import ConfigError, PayloadError, StoreError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel, RadioGeometry
from simulator.data.importer import import_store
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter
from simulator.outcomes import LinkOutcome

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, flags=re.S | re.M))
GEOMETRY = RadioGeometry(3.5e9, Panel(3, 2, 2), 2, 2, 5, 360e3, num_slots=2)
SCENARIO = {
    "name": "guests",
    "carrier": {"num_rb": 4},
    "bs": {"n1": 4, "n2": 1, "num_pol": 1},
    "ue": {"num_users": 2},
    "channel": {"model": "rayleigh"},
    "feedback": [{"scheme": "perfect"}],
    "precoding": {"precoders": ["mrt"]},
    "metrics": ["sum_rate_bpshz"],
    "snr_db": [10],
    "run": {"drops": 32},
}


def block(kind, language):
    """The one block of a language in the section of a kind."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", SECTIONS[kind], flags=re.S)
    return found


@pytest.fixture(scope="module")
def guests(tmp_path_factory):
    """The page as an installed package: kind to the name of its example."""
    root, names, points = tmp_path_factory.mktemp("guests"), {}, []
    package = root / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("\n\n".join(block(kind, "python") for kind in SECTIONS))
    for kind in SECTIONS:
        ((group, lines),) = tomllib.loads(block(kind, "toml"))["project"]["entry-points"].items()
        ((names[kind], value),) = lines.items()
        points.append(EntryPoint(names[kind], value, group))
        assert group == f"csilink.{kind}" and f"class {value.partition(':')[2]}(" in block(kind, "python")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        patch.setattr(
            registry,
            "entry_points",
            lambda group: [*entry_points(group=group), *(p for p in points if p.group == group)],
        )
        registry._points.cache_clear()
        yield names
    registry._points.cache_clear()
    for name in ("my_package", "my_package.parts"):
        sys.modules.pop(name, None)


@pytest.fixture
def link(run_here, tmp_path):
    """Runs the small scenario with some fields replaced; ``value(metric, **columns)`` of its results."""

    def go(**fields):
        (tmp_path / "s.yaml").write_text(json.dumps(SCENARIO | fields))
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        frame = run(str(tmp_path / "s.yaml"), out=out, report=False)

        def value(metric, **columns):
            rows = frame[frame.metric == metric]
            for column, wanted in columns.items():
                rows = rows[rows[column] == wanted]
            (found,) = rows.value
            return found

        return value

    return go


def noise(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def folder_of_weights(folder, kind, name, task, **facts):
    """A folder as trainings write it, of the network in its initial state."""
    folder.mkdir()
    network = registry.build(kind, name)
    network.save_weights(folder / "model.weights.h5")
    digest = hashlib.sha256((folder / "model.weights.h5").read_bytes()).hexdigest()
    card = {
        "name": folder.name,
        "task": task,
        "model": {"name": name, "params": network.get_config()},
        "weights": {"file": "model.weights.h5", "sha256": digest},
        **facts,
    }
    (folder / "card.json").write_text(json.dumps(card))
    return str(folder)


def test_every_kind_has_a_section_with_its_base_class(guests):
    assert set(SECTIONS) == set(registry.KINDS)
    for kind in registry.KINDS:
        cls = registry.load(kind, guests[kind])
        assert cls.__doc__ and "The contract asks" in SECTIONS[kind]
        (row,) = re.findall(rf"^\| \[{kind}\]\(#{kind}\) \| `([\w.]+)`", PAGE, flags=re.M)
        assert row in {
            f"{base.__module__.replace('keras.src.models.model', 'keras')}.{base.__name__}" for base in cls.__mro__
        }, row


CONTRACTS = {
    "channels": lambda name: testing.check_channel(name, sector_deg=100),
    "estimators": lambda name: testing.check_estimator(name, snr_db=0, observations=5),
    "estimation_models": testing.check_estimation_model,
    "feedback": testing.check_feedback_scheme,
    "quantizers": testing.check_quantizer,
    "refiners": testing.check_refiner,
    "report_refiners": testing.check_report_refiner,
    "coders": testing.check_coder,
    "models": testing.check_model,
    "prediction_models": lambda name: testing.check_prediction_model(name, group=4),
    "precoders": testing.check_precoder,
    "metrics": testing.check_metric,
    "predictors": testing.check_predictor,
}


def test_the_table_names_the_check_of_every_kind():
    for kind in registry.KINDS:
        (check,) = re.findall(rf"^\| \[{kind}\]\(#{kind}\) \|.*\| `(\w+)` \|$", PAGE, flags=re.M)
        assert check in testing.__all__


@pytest.mark.parametrize("kind", CONTRACTS)
def test_contract(guests, kind):
    CONTRACTS[kind](guests[kind])


def test_contract_of_importers(guests, tmp_path, rng):
    np.save(tmp_path / "h.npy", noise(rng, 6, 4, 5))
    testing.check_importer(guests["importers"], tmp_path / "h.npy", spacing_hz=15e3)
    assert set(CONTRACTS) | {"importers", "tasks"} == set(registry.KINDS)


def test_channel(guests, link):
    """Steering vectors of the drawn azimuth; one plane wave gives MRT the full array gain: log2(1 + 4 * 10 / 1)."""
    source = registry.build("channels", guests["channels"], GEOMETRY, sector_deg=100)
    h = source.sample(3, seed=1)
    assert h.shape == (3, 2, 2, 12, 2, 5) and h.dtype == np.complex64
    np.testing.assert_allclose(np.abs(h), 1, rtol=1e-6)
    np.testing.assert_array_equal(source.sample(2, seed=1, first=1), h[1:])
    assert source.sample(0, seed=1).shape == (0, 2, 2, 12, 2, 5)
    step = h[:, :, 0, 2] / h[:, :, 0, 0]  # ports (0, 1, 0) and (0, 0, 0): one column further
    assert (np.abs(np.angle(step)) <= np.pi * np.sin(np.radians(50)) + 1e-6).all()
    np.testing.assert_allclose(h[:, :, 0, 4] / h[:, :, 0, 2], step, rtol=1e-5)
    value = link(channel={"model": guests["channels"]}, ue={"num_users": 1})
    assert value("sum_rate_bpshz") == pytest.approx(np.log2(1 + 4 * 10), rel=1e-5)
    with pytest.raises(ConfigError, match=r"channel\.sector_deg"):
        registry.build("channels", guests["channels"], GEOMETRY, sector_deg=-1)


def test_estimator(guests, link, rng):
    estimator = registry.build("estimators", guests["estimators"], GEOMETRY, snr_db=0, observations=5)
    h = noise(rng, 60, 2, 2, 12, 2, 5)
    estimate = estimator.estimate(h, seed=1)
    assert estimate.error_var.shape == (60, 2, 2) and estimate.h_hat.dtype == np.complex64
    assert np.mean(np.abs(estimate.h_hat - h) ** 2) == pytest.approx(0.2, rel=0.03)
    np.testing.assert_allclose(estimate.error_var, 0.2, rtol=1e-6)
    value = link(
        estimation={"name": guests["estimators"], "snr_db": 3, "observations": 2}, metrics=["nmse_db", "sum_rate_bpshz"]
    )
    # Error variance 10^-0.3 / 2 next to unit power, over 32 drops x 2 users x 16 entries.
    assert value("nmse_db") == pytest.approx(-6.01, abs=0.7)


def test_estimation_model(guests, link, tmp_path):
    """A network that changes nothing leaves LMMSE."""
    folder = folder_of_weights(tmp_path / "w", "estimation_models", guests["estimation_models"], "estimation")
    fields = {"snr_db": 5}
    learned, plain = (
        link(estimation={"name": name, **own, **fields}, metrics=["nmse_db"])("nmse_db")
        for name, own in (("csi_rs_learned", {"weights": folder}), ("csi_rs_lmmse", {}))
    )
    assert learned == pytest.approx(plain, abs=1e-3)
    network = registry.build("estimation_models", guests["estimation_models"], width=3)
    bins = np.ones((2, 4, 1, 4, 7, 2), np.float32)
    assert network(bins, bins).shape == bins.shape and network.get_config() == {"width": 3}


def test_feedback(guests, link):
    config = CsiConfig(Panel(4, 2, 2), 1, 6, 360e3, subband_size=2)
    scheme = registry.build("feedback", guests["feedback"], config, seed=1)
    h = np.ones((3, 2, 1, 16, 6), np.complex64)
    h[:, :, :, 5] = 3
    report = scheme.report(CsiEstimate(h, np.zeros((3, 2), np.float32)))
    assert report.num_bits.tolist() == [[4, 4]] * 3
    known = scheme.twin().reconstruct(report)
    assert (known.h is not None) == scheme.explicit
    w = known.w
    assert w.shape == (3, 2, 16, 1, 3)
    assert np.array_equal(np.argmax(np.abs(w), axis=2), np.full((3, 2, 1, 3), 5))
    with pytest.raises(PayloadError):
        scheme.reconstruct(CsiReport(report.bits[..., :3], report.num_bits - 1))
    value = link(
        feedback=[{"scheme": "perfect"}, {"scheme": guests["feedback"]}], metrics=["bits_mean", "sum_rate_bpshz"]
    )
    assert value("bits_mean", scheme="strongest-port") == 2
    assert 0 < value("sum_rate_bpshz", scheme="strongest-port") < value("sum_rate_bpshz", scheme="perfect")


@pytest.mark.parametrize("bits", [1, 4])
def test_quantizer(guests, rng, bits):
    quantizer = registry.build("quantizers", guests["quantizers"], bits)
    index = np.arange(2**bits)
    levels = quantizer.dequantize(index)
    np.testing.assert_array_equal(quantizer.quantize(levels), index)
    edge = np.linspace(-1, 1, 2**bits + 1)
    np.testing.assert_allclose(quantizer.borders, (np.sign(edge) * edge**2)[1:-1], rtol=1e-6)
    x = rng.uniform(-1.2, 1.2, (7, 300)).astype(np.float32)
    np.testing.assert_array_equal(ops.convert_to_numpy(quantizer.soft(x)), quantizer.dequantize(quantizer.quantize(x)))
    odd = quantizer.quantize(np.array([np.nan, np.inf, -np.inf, 1e300]))
    assert odd.tolist() == [2 ** (bits - 1), 2**bits - 1, 0, 2**bits - 1]


def test_refiner(guests, rng):
    network = registry.build("refiners", guests["refiners"], 8, 2)
    words = noise(rng, 6, 8)
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    refined = ops.convert_to_numpy(network(to_tokens(words, 2)))
    np.testing.assert_allclose(from_tokens(refined), words, atol=1e-6)  # it starts as identity
    assert network(np.zeros((0, 2, 8), np.float32)).shape == (0, 2, 8)
    assert network.get_config() == {"num_ports": 8, "num_pol": 2}
    target = to_tokens(np.roll(words, 1, axis=0), 2)
    network.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    first, last = (network.train_on_batch(to_tokens(words, 2), target) for _ in range(2))
    assert last < first


def test_report_refiner(guests, link, tmp_path):
    """A network in its initial state leaves reports as they are decoded."""
    folder = folder_of_weights(tmp_path / "w", "report_refiners", guests["report_refiners"], "refinement")
    fields = {"bs": {"n1": 4, "n2": 1, "num_pol": 2}, "carrier": {"num_rb": 24, "subband_rb": 4}}
    schemes = [{"scheme": "etype2-r16", "combination": 2, "rank": 1, **more} for more in ({}, {"refine": folder})]
    value = link(feedback=schemes, metrics=["sgcs_subband"], **fields)
    plain, refined = (value("sgcs_subband", scheme=f"etype2-pc2-rank1{end}") for end in ("", "-w"))
    assert refined == pytest.approx(plain, abs=1e-6)
    network = registry.build("report_refiners", guests["report_refiners"], bias=False)
    assert len(network.weights) == 1 and network.get_config() == {"bias": False}


def test_coder(guests, rng):
    assert registry.load("coders", guests["coders"]).fit(np.ones(5, int)) == {}
    coder = registry.build("coders", guests["coders"], 5)
    symbols = rng.integers(0, 5, (30, 12))
    bits, num_bits = coder.encode(symbols)
    np.testing.assert_array_equal(num_bits, (symbols + 1).sum(axis=1))
    decoded, valid = coder.decode(bits, num_bits, 12)
    assert valid.all() and num_bits.max() <= coder.max_bits(12)
    np.testing.assert_array_equal(decoded, symbols)
    bits, num_bits = coder.encode(np.array([[2, 0, 1]]))
    assert bits.tolist() == [[1, 1, 0, 0, 1, 0]] and num_bits.tolist() == [6]
    assert not coder.decode(bits, num_bits - 1, 3)[1].any() and not coder.decode(1 - bits, num_bits, 3)[1].any()
    assert coder.encode(np.zeros((0, 12), int))[0].shape[0] == 0


def test_model(guests, rng):
    model = registry.build("models", guests["models"], height=4, width=6, num_latents=3)
    x = noise(rng, 5, 4, 6)[..., None].view(np.float32)
    latent = ops.convert_to_numpy(model.encoder(x))
    assert latent.shape == (5, 3) and np.abs(latent).max() <= 1
    np.testing.assert_allclose(model(x), model.decoder(latent), rtol=1e-5, atol=1e-6)
    again = registry.build("models", guests["models"], **model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(x), model(x))


def test_prediction_model(guests, link, tmp_path):
    """A network that starts at no change predicts what ``repeat`` does."""
    network = registry.build("prediction_models", guests["prediction_models"], group=3)
    h = np.arange(2 * 4 * 7 * 3 * 2, dtype=np.float32).reshape(2, 4, 7, 3, 2)
    future = ops.convert_to_numpy(network.forecast(h, 2))
    np.testing.assert_array_equal(future, np.repeat(h[:, -1:], 2, axis=1))
    slots = {"history_slots": 1, "max_history_slots": 4, "horizon_slots": 4}
    folder = folder_of_weights(tmp_path / "w", "prediction_models", guests["prediction_models"], "prediction", **slots)
    by = {"learned": {"name": "network", "weights": folder}, "plain": {"name": "repeat"}}
    value = link(
        time={"num_slots": 5, "history_slots": 3},
        uplink={"delay_slots": 1},
        feedback=[{"scheme": "perfect", "label": k, "predict": {"at": "ue", **p}} for k, p in by.items()],
    )
    assert value("sum_rate_bpshz", scheme="learned") == pytest.approx(value("sum_rate_bpshz", scheme="plain"), rel=1e-4)


def test_precoder(guests, link, rng):
    """One stream receives the sum of the moduli over the root of the ports, never more than by MRT."""
    precoder = registry.build("precoders", guests["precoders"])
    g = noise(rng, 7, 1, 8)
    w = ops.convert_to_numpy(precoder.weights(g, 0.1))
    np.testing.assert_allclose((g @ w)[:, 0, 0], np.abs(g).sum(axis=(1, 2)) / np.sqrt(8), rtol=1e-5)
    w = ops.convert_to_numpy(precoder.weights(np.concatenate([g, 0 * g], axis=1), 0.1))
    np.testing.assert_allclose(np.sum(np.abs(w) ** 2, axis=1), np.tile([1, 0], (7, 1)), atol=1e-5)
    value = link(precoding={"precoders": ["mrt", guests["precoders"]]}, ue={"num_users": 1})
    ours, mrt = (value("sum_rate_bpshz", precoder=name) for name in (guests["precoders"], "mrt"))
    assert 0.7 * mrt < ours < mrt


def test_metric(guests, link):
    metric = registry.build("metrics", guests["metrics"])
    rate = np.array([[[1, 3], [2, 2]], [[0, 4], [0, 0]]], np.float32)[..., None]  # [snr, batch, user, slot]
    values = metric.evaluate(LinkOutcome(rate, rate, (), ()))
    assert {k: v.tolist() for k, v in values.items()} == {"weakest_user": [[0.5, 1.0], [0.0, 0.0]]}
    assert metric.evaluate(LinkOutcome(rate[:, :0], rate[:, :0], (), ()))["weakest_user"].shape == (2, 0)
    assert 0 < link(metrics=[guests["metrics"]])("weakest_user") < 1


def test_predictor(guests, link, rng):
    predictor = registry.build("predictors", guests["predictors"], GEOMETRY)
    start, slope = noise(rng, 3, 2, 2, 12, 1, 5), noise(rng, 3, 2, 2, 12, 1, 5)
    history = start + slope * np.arange(4)[:, None].astype(np.float32)
    for ahead in (0, 1, 3):
        np.testing.assert_allclose(
            predictor.predict(history, ahead), (start + slope * (3 + ahead))[..., 0, :], rtol=1e-4, atol=1e-4
        )
    with pytest.raises(ConfigError, match=r"time\.history_slots"):
        predictor.predict(history[..., :1, :], 1)
    value = link(
        time={"num_slots": 4, "history_slots": 2},
        uplink={"delay_slots": 1},
        feedback=[{"scheme": "perfect", "predict": {"at": "ue", "name": guests["predictors"]}}],
    )
    assert value("sum_rate_bpshz") > 0


def test_importer(guests, link, tmp_path, rng):
    h = noise(rng, 60, 4, 4)
    np.save(tmp_path / "h.npy", h)
    importer = registry.build("importers", guests["importers"], tmp_path / "h.npy", spacing_hz=360e3)
    store = import_store(importer, tmp_path / "store", name="plain", origin={})
    np.testing.assert_array_equal(store.take("all", np.arange(60))[:, 0, :, 0], h)
    channel = {"model": "recorded", "store": str(store.folder), "split": "all"}
    assert link(channel=channel, ue={"num_users": 1})("sum_rate_bpshz") > 0
    h[7, 1, 2] = np.nan
    np.save(tmp_path / "h.npy", h)
    importer = registry.build("importers", guests["importers"], tmp_path / "h.npy", spacing_hz=360e3)
    with pytest.raises(StoreError, match="first 7"):
        import_store(importer, tmp_path / "other", name="plain", origin={})


@pytest.mark.long
def test_task(guests, tmp_path, rng, eager):
    """The loss is the mean of the root of the NMSE; recipes name the task by name or by dotted path."""
    h = noise(rng, 60, 1, 4, 1, 8)
    with StoreWriter(tmp_path / "data", ChannelLayout(Panel(4), 8, 360e3), name="data") as writer:
        for split, part in zip(("train", "val", "test"), np.split(h, 3), strict=True):
            writer.add(split, part)
        writer.finish({})
    store = ChannelStore(tmp_path / "data")
    data = {"task": guests["tasks"], "name": "net", "dataset": "data", "num_delays": 4, "epochs": 1, "batch_size": 10}
    data["model"] = {"name": guests["models"], "params": {"num_latents": 6}}
    recipe = parse_training(data)
    assert recipe.exponent == 0.5 and parse_training({**data, "task": "my_package.parts:RobustTask"}).exponent == 0.5
    card = train(recipe, store, tmp_path / "net", lambda line: None)
    assert card["recipe"]["task"] == guests["tasks"] and card["recipe"]["exponent"] == 0.5
    trained = TrainedModel(str(tmp_path / "net"))
    x = load_images(store, "val", ImageView(store.layout, 4))[0]
    ratio = np.sum((trained.decode(trained.encode(x)) - x) ** 2, axis=(1, 2, 3)) / np.sum(x**2, axis=(1, 2, 3))
    assert card["training"]["curve"][0]["val_loss"] == pytest.approx(np.mean(np.sqrt(ratio)), abs=2e-5)
    with pytest.raises(ConfigError, match="exponent"):
        parse_training({**data, "exponent": 0})
