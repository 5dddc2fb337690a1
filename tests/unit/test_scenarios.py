"""Files, overrides and axes: what a scenario becomes before anything is computed."""

import copy
import json
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from scenarios.dataset import parse_recipe
from scenarios.load import apply_override, find_file, load_mapping, parse_yaml, set_field
from scenarios.schema import parse_scenario
from scenarios.sweep import MAX_POINTS, content_hash, expand
from simulator.core.errors import ConfigError
from simulator.core.types import Panel

SMALL = {
    "name": "small",
    "carrier": {"num_rb": 4},
    "bs": {"n1": 4, "n2": 1, "num_pol": 1},
    "channel": {"model": "rayleigh"},
    "feedback": [{"scheme": "rvq", "bits": 4}, {"scheme": "dft"}, {"scheme": "rvq", "bits": 6, "label": "long"}],
    "snr_db": [0, 10],
}


def small(**changes):
    return {**copy.deepcopy(SMALL), **changes}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3.5e9", 3.5e9),
        ("3e9", 3e9),
        ("-1E-3", -1e-3),
        (".5", 0.5),
        ("1.", 1.0),
        ("100e-9", 1e-7),
        ("10", 10),
        ("-.inf", -float("inf")),
        ("'3e9'", "3e9"),
        ("3.5 GHz", "3.5 GHz"),
        ("e9", "e9"),
        ("1e", "1e"),
        ("off", False),
        ("null", None),
    ],
)
def test_numbers_of_yaml(text, value):
    read = parse_yaml(text, "test")
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("carrier.carrier_hz=3.5e9", ("carrier", "carrier_hz"), 3.5e9),
        ("time.num_slots=3", ("time", "num_slots"), 3),  # a section that was not there
        ("snr_db=[1, 2]", ("snr_db",), [1, 2]),
        ("snr_db.1=7", ("snr_db", 1), 7),
        ("feedback.1.cophasing=subband", ("feedback", 1, "cophasing"), "subband"),
        ("feedback.dft.cophasing=subband", ("feedback", 1, "cophasing"), "subband"),
        ("feedback.long.bits=[2, 3]", ("feedback", 2, "bits"), [2, 3]),
        ("feedback.1={scheme: perfect}", ("feedback", 1), {"scheme": "perfect"}),
        ("description=a=b", ("description",), "a=b"),
        ("run.ci_rel=", ("run", "ci_rel"), None),
    ],
)
def test_an_override_sets_one_field(assignment, path, value):
    data = small(time=None)
    apply_override(data, assignment)
    node = data
    for part in path:
        node = node[part]
    assert node == value
    parse_yaml(yaml.safe_dump(data), "test")


def test_a_scheme_name_means_every_line_of_that_scheme():
    data = small()
    apply_override(data, "feedback.rvq.bits=5")
    assert [entry.get("bits") for entry in data["feedback"]] == [5, None, 5]
    apply_override(data, "feedback.rvq={scheme: perfect}")
    assert [entry["scheme"] for entry in data["feedback"]] == ["perfect", "dft", "perfect"]


def test_equal_lines_are_replaced_one_by_one():
    data = {"feedback": [{"scheme": "a"}, {"scheme": "b"}, {"scheme": "b"}]}
    set_field(data, "feedback.2", "new")
    assert data["feedback"] == [{"scheme": "a"}, {"scheme": "b"}, "new"]


def test_integral_floats_are_integers_and_text_is_not():
    scenario = parse_scenario(small(run={"drops": 1e4}, bs={"n1": 4.0, "num_pol": 1}))
    assert (scenario.run.drops, scenario.bs.n1) == (10000, 4)
    assert isinstance(scenario.run.drops, int)
    with pytest.raises(ConfigError, match=r"run\.drops: got '10'; allowed: a number"):
        parse_scenario(small(run={"drops": "10"}))


@pytest.mark.parametrize(
    ("value", "snr_db"),
    [
        ({"start": -5, "stop": 5, "step": 5}, (-5, 0, 5)),
        ({"start": 0, "stop": 1, "step": 0.1}, tuple(i * 0.1 for i in range(11))),
        ({"start": 0, "stop": 4, "step": 3}, (0, 3)),
        ({"start": 2, "stop": 2, "step": 1}, (2,)),
        (7, (7,)),
        ([3, -1.5], (3, -1.5)),
    ],
)
def test_ranges_of_snr_hold_both_ends(value, snr_db):
    assert parse_scenario(small(snr_db=value)).snr_db == pytest.approx(snr_db)


def test_list_valued_parameters_expand_in_the_order_written():
    entry = {"scheme": "rvq", "bits": [6, 2], "frequency": ["wideband", "subband"], "codebooks": 3}
    (feedback,) = parse_scenario(small(feedback=[entry])).feedback
    assert feedback.variants() == [
        {"bits": bits, "frequency": frequency, "codebooks": 3}
        for bits in (6, 2)
        for frequency in ("wideband", "subband")
    ]


