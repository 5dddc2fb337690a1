"""Channel stores of the papers' experiments, made on first use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.claim import require_equal
from benchmarks.dataset import make_dataset
from scenarios.dataset import parse_recipe
from simulator.data.rearrange import split_store
from simulator.data.store import MANIFEST, ChannelStore


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
