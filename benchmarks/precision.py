"""Weights and channels to a set of mixed-precision policies with tables of expected violations (RP-MPQ)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.progress import track
from receivers.feedback.latents import LatentCodec
from receivers.models.mixed_precision import MixedPrecisionEncoder
from receivers.precision.offline import Offline, PrecisionRecipe, offline_stage
from receivers.precision.policy_set import FILE, PolicySet
from receivers.precision.violation import Surrogate, hoyer_sparsity, mrt_rate, violation_cost
from receivers.quantization.weight_bits import WIDTHS
from receivers.training.data.images import ImageView
from receivers.training.recipe import Recipe
from receivers.training.task import Task
from receivers.weights.card import CARD, file_entry
from receivers.weights.folder import TrainedModel
from simulator.core.content import own_version
from simulator.core.errors import ConfigError
from simulator.data.store import ChannelStore, write_json
from simulator.maths.transforms import from_angular_delay, to_complex

# Samples that are decoded and turned into channels at once.
_BATCH = 250


@dataclass(frozen=True)
class Calibration:
    """Images of one split with the channels they were made of.

    Args:
        images: float32 ``[sample, delay, port, 2]``, unit power.
        h: true channels complex64 ``[sample, port, frequency]`` at some subcarriers of the band.
        step: distance of these subcarriers.
        part: uint8 ``[sample]``, channel of a mixture.
    """

    images: np.ndarray
    h: np.ndarray
    step: int
    part: np.ndarray


def calibration(store: ChannelStore, split: str, trained: TrainedModel, samples: int, frequencies: int) -> Calibration:
    """The first samples of a split; ConfigError unless the store has full channels of one antenna and slot."""
    layout = store.layout
    if layout.num_delays is not None or layout.num_rx_ant * layout.num_slots > 1:
        raise ConfigError("--store", store.name, "full channels of one UE antenna and one slot")
    step = max(layout.num_subcarriers // frequencies, 1)
    view = ImageView(layout, trained.input.num_delays)
    images, channels, parts, total = [], [], [], 0
    for h, labels in store.read(split):
        h = h[: samples - total]
        images.append(view(h))
        channels.append(h[:, 0, :, 0, ::step])
        parts.append(labels.get("part", np.zeros(len(h), np.uint8))[: len(h)])
        total += len(h)
        if total >= samples:
            break
    return Calibration(np.concatenate(images), np.concatenate(channels), step, np.concatenate(parts))


@dataclass(frozen=True)
class Outcome:
    """Link results of images under policies.

    Args:
        rate: float64 ``[policy, snr, sample]`` [bit/s/Hz].
        rate_ref: with perfect CSI, ``[snr, sample]``.
        nmse: of the truncated image, ``[policy, sample]``.
    """

    rate: np.ndarray
    rate_ref: np.ndarray
    nmse: np.ndarray


def measure(
    trained: TrainedModel,
    latents_of: Iterable[np.ndarray],
    data: Calibration,
    snr_db: Any,
    num_subcarriers: int,
    what: str,
) -> Outcome:
    """Rates (Eq. 38) and NMSE of latents under several policies, through the 8 bits of the feedback link."""
    codec = LatentCodec(trained, None, None, "fixed", "latent", "shipped", 1)
    panel = _panel(trained)
    rates, errors = [], []
    for latent in track(list(latents_of), what, unit="choice"):
        received = codec.decode(*codec.encode(latent))[0]
        rate, error = [], []
        for start in range(0, len(received), _BATCH):
            x_hat = trained.decode(received[start : start + _BATCH])
            x, h = data.images[start : start + _BATCH], data.h[start : start + _BATCH]
            h_hat = from_angular_delay(to_complex(x_hat), panel, num_subcarriers)[..., :: data.step]
            rate.append(mrt_rate(h, h_hat, snr_db))
            axes = (1, 2, 3)
            error.append(np.sum((x - x_hat) ** 2, axis=axes, dtype=np.float64) / np.sum(x**2, axis=axes))
        rates.append(np.concatenate(rate, axis=-1))
        errors.append(np.concatenate(error))
    return Outcome(np.stack(rates), mrt_rate(data.h, data.h, snr_db), np.stack(errors))


def _panel(trained: TrainedModel) -> Any:
    from simulator.core.types import Panel

    return Panel(trained.input.n1, trained.input.n2, trained.input.num_pol)


def make_policies(
    weights: str, store: ChannelStore, recipe: PrecisionRecipe, progress: Callable[[str], None] = print
) -> tuple[PolicySet, Offline]:
    """Offline stage on validation samples of the store, then the tables of the online stage.

    Raises:
        ConfigError: weights of another kind, a store that does not fit, an infeasible budget.
    """
    trained = TrainedModel(weights)
    if trained.codec is None or trained.input.target != "channel" or not trained.is_network:
        raise ConfigError("weights", weights, "an autoencoder of channel images with a codec")
    data = calibration(store, "val", trained, recipe.samples, recipe.frequencies)
    encoder = MixedPrecisionEncoder(trained.model.encoder, **recipe.encoder_options)
    inputs = trained.network_images(data.images)
    offline = offline_stage(trained.model, encoder, inputs, recipe, progress)
    refined = set(offline.representatives)
    ilp = {candidates[0] for candidates in offline.candidates}
    rows = range(len(encoder.blocks))
    chosen = sorted(refined | ilp, key=lambda policy: (offline.kappa[rows, policy].sum(), policy))
    policies = np.array([[WIDTHS[index] for index in policy] for policy in chosen], np.int64)
    latents = (encoder.encode(inputs, policy) for policy in policies)
    outcome = measure(trained, latents, data, recipe.snr_db, store.layout.num_subcarriers, f"rates of {trained.name}")
    sparsity = hoyer_sparsity(data.images)
    tables = []
    for gamma in recipe.gammas:
        violation = violation_cost(outcome.rate, outcome.rate_ref, gamma, recipe.beta)
        tables.append(Surrogate.fit(violation, sparsity, recipe.snr_db, recipe.bins, recipe.min_samples))
    if tables[0].pooled.any():
        progress(f"{tables[0].pooled.sum()} of {len(tables[0].pooled)} bins have too few samples: mean over all used")
    found = PolicySet(
        meta={
            "weights": trained.name,
            "weights_sha256": trained.card["weights"]["sha256"],
            "options": recipe.encoder_options,
            "blocks": encoder.layout,
            "names": [block.name for block in encoder.blocks],
            "recipe": recipe.model_dump(mode="json"),
            "csilink": own_version(),
            "dataset": {"name": store.name, "store_sha256": store.hash, "samples": len(data.images)},
        },
        policies=policies,
        kappa=np.array([offline.kappa[rows, policy].sum() for policy in chosen]),
        bops=np.array([encoder.bops(policy) for policy in policies]),
        omega=np.array([offline.omega[rows, policy].sum() for policy in chosen]),
        divergence=np.array([offline.divergence[policy] for policy in chosen]),
        refined=np.array([policy in refined for policy in chosen]),
        ilp=np.array([policy in ilp for policy in chosen]),
        sparsity=sparsity,
        gammas=np.array(recipe.gammas),
        surrogates=tuple(tables),
    )
    return found, offline


class PoliciesRecipe(Recipe):
    """Mixed-precision policies of an encoder.

    Args:
        task: this one.
        weights: name or folder of the weights.
        dataset: their data set; its validation split calibrates.
        precision: how policies are found.
    """

    task: Literal["policies"]
    weights: str
    dataset: str
    precision: PrecisionRecipe = PrecisionRecipe()

    @property
    def data(self) -> dict[str, str]:
        """Its data set."""
        return {self.dataset: self.dataset}


class PoliciesTask(Task):
    """Policies in ``precision.npz`` of the folder, for ``policies:`` of scheme ``rp-mpq``; found in one go."""

    schema = PoliciesRecipe

    def build(self, folder: Path, progress: Callable[[str], None]) -> PolicySet:
        """The policies."""
        return make_policies(self.recipe.weights, self.stores[0], self.recipe.precision, progress)[0]

    def write(self, model: PolicySet, folder: Path) -> dict[str, Any]:
        """Their file."""
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / FILE)
        return {"kind": "policies", "name": self.recipe.name, "policies": file_entry(folder / FILE), **model.meta}

    def card(self, model: PolicySet, history: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Facts of the policies, which are no weights; the scheme reads their file alone."""
        card = self.write(model, folder)
        write_json(folder / CARD, card)
        return card
