"""Wrong input ends with exit code 2 and one line: where, what was received, what is allowed. No trace, no files."""

import copy
import hashlib
import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import h5py
import numpy as np
import pytest
import typer
import yaml

from benchmarks import cli, engines
from benchmarks.dataset import make_dataset
from scenarios.dataset import parse_recipe

CSILINK = Path(sysconfig.get_path("scripts")) / "csilink"
SCENARIO = {
    "name": "small",
    "seed": 5,
    "carrier": {"num_rb": 4},
    "bs": {"n1": 4, "n2": 1, "num_pol": 1},
    "ue": {"num_users": 2},
    "channel": {"model": "rayleigh"},
    "feedback": [{"scheme": "rvq", "bits": 4}],
    "precoding": {"precoders": ["zf"]},
    "snr_db": [0, 10],
    "run": {"drops": 64, "chunk_drops": 32},
}
RECIPE = {
    "name": "tiny",
    "carrier": {"num_rb": 8},
    "bs": {"n1": 4, "n2": 1, "num_pol": 1},
    "parts": [{"channel": {"model": "rayleigh", "taps": 2}}],
    "splits": {"train": 30, "val": 4, "test": 4},
    "shard_samples": 20,
}
TRAINING = {
    "task": "autoencoder",
    "name": "net",
    "dataset": "tiny",
    "model": {"name": "csinet", "params": {"num_latents": 4}},
    "num_delays": 4,
    "quantizer": {"name": "mu_law", "bits": [2]},
    "batch_size": 10,
    "epochs": 1,
}


@pytest.fixture(autouse=True)
def _workplace(tmp_path, monkeypatch):
    """An empty directory, and an engine that cannot start: wrong input must be found before."""
    monkeypatch.chdir(tmp_path)

    def refuse(self, *args):
        raise AssertionError("the engine was started")

    monkeypatch.setattr(engines.LocalEngine, "__init__", refuse)
    monkeypatch.setattr(engines.RayEngine, "__init__", refuse)


