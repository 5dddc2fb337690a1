"""Task ``beamdelay``: tables of the beam-delay code, counted and fitted in one go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from receivers.beamdelay.codebook import BeamDelayCodebook
from receivers.beamdelay.tables import Tables
from receivers.training.beamdelay import channels, train_tables
from receivers.training.beamdelay_layers import train_layers
from receivers.training.recipe import Recipe
from receivers.training.task import Samples, Task
from receivers.weights.card import file_entry
from simulator.core.errors import ConfigError
from simulator.core.params import Count, PositiveFloat
from simulator.maths.transforms import subband_eigenvectors

_BUDGETS = (64, 114, 172)  # reports that the card states the quality of
_SCORED = 1000  # samples


class BeamDelayRecipe(Recipe):
    """One set of tables.

    Args:
        task: this one.
        datasets: data sets by name or path; the first one scores the tables.
        samples: stored samples taken from each.
        subband_size: frequency samples of a subband.
        hidden: units of the context network.
        passes: over all coefficients, of each of the two fits.
        layer_samples: of each data set with several antennas, for reports of several layers.
        layer_passes: over their coefficients.
    """

    task: Literal["beamdelay"]
    datasets: Annotated[tuple[str, ...], Field(min_length=1)]
    samples: Annotated[tuple[Count, ...], Field(min_length=1)]
    subband_size: Count = 4
    hidden: Annotated[int, Field(ge=1, le=64)] = 32
    passes: PositiveFloat = 3.0
    layer_samples: Count = 1500
    layer_passes: PositiveFloat = 2.0

    @model_validator(mode="after")
    def _as_many(self) -> BeamDelayRecipe:
        if len(self.samples) != len(self.datasets):
            raise ConfigError("samples", list(self.samples), f"{len(self.datasets)} numbers, one for each data set")
        return self

    @property
    def data(self) -> dict[str, str]:
        """Its data sets."""
        return {name: name for name in self.datasets}


class BeamDelayTask(Task):
    """Order of coding, context network, probabilities and levels, all of them integers."""

    schema = BeamDelayRecipe

    def build(self, folder: Path, progress: Callable[[str], None]) -> Tables:
        """The learned tables."""
        r = self.recipe
        for store in self.stores:
            if store.layout.num_delays is not None:
                raise ConfigError("datasets", f"{store.name} (delay taps)", "channels over subcarriers")
        stores = list(zip(self.stores, r.samples, strict=True))
        options = {"subband_size": r.subband_size, "hidden": r.hidden, "seed": r.seed, "log": progress}
        tables = train_tables(stores, epochs=r.passes, **options)
        several = [(store, r.layer_samples) for store in self.stores]
        return replace(tables, layers=train_layers(several, tables, epochs=r.layer_passes, **options))

    def write(self, model: Tables, folder: Path) -> dict[str, Any]:
        """``tables.npz``."""
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / "tables.npz")
        return {
            "task": "beamdelay",
            "model": {"name": "beamdelay", "params": {}},
            "weights": file_entry(folder / "tables.npz"),
        }

    def score(self, model: Tables, folder: Path) -> dict[str, Any]:
        """SGCS by subband of reports of 64, 114 and 172 bits, strongest layer of the test split."""
        store, unit = self.stores[0], self.recipe.subband_size
        h = channels(store, "test", _SCORED)
        v = subband_eigenvectors(h, unit, 1)[:, 0]
        found = {}
        for bits in _BUDGETS:
            book = BeamDelayCodebook(store.layout.panel, h.shape[3], unit, 1, model, None, bits)
            part1, part2, length = book.pack(book.select(h))
            w = book.precoder(book.unpack(part1, part2, length)[0])[:, :, 0]
            values = np.mean(np.abs(np.einsum("ntp,npt->nt", v.conj(), w)) ** 2, axis=1)
            found[f"b{bits}"] = Samples(values, "sgcs_subband", (0.0, 1.0), counted=True)
        return found
