"""Task ``klt``: the Karhunen-Loeve transform of images of channels, fitted in one go."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from receivers.training.image_model import MOST_FITTED, head
from receivers.training.images import data_section, input_section
from receivers.training.recipe import Recipe, TrainingSection
from receivers.training.task import Task
from receivers.weights.card import file_entry
from simulator.core.errors import ConfigError
from simulator.core.params import Count


class KltSection(TrainingSection):
    """The transform, with the arguments of its fit.

    Args:
        name: the transform.
        params: arguments of its fit.
    """

    name: Literal["klt"] = "klt"
    params: dict[str, Any] = {}


class KltRecipe(Recipe):
    """One fit of the KLT of angular-delay images of unit power.

    Args:
        task: this one.
        dataset: data set by name or path.
        model: the transform.
        num_delays: delay taps of an image.
        max_samples: training samples at most; null: all.
    """

    task: Literal["klt"]
    dataset: str
    model: KltSection = KltSection()
    num_delays: Count = 32
    max_samples: Count | None = None

    @property
    def data(self) -> dict[str, str]:
        """Its data set."""
        return {self.dataset: self.dataset}


class KltTask(Task):
    """Eigenvectors of the covariance of the training images; every learned code is compared with this one."""

    schema = KltRecipe

    @cached_property
    def images(self) -> dict[str, Any]:
        """Images by split; those of training perhaps as a stream."""
        from receivers.training.data.images import ImageView, load_images
        from receivers.training.data.stream import StreamedImages

        (store,) = self.stores
        most = store.layout.entry_shape[-1]
        if self.recipe.num_delays > most:
            raise ConfigError("num_delays", self.recipe.num_delays, f"1..{most} (delay taps that the store can give)")
        view = ImageView(store.layout, self.recipe.num_delays)
        if self.recipe.max_samples is None:
            return {split: StreamedImages(store, split, view) for split in ("train", "val", "test")}
        return {s: load_images(store, s, view, self.recipe.max_samples)[0] for s in ("train", "val", "test")}

    def build(self, folder: Path, progress: Callable[[str], None]) -> Any:
        """The fitted transform."""
        from receivers.models.checked import build_checked
        from receivers.models.klt import Klt

        return build_checked("model.params", Klt.fit, self.recipe.model.params, head(self.images["train"], MOST_FITTED))

    def write(self, model: Any, folder: Path) -> dict[str, Any]:
        """The transform, which is its own tables."""
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / "klt.npz")
        entry = file_entry(folder / "klt.npz")
        return {
            "model": self.recipe.model.model_dump(),
            "input": input_section(self.recipe, self.stores[0].layout, 2 * len(model.basis)),
            "weights": entry,
            "tables": entry,
            "codec": {"quantizer": "uniform", "bits": 8},
        }

    def data(self) -> dict[str, Any]:
        """Data set and samples."""
        return {"dataset": data_section(self.stores[0], **self.images)}
