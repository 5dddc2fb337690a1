"""Recipe and channel stores to the weights of WiFo-CF with a model card, ready for scheme ``wifo-cf``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cards import channel_facts, data_facts, training_facts
from benchmarks.claim import claimed, training_inputs
from benchmarks.saved import save_figure
from benchmarks.train_prediction import learning_curve, require_stores, score
from receivers.training.wifo_cf_recipe import WiFoCfRecipe
from simulator.core.types import CsiConfig
from simulator.data.store import ChannelStore

ANALOG_SNR_DB = 10.0


def train_wifo_cf(
    recipe: WiFoCfRecipe,
    stores: Sequence[ChannelStore],
    folder: Path,
    progress: Any = print,
    unseen: Sequence[ChannelStore] = (),
) -> dict[str, Any]:
    """Train (or finish training) and write weights, learning curve and model card into ``folder``.

    The card has the geometry of the last data set, of ``unseen`` if there are any: a link with another geometry takes
    the same weights with a card of its own (:func:`receivers.training.wifo_cf.write_weights`). Test samples, those of
    ``unseen`` data sets too, are used once: in real bits, and as analog values in an uplink of 10 dB.

    Raises:
        ConfigError: the stores are not the data sets that the recipe names.
        StoreError: ``folder`` holds another run.
    """
    require_stores(recipe.datasets, stores)
    with claimed(folder, training_inputs(recipe, dict(zip(recipe.datasets, stores, strict=True)))):
        return _train(recipe, stores, folder, progress, unseen)


def _train(
    recipe: WiFoCfRecipe,
    stores: Sequence[ChannelStore],
    folder: Path,
    progress: Any,
    unseen: Sequence[ChannelStore],
) -> dict[str, Any]:
    from receivers.models.wifo_cf import WiFoCf
    from receivers.training.fit_wifo_cf import fit_wifo_cf
    from receivers.training.wifo_cf import write_weights

    trained, history = fit_wifo_cf(recipe, stores, folder, progress)
    network = WiFoCf(**trained.get_config())  # the trained one would save its optimiser along
    network.set_weights(trained.get_weights())
    save_figure(learning_curve(history["epochs"], recipe.name), folder / "learning_curve.png", dpi=120)
    layout = [*stores, *unseen][-1].layout
    config = CsiConfig(layout.panel, 1, layout.num_subcarriers, layout.spacing_hz, layout.num_subcarriers)
    details = {
        "description": " ".join((recipe.description or "WiFo-CF, see recipe").split()),
        "parameters": network.count_params(),
        "recipe": recipe.model_dump(mode="json"),
        "channels": channel_facts(stores),
        "datasets": data_facts(stores),
        "training": training_facts(history),
        "test": _test_scores(network, recipe, [*stores, *unseen]),
    }
    write_weights(folder, recipe.name, network, config, bits=recipe.bits, details=details)
    return details


def _test_scores(network: Any, recipe: WiFoCfRecipe, stores: Sequence[ChannelStore]) -> dict[str, Any]:
    """NMSE by data set: in ``bits`` bits for a value, and analog."""
    from receivers.training.fit_prediction import split_samples
    from receivers.training.fit_wifo_cf import images, wifo_cf_nmse

    scores: dict[str, Any] = {"metric": "nmse", "bits": recipe.bits, "analog_snr_db": ANALOG_SNR_DB, "by_data_set": {}}
    for store in stores:
        x = images(split_samples(store, "test"), recipe.users)
        scores["by_data_set"][store.name] = {
            "bits": score(wifo_cf_nmse(network, x, recipe.bits)),
            "analog": score(wifo_cf_nmse(network, x, 16, ANALOG_SNR_DB)),
            "report_bits": network.num_latents(*x.shape[2:4]) * recipe.bits,
        }
    return scores
