"""Published PyTorch checkpoints of WiFo and WiFo-CF to folders that serve the link."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.train import score, summary
from receivers.training.stores import split_samples
from receivers.training.task import Samples
from receivers.weights.card import file_entry, write_card
from receivers.weights.folder import save_weights
from simulator.core.errors import ConfigError, StoreError, required
from simulator.core.types import CsiConfig
from simulator.data.channel_version import channel_version
from simulator.data.store import ChannelStore, sha256

# Slots of the published data sets, of which the second half is predicted.
_PUBLISHED_SLOTS = 24
# Width of a value of the codeword in the published test.
_PUBLISHED_BITS = 5


def import_wifo(
    state: Mapping[str, np.ndarray], files: list[Path], store: ChannelStore | None, folder: Path, params: dict[str, Any]
) -> dict[str, Any]:
    """Folder of a predictor ``network`` from a checkpoint of WiFo; sizes come from the tensors, heads are 8.

    With a store, its slots limit the horizon of the network, and its test split is scored.

    Raises:
        StoreError: tensors that do not fit.
    """
    from receivers.models.checked import build_checked
    from receivers.models.wifo import WiFo
    from receivers.training.tasks.prediction import known_entries, prediction_scores
    from receivers.weights.torch import load_wifo

    shapes = {name: np.shape(tensor) for name, tensor in state.items()}
    try:
        dim, _, *patch = shapes["Embedding.value_embedding.tokenConv.weight"]
        sizes: dict[str, Any] = {
            "size": dim,
            "depth": _count(shapes, "blocks."),
            "decoder_depth": _count(shapes, "decoder_blocks."),
            "mlp_ratio": shapes["blocks.0.mlp.fc1.weight"][0] // dim,
            "patch": tuple(patch),
        }
    except (KeyError, ValueError):
        raise StoreError(f"{files[0]}: no checkpoint of wifo (first names: {', '.join(list(shapes)[:4])})") from None
    network = build_checked("--set", WiFo, {**sizes, "encoder_position": "released", **params})
    load_wifo(network, state)
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(network, folder / "model.weights.h5")
    slots = _PUBLISHED_SLOTS if store is None else store.layout.num_slots
    history_slots = max(known_entries(slots), network.num_history)
    card = {
        "name": folder.name,
        "task": "prediction",
        "description": _described(files),
        "model": {"name": "wifo", "params": network.get_config()},
        "parameters": network.count_params(),
        "history_slots": network.num_history,
        "max_history_slots": history_slots,
        "horizon_slots": max(slots - history_slots, 1),
        "weights": file_entry(folder / "model.weights.h5"),
        "channels": "weights: unknown",
        "training": _training(files),
    }
    if store is not None:
        network.pad = True
        card["test"] = summary(prediction_scores(network, [store], ("time",)))
    return write_card(folder, card)


def import_wifo_cf(
    state: Mapping[str, np.ndarray], files: list[Path], store: ChannelStore | None, folder: Path, params: dict[str, Any]
) -> dict[str, Any]:
    """Folder of scheme ``wifo-cf`` from a checkpoint of WiFo-CF, for the panel and band of a store.

    Raises:
        ConfigError: no store, or sizes that the network does not take.
        StoreError: tensors that do not fit.
    """
    from receivers.models.checked import build_checked
    from receivers.models.wifo_cf import WiFoCf
    from receivers.training.tasks.wifo_cf import images, wifo_cf_nmse, write_weights
    from receivers.weights.torch_wifo_cf import load_wifo_cf, wifo_cf_params

    if store is None:
        raise required("--store", "(a store with the panel and band of the link)")
    told = {**wifo_cf_params(state), **params}
    if "top_k" not in told:
        raise ConfigError("--set", "no top_k", f"top_k=N, the experts of a token, of {told['num_experts']}")
    network = build_checked("--set", WiFoCf, told)
    load_wifo_cf(network, state)
    layout, bits = store.layout, _PUBLISHED_BITS
    config = CsiConfig(layout.panel, 1, layout.num_subcarriers, layout.spacing_hz, layout.num_subcarriers)
    alone = "alone" if told["attention"] == "batch" else told["attention"]
    scored = WiFoCf(**{**network.get_config(), "attention": alone})  # as the link runs it
    scored.set_weights(network.get_weights())
    x = images(split_samples(store, "test"))
    details = {
        "description": _described(files),
        "parameters": network.count_params(),
        "channels": f"weights: unknown; scored on {channel_version(store.origin)}",
        "dataset": {"name": store.name, "store_sha256": store.hash},
        "training": _training(files),
        "test": {
            "metric": "nmse",
            "bits": bits,
            "by_data_set": {
                store.name: {
                    "bits": score(Samples(wifo_cf_nmse(scored, x, bits), counted=True)),
                    "report_bits": network.num_latents(*x.shape[2:4]) * bits,
                }
            },
        },
    }
    return write_weights(folder, folder.name, network, config, bits=bits, num_delays=layout.num_delays, details=details)


def _count(shapes: Mapping[str, Any], start: str) -> int:
    return len({name.removeprefix(start).split(".")[0] for name in shapes if name.startswith(start)})


def _described(files: list[Path]) -> str:
    return f"Imported from PyTorch: {', '.join(f.name for f in files)}"


def _training(files: list[Path]) -> dict[str, Any]:
    import keras

    return {"imported": {f.name: sha256(f) for f in files}, "keras": keras.__version__}
