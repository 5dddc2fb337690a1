"""Entries of csilink: their results are whole, a few drops of each come out again, and the page has their numbers."""

from functools import cache

import numpy as np
import pytest
from eager import eagerly

from benchmarks import chunk
from benchmarks.kept_drops import chunk_drops
from benchmarks.leaderboard.entry import entry, shipped
from benchmarks.leaderboard.page import PAGE, page
from benchmarks.leaderboard.result import paths, read_result
from benchmarks.leaderboard.table import KINDS, places, results
from benchmarks.leaderboard.track import track, tracks

# Perfect estimates: a drop does not depend on how many are computed together. A traced site would be traced first.
CELLS = ("umi-3g5-rank1", "umi-30kmh")
DROPS = 4
# Rounding turns a decision of a search on another machine: of values of drops, relative to 1 or to their size.
OF_A_DROP, OF_THE_MEAN = 0.03, 0.01


@cache
def cells():
    """One operating point of every entry, the quickest: ``(entry, track, side information) -> (label, line)``."""
    found = {}
    for name in shipped():
        folder, one = entry(name)
        for where in (cell for cell in CELLS if cell in one.tracks):
            if (result := read_result(folder, one, track(where))) is None:
                continue
            lines = result.head.lines
            index = min(range(len(lines)), key=lambda i: lines[i].encode_ms + lines[i].decode_ms)
            found[name, where, one.side_information] = index, lines[index].label
            break
    return found


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """Values of the first drops of these points, computed now, by entry."""
    values, groups = {}, {}
    for (name, where, side), (_, label) in cells().items():
        groups.setdefault((where, side), []).append((name, label))
    with pytest.MonkeyPatch.context() as patch, eagerly():
        patch.setattr(chunk, "block_drops", lambda geometry: DROPS)
        for (where, side), members in groups.items():
            lines = [entry(name)[1].labelled(track(where))[label] for name, label in members]
            point = track(where).point(lines, side)
            path = tmp_path_factory.mktemp("again") / "chunk.npz"
            path.write_bytes(chunk.run_chunk(point.scenario.model_dump_json(exclude={"sweep"}), 0, DROPS))
            drops = chunk_drops(path)
            for name, label in members:
                mine = drops[f"{name}/{label}"]
                values[name] = {column[-1]: mine[column].to_numpy() for column in mine}
    chunk._prepared.cache_clear()
    return values


def test_most_entries_have_a_cell():
    assert len(cells()) >= 20


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, _, _ in cells()])
def test_a_few_drops_come_out_again(name, again):
    (where, index) = next((where, index) for (who, where, _), (index, _) in cells().items() if who == name)
    folder, one = entry(name)
    there = read_result(folder, one, track(where)).values
    assert set(there) <= set(again[name])
    for metric, values in there.items():
        was, now = values[index, :DROPS], again[name][metric]
        scale = np.maximum(np.abs(was), 1.0)
        assert np.max(np.abs(now - was) / scale) <= OF_A_DROP, metric
        assert abs(now.mean() - was.mean()) <= OF_THE_MEAN * scale.mean(), metric


@pytest.mark.long
def test_results_are_whole_and_of_tracks_that_exist():
    known = {each.name: each for each in tracks()}
    size = 0
    for name in shipped():
        folder, one = entry(name)
        assert set(one.tracks) <= set(known)
        for each in one.tracks:
            read_result(folder, one, known[each])
        there = {path.name for path in folder.iterdir()} - {"entry.yaml"}
        assert there <= {path.name for each in one.tracks for path in paths(folder, known[each])}
        size += sum(path.stat().st_size for path in folder.iterdir())
    assert size < 5e6


@pytest.mark.parametrize("kind", KINDS)
def test_every_class_is_contested(kind):
    each = track("umi-3g5-rank1")
    found = results([entry(one) for one in shipped()], each)
    for limit in each.limits.values():
        table = places(found, each, limit, kind)
        assert len(table) >= 8 and sum(place.leads for place in table) == 1


@pytest.mark.long
def test_the_page_has_the_numbers_of_the_results():
    assert PAGE.read_text() == page(), "call `python -m benchmarks.leaderboard.page`"