def test_the_last_axis_runs_fastest():
    points = expand(small(sweep={"bs.n1": [8, 4], "feedback.rvq.bits": [2, 3, 1]}))
    assert [tuple(p.axes.values()) for p in points] == [(8, 2), (8, 3), (8, 1), (4, 2), (4, 3), (4, 1)]
    assert list(points[0].axes) == ["bs.n1", "feedback.rvq.bits"]
    for point in points:
        assert point.scenario.bs.n1 == point.axes["bs.n1"]
        assert [e.model_extra.get("bits") for e in point.scenario.feedback] == [
            point.axes["feedback.rvq.bits"],
            None,
            point.axes["feedback.rvq.bits"],
        ]
        assert point.scenario.sweep == {}


def test_no_axis_is_one_point_and_leaves_the_data_alone():
    data = small(sweep={"bs.n1": [4, 8]})
    before = copy.deepcopy(data)
    assert len(expand(data)) == 2 and data == before
    assert [p.axes for p in expand(small())] == [{}]


def test_fields_that_change_together():
    """One axis of two fields: a point for each pair, with the pair as its value; they are points like any others."""
    points = expand(small(sweep={"bs.n1, bs.num_pol": ["8, 1", "2, 2"], "feedback.rvq.bits": [2, 3]}))
    assert [(p.scenario.bs.n1, p.scenario.bs.num_pol) for p in points] == [(8, 1), (8, 1), (2, 2), (2, 2)]
    assert points[2].axes == {"bs.n1, bs.num_pol": "2, 2", "feedback.rvq.bits": 2}
    alone = expand(small(bs={"n1": 8, "n2": 1, "num_pol": 1}, sweep={"feedback.rvq.bits": [2, 3]}))
    assert [p.key for p in points[:2]] == [p.key for p in alone]


def test_too_many_points_are_refused_before_they_are_made():
    axes = {f"uplink.{field}": [i / 200 for i in range(200)] for field in ("loss_probability", "bit_flip_probability")}
    with pytest.raises(ConfigError, match=f"sweep: got '40000 points'; allowed: at most {MAX_POINTS}"):
        expand(small(sweep=axes))


def key(**changes):
    return expand(small(**changes))[0].key


def scenario_hash(**changes):
    """Of the part of the key that the scenario gives."""
    scenario = expand(small(**changes))[0].scenario
    return content_hash(scenario.model_dump(mode="json", exclude={"run", "description", "name"}))


# Of SMALL, under version 0.1 before its release.
KEY = "771fb4165abbd60e"


def channel_key(**changes):
    return expand(small(**changes))[0].channel_key


def test_keys_are_stable_over_processes_and_spelling():
    assert key() == key(ue={"num_users": 1}) == key(snr_db=[0.0, 10.0]) == key(carrier={"num_rb": 4.0})
    written = json.loads(expand(small())[0].scenario.model_dump_json(exclude={"sweep"}))
    assert expand(written)[0].key == key()


@pytest.mark.parametrize("changes", [{"run": {"drops": 999}}, {"name": "other"}, {"description": "words"}], ids=str)
def test_length_and_name_of_a_run_are_not_part_of_the_key(changes):
    assert key(**changes) == key()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"snr_db": [0]},
        {"metrics": ["sgcs"]},
        {"feedback": [{"scheme": "dft"}]},
        {"normalization": "none"},
        {"uplink": {"loss_probability": 0.1}},
        {"ue": {"speed_mps": 3}},
        {"estimation": {"name": "noisy", "snr_db": 10}},
    ],
    ids=str,
)
def test_what_changes_results_changes_the_key(changes):
    assert key(**changes) != key()


def test_the_channel_key_knows_the_channel_only():
    for changes in (
        {"feedback": [{"scheme": "dft"}]},
        {"snr_db": [3]},
        {"precoding": {"precoders": ["mrt"]}},
        {"metrics": ["sgcs"]},
        {"uplink": {"loss_probability": 0.1}},
        {"estimation": {"name": "noisy", "snr_db": 10}},
        {"run": {"drops": 999}},
        {"name": "other"},
    ):
        assert channel_key(**changes) == channel_key(), changes
    for changes in ({"bs": {"n1": 8}}, {"channel": {"model": "rayleigh", "taps": 2}}, {"ue": {"num_users": 2}}):
        assert channel_key(**changes) != channel_key(), changes


