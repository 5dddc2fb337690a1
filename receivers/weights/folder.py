"""Trained weights with their model card: found by name in the zoo or by folder, verified before use."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from receivers.beamdelay.tables import Tables
from receivers.models.klt import Klt
from receivers.recipes import how_to_make
from receivers.weights.card import (
    CARD,
    NETWORK,
    Card,
    EstimationCard,
    FeedbackCard,
    File,
    PredictionCard,
    RefinementCard,
    TransformCard,
    card_hash,
    is_network,
    read_card,
    task_of_card,
)
from receivers.weights.hub import PREFIX, hub_folder
from receivers.weights.network_file import load_network
from receivers.weights.tensor_file import TENSORS
from simulator.core import registry
from simulator.core.content import note, sha256
from simulator.core.durable import renamed
from simulator.core.errors import ConfigError, StoreError
from simulator.core.paths import inside, is_file
from simulator.core.readers import read_json, read_npz, reason

_SHARED: dict[Any, Any] = {}  # the last folders that were asked for, the oldest first
_MOST_SHARED = 8


@dataclass(frozen=True)
class Table:
    """Shared data of one quantiser at UE and gNB: constructor parameters, received levels, counts of its cells.

    Args:
        params: learned parameters of the quantiser.
        levels: float32 ``[2**bits]`` (``[2**bits, dim]`` for vectors), reconstruction level of each cell at the gNB.
        counts: int64 ``[symbol, 2**bits]``, cells of training latents, one row per symbol of an image.
        learned: int64, the same from the learned prior, or None.
    """

    params: dict[str, Any]
    levels: np.ndarray
    counts: np.ndarray
    learned: np.ndarray | None = None


def zoo_folder() -> Path:
    """Folder of the shipped weights."""
    return Path(str(files("receivers"))) / "zoo"


def zoo_names(task: str = "feedback") -> list[str]:
    """Names of the shipped weights for a task: "feedback", "prediction", "estimation" or "refinement"."""
    cards = {path.parent.name: path for path in zoo_folder().glob(f"*/{CARD}")}
    return sorted(name for name, path in cards.items() if task_of_card(path) == task)


def save_weights(network: Any, path: Path) -> None:
    """Weights of a Keras model to a file ``*.weights.h5``, whole or absent."""
    with renamed(path, NETWORK) as temporary:
        network.save_weights(temporary)


def weight_folder(name: str) -> Path:
    """Folder of weights by name in the zoo, by path, or by name on the hub."""
    if name.startswith(PREFIX):
        return hub_folder(name)
    return Path(name) if "/" in name or is_file(Path(name) / CARD) else zoo_folder() / name


def named_weights(field: str, name: str, others: str = "") -> TrainedModel:
    """Weights that a field of a recipe names; ConfigError with ``others`` that it may be, too."""
    try:
        return TrainedModel(name)
    except ConfigError as error:
        raise ConfigError(field, name, others + error.allowed) from None


def note_weights(name: str) -> None:
    """Note the card of weights, which holds the hashes of their files; nothing where there are none."""
    card = weight_folder(name) / CARD
    if is_file(card):
        note(card, card_hash(read_json(card)))


class WeightFolder:
    """One folder of weights: ``card.json`` (recipe, data hash, metrics, SHA-256) and the weight file.

    Args:
        name: name in the zoo, or path of a folder.

    Raises:
        ConfigError: no such weights, or of another task.
        StoreError: card or weights missing, damaged, outside the folder, or SHA-256 mismatch.
    """

    task: ClassVar[str]
    kind: ClassVar[str]  # plug-in kind of the network
    schema: ClassVar[type[Card]]

    def __init__(self, name: str):
        folder = weight_folder(name)
        if "/" in name and not is_file(folder / CARD):
            allowed = f"an existing folder with card.json ({how_to_make(name)}), or a zoo name"
            raise ConfigError("weights", name, allowed)
        if not is_file(folder / CARD):
            raise ConfigError("weights", name, ", ".join((*zoo_names(self.task), "a folder with card.json")))
        self.folder = folder
        if (task := task_of_card(folder / CARD)) != self.task:
            raise ConfigError("weights", f"{name} (for {task})", ", ".join((*zoo_names(self.task), "a folder")))
        self.card, self._card = read_card(folder, self.task)
        self.card_sha256 = card_hash(self.card)
        note(folder / CARD, self.card_sha256)
        with suppress(ConfigError):  # reported when the model is built
            registry.target(self.kind, self._card.model.name)  # noted
        self.name, self.file = self._card.name, self._intact(self._card.weights)

    @classmethod
    def shared(cls, name: str, **options: Any) -> Self:
        """The same folder, verified anew; schemes of one process that ask for it share one network.

        Nobody changes its weights.
        """
        made = cls(name, **options)
        key = cls, made.folder.resolve(), made.card_sha256, tuple(options.items())
        found = _SHARED.pop(key, made)
        _SHARED[key] = found
        if len(_SHARED) > _MOST_SHARED:
            del _SHARED[next(iter(_SHARED))]
        return found

    def _intact(self, entry: File) -> Path:
        path = inside(self.folder, entry.file)
        if not is_file(path):
            raise StoreError(f"{path}: file named in the card is missing")
        if sha256(path) != entry.sha256:
            raise StoreError(f"{path}: damaged, SHA-256 is not {entry.sha256[:12]}... as in the card")
        note(path, entry.sha256)
        return path

    @cached_property
    def model(self) -> Any:
        """The Keras model with its weights (built on first use; imports Keras)."""
        return self.load(registry.build(self.kind, self.card["model"]["name"], **self.params))

    @property
    def params(self) -> dict[str, Any]:
        """Constructor arguments of the model."""
        return self.card["model"]["params"]

    @property
    def is_network(self) -> bool:
        """Whether these are weights of a Keras model; a linear transform has none."""
        return is_network(self.file.name)

    def load(self, model: Any) -> Any:
        """``model`` with the weights of this folder; StoreError if they belong to another one."""
        # Keras reads other formats by their suffix: archives, and lists of further files.
        if not self.is_network:
            allowed = f"a file *{NETWORK} or *{TENSORS}"
            raise StoreError(f"{self.file}: no weights of the model in the card; allowed: {allowed}")
        try:
            load_network(model, self.file)
        except StoreError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise StoreError(f"{self.file}: no weights of the model in the card ({reason(error)})") from None
        return model


class TrainedModel(WeightFolder):
    """Weights of a CSI autoencoder or of another model of ``csilink.models``, with ``tables.npz``.

    Networks whose latents are bits have neither codec nor tables.

    Args:
        name: name in the zoo, or path of a folder.
        alone: a network with attention along the batch sees batches of one, so that no report depends on another.
    """

    task, kind, schema = "feedback", "models", FeedbackCard

    def __init__(self, name: str, alone: bool = False):
        super().__init__(name)
        self._alone = alone
        card = self._card
        self.input, self.codec = card.input, card.codec
        self._tables = None if card.tables is None else self._intact(card.tables)

    @property
    def params(self) -> dict[str, Any]:
        """Constructor arguments of the model."""
        return alone(super().params) if self._alone else super().params

    @cached_property
    def klt(self) -> Klt:
        """The linear transform of a folder that has no network."""
        return Klt.load(self.file)

    @cached_property
    def tables(self) -> dict[str, Table]:
        """Tables of every quantiser that the folder was made for, by ``<quantizer>-b<bits>``."""
        found: dict[str, dict[str, Any]] = {}
        if self._tables is None:
            return {}
        try:
            for path, value in read_npz(self._tables).items():
                key, _, part = path.partition("/")
                found.setdefault(key, {})[part] = value
            return {
                key: Table(
                    params={name[7:]: value.tolist() for name, value in parts.items() if name.startswith("params_")},
                    levels=parts["levels"],
                    counts=parts["counts"].astype(np.int64),
                    learned=parts["learned"].astype(np.int64) if "learned" in parts else None,
                )
                for key, parts in found.items()
            }
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self._tables}: no tables of this model ({error})") from None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the images."""
        return tuple(self.model.encoder.input_shape[1:3])

    @cached_property
    def encoder_macs(self) -> int:
        """Multiply-accumulates of the encoder for one image, all counted (see :mod:`receivers.models.cost`)."""
        known = self.card.get("cost", {}).get("encoder", {}).get("macs")
        if known is not None:
            return int(known)
        from receivers.models.cost import count_cost

        return count_cost(self.model.encoder).macs

    def network_images(self, images: np.ndarray) -> np.ndarray:
        """Images of unit power as the network takes them: orientation, scale and offset of its training."""
        if self.input.transposed:
            images = np.swapaxes(images, 1, 2)
        return images * np.float32(self.input.scale) + np.float32(self.input.offset)

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Latents float32 ``[sample, latent]`` of unit-power images float32 ``[sample, height, width, 2]``."""
        return self._run(self.model.encoder, self.network_images(images))

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Images float32 ``[sample, height, width, 2]`` of latents."""
        images = (self._run(self.model.decoder, latents) - np.float32(self.input.offset)) / np.float32(self.input.scale)
        return np.swapaxes(images, 1, 2) if self.input.transposed else images

    def _run(self, network: Any, x: np.ndarray) -> np.ndarray:
        """Inference in blocks, so that memory does not grow with the number of reports."""
        from keras import ops

        x = np.ascontiguousarray(x, np.float32)
        # Converted block by block: a torch tensor keeps its graph.
        return np.concatenate(
            [ops.convert_to_numpy(network(x[i : i + 1024], training=False)) for i in range(0, max(len(x), 1), 1024)]
        )


