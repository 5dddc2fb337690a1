"""Task ``etype2_recoding``: tables that recode enhanced Type II reports without loss, by counting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from receivers.beamdelay.recoding import NUM_COMBINATIONS, Counter, RecodedCodebook, Tables, save_tables, walk
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.training.beamdelay import channels
from receivers.training.recipe import Recipe
from receivers.training.task import Samples, Task
from receivers.weights.card import file_entry
from simulator.core.errors import ConfigError
from simulator.core.params import Count

_SCORED = 1000  # samples


class RecodingRecipe(Recipe):
    """One set of tables, for every paramCombination.

    Args:
        task: this one.
        dataset: data set by name or path.
        samples: stored samples whose reports of rank 1 are counted.
        subband_size: frequency samples of a subband.
    """

    task: Literal["etype2_recoding"]
    dataset: str
    samples: Count
    subband_size: Count = 4

    @property
    def data(self) -> dict[str, str]:
        """Its data set."""
        return {"dataset": self.dataset}


class RecodingTask(Task):
    """Probabilities of the fields of a PMI in their contexts, as integers."""

    schema = RecodingRecipe

    def build(self, folder: Path, progress: Callable[[str], None]) -> Tables:
        """The counted tables."""
        if self.stores[0].layout.num_delays is not None:
            raise ConfigError("dataset", f"{self.stores[0].name} (delay taps)", "channels over subcarriers")
        h = channels(self.stores[0], "train", self.recipe.samples)
        counter = Counter()
        for combination, book in self._books(h.shape[3]).items():
            counter.combination = combination
            for start in range(0, len(h), 1000):
                walk(book.payload, counter, book.select(h[start : start + 1000]))
            progress(f"paramCombination {combination}: {len(h)} reports")
        return counter.tables()

    def _books(self, num_samples: int) -> dict[int, EnhancedTypeTwoCodebook]:
        """Codebooks by paramCombination, those that the panel has."""
        panel, found = self.stores[0].layout.panel, {}
        most = NUM_COMBINATIONS if panel.num_ports == 32 else 6 if panel.num_ports > 4 else 2
        for combination in range(1, most + 1):
            found[combination] = EnhancedTypeTwoCodebook(panel, num_samples, self.recipe.subband_size, 1, combination)
        return found

    def write(self, model: Tables, folder: Path) -> dict[str, Any]:
        """``tables.npz``."""
        folder.mkdir(parents=True, exist_ok=True)
        save_tables(model, folder / "tables.npz")
        return {
            "task": "etype2_recoding",
            "model": {"name": "etype2-r16", "params": {}},
            "weights": file_entry(folder / "tables.npz"),
        }

    def score(self, model: Tables, folder: Path) -> dict[str, Any]:
        """Lengths of recoded reports of rank 1 as shares of those of the standard, of the test split."""
        h = channels(self.stores[0], "test", _SCORED)
        found = {}
        for combination, book in self._books(h.shape[3]).items():
            pmi = book.select(h)
            whole = book.part1_bits + book.pack(pmi)[2]
            share = RecodedCodebook(book, combination, model).pack(pmi)[2] / whole
            bounds = (0.0, 1 + 1 / float(whole.min()))
            found[f"pc{combination}"] = Samples(share, "length_ratio", bounds, counted=True)
        return found
