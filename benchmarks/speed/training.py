"""(h) Training throughput of the networks under every backend, compared with eager plain PyTorch of the same layers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks.speed.timing import row
from simulator.core import registry
from simulator.core.extras import installed, need
from simulator.core.onednn import VARIABLE

# Arguments of the network, shape of a sample, samples of a step as the shipped recipes have them.
MODELS: dict[str, tuple[dict[str, Any], tuple[int, ...], int]] = {
    "csinet": ({"num_latents": 128}, (32, 32, 2), 100),
    "crnet": ({"num_latents": 128}, (32, 32, 2), 100),
    "transnet": (
        {"num_latents": 256, "norm": "pre", "hidden": 512, "shared_layers": False},
        (32, 32, 2),
        100,
    ),
    "stqenet": ({"num_latents": 128}, (32, 32, 2), 100),
    "evt": ({"num_latents": 60}, (13, 32, 2), 200),
    "wifo": ({"size": "tiny", "depth": 3, "decoder_depth": 2}, (24, 16, 8, 2), 64),
}
_SAMPLES, _ROUNDS, _SGEMM = 1600, 3, 1536
_BACKENDS = {"onednn": "tensorflow", "plain": "torch"}  # TensorFlow as `csilink train --onednn` has it; no Keras
_VISIBLE = 24  # tokens of WiFo: the first half of its slots


def measure(
    models: tuple[str, ...] = tuple(MODELS), samples: int = _SAMPLES, rounds: int = _ROUNDS
) -> list[dict[str, Any]]:
    """Training samples per second of the best Keras backend, and of PyTorch where it is installed.

    Each contender runs in a process of its own (Keras fixes its backend at import), one after the other, on all threads
    of this process: float32, AdamW, clipped gradients, mean squared error. The note has the rate of every backend (of
    TensorFlow without and with its oneDNN kernels), and the share of the rate of a large product that the
    multiply-accumulates of the step have, forward and twice as many backward.
    """
    product = sgemm_rate()
    rows = []
    for model in models:
        names = ("tensorflow", "onednn", "jax", "torch")
        rates = {b: _run(model, b, samples, rounds) for b in names if installed(_BACKENDS.get(b, b))}
        best = max(rates, key=lambda b: rates[b])
        share = 6 * _macs(model) * rates[best] / product
        note = ", ".join(f"{b} {r:.0f}" for b, r in rates.items()) + f"; {100 * share:.0f} % of sgemm"
        if installed("torch"):
            peer, name = _run(model, "plain", samples, rounds), "eager plain PyTorch"
        else:
            peer, name, note = min(rates.values()), "its slowest backend", f"{note}; left out: PyTorch, not installed"
        item = f"h: training of {model}, best Keras backend ({best}) against {name}"
        rows.append(row(item, rates[best], peer, "samples/s", rates[best] / peer, 1.3, 0.0, note))
    return rows


def sgemm_rate(size: int = _SGEMM, rounds: int = 5) -> float:
    """Floating-point operations per second of a square product in float32."""
    a = np.random.default_rng(0).standard_normal((size, size), np.float32)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


def _macs(model: str) -> int:
    """Multiply-accumulates of a sample, forward."""
    from receivers.models.cost import work_of

    network = _network(model)
    x = _samples(model, 1)
    return sum(w.macs for w in work_of(lambda: network(x, **_options(model))) if w.kind != "norm")


def _network(model: str) -> Any:
    return registry.build("prediction_models" if model == "wifo" else "models", model, **MODELS[model][0])


def _options(model: str) -> dict[str, Any]:
    return {"visible": np.arange(_VISIBLE)} if model == "wifo" else {}


def _samples(model: str, count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, *MODELS[model][1]), np.float32)


def _run(model: str, backend: str, samples: int, rounds: int) -> float:
    environment = {
        **os.environ,
        "KERAS_BACKEND": _BACKENDS.get(backend, backend),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        VARIABLE: "1" if backend == "onednn" else "0",
    }
    command = [sys.executable, "-m", "benchmarks.speed.training", model, backend, str(samples), str(rounds)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=1200)
    return float(done.stdout.split()[-1])


def _best(epoch: Any, samples: int, rounds: int) -> float:
    """Samples per second of the fastest of some epochs, after one that compiles."""
    epoch()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - start)
    return samples / min(seconds)


def _keras(model: str, samples: int, rounds: int) -> float:
    """As the tasks train: a compiled step, batches from memory."""
    import keras

    from receivers.training.steps import jit_compiled

    network, x = _network(model), _samples(model, samples)
    y = x
    if model == "wifo":
        y = keras.ops.convert_to_numpy(network.patches(keras.ops.convert_to_tensor(x)))
        image = keras.Input(x.shape[1:])
        network = keras.Model(image, network(image, **_options(model)))
    optimizer = keras.optimizers.AdamW(1e-3, epsilon=1e-8, global_clipnorm=1.0)
    network.compile(optimizer=optimizer, loss="mse", jit_compile=jit_compiled())
    options = {"batch_size": MODELS[model][2], "verbose": 0, "shuffle": False}
    return _best(lambda: network.fit(x, y, **options), samples, rounds)


def _plain(model: str, samples: int, rounds: int) -> float:
    need("bench speed", "torch")
    import torch

    from benchmarks.speed.plain_torch import plain_network

    torch.set_flush_denormal(True)
    net, x = plain_network(model), torch.from_numpy(_samples(model, samples))
    x = x if model == "evt" else x.reshape(samples, 48, 128) if model == "wifo" else x.permute(0, 3, 1, 2).contiguous()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, eps=1e-8, fused=True)

    def epoch() -> None:
        for batch in x.split(MODELS[model][2]):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(net(batch), batch).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()

    return _best(epoch, samples, rounds)


if __name__ == "__main__":
    _model, _backend, *_numbers = sys.argv[1:]
    print((_plain if _backend == "plain" else _keras)(_model, *map(int, _numbers)))
