"""What results depend on in a card counts, what a card only says does not."""

import shutil

import pytest

from benchmarks.verify import _changed
from receivers.weights.card import card_hash, write_card
from receivers.weights.folder import TrainedModel, note_weights, zoo_folder
from simulator.core.content import noting
from simulator.core.readers import read_json


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(zoo_folder() / "evt-80", tmp_path / "evt-80")
    return tmp_path / "evt-80"


def noted(folder):
    with noting() as found:
        TrainedModel(str(folder))
        as_read = dict(found)
    with noting() as found:
        note_weights(str(folder))
    assert found.items() <= as_read.items()
    return as_read


def test_scores_that_are_added_change_nothing_that_reads_the_weights(folder):
    before = noted(folder)
    card = read_json(folder / "card.json")
    write_card(folder, {**card, "other_data": {"few": {"rma": {"sgcs_subband": 0.5}}}, "description": "Words."})
    assert noted(folder) == before
    label = str(folder / "card.json")
    assert _changed(label, before[label]) is None


@pytest.mark.parametrize("section", ["model", "input", "codec", "weights", "tables"])
def test_what_is_read_counts(section):
    card = read_json(zoo_folder() / "evt-80" / "card.json")
    assert card_hash({**card, section: {}}) != card_hash(card)


def test_another_codec_is_noticed(folder):
    label, before = str(folder / "card.json"), noted(folder)
    card = read_json(folder / "card.json")
    write_card(folder, {**card, "codec": {**card["codec"], "bits": card["codec"]["bits"] - 1}})
    assert noted(folder)[label] != before[label]
    assert "another content" in _changed(label, before[label])
