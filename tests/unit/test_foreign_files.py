"""Files of strangers: nothing in them runs, nothing outside of them is read, whatever they name."""

import errno
import hashlib
import itertools
import json
import os
import re
import struct
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from benchmarks.report import figures
from benchmarks.report.report import write_report
from benchmarks.store import LEADING, TRAILING
from receivers.codebooks.rvq import rvq_codebook
from receivers.codebooks.stored import StoredCodebook, write_codebook
from receivers.models.klt import Klt
from receivers.precision.policy_set import PolicySet
from receivers.weights.folder import TrainedModel, TrainedPredictor
from receivers.weights.safetensors import SafetensorsFolder
from scenarios.load import load_mapping, parse_yaml
from scenarios.schema import parse_scenario
from simulator.core.errors import ConfigError, CsilinkError, StoreError, WeightsError
from simulator.core.paths import inside, writable
from simulator.core.readers import read_json, read_npz
from simulator.core.types import Panel
from simulator.data.arrays import ArrayFile
from simulator.data.cost2100 import Cost2100
from simulator.data.layout import ChannelLayout
from simulator.data.quadriga import Quadriga
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter

SECRET = np.arange(100.0, 164.0)  # 64 numbers of another user of the machine
LAYOUT = ChannelLayout(Panel(2), 4, 15e3)


@pytest.fixture
def secret(tmp_path):
    """A file outside every folder that the tests hand to the program."""
    path = tmp_path / "elsewhere" / "secret.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["x"] = SECRET
    (path.parent / "raw").write_bytes(SECRET.tobytes())
    return path


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


# Names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../x",
            "a/../../x",
            "a/..",
            "..",
            "/etc/passwd",
            "",
            ".",
            "\\x",
            "..\\x",
            "C:\\x",
            "C:x",
            "//host/x",
            "a\0b",
            5,
        ),
        *(None, ["x"], "x" * 300 + "/../../y", "out", "out/x", "loop"),
    ],
)
def test_a_name_that_leaves_its_folder(tmp_path, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "x").write_text("kept")
    (folder / "out").symlink_to(tmp_path)
    (folder / "loop").symlink_to("loop")
    with pytest.raises(StoreError, match="not inside the folder"):
        inside(folder, name)


def test_names_that_stay(tmp_path):
    real = tmp_path / "real"
    (real / "sub").mkdir(parents=True)
    (real / "sub" / "x").write_text("x")
    (real / "near").symlink_to("sub/x")
    (tmp_path / "link").symlink_to(real)  # the folder itself may be a link
    for folder in (real, tmp_path / "link"):
        for name in ("sub/x", "near", "not-there-yet", "a..b", "..."):
            assert inside(folder, name) == folder / name


@pytest.mark.parametrize("part", ["x" * 256, "ü" * 128, "a\0b"])
def test_a_part_of_a_path_that_no_file_system_takes(part):
    with pytest.raises(ConfigError, match="--out"):
        writable(Path("a") / part / "b")
    assert writable(None) is None and writable(Path("a" * 200)) == Path("a" * 200)


# HDF5 --------------------------------------------------------------------------------------------------------------


def external_link(file, secret):
    del file["h"]
    file["h"] = h5py.ExternalLink(str(secret), "/x")


def nested_link(file, secret):
    file.create_group("a/b")["c"] = h5py.ExternalLink(str(secret), "/x")


def soft_through_external(file, secret):
    del file["h"]
    file["far"] = h5py.ExternalLink(str(secret), "/")
    file["h"] = h5py.SoftLink("/far/x")


def external_storage(file, secret):
    del file["h"]
    file.create_dataset("h", SECRET.shape, float, external=[(str(secret.parent / "raw"), 0, SECRET.nbytes)])


def virtual(file, secret):
    del file["h"]
    layout = h5py.VirtualLayout(SECRET.shape, float)
    layout[:] = h5py.VirtualSource(str(secret), "x", SECRET.shape)
    file.create_virtual_dataset("h", layout)


def external_label(file, secret):
    file.create_dataset("label", (2,), float, external=[(str(secret.parent / "raw"), 0, 16)])


ATTACKS = [external_link, nested_link, soft_through_external, external_storage, virtual, external_label]
WORDS = "link to another file|stored in another file|virtual data set"


