"""What a recipe of an encoder and a decoder of images has."""

from __future__ import annotations

from typing import Literal

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
from simulator.core.errors import ConfigError
from simulator.core.params import Count, PositiveFloat


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
