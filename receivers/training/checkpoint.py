"""State of a training between epochs: all variables of model and optimiser in one file."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from simulator.core.content import sha256
from simulator.core.durable import renamed
from simulator.core.errors import StoreError
from simulator.core.readers import read_json, read_npz, reason


def save_variables(model: keras.Model, path: Path) -> str:
    """All variables of a compiled model and its optimiser, in order; renamed into place. The SHA-256 of the file."""
    variables = [*model.variables, *model.optimizer.variables]
    values = {f"v{i}": ops.convert_to_numpy(v) for i, v in enumerate(variables)}
    with renamed(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **values)
    return sha256(path)


def load_variables(
    model: keras.Model, path: Path, weights_only: bool = False, known: Mapping[str, str] | None = None
) -> None:
    """Model, and unless ``weights_only`` optimiser, as they were saved.

    Args:
        model: compiled.
        path: file of :func:`save_variables`.
        weights_only: not the optimiser.
        known: SHA-256 of files by name; those without one are not compared.

    Raises:
        StoreError: no file, a damaged one, or that of another epoch.
    """
    variables: list[Any] = [*model.variables, *([] if weights_only else model.optimizer.variables)]
    try:
        if known and path.name in known and path.is_file() and sha256(path) != known[path.name]:
            raise ValueError("SHA-256 is not that of its epoch")
        values = read_npz(path)
        for index, variable in enumerate(variables):
            variable.assign(values[f"v{index}"])
    except (ValueError, KeyError) as error:
        raise StoreError(
            f"{path}: damaged or missing ({reason(error)}); delete {path.parent} and train again"
        ) from None


def read_history(path: Path, described: dict[str, Any], keys: tuple[str, ...] = ("val_loss",)) -> dict[str, Any]:
    """State of an earlier run of the same recipe, or a fresh one: ``recipe``, ``epochs``, hashes of ``files``.

    Raises:
        StoreError: a damaged file, or another recipe's.
    """
    if not path.exists():
        return {"recipe": described, "epochs": [], "files": {}}
    try:
        state = read_json(path)
        same = state["recipe"] == described
        _ = [e[key] for e in state["epochs"] for key in keys]
        state["files"] = dict(state.get("files", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: damaged ({error}); delete {path.parent} and train again") from None
    if not same:
        raise StoreError(f"{path.parent}: checkpoints of another recipe; choose another --out or delete it")
    return state


def flush_denormals() -> None:
    """Treat denormal floats as zero under torch, as the other backends do; zero-initialised branches make many."""
    if keras.backend.backend() == "torch":
        import torch

        torch.set_flush_denormal(True)


def machine() -> str:
    """Machine of the training: processor, and accelerator if there is one."""
    device = "CPU"
    if keras.backend.backend() == "torch":
        import torch

        device = torch.cuda.get_device_name() if torch.cuda.is_available() else device
    elif keras.backend.backend() == "jax":
        import jax

        device = device if jax.default_backend() == "cpu" else jax.devices()[0].device_kind
    return f"{platform.machine()}, {device}"
