"""Tracks are frozen, results agree with themselves, tables are paired, verification finds what was edited."""

import json
import shutil

import leaderboards
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import t as student

from benchmarks import runner
from benchmarks.build import ChannelDraw, build_link
from benchmarks.kept_drops import kept_drops, kept_times
from benchmarks.leaderboard import entry as entries
from benchmarks.leaderboard import track as tracks
from benchmarks.leaderboard.result import Result, paths, read_result, score
from benchmarks.leaderboard.run import run_track
from benchmarks.leaderboard.table import Place, frame, paired, places, results
from benchmarks.leaderboard.verify import verify
from receivers.weights.card import card_hash
from receivers.weights.folder import zoo_folder
from simulator.core.content import sha256
from simulator.core.errors import ConfigError, StoreError
from simulator.core.readers import read_json
from simulator.core.seeding import derive_wide

TRACK = leaderboards.track()


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """Two entries that ran on the small track: folder of the runs, and folders with entries."""
    place = tmp_path_factory.mktemp("board")
    found = [
        (place / "rvq", leaderboards.entry()),
        (place / "sparse", leaderboards.entry("sparse", [{"scheme": "sparse", "bits": [32, 48], "num_delays": 8}])),
    ]
    said = []
    with pytest.MonkeyPatch.context() as patch:
        leaderboards.here(patch)
        run_track(TRACK, found, out=place / "runs", say=said.append)
    assert [line.partition(",")[0] for line in said] == ["rvq", "sparse"]
    return place, found


@pytest.fixture
def copied(board, tmp_path):
    """Folder and entry `rvq` with its result, to be damaged."""
    folder, entry = board[1][0]
    return shutil.copytree(folder, tmp_path / "rvq"), entry


@pytest.mark.long
def test_kept_drops_are_the_rates_of_the_link(board):
    """Every drop anew: the link of the point, its sum rate added up by hand."""
    (place,) = (board[0] / "runs").iterdir()
    (drops,) = kept_drops(place)
    assert len(drops) == 70
    lines = [line for _, entry in board[1] for line in entry.labelled(TRACK).values()]
    point = TRACK.point(lines)
    link, draw = build_link(point.scenario), ChannelDraw(point)
    for first, count in ((0, 32), (32, 32), (64, 6)):
        for scheme, precoder, outcome in link.run(draw.block(first, 32), seed=derive_wide(99, "link", first)):
            if precoder == "zf":
                expected = [sum(outcome.rate[0, drop, :, 0].tolist()) for drop in range(count)]
                got = drops[scheme, "zf", 10.0, "sum_rate_bpshz"].iloc[first : first + count]
                np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_kept_drops_average_to_the_rows(board):
    (place,) = (board[0] / "runs").iterdir()
    (drops,) = kept_drops(place)
    table = pd.read_csv(place / "results.csv").fillna({"precoder": ""})
    for row in table[table.metric.isin(["sgcs_subband", "sum_rate_bpshz", "bits_mean"])].itertuples():
        values = drops[row.scheme].xs(row.metric, axis=1, level="metric").to_numpy()
        assert values.mean() == pytest.approx(row.value, rel=1e-6)


def test_a_run_that_kept_no_drops_keeps_them_when_it_goes_on(tmp_path, monkeypatch, capsys):
    leaderboards.here(monkeypatch)
    data = TRACK.scenario_of([{"scheme": "dft"}])
    without = {**data, "run": {**data["run"], "drops": 32, "keep_drops": False}}
    runner.run(without, out=tmp_path, workers=1, report=False)
    with pytest.raises(StoreError, match=r"run\.keep_drops"):
        kept_times(tmp_path)
    before = (tmp_path / "results.csv").read_bytes()
    again = {**without, "run": {**without["run"], "keep_drops": True}}
    runner.run(again, out=tmp_path, workers=1, report=False, resume=True)
    assert "without the values of single drops" in capsys.readouterr().err
    assert len(kept_drops(tmp_path)[0]) == 32
    assert (tmp_path / "results.csv").read_bytes() == before


def test_shipped_tracks_are_what_was_frozen():
    found = tracks.tracks()
    assert len({track.seed for track in found}) == len(found) >= 8
    assert {track.version for track in found} == {tracks.frozen()["version"]}
    assert sha256(tracks.FOLDER / "test_channels.npz") == tracks.frozen()["test_channels"]


