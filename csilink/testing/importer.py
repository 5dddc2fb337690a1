"""What csilink asks of importers."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from csilink.testing.common import Part, run
from simulator.core.errors import CsilinkError, StoreError
from simulator.data.importer import Importer, import_store
from simulator.data.layout import ChannelLayout


def check_importer(importer: str | type[Importer], path: str | Path, **params: Any) -> None:
    """All checks of an importer on a small file or folder of its format: :data:`IMPORTER_CHECKS`.

    Args:
        importer: class, or name of a plug-in.
        path: what it reads; the checks that damage files work on copies.
        **params: further ones of the constructor.

    Raises:
        AssertionError: what the importer does and must not.
        ConfigError: it cannot be constructed.
        StoreError: ``path`` is none of its format.

    Example:
        >>> import numpy as np
        >>> from csilink.testing import check_importer
        >>> np.save("h.npy", np.random.default_rng(1).standard_normal((6, 5, 4)) + 0j)
        >>> check_importer("generic", "h.npy", axes="sample subcarrier n1", spacing_hz=15e3)
    """
    run(IMPORTER_CHECKS, Part("importers", importer, Path(path), **params))


def attributes(part: Part, rng: np.random.Generator) -> None:
    """``layout``, ``files`` that exist, each once, and names of splits; facts are JSON."""
    one = part.one
    assert isinstance(one.layout, ChannelLayout), f"layout is a {type(one.layout).__name__}"
    assert one.files and all(isinstance(f, Path) and f.is_file() for f in one.files), f"files are {one.files}"
    for what, names in (("files", one.files), ("splits", one.splits)):
        assert names and len(set(names)) == len(names), f"{what} are {names}, each must be there once"
    assert all(isinstance(split, str) for split in one.splits), f"splits are {one.splits}"


def blocks(part: Part, rng: np.random.Generator) -> None:
    """Finite complex64 ``[sample, *layout.entry_shape]`` that are not all zero, with the same labels in every block."""
    one, names = part.new(), None
    for split in one.splits:
        count = 0
        for h, labels in one.blocks(split):
            wanted = one.layout.entry_shape
            assert h.dtype == np.complex64 and h.shape[1:] == wanted, f"{h.dtype} {h.shape}, not complex64 {wanted}"
            assert np.isfinite(h).all(), "NaN or infinity"
            assert (h != 0).any(), "a block of zeros"
            wrong = [name for name, value in labels.items() if len(value) != len(h)]
            assert not wrong, f"{len(h)} samples, but not as many values of {', '.join(wrong)}"
            assert names is None or set(labels) == names, f"labels {sorted(labels)} after {sorted(names or ())}"
            names, count = set(labels), count + len(h)
        assert count, f"split {split} without samples"
    try:
        json.dumps(one.facts())
    except TypeError as error:
        raise AssertionError(f"facts() is no JSON: {error}") from None


def repeatable(part: Part, rng: np.random.Generator) -> None:
    """A new object reads the same channels; the store has them, and hashes of all files in its manifest."""
    import hashlib

    with tempfile.TemporaryDirectory() as folder:
        importer = part.new()
        store = import_store(importer, Path(folder) / "store", name="checked", origin={})
        manifest = json.loads((store.folder / "manifest.json").read_text())
        listed = {entry["name"]: entry["sha256"] for entry in _inputs(manifest)}
        for file in importer.files:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            assert listed.get(file.name) == digest, f"{file.name} is not in the manifest"
        for split in importer.splits:
            h = np.concatenate([block for block, _ in part.new().blocks(split)])
            assert np.array_equal(store.take(split, np.arange(len(h))), h), (
                f"split {split}: other channels in the store"
            )


def _inputs(manifest: Any) -> list[dict[str, Any]]:
    """Entries ``inputs`` wherever they stand in a manifest."""
    if isinstance(manifest, dict):
        found = manifest.get("inputs", [])
        return [*found, *(entry for value in manifest.values() for entry in _inputs(value))]
    return []


def missing(part: Part, rng: np.random.Generator) -> None:
    """A path that is not there is an error of csilink that names it."""
    gone = part.args[0].with_name("no-such-file" + part.args[0].suffix)
    try:
        _read(Part("importers", part.plugin, gone, **part.params))
    except CsilinkError as error:
        assert gone.name in str(error), f"the message does not name {gone.name}: {error}"
        return
    raise AssertionError(f"{gone} was read")


def damaged(part: Part, rng: np.random.Generator) -> None:
    """Each file cut in half, emptied, or of random octets is a StoreError that names it, or its folder."""
    for number, file in enumerate(part.one.files):
        whole = file.read_bytes()
        for content in (whole[: len(whole) // 2], b"", rng.bytes(len(whole))):
            with _copy(part) as other:
                copied = Part("importers", part.plugin, other, **part.params)
                victim = copied.one.files[number]
                victim.write_bytes(content)
                try:
                    _read(Part("importers", part.plugin, other, **part.params))
                except StoreError as error:
                    named = any(name in str(error) for name in (victim.name, victim.parent.name))
                    assert named, f"the message does not name {victim.name}: {error}"
                    continue
                raise AssertionError(f"{victim.name} with {len(content)} of {len(whole)} octets was read")


def _read(part: Part) -> None:
    importer = part.new()
    for split in importer.splits:
        for _ in importer.blocks(split):
            pass


@contextmanager
def _copy(part: Part) -> Iterator[Path]:
    """The path in a folder of its own, with what is next to it: formats name files after one another."""
    path = part.args[0]
    with tempfile.TemporaryDirectory() as folder:
        if path.is_dir():
            yield Path(shutil.copytree(path, Path(folder) / path.name))
        else:
            for file in part.one.files:
                target = Path(folder) / file.relative_to(path.parent)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, target)
            yield Path(folder) / path.name


IMPORTER_CHECKS = (attributes, blocks, repeatable, missing, damaged)
