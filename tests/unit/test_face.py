"""`import csilink`: parts of the link on plain arrays, checks at the door, classes of one's own, examples that run."""

import doctest
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import csilink
from benchmarks.build import ChannelDraw
from benchmarks.cli import app
from benchmarks.face.feedback import Reconstruction
from benchmarks.reads import note_parts
from csilink import testing
from receivers.models.checked import autoencoder_class
from receivers.weights.folder import TrainedEstimator, TrainedModel, TrainedPredictor, zoo_names
from scenarios.schema import parse_scenario
from scenarios.sweep import Point, expand
from simulator.core import registry
from simulator.core.content import noting
from simulator.core.errors import ConfigError, CsilinkError
from simulator.core.interfaces import FeedbackScheme, Precoder
from simulator.core.types import CsiEstimate, CsiReconstruction, CsiReport
from simulator.phy.rayleigh import Rayleigh
from simulator.precoding.linear import Mrt, Zf

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "name": "small",
    "carrier": {"num_rb": 4},
    "bs": {"n1": 4, "n2": 1, "num_pol": 1},
    "channel": {"model": "rayleigh"},
    "feedback": [{"scheme": "rvq", "bits": 4}],
    "precoding": {"precoders": ["mrt"]},
    "metrics": ["sum_rate_bpshz"],
    "snr_db": [0],
    "run": {"drops": 4},
}
GUEST_CHECKS = [name for name in testing.__all__ if name.startswith("check_")]
QUESTIONS = ("Args:", "Raises:", "Example:")


@pytest.fixture(autouse=True)
def no_registered(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


def python(code, *arguments, path=None):
    command = [sys.executable, *arguments, *(["-c", code] if code else [])]
    return subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=600)


def nmse_db(h, h_hat):
    error = np.sum(np.abs(h_hat.astype(complex) - h) ** 2, axis=(2, 3, 4)) / np.sum(np.abs(h) ** 2, axis=(2, 3, 4))
    return 10 * np.log10(error.mean())


# The package ---------------------------------------------------------------------------------------------------------


def test_nothing_heavy_is_imported():
    heavy = "('tensorflow', 'keras', 'numpy', 'pandas', 'sionna', 'torch', 'jax')"
    done = python(f"import csilink, sys; print([m for m in {heavy} if m in sys.modules], dir(csilink))")
    assert done.stdout.startswith("[] ") and "'channel'" in done.stdout and not done.stderr


@pytest.mark.parametrize("name", [*csilink.__all__, *GUEST_CHECKS])
def test_every_public_name_says_what_it_takes(name):
    text = (getattr(csilink, name, None) or getattr(testing, name)).__doc__
    assert all(question in text for question in QUESTIONS) and ">>> " in text


LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("channel", "run")]  # a compilation, a worker process


@pytest.mark.parametrize("name", ["", *sorted({*csilink.__all__} - {"channel", "run"}), *GUEST_CHECKS, *LONG])
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    thing = getattr(csilink, name, None) or getattr(testing, name) if name else csilink
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    found = doctest.DocTestFinder(recurse=False).find(thing, name or "csilink", globs={"__name__": "__main__"})
    assert sum(len(example.examples) for example in found) > 1
    for example in found:
        runner.run(example)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("name", ["simulator.py", "benchmarks/__init__.py", "scenarios/readme.txt"])
