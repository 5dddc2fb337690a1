"""Task ``codebook``: RVQ, coloured RVQ, LBG or a network's words; the folder serves the scheme ``codebook``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from receivers.codebooks.lbg import lbg_codebook
from receivers.codebooks.rvq import coloured_rvq_codebook, rvq_codebook
from receivers.codebooks.stored import write_codebook
from receivers.training.recipe import Recipe, TrainingSection
from receivers.training.refine import RefineSchedule, directions, mean_cosine, refine_codebook
from receivers.training.task import Task
from simulator.core import registry
from simulator.core.content import own_version
from simulator.core.errors import ConfigError
from simulator.core.params import Count, FileName, Integer, PositiveFloat
from simulator.core.seeding import derive
from simulator.data.channel_version import channel_version
from simulator.data.store import ChannelStore

Progress = Callable[[str], None]


class NetworkSection(TrainingSection):
    """A codeword refiner by name, with the folder of public weights of its backbone, if any.

    Args:
        name: refiner.
        params: arguments of its constructor.
        pretrained: folder of public weights of its backbone; null: random weights.
        freeze: train embedding, head and norms of the backbone only.
    """

    name: str
    params: dict[str, Any] = {}
    pretrained: str | None = None
    freeze: bool = True


class ScheduleSection(TrainingSection):
    """Training of a refiner; ``update_interval`` belongs to side "ds".

    Args:
        epochs: passes over the training channels.
        batch_size: pairs of a step.
        learning_rate: of Adam, at its start.
        update_interval: epochs between two updates of the codebook, side "ds".
        full_batch: an epoch is one step over all channels with every word once; ``batch_size`` is not used.
    """

    epochs: Count = 200
    batch_size: Count = 512
    learning_rate: PositiveFloat = 1e-3
    update_interval: Count = 40
    full_batch: bool = False


class CodebookRecipe(Recipe):
    """One codebook for each environment.

    Args:
        task: this one.
        seed: base codebook, LBG start, weights, order of samples.
        environments: data set by environment.
        bits: B, 1..20.
        method: "rvq", "coloured" (RVQ with the covariance of the data), "lbg", or "refine" (a network).
        side: "ds", or "ss" for a refined codebook at the gNB alone.
        network: refiner.
        schedule: its training.
        max_samples: training channels at most.
    """

    task: Literal["codebook"]
    environments: Annotated[dict[FileName, str], Field(min_length=1)]
    bits: Annotated[Integer, Field(ge=1, le=20)]
    method: Literal["rvq", "coloured", "lbg", "refine"]
    side: Literal["ss", "ds"] = "ds"
    network: NetworkSection | None = None
    schedule: ScheduleSection = ScheduleSection()
    max_samples: Count | None = None

    @model_validator(mode="after")
    def _consistent(self) -> CodebookRecipe:
        if (self.method == "refine") != (self.network is not None):
            given = "none" if self.network is None else self.network.name
            raise ConfigError("network", given, "a refiner with method refine, nothing with the others")
        if self.side == "ss" and self.method != "refine":
            raise ConfigError("side", self.side, "ds with method " + self.method)
        return self

    @property
    def data(self) -> dict[str, str]:
        """Its data sets by environment."""
        return self.environments

    def refine_schedule(self) -> RefineSchedule:
        """Schedule with the recipe's seed; without updates for side "ss"."""
        section = self.schedule.model_dump()
        if self.side == "ss":
            section["update_interval"] = None
        return RefineSchedule(**section, seed=self.seed)


