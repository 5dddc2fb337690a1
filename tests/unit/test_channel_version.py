"""Stores and cards say which corrections of TR 38.901 their channels have."""

import json

import pytest
from pydantic import ValidationError

from benchmarks.dataset import make_dataset
from receivers.weights.card import Card
from receivers.weights.folder import zoo_folder
from scenarios.channels import parse_channel
from scenarios.dataset import parse_recipe
from simulator.core.errors import ConfigError, StoreError
from simulator.data.channel_version import UNCORRECTED, channel_version
from simulator.data.rearrange import mix_stores, split_store
from simulator.data.store import ChannelStore


@pytest.fixture(autouse=True)
def eager():
    """Few drops: compiling the source would take longer than drawing from it."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def made(place, corrections=None, model="umi"):
    channel = {"model": model} | ({} if corrections is None else {"corrections": corrections})
    return make_dataset(
        parse_recipe(
            {
                "name": "s", "carrier": {"num_rb": 2}, "bs": {"n1": 1, "n2": 1, "num_pol": 1},
                "parts": [{"channel": channel}], "splits": {"train": 6}, "shard_samples": 6,
            }
        ),
        place,
    )  # fmt: skip


@pytest.mark.long
def test_a_store_names_the_active_corrections(tmp_path):
    new, old = made(tmp_path / "new"), made(tmp_path / "old", [])
    assert "indoor-distance" in next(iter(new.origin["corrections"].values()))
    assert old.origin["corrections"] == {}
    assert new.origin["recipe_hash"] != old.origin["recipe_hash"] and new.hash != old.hash
    assert channel_version(new.origin).startswith("corrected: ray-offsets, indoor-distance, ")
    split = split_store(new, tmp_path / "split", shares={"train": 0.5, "test": 0.5})
    mixed = mix_stores([(new, 1.0), (new, 1.0)], tmp_path / "mix")
    assert channel_version(split.origin) == channel_version(mixed.origin) == channel_version(new.origin)


def test_a_store_of_before_is_not_finished_with_new_channels(tmp_path, monkeypatch):
    """The same recipe, drawn by a version without the corrections: refused, not mixed."""
    from simulator.phy import system_level

    with monkeypatch.context() as version:
        version.setattr(system_level, "active", lambda names, chosen: ())
        made(tmp_path / "s")
    with pytest.raises(StoreError, match="another recipe"):
        made(tmp_path / "s")
    assert ChannelStore(tmp_path / "s").origin["corrections"] == {}


def test_sections_that_ask_for_nothing_new_keep_their_hash():
    """Seeds go by the hash of the section."""
    old = {"model": "umi", "los": None, "indoor_probability": None, "isd_m": None, "pathloss": True}
    assert parse_channel({"model": "umi"}).model_dump(mode="json") == old
    changed = parse_channel({"model": "umi", "corrections": [], "ue_floors": True}).model_dump(mode="json")
    assert changed == {**old, "corrections": [], "ue_floors": True}
    assert "corrections" not in parse_channel({"model": "cdl", "profile": "D"}).model_dump(mode="json")
    with pytest.raises(ConfigError, match="ue_floors"):
        parse_channel({"model": "rma", "ue_floors": True})


def test_versions_of_all_kinds_of_stores():
    corrected = {"recipe": {}, "corrections": {"a": ["x", "y"], "b": ["y"]}}
    assert channel_version({"recipe": {}}) == UNCORRECTED
    assert channel_version(corrected) == "corrected: x, y"
    assert channel_version({"recipe": {}, "corrections": {}}) == "nothing to correct"
    assert channel_version({"format": "generic", "inputs": []}) == "recorded"
    assert channel_version({"mix": [{"origin": corrected}, {"origin": {"recipe": {}}}]}) == UNCORRECTED


@pytest.mark.parametrize("name", sorted(path.parent.name for path in zoo_folder().glob("*/card.json")))
def test_shipped_cards_say_on_which_channels(name):
    said = json.loads((zoo_folder() / name / "card.json").read_text())["channels"]
    assert said.startswith(("corrected: ", UNCORRECTED, "ray-traced site"))


def test_the_card_schema_knows_the_field():
    card = {"name": "n", "model": {"name": "m", "params": {}}, "weights": {"file": "f", "sha256": "0" * 64}}
    assert Card.model_validate({**card, "channels": "recorded"}).channels == "recorded"
    with pytest.raises(ValidationError):
        Card.model_validate({**card, "channels": ""})