@pytest.fixture
def refused(monkeypatch, capsys):
    """Run the command in this process; it must refuse in the agreed way. Returns the message, a line for each error."""

    def run(*argv, errors=1):
        before = tree()
        monkeypatch.setattr(sys, "argv", ["csilink", *map(str, argv)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        assert (stop.value.code, said.out) == (2, ""), said
        lines = said.err.splitlines()
        assert said.err.endswith("\n") and len(lines) == errors, said.err
        assert all(line.startswith("csilink: ") for line in lines), said.err
        assert tree() == before
        return said.err

    return run


def tree(folder="."):
    """Content of every file below."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(Path(folder).rglob("*"))}


def written(content, name="s.yaml"):
    """A file with this text, these bytes or this data as YAML."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


def tells(message, words):
    """The words (separated by ``|``) stand in the message."""
    missing = [word for word in words.split("|") if word not in message]
    assert not missing, f"{missing} not in {message}"


BASE = yaml.safe_dump(SCENARIO, sort_keys=False)
DOCUMENTS = {
    "broken": ("a: [1, 2", "s.yaml line 1, column 9|expected ',' or ']'|one YAML document"),
    "duplicate": (BASE + "\nseed: 6\n", "field seed|second value|one value per field"),
    "duplicate-nested": (BASE.replace("num_rb: 4", "num_rb: 4\n  num_rb: 5"), "line 5, field num_rb|second value"),
    "empty": ("", "s.yaml|'nothing'|a mapping of fields"),
    "comment-only": ("# nothing\n", "s.yaml|'nothing'|a mapping of fields"),
    "list": ("- 1\n", "s.yaml|a list|a mapping of fields"),
    "text": ("hello", "s.yaml|a str|a mapping of fields"),
    "binary": (b"\xff\xfe\x00\x01\x80", "s.yaml|0xff|a readable UTF-8 file"),
    "nul": (b"name: a\x00b", "s.yaml|#x0000|one YAML document"),
    "two-documents": (BASE + "---\na: 1\n", "s.yaml line|another document|one YAML document"),
    "python-tag": ("a: !!python/object:os.system x", "s.yaml line 1|python/object:os.system"),
    "no-such-date": (BASE + "description: 2001-99-99\n", "s.yaml|month must be in 1..12"),
    "no-such-number": (BASE + "description: 0b_\n", "s.yaml|base 2"),
    "undefined-alias": ("a: *b", "s.yaml line 1, column 4|undefined alias 'b'"),
    "deep": ("[" * 5000, "s.yaml|recursion|one YAML document"),
    "number-as-key": (BASE + "7: 1\n", "s.yaml|got 7|names of fields"),
    "list-as-key": (BASE + "[7]: 1\n", "s.yaml line|unhashable key"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_file_that_is_no_scenario(refused, name):
    text, words = DOCUMENTS[name]
    tells(refused("run", written(text), "--out", "out"), words)


# A field as `--set` takes it, and what the message must hold: field | received | allowed.
SETTINGS = {
    # unknown fields
    "foo=1": "csilink: unknown: foo|allowed: ",
    "carrier.foo=1": "carrier: unknown: foo|allowed: ",
    "bs.foo=1": "bs: unknown: foo|allowed: ",
    "ue.foo=1": "ue: unknown: foo|allowed: ",
    "time.foo=1": "time: unknown: foo|allowed: ",
    "channel.foo=1": "channel: unknown: foo|allowed: ",
    "uplink.foo=1": "uplink: unknown: foo|allowed: ",
    "precoding.foo=1": "precoding: unknown: foo|allowed: ",
    "outage.foo=1": "outage: unknown: foo|allowed: ",
    "throughput.foo=1": "throughput: unknown: foo|allowed: ",
    "run.foo=1": "run: unknown: foo|allowed: ",
    "estimation.foo=1": "estimation: unknown: foo; allowed: no parameters",
    "feedback.rvq.foo=1": "feedback.rvq: unknown: foo; allowed: bits, frequency, codebooks",
    "feedback.rvq.seed=1": "feedback.0|'seed': 1|no parameter 'seed'",
    "feedback.rvq.name=x": "feedback.0|'name': 'x'|no parameter 'name'",
    "feedback.rvq.config=1": "feedback.0|'config': 1|no parameter 'config'",
    "estimation={name: noisy, snr_db: 10, kind: 1}": "estimation|'kind': 1|no parameter 'kind'",
    "a..b=1": "unknown: a; allowed: ",
    # wrong types
    "name=5": "name: got 5|text",
    "name=null": "name: got None|text",
    "name=a/b": "name: got 'a/b'|text that matches",
    "seed=x": "seed: got 'x'|a number",
    "seed='5'": "seed: got '5'|a number",
    "seed=true": "seed: got True|a number",
    "seed=[1]": "seed: got [1]|integer",
    "seed=1.5": "seed: got 1.5|integer",
    "carrier=5": "carrier: got 5|a mapping of fields",
    "carrier=null": "carrier: got None|a mapping of fields",
    "carrier.num_rb='4'": "carrier.num_rb: got '4'|a number",
    "carrier.num_rb=true": "carrier.num_rb: got True|a number",
    "carrier.num_rb=[4]": "carrier.num_rb: got [4]|integer",
    "carrier.carrier_hz=3.5 GHz": "carrier.carrier_hz: got '3.5 GHz'|a number",
    "bs.num_pol=true": "bs.num_pol: got True|a number",
    "ue.speed_mps=fast": "ue.speed_mps: got 'fast'|a number",
    "channel=umi": "channel: got 'umi'|a mapping with model: cdl, rayleigh",
    "channel=null": "channel: got None|a mapping with model",
    "channel.taps=true": "channel.taps: got True|a number",
    "channel={model: umi, los: 1}": "channel.los: got 1|true or false",
    "channel={model: umi, pathloss: 'no'}": "channel.pathloss: got 'no'|true or false",
    "estimation=noisy": "estimation: got 'noisy'|a mapping of fields",
    "estimation={name: noisy, snr_db: true}": "estimation.snr_db: got True|a number",
    "feedback=rvq": "feedback: got 'rvq'|a list",
    "feedback=null": "feedback: got None|a list",
    "feedback=[rvq]": "feedback.0: got 'rvq'|a mapping of fields",
    "feedback.rvq.bits=x": "feedback.rvq.bits: got 'x'|integer",
    "feedback.rvq.bits='4'": "feedback.rvq.bits: got '4'|integer",
    "feedback.rvq.bits=true": "feedback.rvq.bits: got True|integer",
    "feedback.rvq.bits=2.5": "feedback.rvq.bits: got 2.5|integer",
    "feedback.rvq.bits=null": "feedback.rvq.bits: got None|integer",
    "feedback.rvq.label=[1]": "feedback.0.label: got [1]|text",
    "uplink=5": "uplink: got 5|a mapping of fields",
    "precoding.precoders=zf": "precoding.precoders: got 'zf'|a list",
    "precoding.precoders=[1]": "precoding.precoders.0: got 1|a name or a mapping of fields",
    "metrics=sgcs": "metrics: got 'sgcs'|a list",
    "snr_db=high": "snr_db: got 'high'|a list",
    "snr_db=[true]": "snr_db.0: got True|a number",
    "run=[]": "run: got []|a mapping of fields",
    # out of range, not finite
    "seed=-1": "seed: got -1|greater than or equal to 0",
    "carrier.num_rb=0": "carrier.num_rb: got 0|greater than or equal to 1",
    "carrier.num_rb=276": "carrier.num_rb: got 276|less than or equal to 275",
    "carrier.carrier_hz=.nan": "carrier.carrier_hz: got nan|100000000",
    "carrier.carrier_hz=.inf": "carrier.carrier_hz: got inf|100000000000",
    "carrier.subcarrier_spacing_hz=.inf": "carrier.subcarrier_spacing_hz: got inf|less than or equal to 100000000",
    "carrier.subcarrier_spacing_hz=0": "carrier.subcarrier_spacing_hz: got 0|greater than or equal to 1000",
    "carrier.subcarrier_spacing_hz=30": "carrier.subcarrier_spacing_hz: got 30|greater than or equal to 1000",
    "carrier.subcarrier_spacing_hz=1.5e8": "carrier.subcarrier_spacing_hz: got 150000000.0|less than or equal to",
    "carrier={num_rb: 275, subcarrier_spacing_hz: 1e7}": "carrier.subcarrier_spacing_hz: got 10000000.0|a bandwidth",
    "carrier.subband_rb=0": "carrier.subband_rb: got 0|greater than or equal to 1",
    "bs.n1=-3": "bs.n1: got -3|greater than or equal to 1",
    "bs.num_pol=3": "bs.num_pol: got 3|less than or equal to 2",
    "bs.antenna_pattern=iso": "bs.antenna_pattern: got 'iso'|'38.901' or 'omni'",
    "ue.speed_mps=-1": "ue.speed_mps: got -1|greater than or equal to 0",
    "time.slot_s=.inf": "time.slot_s: got inf|finite",
    "time.num_slots=0": "time.num_slots: got 0|greater than or equal to 1",
    "channel.taps=0": "channel.taps: got 0|greater than or equal to 1",
    "channel={model: tdl, profile: A, delay_spread_s: 1}": "channel.delay_spread_s: got 1|0.00001",
    "channel={model: umi, indoor_probability: .nan}": "channel.indoor_probability: got nan",
    "uplink.loss_probability=2": "uplink.loss_probability: got 2|less than or equal to 1",
    "uplink.bit_flip_probability=-0.1": "uplink.bit_flip_probability: got -0.1|0",
    "snr_db=[0, .inf]": "snr_db.1: got inf|200",
    "snr_db=[.nan]": "snr_db.0: got nan|-100",
    "outage.gammas=[2]": "outage.gammas.0: got 2|less than or equal to 1",
    "outage.rates_bpshz=[-1]": "outage.rates_bpshz.0: got -1|greater than 0",
    "throughput={mode: fast}": "throughput.mode: got 'fast'|'eesm' or 'exact'",
    "throughput={mcs_table: 4}": "throughput.mcs_table: got 4|less than or equal to 3",
    "throughput={target_bler: 1}": "throughput.target_bler: got 1|less than or equal to 0.5",
    "throughput={overhead: 1}": "throughput.overhead: got 1|less than or equal to 0.9",
    "throughput={olla_step_db: 0}": "throughput.olla_step_db: got 0|greater than 0",
    "metrics=[goodput_bpshz]": "metrics: got 'goodput_bpshz'|only with a throughput section",
    "run.drops=1": "run.drops: got 1|greater than or equal to 2",
    "run.memory_gib=.nan": "run.memory_gib: got nan|greater than 0",
    "run.memory_gib=1e-6": "run.memory_gib: got 1e-06|computed together",
    "feedback.rvq.bits=21": "feedback.rvq.bits: got 21|less than or equal to 20",
    "feedback.rvq.bits=0": "feedback.rvq.bits: got 0|greater than or equal to 1",
    "feedback.rvq.codebooks=0": "feedback.rvq.codebooks: got 0|greater than or equal to 1",
    # unknown names
    "channel.model=foo": "channel.model: got 'foo'|cdl, rayleigh, recorded, rma, site, tdl, uma, umi",
    "channel={model: tdl, profile: F}": "channel.profile: got 'F'|'A', 'B', 'C', 'D' or 'E'",
    "estimation.name=foo": "estimation.name: got 'foo'|csi_rs_denoise, csi_rs_learned",
    "feedback.rvq.scheme=foo": "feedback.scheme: got 'foo'|dft",
    "precoding.precoders=[foo]": "precoding.precoders: got 'foo'|mrt, rzf, rzf_robust, slnr, svd",
    "metrics=[foo]": "metrics: got 'foo'|sgcs, sgcs_subband, sgcs_subspace, sum_rate_bpshz",
    "normalization=foo": "normalization: got 'foo'|'per_sample', 'per_dataset' or 'none'",
    "uplink.on_loss=foo": "uplink.on_loss: got 'foo'|'last' or 'none'",
    "feedback=[{scheme: dft, cophasing: foo}]": "feedback.dft.cophasing: got 'foo'|'wideband' or 'subband'",
    # missing
    "channel={model: tdl}": "channel.profile: required",
    "estimation.name=noisy": "csilink: estimation.snr_db: required",
    "feedback=[]": "feedback: got []|at least 1",
    "feedback=[{bits: 3}]": "feedback.0.scheme: required",
    "feedback=[{scheme: rvq}]": "feedback.rvq.bits: required",
    "feedback=[{scheme: rvq, bits: []}]": "feedback.rvq.bits: got []|non-empty",
    "feedback=[{scheme: autoencoder, bits: 4}]": "feedback.autoencoder.weights: required",
    "precoding.precoders=[]": "precoding.precoders: got []|at least 1",
    "snr_db=[]": "snr_db: got []|at least 1",
    "metrics=[]": "metrics: got []|at least 1",
    "carrier={}": "carrier: got {}|exactly one of num_rb and num_subcarriers",
    # impossible together
    "carrier.num_subcarriers=48": "carrier|48|exactly one of num_rb and num_subcarriers",
    "carrier={num_subcarriers: 48}": "carrier|48|granularity 'subcarrier'",
    "ue.num_users=5": "ue.num_users: got 5|at most 4 streams",
    "ue={num_users: 2, num_pol: 2}": "ue.num_rx_ant: got 1|a multiple of ue.num_pol * ue.num_rows = 2",
    "ue={num_rx_ant: 6, num_pol: 2, num_rows: 2}": "ue.num_rx_ant: got 6|a multiple of ue.num_pol * ue.num_rows = 4",
    "ue.num_rows=0": "ue.num_rows: got 0|greater than or equal to 1",
    "precoding.layers_per_user=2": "precoding.layers_per_user: got 2|1..1",
    "precoding.precoders=[svd]": "precoding.precoders: got 'svd'|one user",
    "precoding.precoders=[svd_water_filling]": "precoding.precoders: got 'svd_water_filling'|one user",
    "precoding.precoders=[zf, zf]": "precoding.precoders: got ['zf', 'zf']|once",
    "metrics=[sgcs, sgcs]": "metrics: got ['sgcs', 'sgcs']|once",
    "snr_db=[0, 0]": "snr_db: got [0.0, 0.0]|once",
    "outage.gammas=[0.9, 0.9]": "outage.gammas: got [0.9, 0.9]|once",
    "channel={model: tdl, profile: D, angle_spread_deg: 5}": "channel.angle_spread_deg: got 5.0|null for profiles D",
    "channel.taps=5": "channel.taps: got 5|1..4",
    "feedback=[{scheme: perfect}, {scheme: perfect}]": "feedback: got 'perfect'|once|label",
    "feedback=[{scheme: rvq, bits: [2, 3], label: x}]": "feedback.rvq.label: got 'x'|several values",
    "run={ci_rel: 0.1}": "run|'ci_rel': 0.1|max_drops",
    "run={ci_rel: 0.1, max_drops: 4, drops: 8}": "run|'max_drops': 4|max_drops >= drops = 8",
    "run={ci_rel: 0.1, max_drops: 512, ci_metric: foo}": "run.ci_metric: got 'foo'|sgcs",
    # ranges of SNR
    "snr_db={start: 0}": "snr_db: got {'start': 0}|{start, stop, step}",
    "snr_db={start: 0, stop: -5, step: 1}": "snr_db|'stop': -5|stop >= start",
    "snr_db={start: 0, stop: 5, step: 0}": "snr_db|'step': 0|step > 0",
    "snr_db={start: 0, stop: .inf, step: 1}": "snr_db|inf|a list of numbers",
    "snr_db={start: 0, stop: 1e12, step: 1}": "snr_db|1000000000000.0|at most 1000 values",
    # axes
    "sweep={foo.bar: [1, 2]}": "unknown: foo; allowed: ",
    "sweep={bs.n1: []}": "sweep.bs.n1: got []|at least 1",
    "sweep={bs.n1: 4}": "sweep.bs.n1: got 4|a list",
    "sweep={bs.n1: [4, x]}": "bs.n1: got 'x'|a number",
    "sweep={bs.n1: [4, 4]}": "sweep: got {'bs.n1': 4}|each once",
    "sweep={run.drops: [4, 8]}": "sweep.run.drops|a field of carrier",
    "sweep={snr_db: [4, 8]}": "sweep.snr_db|a field of carrier",
    "sweep={seed: [4, 8]}": "sweep.seed|a field of carrier",
    "sweep={channel: [{model: umi}]}": "sweep.channel|umi|numbers, texts",
    "sweep={'bs.n1, bs.n2': ['4, 2, 1']}": "sweep.bs.n1, bs.n2: got '4, 2, 1'|texts of 2 values",
    "sweep={'bs.n1, seed': ['4, 2']}": "sweep.bs.n1, seed|a field of carrier",
    "sweep={'bs.n1, bs.n2': ['4, x']}": "bs.n2: got 'x'|a number",
    "sweep={feedback.7.bits: [1]}": "feedback.7.bits: got '7'|an index below 1",
    "sweep={ue.num_users: [2, 8]}": "ue.num_users: got 8|at most 4 streams",
    "sweep=[1]": "sweep: got [1]|a mapping",
    # the assignment itself
    "nope": "--set: got 'nope'|FIELD=VALUE",
    "=5": "--set: got '=5'|FIELD=VALUE",
    "bs.n1=[": "bs.n1 line 1|one YAML document",
    "carrier.num_rb.x=3": "carrier.num_rb.x: got 'x'|existing sections",
    "feedback.7.bits=3": "feedback.7.bits: got '7'|an index below 1 or one of rvq",
    "feedback.dft.bits=3": "feedback.dft.bits: got 'dft'|an index below 1 or one of rvq",
}


@pytest.mark.parametrize("assignment", SETTINGS)
def test_a_wrong_field(refused, assignment):
    tells(refused("run", written(SCENARIO), "--out", "out", "--set", assignment), SETTINGS[assignment])


# Words that are nearly right.
TYPOS = {
    "estimation={name: csi_rs_ls}": "csilink: estimation.snr_db: required\n",
    "feedback=[{scheme: rvq, bit: 6}]": "csilink: feedback.rvq: unknown: bit (did you mean bits?); allowed: bits, freq",
    "estimation={name: csi_rs_ls, snr: 10}": "estimation: unknown: snr (did you mean snr_db?); allowed: interp",
    "estimation={name: csi_rs_lss}": "estimation.name: got 'csi_rs_lss' (did you mean csi_rs_ls?); allowed: csi_rs",
    "carrier={num_rbs: 4, num_rb: 4}": "carrier: unknown: num_rbs (did you mean num_rb?); allowed: carrier_hz",
    "seeds=1": "csilink: unknown: seeds (did you mean seed?); allowed: carrier, bs, ue",
    "channel={model: rayleigh, tap: 1}": "channel: unknown: tap (did you mean taps?); allowed: model, taps",
    "channel.model=raleigh": "channel.model: got 'raleigh' (did you mean rayleigh?)",
    "normalization=per_samples": "normalization: got 'per_samples' (did you mean per_sample?)",
    "precoding.precoders=[ZF]": "precoding.precoders: got 'ZF' (did you mean zf?)",
    "precoding.precoders=[{name: wmmse, iterations: 3}]": "precoding.wmmse: unknown: iterations (did you mean num_it",
    "metrics=[sum_rate]": "metrics: got 'sum_rate' (did you mean sum_rate_bpshz?)",
    "feedback=[{scheme: RVQ, bits: 4}]": "feedback.scheme: got 'RVQ' (did you mean rvq?)",
    "feedback=[{scheme: dft, predict: {name: ar, at: uee}}]": "predict.at: got 'uee' (did you mean ue?)",
    "feedback.rvk.bits=3": "feedback.rvk.bits: got 'rvk' (did you mean rvq?)",
}


@pytest.mark.parametrize("assignment", TYPOS)
def test_a_word_that_is_nearly_right(refused, assignment):
    tells(refused("run", written(SCENARIO), "--out", "out", "--set", assignment), TYPOS[assignment])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("run quikstart", "file: got 'quikstart' (did you mean quickstart?)"),
        ("list zo", "kind: got 'zo' (did you mean zoo?)"),
        ("export transnet_250", "weights: got 'transnet_250' (did you mean transnet-250?)"),
        ("export csinet-100 --side ues", "--side: got 'ues' (did you mean ue?)"),
        ("import-torch transnetz x --out y", "model: got 'transnetz' (did you mean transnet?)"),
        ("run quickstart --drop 5", "--drop|--drops"),
    ],
)
def test_a_name_that_is_nearly_right(refused, argv, words):
    tells(refused(*argv.split()), words)


# All errors of a file at once: the changes, and the beginning of every line.
SEVERAL = {
    "fields of sections": (
        ["carrier.num_rb=0", "ue.num_users=x", "runs=1", "channel={model: tdl, profile: F, foo: 1}", "bs.n3=1"],
        [
            "unknown: runs (did you mean run?)",
            "carrier.num_rb: got 0",
            "bs: unknown: n3; allowed: n1, n2, num_pol",
            "ue.num_users: got 'x'",
            "channel.profile: got 'F'",
            "channel: unknown: foo",
        ],
    ),
    "names and values together": (
        ["estimation.name=perfekt", "metrics=[sgsc, bler]", "precoding.precoders=[zf, zf]", "snr_db=[0, 0]",
         "channel.taps=9"],
        [
            "estimation.name: got 'perfekt' (did you mean perfect?)",
            "metrics: got 'sgsc' (did you mean sgcs?)",
            "precoding.precoders: got ['zf', 'zf']",
            "snr_db: got [0.0, 0.0]",
            "channel.taps: got 9",
        ],
    ),
    "parts": (
        [
            "estimation={name: noisy, snr: 3, foo: 1}",
            "feedback=[{scheme: rvq, bit: 4}, {scheme: dft, cophasing: x}, {scheme: klt, weights: klt-mixd, bits: 9}]",
            "precoding.precoders=[{name: wmmse, iterations: 3}, {name: rzf, foo: 1}]",
        ],
        [
            "precoding.wmmse: unknown: iterations",
            "precoding.rzf: unknown: foo",
            "feedback.rvq: unknown: bit (did you mean bits?)",
            "feedback.dft.cophasing: got 'x'",
            "weights: got 'klt-mixd' (did you mean klt-mixed?)",
            "estimation: unknown: snr (did you mean snr_db?)",
            "estimation: unknown: foo",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
def test_all_errors_of_a_file_at_once(refused, name):
    assignments, lines = SEVERAL[name]
    sets = [part for assignment in assignments for part in ("--set", assignment)]
    said = refused("run", written(SCENARIO), "--out", "out", *sets, errors=len(lines)).splitlines()
    missing = [line for line in lines if not any(each.startswith(f"csilink: {line}") for each in said)]
    assert not missing, said


@pytest.mark.parametrize("scheme", ["{scheme: rvq, bits: 4}", "{scheme: dft}"])
def test_one_beam_per_user_carries_one_layer(refused, scheme):
    both = [f"feedback=[{scheme}]", "precoding.layers_per_user=2", "ue.num_rx_ant=2", "precoding.precoders=[mrt]"]
    sets = [part for assignment in both for part in ("--set", assignment)]
    tells(
        refused("run", written(SCENARIO), "--out", "out", *sets), "precoding.layers_per_user: got 2|1 with the scheme"
    )


OPTIONS = {
    "--drops 0": "run.drops: got 0|greater than or equal to 2",
    "--drops x": "--drops|integer|got 'x'",
    "--workers 0": "--workers: got 0|1..",
    "--workers 1000000": "--workers: got 1000000|1..",
    "--engine foo": "--engine: got 'foo'|local, ray",
    "--foo": "No such option|--foo",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_wrong_option(refused, option):
    tells(refused("run", written(SCENARIO), "--out", "out", *option.split()), OPTIONS[option])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (
            "run nowhere.yaml",
            "file: got 'nowhere.yaml'|an existing YAML file|quickstart, rate_aware, ",
        ),
        ("run folder", "file: got 'folder'|an existing YAML file"),
        ("check nowhere", "file: got 'nowhere'|quickstart, rate_aware, "),
        ("dataset nowhere", "file: got 'nowhere'|mixed_3g5_32ports"),
        ("train nowhere", "file: got 'nowhere'|csinet_250"),
        ("list foo", "kind: got 'foo'|feedback"),
        ("report folder", "folder/results.csv|no such file"),
        ("report nowhere", "nowhere/results.csv|no such file"),
        ("run", "Missing argument|file|allowed: YAML file, or the name of a shipped one"),
        ("show", "Missing argument|results|allowed: Results folder"),
        ("publish folder", "Missing option|--repo|allowed: "),
        ("show folder", "folder/results.csv|no such file|allowed: a results folder"),
        ("compare folder folder", "folder/scenario.json|no such file|allowed: a results folder"),
        ("foo", "No such command|foo"),
    ],
)
def test_a_file_or_name_that_does_not_exist(refused, argv, words):
    Path("folder").mkdir()
    tells(refused(*argv.split()), words)


def test_check_says_the_same_as_run(refused):
    file = written(SCENARIO)
    for assignment in ("bs.n1=0", "feedback.rvq.bits=21", "ue.num_users=5", "run.memory_gib=1e-6"):
        assert refused("check", file, "--set", assignment) == refused("run", file, "--set", assignment)


OCCUPIED = {
    "file": "file; choose another --out",
    "file/sub": "file/sub|cannot be written",
    "/proc/csilink/x": "/proc/csilink|cannot be written",
    "full": "full: holds other files and no results|choose another --out",
}


@pytest.mark.parametrize("out", OCCUPIED)
def test_a_place_that_cannot_hold_results(refused, out):
    Path("file").write_text("kept")
    written("kept", "full/notes.txt")
    words = OCCUPIED[out].replace("file; choose", "file: is a file; choose")
    tells(refused("run", written(SCENARIO), "--out", out), words)


LONG = "x" * 256  # one octet more than a name may have
LONG_NAMES = {
    "run s.yaml --out LONG": "--out|at most 200 octets, not 256",
    "run s.yaml --out a/b/LONG": "--out|at most 200 octets",  # a and b are removed again
    "run s.yaml --out a/LONG/b": "--out|at most 200 octets",
    "run s.yaml --out LONG --resume": "--out|at most 200 octets",
    "dataset recipe.yaml --out a/LONG": "--out|at most 200 octets",
    "dataset import data.npz --format quadriga --out a/LONG": "--out|at most 200 octets",
    "dataset split store --share a=1 --out a/LONG": "--out|at most 200 octets",
    "dataset mix store --out a/LONG": "--out|at most 200 octets",
    "dataset info store --out a/LONG": "--out|at most 200 octets",
    "train training.yaml --out a/LONG": "--out|at most 200 octets",
    "export csinet-100 --out a/LONG": "--out|at most 200 octets",
    "policies csinet-100 --store store --out a/LONG": "--out|at most 200 octets",
    "run LONG": "file|an existing YAML file",
    "run a/LONG.yaml": "file|an existing YAML file",
    "export LONG": "weights|a folder with card.json",
    "export ./LONG": "weights|an existing folder with card.json",
    "export LONG --verify": "no exported model",
    "report LONG": "LONG/results.csv: cannot be read|File name too long",
    "dataset info LONG": "LONG/manifest.json: no finished store here",
    "dataset import LONG --format quadriga --out out": "cannot be read|name too long",
    "run s.yaml --set feedback=[{scheme:autoencoder,weights:LONG}]": "weights|a folder with card.json",
    "run s.yaml --set feedback=[{scheme:codebook,path:LONG}]": "feedback.codebook.path|a folder with card.json",
    "run s.yaml --set name=LONG": "name|at most 80",
    "run s.yaml --set feedback.rvq.label=LONG": "feedback.0.label|at most 120",
}


@pytest.mark.parametrize("argv", LONG_NAMES)
def test_a_name_that_is_too_long(refused, argv):
    written(SCENARIO)
    written(RECIPE, "recipe.yaml")
    written(TRAINING, "training.yaml")
    np.savez("data.npz", h=np.ones((2, 1, 1, 4), np.complex64))
    said = refused(*(part.replace(":", ": ").replace("LONG", LONG) for part in argv.split()))
    tells(said.replace(LONG, "LONG"), LONG_NAMES[argv])


def test_resume_needs_results(refused):
    written("kept", "full/notes.txt")
    tells(refused("run", written(SCENARIO), "--out", "full", "--resume"), "full: holds other files|another --out")


# Weights


CARD = {
    "name": "fake",
    "model": {"name": "csinet", "params": {"height": 4, "width": 4, "num_latents": 8}},
    "weights": {"file": "model.weights.h5"},
    "input": {
        "n1": 4,
        "n2": 1,
        "num_pol": 1,
        "num_subcarriers": 4,
        "spacing_hz": 360000.0,
        "num_delays": 4,
        "num_latents": 8,
    },
    "tables": {"file": "tables.npz"},
    "codec": {"quantizer": "mu_law", "bits": 2},
}
TABLES = {"mu_law-b2/levels": np.float32([-0.5, -0.1, 0.1, 0.5]), "mu_law-b2/counts": np.full((8, 4), 5, np.uint32)}


def weights_folder(card=None, arrays=TABLES, base=CARD, **changes):
    """A folder of weights that the checks before a run accept, unless the card is changed."""
    Path("weights").mkdir()
    path = Path("weights/model.weights.h5")
    with h5py.File(path, "w") as file:
        file["x"] = [1.0]
    content = copy.deepcopy(base)
    content["weights"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    tables = Path("weights/tables.npz")
    np.savez(tables, **arrays)
    if "tables" in content:
        content["tables"]["sha256"] = hashlib.sha256(tables.read_bytes()).hexdigest()
    for dotted, value in changes.items():
        *sections, field = dotted.split("__")
        node = content
        for section in sections:
            node = node[section]
        node[field] = value
    Path("weights/card.json").write_text(json.dumps(content) if card is None else card)


def with_weights(**params):
    entry = {"scheme": "autoencoder", "weights": "./weights", "bits": 2, "coder": "huffman", **params}
    return written({**SCENARIO, "feedback": [entry]})


def test_the_fake_weights_pass_the_checks(monkeypatch, capsys):
    weights_folder()
    monkeypatch.setattr(sys, "argv", ["csilink", "check", str(with_weights())])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    assert "fake-mu_law-b2-huffman: at most 16 bits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"weights": "nothing-like-it"}, "weights: got 'nothing-like-it'|card.json"),
        ({"weights": "./elsewhere"}, "weights: got './elsewhere'|an existing folder"),
        ({"weights": 5}, "feedback.autoencoder.weights: got 5|text"),
        ({"bits": 17}, "feedback.autoencoder.bits: got 17|less than or equal to 16"),
        ({"bits": 0}, "feedback.autoencoder.bits: got 0|greater than or equal to 1"),
        ({"bits": 3}, "feedback.autoencoder.quantizer: got 'mu_law-b3 with coder huffman|fixed|mu_law-b2"),
        ({"quantizer": "uniform"}, "feedback.autoencoder.quantizer|uniform-b2 with coder huffman|mu_law-b2"),
        ({"quantizer": "foo"}, "quantizers: got 'foo'|mu_law, uniform"),
        ({"prior": "learned"}, "feedback.autoencoder.quantizer|prior learned|none for this prior"),
        ({"prior": "foo"}, "feedback.autoencoder.prior: got 'foo'|'pooled'"),
        ({"coder": "foo", "bits": 2}, "coders: got 'foo'|fixed, huffman, range"),
        ({"levels": "foo"}, "feedback.autoencoder.levels: got 'foo'|'shipped' or 'nominal'"),
        ({"scale_bits": 17}, "feedback.autoencoder.scale_bits: got 17|less than or equal to 16"),
        ({"scale_bits": True}, "feedback.autoencoder.scale_bits: got True|integer"),
        ({"foo": 1}, "feedback.autoencoder: unknown: foo; allowed: weights, quantizer, bits"),
    ],
)
def test_a_wrong_parameter_of_the_autoencoder(refused, params, words):
    weights_folder()
    tells(refused("run", with_weights(**params), "--out", "out"), words)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("bs.n1=8", "bs.n1: got 8|4, what the weights fake were trained for"),
        ("bs.n2=2", "bs.n2: got 2|1, what the weights"),
        ("bs.num_pol=2", "bs.num_pol: got 2|1, what the weights"),
        ("carrier.num_rb=8", "carrier (frequency samples): got 8|4, what the weights"),
        (
            "carrier.subcarrier_spacing_hz=15e3",
            "carrier (sample spacing in Hz): got 180000.0|360000.0, what the weights",
        ),
    ],
)
def test_weights_of_another_panel_or_band(refused, assignment, words):
    weights_folder()
    tells(refused("run", with_weights(), "--out", "out", "--set", assignment), words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"card": ""}, "weights/card.json: not a model card"),
        ({"card": "{"}, "weights/card.json: not a model card"),
        ({"card": "[]"}, "weights/card.json: not a model card|a mapping of fields"),
        ({"card": "{}"}, "weights/card.json: not a model card|name: required"),
        ({"weights__sha256": 5}, "weights/card.json: not a model card|weights.sha256: got 5|text"),
        ({"weights__sha256": "0" * 64}, "weights/model.weights.h5: damaged, SHA-256|000000000000"),
        ({"weights__file": "gone.h5"}, "weights/gone.h5: file named in the card is missing"),
        ({"input": {}}, "weights/card.json: not a model card|input.n1: required"),
        ({"input__num_latents": "8"}, "weights/card.json: not a model card|input.num_latents: got '8'"),
        ({"tables": []}, "weights/card.json: not a model card|tables: got []"),
        ({"tables__sha256": "0" * 64}, "weights/tables.npz: damaged, SHA-256"),
        ({"tables__file": "gone.npz"}, "weights/gone.npz: file named in the card is missing"),
        ({"codec": {}}, "weights/card.json: not a model card|codec.quantizer: required"),
        ({"codec__bits": 17}, "weights/card.json: not a model card|codec.bits: got 17"),
        ({"arrays": {"x": 1}}, "weights/tables.npz: no tables of this model"),
        ({"arrays": {**TABLES, "mu_law-b2/counts": np.ones((8, 3), int)}}, "tables.mu_law-b2.counts: got|(8, 4)"),
        ({"arrays": {**TABLES, "mu_law-b2/counts": np.ones((7, 4), int)}}, "tables.mu_law-b2.counts: got|(8, 4)"),
        ({"arrays": {**TABLES, "mu_law-b2/levels": np.ones(3)}}, "tables.mu_law-b2.levels: got|4 levels"),
    ],
)
def test_a_broken_card(refused, changes, words):
    weights_folder(**changes)
    tells(refused("run", with_weights(), "--out", "out"), words)


