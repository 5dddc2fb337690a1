"""3GPP codebooks in the link: finer PMI subbands, rank adaptation, payload preset, subband sizes."""

import pytest
import yaml

import benchmarks
from scenarios.load import find_file, load_mapping
from simulator.core.errors import ConfigError

pytestmark = pytest.mark.usefixtures("run_here", "eager")
SCENARIO = {
    "name": "standard",
    "seed": 3,
    "carrier": {"num_rb": 48, "subband_rb": 8},
    "bs": {"n1": 4, "n2": 2, "num_pol": 2},
    "ue": {"num_users": 1, "num_rx_ant": 2},
    "channel": {"model": "tdl", "profile": "A", "delay_spread_s": 300e-9},
    "precoding": {"precoders": ["svd"], "layers_per_user": 2},
    "snr_db": [-5, 25],
    "metrics": ["sgcs", "bits_mean", "bits_max", "pmi_bits", "user_rate_bpshz"],
    "run": {"drops": 60, "chunk_drops": 30},
}


def run(tmp_path, **changes):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, **changes}))
    return benchmarks.run(path, out=tmp_path / "out", workers=1, report=False)


def value(frame, scheme, metric, snr_db=None):
    rows = frame[(frame.scheme == scheme) & (frame.metric == metric)]
    return float((rows if snr_db is None else rows[rows.snr_db == snr_db]).value.iloc[0])


@pytest.mark.long
def test_two_pmi_subbands_in_a_subband_follow_the_channel_better(tmp_path):
    scheme = {"scheme": "etype2-r16", "combination": 6, "rank": 1}
    one_layer = {"precoding": {"precoders": ["mrt"]}, "ue": {"num_users": 1, "num_rx_ant": 1}}
    channel = {"model": "cdl", "profile": "C", "delay_spread_s": 300e-9}
    frame = run(tmp_path, **one_layer, channel=channel, feedback=[{**scheme, "r": [1, 2]}])
    assert value(frame, "etype2-pc6-R2-rank1", "sgcs") > value(frame, "etype2-pc6-rank1", "sgcs") + 0.02
    assert value(frame, "etype2-pc6-R2-rank1", "pmi_bits") > value(frame, "etype2-pc6-rank1", "pmi_bits")


@pytest.mark.long
def test_the_reported_rank_pays(tmp_path):
    """Fixed rank 1 loses at 25 dB, fixed rank 2 at -5 dB; the adaptive one follows the SNR that the UE assumes."""
    schemes = [
        {"scheme": "type2-r15", "beams": 2, "rank": [1, 2]},
        {"scheme": "type2-r15", "beams": 2, "snr_db": -5, "label": "low"},
        {"scheme": "type2-r15", "beams": 2, "snr_db": 25, "label": "high"},
        {"scheme": "type1", "snr_db": 25},
    ]
    frame = run(tmp_path, feedback=schemes)
    one, two = "type2-L2-psk8-rank1", "type2-L2-psk8-rank2"
    rate = {s: [value(frame, s, "user_rate_bpshz", snr) for snr in (-5, 25)] for s in (one, two, "low", "high")}
    assert rate[two][1] > rate[one][1] + 1 and rate[one][0] > rate[two][0]
    assert rate["high"][1] > rate[two][1] - 0.1 and rate["low"][0] > rate[one][0] - 0.05
    assert value(frame, "low", "bits_mean") < value(frame, "high", "bits_mean") <= value(frame, "high", "bits_max")
    assert value(frame, one, "bits_mean") - value(frame, one, "pmi_bits") == 2  # number of amplitudes
    assert value(frame, "type1-mode1", "pmi_bits") < value(frame, one, "pmi_bits")


@pytest.mark.long
def test_the_payload_preset_gives_the_sizes_of_the_standard(tmp_path):
    data = load_mapping(find_file("etype2_payload"))
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({**data, "run": {"drops": 4, "chunk_drops": 4}}))
    frame = benchmarks.run(path, out=tmp_path / "out", workers=1, report=False)
    sizes = frame[frame.metric == "pmi_bits"].value.tolist()
    assert sizes == [62, 91, 111, 168, 225, 279, 243, 328]


@pytest.mark.parametrize(("num_rb", "subband_rb"), [(48, 6), (48, 16), (100, 4), (272, 8)])
def test_subband_sizes_of_the_table(tmp_path, num_rb, subband_rb):
    with pytest.raises(ConfigError, match=rf"carrier\.subband_rb.*{subband_rb}.*on {num_rb} RB"):
        run(tmp_path, carrier={"num_rb": num_rb, "subband_rb": subband_rb}, feedback=[{"scheme": "type1"}])


@pytest.mark.long
def test_both_sgcs_of_the_documented_tables(tmp_path):
    """docs/codebooks.md: by subband as in its first table, at every resource block as in its second; UMa, 32 ports."""
    frame = run(
        tmp_path,
        carrier={"num_rb": 52, "subband_rb": 4},
        bs={"n1": 8, "n2": 2, "num_pol": 2},
        ue={"num_users": 4, "num_rx_ant": 1},
        channel={"model": "uma"},
        precoding={"precoders": ["mrt"]},
        feedback=[{"scheme": "etype2-r16", "combination": [1, 2, 3, 4, 5, 6, 7, 8], "rank": 1}],
        metrics=["sgcs", "sgcs_subband"],
        run={"drops": 60, "chunk_drops": 30},
    )
    tables = {
        "sgcs_subband": [0.641, 0.710, 0.751, 0.821, 0.840, 0.872, 0.857, 0.870],
        "sgcs": [0.567, 0.621, 0.654, 0.709, 0.723],
    }
    for metric, expected in tables.items():
        rows = frame[frame.metric == metric].iloc[: len(expected)]
        assert (rows.ci95 < 0.025).all()
        assert (abs(rows.value - expected) < 2 * rows.ci95).all(), metric
