"""The doubling test: what twice the samples seen gain on the same test samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.intervals import half_width_of
from receivers.training.task import Samples
from receivers.weights.card import CARD, SCHEMAS, convergence, has_converged, noted_hash
from receivers.weights.folder import zoo_folder, zoo_names
from simulator.core.errors import StoreError
from simulator.core.readers import read_json
from simulator.core.units import lin_to_db
from simulator.data.store import write_json

FILE = "test_samples.json"
_ROOT = Path(__file__).resolve().parents[1]
# Slope of 10 log10 at 1.
DECIBEL = 10 / math.log(10)


def told(card: dict[str, Any]) -> str:
    """State of the doubling test of a card, with its gain where it was made."""
    state, found = convergence(card), card.get("converged")
    if not found:
        return state
    unit = " dB" if found["metric"].endswith("_db") else ""
    return f"{state}: twice the samples gain {found['gain']:.4f} ± {found['ci']:.4f}{unit} of {found['metric']}"


def zoo_table() -> str:
    """Shipped weights, their task, and whether they have converged."""
    rows = [(name, task, told(read_json(zoo_folder() / name / CARD))) for task in SCHEMAS for name in zoo_names(task)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{name:{widths[0]}}  {task:{widths[1]}}  {state}" for name, task, state in rows)


def untested(read: Mapping[str, str]) -> list[str]:
    """Notes on weights without a passed doubling test among what a run read.

    Args:
        read: path of each file to its SHA-256, as :func:`simulator.core.content.note` names them.
    """
    states: dict[str, list[str]] = {}
    for label, digest in read.items():
        for path in (Path(label), _ROOT / label) if Path(label).name == CARD else ():
            with suppress(OSError, StoreError, ValueError, KeyError, TypeError):
                if noted_hash(path) == digest:
                    card = read_json(path)
                    states.setdefault(convergence(card), []).append(str(card["name"]))
                    break
    reasons = {"not tested": "no doubling test", "not converged": "twice the samples seen gain more than the interval"}
    return [
        f"Not tested at this size ({why}): {', '.join(dict.fromkeys(states[state]))}."
        for state, why in reasons.items()
        if state in states
    ]


def write_samples(folder: Path, samples: Samples) -> None:
    """Scores of the test samples of a finished folder."""
    values = [float(f"{value:.9g}") for value in samples.values]
    write_json(folder / FILE, {"metric": samples.metric, "values": values})


def read_samples(folder: Path) -> Samples:
    """Scores of :func:`write_samples`.

    Raises:
        StoreError: none in this folder, or damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise StoreError(f"{path}: missing, as in folders of earlier versions; train it again")
    try:
        found = read_json(path)
        return Samples(np.array(found["values"], np.float64), str(found["metric"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: damaged ({error}); train it again") from None


def doubling_test(half: Path, full: Path) -> dict[str, Any]:
    """Card section ``converged`` of two finished folders of one recipe, of which ``full`` saw twice the samples.

    Raises:
        StoreError: scores that are missing, damaged, or of other test samples.
    """
    a, b = read_samples(half), read_samples(full)
    if a.metric != b.metric or a.values.shape != b.values.shape:
        raise StoreError(f"{half}: scores of other test samples than {full}")
    seen = [read_json(folder / CARD)["training"]["samples"] for folder in (half, full)]
    return {**paired(a, b), "samples": seen}


def paired(half: Samples, full: Samples) -> dict[str, Any]:
    r"""Means, gain, its 95 % half-width over pairs of test samples, and whether the gain is small enough.

    Of errors e the gain is :math:`10 \log_{10}(\bar e_{half} / \bar e_{full})` [dB], whose half-width is that of the
    mean of :math:`10 / \ln 10 \, (e_{half} / \bar e_{half} - e_{full} / \bar e_{full})`.
    """
    a, b, metric = half.values, full.values, half.metric
    means: list[float] = [float(a.mean()), float(b.mean())]
    difference = b - a
    if metric.endswith("_db"):
        difference = DECIBEL * (a / means[0] - b / means[1])
        means = [float(lin_to_db(mean)) for mean in means]
    gain = means[0] - means[1] if metric.endswith("_db") else means[1] - means[0]
    gain, ci = round(gain, 4), round(half_width_of(difference), 4)
    found = {"metric": metric, "half": round(means[0], 4), "full": round(means[1], 4), "gain": gain, "ci": ci}
    return {**found, "passed": has_converged(metric, gain, ci)}