def test_a_damaged_weight_file(refused):
    weights_folder()
    file = Path("weights/model.weights.h5")
    file.write_bytes(file.read_bytes()[:-1])
    tells(refused("run", with_weights(), "--out", "out"), "weights/model.weights.h5: damaged, SHA-256")


# Networks of bits

BIT_CARD = {
    **{key: CARD[key] for key in ("name", "weights")},
    "model": {"name": "variable_bit", "params": {"height": 4, "width": 4, "num_latents": 8}},
    "input": {**CARD["input"], "target": "mimo"},
}


def with_bits(scheme="variable-bit", **params):
    return written({**SCENARIO, "feedback": [{"scheme": scheme, "weights": "./weights", **params}]})


def test_the_fake_weights_of_a_network_of_bits_pass_the_checks(monkeypatch, capsys):
    weights_folder(base=BIT_CARD)
    monkeypatch.setattr(sys, "argv", ["csilink", "check", str(with_bits(bits=[5, 8]))])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "fake-b5: at most 5 bits" in said and "fake-b8: at most 8 bits" in said


@pytest.mark.parametrize(
    ("params", "assignment", "words"),
    [
        ({"bits": 0}, None, "feedback.variable-bit.bits: got 0|greater than or equal to 1"),
        ({"bits": 9}, None, "feedback.variable-bit.bits: got 9|1..8, what the weights fake have"),
        ({"bits": True}, None, "feedback.variable-bit.bits: got True|integer"),
        ({"noisy": 1}, None, "feedback.variable-bit.noisy: got 1|true or false"),
        ({"foo": 1}, None, "feedback.variable-bit: unknown: foo; allowed: weights, bits, noisy"),
        ({}, "bs.n1=8", "bs.n1: got 8|4, what the weights fake were trained for"),
        ({}, "ue.num_rx_ant=2", "ue.num_rx_ant: got 2|1, what the weights fake were trained for"),
        ({}, "carrier.num_rb=8", "carrier (frequency samples): got 8|4, what the weights"),
    ],
)
def test_a_wrong_parameter_of_variable_bit_feedback(refused, params, assignment, words):
    weights_folder(base=BIT_CARD)
    change = [] if assignment is None else ["--set", assignment]
    tells(refused("run", with_bits(**params), "--out", "out", *change), words)