def test_a_module_of_the_same_name_is_explained(name, tmp_path):
    """A file, a package, and a folder without Python, which does no harm."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("x = 1\n")
    module, command = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["csilink"].split(":")
    script = f"import sys; from {module} import {command}; sys.argv[1:] = ['--version']; sys.exit({command}())"
    room = name.split("/")[0].removesuffix(".py")
    for code in ("import csilink; print(csilink.__version__)", script):  # what an installed script does
        done = python(code, path=tmp_path)
        if name.endswith("txt"):
            assert done.returncode == 0, done.stderr
            continue
        assert done.returncode == 1
        said = done.stderr.splitlines()[-1]
        assert said.startswith(f"ImportError: csilink needs its own package '{room}'") and str(tmp_path) in said


def test_command_line():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"csilink {csilink.__version__}\n"
    done = python("", "-m", "csilink", "--version")
    assert done.stdout == f"csilink {csilink.__version__}\n" and not done.stderr
    assert "--install-completion" in CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nope",), "command: got 'nope'.*No such command"),
        (("list", "--nope"), "command: got 'list --nope'.*No such option"),
        ((), "a command is needed"),
        (("list", "nope"), "kind: got 'nope'"),
        (("check", Path("no such.yaml")), r"got 'no such\.yaml'"),
    ],
)
def test_commands_from_python_have_errors_of_ours(words, message):
    with pytest.raises(ConfigError, match=message):
        csilink.command(*words)


def test_the_exit_status_of_a_command_is_an_error(monkeypatch):
    monkeypatch.setattr("benchmarks.train_queue.run_queue", lambda *_: False)  # one of its trainings failed
    with pytest.raises(CsilinkError, match=r"csilink train --queue q\.yaml: exit status 1"):
        csilink.command("train", "--queue", "q.yaml")


# Channels, feedback --------------------------------------------------------------------------------------------------


def rayleigh(**params):
    return csilink.channel("rayleigh", **{"panel": (4, 2, 2), "num_users": 2, "num_rb": 26, **params})


def test_samples_are_those_of_a_run():
    scenario = {
        **SMALL,
        "seed": 5,
        "ue": {"num_users": 3, "num_rx_ant": 2},
        "channel": {"model": "rayleigh", "taps": 3},
    }
    point = Point(parse_scenario(scenario), {})
    link = csilink.channel("rayleigh", panel=(4, 1, 1), num_users=3, num_rx_ant=2, num_rb=4, taps=3)
    h = link.sample(5, seed=5)
    np.testing.assert_array_equal(h, ChannelDraw(point).block(0, 5)[..., 0, :])
    assert link.config == point.scenario.csi_config
    np.testing.assert_array_equal(link.sample(2, seed=5, first=3), h[3:])
    np.testing.assert_allclose(np.mean(np.abs(h) ** 2, axis=(2, 3, 4)), 1, rtol=1e-5)
    assert rayleigh(num_slots=3).sample(2).shape == (2, 2, 1, 16, 3, 26)


@pytest.mark.parametrize(
    ("params", "field"),
    [({"num_users": 0}, "ue.num_users"), ({"panel": (8, 2)}, "panel"), ({"tap": 3}, "channel")],
)
def test_wrong_channels_are_named(params, field):
    with pytest.raises(ConfigError) as error:
        csilink.channel("rayleigh", **params)
    assert error.value.field == field


def test_reports_are_those_of_the_scheme(rng):
    link = rayleigh()
    h = link.sample(4)
    face = csilink.feedback("rvq", link, bits=6)
    point = expand({**SMALL, "bs": {"n1": 4, "n2": 2, "num_pol": 2}, "carrier": {"num_rb": 26}})[0]
    from benchmarks.build import build_scheme

    scheme = build_scheme(point.scenario, "rvq", {"bits": 6})
    report = face.report(h)
    np.testing.assert_array_equal(report.bits, scheme.report(CsiEstimate(h, np.zeros((4, 2), np.float32))).bits)
    known = face.reconstruct(report)
    assert isinstance(known, Reconstruction) and known.config == link.config
    np.testing.assert_array_equal(known.w, scheme.reconstruct(report).w)
    alone = csilink.feedback("rvq", panel=(4, 2, 2), num_rb=26, bits=6)  # the same without a channel object
    np.testing.assert_array_equal(alone.report(h).bits, report.bits)
    with pytest.raises(ConfigError, match="num_rb"):
        csilink.feedback("rvq", link, num_rb=26, bits=6)


def test_a_report_for_every_slot():
    link = rayleigh(num_slots=3, normalization="none")
    h = link.sample(2)
    face = csilink.feedback("sparse", link, bits=200, num_delays=7)
    together = face.report(h)
    assert together.num_bits.shape == (6, 2)
    for drop, slot in np.ndindex(2, 3):
        one = face.report(h[drop : drop + 1, ..., slot, :])
        np.testing.assert_array_equal(one.num_bits[0], together.num_bits[3 * drop + slot])


@pytest.mark.long
def test_channels_with_their_path_gain_are_refused_or_carried():
    """-93 dB, as from a UMi cell: an error that says what is expected, or reports with the amplitude."""
    link = rayleigh(panel=(8, 2, 2), num_rb=52)
    h = link.sample(2)
    with pytest.raises(ConfigError, match=r"mean power -93\.0 dB of drop 0, user 0.*0 dB.*unit_power"):
        csilink.feedback("autoencoder", link, weights="transnet-250").report(h * 10 ** (-93 / 20))
    with pytest.raises(ConfigError, match=r"mean power 6\.0 dB of drop 1, user 1"):
        csilink.feedback("sparse", link, bits=200).report(h * np.float32([[1, 1], [1, 2]])[:, :, None, None, None])
    carrying = csilink.feedback("sparse", panel=(8, 2, 2), num_rb=52, normalization="none", bits=2000)
    weak = h * np.float32(10 ** (-93 / 20))
    assert nmse_db(weak, carrying.reconstruct(carrying.report(weak)).h) < -3
    direction = csilink.feedback("dft", link)  # an implicit scheme does not see the power
    np.testing.assert_array_equal(direction.report(weak).bits, direction.report(h).bits)
    noisy = csilink.feedback("sparse", link, bits=200)
    noisy.report(3 * h, error_var=8.0)  # an estimate at -9 dB has nine times the power


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: np.swapaxes(h, 3, 4), "subcarriers stand in the place of ports"),
        (lambda h: h[:, :, 0], r"got \(2, 2, 16, 26\); allowed: \[batch, user, rx_ant, port, subcarrier\]"),
        (lambda h: h[..., :13], r"\[batch, user, 1 rx_ant, 16 ports, \(slot,\) 26 subcarriers\]"),
        (lambda h: h.real, "complex numbers"),
        (lambda h: h * np.nan, "finite"),
    ],
)
def test_axes_are_checked(change, said):
    link = rayleigh()
    h = link.sample(2)
    with pytest.raises(ConfigError, match=said):
        csilink.feedback("dft", link).report(change(h))
    with pytest.raises(ConfigError, match=said):
        csilink.precoder("zf", link)(change(h))


# Precoders and rates -------------------------------------------------------------------------------------------------


def test_rates_of_zero_forcing_follow_the_closed_form():
    """Two users, one antenna: pseudo-inverse in float64, no interference, SNR of every user from its column."""
    link = rayleigh(num_rb=3)
    h = link.sample(4)
    w = csilink.precoder("zf", link)(h)
    found = csilink.rate(h, w, snr_db=[0, 20])
    for drop in range(4):
        wanted = np.zeros((2, 2))
        for n in range(3):
            g = h[drop, :, 0, :, n].astype(complex)
            inverse = g.conj().T @ np.linalg.inv(g @ g.conj().T)
            for user in range(2):
                gain = 0.5 / np.sum(np.abs(inverse[:, user]) ** 2)
                wanted[:, user] += np.log2(1 + np.array([1, 100]) * gain) / 3
        np.testing.assert_allclose(found[:, drop], wanted, rtol=2e-4)


def test_rates_of_several_antennas_follow_a_loop(rng):
    """LMMSE at two antennas and two layers for any precoder, slots as drops."""
    h = csilink.unit_power(rng.standard_normal((2, 2, 2, 5, 3, 4, 2)) @ [1, 1j])
    w = rng.standard_normal((6, 4, 5, 4, 2)) @ [1, 1j]
    w /= np.sqrt(np.sum(np.abs(w) ** 2, axis=(2, 3), keepdims=True))
    found = csilink.rate(h, w, snr_db=10)
    assert found.shape == (6, 2)
    for drop, slot, user in np.ndindex(2, 3, 2):
        total = 0.0
        for n in range(4):
            e = h[drop, user, :, :, slot, n].astype(complex) @ w[3 * drop + slot, n]
            for layer in (2 * user, 2 * user + 1):
                others = np.delete(e, layer, axis=1)
                q = others @ others.conj().T + 0.1 * np.eye(2)
                total += np.log2(1 + (e[:, layer].conj() @ np.linalg.solve(q, e[:, layer])).real) / 4
        np.testing.assert_allclose(found[3 * drop + slot, user], total, rtol=1e-4)


def test_a_precoder_takes_reconstructions_of_both_kinds():
    link = rayleigh()
    h = link.sample(3)
    full = csilink.rate(h, csilink.precoder("zf")(h), snr_db=10).sum(axis=1).mean()
    for scheme, params in (
        ("perfect", {}),
        ("sparse", {"bits": 400, "num_delays": 7}),
        ("etype2-r16", {"combination": 4}),
    ):
        known = csilink.feedback(scheme, link, **params)
        w = csilink.precoder("zf")(known.reconstruct(known.report(h)))
        share = csilink.rate(h, w, snr_db=10).sum(axis=1).mean() / full
        assert share == pytest.approx(1, rel=1e-5) if scheme == "perfect" else 0.1 < share < 1
    bare = CsiReconstruction(w=csilink.feedback("dft", link).reconstruct(csilink.feedback("dft", link).report(h)).w)
    with pytest.raises(ConfigError, match="bare CsiReconstruction"):
        csilink.precoder("zf")(bare)
    assert csilink.precoder("zf", link)(bare).shape == (3, 26, 16, 2)


def test_what_does_not_fit_is_refused():
    link = rayleigh(panel=(2, 1, 1), num_users=3)
    h = link.sample(2)
    with pytest.raises(ConfigError, match="as many streams"):
        csilink.precoder("zf", link)(h)
    one = h[:, :1]
    with pytest.raises(ConfigError, match="rzf depends on the noise"):
        csilink.precoder("rzf")(one)
    w = csilink.precoder("rzf")(one, snr_db=10)
    with pytest.raises(ConfigError, match=r"w\.shape.*26 subcarriers, 2 ports"):
        csilink.rate(one, np.swapaxes(w, 1, 2), snr_db=10)
    with pytest.raises(ConfigError, match="total power 4"):
        csilink.rate(one, 2 * w, snr_db=10)
    with pytest.raises(ConfigError, match="num_layers"):
        csilink.precoder("zf", num_layers=2)(one)


@pytest.mark.parametrize(
    ("task", "kind"), [("feedback", TrainedModel), ("prediction", TrainedPredictor), ("estimation", TrainedEstimator)]
)
def test_weights_of_every_task(task, kind):
    name = zoo_names(task)[0]
    found = csilink.weights(name)
    assert type(found) is kind and found.card["model"]["name"] == kind(name).card["model"]["name"]


# Scenarios in any form -----------------------------------------------------------------------------------------------


def test_a_scenario_may_be_a_path_a_mapping_or_validated(tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    forms = (tmp_path / "small.yaml", str(tmp_path / "small.yaml"), SMALL, parse_scenario(SMALL))
    assert len({csilink.check(form)[0].key for form in forms}) == 1
    three = [
        csilink.check(SMALL, overrides)[0].key
        for overrides in ({"ue.num_users": 3}, ["ue.num_users=3"], "ue.num_users=3")
    ]
    assert len(set(three)) == 1 and three[0] != csilink.check(SMALL)[0].key
    assert "ue" not in SMALL, "the mapping of the user was changed"
    with pytest.raises(ConfigError, match="a path, the name of a preset, a mapping"):
        csilink.check(7)


def test_numbers_that_yaml_1_1_takes_for_text():
    data = yaml.safe_load("{carrier_hz: 3.5e9, num_rb: 4, subcarrier_spacing_hz: 30e3}")
    assert data["carrier_hz"] == "3.5e9"
    scenario = parse_scenario({**SMALL, "carrier": data, "time": {"slot_s": "5e-4"}, "snr_db": ["1e1"]})
    assert (scenario.carrier.carrier_hz, scenario.carrier.subcarrier_spacing_hz) == (3.5e9, 30e3)
    assert scenario.time.slot_s == 5e-4 and scenario.snr_db == (10.0,)
    for text in ("3.5", "ten", "1e", "e9", "", "0x1e3", "１e3"):
        with pytest.raises(ConfigError, match="a number"):
            parse_scenario({**SMALL, "carrier": {**data, "carrier_hz": text}})


# Classes of one's own ------------------------------------------------------------------------------------------------


class FirstPort(FeedbackScheme):
    """No bit worth its name: one that is always 0; everything through port 0."""

    label, max_bits, explicit = "first-port", 1, False

    def __init__(self, config, *, seed=0):
        self.config = config

    def report(self, csi):
        lead = csi.h_hat.shape[:2]
        return CsiReport(np.zeros((*lead, 1), np.uint8), np.ones(lead, int))

    def reconstruct(self, report):
        report.expect_length(1)
        w = np.zeros((*report.num_bits.shape, self.config.panel.num_ports, 1, self.config.num_subbands), np.complex64)
        w[:, :, 0] = 1
        return CsiReconstruction(w=w)


def test_a_registered_class_runs(tmp_path):
    assert csilink.register("feedback", "first-port", FirstPort) is FirstPort
    assert "first-port" in registry.names("feedback")
    scenario = {**SMALL, "feedback": [{"scheme": "first-port"}]}
    frame = csilink.run(scenario, out=tmp_path / "r", report=False)
    assert frame.scheme.tolist() == ["first-port"] and frame.value[0] > 0
    with pytest.raises(ConfigError, match="known to this process alone"):
        csilink.run(scenario, out=tmp_path / "s", workers=2)
    # A cell of a notebook is run again: a class without a text, another port, another result.
    second = {"reconstruct": lambda s, r: CsiReconstruction(w=np.roll(FirstPort.reconstruct(s, r).w, 1, 2))}
    other = type("Other", (FirstPort,), second)
    csilink.register("feedback", "first-port", other)
    again = csilink.run(scenario, out=tmp_path / "t", report=False)
    assert again.value[0] != frame.value[0]
    for kind, name, cls, said in (
        ("feedback", "rvq", FirstPort, "none of"),
        ("feedback", "mine", Mrt, "class Mrt"),
        ("feedback", "mine", FirstPort(None), "FirstPort"),
        ("feedbacks", "mine", FirstPort, "feedback"),
    ):
        with pytest.raises(ConfigError, match=said):
            csilink.register(kind, name, cls)


MODULE = "from simulator.precoding.linear import Mrt\n\nclass Mine(Mrt):\n    'Mine.'\n"


def test_dotted_paths(tmp_path, monkeypatch):
    """A class in a module of the user's, without an entry point; its text is part of what a point read."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_precoders.py").write_text(MODULE)
    scenario = {**SMALL, "precoding": {"precoders": ["my_precoders:Mine"]}}
    point = csilink.check(scenario)[0]
    notes = []
    for text in (MODULE, MODULE + "\n# changed\n"):
        (tmp_path / "my_precoders.py").write_text(text)
        with noting() as read:
            note_parts(point.scenario)
        notes.append(read["precoders.my_precoders:Mine"])
    assert len(set(notes)) == 2
    h = rayleigh().sample(2)
    np.testing.assert_array_equal(csilink.precoder("my_precoders:Mine")(h), csilink.precoder("mrt")(h))
    for name, said in (
        ("my_precoders:Other", "Other"),
        ("no_such_module:Mine", "no_such_module"),
        ("os:system", "derived from"),
        ("subprocess:Popen", "derived from"),
        ("my precoders:Mine", "mrt"),
    ):
        with pytest.raises(ConfigError, match=said):
            csilink.check({**SMALL, "precoding": {"precoders": [name]}})
    sys.modules.pop("my_precoders", None)


