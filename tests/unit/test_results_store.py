"""Chunks merge to what all samples at once would give; only finished files count."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem, skew, t

from benchmarks import chunk
from benchmarks.store import LEADING, TRAILING, Accumulator, Unit, cdf_frame, tidy_frame, write_bytes
from scenarios.schema import parse_scenario
from scenarios.sweep import Point
from simulator.core import registry
from simulator.core.errors import ConfigError, StoreError
from simulator.outcomes import CsiOutcome, LinkOutcome

SNRS_DB = (0.0, 10.0)
SIZES, BLOCK = (8, 4, 12, 4, 37), 4  # drops of the chunks, and of a block
METRICS = (
    "bits_mean",
    "bits_max",
    "bits_p95",
    "cosine",
    "bf_gain_loss_db",
    "user_rate_bpshz",
    "sum_rate_bpshz",
    "outage_rate",
)


def scenario(**changes):
    data = {
        "name": "small",
        "carrier": {"num_rb": 2},
        "bs": {"n1": 4, "n2": 1, "num_pol": 1},
        "ue": {"num_users": 3},
        "channel": {"model": "rayleigh"},
        "feedback": [{"scheme": "rvq", "bits": 4}],
        "snr_db": list(SNRS_DB),
    }
    return parse_scenario({**data, **changes})


class Recorded:
    """A link that replays given samples, and the channel draw that says which of them are wanted."""

    snr_db = SNRS_DB
    distinct_drops = np.inf

    def __init__(self, rng, num_drops):
        self.rate = rng.gamma(2.0, 1.0, (len(SNRS_DB), num_drops, 3, 1))
        self.correlation2 = rng.uniform(0.1, 1.0, (num_drops, 3, 1, 1, 2))
        self.num_bits = rng.integers(3, 90, (num_drops, 3, 1))
        self.num_bits[2] = 99  # the longest report is not in the last chunk
        self.starts = np.cumsum((0, *SIZES))

    def block(self, first, drops):
        return slice(first, first + drops)

    def uplink(self, first, part):
        return None

    def run(self, part, *, seed, uplink):
        yield "a", None, CsiOutcome(None, None, self.correlation2[part], self.num_bits[part], SNRS_DB)
        rate = self.rate[:, part]
        yield "a", "zf", LinkOutcome(rate, rate, (0.9,), (1.0, 2.5))


@pytest.fixture
def recorded(rng, monkeypatch):
    link = Recorded(rng, -(-sum(SIZES) // BLOCK) * BLOCK)
    metrics = {name: registry.build("metrics", name) for name in METRICS}
    monkeypatch.setattr(chunk, "_prepared", lambda text: (Point(scenario(), {}), link, link, metrics, BLOCK))
    return link


@pytest.fixture
def paths(recorded, tmp_path):
    found = []
    for index, drops in enumerate(SIZES):
        found.append(tmp_path / f"{index}.npz")
        write_bytes(found[-1], chunk.run_chunk("", int(recorded.starts[index]), drops))
    return found


def accumulated(paths):
    total = Accumulator()
    for path in paths:
        total.add(path)
    return total


def test_merged_chunks_equal_all_samples_at_once(recorded, paths):
    total = accumulated(paths)
    rows = {(r["metric"], r["snr_db"]): (r["value"], r["ci95"]) for r in total.summary()}
    count = sum(SIZES)

    def mean_and_half(samples):
        quantile = t(count - 1).ppf(0.975)
        quantile += quantile * (quantile**4 + 2 * quantile**2 - 3) / 18 * skew(samples) ** 2 / count
        return samples.mean(), quantile * sem(samples)

    expected = {
        ("bits_mean", None): mean_and_half(recorded.num_bits[:count].mean(axis=(1, 2))),
        ("cosine", None): mean_and_half(np.sqrt(recorded.correlation2[:count]).reshape(count, -1).mean(axis=1)),
    }
    for number, snr_db in enumerate(SNRS_DB):
        rate = recorded.rate[number, :count, :, 0]
        expected["user_rate_bpshz", snr_db] = mean_and_half(rate.mean(axis=1))
        expected["sum_rate_bpshz", snr_db] = mean_and_half(rate.sum(axis=1))
        expected["outage_rate_1", snr_db] = mean_and_half((rate < 1).mean(axis=1))
        expected["outage_rate_2.5", snr_db] = mean_and_half((rate < 2.5).mean(axis=1))
    for key, (value, half) in expected.items():
        np.testing.assert_allclose(rows[key][0], value, rtol=1e-12, err_msg=str(key))
        np.testing.assert_allclose(rows[key][1], half, rtol=1e-9, err_msg=str(key))
    assert total.drops == count
    assert rows["bits_max", None][0] == recorded.num_bits[:count].max()
    assert np.isnan(rows["bits_max", None][1])
    # A percentile of single reports; fewer drops than its interval needs.
    assert rows["bits_p95", None][0] == np.sort(recorded.num_bits[:count].ravel())[int(np.ceil(0.95 * 3 * count)) - 1]
    # A function of a mean: the half-width follows by its slope.
    cosine, half = expected["cosine", None]
    loss = rows["bf_gain_loss_db", None]
    np.testing.assert_allclose(loss, (-20 * np.log10(cosine), 20 / np.log(10) * half / cosine), rtol=1e-5)
    assert set(rows) == {*expected, ("bits_max", None), ("bits_p95", None), ("bf_gain_loss_db", None)}


def test_chunks_keep_the_value_of_every_drop(recorded, paths):
    """For paired differences: rows in order, drops in order, float32."""
    found = []
    for path in paths:
        with np.load(path) as stored:
            rows = [tuple(row[1:]) for row in json.loads(str(stored["rows"]))]
            found.append(stored["values"])
    values = dict(zip(rows, np.concatenate(found).T, strict=True))
    count = sum(SIZES)
    expected = {
        ("a", "", None, "bits_mean"): recorded.num_bits[:count].mean(axis=(1, 2)),
        ("a", "zf", 10.0, "sum_rate_bpshz"): recorded.rate[1, :count, :, 0].sum(axis=1),
        ("a", "zf", 0.0, "outage_rate_2.5"): (recorded.rate[0, :count, :, 0] < 2.5).mean(axis=1),
    }
    for row, wanted in expected.items():
        np.testing.assert_allclose(values[row], wanted, rtol=1e-6)


def test_any_chunks_give_the_same_bytes(paths, tmp_path):
    """Blocks are merged one by one, so that rounding is the same."""
    write_bytes(tmp_path / "whole.npz", chunk.run_chunk("", 0, sum(SIZES)))
    whole, parts = accumulated([tmp_path / "whole.npz"]), accumulated(paths)
    assert whole.drops == parts.drops == sum(SIZES)
    np.testing.assert_array_equal(whole.hist, parts.hist, strict=True)
    for one, other in zip(whole.moments, parts.moments, strict=True):
        np.testing.assert_array_equal(one, other)
    assert repr(whole.summary()) == repr(parts.summary())


def test_adding_stops_at_the_block_that_is_enough(paths):
    total = Accumulator()
    assert not total.add(paths[0], lambda found: found.drops > 8) and total.drops == 8
    assert total.add(paths[2], lambda found: found.drops > 10) and total.drops == 12


def test_percentiles_do_not_depend_on_the_chunks(recorded, paths, tmp_path):
    write_bytes(tmp_path / "whole.npz", chunk.run_chunk("", 0, sum(SIZES)))
    whole, parts = (accumulated(x).summary() for x in ([tmp_path / "whole.npz"], paths))
    (one,), (other,) = ([row for row in rows if row["metric"] == "bits_p95"] for rows in (whole, parts))
    assert repr(one) == repr(other)


def test_a_share_that_was_never_seen_keeps_the_rule_of_three(recorded, paths, tmp_path):
    recorded.rate[:] = 5.0
    write_bytes(tmp_path / "x.npz", chunk.run_chunk("", 0, 40))
    rows = {r["metric"]: r for r in accumulated([tmp_path / "x.npz"]).summary()}
    # A value that 1 - 0.05^(1/40) of all drops have is missed by 40 drops with a probability of 5 %.
    assert (rows["outage_rate_1"]["value"], rows["outage_rate_1"]["ci95"]) == (0.0, pytest.approx(0.0721575, rel=1e-5))
    # Rates have no bound: nothing is known of what was not drawn.
    assert (rows["user_rate_bpshz"]["value"], rows["user_rate_bpshz"]["ci95"]) == (5.0, 0.0)


def test_the_rate_distribution_counts_every_user_of_every_drop(recorded, paths):
    point = Point(scenario(), {"bs.n1": 4})
    table = cdf_frame([(point, accumulated(paths))])
    assert list(table.columns) == ["bs.n1", "scheme", "precoder", "snr_db", "rate_bpshz", "cdf"]
    for number, snr_db in enumerate(SNRS_DB):
        rows = table[table["snr_db"] == snr_db]
        rates = recorded.rate[number, : sum(SIZES)].reshape(-1)
        for edge, cdf in zip(rows["rate_bpshz"], rows["cdf"], strict=True):
            np.testing.assert_allclose(cdf, np.mean(rates < edge), atol=1e-12)
        assert rows["cdf"].iloc[-1] == 1.0


def test_columns_are_those_of_the_documentation(paths):
    point = Point(scenario(metrics=["sum_rate_bpshz"]), {"feedback.rvq.bits": 4})
    frame = tidy_frame("small", [(point, accumulated(paths))])
    assert list(frame.columns) == [*LEADING, "feedback.rvq.bits", *TRAILING]
    assert set(frame["metric"]) == {"sum_rate_bpshz"}
    assert frame["bits_max"].notna().all()
    with pytest.raises(ConfigError, match="metrics: got"):
        tidy_frame("small", [(Point(scenario(metrics=["nmse_db"]), {}), accumulated(paths))])


def test_chunks_of_another_program_version_do_not_mix(paths, tmp_path):
    with np.load(paths[1]) as data:
        content = dict(data)
    rows = json.loads(str(content["rows"]))
    content["rows"] = np.array(json.dumps(rows[::-1]))
    np.savez(tmp_path / "other.npz", **content)
    with pytest.raises(StoreError, match=r"other\.npz: rows differ"):
        accumulated([paths[0], tmp_path / "other.npz"])


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "gone"])
def test_a_damaged_chunk_is_named(paths, damage):
    path = paths[2]
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "gone":
        path.unlink()
    else:
        flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        path.write_bytes({"empty": b"", "cut": content[:middle], "flipped": flipped, "text": b"x" * 99}[damage])
    with pytest.raises(StoreError, match=r"2\.npz: damaged chunk"):
        accumulated(paths)


def test_only_a_renamed_file_is_done(tmp_path):
    unit = Unit(Point(scenario(), {}), 3, 16, tmp_path)
    unit.path.parent.mkdir(parents=True)
    (unit.path.parent / f".{unit.path.name}.4711").write_bytes(b"half")
    unit.path.with_suffix(".tmp").write_bytes(b"half")
    assert not unit.done
    whole = io.BytesIO()
    np.savez(whole, x=1)
    unit.write(whole.getvalue())
    assert unit.done and unit.path.name == "chunk-00000003-16.npz"


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    write_bytes(path, b"old")

    def full(self, data):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises(StoreError, match=r"results\.csv: cannot be written \(No space left"):
        write_bytes(path, b"new")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"results.csv": "old"}


def test_tables_read_back_as_they_were(paths, tmp_path):
    from benchmarks.store import write_tables

    frame = tidy_frame("small", [(Point(scenario(), {}), accumulated(paths))])
    write_tables(tmp_path, frame, cdf_frame([(Point(scenario(), {}), accumulated(paths))]))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "results.parquet"), frame)
    again = pd.read_csv(tmp_path / "results.csv", keep_default_na=False, na_values=[""])
    np.testing.assert_allclose(again["value"], frame["value"], rtol=1e-8)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
