"""Exports replace their own files and no others; what an exported folder names and holds is refused before it runs."""

import hashlib
import json
import multiprocessing
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks import export
from benchmarks.export import verify_folder
from benchmarks.export_folder import content_sha256, is_own, own_files, publish, remember
from simulator.core.errors import ConfigError, StoreError


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CSILINK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def never(monkeypatch):
    """A runtime that must not be asked for."""

    def runtime(format_, path):
        raise AssertionError("the graph was loaded")

    monkeypatch.setattr(export, "_runtime", runtime)


def exported(folder, graph="model.onnx", content=b"graph", **changes):
    """What an export writes, with stand-ins for graph and vectors."""
    folder.mkdir(parents=True)
    if graph == "savedmodel":
        (folder / graph / "variables").mkdir(parents=True)
        (folder / graph / "saved_model.pb").write_bytes(content)
        (folder / graph / "variables" / "variables.index").write_bytes(b"numbers")
    else:
        (folder / graph).write_bytes(content)
    np.savez(folder / "golden.npz", image=np.zeros(1), latent=np.zeros(1))
    (folder / "card.json").write_text("{}")
    formats = {file: format_ for format_, file in export.FORMATS.items()}
    data = {
        "format": formats[graph], "side": "ue", "int8": False, "graph": {"file": graph},
        "sha256": {path.name: content_sha256(path) for path in folder.iterdir()}, **changes,
    }  # fmt: skip
    (folder / "codec.json").write_text(json.dumps(data))
    return folder


def relist(folder, **changes):
    """The list changed as its owner can."""
    data = json.loads((folder / "codec.json").read_text())
    for key, value in changes.items():
        data[key] = value(data[key]) if callable(value) else value
    (folder / "codec.json").write_text(json.dumps(data))


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


# Own files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["model.onnx", "savedmodel", "model.keras"])
@pytest.mark.parametrize("second", ["model.onnx", "savedmodel"])
def test_an_export_leaves_the_files_of_others(tmp_path, first, second):
    exported(tmp_path / "d", first)
    (tmp_path / "d" / "notes.txt").write_text("kept")
    (tmp_path / "d" / "plots").mkdir()
    (tmp_path / "d" / "plots" / "model.onnx").write_text("kept too")
    expected = tree(exported(tmp_path / "new", second, b"second"))
    publish(tmp_path / "new", tmp_path / "d")
    assert tree(tmp_path / "d") == expected | {"notes.txt": b"kept", "plots/model.onnx": b"kept too"}


def test_an_export_into_a_new_or_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new"):
        expected = tree(exported(tmp_path / "made"))
        publish(tmp_path / "made", tmp_path / name)
        assert tree(tmp_path / name) == expected
        (tmp_path / "made").rmdir()


@pytest.mark.parametrize("name", ["model.onnx", "model.keras", "savedmodel/x", "golden.npz", "card.json"])
def test_a_file_of_our_name_that_is_not_ours(tmp_path, name):
    """The user's own model, or an exported one that was changed: neither is replaced."""
    exported(tmp_path / "d")
    (tmp_path / "d" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "d" / name).write_bytes(b"mine")
    before, made = tree(tmp_path / "d"), exported(tmp_path / "new")
    with pytest.raises(StoreError, match="was not written by an export"):
        publish(made, tmp_path / "d")
    assert tree(tmp_path / "d") == before


@pytest.mark.parametrize("text", ["{}", "", "[]", '{"sha256": {}}', '{"sha256": 5}', '{"sha256": {"thesis.txt": "x"}}'])
def test_a_list_that_is_not_ours(tmp_path, text):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "codec.json").write_text(text)
    (tmp_path / "d" / "model.onnx").write_text("mine")
    (tmp_path / "d" / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="was not written by an export"):
        own_files(tmp_path / "d")


