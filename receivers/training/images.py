"""Trainings of encoders and decoders of images: what autoencoder, eigenvector and variable_bit have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from receivers.training.image_model import build_model, fit_prior, head
from receivers.training.image_recipe import ImageRecipe
from receivers.training.recipe import StageSection
from receivers.training.task import Task
from receivers.weights.card import file_entry
from receivers.weights.folder import named_weights, save_weights
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.data.store import ChannelStore

if TYPE_CHECKING:
    from receivers.training.data.stream import StreamedImages
    from receivers.training.objective import TrainingModel


class ImageTask(Task):
    """Base of the tasks on images; a final class names its recipe, its bottleneck and its scores."""

    schema: ClassVar[type[ImageRecipe]]

    def __init__(self, recipe: ImageRecipe, stores: Sequence[ChannelStore] = (), unseen: Sequence[ChannelStore] = ()):
        super().__init__(recipe, stores, unseen)
        if recipe.init not in ("random", "pca"):
            named_weights("init", recipe.init, "random, pca, ")
        if recipe.distill is not None:
            named_weights("distill.teacher", recipe.distill.teacher)
        most = self.store.layout.entry_shape[-1]
        if recipe.domain == "angular_delay" and recipe.num_delays > most:
            raise ConfigError("num_delays", recipe.num_delays, f"1..{most} (delay taps that the store can give)")
        for split in ("train", "val", "test"):
            self.store.num_samples(split)
        if recipe.batch_size > len(self.train):
            raise ConfigError("batch_size", recipe.batch_size, f"1..{len(self.train)} (training samples)")

    @property
    def store(self) -> ChannelStore:
        """The data set."""
        return self.stores[0]

    @property
    def patience(self) -> int:  # type: ignore[override]
        """Of the recipe."""
        return self.recipe.patience

    @cached_property
    def view(self) -> Any:
        """Images of the recipe."""
        from receivers.training.data.images import ImageView

        r = self.recipe
        return ImageView(self.store.layout, r.num_delays, r.subband_size, r.target, r.domain, r.scaling)

    @cached_property
    def train(self) -> np.ndarray | StreamedImages:
        """Training images float32 ``[sample, height, width, 2]``, in memory or streamed."""
        from receivers.training.data.images import load_images
        from receivers.training.data.stream import StreamedImages

        most, noise, fresh = self.recipe.max_samples, self.recipe.noise_snr_db, self.recipe.fresh_samples
        draw = (lambda epoch: self.fresh(epoch)) if fresh else None  # set before the first epoch
        images = StreamedImages(
            self.store, "train", self.view, noise_snr_db=noise, fresh=draw, fresh_samples=fresh or 0
        )
        if (
            noise is not None
            or fresh
            or (most is None and 4 * math.prod(images.shape) > self.recipe.memory_gib * 2**30)
        ):
            return images
        return load_images(self.store, "train", self.view, most)[0]

    @cached_property
    def val(self) -> np.ndarray:
        """Images for early stopping and the choice of the best epoch."""
        from receivers.training.data.images import load_images

        return load_images(self.store, "val", self.view, self.recipe.max_samples)[0]

    @cached_property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        """Images for the card, and the part of the mixture that each is from."""
        from receivers.training.data.images import load_images

        return load_images(self.store, "test", self.view, self.recipe.max_samples)

    def build(self, folder: Path, progress: Callable[[str], None]) -> TrainingModel:
        """Fresh training model; with a rate term, its prior has learned the latents of the start."""
        model = build_model(self.recipe, self.train, self.bottleneck)
        if self.recipe.rate is not None:
            fit_prior(model, head(self.train, 20_000), self.recipe)
        return model

    def bottleneck(self, autoencoder: Any) -> Any:
        """Layer between encoder and decoder; None: there is none."""
        from receivers.training.bottleneck import Bottleneck

        recipe = self.recipe
        if autoencoder.binary:
            raise ConfigError("model.name", recipe.model.name, f"with task {recipe.task} a network of real latents")
        if recipe.quantizer is None:
            return None
        weight = recipe.rate.weight[0] if recipe.rate else None
        return Bottleneck(recipe.quantizer, autoencoder.num_latents, weight, seed=recipe.seed)

    @cached_property
    def loss(self) -> Callable[[Any, Any], Any]:
        """Distortion, ``loss(y_true, y_pred) -> [batch]``."""
        from receivers.models.losses import mse_loss, nmse_loss, sgcs_loss
        from receivers.training.link_loss import sum_rate_loss

        recipe, layout = self.recipe, self.store.layout
        if recipe.loss == "sum_rate":
            return sum_rate_loss(layout.panel, recipe.num_delays, layout.num_subcarriers, **recipe.link.model_dump())
        return {"nmse": nmse_loss, "mse": mse_loss, "sgcs": sgcs_loss}[recipe.loss]

    @property
    def num_steps(self) -> int:
        """Whole batches of the training images."""
        return len(self.train) // self.recipe.batch_size

    def compile(self, model: TrainingModel, stage: StageSection) -> None:
        """Fresh optimiser; all variables that the stage does not train are frozen."""
        import keras

        from receivers.training.steps import jit_compiled

        autoencoder = model.autoencoder
        model.quantize = stage.quantize
        autoencoder.trainable = True
        for network in (autoencoder.encoder, autoencoder.decoder):
            network.trainable = True
        if stage.train == "offset":
            if autoencoder.offset is None:
                raise ConfigError("stages.train", "offset", "all, or a model with offset_layers > 0")
            for network in (autoencoder.encoder, autoencoder.decoder):
                for layer in network.layers:
                    layer.trainable = layer is autoencoder.offset
        optimizer = self.optimizer(stage)
        model.compile(
            optimizer=optimizer,
            loss=self.loss,
            metrics=[keras.metrics.MeanMetricWrapper(self.loss, name="distortion")],
            jit_compile=jit_compiled(),
        )
        optimizer.build(model.trainable_variables)

    def start_epoch(self, model: TrainingModel, epoch: int) -> None:
        """Levels of a calibrated quantiser."""
        section = self.recipe.quantizer
        if section is not None and section.calibrate and model.quantize:
            model.bottleneck.calibrate(model.latents(head(self.train, 4000)))

    def batches(self, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Images as input (of estimates, with noise) and target, turned by a random phase but for eigenvectors."""
        from receivers.training.data.images import EpochBatches
        from receivers.training.data.stream import StreamedImages

        recipe = self.recipe
        phase = recipe.target != "eigenvector"
        if isinstance(self.train, StreamedImages):
            return self.train.batches(self.batch_size(epoch), recipe.seed, epoch, phase)
        return iter(EpochBatches(self.train, self.batch_size(epoch), recipe.seed, epoch, phase))

    def validate(self, model: TrainingModel) -> dict[str, float]:
        """Distortion, bits under the prior and lambda times bits, quantised as in the link."""
        loss, bits, rate = model.scores(self.val[: len(self.val) // 1000 * 1000 or len(self.val)], self.loss)
        return {"val_loss": loss, **({"val_bits": bits, "val_rate": rate} if self.recipe.rate is not None else {})}

    def objective(self, entry: Mapping[str, float]) -> float:
        """Loss of the training."""
        return entry["val_loss"] + entry.get("val_rate", 0.0)

    def decibel(self, key: str) -> bool:
        """Ratios are shown in dB."""
        return key != "val_rate" and self.recipe.loss in ("nmse", "mse")

    def write(self, model: TrainingModel, folder: Path) -> dict[str, Any]:
        """The network."""
        from receivers.models.cost import count_cost

        # A fresh model: the trained one would save its optimiser along.
        network = registry.build("models", self.recipe.model.name, **model.autoencoder.get_config())
        network.set_weights(model.autoencoder.get_weights())
        save_weights(network, folder / "model.weights.h5")
        return {
            "model": {"name": self.recipe.model.name, "params": network.get_config()},
            "cost": {"encoder": asdict(count_cost(network.encoder)), "decoder": asdict(count_cost(network.decoder))},
            "input": input_section(self.recipe, self.store.layout, network.num_latents),
            "weights": file_entry(folder / "model.weights.h5"),
        }

    def data(self) -> dict[str, Any]:
        """Data set and samples."""
        return {"dataset": data_section(self.store, train=self.train, val=self.val, test=self.test[0])}


def data_section(store: ChannelStore, **images: Any) -> dict[str, Any]:
    """Card section of the one data set of images, with the number of samples of each split."""
    samples = {split: len(x) for split, x in images.items()}
    return {"name": store.name, "origin": store.origin, "store_sha256": store.hash, "samples": samples}


def input_section(recipe: Any, layout: Any, num_latents: int) -> dict[str, Any]:
    """Card section of the images that a recipe takes from channels of a layout."""
    own = ("target", "domain", "scaling", "subband_size")
    return {
        **asdict(layout.panel),
        "num_subcarriers": layout.num_subcarriers,
        "spacing_hz": layout.spacing_hz,
        "num_delays": recipe.num_delays,
        "num_latents": num_latents,
        "num_rx_ant": layout.num_rx_ant if getattr(recipe, "target", "") == "mimo" else 1,
        **{field: getattr(recipe, field) for field in own if hasattr(recipe, field)},
    }