def test_a_changed_track_is_refused(tmp_path, monkeypatch):
    name = "umi-3g5-rank1"
    text = (tracks.FOLDER / f"{name}.yaml").read_text()
    (tmp_path / f"{name}.yaml").write_text(text.replace("snr_db: 10", "snr_db: 11"))
    monkeypatch.setattr(tracks, "FOLDER", tmp_path)
    tracks.track.cache_clear()
    try:
        with pytest.raises(ConfigError, match=f"track {name}.*frozen"):
            tracks.track(name)
        (tmp_path / f"{name}.yaml").write_text("# a comment\n" + text)
        assert tracks.track(name).name == name
    finally:
        tracks.track.cache_clear()


def test_an_unknown_track_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"--track.*umi-3g5-rank1"):
        tracks.track("umi")


def test_a_track_without_its_files_says_which(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reason = tracks.track("cost2100-outdoor").missing()
    assert "DATA_Htestout.mat" in reason and "csilink dataset import" in reason
    assert leaderboards.track().missing() == ""


def test_a_result_states_what_its_drops_give(board):
    for folder, entry in board[1]:
        result = read_result(folder, entry, TRACK)
        assert [line.label for line in result.head.lines] == list(entry.labelled(TRACK))
        for index, line in enumerate(result.head.lines):
            x = result.values["sgcs_subband"][index].astype(float)
            assert line.scores["sgcs_subband"].value == pytest.approx(sum(x) / 70, rel=1e-6)
            assert line.encode_ms > 0 and line.decode_ms > 0
            assert line.bits.max >= line.bits.p95 >= 0 and line.bits.max >= line.bits.mean
    assert result.head.drops == 70 and result.head.versions["csilink"]
    assert read_result(board[0] / "runs", entry, TRACK) is None


def edit(folder, change):
    """Change the JSON file of a result."""
    file = paths(folder, TRACK)[0]
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["lines"][0]["scores"]["sgcs_subband"].update(value=0.9), "sgcs_subband of rvq-b3: value is 0.9"),
        (lambda d: d["lines"][1]["scores"]["sum_rate_bpshz"].update(ci95=0.01), "ci95 is 0.01"),
        (lambda d: d["lines"][1]["bits"].update(mean=2.0), "bits of rvq-b5: mean is 2.0"),
        (lambda d: d["lines"][1]["bits"].update(max=4.0), "bits of rvq-b5: max is 4.0"),
        (lambda d: d["lines"][0]["scores"].pop("sum_rate_bpshz"), "scores of rvq-b3"),
        (lambda d: d["lines"].pop(), r"float32 \[2, 70\]"),
        (lambda d: d.update(entry_hash="0" * 16), "entry_hash"),
        (lambda d: d.update(track_hash="0" * 16), "track_hash"),
        (lambda d: d.update(drops=69), "drops is 69, not 70"),
        (lambda d: d.pop("machine"), "damaged"),
        (lambda d: d.update(values_sha256="0" * 64), "SHA-256 differs"),
    ],
)
def test_an_edited_result_is_refused(copied, change, message):
    folder, entry = copied
    read_result(folder, entry, TRACK)
    edit(folder, change)
    with pytest.raises(StoreError, match=message):
        read_result(folder, entry, TRACK)