@pytest.mark.parametrize(
    ("scheme", "card", "words"),
    [
        ("variable-bit", CARD, "feedback.weights (target of the training): got 'mimo'|channel, what the weights fake"),
        (
            "variable-bit",
            {**CARD, "input": BIT_CARD["input"]},
            "feedback.variable-bit.weights: got './weights'|weights of a network of bits",
        ),
        ("autoencoder", BIT_CARD, "feedback.weights (target of the training): got 'channel'|mimo, what the weights"),
        ("autoencoder", {**BIT_CARD, "input": CARD["input"]}, "feedback.weights: got 'fake'|weights with a codec"),
        ("eigenvector", BIT_CARD, "feedback.weights (target of the training): got 'eigenvector'|mimo, what the"),
        ("klt", BIT_CARD, "feedback.klt.weights: got './weights'|weights of a recipe with model klt"),
    ],
)
def test_weights_of_another_kind(refused, scheme, card, words):
    weights_folder(base=card)
    params = {"bits": 3} if scheme == "klt" else {}
    tells(refused("run", with_bits(scheme, **params), "--out", "out"), words)


def test_a_network_of_bits_has_no_codec_to_export(refused):
    weights_folder(base=BIT_CARD)
    message = refused("export", "./weights", "--side", "ue", "--format", "keras", "--out", "model")
    tells(message, "weights: got './weights'|weights of a network with a codec")


