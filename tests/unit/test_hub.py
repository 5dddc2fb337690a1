"""Weights on the hub: the library is a folder here, nothing goes over a network."""

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from benchmarks import cli
from receivers.weights import hub
from receivers.weights.folder import TrainedModel, weights, zoo_folder
from simulator.core import extras
from simulator.core.content import sha256
from simulator.core.errors import ConfigError, StoreError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = f"hf://user/net@{COMMIT}"


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A repository on the hub, with the number of times that it was fetched."""
    place = tmp_path / "remote"
    shutil.copytree(zoo_folder() / "csinet-100", place)
    (place / "model.pkl").write_bytes(b"cos\nsystem\n")
    (place / "README.md").write_text("words")
    calls = []

    def snapshot_download(repo, *, revision, allow_patterns, local_dir):
        calls.append((repo, revision))
        if (repo, revision) not in (("user/net", COMMIT), ("user/net", "v1")):
            raise OSError("404 Client Error.\nRepository Not Found")
        shutil.copytree(place, local_dir)  # all of it, whatever was asked for

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    monkeypatch.setattr(extras, "installed", lambda *names: True)
    monkeypatch.setenv("CSILINK_CACHE", str(tmp_path / "cache"))
    return SimpleNamespace(place=place, calls=calls, cache=tmp_path / "cache" / "hub" / "user--net")


def test_weights_are_fetched_once_and_are_those_of_the_hub(remote):
    first, again = weights(NAME), TrainedModel(NAME)
    assert remote.calls == [("user/net", COMMIT)]
    assert first.card == again.card == TrainedModel("csinet-100").card
    assert first.folder == remote.cache / COMMIT
    assert sorted(path.name for path in first.folder.iterdir()) == ["card.json", "model.weights.h5", "tables.npz"]
    assert [path.name for path in remote.cache.iterdir()] == [COMMIT]  # nothing temporary


def test_what_is_in_the_cache_needs_neither_network_nor_library(remote, monkeypatch):
    weights(NAME)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr(extras, "installed", lambda *names: False)
    assert weights(NAME).name == "csinet-100"
    with pytest.raises(ConfigError, match=r"huggingface_hub is not installed.*csilink\[hub\]"):
        weights(f"hf://user/other@{COMMIT}")


def test_a_tag_needs_a_pin_and_the_pin_is_checked(remote):
    pin = sha256(remote.place / "card.json")
    assert weights(f"hf://user/net@v1#{pin}").folder == remote.cache / pin
    other = "ab" * 32
    with pytest.raises(StoreError, match=f"SHA-256 of .*card.json is {pin[:12]}.*not the pinned abababababab"):
        weights(f"hf://user/net@v1#{other}")
    assert not (remote.cache / other).exists()
    card = remote.cache / pin / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "description": "changed"}))
    with pytest.raises(StoreError, match="not the pinned"):
        weights(f"hf://user/net@v1#{pin}")


@pytest.mark.parametrize(
    "name",
    ["hf://user/net", "hf://user/net@v1", "hf://net@v1", f"hf://user/../net@{COMMIT}", f"hf://../net@{COMMIT}",
     f"hf://user/net@{COMMIT}#12", "hf://user/net@main"],
)  # fmt: skip
def test_other_forms_are_refused_before_anything_is_fetched(remote, name):
    with pytest.raises(ConfigError, match=r"weights: got 'hf://.*a tag alone may change"):
        weights(name)
    assert remote.calls == [] and not remote.cache.exists()


def test_damage_and_absence_are_one_message(remote):
    with pytest.raises(StoreError, match=r"^hf://user/gone@\w+: cannot be fetched \(404 Client Error\.\)$"):
        weights(f"hf://user/gone@{COMMIT}")
    (remote.place / "tables.npz").write_bytes(b"x")
    with pytest.raises(StoreError, match=r"tables\.npz: damaged, SHA-256 is not"):
        weights(NAME)
    shutil.rmtree(remote.cache)
    (remote.place / "card.json").unlink()
    with pytest.raises(StoreError, match=r"no weights of csilink there, card\.json is missing"):
        weights(NAME)
    assert not (remote.cache / COMMIT).exists()


def test_publish_writes_the_page_of_the_hub(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "mine"
    shutil.copytree(zoo_folder() / "csinet-100", folder)
    arguments = ["csilink", "publish", str(folder), "--repo", "user/net", "--license", "apache-2.0"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said, pin = capsys.readouterr().out, sha256(folder / "card.json")
    assert stop.value.code == 0 and f"weights: hf://user/net@REVISION#{pin}" in said
    text = (folder / "README.md").read_text()
    front = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.S).group(1))
    assert front["license"] == "apache-2.0" and front["library_name"] == "csilink" and "csi-feedback" in front["tags"]
    (entry,) = front["model-index"]
    stored = json.loads((folder / "card.json").read_text())
    metrics = {each["name"]: each["value"] for each in entry["results"][0]["metrics"]}
    codec, scores = next(iter(stored["test"]["codecs"].items()))
    assert metrics[f"NMSE (dB), {codec}"] == scores["nmse_db"]
    assert entry["results"][0]["dataset"]["name"] == stored["dataset"]["name"] and f"#{pin}" in text
    assert hub._NAME.fullmatch(f"hf://user/net@v1#{pin}")
    assert weights(str(folder)).name == "csinet-100"  # the page is no part of what the card states


def test_publish_refuses_what_is_no_folder_of_weights(tmp_path, monkeypatch, capsys):
    for arguments in (["publish", str(tmp_path), "--repo", "user/net"], ["publish", "x/y", "--repo", "net"]):
        monkeypatch.setattr(sys, "argv", ["csilink", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == 1
    assert not list(Path(tmp_path).iterdir())