def test_a_damaged_array_is_refused(copied):
    folder, entry = copied
    array = paths(folder, TRACK)[1]
    data = bytearray(array.read_bytes())
    data[len(data) // 2] ^= 1
    array.write_bytes(data)
    with pytest.raises(StoreError, match=r"small\.npz: missing or damaged"):
        read_result(folder, entry, TRACK)


def test_a_result_of_other_lines_is_refused(copied):
    folder, _ = copied
    other = leaderboards.entry(lines=[{"scheme": "rvq", "bits": [3, 6]}])
    with pytest.raises(StoreError, match="entry_hash"):
        read_result(folder, other, TRACK)


@pytest.mark.long
def test_verification_confirms_and_finds_edits(copied, monkeypatch):
    """Values and scores edited alike: the file agrees with itself, the drops do not."""
    leaderboards.here(monkeypatch)
    folder, entry = copied
    verdict = verify(folder, entry, TRACK, seed=3)
    assert not verdict.fault and verdict.drops >= 7 and verdict.worst[0] < 1e-6
    array = paths(folder, TRACK)[1]
    values = dict(np.load(array))
    values["sgcs_subband"][1] += 0.01
    np.savez(array, **values)

    def change(data):
        data["values_sha256"] = sha256(array)
        found = score("sgcs_subband", values["sgcs_subband"][1])
        data["lines"][1]["scores"]["sgcs_subband"] = found.model_dump()

    edit(folder, change)
    read_result(folder, entry, TRACK)
    assert "differ" in verify(folder, entry, TRACK, seed=3).fault


def test_verification_finds_one_edited_line_among_many_values():
    """A mean that moved by 0.005 through few large values, fewer than the outliers that rounding may cause."""
    from benchmarks.leaderboard.verify import _compared

    names = [f"x{i}" for i in range(40)]
    was = [np.full(64, 0.5, np.float32) for _ in names]
    now = [("sgcs of " + name, x.copy()) for name, x in zip(names, was, strict=True)]
    assert not _compared(now, was, 64, 640).fault
    was[7][5] += 0.32
    assert "mean of sgcs of x7" in _compared(now, was, 64, 640).fault
    now[3] = (now[3][0], np.full(64, np.nan, np.float32))
    assert _compared(now, was, 64, 640).worst[0] == np.inf


def test_paired_interval_by_hand():
    """Student's t with the skewness term of benchmarks/intervals.py, written out in loops."""
    a, b = [0.9, 0.8, 0.85, 0.7, 0.95], [0.8, 0.75, 0.86, 0.6, 0.9]
    d = [x - y for x, y in zip(a, b, strict=True)]
    n, mean = len(d), sum(d) / len(d)
    m2, m3 = (sum((x - mean) ** k for x in d) for k in (2, 3))
    q = student.ppf(0.975, n - 1)
    skew2 = n * (m3 / m2**1.5) ** 2
    half = (q + q * (q**4 + 2 * q**2 - 3) / 18 * min(skew2, n) / n) * (m2 / (n - 1)) ** 0.5 / n**0.5
    gap, got = paired("sgcs_subband", np.array(a), np.array(b))
    assert gap == pytest.approx(mean) and got == pytest.approx(half)


def test_paired_interval_of_decibels(rng):
    """10 log10 of a ratio of means; the half-width is that of the mean of its linear form."""
    a = rng.gamma(2.0, 0.1, 4000)
    b = a * rng.uniform(1.0, 1.4, 4000)
    gap, half = paired("nmse_db", a, b)
    assert gap == pytest.approx(10 * np.log10(a.mean() / b.mean()))
    linear = 10 / np.log(10) * (a / a.mean() - b / b.mean())
    assert half == pytest.approx(1.96 * linear.std() / 4000**0.5, rel=0.02)


def made(name, values, bits, side_information="none"):
    """Entry and result of lines with given values ``[line, drop]`` and bits ``(mean, max)``."""
    x = np.array(values, np.float32)
    lines = [
        {
            "label": f"{name}-{index}",
            "scores": {"sgcs_subband": score("sgcs_subband", row).model_dump()},
            "bits": {"mean": mean, "p95": most, "max": most, "per_slot": mean / 4},
            "ue_gbops": None,
            "encode_ms": 1.0,
            "decode_ms": 0.5,
        }
        for index, (row, (mean, most)) in enumerate(zip(x, bits, strict=True))
    ]
    from benchmarks.leaderboard.result import Head

    head = dict.fromkeys(Head.model_fields, "x") | {"format": 1, "dirty": False, "drops": x.shape[1], "lines": lines}
    head |= {"versions": {}, "machine": {}, "reads": {}, "distinct_drops": None, "commit": None}
    return leaderboards.entry(name, side_information=side_information), Result(Head(**head), {"sgcs_subband": x})


def test_places_of_a_class():
    base = np.linspace(0.4, 0.8, 64)
    wave = 0.01 * np.cos(np.arange(64))
    found = [
        made("far", [base - 0.1 + wave], [(9, 9)]),
        made("best", [base - 0.2, base, base + 0.1], [(5, 5), (8, 12), (40, 60)]),
        made("near", [base - 0.0005 + wave], [(10, 10)]),
        made("told", [base + 0.05 + wave], [(10, 10)], "uplink"),
        made("long", [base + 0.2], [(30, 30)]),
    ]
    table = places(found, TRACK, 10)
    assert [place.entry.name for place in table] == ["told", "best", "near", "far"]
    assert [place.leads for place in table] == [False, True, False, False], "side information does not lead"
    told, best, near, far = table
    assert best.line.label == "best-1" and best.behind is None and not best.significant
    assert told.behind[0] == pytest.approx(-0.05 - wave.mean(), abs=1e-6) and told.significant
    assert near.behind[0] == pytest.approx(0.0005 - wave.mean(), abs=1e-6) and not near.significant
    assert far.behind[0] == pytest.approx(0.1 - wave.mean(), abs=1e-6) and far.significant
    text = frame(table, TRACK)
    assert text["behind the leader"].tolist()[1] == "leads" and text["behind the leader"].iloc[3].endswith("*")
    assert [place.line.label for place in places(found, TRACK, 10, "max") if place.leads] == ["near-0"]
    assert places(found, TRACK, 48)[0].entry.name == "long"
    assert places(found, TRACK, 4) == []
    with pytest.raises(ConfigError, match=r"--score.*sgcs_subband"):
        places(found, TRACK, 10, score="cosine")


def test_lower_is_better_for_errors():
    track = leaderboards.track(scores=["nmse_db"])
    found = []
    for name, level in (("a", 0.3), ("b", 0.2)):
        entry, result = made(name, [np.full(64, 0.5)], [(9, 9)])
        values = {"nmse_db": np.full((1, 64), level, np.float32) * np.linspace(0.9, 1.1, 64, dtype=np.float32)}
        lines = (
            result.head.lines[0].model_copy(update={"scores": {"nmse_db": score("nmse_db", values["nmse_db"][0])}}),
        )
        found.append((entry, Result(result.head.model_copy(update={"lines": lines}), values)))
    best, other = places(found, track, 10)
    assert best.entry.name == "b" and other.behind[0] == pytest.approx(10 * np.log10(1.5), abs=1e-4)


def test_bits_per_slot_limit_a_track_of_moving_users():
    track = leaderboards.track(bits="bits_per_slot")
    found = [made("a", [np.linspace(0, 1, 64)], [(40, 60)])]
    assert places(found, track, 10) and not places(found, track, 9)
    assert places(found, track, 15, "max") and not places(found, track, 14, "max")


def test_results_leaves_out_entries_without_one(board, tmp_path):
    (tmp_path / "dft").mkdir()
    found = results([*board[1], (tmp_path / "dft", leaderboards.entry("dft"))], TRACK)
    assert [entry.name for entry, _ in found] == ["rvq", "sparse"]
    assert all(isinstance(place, Place) for place in places(found, TRACK, 100))


@pytest.mark.long
def test_a_result_does_not_depend_on_who_else_runs(board, tmp_path, monkeypatch):
    leaderboards.here(monkeypatch)
    _, entry = board[1][0]
    run_track(TRACK, [(tmp_path / "rvq", entry)], out=tmp_path / "runs", say=lambda text: None)
    alone, together = (read_result(folder, entry, TRACK) for folder in (tmp_path / "rvq", board[0] / "rvq"))
    for name, values in alone.values.items():
        np.testing.assert_array_equal(values, together.values[name])


def test_weights_must_be_those_that_the_entry_names():
    line = [{"scheme": "beamdelay", "bits": 100}]
    track = tracks.track("umi-3g5-rank1")
    data = {"tracks": {track.name: line}, "weights": {}}
    with pytest.raises(ConfigError, match=r"x\.weights\.beamdelay-urban: got None.*[0-9a-f]{64}"):
        leaderboards.entry("x", **data).labelled(track)
    card = card_hash(read_json(zoo_folder() / "beamdelay-urban" / "card.json"))
    found = leaderboards.entry("x", **{**data, "weights": {"beamdelay-urban": card}}).labelled(track)
    assert found == {"beamdelay-b100": {**line[0], "label": "x/beamdelay-b100"}}


def test_side_information_must_be_that_of_the_track():
    with pytest.raises(ConfigError, match=r"side_information.*none in track small"):
        leaderboards.entry(side_information="uplink").labelled(TRACK)
    scenario = tracks.track("umi-3g5-rank1").scenario_of([{"scheme": "dft"}], "uplink")
    assert "sounding" in scenario and "sounding" not in tracks.track("umi-3g5-rank1").scenario_of([])


def test_a_new_entry_has_the_hashes_of_its_weights(tmp_path):
    track = tracks.track("umi-3g5-rank1")
    arguments = {"tracks": [track], "description": "A code.", "training": "urban", "ue_cost": "a search"}
    with pytest.raises(ConfigError, match=r"family.*3gpp"):
        entries.new_entry(tmp_path / "wrong", lines=[{"scheme": "dft"}], family="new", **arguments)
    arguments["family"] = "transform"
    lines = [{"scheme": "beamdelay", "bits": [100, 200]}]
    entries.new_entry(tmp_path / "mine", lines=lines, **arguments)
    folder, found = entries.entry(tmp_path / "mine")
    assert folder == tmp_path / "mine" and list(found.weights) == ["beamdelay-urban"]
    assert list(found.labelled(track)) == ["beamdelay-b100", "beamdelay-b200"]
    with pytest.raises(StoreError, match="exists"):
        entries.new_entry(tmp_path / "mine", lines=lines, **arguments)
    with pytest.raises(ConfigError, match=r"rvq\.bits"):
        entries.new_entry(tmp_path / "wrong", lines=[{"scheme": "rvq"}], **arguments)
    assert not (tmp_path / "wrong").exists()


def test_weights_of_a_new_training(tmp_path, monkeypatch):
    """Comments stay; weights that the file does not name have to be named first."""
    track = tracks.track("umi-3g5-rank1")
    lines = [{"scheme": "beamdelay", "bits": 100}]
    arguments = {"description": "A code.", "family": "transform", "training": "urban", "ue_cost": "a search"}
    entries.new_entry(tmp_path / "mine", tracks=[track], lines=lines, **arguments)
    path = tmp_path / "mine" / "entry.yaml"
    before = "# mine\n" + path.read_text()
    found = entries.entry(tmp_path / "mine")[1].weights["beamdelay-urban"]
    path.write_text(before.replace(found, "ab" * 32))
    folder, old = entries.entry(tmp_path / "mine")
    with pytest.raises(ConfigError, match=f"abab.*allowed: {found}"):
        old.labelled(track)
    entries.renewed(folder, old).labelled(track)
    assert path.read_text() == before
    with pytest.raises(ConfigError, match="with beamdelay-urban"):
        entries.renewed(folder, old.model_copy(update={"weights": {}}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: other\n", "name.*the name of its folder"),
        ("nam: mine\n", "unknown: nam"),
        ("tracks: {}\n", "tracks"),
        ("{}", "tracks: got 'small'; allowed: umi-3g5-rank1"),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path, text, message):
    (tmp_path / "mine").mkdir()
    data = leaderboards.entry("mine").model_dump(mode="json")
    (tmp_path / "mine" / "entry.yaml").write_text(yaml.safe_dump({**data, **yaml.safe_load(text)}))
    with pytest.raises(ConfigError, match=message):
        entries.entry(tmp_path / "mine")


def test_an_unknown_entry_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="etype2-r16"):
        entries.entry("no-such-entry")


def test_times_are_those_of_the_schemes_calls(monkeypatch):
    """A clock that the schemes turn: 2 ms for a report, 3 ms for reading one, by each of its reports."""
    from types import SimpleNamespace

    from benchmarks import report_times

    now = [0.0]
    monkeypatch.setattr(report_times.time, "process_time", lambda: now[0])

    class Scheme:
        def report(self, csi):
            now[0] += 0.002 * csi.error_var.size

        def reconstruct(self, report):
            now[0] += 0.003 * report.num_bits.size

        report_after = reconstruct_after = None

    end = SimpleNamespace(scheme=Scheme(), gnb=Scheme())
    csi, report = SimpleNamespace(error_var=np.zeros((5, 2))), SimpleNamespace(num_bits=np.zeros((5, 2)))
    with report_times.timed({"a": end}) as taken:
        assert np.isnan(taken()).all()
        for _ in range(3):
            end.scheme.report(csi)
            now[0] += 7.0
            end.gnb.reconstruct(report)
        np.testing.assert_allclose(taken(), [[2.0, 3.0]])
        assert np.isnan(taken()).all()
    assert "report" not in vars(end.scheme) and "reconstruct" not in vars(end.gnb)
