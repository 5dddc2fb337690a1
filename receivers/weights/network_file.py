"""Weights of a Keras network in a safetensors file: a float32 tensor for every data set of its ``*.weights.h5``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np

from receivers.weights.card import NETWORK
from receivers.weights.tensor_file import TENSORS, read_tensors, write_tensors
from simulator.data.hdf5 import check_hdf5, open_hdf5


def to_tensors(source: Path, target: Path) -> None:
    """Write the data sets of a ``*.weights.h5`` as tensors of the same names.

    Raises:
        ValueError: a data set that is not float32.
    """
    found: dict[str, np.ndarray] = {}
    with open_hdf5(source) as file:
        file.visititems(lambda name, each: found.update({name: each[()]}) if isinstance(each, h5py.Dataset) else None)
    write_tensors(target, found)


def load_network(model: Any, path: Path) -> None:
    """Load weights of either form into a Keras model, which reads HDF5 only.

    Raises:
        StoreError, OSError, ValueError, KeyError, TypeError, RuntimeError: damaged, or of another model.
    """
    if not path.name.endswith(TENSORS):
        check_hdf5(path)
        model.load_weights(path)
        return
    tensors = read_tensors(path)
    with TemporaryDirectory() as place:
        written = Path(place) / f"model{NETWORK}"
        with h5py.File(written, "w") as file:
            for name, value in tensors.items():
                file.create_dataset(name, data=value)
        model.load_weights(written)
