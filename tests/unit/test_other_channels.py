"""Scores of weights on channels of other kinds come from a results folder, next to a yardstick of nearest bits."""

import pandas as pd
import pytest
from synthetic_results import synthetic, write

from benchmarks.other_channels import other_channels
from receivers.weights.folder import zoo_folder
from simulator.core.errors import StoreError
from simulator.core.readers import read_json


def results(folder, schemes):
    parts = []
    for profile, loss in (("A", 0.0), ("C", 0.2)):
        rows, cdf = synthetic(
            {scheme: (bits, bits, sgcs - loss, None) for scheme, (bits, sgcs) in schemes.items()},
            ("mrt",),
            {"channel.profile": profile, "channel.delay_spread_s": 30e-9 if profile == "A" else 300e-9},
        )
        parts.append((rows.assign(metric=rows["metric"].replace("sgcs", "sgcs_subband")), cdf))
    return write(folder, *(pd.concat(both) for both in zip(*parts, strict=True)))


def test_scores_stand_beside_those_of_the_scheme_of_nearest_bits(tmp_path):
    schemes = {"evt-120-uniform-b2": (120, 0.7), "etype2-pc3-rank1": (114, 0.8), "etype2-pc5-rank1": (230, 0.9)}
    found = other_channels(results(tmp_path, {**schemes, "evt-80-uniform-b2": (119, 0.6)}), "evt-120")
    assert found["bits"] == {"evt-120": 120, "etype2-pc3": 114}
    assert found["by_channel"] == {
        "CDL-A 30 ns": {"evt-120": 0.7, "etype2-pc3": 0.8},
        "CDL-C 300 ns": {"evt-120": 0.5, "etype2-pc3": 0.6},
    }
    assert found["command"] == "csilink run synthetic" and found["ci95_max"] == 0.004


def test_nothing_to_compare_is_said(tmp_path):
    with pytest.raises(StoreError, match="needs evt-120 and one without weights"):
        other_channels(results(tmp_path, {"evt-120": (120, 0.7), "evt-80": (80, 0.6)}), "evt-120")


@pytest.mark.parametrize("name", ["evt-80", "evt-120", "evt-240"])
def test_shipped_cards_have_the_table(name):
    found = read_json(zoo_folder() / name / "card.json")["out_of_distribution"]
    assert len(found["by_channel"]) == 15 and all(name in scores for scores in found["by_channel"].values())
