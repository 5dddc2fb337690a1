"""The channel of one drop and what every scheme made of it: kept by the first chunk of a point, drawn by the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.readers import FAULTS, read_npz
from simulator.outcomes import CsiOutcome

MAX_PORTS, MAX_SAMPLES = 64, 512  # of channels that are kept
_PREFIX = "picture_"


@dataclass
class Picture:
    """First user and receive antenna of drop 0 in its last slot.

    Args:
        h: true channel complex64 ``[port, sample]``, its first 64 ports and 512 frequency samples; None without one.
        direction: true direction of layer 1 complex64 ``[subband, port]``, unit norm.
        h_hat: channel that the gNB has, as ``h``, by explicit scheme.
        directions: direction that the gNB has, as ``direction``, by scheme.
    """

    h: np.ndarray | None = None
    direction: np.ndarray | None = None
    h_hat: dict[str, np.ndarray] = field(default_factory=dict)
    directions: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, scheme: str, outcome: CsiOutcome) -> None:
        """Keep what the gNB has from a scheme; nothing of links that know no directions."""
        if outcome.directions is None:
            return
        last = outcome.h.shape[4] - 1
        true, known = (np.asarray(part)[last, 0, 0] for part in outcome.directions())
        if self.h is None:
            self.h, self.direction = _kept(outcome.h), true.astype(np.complex64)
        if outcome.h_hat is not None:
            self.h_hat[scheme] = _kept(outcome.h_hat)
        self.directions[scheme] = known.astype(np.complex64)

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays of an ``.npz`` file."""
        if self.h is None or self.direction is None:
            return {}
        names = {"explicit": list(self.h_hat), "schemes": list(self.directions)}
        found = {
            "h": self.h,
            "direction": self.direction,
            "h_hat": np.array([*self.h_hat.values()], np.complex64),
            "directions": np.array([*self.directions.values()], np.complex64),
            "names": np.array(json.dumps(names)),
        }
        return {_PREFIX + name: array for name, array in found.items()}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Picture:
        """Picture among the arrays of a chunk; an empty one if it has none.

        Raises:
            ValueError: its arrays do not fit each other.
        """
        if f"{_PREFIX}names" not in stored:
            return cls()
        names = json.loads(str(stored[f"{_PREFIX}names"]))
        h, direction = stored[f"{_PREFIX}h"], stored[f"{_PREFIX}direction"]
        h_hat, directions = stored[f"{_PREFIX}h_hat"], stored[f"{_PREFIX}directions"]
        if h.ndim != 2 or direction.ndim != 2 or directions.shape[1:] != direction.shape:
            raise ValueError("a picture of other shapes")
        if len(h_hat) and h_hat.shape[1:] != h.shape:
            raise ValueError("a picture of other shapes")
        explicit = dict(zip(names["explicit"], h_hat, strict=True))
        return cls(h, direction, explicit, dict(zip(names["schemes"], directions, strict=True)))


def read_picture(folder: Path, key: str) -> Picture:
    """Picture of the point of this key in a results folder; an empty one where there is none, or a damaged one."""
    for path in sorted((folder / "points" / key).glob("chunk-00000000-*.npz")):
        with suppress(*FAULTS):
            return Picture.of(read_npz(path))
    return Picture()


def _kept(h: np.ndarray) -> np.ndarray:
    return np.asarray(h[0, 0, 0, :MAX_PORTS, -1, :MAX_SAMPLES], np.complex64)