def test_fields_younger_than_the_hashes_change_them_only_when_used():
    """Results, stores and model cards hold such hashes; these were computed before the younger fields came."""
    one = {"num_rows": 1}
    assert scenario_hash(ue=one) == KEY == scenario_hash() and key(ue=one) == key()
    four = {"num_rx_ant": 4}
    assert key(ue=four) == key(ue={**four, "num_rows": 1}) != key(ue={**four, "num_rows": 2})
    umi = {"model": "umi"}
    assert channel_key(ue=four, channel=umi) != channel_key(ue={**four, "num_rows": 2}, channel=umi)
    assert key(throughput=None) == key() != key(throughput={}) != key(throughput={"target_bler": 0.01})
    assert channel_key(throughput={}) == channel_key()
    recipe = load_mapping(find_file("mixed_3g5_32ports", "datasets"))
    for changes, same in (({"normalization": "per_sample"}, True), ({"normalization": "per_dataset"}, False)):
        dump = parse_recipe({**recipe, **changes}).model_dump(mode="json")
        assert (content_hash(dump) == "9f2110dd2d17fcbd") is same
        assert parse_recipe(dump) == parse_recipe({**recipe, **changes})


def test_ue_panels():
    scenario = parse_scenario(small(ue={"num_rx_ant": 16, "num_rows": 4}))
    assert scenario.geometry.ue_panel == Panel(4, 4, 1)
    for ue in ({"num_rx_ant": 6, "num_rows": 4}, {"num_rx_ant": 6, "num_pol": 2, "num_rows": 2}):
        with pytest.raises(ConfigError, match=r"^ue\.num_rx_ant: got 6; allowed: a multiple of .* = 4"):
            parse_scenario(small(ue=ue))


def test_errors_carry_the_whole_path():
    with pytest.raises(ConfigError, match=r"^feedback\.1\.scheme: required"):
        parse_scenario(small(feedback=[{"scheme": "dft"}, {"bits": 2}]))
    with pytest.raises(ConfigError, match=r"^parts\.1\.channel\.profile: got 'F'"):
        parse_recipe(
            {
                "name": "x",
                "carrier": {"num_rb": 4},
                "parts": [{"channel": {"model": "rayleigh"}}, {"channel": {"model": "tdl", "profile": "F"}}],
                "splits": {"train": 1},
            }
        )


def shipped(folder):
    return sorted(p.stem for p in (Path(str(files("scenarios"))) / folder).glob("*.yaml"))


@pytest.mark.parametrize("name", shipped("presets"))
def test_presets_are_found_by_name_and_valid(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for spelling in (name, f"{name}.yaml", f"scenarios/presets/{name}.yaml"):
        assert expand(load_mapping(find_file(spelling)))[0].scenario.name == name


@pytest.mark.parametrize("name", shipped("datasets"))
def test_data_set_recipes_are_found_by_name_and_survive_json(name):
    recipe = parse_recipe(load_mapping(find_file(name, "datasets")))
    assert recipe.name == name
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


def test_a_file_here_wins_over_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("quickstart").write_text(yaml.safe_dump(small()))
    assert load_mapping(find_file("quickstart"))["name"] == "small"


class TestPrecoderEntries:
    def test_parameters_reach_the_precoder_and_name_its_rows(self):
        from benchmarks.build import build_link

        text = [
            "zf",
            {"name": "wmmse", "num_iterations": 100},
            {"name": "wmmse", "label": "short", "num_iterations": 2},
        ]
        scenario = parse_scenario({**small(), "precoding": {"precoders": text}})
        assert [entry.key for entry in scenario.precoding.precoders] == ["zf", "wmmse-num_iterations100", "short"]
        built = build_link(scenario).precoders
        assert [built[key].num_iterations for key in ("wmmse-num_iterations100", "short")] == [100, 2]
        assert parse_scenario(scenario.model_dump()) == scenario

    def test_a_name_alone_is_dumped_as_a_name(self):
        """Hashes of scenarios that use no parameters stay what they were."""
        scenario = parse_scenario({**small(), "precoding": {"precoders": ["zf", {"name": "mrt"}]}})
        assert scenario.model_dump()["precoding"]["precoders"] == ("zf", "mrt")

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"nme": "zf"}, r"precoders\.0\.name: required"),
            ({"name": "zff"}, r"precoders: got 'zff' \(did you mean zf\?\); allowed: bd, mrt"),
            ({"name": "zf", "label": "a" * 121}, r"precoders\.0\.label: got "),
            (3, r"precoders\.0: got 3"),
        ],
    )
    def test_errors(self, entry, message):
        with pytest.raises(ConfigError, match=message):
            parse_scenario({**small(), "precoding": {"precoders": [entry]}})

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"iterations": 3}, r"precoding\.wmmse: unknown: iterations \(did you mean num_iterations\?\)"),
            ({"num_iterations": -3}, r"num_iterations: got -3"),
        ],
    )
    def test_wrong_parameters(self, params, message):
        from benchmarks.build import build_link

        with pytest.raises(ConfigError, match=message):
            build_link(parse_scenario({**small(), "precoding": {"precoders": [{"name": "wmmse", **params}]}}))
