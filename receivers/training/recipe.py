"""Recipe of a training run: model, target, quantiser and prior in the loop, loss, optimiser. No Keras here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.params import Count, FileName, Integer, PositiveFloat, Probability, Real, parsed

NonNegative = Annotated[Real, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[Real, Field(allow_inf_nan=False)]


class TrainingSection(BaseModel):
    """Frozen section of a recipe; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def known_plugin(field: str, kind: str, name: str) -> None:
    """ConfigError unless ``name`` is a registered plug-in of the kind."""
    if name not in registry.names(kind):
        raise ConfigError(field, name, ", ".join(registry.names(kind)))


class ModelSection(TrainingSection):
    """Architecture by name, with its constructor arguments.

    Args:
        name: network.
        params: arguments of its constructor.
    """

    name: str
    params: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known(self) -> ModelSection:
        known_plugin("model.name", "models", self.name)
        return self


class QuantizerSection(TrainingSection):
    """Quantiser in the training loop.

    Every batch is divided evenly over ``bits`` and, with ``unquantized_share``, one share that passes unquantised.
    With ``calibrate`` the receiver's levels are the conditional means of the cells, renewed every epoch. With
    ``scale_bits`` > 0 the latents of a sample are divided by their largest magnitude, which is sent with so many bits.

    Args:
        name: quantiser.
        bits: widths in training; every batch is divided evenly.
        params: its parameters.
        unquantized_share: one share of a batch passes unquantised.
        calibrate: the receiver's levels are the conditional means of the cells.
        scale_bits: bits of a scale of every sample; 0: none.
    """

    name: str = "mu_law"
    bits: Annotated[tuple[Annotated[Integer, Field(ge=1, le=16)], ...], Field(min_length=1)] = (2, 4, 6)
    params: dict[str, Any] = {}
    unquantized_share: bool = True
    calibrate: bool = True
    scale_bits: Annotated[Integer, Field(ge=0, le=16)] = 0

    @model_validator(mode="after")
    def _known(self) -> QuantizerSection:
        known_plugin("quantizer.name", "quantizers", self.name)
        return self


class ConcreteSection(TrainingSection):
    """Bits in the training loop of a network whose latents are log-odds of bits.

    Bits are relaxed (binary concrete) at a temperature that falls exponentially from epoch to epoch. ``variable``:
    every sample has a random length, uniform from 1 to all bits; otherwise all are sent.

    Args:
        variable: every sample is cut at a random length.
        start_temperature: of the relaxation in the first epoch.
        end_temperature: in the last epoch.
    """

    variable: bool = True
    start_temperature: PositiveFloat = 10.0
    end_temperature: PositiveFloat = 0.01


class DistillSection(TrainingSection):
    """Frozen teacher (zoo name or folder of weights) and what is learned from it.

    See ``training/distillation/outputs.py``.

    Args:
        teacher: zoo name or folder of weights.
        loss: what is learned from the teacher.
        alpha: weight of that loss, the task has the rest; ``bit_adaptive`` has weights of its own.
        temperature: of the soft targets.
    """

    teacher: str
    loss: Literal["nf_kd", "normalized_kd", "bit_adaptive", "mse"] = "nf_kd"
    alpha: Probability = 0.3
    temperature: PositiveFloat = 5.0


class RestartSection(TrainingSection):
    """Cosine annealing with warm restarts in place of one cosine, see ``training/schedules.py``.

    Args:
        first_epochs: length of the first cycle [epoch].
        multiplier: of the length, from cycle to cycle.
        gamma: of the peak rate, from cycle to cycle.
        base_rate: lowest learning rate.
    """

    first_epochs: PositiveFloat
    multiplier: Annotated[Real, Field(ge=1, allow_inf_nan=False)] = 2.0
    gamma: PositiveFloat = 0.8
    base_rate: PositiveFloat = 1e-5


class RateSection(TrainingSection):
    """Rate term ``weight * bits`` under a learned factorised prior, integrated over the cells of the quantiser.

    Several weights give several models, one after the other, each started at the one before.

    Args:
        weight: weights of the rate term; several give one model each.
    """

    weight: Annotated[tuple[NonNegative, ...], Field(min_length=1)]


class LinkSection(TrainingSection):
    """Link of the loss ``sum_rate``: neighbouring samples of a batch are the users of a drop, precoder ZF.

    Rates are taken at ``num_frequencies`` samples spread over the band.

    Args:
        num_users: users of a drop.
        snr_db: SNR [dB].
        num_frequencies: frequency samples at which rates are taken.
    """

    num_users: Annotated[Integer, Field(ge=2, le=64)] = 4
    snr_db: Finite = 10.0
    num_frequencies: Count = 13


class OptimizerSection(TrainingSection):
    """Optimiser: "adamw" with the recipe's weight decay, or "adam" without any.

    ``torch: true`` has epsilon where PyTorch has it, for reproductions of published trainings (see
    ``training/torch_adam.py``). ``schedule: constant`` keeps the peak of the learning rate after the warm-up.

    Args:
        name: AdamW with ``weight_decay``, or Adam without any.
        torch: epsilon where PyTorch has it.
        epsilon: of the optimiser.
        schedule: learning rate after the warm-up.
    """

    name: Literal["adamw", "adam"] = "adamw"
    torch: bool = False
    epsilon: PositiveFloat = 1e-8
    schedule: Literal["cosine", "constant"] = "cosine"


