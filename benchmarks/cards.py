"""Data and training sections common to the model cards of all trained networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simulator.core.content import own_version
from simulator.data.channel_version import channel_version
from simulator.data.store import ChannelStore


def training_facts(history: dict[str, Any]) -> dict[str, Any]:
    """Backend, machine where it began, number of epochs, seconds, learning curve; ``history`` from the fit."""
    import keras

    from receivers.training.checkpoint import machine

    epochs = history["epochs"]
    return {
        "csilink": own_version(),
        "backend": keras.backend.backend(),
        "machine": history.get("machine") or machine(),
        "epochs": len(epochs),
        "seconds": round(sum(e["seconds"] for e in epochs)),
        "curve": [{k: round(v, 5) for k, v in e.items()} for e in epochs],
    }


def data_facts(stores: Sequence[ChannelStore]) -> list[dict[str, Any]]:
    """Name, hash of the recipe and hash of the data of every store."""
    return [{"name": s.name, "origin": s.origin.get("recipe_hash"), "store_sha256": s.hash} for s in stores]


def channel_facts(stores: Sequence[ChannelStore]) -> str:
    """Which channels the stores hold: the corrections of TR 38.901 that were active when they were drawn."""
    return "; ".join(dict.fromkeys(channel_version(store.origin) for store in stores))