@pytest.mark.parametrize("kind", ["models", "quantizers", "coders", "prediction_models", "estimation_models"])
def test_what_cards_of_weights_name_is_no_dotted_path(kind):
    """Weights may come from strangers: they name installed plug-ins, nothing that would be imported for them."""
    with pytest.raises(ConfigError, match="allowed"):
        registry.load(kind, "subprocess:Popen")


@pytest.mark.long
def test_workers_find_the_modules_of_dotted_paths(tmp_path, monkeypatch):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (tmp_path / "scenarios").mkdir()  # folders that people have
    (tmp_path / "benchmarks.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    (folder / "my_remote_precoders.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    scenario = {**SMALL, "precoding": {"precoders": ["my_remote_precoders:Mine", "mrt"]}}
    frame = csilink.run(scenario, out=tmp_path / "r", workers=1, report=False)
    assert frame.value.nunique() == 1 and len(frame) == 2


class Taps(csilink.NetworkFeedback):
    """All of an image, real by real: what is lost is the quantiser's."""

    name, num_delays, num_latents, bits = "taps", 7, 7 * 12 * 2, 8

    def encode(self, images):
        return images.reshape(len(images), -1) / 16

    def decode(self, latents):
        return 16 * latents.reshape(-1, 7, 12, 2)


@pytest.mark.parametrize("amplitude", [1.0, 3e-5])
def test_a_network_of_ones_own(amplitude, rng):
    """All taps and 8 bits a real: uniform cells of 2/256 err by 16^2 (2/256)^2 / 12 per real, twice per entry."""
    known = "per_sample" if amplitude == 1 else "none"
    config = testing.CONFIG
    scheme = csilink.feedback(
        Taps, panel=config.panel, num_rx_ant=2, num_subcarriers=7, subband_rb=3, normalization=known
    )
    h = csilink.unit_power(testing.plane_waves(config, rng, batch=50).h_hat)
    h = h / np.sqrt(np.mean(np.abs(h) ** 2, axis=(3, 4), keepdims=True)) * np.float32(amplitude)  # each antenna
    assert scheme.max_bits == 2 * (7 * 12 * 2 * 8 + (0 if amplitude == 1 else 8))
    found = nmse_db(h, scheme.reconstruct(scheme.report(h)).h)
    wanted = 2 * 16**2 * (2 / 256) ** 2 / 12
    if amplitude == 1:
        assert found == pytest.approx(10 * np.log10(wanted), abs=0.2)
    else:
        assert found < -20  # with the amplitude in steps of about 1 dB


def test_images_to_train_on_are_those_of_the_encoder(rng):
    """A plane wave of beam (1, 2) and delay 3 is one entry of its image, by the Fourier series of both axes."""
    config, seen = testing.CONFIG, []
    n1, n2 = config.panel.n1, config.panel.n2
    beam = np.outer(np.exp(2j * np.pi * np.arange(n1) / n1), np.exp(4j * np.pi * np.arange(n2) / n2)).reshape(-1)
    h = np.tile(beam, config.panel.num_pol)[:, None] * np.exp(-6j * np.pi * np.arange(7) / 7)
    h = np.broadcast_to(h, (2, 3, config.num_rx_ant, *h.shape)).astype(np.complex64)
    cls = type("Seen", (Taps,), {"encode": lambda self, images: seen.append(images) or Taps.encode(self, images)})
    scheme = cls(config)
    images = scheme.images(h)
    scheme.report(CsiEstimate(h, np.zeros((2, 3), np.float32)))
    np.testing.assert_array_equal(images, seen[0])
    power = np.sum(images[0] ** 2, axis=-1)
    places = np.argwhere(power > 1e-3)
    assert len(places) == config.panel.num_pol and set(places[:, 0]) == {3}
    np.testing.assert_allclose(power[power > 1e-3], 7 * n1 * n2, rtol=1e-4)


def test_outputs_of_pytorch(rng):
    """Tensors that keep a gradient or lie on a device, by the two methods that are called."""

    class Tensor:
        def __init__(self, x):
            self.x = x

        def detach(self):
            return self

        def cpu(self):
            return self.x

    cls = type("Torch", (Taps,), {"encode": lambda self, images: Tensor(Taps.encode(self, images))})
    estimate = testing.plane_waves(testing.CONFIG, rng)
    np.testing.assert_array_equal(*(c(testing.CONFIG).report(estimate).bits for c in (cls, Taps)))


def test_a_network_of_ones_own_keeps_the_contract():
    testing.check_feedback_scheme(Taps)


def test_a_keras_network_of_ones_own():
    import keras

    class Dense(csilink.NetworkFeedback):
        """Two dense layers, without training."""

        name, num_delays, num_latents, bits = "dense", 7, 10, 4

        def __init__(self, config, **params):
            super().__init__(config, **params)
            initial = [keras.initializers.GlorotUniform(seed=s) for s in (1, 2)]
            dense = [
                keras.layers.Dense(n, "tanh", kernel_initializer=i) for n, i in zip((10, 168), initial, strict=True)
            ]
            self.encoder = keras.Sequential([keras.layers.Flatten(), dense[0]])
            self.decoder = keras.Sequential([dense[1], keras.layers.Reshape((7, 12, 2))])

        def encode(self, images):
            return self.encoder(images)

        def decode(self, latents):
            return self.decoder(latents)

    testing.check_feedback_scheme(Dense)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bits": 0}, r"Taps\.bits: got 0; allowed: 1\.\.16"),
        ({"num_latents": None}, r"Taps\.num_latents: got None"),
        ({"num_latents": 5}, r"Taps\.encode: got 'an output of shape \(.*168\)'; allowed: \(.* 5\)"),
        ({"decode": lambda self, latents: latents}, r"Taps\.decode"),
        ({"encode": lambda self, images: images.reshape(len(images), -1) * np.nan}, "NaN"),
    ],
)
def test_what_a_network_must_be_is_said(change, said, rng):
    cls = type("Taps", (Taps,), change)
    with pytest.raises(ConfigError, match=said):
        scheme = cls(testing.CONFIG)
        scheme.reconstruct(scheme.report(testing.plane_waves(testing.CONFIG, rng)))