# Data sets


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("foo=1", "csilink: unknown: foo; allowed: carrier, "),
        ("ue.num_users=2", "ue.num_users: got 2|1: every sample of a data set is one UE"),
        ("splits={train: 0}", "splits.train: got 0|greater than or equal to 1"),
        ("splits={}", "splits: got {}|at least 1"),
        ("splits={../x: 5}", "splits|'../x'|text that matches"),
        ("parts=[]", "parts: got []|at least 1"),
        ("parts.0.weight=0", "parts.0.weight: got 0|greater than 0"),
        ("parts.0.weight=.inf", "parts.0.weight: got inf|finite"),
        ("parts.0.channel.taps=9", "parts.0.channel.taps: got 9|1..8"),
        ("parts.0.channel.model=foo", "parts.0.channel.model: got 'foo'|cdl, rayleigh"),
        ("parts.0.channel={model: tdl, profile: E, angle_spread_deg: 4}", "parts.0.channel.angle_spread_deg: got 4.0"),
        ("shard_samples=1000000", "shard_samples: got 1000000|100000"),
        ("bs={n1: 64, n2: 64}", "shard_samples: got 100000|GiB of memory"),
    ],
)
def test_a_wrong_data_set_recipe(refused, assignment, words):
    recipe = {**RECIPE, "shard_samples": 100000, "splits": {"train": 100000}} if "n1: 64" in assignment else RECIPE
    tells(refused("dataset", written(recipe), "--out", "out", "--set", assignment), words)