class CodebookTask(Task):
    """Codebooks of all environments and their card, with test scores.

    Training samples make a codebook, validation samples choose among a network's epochs, test samples are used once.
    All methods start at the same RVQ codebook (seeded by recipe, ports and bits).
    """

    schema = CodebookRecipe

    @property
    def stages(self) -> tuple[()]:
        """None: a refined codebook has trainings of its own in folders below."""
        return ()

    def build(self, folder: Path, progress: Progress) -> dict[str, Any]:
        """Codebooks by environment, and how they were made."""
        recipe, panel = self.recipe, self.stores[0].layout.panel
        base = rvq_codebook(panel.num_ports, recipe.bits, self._base_seed)
        books, facts = {}, {}
        for environment, store in zip(recipe.environments, self.stores, strict=True):
            train, val, test = (center_rows(store, split, recipe.max_samples) for split in ("train", "val", "test"))
            start = time.monotonic()
            say = _prefixed(f"{recipe.name} {environment}: ", progress)
            book, notes = self._make(base, train, val, panel.num_pol, folder / "refine" / environment, say)
            seconds = round(time.monotonic() - start, 1)
            cosine = mean_cosine(directions(test), base if recipe.side == "ss" else book, book)
            books[environment] = book
            facts[environment] = {
                "store": {"name": store.name, "sha256": store.hash, "channels": channel_version(store.origin)},
                "samples": {"train": len(train), "val": len(val), "test": len(test)},
                "seconds": seconds,
                "cosine_test": round(cosine, 5),
                **notes,
            }
            say(f"test cosine {cosine:.4f}, {seconds} s")
        return {"books": books, "environments": facts}

    @property
    def _base_seed(self) -> int:
        return derive(self.recipe.seed, "rvq", self.stores[0].layout.panel.num_ports, self.recipe.bits)

    def _make(
        self, base: np.ndarray, train: np.ndarray, val: np.ndarray, num_pol: int, folder: Path, say: Progress
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Codebook of one environment and its entry in the card."""
        recipe = self.recipe
        if recipe.network is not None:
            notes: dict[str, Any] = {"pretrained": "random initialisation"}
            make = _maker(recipe.network, base.shape[1], num_pol, notes)
            refined = refine_codebook(make, base, train, val, recipe.refine_schedule(), folder, num_pol, say)
            return refined.codebook, {**notes, "history": refined.history}
        if recipe.method == "rvq":
            return base, {}
        if recipe.method == "coloured":
            v = directions(train)
            return coloured_rvq_codebook(v.T @ v.conj() / len(v), recipe.bits, derive(recipe.seed, "coloured")), {}
        return lbg_codebook(train, recipe.bits, derive(recipe.seed, "lbg")), {}

    def write(self, model: Any, folder: Path) -> dict[str, Any]:
        """The codebooks with their card, which is of another kind than that of weights."""
        recipe = self.recipe
        made_by = {
            "csilink": own_version(),
            "recipe": recipe.model_dump(mode="json"),
            "environments": model["environments"],
        }
        base = self._base_seed if recipe.side == "ss" else None
        panel = self.stores[0].layout.panel
        stored = write_codebook(
            folder, recipe.name, panel, model["books"], side=recipe.side, base=base, made_by=made_by
        )
        return stored.card.model_dump(mode="json")

    def card(self, model: Any, history: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """That of the codebook."""
        return self.write(model, folder)


def _prefixed(prefix: str, progress: Progress) -> Progress:
    return lambda line: progress(prefix + line)


def _maker(section: NetworkSection, num_ports: int, num_pol: int, notes: dict[str, Any]) -> Callable[[int], Any]:
    """Builds the refiner of a section from a seed, and notes where its weights are from."""

    def make(seed: int) -> Any:
        import keras

        from receivers.models.checked import build_checked

        keras.utils.set_random_seed(seed)
        cls = registry.load("refiners", section.name)
        network = build_checked("network.params", cls, section.params, num_ports, num_pol)
        if section.pretrained is not None:
            from receivers.weights.safetensors import load_backbone

            notes["pretrained"] = load_backbone(network, section.pretrained)
            if section.freeze:
                network.freeze_backbone()
        notes["parameters"] = network.count_params()
        return network

    return make


def center_rows(store: ChannelStore, split: str, most: int | None = None) -> np.ndarray:
    """Channel rows complex64 ``[sample, port]``: the first antenna at the centre of the band."""
    rows = []
    for h, _ in store.read(split):
        rows.append(h[:, 0, :, -1, h.shape[-1] // 2])
        if most is not None and sum(map(len, rows)) >= most:
            break
    return np.concatenate(rows)[:most]