def test_a_keras_model_by_name_is_told_what_to_derive_from():
    import keras

    class Mine(keras.Model):
        """No autoencoder of ours."""

    csilink.register("models", "mine", Mine)
    with pytest.raises(ConfigError, match=r"model\.name: .*Autoencoder.*csilink\.NetworkFeedback"):
        autoencoder_class("mine")
    for name in set(registry.names("models")) - {"mine", "klt"}:  # klt is fitted, not trained
        assert autoencoder_class(name) is registry.load("models", name)


# Checks for guests ---------------------------------------------------------------------------------------------------


def test_faulty_schemes_are_found():
    class Remembers(Taps):
        """Keeps the estimate from the UE to the gNB."""

        def report(self, csi):
            self.h = csi.h_hat
            return super().report(csi)

        def reconstruct(self, report):
            return CsiReconstruction(h=self.h) if hasattr(self, "h") else super().reconstruct(report)

    class Overlong(Taps):
        """Longer than it says."""

        max_bits = property(lambda self: 10)
        report = lambda self, csi: CsiReport(np.zeros((*csi.h_hat.shape[:2], 11), np.uint8), np.full((3, 2), 11))  # noqa: E731

    class Neighbours(Taps):
        """Images scaled by the mean of the batch."""

        def encode(self, images):
            return super().encode(images) / (1 + np.abs(images).mean())

    class Random(Taps):
        """Dithered."""

        def encode(self, images):
            return super().encode(images) + np.random.default_rng().uniform(0, 0.1)

    class Padded(Taps):
        """Half its bits are padding that is not zero."""

        def report(self, csi):
            report = super().report(csi)
            return CsiReport(report.bits, report.num_bits // 2)

    for cls, said in (
        (FirstPort, "too many are equal"),
        (Remembers, "more than the bits"),
        (Overlong, "a report of 11 bits; max_bits is 10"),
        (Neighbours, "their reports change"),
        (Random, "another report"),
        (Padded, "padding is not zero"),
    ):
        with pytest.raises(AssertionError, match=said):
            testing.check_feedback_scheme(cls)


@pytest.mark.long
def test_faulty_precoders_are_found():
    class Strong(Zf):
        """Twice the power."""

        weights = lambda self, g, noise_var: 2**0.5 * super().weights(g, noise_var)  # noqa: E731

    class Quiet(Precoder):
        """Depends on the noise without saying so."""

        def weights(self, g, noise_var):
            import simulator.precoding.linear as linear

            return linear.rzf(g, noise_var * g.shape[-2])

    class Everybody(Mrt):
        """Power for users of whom nothing is known."""

        def weights(self, g, noise_var):
            from simulator.core.backend import ops

            return super().weights(ops.convert_to_tensor(ops.convert_to_numpy(g) + 1e-9), noise_var)

    for cls, said in (
        (Strong, r"total power 2, not 1|total power [12]\.?\d*\.\.2"),
        (Quiet, "noise_dependent is False"),
        (Everybody, "power for users"),
    ):
        with pytest.raises(AssertionError, match=said):
            testing.check_precoder(cls)


def test_faulty_sources_are_found():
    class Counts(Rayleigh):
        """Random numbers of a drop by its place in the batch."""

        def sample(self, batch_size, *, seed, first=0):
            return super().sample(batch_size, seed=seed)

    class Ignores(Rayleigh):
        """The same for every seed."""

        def sample(self, batch_size, *, seed, first=0):
            return super().sample(batch_size, seed=0, first=first)

    class OneSlot(Rayleigh):
        """No slot axis."""

        def sample(self, batch_size, *, seed, first=0):
            return super().sample(batch_size, seed=seed, first=first)[..., 0, :]

    for cls, said in ((Counts, "those before it"), (Ignores, "another seed"), (OneSlot, "channels of shape")):
        with pytest.raises(AssertionError, match=said):
            testing.check_channel(cls)


def test_faulty_networks_are_found():
    from receivers.models.csinet import CsiNet

    class Forgets(CsiNet):
        """A configuration of another size."""

        def get_config(self):
            return super().get_config() | {"num_latents": 3}

    with pytest.raises(AssertionError, match="builds another network"):
        testing.check_model(Forgets, num_latents=16)