def attacked(path, attack, secret, **options):
    with h5py.File(path, "w", **options) as file:
        file["h"] = np.zeros((2, 1, 2, 1, 4), np.complex64)
        attack(file, secret)
    return path


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("matlab", [False, True])
def test_no_array_of_another_file(tmp_path, secret, attack, matlab):
    path = attacked(tmp_path / "x.mat", attack, secret, userblock_size=512 * matlab)
    if matlab:  # v7.3
        with path.open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(128))
    with pytest.raises(StoreError, match=WORDS):
        ArrayFile(path).read("h")


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_shard_with_samples_of_another_file(tmp_path, secret, attack):
    with StoreWriter(tmp_path / "s", LAYOUT, name="s") as writer:
        writer.add("test", np.ones((2, *LAYOUT.entry_shape), np.complex64))
        writer.finish({})
    shard = attacked(tmp_path / "s" / "test-00000.h5", attack, secret)
    content = json.loads((tmp_path / "s" / "manifest.json").read_text())
    content["splits"]["test"][0]["sha256"] = digest(shard)
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(content))
    store = ChannelStore(tmp_path / "s")
    for read in (lambda: list(store.read("test")), lambda: store.labels("test"), lambda: store.take("test", [0])):
        with pytest.raises(StoreError, match=WORDS):
            read()


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_weights_of_another_file(tmp_path, secret, attack):
    folder = predictor_folder(tmp_path / "w", attacked(tmp_path / "model.weights.h5", attack, secret))

    class Model:
        def load_weights(self, path):
            raise AssertionError("Keras was asked to read it")

    with pytest.raises(StoreError, match=WORDS):
        TrainedPredictor(str(folder)).load(Model())


@pytest.mark.parametrize("name", ["model.weights.json", "model.keras", "model.h5", "model.npz"])
def test_keras_reads_no_other_format_of_weights(tmp_path, name):
    """Its loader goes by the suffix: `.weights.json` lists further files, `.keras` is a program."""
    (tmp_path / name).write_text(json.dumps({"weight_map": {"/": "../secret.h5"}}))
    folder = predictor_folder(tmp_path / "w", tmp_path / name)

    class Model:
        def load_weights(self, path):
            raise AssertionError("Keras was asked to read it")

    with pytest.raises(StoreError, match=r"a file \*\.weights\.h5"):
        TrainedPredictor(str(folder)).load(Model())


