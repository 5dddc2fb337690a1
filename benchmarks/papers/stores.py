"""Channel stores of the papers' experiments, made on first use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.claim import require_equal
from benchmarks.dataset import make_dataset
from scenarios.dataset import parse_recipe
from simulator.data.rearrange import split_store
from simulator.data.store import MANIFEST, ChannelStore


class PaperStores(Mapping[str, ChannelStore]):
    """Channels of a plan by the names of their sections, drawn when they are first used.

    Args:
        sections: see :func:`paper_store`.
        folder: of the stores.
    """

    def __init__(self, sections: Mapping[str, dict[str, Any]], folder: Path) -> None:
        self.sections, self.folder, self._open = sections, folder, dict[str, ChannelStore]()

    def __getitem__(self, key: str) -> ChannelStore:
        if key not in self._open:
            self._open[key] = paper_store(self.sections[key], self.folder / key)
        return self._open[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.sections)

    def __len__(self) -> int:
        return len(self.sections)

    def data_set(self, key: str) -> str:
        """Name of a data set, which recipes use; nothing is drawn for it."""
        return self.sections[key].get("name") or self[key].name


def paper_store(section: dict[str, Any], folder: Path) -> ChannelStore:
    """The channels of a plan's data section.

    Args:
        section: a data set recipe; with ``split_by`` and ``shares`` samples are split by that label as
            ``csilink dataset split`` does. Or ``{store: PATH}``, a store that exists (an imported DeepMIMO folder).
        folder: target.

    Raises:
        StoreError: the folder holds the data of another section.
    """
    section = dict(section)
    if "store" in section:
        return ChannelStore(section["store"])
    by, shares = section.pop("split_by", None), section.pop("shares", None)
    if by is None:
        return make_dataset(parse_recipe(section), folder)
    recipe = parse_recipe(section)
    if not (folder / MANIFEST).exists():
        whole = make_dataset(recipe, folder.with_name(f"{folder.name}_whole"))
        split_store(whole, folder, shares=shares, by=by, seed=section["seed"])
    store = ChannelStore(folder)
    wanted = {"by": by, "shares": dict(shares), "seed": section["seed"], "recipe": recipe.model_dump(mode="json")}
    made = {**store.origin, "recipe": store.origin.get("split_of", {}).get("origin", {}).get("recipe")}
    require_equal(folder, {key: made.get(key) for key in wanted}, wanted)
    return store
