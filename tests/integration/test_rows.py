"""A row of results.csv depends on what it simulates and on nothing else: the others stay byte-equal."""

import random

import numpy as np
import pytest
import yaml
from inline import Inline

import benchmarks
from benchmarks import memory, runner
from benchmarks.memory import block_drops, chunk_drops
from scenarios.sweep import expand
from simulator.core.errors import ConfigError

SCENARIO = {
    "name": "rows",
    "seed": 5,
    "carrier": {"num_rb": 3},
    "bs": {"n1": 4, "n2": 1, "num_pol": 1},
    "ue": {"num_users": 2},
    "channel": {"model": "rayleigh", "taps": 2},
    "estimation": {"name": "noisy", "snr_db": 15},
    "feedback": [{"scheme": "rvq", "bits": 3}],
    "precoding": {"precoders": ["zf", "rzf_robust"]},
    "snr_db": [0, 10],
    "metrics": ["sum_rate_bpshz", "bits_p95", "outage_gamma"],
    "run": {"drops": 40, "chunk_drops": 32},
}
LOSSY = {
    "time": {"num_slots": 5},
    "uplink": {"loss_probability": 0.2, "bit_flip_probability": 0.02, "max_bits": 4, "over_budget": "segment"},
}
LINKS = {
    "plain": {},
    "lossy": LOSSY,
    "throughput": {"throughput": {"olla_warm_up_slots": 5}, "metrics": ["goodput_bpshz", "bler", "mcs_mean"]},
    "coded": {"uplink": {"code": "uci", "snr_db": -3, "num_re": 20}, "detection": {"channel": "dmrs"}},
}
MORE = {
    "scheme": {"feedback": [{"scheme": "dft"}, {"scheme": "rvq", "bits": [6, 3]}]},
    "snr": {"snr_db": [-5, 10, 20, 0]},
    "precoder": {"precoding": {"precoders": ["slnr", "rzf_robust", "mrt", "zf"]}},
    "metric": {"metrics": None},
}


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Lines of results.csv of a run in this process, without the swept axes' names."""
    number = iter(range(100))

    def run(slots=2, **changes):
        monkeypatch.setattr(runner, "make_engine", lambda name, count: Inline(slots))
        path, out = tmp_path / "s.yaml", tmp_path / str(next(number))
        path.write_text(yaml.safe_dump({**SCENARIO, **changes}, sort_keys=False))
        benchmarks.run(path, out=out, report=False)
        return (out / "results.csv").read_text().splitlines()

    return run


@pytest.fixture(scope="module")
def before():
    """Rows of every link without additions."""
    return {}


@pytest.mark.parametrize("more", MORE)
@pytest.mark.parametrize("link", LINKS)
def test_what_is_added_leaves_the_other_rows_as_they_are(rows, before, link, more):
    if link not in before:
        before[link] = rows(**LINKS[link])
    few, many = before[link], rows(**{**LINKS[link], **MORE[more]})
    assert set(few) < set(many)


@pytest.mark.parametrize(
    "run",
    [{"chunk_drops": 64}, {"chunk_drops": 96}, {"chunk_drops": 1}, {"chunk_drops": 32, "memory_gib": 0.2}],
    ids=str,
)
def test_chunks_and_memory_leave_all_rows_as_they_are(rows, run):
    drops = {"drops": 150, "chunk_drops": 32}
    assert rows(run=drops) == rows(slots=1, run={**drops, **run})


def test_the_stopping_rule_stops_at_the_same_drop_in_any_chunks(rows):
    rule = {"drops": 32, "ci_rel": 0.05, "max_drops": 640}
    found = [rows(run={**rule, "chunk_drops": size}) for size in (32, 96, 640)]
    assert found[0] == found[1] == found[2]
    assert 32 < int(found[0][1].split(",")[-2]) < 640