def test_links_inside_a_file_and_cycles_are_read(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["h"] = SECRET
        file["same"] = h5py.SoftLink("/h")
        file.create_group("g")["root"] = file["/"]
    np.testing.assert_array_equal(ArrayFile(tmp_path / "x.h5").read("same"), SECRET)


# Cards and manifests -----------------------------------------------------------------------------------------------


def predictor_folder(folder, path, **changes):
    """A folder of weights of a predictor, with the card changed."""
    folder.mkdir()
    path.rename(folder / path.name)
    card = {
        "name": "p", "task": "prediction", "model": {"name": "lstm", "params": {}},
        "weights": {"file": path.name, "sha256": digest(folder / path.name)},
        "history_slots": 4, "max_history_slots": 4, "horizon_slots": 1, **changes,
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def outside_names(folder, secret):
    """Ways to name a file elsewhere."""
    (folder / "link").symlink_to(secret)
    (folder / "up").symlink_to(secret.parent)
    return ["../elsewhere/secret.h5", str(secret), "link", "up/secret.h5", f"./../{secret.parent.name}/secret.h5"]


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("way", range(5))
def test_a_card_names_weights_elsewhere(tmp_path, secret, way, right):
    (tmp_path / "m.weights.h5").write_bytes(b"x")
    folder = predictor_folder(tmp_path / "w", tmp_path / "m.weights.h5")
    name = outside_names(folder, secret)[way]
    card = json.loads((folder / "card.json").read_text())
    card["weights"] = {"file": name, "sha256": digest(secret) if right else "0" * 64}
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(StoreError, match="not inside the folder") as told:
        TrainedPredictor(str(folder))
    assert digest(secret)[:6] not in str(told.value)


def test_a_wrong_hash_does_not_tell_the_right_one(tmp_path):
    (tmp_path / "m.weights.h5").write_bytes(b"x")
    wrong = {"file": "m.weights.h5", "sha256": "0" * 64}
    folder = predictor_folder(tmp_path / "w", tmp_path / "m.weights.h5", weights=wrong)
    with pytest.raises(StoreError, match=r"damaged, SHA-256 is not 000000000000") as told:
        TrainedPredictor(str(folder))
    assert digest(folder / "m.weights.h5")[:6] not in str(told.value)


def test_a_card_that_is_a_link(tmp_path):
    private = tmp_path / "private.json"
    private.write_text(json.dumps({"name": 12345}))
    for name, read in (("card.json", TrainedPredictor), ("card.json", StoredCodebook), ("manifest.json", ChannelStore)):
        folder = tmp_path / read.__name__
        folder.mkdir()
        (folder / name).symlink_to(private)
        with pytest.raises(CsilinkError) as told:
            read(f"{folder}")
        assert "12345" not in str(told.value)


@pytest.mark.parametrize("way", range(5))
def test_a_codebook_elsewhere(tmp_path, secret, way):
    words = rvq_codebook(4, 3, 1)
    write_codebook(tmp_path / "book", "b", Panel(4), {"a": words}, side="ss", base=words)
    np.save(tmp_path / "elsewhere" / "words.npy", words)
    (tmp_path / "elsewhere" / "words.npy").rename(secret)  # a codebook that would be accepted
    name = outside_names(tmp_path / "book", secret)[way]
    card = json.loads((tmp_path / "book" / "card.json").read_text())
    card["environments"]["a"] = {"file": name, "sha256": digest(secret)}
    card["base"] = {"file": name, "sha256": digest(secret)}
    (tmp_path / "book" / "card.json").write_text(json.dumps(card))
    book = StoredCodebook(tmp_path / "book")
    for read in (book.codebook, book.searched):
        with pytest.raises(StoreError, match="not inside the folder"):
            read("a")


def test_an_environment_is_no_path(tmp_path):
    with pytest.raises(StoreError, match="not inside the folder"):
        write_codebook(tmp_path / "book", "b", Panel(4), {"../a": rvq_codebook(4, 3, 1)})
    assert not (tmp_path / "a.npy").exists()


@pytest.mark.parametrize("way", range(5))
@pytest.mark.parametrize("verify", [True, False])
def test_a_shard_elsewhere(tmp_path, secret, way, verify):
    with StoreWriter(tmp_path / "s", LAYOUT, name="s") as writer:
        writer.add("test", np.ones((2, *LAYOUT.entry_shape), np.complex64))
        writer.finish({})
    (tmp_path / "s" / "test-00000.h5").rename(secret)
    content = json.loads((tmp_path / "s" / "manifest.json").read_text())
    content["splits"]["test"][0]["file"] = outside_names(tmp_path / "s", secret)[way]
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match="not inside the folder"):
        ChannelStore(tmp_path / "s", verify=verify)


def test_a_split_is_no_path(tmp_path):
    with pytest.raises(StoreError, match="not inside the folder"):
        with StoreWriter(tmp_path / "s", LAYOUT, name="s") as writer:
            writer.add("../../t", np.ones((2, *LAYOUT.entry_shape), np.complex64))
            writer.finish({})
    assert not list(tmp_path.rglob("t-00000.h5"))


def test_recorded_files_that_are_links_elsewhere(tmp_path):
    outside, folder = tmp_path / "private.mat", tmp_path / "data"
    folder.mkdir()
    scipy.io.savemat(outside, {"HT": np.full((3, 2048), 0.5)})
    (folder / "DATA_Htestin.mat").symlink_to(outside)
    with pytest.raises(StoreError, match="not inside the folder"):
        Cost2100(folder, environment="indoor")
    with pytest.raises(StoreError, match="not inside the folder"):
        Quadriga(folder)


# Every reader of ours answers to damage with one kind of error -------------------------------------------------------


def member(name, content, path, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for each in name if isinstance(name, list) else [name]:
            archive.writestr(each, content)
    return path.read_bytes()


def npy(header, data=b"", version=1):
    text = header.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999,), }\n"
