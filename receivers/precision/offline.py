"""Offline stage of RP-MPQ: sensitivity of the blocks of an encoder, best policies per budget, refinement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from receivers.models.losses import nmse_loss
from receivers.models.mixed_precision import MixedPrecisionEncoder
from receivers.precision.hessian import hessian_traces
from receivers.precision.policies import Policy, best_policies, latent_kl, representatives
from receivers.quantization.weight_bits import WIDTHS
from simulator.core.params import Count, Integer, PositiveFloat, Real, parsed

Gamma = Annotated[Real, Field(gt=0, lt=1)]


class PrecisionRecipe(BaseModel):
    """How policies of an encoder are found.

    Budgets are savings of bit operations against 32-bit weights and activations, as the released code and Table I count
    them: with 16-bit activations 75 % are 16-bit weights, 87.5 % are 8, 93.75 % are 4.

    Args:
        savings: first, last and step of the savings [%].
        candidates: K, policies kept per budget.
        samples: calibration images, for the tables.
        hessian_samples: of these, for the sensitivities.
        kl_samples: of these, for the divergence.
        probes: of Hutchinson's estimate.
        normalize: divide traces by the number of weights of a block (HAWQ-V3); false: Eq. (18) as printed.
        density: of Eq. (23), see :func:`latent_kl`.
        rank: principal axes of that divergence.
        gammas: reliability targets of the tables.
        snr_db: SNRs of the tables [dB].
        beta: weight of the missing rate in Eq. (31).
        bins: of the sparsity.
        min_samples: a bin with fewer uses the mean over all.
        parts: of kernels with more than 20,000 weights, along the output channels.
        scheme: rounding of the weights, see :func:`receivers.quantization.weight_bits.quantize_weight`.
        clip: largest magnitude that is not clipped: of the weights, or that of the least error.
        activation_bits: of the encoder's activations.
        frequencies: subcarriers at which rates are taken.
        seed: of the probes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    savings: tuple[Real, Real, PositiveFloat] = (75.0, 95.0, 0.5)
    candidates: Count = 5
    samples: Count = 1000
    hessian_samples: Count = 256
    kl_samples: Count = 256
    probes: Annotated[Integer, Field(ge=2)] = 32
    normalize: bool = True
    density: Literal["gaussian", "softmax"] = "gaussian"
    rank: Count = 32
    gammas: Annotated[tuple[Gamma, ...], Field(min_length=1)] = (0.99, 0.98, 0.95)
    snr_db: Annotated[tuple[Real, ...], Field(min_length=1)] = (10.0, 20.0, 30.0)
    beta: Annotated[Real, Field(ge=0)] = 0.5
    bins: Count = 10
    min_samples: Count = 20
    parts: Count = 4
    scheme: Literal["symmetric", "tensor_minmax"] = "symmetric"
    clip: Literal["max", "mse"] = "max"
    activation_bits: Literal[8, 16] = 16
    frequencies: Count = 128
    seed: Annotated[Integer, Field(ge=0)] = 1

    @property
    def encoder_options(self) -> dict[str, Any]:
        """Arguments of the mixed-precision encoder."""
        return {name: getattr(self, name) for name in ("parts", "scheme", "clip", "activation_bits")}

    @property
    def budgets(self) -> np.ndarray:
        """Budgets as shares of the BOPs with 16-bit weights, falling."""
        first, last, step = self.savings
        saved = np.arange(first, last + step / 2, step)
        return (1 - saved / 100) * 32 * 32 / (WIDTHS[0] * self.activation_bits)


def parse_precision(data: dict[str, Any]) -> PrecisionRecipe:
    """Plain data to a validated recipe; all problems as one ConfigError that names the fields."""
    return parsed(PrecisionRecipe, data)


@dataclass(frozen=True)
class Offline:
    """Result of the offline stage.

    Args:
        traces: float64 ``[block]``, Tr(H) of every block.
        trace_errors: their standard errors.
        omega: float64 ``[block, width]``.
        kappa: float64 ``[block, width]``.
        candidates: K policies (indices of widths) per budget.
        divergence: J of every candidate.
        latents: encoder output of every candidate on the first ``kl_samples`` images.
        reference: the same with 16 bits everywhere.
        representatives: best per budget.
    """

    traces: np.ndarray
    trace_errors: np.ndarray
    omega: np.ndarray
    kappa: np.ndarray
    candidates: list[list[Policy]]
    divergence: dict[Policy, float]
    latents: dict[Policy, np.ndarray]
    reference: np.ndarray
    representatives: list[Policy]


def offline_stage(
    model: Any,
    encoder: MixedPrecisionEncoder,
    images: np.ndarray,
    recipe: PrecisionRecipe,
    progress: Callable[[str], None] = print,
) -> Offline:
    """Sensitivities, K best policies per budget, and the least divergent of them.

    Args:
        model: trained autoencoder.
        encoder: its encoder with blocks.
        images: calibration images float32 ``[sample, height, width, 2]``, as the model takes them.
        recipe: parameters.
        progress: receives one line per step.

    Raises:
        ConfigError: for an empty calibration set or a budget that no policy meets.

    Source: RP-MPQ, Sec. IV.
    """
    kernels = list(dict.fromkeys(block.weight for block in encoder.blocks))
    parts = [sum(block.weight == kernel for block in encoder.blocks) for kernel in kernels]
    weights = model.encoder.weights
    traces, errors = hessian_traces(
        model,
        nmse_loss,
        images[: recipe.hessian_samples],
        images[: recipe.hessian_samples],
        [weights[kernel] for kernel in kernels],
        parts=parts,
        probes=recipe.probes,
        seed=recipe.seed,
    )
    progress(f"sensitivity of {len(traces)} blocks, relative standard error {np.median(errors / abs(traces)):.2f}")
    sizes = np.array([block.params for block in encoder.blocks])
    curvature = np.maximum(traces, 0.0) / (sizes if recipe.normalize else 1.0)
    omega, kappa = curvature[:, None] * encoder.perturbation(), encoder.kappa()
    candidates = [best_policies(omega, kappa, budget, recipe.candidates) for budget in recipe.budgets]
    progress(f"{len({p for found in candidates for p in found})} candidates for {len(candidates)} budgets")
    few = images[: recipe.kl_samples]
    reference = encoder.encode(few, (WIDTHS[0],) * len(encoder.blocks))
    divergence: dict[Policy, float] = {}
    latents: dict[Policy, np.ndarray] = {}

    def measured(policy: Policy) -> float:
        latents[policy] = encoder.encode(few, [WIDTHS[index] for index in policy])
        divergence[policy] = latent_kl(latents[policy], reference, recipe.density, recipe.rank)
        return divergence[policy]

    chosen = representatives(candidates, measured)
    progress(f"{len(set(chosen))} policies refined")
    return Offline(traces, errors, omega, kappa, candidates, divergence, latents, reference, chosen)
