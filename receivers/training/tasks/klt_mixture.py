"""Task ``klt_mixture``: classes of subband eigenvectors with a Karhunen-Loeve transform each, fitted in one go."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from receivers.training.images import data_section, input_section
from receivers.training.recipe import Recipe, TrainingSection
from receivers.training.task import Task
from receivers.weights.card import file_entry
from simulator.core.params import Count


class KltMixtureSection(TrainingSection):
    """The mixture, with the arguments of its fit.

    Args:
        name: the mixture.
        params: arguments of its fit.
    """

    name: Literal["klt_mixture"] = "klt_mixture"
    params: dict[str, Any] = {}


class KltMixtureRecipe(Recipe):
    """One fit of a mixture of KLTs of derotated subband eigenvectors.

    Args:
        task: this one.
        dataset: data set by name or path.
        model: the mixture.
        subband_size: frequency samples of a subband.
        num_delays: not used; images of eigenvectors have no delays.
        target: the strongest direction of every subband.
        max_samples: training samples at most; null: all.
    """

    task: Literal["klt_mixture"]
    dataset: str
    model: KltMixtureSection = KltMixtureSection()
    subband_size: Count = 4
    num_delays: Count = 32
    target: Literal["eigenvector"] = "eigenvector"
    max_samples: Count | None = None

    @property
    def data(self) -> dict[str, str]:
        """Its data set."""
        return {self.dataset: self.dataset}


class KltMixtureTask(Task):
    """Hard EM over classes of directions; one class is the KLT."""

    schema = KltMixtureRecipe

    @cached_property
    def images(self) -> dict[str, Any]:
        """Images of all splits."""
        from receivers.training.data.images import ImageView, load_images

        (store,) = self.stores
        view = ImageView(store.layout, self.recipe.num_delays, self.recipe.subband_size, "eigenvector")
        splits = ("train", "val", "test")
        return {split: load_images(store, split, view, self.recipe.max_samples)[0] for split in splits}

    def build(self, folder: Path, progress: Callable[[str], None]) -> Any:
        """The fitted mixture."""
        from receivers.models.checked import build_checked
        from receivers.models.klt_mixture import KltMixture

        return build_checked("model.params", KltMixture.fit, self.recipe.model.params, self.images["train"])

    def write(self, model: Any, folder: Path) -> dict[str, Any]:
        """The mixture, which is its own tables."""
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / "klt.npz")
        entry = file_entry(folder / "klt.npz")
        return {
            "model": self.recipe.model.model_dump(),
            "input": input_section(self.recipe, self.stores[0].layout, 2 * len(model.klts[0].basis)),
            "weights": entry,
            "tables": entry,
            "codec": {"quantizer": "uniform", "bits": 8},
        }

    def data(self) -> dict[str, Any]:
        """Data set and samples."""
        return {"dataset": data_section(self.stores[0], **self.images)}