ONE = "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }\n"
PICKLE = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
# cos\nsystem: a program, were it unpickled
PROGRAM = b"cos\nsystem\n(S'touch /tmp/csilink-was-here'\ntR."
NPZ = {
    "empty": lambda p: b"",
    "text": lambda p: b"no archive",
    "cut": lambda p: member("basis.npy", npy(ONE, bytes(8)), p)[:-30],
    "pickle": lambda p: member("basis.npy", npy(PICKLE, PROGRAM), p),
    "bare pickle": lambda p: PROGRAM,
    "huge": lambda p: member("basis.npy", npy(HUGE), p),
    "short": lambda p: member("basis.npy", npy(ONE), p),
    "no header": lambda p: member("basis.npy", b"\x93NUMPY", p),
    "no magic": lambda p: member("basis.npy", b"x" * 40, p),
    "zeroed": lambda p: member("basis.npy", npy(ONE, bytes(8)), p).replace(b"{'descr'", bytes(8)),
    "open bracket": lambda p: member("basis.npy", npy("{'descr': ((((((\n"), p),
    "nested": lambda p: member("basis.npy", npy("(" * 5000 + "\n"), p),
    "negative": lambda p: member("basis.npy", npy(ONE.replace("(1,)", "(-1,)")), p),
    "no type": lambda p: member("basis.npy", npy(ONE.replace("<f8", "<q99")), p),
    "twice": lambda p: member(["basis.npy", "basis"], npy(ONE, bytes(8)), p),
    "flipped": lambda p: member("basis.npy", npy(ONE, b"12345678"), p).replace(b"12345678", b"12345679"),
    "bomb": lambda p: member("basis.npy", npy(ONE, bytes(5 << 20)), p, zipfile.ZIP_DEFLATED),
}
READERS = {
    "npz": read_npz,
    "klt": Klt.load,
    "policies": PolicySet.load,
    "arrays": lambda path: ArrayFile(path).read("basis"),
    "tables": lambda path: tables_of(path),
}


def tables_of(path):
    model = TrainedModel.__new__(TrainedModel)
    model._tables = path
    return model.tables


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("damage", NPZ)
def test_damaged_npz(tmp_path, monkeypatch, reader, damage):
    monkeypatch.setattr("simulator.core.readers.MAX_NPZ", 1 << 20)
    path = tmp_path / "x.npz"
    path.write_bytes(NPZ[damage](path))
    if (reader, damage) in {("arrays", "twice"), ("arrays", "bomb")}:
        return  # an import may be large, and reads the one array that it was asked for
    with pytest.raises(StoreError, match=r"x\.npz"):
        READERS[reader](path)
    assert not Path("/tmp/csilink-was-here").exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe\xfd", b"[" * 100_000, b'{"a": ' * 50_000, b"9" * 5000, b"\0"]
)
def test_damaged_json(tmp_path, content):
    for name, read in (("card.json", StoredCodebook), ("manifest.json", ChannelStore), ("card.json", TrainedPredictor)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CsilinkError):
            read(str(tmp_path))
    with pytest.raises(StoreError, match=r"card\.json: cannot be read as JSON"):
        read_json(tmp_path / "card.json")


def test_json_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("simulator.core.readers.MAX_JSON", 100)
    (tmp_path / "x.json").write_text(json.dumps("x" * 200))
    with pytest.raises(StoreError, match="more than 0 MiB"):
        read_json(tmp_path / "x.json")


def test_cells_in_cells_do_not_overflow_the_stack(tmp_path):
    """MATLAB 5: 100,000 cells, each in the next one; scipy's reader dies of them."""
    flags = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIii", 5, 8, 1, 1)
    named, plain = flags + struct.pack("<IIc7x", 1, 1, b"h"), flags + struct.pack("<II", 1, 0)
    lengths = len(plain) + (len(plain) + 8) * np.arange(100_000)[::-1]
    inner = b"".join(struct.pack("<II", 14, int(n)) + plain for n in lengths)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    (tmp_path / "x.mat").write_bytes(head + struct.pack("<II", 14, len(named) + len(inner)) + named + inner)
    with pytest.raises(StoreError, match=r"h is a cell; allowed: numbers"):
        ArrayFile(tmp_path / "x.mat").read("h")


# Safetensors ---------------------------------------------------------------------------------------------------------

T = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def tensors(header, data=bytes(8), length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


MALFORMED = {
    "empty": b"",
    "seven octets": b"\0" * 7,
    "header longer than the file": tensors({"a": T}, length=1 << 40),
    "header of 2**64 - 1": tensors({"a": T}, length=2**64 - 1),
    "header cut": tensors({"a": T}, length=10),
    "no json": tensors(b"hello"),
    "no utf-8": tensors(b"\xff\xff"),
    "recursion": tensors(b"[" * 100_000),
    "deep object": tensors(b'{"a":' * 100_000),
    "list": tensors([1]),
    "number": tensors(b"5"),
    "null": tensors(b"null"),
    "entry is a list": tensors({"a": []}),
    "entry is null": tensors({"a": None}),
    "no type": tensors({"a": {**T, "dtype": None}}),
    "type is a list": tensors({"a": {**T, "dtype": ["F32"]}}),
    "no shape": tensors({"a": {"dtype": "F32", "data_offsets": [0, 8]}}),
    "shape is a number": tensors({"a": {**T, "shape": 2}}),
    "negative shape": tensors({"a": {**T, "shape": [-2]}}),
    "two negative": tensors({"a": {**T, "shape": [-1, -2]}}),
    "shape with a fraction": tensors({"a": {**T, "shape": [2.0]}}),
    "shape with a truth value": tensors({"a": {**T, "shape": [True, 2]}}),
    "huge shape": tensors({"a": {**T, "shape": [2**62, 2**62]}}),
    "no offsets": tensors({"a": {"dtype": "F32", "shape": [2]}}),
    "one offset": tensors({"a": {**T, "data_offsets": [0]}}),
    "three offsets": tensors({"a": {**T, "data_offsets": [0, 8, 8]}}),
    "negative offset": tensors({"a": {**T, "data_offsets": [-8, 0]}}),
    "both negative": tensors({"a": {**T, "data_offsets": [-16, -8]}}),
    "reversed": tensors({"a": {**T, "data_offsets": [8, 0]}}),
    "past the end": tensors({"a": {**T, "data_offsets": [8, 16]}}),
    "text for an offset": tensors({"a": {**T, "data_offsets": ["0", "8"]}}),
    "short": tensors({"a": {**T, "data_offsets": [0, 4]}}),
    "overlap": tensors({"a": T, "b": T}),
    "half overlap": tensors({"a": T, "b": {**T, "data_offsets": [4, 12]}}, bytes(12)),
    "gap": tensors({"a": {**T, "data_offsets": [4, 12]}}, bytes(12)),
    "octets after the last": tensors({"a": T}, bytes(12)),
    "name twice": tensors(b'{"a": %s, "a": %s}' % ((json.dumps(T).encode(),) * 2)),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_safetensors(tmp_path, name):
    (tmp_path / "m.safetensors").write_bytes(MALFORMED[name])
    with pytest.raises(WeightsError, match=r"m\.safetensors: .*a safetensors file with a complete header"):
        SafetensorsFolder(tmp_path)


def test_a_tensor_is_in_one_file_of_the_folder(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(tensors({"__metadata__": {"x": "y"}, "a": T, "b": {**T, "shape": [0],
                                                      "data_offsets": [8, 8]}}))  # fmt: skip
    np.testing.assert_array_equal(SafetensorsFolder(tmp_path).tensor("a", (2,)), [0, 0])
    (tmp_path / "b.safetensors").write_bytes(tensors({"a": T}))
    with pytest.raises(WeightsError, match="a second time"):
        SafetensorsFolder(tmp_path)


def test_safetensors_that_are_a_link_elsewhere(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "private").write_bytes(tensors({"a": T}))
    (tmp_path / "w" / "a.safetensors").symlink_to(tmp_path / "private")
    with pytest.raises(StoreError, match="not inside the folder"):
        SafetensorsFolder(tmp_path / "w")


# YAML ----------------------------------------------------------------------------------------------------------------

LEVELS = "abcdefghij"
DOCUMENTS = {
    "aliases that double": "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise(LEVELS)
    ),
    "merged aliases": "a: &a {x: 1}\nb: {<<: [" + "*a," * 80_000 + "]}",
    "alias in itself": "a: &a [*a]",
    "alias in itself below": "a: &a {b: [{c: *a}]}",
    "brackets": "[" * 100_000,
    "mappings": "{a: " * 50_000,
    "indented": "".join(" " * i + "a:\n" for i in range(600)),
    "dashes": "- " * 100_000,
    "many values": "a: [" + "1," * 100_000 + "]",
    "many octets": "a: " + "x" * 300_000,
    "digits": "a: " + "9" * 100_000,
    "base 16": "a: 0x" + "f" * 100_000,
    "base 60": "a: " + "1:" * 100_000 + "1",
    "surrogate": 'a: "\\uD800"',
    "escape of a terminal": 'a: "\\e[31m"',
    "nul": 'a: "\\0"',
    "surrogate as a key": '"\\uDFFF": 1',
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_that_is_too_much(tmp_path, name):
    (tmp_path / "s.yaml").write_text(DOCUMENTS[name])
    started = time.process_time()
    with pytest.raises(ConfigError, match=r"s\.yaml") as told:
        load_mapping(tmp_path / "s.yaml")
    assert len(str(told.value)) < 700 and "\n" not in str(told.value)
    assert time.process_time() - started < 5


@pytest.mark.long
def test_a_document_within_the_limits():
    text = "a: &a {b: 1}\nc: [*a, *a]\nf: .inf\ng: 'µ 10 °'\n"
    assert parse_yaml(text, "x") == {"a": {"b": 1}, "c": [{"b": 1}, {"b": 1}], "f": float("inf"), "g": "µ 10 °"}
    assert len(parse_yaml("a: [" + "1, " * 15_000 + "]", "x")["a"]) == 15_000


SCENARIO = {
    "name": "s", "carrier": {"num_rb": 4}, "bs": {"n1": 4, "n2": 1, "num_pol": 1}, "channel": {"model": "rayleigh"},
    "feedback": [{"scheme": "rvq", "bits": 4}], "precoding": {"precoders": ["mrt"]}, "snr_db": [0],
}  # fmt: skip


@pytest.mark.parametrize("label", ["", "a\nb", "a\rb", "a\0", "\x1b[31m", "\ud800", "\u2028", "x" * 121, 5])
def test_a_label_that_no_table_can_hold(label):
    with pytest.raises(ConfigError, match=r"feedback\.0\.label"):
        parse_scenario({**SCENARIO, "feedback": [{"scheme": "rvq", "bits": 4, "label": label}]})


def test_a_name_in_a_card_is_a_label(tmp_path):
    for number, name in enumerate(("\ud800", "a\nb", "")):
        (tmp_path / "m.weights.h5").write_bytes(b"x")
        folder = predictor_folder(tmp_path / str(number), tmp_path / "m.weights.h5", name=name)  # JSON escapes it
        with pytest.raises(StoreError, match=r"card\.json: not a model card \(name"):
            TrainedPredictor(str(folder))


def test_schemes_do_not_multiply_without_end():
    many = list(range(1000))
    with pytest.raises(ConfigError, match="at most 1000"):
        parse_scenario(
            {**SCENARIO, "feedback": [{"scheme": "rvq", "bits": many, "codebooks": many, "frequency": many}]}
        )


# Figures and pages ---------------------------------------------------------------------------------------------------

LABELS = [
    r"$\frac{$",
    "$x$",
    "a_b^c",
    "_hidden",
    "</script><script>alert(1)</script>",
    "--><b>",
    "{{ 7 * 7 }}",
    "%s&amp;",
]


def results(folder, labels=LABELS, values=(1,), **manifest):
    """A results folder whose schemes, sweep and notes are words of a user."""
    folder.mkdir()
    rows = [
        dict(zip((*LEADING, r"$\axis{$", *TRAILING), row, strict=True))
        for label in labels
        for axis in values
        for snr_db in (0, 10)
        for row in [("s", r"$\ch{$", label, 9, 9, r"$\p{$", 4, 1, snr_db, axis, "sum_rate_bpshz", snr_db, 1, "", 9, 1)]
    ]
    import pandas as pd

    frame = pd.DataFrame(rows)
    frame.to_csv(folder / "results.csv", index=False)
    words = {"name": "</title>", "scenario": {"a": "</script>"}, "snr_definition": "<b>", "normalization": "<i>"}
    (folder / "manifest.json").write_text(json.dumps({**words, "notes": ["<script>"], **manifest}))
    return folder


@pytest.mark.long
def test_words_of_users_are_shown_as_they_are(tmp_path):
    page = write_report(results(tmp_path / "r")).read_text()
    assert page.count("<script") == page.count("</script") == 2  # data and script of the page itself
    assert page.count("</title>") == 1 and "<b>" not in page
    for escaped in ("&lt;script&gt;alert(1)&lt;/script&gt;", "{{ 7 * 7 }}", "%s&amp;amp;", r"$\frac{$"):
        assert escaped in page
    for path in (tmp_path / "r" / "figures").glob("*.svg"):
        assert "<script" not in path.read_text()


def test_a_legend_holds_every_label_as_text(tmp_path):
    from benchmarks.report.frames import read_results

    frame = read_results(results(tmp_path / "r") / "results.csv")
    figure = figures.metric_vs_snr(frame)
    shown = figure.legends[0].get_texts()
    assert [text.get_text().lstrip("\u200b") for text in shown] == LABELS
    assert not any(text.get_parse_math() for text in (*shown, figure.axes[0].title, figure.axes[0].xaxis.label))
    assert figures.render(figure)["png"].startswith(b"\x89PNG")


def test_a_manifest_with_half_a_character(tmp_path, undrawn):
    page = write_report(results(tmp_path / "r", labels=["a"], notes=["\ud800"], name="\udfff")).read_bytes()
    assert b"\\ud800" in page


def test_a_long_axis_has_a_short_file_name(tmp_path, undrawn):
    folder = results(tmp_path / "r", labels=["a"], values=(1, 2))
    text = (folder / "results.csv").read_text().replace(r"$\axis{$", "feedback." + "x" * 250 + ".bits")
    (folder / "results.csv").write_text(text)
    write_report(folder)
    assert max(len(path.name) for path in (folder / "figures").iterdir()) < 200


@pytest.mark.parametrize("name", ["results.csv", "manifest.json", "user_rate_cdf.csv", "figures"])
def test_a_report_reads_and_writes_in_its_folder(tmp_path, name):
    folder, outside = results(tmp_path / "r", labels=["a"]), tmp_path / "outside"
    if name == "figures":
        outside.mkdir()
        (outside / "sum_rate_vs_snr_old.png").write_text("kept")
    else:
        outside.write_text("private")
        (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside)
    with pytest.raises(StoreError, match="not inside the folder"):
        write_report(folder)
    assert [p.name for p in outside.iterdir()] == ["sum_rate_vs_snr_old.png"] if name == "figures" else True


def test_the_system_still_says_that_a_name_is_too_long(tmp_path):
    """What the tests of names rest on."""
    with pytest.raises(OSError) as told:
        (tmp_path / ("x" * 256)).touch()
    assert told.value.errno == errno.ENAMETOOLONG and os.pathconf(tmp_path, "PC_NAME_MAX") == 255


# One opener of each kind ---------------------------------------------------------------------------------------------

# Where files are opened otherwise: written by us, shipped with us, results of this process, or mapped after the hash.
OPENERS = {
    r"h5py\.File\(": {
        *("benchmarks/doctor_checks.py", "receivers/weights/network_file.py"),
        *("simulator/data/hdf5.py", "simulator/data/store.py"),
    },
    r"\bnp\.load\(": {
        *("benchmarks/export.py", "benchmarks/export_runtime.py"),
        *("benchmarks/store.py", "receivers/codebooks/stored.py", "simulator/phy/site_trace.py"),
        "simulator/data/arrays.py",
    },
    r"read_text\(|json\.load\(": {
        *(
            "benchmarks/bler_table.py",
            "benchmarks/channels/profiles.py",
            "benchmarks/leaderboard/entry.py",  # what has just been read by the reader
            "benchmarks/leaderboard/page.py",
            "benchmarks/normalization.py",
            "simulator/nr/polar.py",
            "simulator/phy/bler.py",
        ),
    },
    r"yaml\.(safe_)?load\(": {"benchmarks/doctor_checks.py", "scenarios/load.py"},
    r"load_weights\(": {"receivers/weights/network_file.py"},
    r"load_model\(|saved_model\.load\(|InferenceSession\(": {
        *("benchmarks/export_graph.py", "benchmarks/export_layers.py", "benchmarks/export_runtime.py"),
    },
    r"scipy\.io|loadmat\(": set(),  # its reader of MATLAB v5 ends the process on damaged files
    r"allow_pickle=True|pickle\.load|\beval\(|\bexec\(": set(),
    r"\btorch\.load\((?!file, map_location=\"cpu\", weights_only=True\))": set(),
}


@pytest.mark.parametrize("pattern", OPENERS)
def test_files_of_strangers_have_one_reader(pattern):
    """A new place that opens files goes through the reader that refuses; papers and speed tables read their own."""
    root = Path(__file__).parents[2]
    files = [p for room in ("simulator", "receivers", "scenarios", "benchmarks") for p in (root / room).rglob("*.py")]
    found = {str(p.relative_to(root)) for p in files if re.search(pattern, p.read_text())}
    assert {f for f in found if not f.startswith(("benchmarks/papers/", "benchmarks/speed/"))} <= OPENERS[pattern]
