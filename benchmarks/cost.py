"""Table of the cost of every model."""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from simulator.core import registry
from simulator.core.cache import cache_folder, cached
from simulator.core.content import package_source
from simulator.core.durable import write_bytes
from simulator.core.errors import ConfigError, StoreError
from simulator.core.readers import read_json

# Latents of 32 x 32 images at compression 1/4 .. 1/64.
LATENTS = (512, 256, 128, 64, 32)


def cost_table() -> pd.DataFrame:
    """Parameters and multiply-accumulates of one sample of 32 x 32 (``evt``: 13 subbands x 32 ports).

    ``macs_published`` counts convolution and dense layers as the papers do, ``macs_thop`` normalisations as well;
    ``macs`` counts attention, scans and GDN too. Counted once for each model: later calls read what an earlier one
    found for the same source text of the model's package and of csilink's receivers, and the same Keras.
    """
    rows = []
    for name in registry.names("models"):
        if name == "klt":
            continue
        try:
            rows += _rows(name)
        except ConfigError as error:  # a broken guest, or one with other parameters
            print(f"left out: {error}", file=sys.stderr)
    return pd.DataFrame(rows)


def _rows(name: str) -> list[dict[str, Any]]:
    """Rows of a model, from the cache where it has been counted before."""
    if registry.has_registered():  # classes of this process, whose text nobody knows
        return _counted(name)
    target = registry.target("models", name)
    packages = {"receivers", target.partition(".")[0]}
    content = [target, LATENTS, version("keras"), *map(package_source, sorted(packages))]
    key = sha256(json.dumps(content).encode()).hexdigest()
    try:
        return cached(cache_folder() / "cost" / f"{key[:16]}.json", lambda path: _write(path, name), read_json)
    except StoreError:  # no cache
        return _counted(name)


def _write(path: Path, name: str) -> None:
    write_bytes(path, json.dumps(_counted(name)).encode() + b"\n")


def _counted(name: str) -> list[dict[str, Any]]:
    """Rows of a model, one for every number of latents."""
    return [_row(name, latents) for latents in (LATENTS if name not in ("learned_transform", "evt") else (None,))]


def _row(name: str, latents: int | None) -> dict[str, Any]:
    """Cost of one model, counted."""
    from receivers.models.cost import count_cost

    model = registry.build("models", name, **({} if latents is None else {"num_latents": latents}))
    encoder, decoder = count_cost(model.encoder), count_cost(model.decoder)
    total = encoder + decoder
    return {
        "model": name,
        "latents": model.num_latents,
        "params": total.params,
        "macs_published": total.macs_published,
        "macs_thop": total.macs_thop,
        "macs": total.macs,
        "encoder_params": encoder.params,
        "encoder_published": encoder.macs_published,
        "encoder_thop": encoder.macs_thop,
        "encoder_macs": encoder.macs,
    }
