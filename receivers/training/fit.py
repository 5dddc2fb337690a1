"""Training loop: one `fit` call per epoch, checkpoint after each, resume, early stop, TensorBoard."""

from __future__ import annotations

import json
import math
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from receivers.training.data import EpochBatches
from receivers.training.losses import nmse_loss
from receivers.training.mixed_quantizer import MixedQuantizer
from receivers.training.pca import fit_pca, initialize_csinet
from receivers.training.recipe import TrainingRecipe
from receivers.training.stream import StreamedImages
from simulator.core import registry
from simulator.core.errors import ConfigError, StoreError
from simulator.data.store import write_json


def build_model(recipe: TrainingRecipe, train: np.ndarray | StreamedImages) -> keras.Model:
    """Fresh model of a recipe, initialised and compiled."""
    keras.utils.set_random_seed(recipe.seed)
    try:
        model = registry.load("models", recipe.model.name)(
            height=train.shape[1], width=train.shape[2], **recipe.model.params
        )
    except (TypeError, ValueError) as error:
        raise ConfigError("model.params", recipe.model.params, f"what {recipe.model.name} takes ({error})") from None
    if recipe.init == "pca":
        initialize_csinet(model, *fit_pca(head(train, 50000), model.num_latents))
    steps = len(train) // recipe.batch_size
    warmup = int(recipe.warmup_epochs * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate / 100,
        max(recipe.epochs * steps - warmup, 1),
        alpha=0.005,
        warmup_target=recipe.learning_rate,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=recipe.weight_decay, epsilon=1e-8, clipnorm=recipe.clipnorm
    )
    model.compile(optimizer=optimizer, loss=nmse_loss)
    return model


def fit(
    recipe: TrainingRecipe,
    train: np.ndarray | StreamedImages,
    val: np.ndarray,
    folder: Path,
    progress: Callable[[str], None] = print,
) -> tuple[keras.Model, dict[str, Any]]:
    """Train to the end, from the last finished epoch if ``folder`` has one.

    Args:
        recipe: the run.
        train: images float32 ``[sample, delay, port, 2]``, in memory or streamed.
        val: images for early stopping and the choice of the best epoch.
        folder: checkpoints, ``history.json`` and TensorBoard log.
        progress: receives one line per epoch.

    Returns:
        the model with its best weights, and the history.

    Raises:
        StoreError: the folder belongs to another recipe.
    """
    _flush_denormals()
    state_path = folder / "history.json"
    described = recipe.model_dump(mode="json")
    state: dict[str, Any] = {"recipe": described, "epochs": []}
    soft = MixedQuantizer(recipe.quantizer) if recipe.quantizer else None
    if state_path.exists():
        try:
            state = json.loads(state_path.read_text())
            same = state["recipe"] == described
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{state_path}: damaged ({error}); delete {folder} and train again") from None
        if not same:
            raise StoreError(f"{folder}: checkpoints of another recipe; choose another --out or delete it")
    model = _resumed(recipe, folder, len(state["epochs"])) if state["epochs"] else build_model(recipe, train)
    model.soft_quantizer = soft
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror})") from None
    log = _TensorBoard(folder / "tensorboard")
    for epoch in range(len(state["epochs"]), recipe.epochs):
        if _stalled(state["epochs"], recipe.patience):
            break
        started = time.monotonic()
        if soft is not None:
            soft.calibrate(latents(model, head(train, 4000)))
            if keras.backend.backend() == "jax":
                model.make_train_function(force=True)  # the compiled one holds the old levels as constants
        # EpochBatches shuffles; Keras would shuffle its batches again, with a state that a resumed run has not.
        if isinstance(train, StreamedImages):
            batches: Any = train.batches(recipe.batch_size, recipe.seed, epoch)
        else:
            batches = EpochBatches(train, recipe.batch_size, recipe.seed, epoch)
        steps = len(train) // recipe.batch_size
        history = model.fit(batches, epochs=1, steps_per_epoch=steps, verbose=0, shuffle=False)
        loss = float(history.history["loss"][0])
        val_nmse = evaluate(model, val, soft)
        if not math.isfinite(loss + val_nmse):
            raise StoreError(f"{folder}: training diverged in epoch {epoch + 1}; lower learning_rate")
        seconds = round(time.monotonic() - started, 1)
        state["epochs"].append({"loss": loss, "val_nmse": val_nmse, "seconds": seconds})
        model.save(folder / f"epoch-{epoch + 1:04d}.keras")
        if val_nmse <= min(e["val_nmse"] for e in state["epochs"]):
            model.save_weights(folder / "best.weights.h5")
        write_json(state_path, state)
        (folder / f"epoch-{epoch:04d}.keras").unlink(missing_ok=True)
        log.scalars(epoch + 1, loss_db=10 * math.log10(loss), val_nmse_db=10 * math.log10(val_nmse))
        progress(
            f"epoch {epoch + 1}/{recipe.epochs}: train {10 * math.log10(loss):.3f} dB, "
            f"val {10 * math.log10(val_nmse):.3f} dB, {seconds} s"
        )
    model.load_weights(folder / "best.weights.h5")
    return model, state


def _resumed(recipe: TrainingRecipe, folder: Path, epochs: int) -> keras.Model:
    """Model and optimiser as they were after ``epochs`` epochs."""
    registry.load("models", recipe.model.name)  # registers the class with Keras
    path = folder / f"epoch-{epochs:04d}.keras"
    try:
        return keras.models.load_model(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise StoreError(f"{path}: damaged or missing ({reason}); delete {folder} and train again") from None


def head(train: np.ndarray | StreamedImages, count: int) -> np.ndarray:
    """The first training images."""
    return train.head(count) if isinstance(train, StreamedImages) else train[:count]


def evaluate(model: keras.Model, images: np.ndarray, soft: Callable[[Any], Any] | None = None) -> float:
    """Mean NMSE (linear); ``soft`` puts the training quantiser between encoder and decoder."""
    total = 0.0
    for start in range(0, len(images), 1000):
        x = images[start : start + 1000]
        latent = model.encoder(x, training=False)
        x_hat = model.decoder(latent if soft is None else soft(latent), training=False)
        total += float(np.sum(ops.convert_to_numpy(nmse_loss(x, x_hat))))
    return total / len(images)


def latents(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Codewords float32 ``[sample, latent]`` of images."""
    blocks = [model.encoder(images[i : i + 1000], training=False) for i in range(0, len(images), 1000)]
    return np.concatenate([ops.convert_to_numpy(block) for block in blocks])


def _stalled(epochs: list[dict[str, float]], patience: int) -> bool:
    """No better validation loss within the last ``patience`` epochs."""
    if len(epochs) <= patience:
        return False
    losses = [e["val_nmse"] for e in epochs]
    return min(losses[-patience:]) > min(losses[:-patience])


def _flush_denormals() -> None:
    """Treat denormal floats as zero under torch, as the other backends do; zero-initialised branches make many."""
    if keras.backend.backend() == "torch":
        import torch

        torch.set_flush_denormal(True)


class _TensorBoard:
    """Scalars for TensorBoard without TensorFlow (its own writer imports it), so that every backend logs."""

    def __init__(self, folder: Path):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / f"events.out.tfevents.{time.time_ns()}").open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def scalars(self, step: int, **values: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        self._file.flush()