def weights(name: str) -> WeightFolder:
    """Trained weights by name or folder, for whichever task they are: verified, the network built on first use.

    Args:
        name: name in the zoo (`csilink list zoo`), path of a folder with ``card.json``, or
            ``hf://user/name@revision`` on the Hugging Face hub (extra ``hub``).

    Returns:
        :class:`TrainedModel`, :class:`TrainedPredictor`, :class:`TrainedEstimator` or :class:`TrainedRefiner` with
        ``card`` (plain data: recipe, costs, scores) and ``model`` (Keras). A TrainedModel also has ``encode(images)``
        and ``decode(latents)`` on float32 ``[sample, delay, port, 2]`` of unit power and ``[sample, latent]``.

    Raises:
        ConfigError: no such weights.
        StoreError: card or weights missing, damaged, or not those of the card.

    Example:
        >>> import csilink
        >>> csilink.weights("transnet-250").card["model"]["name"]
        'transnet'
    """
    card = weight_folder(name) / CARD
    task = task_of_card(card) if is_file(card) else "feedback"
    for cls in (TrainedPredictor, TrainedEstimator, TrainedRefiner, TransformWeights):
        if task == cls.task:
            return cls(name)
    return TrainedModel(name)


def alone(params: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments of the same network in batches of one, if it attends over the batch."""
    return {**params, "attention_axis": "alone"} if params.get("attention_axis") == "batch" else params


class TrainedPredictor(WeightFolder):
    """Weights of a network of ``csilink.prediction_models``."""

    task, kind, schema = "prediction", "prediction_models", PredictionCard

    @property
    def history_slots(self) -> int:
        """Slots of history that the network needs at least."""
        return self._card.history_slots

    @property
    def max_history_slots(self) -> int:
        """The longest history that it saw in training."""
        return self._card.max_history_slots

    @property
    def horizon_slots(self) -> int:
        """Slots that it learned to look ahead at most."""
        return self._card.horizon_slots


class TrainedEstimator(WeightFolder):
    """Weights of a network of ``csilink.estimation_models``."""

    task, kind, schema = "estimation", "estimation_models", EstimationCard


class TrainedRefiner(WeightFolder):
    """Weights of a network of ``csilink.report_refiners``."""

    task, kind, schema = "refinement", "report_refiners", RefinementCard

    @property
    def num_layers(self) -> int:
        """Strongest layers of a report that it may change."""
        return self._card.num_layers

    @property
    def gate(self) -> tuple[float, float, float, float] | None:
        """Weights of the gate; None: there is none."""
        return self._card.gate


class TransformWeights(WeightFolder):
    """Decoder of the nonlinear transform codec, with the tables of its entropy coder."""

    task, kind, schema = "ntc", "feedback", TransformCard

    @cached_property
    def model(self) -> Any:
        """The network with its weights (built on first use; imports Keras)."""
        from receivers.models.beam_transformer import BeamTransformer
        from receivers.models.checked import build_checked

        return self.load(build_checked("model.params", BeamTransformer, self.params))

    @cached_property
    def tables(self) -> Tables:
        """Of the entropy coder."""
        return Tables.load(self._intact(self._card.tables))
