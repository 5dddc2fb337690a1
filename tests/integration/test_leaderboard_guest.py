"""An outsider's scheme from a package of their own: entry by command, results, table, verification."""

import json
import re
import sys
from pathlib import Path

import leaderboards
import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.leaderboard import entry as entries
from benchmarks.leaderboard import track as tracks
from simulator.core import registry
from simulator.core.errors import ConfigError, StoreError

# The example of the documentation.
PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
SCHEME = re.search(r"```python\n(.*?class StrongestPort.*?)```", PAGE.read_text().split("## feedback")[1], re.S)[1]


@pytest.fixture
def guest(tmp_path, monkeypatch):
    """The package of an outsider on the path, and the small track as the only one."""
    leaderboards.here(monkeypatch)
    (tmp_path / "guest_port.py").write_text(SCHEME)
    info = tmp_path / "guest_port-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest-port\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[csilink.feedback]\nstrongest-port = guest_port:StrongestPort\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    registry._points.cache_clear()
    small = leaderboards.track()
    monkeypatch.setattr(tracks, "tracks", lambda: [small])
    monkeypatch.setattr(tracks, "track", lambda name: small)
    monkeypatch.setattr(entries, "frozen", lambda: {"tracks": {"small": small.hash}})
    monkeypatch.setattr(entries, "shipped", lambda: [])
    yield tmp_path
    registry._points.cache_clear()


def call(*arguments):
    """Output of a command; its error is raised."""
    done = CliRunner().invoke(app, ["leaderboard", *arguments])
    if done.exception is not None:
        raise done.exception
    return done.output


ADD = ("--line", "{scheme: strongest-port}", "--track", "small", "--description", "x", "--training", "none",
       "--family", "codebook")  # fmt: skip


@pytest.mark.long
def test_an_outsider_enters_and_is_verified(guest, monkeypatch):
    said = call("add", "mine/port", *ADD, "--ue-cost", "a maximum", "--run")
    assert "port, small: sgcs_subband strongest-port 2 bit" in said
    head = json.loads((guest / "mine" / "port" / "small.json").read_text())
    assert head["reads"]["feedback.strongest-port"].startswith("guest-port 1.0 ")
    assert call("run", "mine/port", "--missing") == "", "nothing is missing"
    table = call("table", "mine/port", "--class", "10")
    assert "leads" in table and "strongest-port" in table
    assert "no result yet" in call("table")
    assert "values equal" in call("verify", "mine/port")
    monkeypatch.setattr(entries, "ENTRIES", guest / "mine")
    monkeypatch.setattr(entries, "shipped", lambda: ["port"])
    listed = call("list")
    assert "small (1, " in listed and "port: small" in listed and "not run" not in listed
    with pytest.raises(ConfigError, match=r"--class.*10, 100"):
        call("table", "--class", "7")
    with pytest.raises(ConfigError, match=r"--bits.*mean, max"):
        call("table", "--bits", "median")


@pytest.mark.long
def test_a_changed_plug_in_is_found(guest):
    """The author improves the scheme and leaves the old result."""
    call("add", "mine/port", *ADD, "--ue-cost", "a maximum", "--run")
    (guest / "guest_port.py").write_text(SCHEME.replace("argmax", "argmin"))
    sys.modules.pop("guest_port")
    result = guest / "mine" / "port" / "small.json"
    with pytest.raises(StoreError, match="not confirmed; small"):
        call("verify", "mine/port", "--seed", "1")
    result.write_text(result.read_text().replace('"drops": 70', '"drops": 71'))
    assert "sgcs_subband strongest-port" in call("run", "mine/port", "--missing"), "a damaged result is missing"
    assert "confirmed" in call("verify", "mine/port", "--seed", "1")


def test_tracks_that_cannot_run_are_skipped_with_the_reason(guest, monkeypatch):
    call("add", "mine/port", *ADD, "--ue-cost", "a maximum")
    monkeypatch.setattr(tracks.Track, "missing", lambda self: "needs the file X.mat")
    assert "small: skipped, needs the file X.mat" in call("run", "mine/port")
    assert "small: skipped" in call("verify", "mine/port", "--track", "small")