def test_a_list_that_claims_files_of_others(tmp_path):
    exported(tmp_path / "d")
    (tmp_path / "d" / "thesis.txt").write_text("mine")
    (tmp_path / "thesis.txt").write_text("mine")
    claimed = {
        "thesis.txt": content_sha256(tmp_path / "thesis.txt"),
        "../thesis.txt": content_sha256(tmp_path / "thesis.txt"),
    }
    relist(tmp_path / "d", sha256=lambda listed: listed | claimed)
    publish(exported(tmp_path / "new"), tmp_path / "d")
    assert (tmp_path / "d" / "thesis.txt").exists() and (tmp_path / "thesis.txt").exists()


def test_other_places_that_cannot_hold_an_export(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    for name, words in (("file", "is a file"), ("full", "holds other files")):
        with pytest.raises(StoreError, match=words):
            own_files(tmp_path / name)


def _publish(number, folder, made, start):
    start.wait()
    publish(made / str(number), folder)


@pytest.mark.long
def test_exports_at_once_leave_one_of_them(tmp_path):
    """Eight processes that end at the same time: the folder is one export as a whole, and nothing else was touched."""
    context = multiprocessing.get_context("fork")
    made = [tree(exported(tmp_path / "made" / str(i), content=bytes([i]) * 1000)) for i in range(8)]
    exported(tmp_path / "d")
    (tmp_path / "d" / "notes.txt").write_text("kept")
    start = context.Event()
    workers = [context.Process(target=_publish, args=(i, tmp_path / "d", tmp_path / "made", start)) for i in range(8)]
    for worker in workers:
        worker.start()
    start.set()
    for worker in workers:
        worker.join()
    assert all(worker.exitcode == 0 for worker in workers)
    assert tree(tmp_path / "d") in [{**files, "notes.txt": b"kept"} for files in made]


# Verification --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", list(export.FORMATS.values()))
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"graph": {"file": "../x"}}, "not inside the folder"),
        ({"graph": {"file": "/etc/passwd"}}, "not inside the folder"),
        ({"graph": {"file": "other"}}, "the graph is not"),
        ({"graph": {"file": "golden.npz"}}, "the graph is not"),
        ({"graph": {}}, "no exported model"),
        ({"graph": None}, "no exported model"),
        ({"format": "pdf"}, "no exported model"),
        ({"format": ["keras"]}, "no exported model"),
        ({"sha256": {}}, "the graph is not"),
        ({"sha256": None}, "no exported model"),
        ({"sha256": lambda listed: {k: v for k, v in listed.items() if k in ("golden.npz", "card.json")}}, "is not"),
        ({"sha256": lambda listed: listed | {"../secret": "0" * 64}}, "not inside the folder"),
        ({"sha256": lambda listed: dict.fromkeys(listed, "0" * 64)}, "damaged, SHA-256"),
    ],
)
def test_no_graph_runs_outside_its_hash(tmp_path, never, graph, changes, words):
    folder = exported(tmp_path / "d", graph)
    (tmp_path / "secret").write_text("private")
    relist(folder, **changes)
    with pytest.raises(StoreError, match=words) as told:
        verify_folder(folder, trust=True)
    assert hashlib.sha256(b"private").hexdigest()[:6] not in str(told.value)


@pytest.mark.parametrize("name", ["codec.json", "golden.npz", "model.onnx"])
def test_no_part_of_an_export_is_a_link_elsewhere(tmp_path, never, name):
    folder = exported(tmp_path / "d")
    (folder / name).rename(tmp_path / "private")
    (folder / name).symlink_to(tmp_path / "private")
    with pytest.raises(StoreError, match="not inside the folder"):
        verify_folder(folder)


def test_a_saved_model_of_unknown_origin_runs_when_asked(tmp_path, monkeypatch):
    folder, asked = exported(tmp_path / "d", "savedmodel"), []

    def isolated(folder, format_, source):
        asked.append(format_)
        raise StoreError("reached")

    monkeypatch.setattr(export, "_isolated", isolated)
    with pytest.raises(ConfigError, match=r"--verify: got '.*a SavedModel of unknown origin'; allowed: --trust"):
        verify_folder(folder)
    assert not asked
    with pytest.raises(StoreError, match="reached"):
        verify_folder(folder, trust=True)
    digest = json.loads((folder / "codec.json").read_text())["sha256"]["savedmodel"]
    assert not is_own(digest)
    remember(digest)  # as an export does
    with pytest.raises(StoreError, match="reached"):
        verify_folder(folder)
    (folder / "savedmodel" / "saved_model.pb").write_bytes(b"changed by a stranger")
    relist(folder, sha256=lambda listed: listed | {"savedmodel": content_sha256(folder / "savedmodel")})
    with pytest.raises(ConfigError, match="unknown origin"):
        verify_folder(folder)


