"""Trainings of encoders and decoders of images: what autoencoder, eigenvector and variable_bit have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import model_validator

from receivers.training.recipe import (
    DistillSection,
    Finite,
    IterativeRecipe,
    LinkSection,
    ModelSection,
    NonNegative,
    QuantizerSection,
    RateSection,
    Recipe,
    RestartSection,
    StageSection,
)
from receivers.training.task import Task
from receivers.weights.card import file_entry
from receivers.weights.folder import named_weights, save_weights
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.params import Count, PositiveFloat
from simulator.core.seeding import derive
from simulator.data.store import ChannelStore

if TYPE_CHECKING:
    from receivers.training.data.stream import StreamedImages
    from receivers.training.distillation.outputs import Distillation
    from receivers.training.objective import TrainingModel

# Steps in which the prior alone learns the latents of the start.
_PRIOR_STEPS = 400
# Images that fit transforms and tables.
MOST_FITTED, MOST_TABLED = 50_000, 30_000


class ImageRecipe(IterativeRecipe):
    """One training of an encoder and a decoder of images.

    ``init: pca`` starts encoder and decoder at the linear code of the same size, so that training begins where PCA
    ends; ``init: NAME`` starts at trained weights of the same architecture (the number of latents may differ).
    Training images that need more than ``memory_gib`` are streamed from the store. With ``noise_snr_db`` the encoder
    sees images of estimates in white noise, whose SNR is drawn for each sample, uniform in dB, and learns those of the
    true channels; these are streamed, too.

    ``target``: "channel" has an image for every UE antenna, "mimo" one for all antennas of a UE; "eigenvector" the
    strongest direction of every subband. ``domain`` and ``scaling`` belong to "mimo": delay taps of beams, or
    subcarriers of antennas; every image of unit power, or with the scale that it has in the data set.

    Args:
        seed: of weights, order of samples, noise.
        dataset: data set by name or path.
        target: what an image holds.
        domain: axes of the image, target mimo.
        scaling: power of an image, target mimo.
        model: network.
        num_delays: delay taps of an image.
        subband_size: frequency samples of a subband, target eigenvector.
        quantizer: quantiser in the loop; null: none.
        rate: rate term; null: none.
        distill: teacher; null: none.
        restarts: warm restarts in place of one cosine; null: none.
        loss: distortion.
        link: link of the loss ``sum_rate``.
        noise_snr_db: range of the SNR of the estimates that the encoder sees [dB]; null: the true channels.
        init: "random", "pca", or the name or folder of weights.
        stages: stages in place of ``epochs``, ``samples`` and ``learning_rate``.
        patience: epochs without a better validation score before the training stops.
        max_samples: training samples at most; null: all.
        fresh_samples: stored samples that every epoch draws anew from the recipe of the data set; null: those stored.
        memory_gib: memory for training images; more are streamed [GiB].
    """

    dataset: str
    target: Literal["channel", "mimo", "eigenvector"] = "channel"
    domain: Literal["angular_delay", "antenna_frequency"] = "angular_delay"
    scaling: Literal["per_sample", "none"] = "per_sample"
    model: ModelSection
    num_delays: Count = 32
    subband_size: Count = 4
    quantizer: QuantizerSection | None = None
    rate: RateSection | None = None
    distill: DistillSection | None = None
    restarts: RestartSection | None = None
    loss: Literal["nmse", "mse", "sgcs", "sum_rate"] = "nmse"
    link: LinkSection = LinkSection()
    noise_snr_db: tuple[Finite, Finite] | None = None
    init: str = "random"
    stages: tuple[StageSection, ...] = ()
    batch_size: Count = 200
    learning_rate: PositiveFloat = 2e-3
    weight_decay: NonNegative = 1e-4
    patience: Count = 8
    max_samples: Count | None = None
    fresh_samples: Count | None = None
    memory_gib: PositiveFloat = 6.0

    @model_validator(mode="after")
    def _fit_together(self) -> ImageRecipe:
        if self.rate is not None:
            if self.quantizer is None or self.quantizer.unquantized_share:
                raise ConfigError("rate", "an unquantised share, or no quantiser", "unquantized_share false")
        if self.distill is not None and (self.rate is not None or self.loss not in ("mse", "nmse")):
            received = f"with loss {self.loss}" + " and rate" * bool(self.rate)
            raise ConfigError("distill", received, "loss mse or nmse alone")
        if self.target != "mimo" and (self.domain, self.scaling) != ("angular_delay", "per_sample"):
            raise ConfigError("domain, scaling", f"{self.domain}, {self.scaling}", "the defaults, or target mimo")
        if self.noise_snr_db is not None:
            if self.noise_snr_db[0] > self.noise_snr_db[1]:
                raise ConfigError("noise_snr_db", list(self.noise_snr_db), "lowest and highest SNR")
        if self.max_samples is not None and (self.noise_snr_db or self.fresh_samples):
            raise ConfigError("max_samples", self.max_samples, "null with noise_snr_db or fresh_samples")
        if self.loss == "sum_rate" and self.batch_size % self.link.num_users:
            raise ConfigError("batch_size", self.batch_size, f"a multiple of link.num_users ({self.link.num_users})")
        return self

    @property
    def data(self) -> dict[str, str]:
        """Its data set."""
        return {self.dataset: self.dataset}

    def variants(self) -> list[Recipe]:
        """One recipe for each rate weight, in order, named ``<name>-l<weight>``; this one where there is one weight."""
        weights = self.rate.weight if self.rate else ()
        if len(weights) < 2:
            return [self]
        return [
            self.model_copy(update={"name": f"{self.name}-l{weight:g}", "rate": RateSection(weight=(weight,))})
            for weight in weights
        ]


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
            _fit_prior(model, head(self.train, 20_000), self.recipe)
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


def build_model(
    recipe: ImageRecipe, train: np.ndarray | StreamedImages, bottleneck: Callable[[Any], Any]
) -> TrainingModel:
    """Fresh training model of a recipe, initialised (from weights with another number of latents: all but theirs)."""
    import keras

    from receivers.models.checked import autoencoder_class, build_checked
    from receivers.training.objective import TrainingModel
    from receivers.training.pca import fit_pca, initialize_linear

    keras.utils.set_random_seed(recipe.seed)
    make, sizes = autoencoder_class(recipe.model.name), {"height": train.shape[1], "width": train.shape[2]}
    autoencoder = build_checked("model.params", make, recipe.model.params, **sizes)
    if recipe.init == "pca":
        initialize_linear(autoencoder, *fit_pca(head(train, MOST_FITTED), autoencoder.num_latents))
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
    layer = bottleneck(autoencoder)
    distillation = None if recipe.distill is None else _distillation(recipe, train.shape[1:])
    return TrainingModel(autoencoder, layer, distillation)


def _distillation(recipe: ImageRecipe, shape: tuple[int, ...]) -> Distillation:
    """The recipe's teacher, which must know the student's images."""
    from receivers.training.distillation.outputs import Distillation

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


def _fit_prior(model: TrainingModel, images: np.ndarray, recipe: ImageRecipe) -> None:
    """Let the prior learn the latents of the start, so that the rate is meaningful from the first step."""
    import keras

    from receivers.training.bottleneck import RateOf

    prior = keras.Sequential([keras.Input((model.autoencoder.num_latents,)), RateOf(model.bottleneck)])
    prior.compile(optimizer=keras.optimizers.Adam(0.01), loss=lambda y_true, bits: bits)
    latent = model.latents(images)
    size = min(200, len(latent))
    rng = np.random.default_rng(derive(recipe.seed, "prior"))
    for _ in range(_PRIOR_STEPS):
        batch = latent[rng.choice(len(latent), size, replace=False)]
        prior.train_on_batch(batch, np.zeros(size, np.float32))


def head(train: np.ndarray | StreamedImages, count: int) -> np.ndarray:
    """The first training images."""
    return train[:count] if isinstance(train, np.ndarray) else train.head(count)
