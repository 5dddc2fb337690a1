"""Learned integers of the beam-delay code: network of the contexts, probabilities, levels; and their file."""

from __future__ import annotations

from dataclasses import Field, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from receivers.beamdelay.contexts import CAP, MOST_HIDDEN, NUM_FEATURES, NUM_SIZES, NUM_SYMBOLS, NUM_ZERO
from receivers.beamdelay.grid import NEAR, NUM_CLASSES
from receivers.coding.range_coder import TOTAL
from simulator.core.durable import renamed
from simulator.core.errors import StoreError
from simulator.core.readers import read_npz, reason

PRECISION = 22  # bits of the probabilities of coefficients: most of them are 0 with one of .9999
WHOLE = 1 << PRECISION
ORIGIN_CELLS = 32  # of the size of the origin, as a share of the most that it can be
LEVEL_UNIT = 256  # of a step
NUM_OTHERS = 1 + len(NEAR) + 4 + 2  # features of the other layers
_HIDDEN = 64  # at most
_MOST = 2**24 - 2**19  # whole numbers below 2**24 are exact in float32
_FEATURE = 96  # the largest one
_LAYERS = "layers_"  # before the names of the arrays of several layers


@dataclass(frozen=True)
class Tables:
    """All that UE and gNB share, as integers.

    Args:
        importance: ``[class]``, order of coding.
        w1: ``[feature, hidden]``, -127..127.
        b1: ``[class, hidden]``.
        w2: ``[hidden, score]``.
        w3: ``[feature, score]``.
        b2: ``[class, score]``.
        zero: ``[number of the zero]``, probability of a coefficient that is 0, of 2**22.
        nonzero: ``[number of the size, symbol]``, those of the symbols 1..255 where it is not; each row has the sum
            2**22, each symbol at least 1.
        origin: ``[cell]``, at least 64, with the sum 2**16.
        means: ``[number of the size, part]``, mean size of a part in 1/256 of a step.
        layers: the same of reports with several layers; None: every layer is coded by itself with these.
    """

    num_features: ClassVar[int] = NUM_FEATURES

    importance: np.ndarray
    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    w3: np.ndarray
    b2: np.ndarray
    zero: np.ndarray
    nonzero: np.ndarray
    origin: np.ndarray
    means: np.ndarray
    layers: LayeredTables | None = None

    def __post_init__(self) -> None:
        for field in self._arrays():
            value = getattr(self, field.name)
            if not isinstance(value, np.ndarray) or not np.issubdtype(value.dtype, np.integer):
                raise StoreError(f"tables: {field.name} is no array of integers")
            object.__setattr__(self, field.name, value.astype(np.int64))
        hidden = self.w1.shape[-1] if self.w1.ndim == 2 else 0
        shapes = {
            "importance": (NUM_CLASSES,), "w1": (self.num_features, hidden),
            "b1": (NUM_CLASSES, hidden), "w2": (hidden, 2),
            "w3": (self.num_features, 2), "b2": (NUM_CLASSES, 2), "zero": (NUM_ZERO,),
            "nonzero": (NUM_SIZES, NUM_SYMBOLS - 1), "origin": (ORIGIN_CELLS,), "means": (NUM_SIZES, CAP + 1),
        }  # fmt: skip
        for key, shape in shapes.items():
            if getattr(self, key).shape != shape:
                raise StoreError(f"tables: {key} has the shape {getattr(self, key).shape}; allowed: {shape}")
        limits = {"w1": 127, "b1": 2**20, "w2": 2**9, "w3": 2**15, "b2": 2**22, "importance": 2**31, "means": 2**15}
        for key, most in limits.items():
            if np.abs(getattr(self, key)).max(initial=0) > most:
                raise StoreError(f"tables: {key} beyond +-{most}")
        if not 1 <= hidden <= _HIDDEN:
            raise StoreError(f"tables: {hidden} hidden units; allowed: 1..{_HIDDEN}")
        first = np.abs(self.w1).sum(axis=0).max() * _FEATURE + np.abs(self.b1).max()
        sums = np.abs(self.w3).sum(axis=0) * _FEATURE + np.abs(self.w2).sum(axis=0) * MOST_HIDDEN
        score = sums.max() + np.abs(self.b2).max()
        if max(first, score) > _MOST:
            raise StoreError(f"tables: sums of the network may reach {max(first, score)}; allowed: {_MOST}")
        if not 1 <= self.zero.min() <= self.zero.max() <= WHOLE - NUM_SYMBOLS:
            raise StoreError(f"tables: zero has values outside 1..{WHOLE - NUM_SYMBOLS}")
        if self.nonzero.min() < 1 or (self.nonzero.sum(axis=1) != WHOLE).any():
            raise StoreError(f"tables: nonzero has rows without the sum {WHOLE} or values below 1")
        if self.origin.min() < 64 or self.origin.sum() != TOTAL:
            raise StoreError(f"tables: origin has not the sum {TOTAL} or values below 64")

    @classmethod
    def _arrays(cls) -> list[Field]:
        return [field for field in fields(cls) if field.name != "layers"]

    @property
    def network(self) -> dict[str, np.ndarray]:
        """Weights of the contexts."""
        return {key: getattr(self, key) for key in ("w1", "b1", "w2", "w3", "b2")}

    @cached_property
    def frequency(self) -> np.ndarray:
        r"""Of all symbols, int64 ``[bin, symbol]``, each row with the sum 2**22.

        With z and :math:`f_s` of the two numbers, :math:`1 + \lfloor f_s (2^{22} - z - 255) / 2^{22} \rfloor` for
        symbols that are not 0, the rest for the most frequent one of them, the first of several.
        """
        room = WHOLE - self.zero[:, None, None] - (NUM_SYMBOLS - 1)
        rest = 1 + (self.nonzero * room >> PRECISION)  # [zero, size, symbol]
        most = self.nonzero.argmax(axis=1)
        rest[:, np.arange(NUM_SIZES), most] += WHOLE - self.zero[:, None] - rest.sum(axis=2)
        zero = np.broadcast_to(self.zero[:, None, None], (NUM_ZERO, NUM_SIZES, 1))
        return np.concatenate([zero, rest], axis=2).reshape(-1, NUM_SYMBOLS)

    @cached_property
    def starts(self) -> np.ndarray:
        """Where the symbols start, all tables one after another, int64 ``[bin, symbol]``."""
        ends = np.cumsum(self.frequency, axis=1)
        return ends - self.frequency + WHOLE * np.arange(len(ends))[:, None]

    @cached_property
    def levels(self) -> np.ndarray:
        """Mean size of a part in 1/256 of a step, ``[bin, part]``."""
        return np.tile(self.means, (NUM_ZERO, 1))

    @cached_property
    def lengths(self) -> np.ndarray:
        """Ideal code lengths of the symbols, signs included, float32 ``[bin, symbol]`` [bit]."""
        a, b = np.divmod(np.arange(NUM_SYMBOLS), CAP + 1)
        return (PRECISION - np.log2(self.frequency) + (a > 0) + (b > 0)).astype(np.float32)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Tables from ``*.npz``; StoreError where the file holds none."""
        try:
            arrays = read_npz(path)
            several = {key.removeprefix(_LAYERS): arrays.pop(key) for key in list(arrays) if key.startswith(_LAYERS)}
            return cls(**arrays, layers=LayeredTables(**several) if several else None)
        except (StoreError, OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{path}: no tables of the beam-delay code ({reason(error)})") from None

    def save(self, path: Path) -> None:
        """To ``*.npz``, in the smallest integers that hold them."""
        several = {} if self.layers is None else self.layers._small()
        arrays: dict[str, Any] = {**self._small(), **{_LAYERS + key: value for key, value in several.items()}}
        with renamed(path, ".npz") as temporary:
            np.savez_compressed(temporary, **arrays)

    def _small(self) -> dict[str, np.ndarray]:
        found = {}
        for field in self._arrays():
            value = getattr(self, field.name)
            kind = next(k for k in (np.int8, np.int16, np.int32) if np.abs(value).max() <= np.iinfo(k).max)
            found[field.name] = value.astype(kind)
        return found


class LayeredTables(Tables):
    """Learned integers of reports with more than one layer: the contexts see the other layers, too."""

    num_features = NUM_FEATURES + NUM_OTHERS


def shares(counts: np.ndarray, total: int, least: int = 1) -> np.ndarray:
    """Whole numbers of at least ``least`` with the sum ``total`` in every row, in proportion to ``counts``."""
    counts = np.atleast_2d(counts).astype(np.float64)
    room = total - least * counts.shape[1]
    found = least + np.floor(counts / counts.sum(axis=1, keepdims=True) * room).astype(np.int64)
    found[np.arange(len(found)), counts.argmax(axis=1)] += total - found.sum(axis=1)
    return found
