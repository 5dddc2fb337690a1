"""Checkpoints of WiFo, WiFo-CF, the Mamba-Transformer and TransNet end in folders that the link takes."""

import mamba_forward
import numpy as np
import pytest
import wifo_cf_forward
from typer.testing import CliRunner

from benchmarks import cli
from benchmarks.import_torch import _import_autoencoder, import_checkpoint
from benchmarks.import_wifo import import_wifo, import_wifo_cf
from receivers.feedback.wifo_cf import WiFoCfFeedback
from receivers.models.wifo import WiFo
from receivers.prediction.network import NetworkPredictor
from receivers.weights.folder import TrainedModel, TrainedPredictor
from receivers.weights.torch import _wifo_pairs
from simulator.core import registry
from simulator.core.errors import ConfigError, StoreError
from simulator.core.types import CsiConfig, CsiEstimate, Panel, RadioGeometry
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter

SAMPLES = 8


def store(folder, layout, rng, decay=6.0):
    with StoreWriter(folder, layout, name=folder.name) as writer:
        for split in ("train", "val", "test"):
            h = (rng.standard_normal((SAMPLES, *layout.entry_shape, 2)) @ [1, 1j]) * 0.01
            writer.add(split, (h * np.exp(-np.arange(layout.entry_shape[-1]) / decay)).astype(np.complex64))
        writer.finish({})
    return ChannelStore(folder)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "released.pth"
    path.write_bytes(b"tensors")
    return path


@pytest.mark.long
def test_wifo_cf(rng, tmp_path, file):
    """The link runs the released network in batches of one: what a UE reports and the gNB restores of it."""
    state = wifo_cf_forward.random_state(rng, depth=1, decoder_depth=1)
    channels = store(tmp_path / "s", ChannelLayout(Panel(4, 2, 1), 16, 360e3), rng)
    with pytest.raises(ConfigError, match="--set: got 'no top_k'; allowed: top_k=N"):
        import_wifo_cf(state, [file], channels, tmp_path / "w", {})
    card = import_wifo_cf(state, [file], channels, tmp_path / "w", {"top_k": 2})
    assert card["test"]["by_data_set"]["s"]["bits"]["num_samples"] == SAMPLES
    link = WiFoCfFeedback(
        CsiConfig(Panel(4, 2, 1), 1, 16, 360e3, 4), weights=str(tmp_path / "w"), bits=6, users="single", scale_bits=0
    )
    h = (rng.standard_normal((3, 1, 1, 8, 16, 2)) @ [1, 1j]).astype(np.complex64)
    h /= np.sqrt((np.abs(h) ** 2).mean(axis=(3, 4), keepdims=True))
    known = link.reconstruct(link.report(CsiEstimate(h, np.zeros((3, 1, 1), np.float32))))
    released = wifo_cf_forward.WiFoCfForward(state, top_k=2)
    for drop in range(3):
        x = np.stack([h[drop, 0, 0].real, h[drop, 0, 0].imag])[None, :, None].astype(np.float64)
        expected = released(x, np.array([6]))[1][0, :, 0]
        np.testing.assert_allclose(known.h[drop, 0, 0], expected[0] + 1j * expected[1], atol=2e-4)


@pytest.mark.long
def test_wifo(rng, tmp_path, file):
    """Sizes are those of the tensors, the predictor forecasts with the released positions."""
    model = WiFo(16, depth=2, decoder_depth=1, mlp_ratio=3, encoder_position="released")
    state = {}
    for key, variable, convert in _wifo_pairs(model):
        value = rng.standard_normal(variable.shape) / max(variable.shape[0], 1) ** 0.5
        if "tokenConv.weight" in key:
            value = value.reshape(4, 4, 4, 2, 16).transpose(4, 3, 0, 1, 2)
        elif key == "mask_token":
            value = value[None, None]
        elif value.ndim == 2:
            value = value.T
        state[key] = value.astype(np.float32)
        variable.assign(convert(state[key]))
    state["pos_embed_spatial"] = np.zeros((1, 5, 16))
    card = import_wifo(state, [file], None, tmp_path / "w", {})
    assert (card["history_slots"], card["max_history_slots"], card["horizon_slots"]) == (4, 12, 12)
    geometry = RadioGeometry(3.5e9, Panel(4, 1, 1), 2, 1, 8, 360e3)
    predictor = NetworkPredictor(geometry, weights=str(tmp_path / "w"))
    history = (rng.standard_normal((2, 2, 1, 4, 8, 8, 2)) @ [1, 1j]).astype(np.complex64)
    found = predictor.predict(history, 3)
    x = np.moveaxis(history.reshape(4, 4, 8, 8), 1, -1)
    scale = np.sqrt((np.abs(x) ** 2).mean(axis=(1, 2, 3), keepdims=True))
    x = np.stack([(x / scale).real, (x / scale).imag], axis=-1).astype(np.float32)
    expected = np.asarray(model.forecast(x, 3))[:, 2]
    expected = np.moveaxis((expected[..., 0] + 1j * expected[..., 1]) * scale[:, 0], 2, 1)
    np.testing.assert_allclose(found.reshape(4, 4, 8), expected, atol=1e-4)
    layout = ChannelLayout(Panel(4, 1, 1), 8, 360e3, num_slots=16, slot_s=1e-3)
    scored = import_wifo(state, [file], store(tmp_path / "t", layout, rng), tmp_path / "v", {})
    assert (scored["max_history_slots"], scored["horizon_slots"]) == (8, 8) and "time" in scored["test"]["by_data_set"][
        "t"
    ]
    assert TrainedPredictor(str(tmp_path / "v")).history_slots == 4
    with pytest.raises(StoreError, match="no checkpoint of wifo"):
        import_wifo({"a": np.zeros(3)}, [file], None, tmp_path / "x", {})
    with pytest.raises(ConfigError, match=r"^--set\.num_heads"):
        import_wifo(state, [file], None, tmp_path / "x", {"num_heads": 3})


