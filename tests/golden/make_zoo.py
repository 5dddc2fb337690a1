"""Batches of channels for every data set that a weight set of the zoo learned from, and what the zoo makes of them.

``python tests/golden/make_zoo.py`` writes what is missing; delete a batch to draw it again. Run it once when weights
are trained anew, and look at what moved.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import zoo_scores

from benchmarks.dataset import make_dataset
from receivers.models.history import to_history
from receivers.training.data.images import ImageView
from scenarios.dataset import parse_recipe
from scenarios.load import find_file, load_mapping
from simulator.core import registry
from simulator.maths.transforms import unit_power

SAMPLES = {"mixed_3g5_32ports": 30, "urban_3g5_32ports": 60, "mobility_3g5_8ports": 12, "scaled": 12}


def recipe_of(card):
    """Recipe of the channels of a weight set, as its card has it, or as shipped."""
    if "datasets" in card:
        return load_mapping(find_file(card["datasets"][0]["name"], "datasets"))
    origin = card["dataset"]["origin"]
    return (origin["split_of"]["origin"] if "split_of" in origin else origin)["recipe"]


def channels(recipe, count):
    """Channels of the law of a recipe, complex64, and their layout; a seed of their own."""
    parts = [{**p, "channel": {**p["channel"], "num_points": 4 * count}} if p["channel"]["model"] == "site" else p
             for p in recipe["parts"]]  # fmt: skip
    small = {**recipe, "parts": parts, "seed": recipe["seed"] + 77, "splits": {"test": count}}
    with tempfile.TemporaryDirectory() as folder:
        store = make_dataset(parse_recipe(small), Path(folder) / "s")
        return next(store.read("test"))[0], store.layout


def pilots():
    """Channels of the recipe of the estimator, 6 drops of each."""
    recipe, sets = zoo_scores.estimator_task().recipe, {}
    for i, (name, section) in enumerate(recipe.channels.items()):
        params = {key: value for key, value in section.items() if key != "model"}
        h = registry.build("channels", section["model"], recipe.geometry, **params).sample(6, seed=77 + i)
        sets[name] = unit_power(h, num_lead=2)[..., None].view(np.float32)
    return sets


def made(name):
    """The batch of a weight set."""
    card, dataset = zoo_scores.card(name), zoo_scores.dataset(name)
    if dataset == "pilots":
        return pilots()
    h, layout = channels(recipe_of(card), SAMPLES[dataset])
    if "datasets" in card:
        return {"history": to_history(h)}
    entry = card["input"]
    view = ImageView(layout, entry["num_delays"], entry["subband_size"], entry["target"],
                     entry.get("domain", "angular_delay"), entry.get("scaling", "per_sample"))  # fmt: skip
    return {"images": view(h)}


def main():
    scores = {}
    for name in zoo_scores.NAMES:
        file = zoo_scores.GOLDEN / f"zoo-{zoo_scores.dataset(name)}.npz"
        if not file.exists():
            np.savez_compressed(file, **{key: value.astype(np.float16) for key, value in made(name).items()})
        scores[name] = {key: float(np.mean(value)) for key, value in zoo_scores.samples(name).items()}
        print(name, scores[name])
    text = json.dumps(scores, indent=1, sort_keys=True)
    (zoo_scores.GOLDEN / "zoo.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
