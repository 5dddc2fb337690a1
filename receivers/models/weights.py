"""Trained weights with their model card: found by name in the zoo or by folder, verified before use."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator

from simulator.core import registry
from simulator.core.errors import ConfigError, StoreError
from simulator.core.params import Count, PositiveFloat, config_error

CARD = "card.json"


class _File(BaseModel):
    file: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Network(BaseModel):
    name: str
    params: dict[str, Any]


class _Input(BaseModel):
    n1: Count
    n2: Count
    num_pol: Count
    num_subcarriers: Count
    spacing_hz: PositiveFloat
    num_delays: Count
    num_latents: Count


class _Table(BaseModel):
    levels: list[FiniteFloat]
    coders: dict[str, dict[str, Any]]


class _Card(BaseModel):
    """What the link needs of a model card."""

    name: str
    model: _Network
    weights: _File
    input: _Input
    tables: dict[str, _Table]

    @model_validator(mode="after")
    def _one_level_per_cell(self) -> _Card:
        for key, table in self.tables.items():
            bits = key.rpartition("-b")[2]
            if not bits.isdecimal() or len(table.levels) != 2 ** int(bits):
                raise ConfigError(f"tables.{key}.levels", f"{len(table.levels)} levels", "2**B for a table NAME-bB")
        return self


def zoo_folder() -> Path:
    """Folder of the shipped weights."""
    return Path(str(files("receivers"))) / "zoo"


def zoo_names() -> list[str]:
    """Names of the shipped weights."""
    return sorted(path.parent.name for path in zoo_folder().glob(f"*/{CARD}"))


class TrainedModel:
    """One folder of weights: ``card.json`` (recipe, data hash, metrics, SHA-256, tables) and the weight file.

    Args:
        name: name in the zoo, or path of a folder.

    Raises:
        ConfigError: no such weights.
        StoreError: card or weight file missing, damaged, or SHA-256 mismatch.
    """

    def __init__(self, name: str):
        folder = Path(name) if (Path(name) / CARD).is_file() else zoo_folder() / name
        if "/" in name and not Path(name).is_dir():
            raise ConfigError("feedback.autoencoder.weights", name, "an existing folder with card.json, or a zoo name")
        if not (folder / CARD).is_file():
            raise ConfigError(
                "feedback.autoencoder.weights", name, ", ".join((*zoo_names(), "a folder with card.json"))
            )
        self.folder = folder
        try:
            self.card: dict[str, Any] = json.loads((folder / CARD).read_text())
            card = _Card.model_validate(self.card)
        except ValidationError as error:
            raise StoreError(f"{folder / CARD}: not a model card ({config_error(error)})") from None
        except (OSError, ValueError) as error:
            raise StoreError(f"{folder / CARD}: not a model card ({error})") from None
        self.name, self.tables, self.input = card.name, self.card["tables"], self.card["input"]
        self._file = folder / card.weights.file
        try:
            found = hashlib.sha256(self._file.read_bytes()).hexdigest()
        except OSError:
            raise StoreError(f"{self._file}: weight file named in the card is missing") from None
        if found != card.weights.sha256:
            raise StoreError(
                f"{self._file}: damaged, SHA-256 {found[:12]}... and not {card.weights.sha256[:12]}... as in the card"
            )

    @cached_property
    def model(self) -> Any:
        """The Keras model with its weights (built on first use; imports Keras)."""
        section = self.card["model"]
        model = registry.build("models", section["name"], **section["params"])
        try:
            model.load_weights(self._file)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise StoreError(f"{self._file}: no weights of the model in the card ({reason})") from None
        return model

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Latents float32 ``[sample, latent]`` of images float32 ``[sample, delay, port, 2]``."""
        return self._run(self.model.encoder, images)

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Images float32 ``[sample, delay, port, 2]`` of latents."""
        return self._run(self.model.decoder, latents)

    def _run(self, network: Any, x: np.ndarray) -> np.ndarray:
        """Inference in blocks, so that memory does not grow with the number of reports."""
        from keras import ops

        blocks = [network(x[i : i + 1024], training=False) for i in range(0, len(x), 1024)]
        return np.concatenate([ops.convert_to_numpy(block) for block in blocks])
