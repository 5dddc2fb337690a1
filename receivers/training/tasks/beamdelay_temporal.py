"""Task ``beamdelay-temporal``: tables of beam-delay reports that refer to an earlier one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from receivers.beamdelay.predicted import PredictedTables
from receivers.beamdelay.reference import Reference
from receivers.beamdelay.tables import Tables
from receivers.beamdelay.temporal import TemporalCodebook
from receivers.feedback.beamdelay import BeamDelayTables
from receivers.training.beamdelay_temporal import tracks, train_referred
from receivers.training.recipe import Recipe
from receivers.training.task import Samples, Task
from receivers.weights.card import file_entry
from simulator.core.errors import ConfigError
from simulator.core.params import Count, PositiveFloat

_STEP = 0.2  # of the reports that the card states the length of


class TemporalRecipe(Recipe):
    """One set of tables.

    Args:
        task: this one.
        dataset: moving users over several time samples, by name or path.
        samples: stored samples taken from it.
        weights: tables of reports that stand alone, name in the zoo or folder.
        lags: time samples from one report to the next, one drawn for every chain of reports.
        subband_size: frequency samples of a subband.
        hidden: units of the context network.
        passes: over all coefficients, of each of the two fits.
    """

    task: Literal["beamdelay-temporal"]
    dataset: str
    samples: Count
    weights: str = "beamdelay-urban"
    lags: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2, 4)
    subband_size: Count = 4
    hidden: Annotated[int, Field(ge=1, le=64)] = 32
    passes: PositiveFloat = 3.0

    @property
    def data(self) -> dict[str, str]:
        """Its data set."""
        return {"dataset": self.dataset}


class TemporalTask(Task):
    """Context network, probabilities and levels of reports with a reference, all of them integers."""

    schema = TemporalRecipe

    def build(self, folder: Path, progress: Callable[[str], None]) -> PredictedTables:
        """The learned tables."""
        r, store = self.recipe, self.stores[0]
        if store.layout.num_delays is not None or store.layout.num_slots < 2:
            raise ConfigError("dataset", store.name, "channels over subcarriers and at least 2 time samples")
        return train_referred(
            store, r.samples, self._base, subband_size=r.subband_size, lags=r.lags, hidden=r.hidden, epochs=r.passes,
            seed=r.seed, log=progress,
        )  # fmt: skip

    @property
    def _base(self) -> Tables:
        return Tables.load(BeamDelayTables(self.recipe.weights).file)

    def write(self, model: PredictedTables, folder: Path) -> dict[str, Any]:
        """``tables.npz``."""
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / "tables.npz")
        return {
            "task": "beamdelay-temporal",
            "model": {"name": "beamdelay-temporal", "params": {}},
            "weights": file_entry(folder / "tables.npz"),
        }

    def score(self, model: PredictedTables, folder: Path) -> dict[str, Any]:
        """Lengths of the second of two reports at step 0.2, alone and with the first one as its reference."""
        store, unit = self.stores[0], self.recipe.subband_size
        v = tracks(store, "test", 300, unit)
        book = TemporalCodebook(store.layout.panel, v.shape[2], 1, 1, self._base, model, _STEP, 1706)
        cells = v.shape[2] * v.shape[3]
        none = Reference.unpack(np.zeros((len(v), Reference.size(1, cells)), np.int16), 1, 1, cells)[0]
        lacks = np.zeros(len(v), bool)
        first = book.encode(v[:, 0][:, None], none, lacks)[2]
        second = v[:, 1][:, None]
        found = {"alone": book.encode(second, none, lacks)[1], "referring": book.encode(second, first, ~lacks)[1]}
        return {name: Samples(bits.astype(float), "bits", (0.0, 1706.0), counted=True) for name, bits in found.items()}