def test_further_splits_are_welcome(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["csilink", "dataset", str(written(RECIPE)), "--set", "splits.extra=3"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    assert (Path("datasets/tiny") / "extra-00000.h5").is_file()


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("store", "store: holds the data of another recipe; choose another --out"),
        ("full", "full: holds other files; choose another --out"),
        ("file", "file: cannot be written"),
        ("/proc/csilink/x", "/proc/csilink/x: cannot be written"),
    ],
)
def test_a_place_that_cannot_hold_a_data_set(refused, store, out, words):
    written("kept", "full/notes.txt")
    written("kept", "file")
    tells(refused("dataset", written(RECIPE), "--out", out, "--set", "seed=99"), words)


# Training


@pytest.fixture
def store():
    make_dataset(parse_recipe(RECIPE), Path("store"))
    return Path("store")


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("foo=1", "csilink: unknown: foo; allowed: task, name, "),
        ("model.name=foo", "model.name: got 'foo'|csinet"),
        ("model=csinet", "model: got 'csinet'|a mapping of fields"),
        ("model.params.foo=1", "model.params|'foo': 1|what CsiNet takes"),
        ("model.params.height=1", "model.params|'height': 1|what CsiNet takes"),
        ("model.params.num_latents=0", "model.params|'num_latents': 0|positive"),
        ("quantizer.name=foo", "quantizer.name: got 'foo'|mu_law, uniform"),
        ("quantizer.bits=[0]", "quantizer.bits.0: got 0|greater than or equal to 1"),
        ("quantizer.bits=[17]", "quantizer.bits.0: got 17|less than or equal to 16"),
        ("quantizer.bits=4", "quantizer.bits: got 4|a list"),
        ("dataset=other", "--store: got 'tiny'|a store of the data set other"),
        ("num_delays=9", "num_delays: got 9|1..8"),
        ("epochs=0", "epochs: got 0|greater than or equal to 1"),
        ("batch_size=31", "batch_size: got 31|1..30 (training samples)"),
        ("max_samples=3", "batch_size: got 10|1..3 (training samples)"),
        ("learning_rate=.nan", "learning_rate: got nan|greater than 0"),
        ("warmup_epochs=.inf", "warmup_epochs: got inf|finite"),
        ("init=foo", "init: got 'foo'|random|pca"),
        ("init=pca", "init: got 'pca'|image_activation: linear"),
        ("seed='1'", "seed: got '1'|a number"),
        ("name=a b", "name: got 'a b'|text that matches"),
        ("concrete={}", "csilink: unknown: concrete"),
        ("task=autoencodr", "task: got 'autoencodr' (did you mean autoencoder?)"),
        (
            "domain=antenna_frequency",
            "domain, scaling: got 'antenna_frequency, per_sample'|the defaults, or target mimo",
        ),
        ("scaling=none", "domain, scaling: got 'angular_delay, none'|the defaults, or target mimo"),
        ("restarts={first_epochs: 0}", "restarts.first_epochs: got 0|greater than 0"),
        ("restarts={first_epochs: 1, multiplier: 0.5}", "restarts.multiplier: got 0.5|greater than or equal to 1"),
        ("distill={teacher: x, alpha: 1.1}", "distill.alpha: got 1.1|less than or equal to 1"),
        ("distill={teacher: x, loss: kl}", "distill.loss: got 'kl'|'nf_kd', 'normalized_kd', 'bit_adaptive' or 'mse'"),
        ("distill={alpha: 0.5}", "distill.teacher: required"),
        ("distill={teacher: nowhere}", "distill.teacher: got 'nowhere'|csinet-100|a folder with card.json"),
        ("distill={teacher: ./x}", "distill.teacher: got './x'|an existing folder"),
        ("distill={teacher: klt-mixed}", "distill.teacher: got 'klt-mixed'|weights of a network"),
        ("distill={teacher: csinet-100}", "distill.teacher|csinet-100 (image 32 x 32)|weights for image 4 x 4"),
        ("distill={teacher: evt-80}", "distill.teacher|evt-80 (target eigenvector|weights for target channel"),
    ],
)
def test_a_wrong_training_recipe(refused, store, assignment, words):
    tells(refused("train", written(TRAINING), "--store", store, "--out", "out", "--set", assignment), words)


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (("model={name: variable_bit}",), "model.name: got 'variable_bit'|a network of real latents"),
        (("distill={teacher: x}", "loss=sgcs"), "loss: got 'sgcs'|'nmse', 'mse' or 'sum_rate'"),
        (
            ("distill={teacher: x}", "rate={weight: [1]}", "quantizer={bits: [2], unquantized_share: false}"),
            "distill: got 'with loss nmse and rate'|loss mse or nmse alone",
        ),
    ],
)
def test_parts_of_a_training_that_do_not_fit(refused, store, assignments, words):
    sets = [part for assignment in assignments for part in ("--set", assignment)]
    tells(refused("train", written(TRAINING), "--store", store, "--out", "out", *sets), words)