def test_the_hash_of_a_folder_knows_names_and_refuses_links(tmp_path):
    for name, files in {"a": ("x", "y"), "b": ("y", "x"), "c": ("x", "z")}.items():
        (tmp_path / name).mkdir()
        for file, content in zip(files, ("1", "2"), strict=True):
            (tmp_path / name / file).write_text(content)
    assert len({content_sha256(tmp_path / name) for name in "abc"}) == 3
    (tmp_path / "a" / "variables").symlink_to(tmp_path / "b")
    with pytest.raises(StoreError, match="is a link"):
        content_sha256(tmp_path / "a")


def archive(path, config, attack=None, **members):
    """A Keras archive."""
    with h5py.File(path.with_name("w.h5"), "w") as file:
        file["x"] = [1.0]
        if attack:
            file["y"] = attack
    files = {
        "metadata.json": b"{}",
        "config.json": json.dumps(config),
        "model.weights.h5": path.with_name("w.h5").read_bytes(),
    }
    with zipfile.ZipFile(path, "w") as file:
        for name, content in {**files, **members}.items():
            file.writestr(name, content)


def layer(module, name):
    return {
        "module": "keras",
        "class_name": "Functional",
        "config": {"layers": [{"module": module, "class_name": name}]},
    }


@pytest.mark.parametrize(
    ("config", "options", "words"),
    [
        (layer("keras.layers", "Lambda"), {}, "a layer Lambda"),
        (layer("keras.layers", "TFSMLayer"), {}, "a layer TFSMLayer"),
        (layer("keras.src.export.tfsm_layer", "TFSMLayer"), {}, "a layer TFSMLayer"),
        (layer("keras.layers", "StringLookup"), {}, "a layer StringLookup"),
        (layer("builtins", "__lambda__"), {}, "a layer __lambda__"),
        (layer("os", "system"), {}, r"holds os\.system"),
        (layer("kerasx", "Dense"), {}, r"holds kerasx\.Dense"),
        (layer(["keras"], "Dense"), {}, "allowed: layers of Keras"),
        (layer("keras.layers", ["Dense"]), {}, "allowed: layers of Keras"),
        (layer("keras.layers", "Dense"), {"attack": h5py.ExternalLink("/etc/passwd", "/x")}, "link to another file"),
        (layer("keras.layers", "Dense"), {"assets/vocabulary.txt": b"x"}, "more than a configuration"),
        (layer("keras.layers", "Dense"), {"../x": b"x"}, "more than a configuration"),
    ],
)
def test_a_keras_archive_that_is_more_than_layers(tmp_path, config, options, words):
    archive(tmp_path / "m.keras", config, **options)
    with pytest.raises(StoreError, match=words):
        export._check_keras(tmp_path / "m.keras")


def test_a_keras_archive_of_layers(tmp_path):
    archive(tmp_path / "m.keras", {**layer("receivers.models.csinet", "CsiNet"), "build_config": {"shape": [None, 4]}})
    export._check_keras(tmp_path / "m.keras")


def test_an_onnx_graph_with_numbers_elsewhere(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    numbers = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    numbers.external_data.add(key="location", value="../../etc/passwd")
    graph = onnx.helper.make_graph([], "g", [], [], [numbers])
    (tmp_path / "m.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(StoreError, match="names other files"):
        export._runtime("onnx", tmp_path / "m.onnx")


def test_a_graph_that_does_not_run(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(StoreError, match="does not run"):
        verify_folder(exported(tmp_path / "d"))
