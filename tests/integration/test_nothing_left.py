"""`check` builds all that `run` builds, and a command that is refused leaves the disk as it was."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Annotated, get_type_hints

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from benchmarks import cli, runner
from benchmarks.build import check_source
from scenarios import channels
from scenarios.channels import parse_channel
from scenarios.schema import parse_scenario
from simulator.core import registry
from simulator.core.errors import ConfigError, StoreError
from simulator.core.interfaces import ChannelSource
from simulator.core.paths import nothing_left
from simulator.core.types import Panel
from simulator.data.layout import ChannelLayout
from simulator.data.writer import StoreWriter
from simulator.phy import llvm

SCENARIO = {
    "name": "small",
    "carrier": {"num_rb": 4},
    "bs": {"n1": 4, "n2": 1, "num_pol": 1},
    "ue": {"num_users": 2},
    "channel": {"model": "rayleigh"},
    "feedback": [{"scheme": "rvq", "bits": 4}],
    "precoding": {"precoders": ["zf"]},
    "metrics": ["sum_rate_bpshz"],
    "snr_db": [10],
    "run": {"drops": 64, "chunk_drops": 32},
}


@pytest.fixture(autouse=True)
def _workplace(tmp_path, monkeypatch, run_here):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(yaml.safe_dump(SCENARIO))


def tree():
    return {str(p) for p in Path().rglob("*")}


# A part that only its constructor refuses, each of another kind.
REFUSED = {
    "precoding.precoders=[{name: wmmse, num_iterations: 0}]": r"precoding\.wmmse\.num_iterations: got 0",
    "precoding.precoders=[{name: zf, foo: 1}]": r"precoding\.zf: unknown: foo",
    "precoding.precoders=[{name: rzf, loading: -1}]": r"precoding\.rzf\.loading: got -1",
    "estimation={name: noisy, snr: 3}": r"estimation: unknown: snr \(did you mean snr_db",
    "feedback=[{scheme: rvq, bit: 3}]": r"feedback\.rvq",
    "feedback=[{scheme: rvq, bits: 4, predict: {name: ar, order: 0, at: ue}}]": r"order: got 0",
    "channel={model: recorded, store: nowhere}": r"nowhere/manifest\.json: no finished store",
    "uplink={code: polar, num_re: 1}": r"uplink",
    "run.memory_gib=1e-6": r"run\.memory_gib",
}


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("assignment", REFUSED)
def test_check_refuses_what_run_refuses_and_nothing_is_left(command, assignment):
    before = tree()
    with pytest.raises((ConfigError, StoreError), match=REFUSED[assignment]):
        if command == "check":
            runner.check("s.yaml", [assignment])
        else:
            runner.run("s.yaml", out="a/b/c", overrides=[assignment])
    assert tree() == before


@pytest.mark.long
def test_check_of_presets_loads_no_framework():
    """Precoders, detection, throughput and metrics are built, Keras is not imported for them."""
    names = ["quickstart", "uma_28ghz_lvm4cf", "mobility", "etype2_payload", "throughput_umi"]
    code = (
        "import sys; from benchmarks.runner import check\n"
        "for name in sys.argv[1:]: check(name)\n"
        "print(sorted({'tensorflow', 'keras', 'torch', 'jax', 'ray'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, timeout=600)
    assert done.stdout.strip().splitlines()[-1:] == ["[]"], done


SECTIONS = {name: cls for name, cls in channels._CHANNELS.items() if name != "recorded"}
PROBES = [None, True, "x", *"ABCDEF", *(10.0**p * s for p in (-9, -5, -4, 0, 1, 1.2, 2, 3, 5, 9) for s in (-1, 1)), 0]
PROBES += [0.5, 1, 2, 45, 180, 2**31, np.inf, np.nan, "munich", (), ("los-phase",), ("ray-offsets",), (1.0, 2.0)]
PROBES += [(0.0, 1.0), (1.0, 2.0, 3.0), (1.0,)]


@pytest.mark.parametrize("name", SECTIONS)
def test_sections_of_shipped_channels_check_all_that_their_constructors_check(name):
    """So `check` need not import TensorFlow to build them: the same names and defaults, no value more."""
    signature = inspect.signature(registry.load("channels", name))
    taken = {key: p.default for key, p in signature.parameters.items() if key != "geometry"}
    fields = {key: field for key, field in SECTIONS[name].model_fields.items() if key != "model"}
    assert list(fields) == list(taken)
    hints = get_type_hints(registry.load("channels", name).__init__, include_extras=True)
    for key, field in fields.items():
        assert (taken[key] is inspect.Parameter.empty) if field.is_required() else field.default == taken[key]
        section = TypeAdapter(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation)
        constructor = TypeAdapter(hints[key], config={"strict": True})
        accepted = [value for value in PROBES if accepts(section, value)]
        assert accepted and all(accepts(constructor, section.validate_python(value)) for value in accepted), key


def accepts(adapter, value):
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def test_a_site_without_a_ray_tracer_is_refused_by_check(monkeypatch, tmp_path):
    site = yaml.safe_load(Path(cli.__file__).parents[1].joinpath("scenarios/presets/site_munich.yaml").read_text())
    geometry = parse_scenario({**SCENARIO, "channel": site["channel"]}).geometry
    monkeypatch.setenv("CSILINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(llvm, "candidates", lambda: [])
    llvm.working_llvm.cache_clear()
    with pytest.raises(StoreError, match="ray tracing needs libLLVM"):
        check_source(parse_channel(site["channel"]), geometry)
    with pytest.raises(ConfigError, match=r"ue\.num_users: got 2; allowed: at most channel\.num_points = 1"):
        check_source(parse_channel({**site["channel"], "num_points": 1}), geometry)
    llvm.working_llvm.cache_clear()


class Faulty(ChannelSource):
    """Refuses the second chunk, or the first."""

    at_once = True
    calls = 0

    def __init__(self, geometry):
        self._shape = (geometry.num_users, geometry.num_rx_ant, geometry.panel.num_ports, 1, geometry.num_subcarriers)

    def sample(self, batch_size, *, seed, first=0):
        type(self).calls += 1
        if self.at_once or self.calls > 1:
            raise StoreError("broken.h5: not readable")
        return np.ones((batch_size, *self._shape), np.complex64)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("before", ["nothing", "empty folder", "folder above"])
def test_a_run_that_is_refused_while_it_computes(monkeypatch, first, before):
    """Nothing is left without a finished chunk; finished ones stay for --resume."""
    monkeypatch.setattr(Faulty, "at_once", first)
    monkeypatch.setattr(Faulty, "calls", 0)
    build = registry.build
    monkeypatch.setattr(
        registry, "build", lambda kind, *a, **k: Faulty(a[1]) if kind == "channels" else build(kind, *a, **k)
    )
    Path({"nothing": ".", "empty folder": "a/b", "folder above": "a"}[before]).mkdir(parents=True, exist_ok=True)
    kept = tree()
    from benchmarks import chunk

    chunk._prepared.cache_clear()
    with pytest.raises(StoreError, match="not readable"):
        runner.run("s.yaml", out="a/b", report=False)
    chunk._prepared.cache_clear()
    if first:
        assert tree() == kept
    else:
        assert Path("a/b/scenario.json").is_file() and len(list(Path("a/b").rglob("*.npz"))) == 1


def test_another_run_in_the_same_folder_loses_nothing(monkeypatch):
    """A folder that somebody else claims between our look and our claim is not cleaned."""
    claim = runner.claimed_results

    def late(folder, *args):
        folder.mkdir(parents=True)
        (folder / "scenario.json").write_text("{}")
        return claim(folder, *args)

    monkeypatch.setattr(runner, "claimed_results", late)
    with pytest.raises(StoreError, match="not empty"):
        runner.run("s.yaml", out="a/b")
    assert Path("a/b/scenario.json").read_text() == "{}"


def test_a_folder_that_was_claimed_and_never_made():
    before = tree()
    with pytest.raises(StoreError, match="early"), nothing_left(Path("a/b")) as claimed:
        claimed()
        raise StoreError("early")
    assert tree() == before


def told(capsys, monkeypatch, *argv):
    monkeypatch.setattr(sys, "argv", ["csilink", *map(str, argv)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_a_refused_import_leaves_no_folder(capsys, monkeypatch):
    np.save("x.npy", np.full((3, 4, 2), np.nan, np.complex64))
    before = tree()
    said = told(
        capsys,
        monkeypatch,
        *("dataset", "import", "x.npy", "--format", "generic", "--out", "a/b/store", "--set"),
        *("axes=sample n1 subcarrier", "--set", "n1=4", "--set", "spacing_hz=15e3"),
    )
    assert "3 samples with NaN or infinite values, first 0" in said and tree() == before


def test_a_refused_data_set_leaves_no_folder(capsys, monkeypatch):
    recipe = {
        "name": "tiny",
        "carrier": {"num_rb": 8},
        "bs": {"n1": 4, "n2": 1, "num_pol": 1},
        "parts": [{"channel": {"model": "rayleigh"}}],
        "splits": {"train": 4},
    }
    Path("r.yaml").write_text(yaml.safe_dump(recipe))
    before = tree()
    from benchmarks import dataset

    def refuse(*args):
        raise StoreError("no memory for a shard")

    monkeypatch.setattr(dataset, "draw_shard", refuse)
    assert "no memory" in told(capsys, monkeypatch, "dataset", "r.yaml", "--out", "a/b/store")
    assert tree() == before


def test_a_refused_export_or_codebook_leaves_no_folder(capsys, monkeypatch):
    from benchmarks import export
    from receivers.training.tasks.codebook import CodebookTask

    def refuse(*args):
        raise StoreError("refused late")

    with StoreWriter(Path("datasets/uma"), ChannelLayout(Panel(2), 4, 15e3), name="uma") as writer:
        for split in ("train", "val", "test"):
            writer.add(split, np.ones((4, *ChannelLayout(Panel(2), 4, 15e3).entry_shape), np.complex64))
        writer.finish({})
    Path("c.yaml").write_text("task: codebook\nname: book\nenvironments: {uma: uma}\nmethod: lbg\nbits: 3\n")
    before = tree()
    monkeypatch.setattr(export, "_write_files", refuse)
    assert "refused late" in told(capsys, monkeypatch, "export", "csinet-100", "--out", "a/b/export")
    monkeypatch.setattr(CodebookTask, "_make", refuse)
    assert "refused late" in told(capsys, monkeypatch, "train", "c.yaml", "--out", "a/b/book")
    assert tree() == before


MISSING = {
    "feedback=[{scheme: autoencoder, weights: checkpoints/csinet-100-nmse-l0.001}]": (
        "`csilink dataset mixed_3g5_32ports` and then `csilink train csinet_100_nmse` makes it"
    ),
    "feedback=[{scheme: codebook, path: checkpoints/lbg-urban}]": (
        "`csilink dataset urban_3g5_32ports` and then `csilink train lbg_urban_b10` makes it"
    ),
    "feedback=[{scheme: rvq, bits: 4, predict: {name: network, at: ue, weights: ./tiny-wifo-mobility}}]": (
        "`csilink dataset mobility_3g5_8ports` and then `csilink train tiny_wifo_mobility` makes it"
    ),
    "feedback=[{scheme: autoencoder, weights: ./mine}]": "`csilink train RECIPE` makes one",
    "channel={model: recorded, store: datasets/urban_3g5_32ports}": "`csilink dataset urban_3g5_32ports` makes it",
    "channel={model: recorded, store: d/urban_3g5_32ports}": "`csilink dataset urban_3g5_32ports --out d/urban",
    "channel={model: recorded, store: d/mine}": "make one with `csilink dataset generate RECIPE --out STORE`",
}


@pytest.mark.parametrize("assignment", MISSING)
def test_what_is_not_shipped_is_told_with_the_recipe_that_makes_it(assignment):
    with pytest.raises((ConfigError, StoreError)) as caught:
        runner.check("s.yaml", [assignment])
    assert MISSING[assignment] in str(caught.value)


def test_a_training_without_its_data_set_is_told_the_command(capsys, monkeypatch):
    before = tree()
    assert "`csilink dataset mixed_3g5_32ports` makes it" in told(capsys, monkeypatch, "train", "csinet_100")
    assert tree() == before
