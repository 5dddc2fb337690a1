"""Files are whole or absent; one process writes in a folder; what dead processes left is swept."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.seal import Identity, seal_fault, sealed
from simulator.core import durable
from simulator.core.cache import cached
from simulator.core.durable import partial_folder, publish_folder, renamed, sweep, write_bytes
from simulator.core.errors import ConfigError, StoreError
from simulator.core.lock import held

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def dead():
    """Id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def synced(monkeypatch):
    """What is brought to the disk, and what is renamed, in order."""
    calls = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(handle):
        calls.append(("fsync", os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def watched_replace(self, target):
        calls.append(("rename", str(target)))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    return calls


def test_a_file_is_on_the_disk_before_its_name_and_the_name_after(tmp_path, synced):
    path = tmp_path / "a" / "x.csv"
    write_bytes(path, b"new")
    temporary = str(path.with_name(f".x.csv.{os.getpid()}"))
    at = synced.index(("rename", str(path)))
    assert ("fsync", temporary) in synced[:at]
    assert synced[at + 1] == ("fsync", str(tmp_path / "a"))
    assert ("fsync", str(tmp_path)) in synced  # the name of the new folder
    assert path.read_bytes() == b"new"


def test_a_folder_is_on_the_disk_before_its_name(tmp_path, synced):
    made = partial_folder(tmp_path / "s")
    (made / "b").mkdir(parents=True)
    (made / "b" / "x").write_bytes(b"x")
    publish_folder(made, tmp_path / "s")
    at = synced.index(("rename", str(tmp_path / "s")))
    assert {("fsync", str(p)) for p in (made / "b" / "x", made / "b", made)} <= set(synced[:at])
    assert synced[at + 1] == ("fsync", str(tmp_path))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("no")])
def test_what_fails_leaves_the_old_file_alone(tmp_path, error):
    write_bytes(tmp_path / "x", b"old")
    with pytest.raises(StoreError if isinstance(error, OSError) else type(error)), renamed(tmp_path / "x") as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"x": b"old"}


# Calls that write a file, and what they write to where it is whole or absent: the temporary name of `renamed`, memory.
WRITERS = r"\.(savefig|to_csv|to_parquet|write_text|write_bytes|rename)\(|np\.savez?\w*\("
SAFE = r"temporary|\((file|content|buffer|data)\b|to_csv\(index|rename\(columns"
# What puts its files in their place itself: folders that are renamed as a whole, temporary files, an example for users.
OWN_WAY = {
    *("benchmarks/export.py", "benchmarks/export_folder.py", "benchmarks/export_graph.py"),
    *("benchmarks/export_runtime.py", "benchmarks/speed/stores.py"),
    "benchmarks/papers/kit/latency.py",
    "benchmarks/doctor_checks.py",  # in a temporary folder
    *("simulator/phy/site_trace.py", "scenarios/scripts/sweep_snr_and_bits.py"),
}


def test_every_writer_renames():
    found = []
    for room in ("simulator", "receivers", "scenarios", "benchmarks"):
        for path in sorted((ROOT / room).rglob("*.py")):
            name, text = path.relative_to(ROOT).as_posix(), path.read_text()
            calls = [re.sub(r"\s+", "", text[m.start() - 9 : m.start() + 60]) for m in re.finditer(WRITERS, text)]
            found += [f"{name}: {call}" for call in calls if name not in OWN_WAY and not re.search(SAFE, call)]
    assert found == []


def test_temporaries_of_dead_processes_are_swept_and_no_others(tmp_path, dead):
    swept = [f".x.csv.{dead}", f".model.weights.h5.{dead}.weights.h5", f".s.partial.{dead}", f".e.partial.{dead}.ab_1c"]
    kept = [f".x.csv.{os.getpid()}", "x.csv", ".hidden", f"x.{dead}", ".lock"]
    for name in swept + kept:
        (tmp_path / name).mkdir() if "partial" in name else (tmp_path / name).touch()
    (tmp_path / swept[2] / "shard").touch()
    assert sweep(tmp_path, "e") == [swept[3]]
    assert sweep(tmp_path, "s") == [swept[2]]
    assert sweep(tmp_path) == sorted(swept[:2])
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)
    assert sweep(tmp_path / "missing") == []


