"""``card.json``: what a folder of weights states; its schemas, the one writer and the one reader."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator

from receivers.weights.tensor_file import TENSORS
from simulator.core.content import sha256
from simulator.core.errors import ConfigError, StoreError
from simulator.core.params import Count, Label, PositiveFloat, config_error, parsed
from simulator.core.paths import inside
from simulator.core.readers import read_json
from simulator.data.store import write_json

CARD = "card.json"
NETWORK = ".weights.h5"  # ending of the file of a network's weights


class File(BaseModel):
    """A file of the folder.

    Args:
        file: name within the folder.
        sha256: SHA-256 of its content, hexadecimal.
    """

    file: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Network(BaseModel):
    """A network by name.

    Args:
        name: plug-in.
        params: arguments of its constructor.
    """

    name: str
    params: dict[str, Any]


class Input(BaseModel):
    """What a network takes.

    Args:
        n1: columns of the panel.
        n2: rows of the panel.
        num_pol: polarisations.
        num_subcarriers: frequency samples of the band.
        spacing_hz: distance of two of them [Hz].
        num_delays: delay taps of an image.
        num_latents: latents of an image.
        num_rx_ant: UE antennas of an image, target mimo.
        target: what an image holds.
        domain: axes of the image.
        scaling: power of an image.
        subband_size: frequency samples of a subband, target eigenvector.
        offset: added to the pixels of unit-power images, after the scale.
        scale: factor of the pixels.
        transposed: delay and angle are exchanged.
    """

    n1: Count
    n2: Count
    num_pol: Count
    num_subcarriers: Count
    spacing_hz: PositiveFloat
    num_delays: Count
    num_latents: Count
    num_rx_ant: Count = 1
    target: Literal["channel", "mimo", "eigenvector"] = "channel"
    domain: Literal["angular_delay", "antenna_frequency"] = "angular_delay"
    scaling: Literal["per_sample", "none"] = "per_sample"
    subband_size: Count = 1
    offset: FiniteFloat = 0.0
    scale: PositiveFloat = 1.0
    transposed: bool = False


class Codec(BaseModel):
    """Quantiser between encoder and decoder.

    Args:
        quantizer: quantiser of the latents.
        bits: of one index.
        params: its parameters.
        scale_bits: bits of the scale of a report; 0: none.
    """

    quantizer: str
    bits: Annotated[int, Field(ge=1, le=16)]
    params: dict[str, Any] = {}
    scale_bits: Annotated[int, Field(ge=0, le=16)] = 0


class Converged(BaseModel):
    """Doubling test: the recipe of these weights, with half the samples seen and with all of them.

    Args:
        metric: score of a test sample; a name that ends in ``_db`` has its mean in dB, the smaller the better.
        half: score of the training that saw half the samples.
        full: that of these weights.
        gain: what the second half gained, positive where it helped.
        ci: 95 % half-width of the gain, paired over test samples.
        passed: the gain is not above ``ci`` or :func:`allowance`.
        samples: samples seen by half and full.
    """

    metric: Annotated[str, Field(min_length=1)]
    half: FiniteFloat
    full: FiniteFloat
    gain: FiniteFloat
    ci: Annotated[FiniteFloat, Field(ge=0)]
    passed: bool
    samples: tuple[Count, Count]

    @model_validator(mode="after")
    def _consistent(self) -> Converged:
        gain = (self.half - self.full) if self.metric.endswith("_db") else (self.full - self.half)
        if abs(gain - self.gain) > _ROUNDED:
            raise ConfigError("gain", self.gain, f"{gain:.4f}, by half and full")
        if self.passed != has_converged(self.metric, self.gain, self.ci):
            raise ConfigError("passed", self.passed, f"{not self.passed}, by gain and ci")
        return self


_ROUNDED = 2e-4  # half, full and gain have four digits


def allowance(metric: str) -> float:
    """Gain of the doubling test that is too small to matter: 0.05 dB, or 0.002 of SGCS; 0 of other scores."""
    return 0.05 if metric.endswith("_db") else 0.002 if metric.startswith("sgcs") else 0.0


def has_converged(metric: str, gain: float, ci: float) -> bool:
    """Whether twice the samples seen gained no more than the interval of the gain, or no more than matters."""
    return gain <= max(ci, allowance(metric))


class Card(BaseModel):
    """What every card says.

    Args:
        name: of the weights.
        model: network.
        weights: file of the weights.
        channels: corrections of the channels that it was trained on; null: not known.
        converged: doubling test; null: not tested.
    """

    name: Label
    model: Network
    weights: File
    channels: Annotated[str, Field(min_length=1)] | None = None  # channel version of the training; absent in old cards
    converged: Converged | None = None


class FeedbackCard(Card):
    """What the link needs of a network that compresses CSI.

    Args:
        tables: levels and counts of the quantisers; null: latents are bits.
        input: images, panel and band.
        codec: quantiser of the default report; null: latents are bits.
    """

    tables: File | None = None
    input: Input
    codec: Codec | None = None


class EstimationCard(Card):
    """Card sections of a network that denoises pilots."""


class RefinementCard(Card):
    """What the link needs of a network that refines decoded reports.

    Args:
        num_layers: strongest layers of a report that it may change; further ones stay as decoded.
        gate: weights of how far it is trusted (:class:`receivers.models.report_gate.ReportGate`); null: always.
    """

    num_layers: Count = 1
    gate: tuple[float, float, float, float] | None = None


class TransformCard(Card):
    """What the link needs of a nonlinear transform codec.

    Args:
        tables: of its entropy coder.
    """

    tables: File


class PredictionCard(Card):
    """What the link needs of a network that predicts.

    Args:
        history_slots: slots of history that the network needs.
        max_history_slots: longest history that it was trained on.
        horizon_slots: slots that it looks ahead, at most.
    """

    history_slots: Count
    max_history_slots: Count
    horizon_slots: Count


SCHEMAS: dict[str, type[Card]] = {
    "feedback": FeedbackCard,
    "prediction": PredictionCard,
    "estimation": EstimationCard,
    "beamdelay": Card,  # tables of the beam-delay code
    "etype2_recoding": Card,  # tables of recoded enhanced Type II reports
    "beamdelay-temporal": Card,  # those of its reports with a reference
    "refinement": RefinementCard,
    "ntc": TransformCard,
}


# What a card says and no computation reads.
_SAID = ("converged", "description", "other_data", "out_of_distribution", "test", "training", "yardsticks")


def card_hash(card: Mapping[str, Any]) -> str:
    """SHA-256, hexadecimal, of all that results depend on: scores and words that are added to a card do not count."""
    read = {key: value for key, value in card.items() if key not in _SAID}
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()


def noted_hash(path: Path) -> str:
    """What a run notes of a file that it read: its SHA-256, of a card of weights :func:`card_hash`."""
    card = read_json(path) if path.name == CARD else {}
    return card_hash(card) if "weights" in card else sha256(path)


def file_entry(path: Path) -> dict[str, str]:
    """Entry of a file of the folder, which is there."""
    return {"file": path.name, "sha256": sha256(path)}


def write_card(folder: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``card.json`` of any weights, after a check against the schema of its task.

    Args:
        folder: with the files that the card names.
        card: plain data; ``task`` is "feedback" where it is left out.

    Returns:
        the card as it is read: plain data without tuples.

    Raises:
        ConfigError: not a card of its task; the message names the fields.
    """
    plain = dict(json.loads(json.dumps(card)))
    parsed(SCHEMAS[plain.get("task", "feedback")], plain, "card")
    write_json(folder / CARD, plain)
    return plain


def read_card(folder: Path, task: str) -> tuple[dict[str, Any], Card]:
    """Card of a folder of weights for a task, as plain data and checked.

    Raises:
        StoreError: no card of this task.
    """
    path = folder / CARD
    try:
        plain = read_json(inside(folder, CARD))
        return plain, SCHEMAS[task].model_validate(plain)
    except ValidationError as error:
        raise StoreError(f"{path}: not a model card ({config_error(error).line})") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not a model card ({error})") from None


def task_of_card(path: Path) -> str:
    """Task that a card names, "feedback" where it names none or cannot be read."""
    try:
        return str(read_json(inside(path.parent, path.name)).get("task", "feedback"))
    except (OSError, ValueError, AttributeError):
        return "feedback"


def is_network(file: str) -> bool:
    """Whether a file of this name holds weights of a Keras model; a linear transform has none."""
    return file.endswith((NETWORK, TENSORS))


def convergence(card: Mapping[str, Any]) -> str:
    """What the doubling test of a card says: "converged", "not converged", "not tested".

    "fitted" are tables and transforms, which are computed from their samples in one go.
    """
    found = card.get("converged")
    if found:
        return "converged" if found["passed"] else "not converged"
    return "not tested" if is_network(card["weights"]["file"]) else "fitted"
