"""Published PyTorch checkpoints to folders that serve the link."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from receivers.training.recipe import QuantizerSection, parse_training
from receivers.weights.card import file_entry, write_card
from receivers.weights.folder import alone, save_weights
from receivers.weights.torch import ARCHITECTURES, load_torch_weights
from simulator.core import registry
from simulator.core.content import own_version
from simulator.core.errors import ConfigError, StoreError, required
from simulator.core.extras import need
from simulator.data.channel_version import channel_version
from simulator.data.store import ChannelStore, sha256

# Networks whose checkpoints show all parameters, and those whose checkpoints show the number of latents.
MODELS = (*ARCHITECTURES, "mamba_transformer", "wifo", "wifo_cf")
AXES = ("token", "batch")


def import_checkpoint(
    model: str, files: list[Path], store_folder: Path | None, folder: Path, params: dict[str, Any]
) -> dict[str, Any]:
    """Convert a checkpoint to a folder of weights with a card, which ``weights:`` of a scenario takes.

    Autoencoders get quantiser tables from a store's training split. They see images as they were trained on: antennas
    in rows, delays in columns, values around 0.5, scaled so that a unit-power image has the mean power of the store
    (one factor for the whole data set); of the Mamba-Transformer, values from 0 to 1, the smallest and the largest of
    the training split. A store with a test split also gives scores.

    Options of the released code that differ from our defaults are taken from there, with one exception: a TransNet
    checkpoint does not show along which axis its attention was trained, so that the axis must be given.

    Args:
        model: one of ``MODELS``, or "mamba" for "mamba_transformer".
        files: one checkpoint, or those of encoder and decoder.
        store_folder: of autoencoders a store of imported COST 2100 images or channels of that kind; of "wifo_cf" one
            with the panel and band of the link; of "wifo" one to score on, or None.
        folder: target.
        params: parameters of the model, e.g. ``attention_axis``.

    Raises:
        ConfigError: unknown model or parameter; TransNet without ``attention_axis``; PyTorch is not installed.
        StoreError: a file that is no checkpoint, or tensors that do not fit.
    """
    model = {"mamba": "mamba_transformer"}.get(model, model)
    if model not in MODELS:
        raise ConfigError("model", model, ", ".join(MODELS))
    if model == "transnet" and params.get("attention_axis") not in AXES:
        allowed = "attention_axis=batch (the released code: over the samples of a batch) or attention_axis=token (text)"
        raise ConfigError("--set", params.get("attention_axis", "no attention_axis"), allowed)
    need("import-torch", "torch")
    state = _read(files)
    store = None if store_folder is None else ChannelStore(store_folder)
    if model in ("wifo", "wifo_cf"):
        from benchmarks.import_wifo import import_wifo, import_wifo_cf

        return (import_wifo if model == "wifo" else import_wifo_cf)(state, files, store, folder, params)
    if store is None:
        raise required("--store", "(a store of truncated angular-delay images, import format cost2100)")
    return _import_autoencoder(model, state, files, store, folder, params)


def _import_autoencoder(
    model: str, state: dict[str, Any], files: list[Path], store: ChannelStore, folder: Path, params: dict[str, Any]
) -> dict[str, Any]:
    from benchmarks.train import summary
    from receivers.training.codecs import codec_scores, fit_tables, write_tables
    from receivers.training.data.images import ImageView, load_images
    from receivers.training.objective import TrainingModel

    if store.layout.num_delays is None:
        raise ConfigError("--store", store.name, "a store of truncated angular-delay images (import format cost2100)")
    power = [np.mean(np.abs(h) ** 2, dtype=np.float64) for h, _ in store.read("train")]
    delays = store.layout.num_delays
    view = ImageView(store.layout, delays)
    train, _ = load_images(store, "train", view)
    test, part = load_images(store, "test", view)
    network, params = _network(model, state, files[0], params, height=view.shape[1], width=view.shape[0])
    offset, scale = 0.5, float(np.sqrt(np.mean(power)))
    if model == "mamba_transformer":
        low, high = _range(store)
        offset, scale = -low / (high - low), scale / (high - low)
    recipe = parse_training(
        {
            "task": "autoencoder",
            "name": folder.name,
            "dataset": store.name,
            "num_delays": delays,
            "model": {"name": model, "params": params},
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    seen = np.swapaxes(train[:30000], 1, 2) * np.float32(scale) + np.float32(offset)
    served = registry.build("models", model, **alone(network.get_config()))
    served.set_weights(network.get_weights())
    tables = fit_tables(_Scaled(TrainingModel(served)), seen, recipe)
    save_weights(network, folder / "model.weights.h5")
    write_tables(folder, tables)
    values = {"num_delays": delays, "num_latents": network.num_latents, "offset": offset, "scale": scale}
    samples = {"train": len(train), "test": len(test)}
    card = _card(model, network, files, store, folder, {**values, "transposed": True}, samples)
    write_card(folder, card)
    section = QuantizerSection(name="mu_law", bits=(2, 4, 6, 8), scale_bits=8)
    quantised = recipe.model_copy(update={"quantizer": section})
    names = store.origin.get("parts", [store.name])
    scores = codec_scores(folder, store, train[:50000], test, part, names, quantised)
    return write_card(folder, {**card, "test": summary(scores)})


def _network(
    model: str, state: dict[str, Any], file: Path, params: dict[str, Any], height: int, width: int
) -> tuple[Any, dict[str, Any]]:
    """The Keras network with the weights of ``state``, and its parameters, which name what the weights say."""
    from receivers.models.checked import build_checked
    from receivers.weights.torch_mamba import load_mamba_transformer, mamba_transformer_params

    if model == "mamba_transformer":
        params = {**mamba_transformer_params(state), **params}
    elif "num_latents" not in params:
        last = {"crnet": "encoder_fc.bias", "clnet": "encoder.replace_efc.bias", "transnet": "fc_encoder.bias"}
        key = next((k for k in state if k.endswith(last.get(model, "encoder.fc.bias"))), None)
        if key is None:
            raise StoreError(f"{file}: no codeword layer of {model} (first names: {', '.join(list(state)[:4])})")
        params = {**params, "num_latents": int(np.asarray(state[key]).size)}
    network = build_checked("--set", registry.load("models", model), params, height=height, width=width)
    if model == "mamba_transformer":
        load_mamba_transformer(network, state)
    else:
        load_torch_weights(model, network, state)
    return network, params


def _card(
    model: str,
    network: Any,
    files: list[Path],
    store: ChannelStore,
    folder: Path,
    values: dict[str, Any],
    samples: dict[str, int],
) -> dict[str, Any]:
    """Card of imported weights without scores; ``values``: sizes of the input and its offset and scale."""
    import keras

    from receivers.models.cost import count_cost

    return {
        "name": folder.name,
        "description": f"Imported from PyTorch: {', '.join(f.name for f in files)}",
        "model": {"name": model, "params": network.get_config()},
        "cost": {"encoder": asdict(count_cost(network.encoder)), "decoder": asdict(count_cost(network.decoder))},
        "input": {
            **asdict(store.layout.panel),
            "num_subcarriers": store.layout.num_subcarriers,
            "spacing_hz": store.layout.spacing_hz,
            **values,
        },
        "codec": {"quantizer": "mu_law", "bits": 4, "scale_bits": 8},
        "weights": file_entry(folder / "model.weights.h5"),
        "tables": file_entry(folder / "tables.npz"),
        "channels": f"weights: unknown; tables: {channel_version(store.origin)}",
        "dataset": {
            "name": store.name,
            "store_sha256": store.hash,
            "samples": samples,
        },
        "training": {
            "imported": {f.name: sha256(f) for f in files},
            "keras": keras.__version__,
            "csilink": own_version(),
        },
    }


def _range(store: ChannelStore) -> tuple[float, float]:
    """Smallest and largest real or imaginary part of the training split."""
    ends = [(part.min(), part.max()) for h, _ in store.read("train") for part in (h.real, h.imag)]
    return float(min(low for low, _ in ends)), float(max(high for _, high in ends))


class _Scaled:
    """A network whose latents are divided by their largest magnitude, on the grid that the report sends."""

    def __init__(self, model: Any):
        self._model = model

    def latents(self, images: np.ndarray) -> np.ndarray:
        from receivers.quantization.scale import scale_index, scale_of

        latent = self._model.latents(images)
        return latent / scale_of(scale_index(np.abs(latent).max(axis=1), 8), 8)[:, None]


def _read(files: list[Path]) -> dict[str, Any]:
    """Tensors of one checkpoint, or of encoder and decoder, by name."""
    need("import-torch", "torch")
    import torch

    if not 1 <= len(files) <= 2:
        raise ConfigError("files", len(files), "one checkpoint, or those of encoder and decoder")
    state: dict[str, Any] = {}
    for file, side in zip(files, ("encoder.", "decoder."), strict=False):
        try:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [""])[0]
            raise StoreError(f"{file}: no checkpoint of tensors ({reason})") from None
        tensors = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
        if not tensors or not all(isinstance(v, torch.Tensor) for v in tensors.values()):
            raise StoreError(f"{file}: no state dict of tensors")
        prefix = side if len(files) == 2 else ""
        state |= {prefix + name.removeprefix("module."): tensor.numpy() for name, tensor in tensors.items()}
    return state