class StageSection(TrainingSection):
    """One stage of a training in stages; each has a schedule of its own and starts at the best weights before.

    Args:
        epochs: of the stage.
        learning_rate: its peak.
        train: all weights, or those of the offset network.
        quantize: with the quantiser in the loop.
    """

    epochs: Count
    learning_rate: PositiveFloat
    train: Literal["all", "offset"] = "all"
    quantize: bool = True


class TrainingRecipe(TrainingSection):
    """One training run.

    ``init: pca`` starts encoder and decoder at the linear code of the same size, so that training begins where PCA
    ends; ``init: NAME`` starts at trained weights of the same architecture (the number of latents may differ).
    Training images that need more than ``memory_gib`` are streamed from the store. The learning rate warms up linearly
    for ``warmup_epochs`` and falls to zero along a cosine. ``noise_snr_db`` adds noise to the encoder's input, uniform
    in dB between the two.

    ``target``: "channel" has an image for every UE antenna, "mimo" one for all antennas of a UE; "eigenvector" the
    strongest direction of every subband. ``domain`` and ``scaling`` belong to "mimo": delay taps of beams, or
    subcarriers of antennas; every image of unit power, or with the scale that it has in the data set.

    Args:
        name: of the weights.
        description: free text.
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
        concrete: relaxed bits; null: latents are real numbers.
        distill: teacher; null: none.
        restarts: warm restarts in place of one cosine; null: none.
        loss: distortion.
        link: link of the loss ``sum_rate``.
        noise_snr_db: range of the SNR of noise at the encoder's input [dB]; null: none.
        init: "random", "pca", or the name or folder of weights.
        epochs: passes over the training samples.
        stages: stages in place of ``epochs`` and ``learning_rate``.
        batch_size: samples of a step.
        learning_rate: its peak.
        warmup_epochs: epochs of linear rise.
        weight_decay: of AdamW.
        optimizer: optimiser.
        clipnorm: largest norm of the gradient.
        patience: epochs without a better validation score before the training stops.
        max_samples: training samples at most; null: all.
        memory_gib: memory for training images; more are streamed [GiB].
    """

    name: FileName
    description: str = ""
    seed: Annotated[Integer, Field(ge=0, lt=2**31)] = 1
    dataset: str
    target: Literal["channel", "mimo", "eigenvector"] = "channel"
    domain: Literal["angular_delay", "antenna_frequency"] = "angular_delay"
    scaling: Literal["per_sample", "none"] = "per_sample"
    model: ModelSection
    num_delays: Count = 32
    subband_size: Count = 4
    quantizer: QuantizerSection | None = None
    rate: RateSection | None = None
    concrete: ConcreteSection | None = None
    distill: DistillSection | None = None
    restarts: RestartSection | None = None
    loss: Literal["nmse", "mse", "sgcs", "sum_rate"] = "nmse"
    link: LinkSection = LinkSection()
    noise_snr_db: tuple[Finite, Finite] | None = None
    init: str = "random"
    epochs: Count = 40
    stages: tuple[StageSection, ...] = ()
    batch_size: Count = 200
    learning_rate: PositiveFloat = 2e-3
    warmup_epochs: NonNegative = 1.0
    weight_decay: NonNegative = 1e-4
    optimizer: OptimizerSection = OptimizerSection()
    clipnorm: PositiveFloat = 1.0
    patience: Count = 8
    max_samples: Count | None = None
    memory_gib: PositiveFloat = 6.0

    @model_validator(mode="after")
    def _fit_together(self) -> TrainingRecipe:
        if self.rate is not None:
            if self.quantizer is None or len(self.quantizer.bits) != 1 or self.quantizer.unquantized_share:
                raise ConfigError(
                    "rate",
                    "a quantiser of several widths, or none",
                    "one width in quantizer.bits, unquantized_share false",
                )
        if self.concrete is not None and self.quantizer is not None:
            raise ConfigError("concrete", "concrete and quantizer", "one of the two")
        if self.distill is not None and (self.rate is not None or self.loss not in ("mse", "nmse")):
            received = f"with loss {self.loss}" + " and rate" * bool(self.rate)
            raise ConfigError("distill", received, "loss mse or nmse alone")
        if self.target != "mimo" and (self.domain, self.scaling) != ("angular_delay", "per_sample"):
            raise ConfigError("domain, scaling", f"{self.domain}, {self.scaling}", "the defaults, or target mimo")
        if (self.loss == "sgcs") != (self.target == "eigenvector"):
            raise ConfigError("loss", self.loss, "sgcs with target eigenvector, and only there")
        if self.loss == "sum_rate" and self.batch_size % self.link.num_users:
            raise ConfigError("batch_size", self.batch_size, f"a multiple of link.num_users ({self.link.num_users})")
        return self

    @property
    def schedule(self) -> tuple[StageSection, ...]:
        """Stages of the run; a run without stages is one."""
        return self.stages or (StageSection(epochs=self.epochs, learning_rate=self.learning_rate),)

    def by_weight(self) -> list[TrainingRecipe]:
        """One recipe for each rate weight, in order, named ``<name>-l<weight>``; this one where there is one weight."""
        weights = self.rate.weight if self.rate else ()
        if len(weights) < 2:
            return [self]
        return [
            self.model_copy(update={"name": f"{self.name}-l{weight:g}", "rate": RateSection(weight=(weight,))})
            for weight in weights
        ]


def parse_training(data: dict[str, Any]) -> TrainingRecipe:
    """Plain data to a validated recipe; all problems as one ConfigError that names the fields."""
    return parsed(TrainingRecipe, data)
