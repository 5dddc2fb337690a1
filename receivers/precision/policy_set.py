"""Result of the offline stage of RP-MPQ, held by the UE: policies, their costs, and tables of expected violations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from receivers.precision.violation import Surrogate
from simulator.core.content import note, sha256
from simulator.core.durable import renamed
from simulator.core.errors import ConfigError, StoreError
from simulator.core.paths import is_file
from simulator.core.readers import read_npz

FILE = "precision.npz"
_ARRAYS = ("policies", "kappa", "bops", "omega", "divergence", "refined", "ilp", "sparsity", "gammas")


@dataclass(frozen=True, eq=False)
class PolicySet:
    """Mixed-precision policies of one encoder.

    Args:
        meta: plain data: ``weights_sha256``, ``options`` of the encoder, ``blocks`` (names), the recipe.
        policies: int64 ``[policy, block]``, bits of every block, by increasing cost.
        kappa: float64 ``[policy]``, BOPs of weights over those at 16 bits.
        bops: float64 ``[policy]``, all bit operations of one image.
        omega: float64 ``[policy]``, summed sensitivity.
        divergence: float64 ``[policy]``, J of Eq. (23).
        refined: bool ``[policy]``, in the representative set of Eq. (25).
        ilp: bool ``[policy]``, the best of the ILP alone for a budget.
        sparsity: float64 ``[sample]`` of the calibration images.
        gammas: float64 ``[gamma]``, reliability targets of the tables.
        surrogates: one table for each.

    Source: RP-MPQ, Secs. IV-E and V-E.
    """

    meta: dict[str, Any]
    policies: NDArray[np.int64]
    kappa: NDArray[np.float64]
    bops: NDArray[np.float64]
    omega: NDArray[np.float64]
    divergence: NDArray[np.float64]
    refined: NDArray[np.bool_]
    ilp: NDArray[np.bool_]
    sparsity: NDArray[np.float64]
    gammas: NDArray[np.float64]
    surrogates: tuple[Surrogate, ...]

    def surrogate(self, gamma: float) -> Surrogate:
        """Table of a reliability target; ConfigError lists the available ones."""
        for known, table in zip(self.gammas, self.surrogates, strict=True):
            if abs(known - gamma) < 1e-9:
                return table
        raise ConfigError("feedback.rp-mpq.gamma", gamma, ", ".join(f"{known:g}" for known in self.gammas))

    def save(self, path: Path) -> None:
        """Write an npz file."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        for index, table in enumerate(self.surrogates):
            arrays |= {f"surrogate{index}/{name}": value for name, value in table.to_arrays().items()}
        with renamed(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, meta=np.array(json.dumps(self.meta)), **arrays)

    @classmethod
    def load(cls, path: Path) -> PolicySet:
        """Read a file of :meth:`save`; StoreError when it is none."""
        if not is_file(path):
            raise ConfigError("feedback.rp-mpq.policies", str(path), "a file made by `csilink policies WEIGHTS`")
        try:
            arrays = read_npz(path)
            note(path, sha256(path))
            tables = []
            for index in range(len(arrays["gammas"])):
                lead = f"surrogate{index}/"
                own = {name.removeprefix(lead): v for name, v in arrays.items() if name.startswith(lead)}
                tables.append(Surrogate.from_arrays(own))
            meta = json.loads(str(arrays["meta"]))
            meta["weights_sha256"], meta["options"], meta["blocks"]
            found = cls(meta, *(arrays[name] for name in _ARRAYS), tuple(tables))
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise StoreError(f"{path}: no policies of a mixed-precision encoder ({error})") from None
        sizes = {len(getattr(found, name)) for name in _ARRAYS[:7]} | {len(t.table) for t in tables}
        if found.policies.shape[1:] != (len(meta["blocks"]),) or len(sizes) != 1:
            raise StoreError(f"{path}: arrays of different sizes")
        return found
