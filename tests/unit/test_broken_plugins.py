"""A broken plug-in is named with its entry point, file and line, and matters only to what uses it."""

import sys
from importlib.metadata import EntryPoint, entry_points

import pytest

from benchmarks.runner import check
from simulator.core import registry
from simulator.core.errors import ConfigError

SCENARIO = """
name: small
carrier: {num_rb: 4}
bs: {n1: 4, n2: 1, num_pol: 1}
channel: {model: rayleigh}
feedback: [{scheme: rvq, bits: 4}]
precoding: {precoders: [mrt]}
metrics: [sum_rate_bpshz]
snr_db: [0]
run: {drops: 4}
"""
# Text of the module, and what the message holds; the fault is in line 2.
FAULTS = {
    "syntax": ("\ndef f(:\n", "SyntaxError: invalid syntax"),
    "import": ("\nimport no_such_package_at_all\n", "ModuleNotFoundError: No module named 'no_such_package_at_all'"),
    "raise": ("\n1 / 0\nclass Guest: pass\n", "ZeroDivisionError"),
    "exit": ("\nraise SystemExit(3)\n", "SystemExit: 3"),
    "no class": ("\nGuest = 7\n", "a int"),
}


@pytest.fixture
def guest(tmp_path, monkeypatch):
    """Function that installs a guest package ``guest_package.part`` with this text as plug-in ``guest`` of a kind."""
    real = entry_points

    def install(kind, text, value="guest_package.part:Guest"):
        folder = tmp_path / "guest_package"
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text("")
        (folder / "part.py").write_text(text)
        found = EntryPoint("guest", value, f"csilink.{kind}")
        monkeypatch.setattr(
            registry,
            "entry_points",
            lambda group: [*real(group=group), *([found] if group == found.group else [])],
        )
        registry._points.cache_clear()
        for name in ("guest_package", "guest_package.part"):
            sys.modules.pop(name, None)
        return folder / "part.py"

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(SCENARIO)
    yield install
    monkeypatch.undo()
    registry._points.cache_clear()
    for name in ("guest_package", "guest_package.part"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", registry.KINDS)
def test_the_message_names_plug_in_entry_point_file_and_line(guest, kind, fault):
    text, said = FAULTS[fault]
    file = guest(kind, text)
    with pytest.raises(ConfigError) as caught:
        registry.load(kind, "guest")
    message = str(caught.value)
    assert message.startswith(f"plug-in 'guest' (entry point csilink.{kind}: guest_package.part:Guest)"), message
    assert said in message and "\n" not in message, message
    if fault != "no class":
        assert f"in {file}, line 2: got " in message, message


@pytest.mark.parametrize("kind", registry.INTERFACES)
def test_a_class_of_another_kind_or_with_missing_methods(guest, kind):
    file = guest(kind, "\n\nclass Guest:\n    pass\n")
    base = registry.INTERFACES[kind]
    with pytest.raises(ConfigError, match=rf"line 3: got class Guest; allowed: a class derived from .*{base.__name__}"):
        registry.load(kind, "guest")
    guest(kind, f"from {base.__module__} import {base.__name__}\nclass Guest({base.__name__}):\n    pass\n")
    with pytest.raises(ConfigError, match=r"got class Guest without ") as caught:
        registry.load(kind, "guest")
    assert f"in {file}, line 2" in str(caught.value)


def test_a_module_or_class_that_is_not_there(guest):
    guest("metrics", "", "guest_package.nothing:Guest")
    with pytest.raises(ConfigError, match=r"guest_package\.nothing:Guest\).*No module named 'guest_package.nothing'"):
        registry.load("metrics", "guest")
    file = guest("metrics", "", "guest_package.part:Guests")
    with pytest.raises(ConfigError, match=r"has no attribute 'Guests'") as caught:
        registry.load("metrics", "guest")
    assert str(file) in str(caught.value)


def test_a_constructor_that_fails(guest):
    text = (
        "from simulator.core.interfaces import Metric\nclass Guest(Metric):\n"
        "    unit, better, scope = 'dB', 'higher', 'link'\n    def evaluate(self, outcome):\n        return {}\n"
        "    def __init__(self):\n        self.limit = {}['limit']\n"
    )
    file = guest("metrics", text)
    with pytest.raises(ConfigError) as caught:
        registry.build("metrics", "guest")
    assert f"in {file}, line 7: got KeyError: 'limit'" in str(caught.value)


@pytest.mark.parametrize("kind", registry.KINDS)
def test_a_broken_plug_in_that_is_not_used_does_not_matter(guest, kind):
    guest(kind, "def f(:")
    assert "guest" in registry.names(kind)
    assert len(check("s.yaml")) == 1


USED = {
    "metrics": "metrics=[guest]",
    "precoders": "precoding.precoders=[guest]",
    "feedback": "feedback=[{scheme: guest}]",
    "estimators": "estimation={name: guest}",
    "channels": "channel={model: guest, scal: 2}",
    "predictors": "feedback=[{scheme: rvq, bits: 4, predict: {name: guest, at: ue}}]",
}


@pytest.mark.parametrize("kind", USED)
def test_check_finds_a_broken_plug_in_that_is_used(guest, kind):
    guest(kind, "def f(:")
    with pytest.raises(ConfigError, match=rf"plug-in 'guest' \(entry point csilink\.{kind}"):
        check("s.yaml", [USED[kind]])


def test_without_a_list_of_metrics_all_are_used(guest):
    guest("metrics", "def f(:")
    with pytest.raises(ConfigError, match=r"plug-in 'guest'.*SyntaxError"):
        check("s.yaml", ["metrics=null"])


def test_a_parameter_of_a_guest_channel_is_checked(guest):
    guest(
        "channels",
        "from simulator.phy.rayleigh import Rayleigh\nclass Guest(Rayleigh):\n"
        "    def __init__(self, geometry, *, scale=1.0):\n        super().__init__(geometry)\n",
    )
    assert check("s.yaml", ["channel={model: guest, scale: 2}"])
    with pytest.raises(ConfigError, match=r"channel: unknown: scal \(did you mean scale\?\); allowed: scale"):
        check("s.yaml", ["channel={model: guest, scal: 2}"])


def test_a_broken_model_does_not_end_the_table_of_costs(guest, monkeypatch, capsys):
    from benchmarks import cost

    guest("models", "def f(:")
    monkeypatch.setattr(registry, "names", lambda kind: ["csinet", "guest"])
    monkeypatch.setattr(cost, "LATENTS", (32,))
    assert set(cost.cost_table()["model"]) == {"csinet"}
    assert "plug-in 'guest' (entry point csilink.models" in capsys.readouterr().err


def test_a_model_is_counted_once_until_its_text_changes(monkeypatch, tmp_path):
    from benchmarks import cost

    monkeypatch.setenv("CSILINK_CACHE", str(tmp_path))
    monkeypatch.setattr(registry, "names", lambda kind: ["csinet"])
    monkeypatch.setattr(cost, "LATENTS", (64, 32))
    counted = []
    monkeypatch.setattr(cost, "_row", lambda name, latents: counted.append(latents) or {"model": name, "x": latents})
    first = cost.cost_table()
    assert cost.cost_table().equals(first) and list(first["x"]) == [64, 32] == counted
    monkeypatch.setattr(cost, "package_source", lambda module: "another text")
    cost.cost_table()
    assert counted == 2 * [64, 32]
    monkeypatch.setenv("CSILINK_CACHE", "/dev/null")  # no cache: counted all the same
    assert cost.cost_table().equals(first) and len(counted) == 6
