"""A small track and entries on it, run in the process of the tests."""

from inline import Inline

from benchmarks import runner
from benchmarks.leaderboard import verify
from benchmarks.leaderboard.entry import Entry
from benchmarks.leaderboard.track import Track
from simulator.core.params import parsed

TRACK = {
    "name": "small",
    "version": "1",
    "description": "Two users, four ports.",
    "scores": ["sgcs_subband", "sum_rate_bpshz"],
    "limits": {10: 10, 100: 48},
    "scenario": {
        "seed": 99,
        "carrier": {"num_rb": 8, "subband_rb": 4, "granularity": "rb"},
        "bs": {"n1": 4, "n2": 1, "num_pol": 1},
        "ue": {"num_users": 2},
        "channel": {"model": "rayleigh", "taps": 2},
        "estimation": {"name": "noisy", "snr_db": 15},
        "precoding": {"precoders": ["zf"]},
        "snr_db": 10,
        "run": {"drops": 70, "chunk_drops": 32},
    },
}


def track(**changes):
    return parsed(Track, {**TRACK, **changes})


def entry(name="rvq", lines=({"scheme": "rvq", "bits": [3, 5]},), **changes):
    """An entry on the track."""
    data = {"name": name, "description": "x", "family": "codebook", "tracks": {"small": list(lines)}}
    return parsed(Entry, {**data, "training": "none", "ue_cost": "x", **changes})


def here(monkeypatch):
    """Runs and verifications in this process."""
    monkeypatch.setattr(runner, "make_engine", lambda name, workers: Inline(2))
    monkeypatch.setattr(verify, "make_engine", lambda name, workers: Inline(2))