HOLD = """
import sys, time
from pathlib import Path
from simulator.core.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_refused_with_the_process_and_a_killed_one_is_not_in_the_way(tmp_path):
    folder = tmp_path / "r"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(StoreError, match=rf"r: process {other.pid} writes here"), held(folder):
        pass
    other.kill()
    other.wait()
    assert (folder / ".lock").exists()  # the file is there, the lock is not
    (folder / "kept").touch()
    with held(folder), pytest.raises(StoreError, match=f"process {os.getpid()} writes here"), held(folder):
        pass
    assert [p.name for p in folder.iterdir()] == ["kept"]


def test_a_folder_that_stayed_empty_is_gone(tmp_path):
    with held(tmp_path / "r"):
        pass
    assert not (tmp_path / "r").exists()


# Checksum and identity


def archive(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


ONE = Identity("0123456789abcdef", 3, 64)
DAMAGE = {
    "zeroed block": lambda c: c[:512] + bytes(512) + c[1024:],
    "one bit": lambda c: c[:700] + bytes([c[700] ^ 1]) + c[701:],
    "cut": lambda c: c[:-5],
    "longer": lambda c: c + b" ",
    "empty": lambda c: b"",
    "text": lambda c: b"x" * 99,
    "not sealed": lambda c: archive(mean=np.full(200, np.nan)),
    "comment of numbers": lambda c: c[: c.rindex(b"PK\x05\x06") + 20] + b"\x01\x00" + b"1",
}


def test_a_sealed_file_is_whole_and_still_an_archive(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(sealed(archive(mean=np.arange(200.0)), ONE))
    assert seal_fault(path, ONE) is None
    np.testing.assert_array_equal(np.load(path)["mean"], np.arange(200.0))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_told(tmp_path, damage):
    path = tmp_path / "x.npz"
    path.write_bytes(DAMAGE[damage](sealed(archive(mean=np.arange(200.0)), ONE)))
    assert seal_fault(path, ONE).startswith("damaged")


@pytest.mark.parametrize("other", [Identity("f" * 16, 3, 64), Identity(ONE.point, 2, 64), Identity(ONE.point, 3, -64)])
def test_the_file_of_another_chunk_is_told(tmp_path, other):
    path = tmp_path / "x.npz"
    path.write_bytes(sealed(archive(mean=np.arange(200.0)), other))
    assert seal_fault(path, ONE).startswith("holds another chunk")


# The cache


def test_a_cached_value_is_made_once_and_again_when_damaged(tmp_path, capsys, dead):
    made = []

    def make(path):
        made.append(path.name)
        path.write_text("[1]")

    path = tmp_path / "c" / "x.json"
    path.parent.mkdir()
    (path.parent / f".x.json.{dead}.json").touch()

    def read(path):
        return json.loads(path.read_text())

    assert cached(path, make, read) == cached(path, make, read) == [1]
    assert len(made) == 1 and not capsys.readouterr().err
    path.write_text("[1")
    assert cached(path, make, read) == [1] and len(made) == 2
    assert "x.json: damaged" in capsys.readouterr().err
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.json", "x.lock"]


def test_what_is_wrong_with_a_source_is_not_the_fault_of_the_cache(tmp_path):
    def make(path):
        raise ConfigError("channel.taps", 9, "1..4")

    with pytest.raises(ConfigError, match=r"channel\.taps: got 9") as told:
        cached(tmp_path / "x.json", make, lambda path: None)
    assert "cannot be read" not in str(told.value)


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="CSILINK_CACHE"):
        cached(tmp_path / "file" / "x.json", lambda path: path.touch(), lambda path: None)


def test_file_systems_that_sync_no_folders(tmp_path, monkeypatch):
    fsync = os.fsync

    def refused(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(22, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(durable.os, "fsync", refused)
    write_bytes(tmp_path / "a" / "x", b"x")
    assert (tmp_path / "a" / "x").read_bytes() == b"x"