BITS = {**{key: value for key, value in TRAINING.items() if key != "quantizer"}, "task": "variable_bit"}


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("name=net", "model.name: got 'csinet'|a network of bits"),
        ("quantizer={name: uniform}", "quantizer: got {'name': 'uniform'}"),
        ("model={name: variable_bit, params: {head: row}}", "model.params|head is 'shared' or 'token'"),
        ("model={name: variable_bit, params: {token_rows: 3}}", "model.params|'token_rows': 3|divides the 4 rows"),
        ("model={name: variable_bit, params: {token_rows: 0}}", "model.params|'token_rows': 0|divides the 4 rows"),
        ("concrete={end_temperature: 0}", "concrete.end_temperature: got 0|greater than 0"),
    ],
)
def test_a_wrong_training_of_bits(refused, store, assignment, words):
    tells(refused("train", written(BITS), "--store", store, "--out", "out", "--set", assignment), words)


def test_an_unknown_backend(refused, store):
    message = refused("train", written(TRAINING), "--store", store, "--out", "out", "--backend", "foo")
    tells(message, "--backend: got 'foo'|tensorflow, jax, torch")


def damage(store, how):
    """Damage a store in one way and say which file the message must name."""
    manifest, shard = store / "manifest.json", store / "train-00001.h5"
    data = json.loads(manifest.read_text())
    if how == "no manifest":
        manifest.unlink()
        return f"{manifest}: no finished store here"
    if how == "shard missing":
        shard.unlink()
        return f"{shard}: shard named in the manifest is missing"
    if how == "hash":
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
        return f"{shard}: damaged, SHA-256 differs from the manifest"
    if how == "no split":
        del data["splits"]["val"]
        manifest.write_text(json.dumps(data))
        return "split: got 'val'|test, train"
    manifest.write_text(json.dumps(how) if how != "no json" else "{")
    return f"{store}|manifest"