@pytest.mark.long
def test_mamba_transformer(rng, tmp_path, file):
    """Images from 0 to 1, reports that depend on no other: the released network on one image at a time."""
    state = mamba_forward.random_state(rng, side=16, blocks=1, layers=1)
    layout = ChannelLayout(Panel(16, 1, 1), 32, 360e3, num_delays=16)
    channels = store(tmp_path / "s", layout, rng)
    _import_autoencoder("mamba_transformer", state, [file], channels, tmp_path / "w", {})
    trained = TrainedModel(str(tmp_path / "w"), alone=True)
    h = np.concatenate([x for x, _ in channels.read("train")])
    parts = np.stack([h.real, h.imag])
    images = np.moveaxis(parts.reshape(2, SAMPLES, 16, 16), 1, 0)  # [sample, component, antenna, delay]
    seen = (images - parts.min()) / (parts.max() - parts.min())
    power = np.sqrt(2 * (images**2).mean(axis=(1, 2, 3), keepdims=True))
    unit = np.moveaxis(images / power, 1, -1).swapaxes(1, 2)
    level = float(np.sqrt(np.mean(np.abs(h) ** 2)))
    released = mamba_forward.MambaForward(state)
    scaled = (images / power * level - parts.min()) / (parts.max() - parts.min())
    assert 0 <= seen.min() and seen.max() <= 1
    expected = np.concatenate([released(x[None])[0] for x in scaled])
    np.testing.assert_allclose(trained.encode(unit.astype(np.float32)), expected, atol=2e-4)
    together = TrainedModel(str(tmp_path / "w"))
    image = np.concatenate([released(x[None])[1] for x in scaled])
    assert np.abs(trained.model(np.moveaxis(scaled, 1, -1).astype(np.float32)) - np.moveaxis(image, 1, -1)).max() < 2e-3
    assert together.model.get_config()["attention_axis"] == "batch"


def test_what_a_checkpoint_does_not_tell_is_asked(tmp_path, file):
    for params in ({}, {"attention_axis": "tokens"}):
        with pytest.raises(ConfigError, match=r"--set.*attention_axis=batch \(the released.*attention_axis=token"):
            import_checkpoint("transnet", [file], tmp_path, tmp_path / "w", params)
    with pytest.raises(ConfigError, match=r"model: got 'foo'; allowed: crnet.*mamba_transformer, wifo, wifo_cf"):
        import_checkpoint("foo", [file], tmp_path, tmp_path / "w", {})
    text = " ".join(CliRunner().invoke(cli.app, ["import-torch", "--help"], env={"COLUMNS": "200"}).stdout.split())
    assert "attention_axis=batch" in text and "attention_axis=token" in text and "wifo_cf" in text


@pytest.mark.long
def test_reports_of_batch_attention_do_not_depend_on_each_other(rng, tmp_path):
    """The scheme runs a network of the released form in batches of one."""
    from receivers.training.codecs import write_tables
    from simulator.data.store import sha256, write_json

    network = registry.build(
        "models", "transnet", height=4, width=8, num_latents=4, dim=8, hidden=8, attention_axis="batch"
    )
    network.save_weights(tmp_path / "model.weights.h5")
    table = {"counts": np.ones((4, 16), np.int64), "levels": np.linspace(-1, 1, 16, dtype=np.float32)}
    write_tables(tmp_path, {"uniform-b4": table})
    files = {
        k: {"file": v, "sha256": sha256(tmp_path / v)}
        for k, v in (("weights", "model.weights.h5"), ("tables", "tables.npz"))
    }
    known = {
        "n1": 8,
        "n2": 1,
        "num_pol": 1,
        "num_subcarriers": 8,
        "spacing_hz": 360e3,
        "num_delays": 4,
        "num_latents": 4,
    }
    card = {"name": "t", "model": {"name": "transnet", "params": network.get_config()}, "input": known}
    write_json(tmp_path / "card.json", {**card, **files, "codec": {"quantizer": "uniform", "bits": 4, "scale_bits": 8}})
    config = CsiConfig(Panel(8, 1, 1), 1, 8, 360e3, 4)
    link = registry.build("feedback", "autoencoder", config, weights=str(tmp_path), coder="fixed", scale_bits=0)
    h = (rng.standard_normal((6, 1, 1, 8, 8, 2)) @ [1, 1j]).astype(np.complex64)
    error = np.zeros((6, 1, 1), np.float32)
    together, own = link.report(CsiEstimate(h, error)), link.report(CsiEstimate(h[2:3], error[2:3]))
    np.testing.assert_array_equal(together.bits[2], own.bits[0])
    h_hat = link.reconstruct(together).h
    np.testing.assert_allclose(h_hat[2], link.reconstruct(own).h[0], atol=1e-5)
