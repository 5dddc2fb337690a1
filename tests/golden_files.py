"""Recorded passes of published networks; see golden/README.md."""

import io
import lzma
from pathlib import Path

import numpy as np


def recorded(name, folder=Path(__file__).parent / "golden"):
    """Arrays of ``NAME.npz.xz`` by key; what is before a slash becomes a dictionary of its own."""
    with np.load(io.BytesIO(lzma.decompress((folder / f"{name}.npz.xz").read_bytes()))) as file:
        found = {}
        for key in file.files:
            *groups, last = key.split("/")
            place = found
            for group in groups:
                place = place.setdefault(group, {})
            place[last] = file[key]
    return found
