"""Training loop: one `fit` call per epoch, checkpoint after each, resume, early stop, TensorBoard."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from receivers.models.checked import autoencoder_class, build_checked
from receivers.training.bottleneck import Bottleneck
from receivers.training.checkpoint import flush_denormals, load_variables, read_history, save_variables
from receivers.training.concrete import ConcreteBottleneck, with_lengths
from receivers.training.data.images import EpochBatches
from receivers.training.data.stream import StreamedImages
from receivers.training.distillation.outputs import Distillation
from receivers.training.link_loss import sum_rate_loss
from receivers.training.losses import mse_loss, nmse_loss, sgcs_loss
from receivers.training.objective import TrainingModel
from receivers.training.optimizer import build_optimizer
from receivers.training.pca import fit_pca, initialize_linear
from receivers.training.recipe import StageSection, TrainingRecipe
from receivers.training.tensorboard import TensorBoard
from receivers.weights.folder import named_weights
from simulator.core.errors import ConfigError, StoreError
from simulator.core.seeding import derive
from simulator.data.layout import ChannelLayout
from simulator.data.store import write_json

_LOSSES = {"nmse": nmse_loss, "mse": mse_loss, "sgcs": sgcs_loss}
# Steps in which the prior alone learns the latents of the start.
_PRIOR_STEPS = 400


def build_loss(recipe: TrainingRecipe, layout: ChannelLayout) -> Callable[[Any, Any], Any]:
    """Distortion of a recipe, ``loss(y_true, y_pred) -> [batch]``."""
    if recipe.loss != "sum_rate":
        return _LOSSES[recipe.loss]
    link = recipe.link
    return sum_rate_loss(layout.panel, recipe.num_delays, layout.num_subcarriers, **link.model_dump())


def build_model(recipe: TrainingRecipe, train: np.ndarray | StreamedImages) -> TrainingModel:
    """Fresh training model of a recipe, initialised (from weights with another number of latents: all but theirs)."""
    keras.utils.set_random_seed(recipe.seed)
    make, sizes = autoencoder_class(recipe.model.name), {"height": train.shape[1], "width": train.shape[2]}
    autoencoder = build_checked("model.params", make, recipe.model.params, **sizes)
    if recipe.init == "pca":
        initialize_linear(autoencoder, *fit_pca(head(train, 50000), autoencoder.num_latents))
    elif recipe.init != "random":
        start = named_weights("init", recipe.init, "random, pca, ")
        known, wanted = start.model.get_config(), autoencoder.get_config()
        if start.card["model"]["name"] != recipe.model.name or {**known, "num_latents": 0} != {
            **wanted,
            "num_latents": 0,
        }:
            raise ConfigError("init", recipe.init, f"weights of {recipe.model.name} with the same parameters")
        for old, new in zip(start.model.variables, autoencoder.variables, strict=True):
            if old.shape == new.shape:  # another number of latents has fresh dense layers
                new.assign(old)
    if autoencoder.binary != (recipe.concrete is not None):
        rule = "a section, for a network of bits" if autoencoder.binary else "a network of bits (variable_bit)"
        raise ConfigError("concrete", recipe.concrete and "a section", f"{rule}; model.name is {recipe.model.name}")
    bottleneck: Bottleneck | ConcreteBottleneck | None = None
    if recipe.concrete is not None:
        bottleneck = ConcreteBottleneck(recipe.concrete, autoencoder.num_latents, seed=recipe.seed)
    elif recipe.quantizer is not None:
        weight = recipe.rate.weight[0] if recipe.rate else None
        bottleneck = Bottleneck(recipe.quantizer, autoencoder.num_latents, weight, seed=recipe.seed)
    distillation = None if recipe.distill is None else _distillation(recipe, train.shape[1:])
    return TrainingModel(autoencoder, bottleneck, recipe.noise_snr_db, seed=recipe.seed, distillation=distillation)


def _distillation(recipe: TrainingRecipe, shape: tuple[int, ...]) -> Distillation:
    """The recipe's teacher, which must know the student's images."""
    name = recipe.distill.teacher
    teacher = named_weights("distill.teacher", name)
    if not teacher.is_network:
        raise ConfigError("distill.teacher", name, "weights of a network")
    ours = {key: getattr(recipe, key) for key in ("target", "domain", "scaling")}
    ours |= {"offset": 0.0, "scale": 1.0, "transposed": False}
    theirs = {key: getattr(teacher.input, key) for key in ours}
    ours["image"], theirs["image"] = (" x ".join(map(str, size)) for size in (shape[:2], teacher.shape))
    different = [key for key in ours if ours[key] != theirs[key]]
    if different:
        known, wanted = (", ".join(f"{key} {values[key]}" for key in different) for values in (theirs, ours))
        raise ConfigError("distill.teacher", f"{name} ({known})", f"weights for {wanted}")
    return Distillation(recipe.distill, teacher.model)


def fit(
    recipe: TrainingRecipe,
    layout: ChannelLayout,
    train: np.ndarray | StreamedImages,
    val: np.ndarray,
    folder: Path,
    progress: Callable[[str], None] = print,
) -> tuple[TrainingModel, dict[str, Any]]:
    """Train to the end, from the last finished epoch if ``folder`` has one.

    Args:
        recipe: the run.
        layout: of the channels from which images are made.
        train: images float32 ``[sample, height, width, 2]``, in memory or streamed.
        val: images for early stopping and the choice of the best epoch.
        folder: checkpoints, ``history.json`` and TensorBoard log.
        progress: receives one line per epoch.

    Returns:
        the model with its best weights, and the history.

    Raises:
        StoreError: the folder belongs to another recipe.
    """
    flush_denormals()
    path = folder / "history.json"
    described = recipe.model_dump(mode="json")
    state = read_history(path, described, ("stage", "val_loss"))
    files: dict[str, str] = state["files"]
    model = build_model(recipe, train)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror})") from None
    if not state["epochs"] and recipe.rate is not None:
        _fit_prior(model, head(train, 20000), recipe)
    loss = build_loss(recipe, layout)
    log = TensorBoard(folder / "tensorboard")
    first = 0
    for number, stage in enumerate(recipe.schedule):
        done = [e for e in state["epochs"] if e["stage"] == number]
        if number + 1 < len(recipe.schedule) and any(e["stage"] > number for e in state["epochs"]):
            first += stage.epochs
            continue
        if number and not done:
            load_variables(model, folder / f"best-{number - 1}.npz", weights_only=True, known=files)
        _compile(model, recipe, stage, loss, len(train) // recipe.batch_size)
        if done:
            load_variables(model, folder / f"epoch-{first + len(done):04d}.npz", known=files)
        for epoch in range(len(done), stage.epochs):
            if _stalled(done, recipe.patience):
                break
            entry = _epoch(model, recipe, train, val, loss, first + epoch)
            if not math.isfinite(entry["loss"] + entry["val_loss"]):
                raise StoreError(f"{folder}: training diverged in epoch {first + epoch + 1}; lower learning_rate")
            done.append({"stage": number, **entry})
            state["epochs"].append(done[-1])
            name = f"epoch-{first + epoch + 1:04d}.npz"
            files.pop(f"epoch-{first + epoch:04d}.npz", None)
            files[name] = save_variables(model, folder / name)
            if _objective(recipe, done[-1]) <= min(_objective(recipe, e) for e in done):
                files[f"best-{number}.npz"] = save_variables(model, folder / f"best-{number}.npz")
            write_json(path, state)
            (folder / f"epoch-{first + epoch:04d}.npz").unlink(missing_ok=True)
            log.scalars(first + epoch + 1, **{k: v for k, v in entry.items() if k != "seconds"})
            progress(_line(recipe, first + epoch + 1, entry))
        first += stage.epochs
    load_variables(model, folder / f"best-{len(recipe.schedule) - 1}.npz", weights_only=True, known=files)
    return model, state


def _epoch(model, recipe: TrainingRecipe, train, val: np.ndarray, loss, epoch: int) -> dict[str, float]:
    """One epoch and its validation."""
    started = time.monotonic()
    if model.bottleneck is not None and recipe.quantizer is not None and recipe.quantizer.calibrate and model.quantize:
        model.bottleneck.calibrate(model.latents(head(train, 4000)))
    random_phase = recipe.target != "eigenvector"
    # EpochBatches shuffles; Keras would shuffle its batches again, with a state that a resumed run has not.
    if isinstance(train, StreamedImages):
        batches: Any = train.batches(recipe.batch_size, recipe.seed, epoch, random_phase)
    else:
        batches = EpochBatches(train, recipe.batch_size, recipe.seed, epoch, random_phase)
    if isinstance(model.bottleneck, ConcreteBottleneck):
        model.bottleneck.set_progress(epoch / sum(stage.epochs for stage in recipe.schedule))
        batches = with_lengths(batches, model.bottleneck, recipe.seed, epoch)
    history = model.fit(
        batches, epochs=1, steps_per_epoch=len(train) // recipe.batch_size, verbose=0, shuffle=False
    ).history
    val_loss, val_bits = model.scores(val[: len(val) // 1000 * 1000 or len(val)], loss)
    entry = {"loss": float(history["distortion"][0]), "val_loss": val_loss}
    if recipe.rate is not None:
        entry["val_bits"] = val_bits
    return {**entry, "seconds": round(time.monotonic() - started, 1)}


def _compile(model: TrainingModel, recipe: TrainingRecipe, stage: StageSection, loss, steps: int) -> None:
    """Fresh optimiser of a stage; all other variables are frozen."""
    model.quantize = stage.quantize
    model.autoencoder.trainable = stage.train == "all"
    if stage.train == "offset":
        if model.autoencoder.offset is None:
            raise ConfigError("stages.train", "offset", "all, or a model with offset_layers > 0")
        model.autoencoder.trainable = True
        for network in (model.autoencoder.encoder, model.autoencoder.decoder):
            for layer in network.layers:
                layer.trainable = layer is model.autoencoder.offset
    else:
        for network in (model.autoencoder.encoder, model.autoencoder.decoder):
            network.trainable = True
    optimizer = build_optimizer(recipe, stage.learning_rate, stage.epochs, steps, recipe.restarts)
    model.compile(
        optimizer=optimizer,
        loss=loss,
        metrics=[keras.metrics.MeanMetricWrapper(loss, name="distortion")],
        jit_compile=keras.backend.backend() == "jax",  # XLA makes TensorFlow's convolutions slower on a CPU
    )
    optimizer.build(model.trainable_variables)


def _fit_prior(model: TrainingModel, images: np.ndarray, recipe: TrainingRecipe) -> None:
    """Let the prior learn the latents of the start, so that the rate is meaningful from the first step."""
    prior = keras.Sequential([keras.Input((model.autoencoder.num_latents,)), _Rate(model.bottleneck)])
    prior.compile(optimizer=keras.optimizers.Adam(0.01), loss=lambda y_true, bits: bits)
    latent = model.latents(images)
    size = min(200, len(latent))
    rng = np.random.default_rng(derive(recipe.seed, "prior"))
    for _ in range(_PRIOR_STEPS):
        batch = latent[rng.choice(len(latent), size, replace=False)]
        prior.train_on_batch(batch, np.zeros(size, np.float32))


class _Rate(keras.layers.Layer):
    """Rate of latents as output; only the prior trains."""

    def __init__(self, bottleneck: Bottleneck):
        super().__init__()
        self.bottleneck = bottleneck

    def call(self, latent, training=False):
        return self.bottleneck.bits(latent, training)


def head(train: np.ndarray | StreamedImages, count: int) -> np.ndarray:
    """The first training images."""
    return train.head(count) if isinstance(train, StreamedImages) else train[:count]


def _objective(recipe: TrainingRecipe, entry: dict[str, float]) -> float:
    """Training objective on the validation samples."""
    return entry["val_loss"] + (recipe.rate.weight[0] * entry["val_bits"] if recipe.rate else 0.0)


def _stalled(epochs: list[dict[str, float]], patience: int) -> bool:
    """No better validation loss within the last ``patience`` epochs."""
    if len(epochs) <= patience:
        return False
    losses = [e["val_loss"] for e in epochs]
    return min(losses[-patience:]) > min(losses[:-patience])


def _line(recipe: TrainingRecipe, epoch: int, entry: dict[str, float]) -> str:
    def text(value: float) -> str:
        return f"{10 * math.log10(value):.3f} dB" if recipe.loss in ("nmse", "mse") else f"{value:.4f}"

    bits = f", {entry['val_bits']:.1f} bit" if "val_bits" in entry else ""
    total = sum(stage.epochs for stage in recipe.schedule)
    return (
        f"epoch {epoch}/{total}: train {text(entry['loss'])}, val {text(entry['val_loss'])}{bits}, {entry['seconds']} s"
    )
