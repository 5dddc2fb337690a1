"""Weights on the hub: the library is a folder here, nothing goes over a network."""

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import safetensors.numpy
import yaml
from keras import ops

from benchmarks import cli
from benchmarks.publish import publish
from receivers.precision.policy_set import FILE as POLICIES
from receivers.precision.policy_set import PolicySet
from receivers.weights import hub
from receivers.weights.card import convergence, file_entry, write_card
from receivers.weights.folder import TrainedModel, weights, zoo_folder
from receivers.weights.tensor_file import read_tensors, write_tensors
from simulator.core import extras
from simulator.core.content import sha256
from simulator.core.errors import ConfigError, StoreError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = f"hf://user/net@{COMMIT}"
T = np.zeros(2, np.float32)


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


def tensors_of(folder):
    """A folder of the zoo, published with a safetensors file."""
    name = publish(folder, "user/net", as_tensors=True)
    assert not list(folder.glob("*.weights.h5")) and (folder / "model.safetensors").is_file()
    return name


@pytest.mark.long
@pytest.mark.parametrize("name", ["csinet-100", "refine-urban", "delay-beam-mobility", "csirs-delay-beam"])
def test_a_network_in_a_safetensors_file_is_the_same_network(tmp_path, name):
    """All tasks; every weight bit by bit; what another program reads is what Keras wrote."""
    folder = tmp_path / "mine"
    shutil.copytree(zoo_folder() / name, folder)
    tensors_of(folder)
    opened, before = weights(str(folder)), weights(name)
    assert opened.file.name == "model.safetensors" and opened.is_network
    assert len(opened.model.weights) == len(before.model.weights) > 5
    for new, old in zip(opened.model.weights, before.model.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(new), ops.convert_to_numpy(old))
    with h5py.File(before.file) as file:
        there = safetensors.numpy.load_file(folder / "model.safetensors")
        assert len(there) >= len(opened.model.weights)
        for path, value in there.items():
            np.testing.assert_array_equal(file[path][()], value)
    assert convergence(opened.card) == convergence(before.card)


def test_files_of_the_package_safetensors_are_read(tmp_path):
    """Its own order, and its own spaces after the header."""
    values = {
        "b/c": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.array(3, np.float32),
        "e": np.zeros((0, 2), "f"),
    }
    safetensors.numpy.save_file(values, tmp_path / "x.safetensors", metadata={"format": "np"})
    found = read_tensors(tmp_path / "x.safetensors")
    assert found.keys() == values.keys()
    assert all(np.array_equal(found[k], v) and found[k].shape == v.shape for k, v in values.items())
    safetensors.numpy.save_file({"a": np.zeros(2)}, tmp_path / "d.safetensors")
    with pytest.raises(ValueError, match="a of type F64, not F32"):
        read_tensors(tmp_path / "d.safetensors")
    with pytest.raises(ValueError, match="a is float64"):
        write_tensors(tmp_path / "d.safetensors", {"a": np.zeros(2)})


def test_publishing_twice_and_tensors_from_the_hub(remote, capsys):
    pin = tensors_of(remote.place).partition("#")[2]
    content = (remote.place / "model.safetensors").read_bytes()
    assert tensors_of(remote.place).endswith(pin) and (remote.place / "model.safetensors").read_bytes() == content
    fetched = weights(f"hf://user/net@v1#{pin}")
    assert fetched.file.parent == remote.cache / pin and fetched.file.name == "model.safetensors"
    (fetched.folder / "model.safetensors").write_bytes(content[:-1] + b"x")
    with pytest.raises(StoreError, match=r"model\.safetensors: damaged, SHA-256"):
        weights(f"hf://user/net@v1#{pin}")


def test_policies_follow_their_weights(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(zoo_folder() / "transnet-250", folder)
    tensors_of(folder)
    card = json.loads((folder / "card.json").read_text())
    assert PolicySet.load(folder / POLICIES).meta["weights_sha256"] == card["weights"]["sha256"]
    assert card["weights"]["file"] == "model.safetensors" and sha256(folder / "model.safetensors") in str(
        card["weights"]
    )


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Skipping nested")
def test_safetensors_of_another_network_or_none(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(zoo_folder() / "csinet-100", folder)
    tensors_of(folder)
    card = json.loads((folder / "card.json").read_text())
    for tensors, said in (
        ({"a": np.zeros(3, "f")}, "no weights of the model"),
        ({"a": T, "a/b": T}, "no weights of the model"),
    ):
        write_tensors(folder / "model.safetensors", tensors)
        write_card(folder, {**card, "weights": file_entry(folder / "model.safetensors")})
        with pytest.raises(StoreError, match=said):
            weights(str(folder)).model  # noqa: B018
    (folder / "model.safetensors").write_bytes(b"nothing")
    write_card(folder, {**card, "weights": file_entry(folder / "model.safetensors")})
    with pytest.raises(StoreError, match=r"model\.safetensors: no weights of the model in the card \(a header of"):
        weights(str(folder)).model  # noqa: B018
    shutil.copytree(zoo_folder() / "klt-mixed", tmp_path / "klt")
    with pytest.raises(ConfigError, match=r"--safetensors.*weights of a network"):
        publish(tmp_path / "klt", "user/net", as_tensors=True)
