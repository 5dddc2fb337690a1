"""(i) Latency of one encoder call, Keras compared with ONNX Runtime and LiteRT, float and eight bits."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.export import FORMATS, NEEDS, _images, _runtime, export_model
from benchmarks.speed.timing import in_turn, row
from receivers.weights.folder import TrainedModel, zoo_names
from simulator.core.extras import installed

MODELS = ("csinet-250", "transnet-250")


def measure(rounds: int = 30) -> list[dict[str, Any]]:
    """Milliseconds for the latent of one image, batch of one; ``equal_to`` is the deviation of the float graphs."""
    rows = []
    for weights in (name for name in MODELS if name in zoo_names()):
        trained = TrainedModel(weights)
        image = _images(trained)[:1]
        calls: dict[str, Any] = {"keras": lambda trained=trained, image=image: trained.encode(image)}
        with tempfile.TemporaryDirectory() as place:
            for format_, packages in NEEDS.items():
                if not installed(*packages):
                    continue
                for int8 in (False, True):
                    name = f"{format_}{' int8' if int8 else ''}"
                    folder = Path(place) / name.replace(" ", "-")
                    export_model(weights, "ue", format_, folder, int8=int8)
                    run = _runtime(format_, folder / FORMATS[format_])
                    calls[name] = lambda run=run, image=image: run(image)
            seconds = {name: float(np.median(value)) for name, value in in_turn(calls, rounds).items()}
            reference = trained.encode(image)
            for name in list(calls)[1:]:
                deviation = float(np.abs(calls[name]() - reference).max() / np.abs(reference).max())
                ours, keras_ = 1e3 * seconds[name], 1e3 * seconds["keras"]
                item = f"i: encoder of {weights} in {name} against Keras"
                rows.append(
                    row(item, ours, keras_, "ms (smaller is better)", keras_ / ours, 1.0, deviation, "batch of one")
                )
    return rows
