"""Training loop over several data sets: batches of many sizes, phases of a teacher, checkpoints, resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from receivers.training.checkpoint import flush_denormals, load_variables, machine, read_history, save_variables
from receivers.training.data.sequences import PredictionBatches
from receivers.training.optimizer import build_optimizer
from receivers.training.steps import SteppedModel
from receivers.training.tensorboard import TensorBoard
from simulator.core.errors import StoreError
from simulator.data.store import ChannelStore, write_json


def fit_stores(
    recipe: Any,
    stores: Sequence[ChannelStore],
    folder: Path,
    build: Callable[[], SteppedModel],
    validate: Callable[[], dict[str, float]],
    prepare: Callable[[np.ndarray, np.random.Generator], np.ndarray] = lambda x, rng: x,
    progress: Callable[[str], None] = print,
) -> tuple[SteppedModel, dict[str, Any]]:
    """Train to the end, from the last finished epoch if ``folder`` has one.

    Args:
        recipe: ``seed, epochs, batch_size, learning_rate, max_samples, validate_every`` and the fields that
            :func:`~receivers.training.optimizer.build_optimizer` reads.
        stores: data sets.
        folder: checkpoints, ``history.json`` and TensorBoard log.
        build: makes the training model, which gives the loss of every sample.
        validate: scores of an epoch, ``val_loss`` among them, the lowest of which gives the weights.
        prepare: channels float32 ``[sample, slot, subcarrier, antenna, 2]`` of a batch to the input of the model.
        progress: receives one line per epoch.

    Returns:
        the model with its best weights, and the history.

    Raises:
        StoreError: the folder belongs to another recipe or cannot be written, or training diverged.
    """
    flush_denormals()
    path = folder / "history.json"
    state = read_history(path, recipe.model_dump(mode="json"), ("loss",))
    state.setdefault("machine", machine())
    files: dict[str, str] = state["files"]
    batches = PredictionBatches(stores, "train", recipe.batch_size, recipe.max_samples)
    model = build()
    model.compile(
        optimizer=build_optimizer(recipe, recipe.learning_rate, recipe.epochs, len(batches)),
        jit_compile=keras.backend.backend() == "jax",
    )
    model.optimizer.build(model.trainable_variables)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror})") from None
    log, epochs = TensorBoard(folder / "tensorboard"), state["epochs"]
    if epochs:
        load_variables(model, folder / f"epoch-{len(epochs):04d}.npz", known=files)
    for epoch in range(len(epochs), recipe.epochs):
        started, losses = time.monotonic(), []
        rng = np.random.default_rng([recipe.seed, epoch, 1])
        for step, x in enumerate(batches.epoch(recipe.seed, epoch)):
            x = prepare(x, rng)
            model.set_step(epoch, step, x.shape)
            losses.append(float(np.ravel(model.train_on_batch(x))[0]))
        entry = {"loss": float(np.mean(losses))}
        if (epoch + 1) % recipe.validate_every == 0 or epoch + 1 == recipe.epochs:
            entry |= validate()
        entry["seconds"] = round(time.monotonic() - started, 1)
        if not all(math.isfinite(value) for value in entry.values()):
            raise StoreError(f"{folder}: training diverged in epoch {epoch + 1}; lower learning_rate")
        epochs.append(entry)
        files.pop(f"epoch-{epoch:04d}.npz", None)
        files[f"epoch-{epoch + 1:04d}.npz"] = save_variables(model, folder / f"epoch-{epoch + 1:04d}.npz")
        if "val_loss" in entry and entry["val_loss"] <= min(e["val_loss"] for e in epochs if "val_loss" in e):
            files["best.npz"] = save_variables(model, folder / "best.npz")
        write_json(path, state)
        (folder / f"epoch-{epoch:04d}.npz").unlink(missing_ok=True)
        log.scalars(epoch + 1, **{k: v for k, v in entry.items() if k != "seconds"})
        scores = ", ".join(f"{k} {10 * math.log10(entry[k]):.3f} dB" for k in entry if k.startswith("val_"))
        progress(f"epoch {epoch + 1}/{recipe.epochs}: loss {entry['loss']:.4f}, {scores}, {entry['seconds']} s")
    load_variables(model, folder / "best.npz", weights_only=True, known=files)
    return model, state