@pytest.mark.parametrize(
    "how",
    [
        "no manifest",
        "shard missing",
        "hash",
        "no split",
        "no json",
        [],
        {},
        {"splits": 3},
        {"splits": {"train": 5}},
        {"splits": {"train": [{}]}},
        {"splits": {}},
        {"splits": {}, "recipe": {"name": "tiny"}},
    ],
    ids=str,
)
def test_a_damaged_store(refused, store, how):
    words = damage(store, how)
    tells(refused("train", written(TRAINING), "--store", store, "--out", "out"), words)


@pytest.mark.parametrize("out", ["file", "file/sub", "/proc/csilink/x"])
def test_a_place_that_cannot_hold_a_training(refused, store, out):
    written("kept", "file")
    tells(refused("train", written(TRAINING), "--store", store, "--out", out), f"{out}: cannot be written")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "out/history.json: damaged|delete out and train again"),
        ('{"recipe": {"name": "other"}, "epochs": []}', "out: checkpoints of another recipe"),
        (None, "out/history.json: damaged|delete out and train again"),
    ],
)
def test_damaged_checkpoints(refused, store, content, words):
    if content is None:
        from receivers.training.recipe import parse_training

        content = json.dumps({"recipe": parse_training(TRAINING).model_dump(mode="json"), "epochs": [{}]})
    written(content, "out/history.json")
    tells(refused("train", written(TRAINING), "--store", store, "--out", "out"), words)


# The real program


def csilink(*argv):
    return subprocess.run([str(CSILINK), *map(str, argv)], capture_output=True, text=True, timeout=600)


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "argv", "words"),
    [
        ("a: [1", (), "s.yaml line 1"),
        (BASE, ("--set", "feedback.rvq.bits=21"), "feedback.rvq.bits: got 21|less than or equal to 20"),
        (BASE, ("--engine", "foo"), "--engine: got 'foo'|local, ray"),
    ],
)
def test_the_program_ends_with_code_2(text, argv, words):
    done = csilink("run", written(text), "--out", "out", *argv)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    tells(done.stderr, words)
    assert not Path("out").exists()


@pytest.mark.long
def test_help_list_and_check_stay_light():
    """One after the other in a process: the first that loads something heavy is named."""
    weights_folder(base=BIT_CARD)
    with_bits()
    commands = ["--help", "list", "check rvq_theory", "check s.yaml", "run --help", "run nowhere"]
    commands += ["export transnet_250", "export csinet-100 --side x", "import-torch transnetz x --out y"]
    commands += ["policies csinet-100 --store nowhere", "train csinet_250 --set model.name=x"]
    commands += ["train csinet_250 --store nowhere", "dataset info nowhere", "list zo"]
    code = (
        "import sys; from benchmarks.cli import main\n"
        "for command in sys.argv[1:]:\n"
        "    sys.argv = ['csilink', *command.split()]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "    heavy = sorted({'tensorflow', 'keras', 'sionna', 'torch', 'jax', 'ray'} & set(sys.modules))\n"
        "    print('HEAVY', command, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *commands], capture_output=True, text=True, timeout=600)
    told = [line for line in done.stdout.splitlines() if line.startswith("HEAVY")]
    assert told == [f"HEAVY {command} []" for command in commands], done


def _commands(group, path=()):
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))


COMMANDS = dict(_commands(typer.main.get_command(cli.app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_shows_every_word(path, monkeypatch, capsys):
    """Markup swallows nothing: words of all texts, and defaults, stand in the help."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["csilink", *path, "--help"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr().out
    assert stop.value.code == 0
    command = COMMANDS[path]
    for param in command.params:
        texts = [param.help or ""] if hasattr(param, "help") else []
        texts += [param.show_default] if isinstance(getattr(param, "show_default", None), str) else []
        for word in " ".join(texts).split():
            assert word in said, (param.name, word)
        assert "[default" not in (getattr(param, "help", None) or ""), f"{param.name}: show_default= is the way"
        if param.default is not None and param.default != () and not param.required and not param.is_flag:
            assert "[default: " in said, param.name
    for word in (command.help or "").split():
        assert word in said, word
