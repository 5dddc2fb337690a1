"""Labels of recorded samples from arrays stored with the channels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simulator.core.errors import StoreError
from simulator.data.arrays import ArrayFile


def read_labels(file: ArrayFile, names: Mapping[str, str], count: int) -> dict[str, np.ndarray]:
    """Label arrays that a file holds.

    Args:
        file: open file.
        names: key in the file to name of the label; missing keys are left out.
        count: samples; the first axis of every label, MATLAB's row vectors are turned.

    Raises:
        StoreError: another length.
    """
    labels = {}
    for key, name in names.items():
        if key not in file.shapes:
            continue
        value = file.read(key)
        if value.ndim == 2 and 1 in value.shape and value.size == count:
            value = value.reshape(-1)
        if value.ndim == 0 or len(value) != count:
            raise StoreError(f"{file.path}: {key} has shape {file.shapes[key]}; allowed: one entry per sample, {count}")
        labels[name] = value
    return labels
