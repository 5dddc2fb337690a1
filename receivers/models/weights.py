"""Trained weights with their model card: found by name in the zoo or by folder, verified before use."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core import registry
from simulator.core.errors import ConfigError, StoreError

CARD = "card.json"


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
            self._file = folder / self.card["weights"]["file"]
            expected = self.card["weights"]["sha256"]
            self.name, self.tables = str(self.card["name"]), dict(self.card["tables"])
            self.input = dict(self.card["input"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{folder / CARD}: not a model card ({type(error).__name__}: {error})") from None
        try:
            found = hashlib.sha256(self._file.read_bytes()).hexdigest()
        except OSError:
            raise StoreError(f"{self._file}: weight file named in the card is missing") from None
        if found != expected:
            raise StoreError(f"{self._file}: SHA-256 {found[:12]}... differs from the card ({expected[:12]}...)")

    @cached_property
    def model(self) -> Any:
        """The Keras model with its weights (built on first use; imports Keras)."""
        section = self.card["model"]
        model = registry.build("models", section["name"], **section["params"])
        model.load_weights(self._file)
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
