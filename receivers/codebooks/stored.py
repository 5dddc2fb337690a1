"""Codebooks as files: one array for each environment, a card with hashes. No network is needed to use them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from receivers.codebooks.rvq import rvq_codebook
from receivers.recipes import how_to_make
from simulator.core.content import note, sha256
from simulator.core.durable import make_folder, renamed
from simulator.core.errors import ConfigError, StoreError
from simulator.core.params import Label, config_error
from simulator.core.paths import inside, is_file
from simulator.core.readers import FAULTS, read_json, reason
from simulator.core.types import Panel
from simulator.data.store import write_json

CARD = "card.json"
_BLOCK = 1 << 16  # codewords checked at a time


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _File(_Section):
    """A file of the folder.

    Args:
        file: name within the folder.
        sha256: SHA-256 of its content, hexadecimal.
    """

    file: str
    sha256: str


class _Panel(_Section):
    """Panel of the gNB.

    Args:
        n1: columns.
        n2: rows.
        num_pol: polarisations.
    """

    n1: int
    n2: int
    num_pol: int


class _Base(_Section):
    """Base codebook of a single-side codebook.

    Args:
        rvq_seed: seed of a random codebook; null: a file.
        file: name within the folder; null: a seed.
        sha256: SHA-256 of its content.
    """

    rvq_seed: int | None = None
    file: str | None = None
    sha256: str | None = None


class _Card(_Section):
    """Card of a codebook.

    Args:
        kind: what the folder holds.
        name: of the codebook.
        bits: of an index.
        panel: panel of the gNB.
        side: both ends hold the codebook, or the gNB alone.
        environments: environment to its array.
        base: codebook that the UE searches, side ss; null: the same.
        made_by: recipe and facts, not read.
    """

    kind: Literal["codebook"]
    name: Label
    bits: int = Field(ge=1, le=20)
    panel: _Panel
    side: Literal["ss", "ds"]
    environments: dict[Label, _File] = Field(min_length=1)
    base: _Base | None = None
    made_by: dict[str, Any] = {}


class StoredCodebook:
    """A folder with ``card.json`` and codebooks complex64 ``[2**bits, port]``, unit norm, as ``.npy``.

    ``side`` "ds" (dual-side): UE and gNB hold the same codebook. "ss" (single-side): the UE searches the base codebook,
    the gNB reads the index in its refined one.

    Args:
        folder: the folder.
    Raises:
        ConfigError: no such folder, or an unknown environment.
        StoreError: damaged card or file, or a file outside the folder.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not is_file(self.folder / CARD):
            raise ConfigError(
                "feedback.codebook.path",
                str(folder),
                f"a folder with card.json of a codebook ({how_to_make(str(folder))})",
            )
        try:
            self.card = _Card.model_validate(read_json(inside(self.folder, CARD)))
        except ValidationError as error:
            raise StoreError(f"{self.folder / CARD}: not the card of a codebook ({config_error(error).line})") from None
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.folder / CARD}: not the card of a codebook ({error})") from None
        note(self.folder / CARD, sha256(self.folder / CARD))  # the card holds the hashes of the codebooks
        self.name, self.bits, self.side = self.card.name, self.card.bits, self.card.side
        self.panel = Panel(self.card.panel.n1, self.card.panel.n2, self.card.panel.num_pol)
        if self.side == "ss" and self.card.base is None:
            raise StoreError(f"{self.folder / CARD}: side ss without a base codebook")

    @property
    def environments(self) -> list[str]:
        """Names of the environments in alphabetical order, that of their index."""
        return sorted(self.card.environments)

    def codebook(self, environment: str) -> np.ndarray:
        """Codebook of the gNB for an environment."""
        if environment not in self.card.environments:
            raise ConfigError("feedback.codebook.environment", environment, ", ".join(self.environments))
        entry = self.card.environments[environment]
        return _array(inside(self.folder, entry.file), entry.sha256, (2**self.bits, self.panel.num_ports))

    def searched(self, environment: str) -> np.ndarray:
        """Codebook that the UE searches."""
        base = self.card.base
        if self.side == "ds" or base is None:
            return self.codebook(environment)
        if base.rvq_seed is not None:
            return _rvq(self.panel.num_ports, self.bits, base.rvq_seed)
        return _array(inside(self.folder, base.file), str(base.sha256), (2**self.bits, self.panel.num_ports))


@cache
def _rvq(num_ports: int, bits: int, seed: int) -> np.ndarray:
    return rvq_codebook(num_ports, bits, seed)


@cache
def _array(path: Path, expected: str, shape: tuple[int, int]) -> np.ndarray:
    """Mapped array, verified once in a process."""
    try:
        if sha256(path) != expected:
            raise StoreError(f"{path}: damaged, SHA-256 is not {expected[:12]}... as in the card")
        words = np.load(path, mmap_mode="r", allow_pickle=False)
    except StoreError:
        raise
    except (*FAULTS, MemoryError) as error:
        raise StoreError(f"{path}: no codebook ({reason(error)})") from None
    if words.shape != shape or words.dtype != np.complex64:
        raise StoreError(f"{path}: {words.dtype} {words.shape}; allowed: complex64 {shape}")
    for start in range(0, len(words), _BLOCK):
        norm = np.linalg.norm(words[start : start + _BLOCK], axis=1)
        if not (np.abs(norm - 1) < 1e-3).all():
            raise StoreError(f"{path}: codewords whose norm is not 1")
    return words


def write_codebook(
    folder: Path,
    name: str,
    panel: Panel,
    codebooks: dict[str, np.ndarray],
    *,
    side: Literal["ss", "ds"] = "ds",
    base: np.ndarray | int | None = None,
    made_by: dict[str, Any] | None = None,
) -> StoredCodebook:
    """Write codebooks by environment and their card.

    Args:
        folder: target.
        name: of the codebook, first part of the scheme's label.
        panel: gNB panel.
        codebooks: complex ``[2**bits, port]`` by environment.
        side: "ds" or "ss".
        base: codebook that the UE searches with "ss": a codebook, or the seed of an RVQ codebook.
        made_by: how they were made: algorithm, network, data, seeds, scores.
    """
    make_folder(folder)

    def write(words: np.ndarray, file: str) -> dict[str, str]:
        with renamed(inside(folder, file)) as temporary, temporary.open("wb") as content:
            np.save(content, np.ascontiguousarray(words, np.complex64))
        return {"file": file, "sha256": sha256(folder / file)}

    sizes = {words.shape for words in codebooks.values()}
    if len(sizes) != 1 or next(iter(sizes))[1] != panel.num_ports:
        raise ConfigError("codebooks", sorted(sizes), f"one shape [2**bits, {panel.num_ports}]")
    size = next(iter(sizes))[0]
    folder.mkdir(parents=True, exist_ok=True)
    card = {
        "kind": "codebook",
        "name": name,
        "bits": (size - 1).bit_length(),
        "panel": {"n1": panel.n1, "n2": panel.n2, "num_pol": panel.num_pol},
        "side": side,
        "environments": {key: write(words, f"{key}.npy") for key, words in codebooks.items()},
        "base": None if base is None else {"rvq_seed": base} if isinstance(base, int) else write(base, "base.npy"),
        "made_by": made_by or {},
    }
    write_json(folder / CARD, card)
    return StoredCodebook(folder)
