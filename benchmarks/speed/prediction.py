"""(k) Tiny-WiFo: forward pass and training step under every backend, compared with plain PyTorch of the same layers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.speed.timing import row
from simulator.core.extras import installed, need

# Tiny-WiFo's published size on a sample of D1, the past half known.
SIZE, DEPTH, DECODER_DEPTH, HEADS, SLOTS, SUBCARRIERS, ANTENNAS = "small", 6, 4, 8, 24, 128, 4
_WIDTH, _BATCH, _ROUNDS = 256, 8, 6


def measure() -> list[dict[str, Any]]:
    """Samples per second of the best backend; plain PyTorch is the peer where it is installed.

    Each runs in a process of its own, one after the other, all threads.
    """
    names = [name for name in ("tensorflow", "jax", "torch") if installed(name)]
    rates = {name: _run(name) for name in (*names, *(["plain"] if "torch" in names else []))}
    peer = rates.pop("plain", None)
    rows = []
    for index, what in enumerate(("forward pass", "training step")):
        best = max(rates, key=lambda name: rates[name][index])
        note = ", ".join(f"{name} {rate[index]:.1f}" for name, rate in rates.items())
        other = min(rate[index] for rate in rates.values()) if peer is None else peer[index]
        peer_name = "the slowest backend" if peer is None else "plain PyTorch"
        ours = rates[best][index]
        item = f"k: Tiny-WiFo, {what}, best Keras backend against {peer_name}"
        rows.append(row(item, ours, other, "samples/s", ours / other, 1.0, 0.0, f"{note}; best {best}"))
    return rows


def _run(backend: str) -> tuple[float, float]:
    keras_backend = "torch" if backend == "plain" else backend
    environment = {**os.environ, "KERAS_BACKEND": keras_backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "benchmarks.speed.prediction", backend]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=900)
    forward, step = done.stdout.split()[-2:]
    return float(forward), float(step)


def _best(call: Callable[[], Any]) -> float:
    """Samples per second of the fastest of some rounds after two to warm up."""
    seconds = []
    for _ in range(2 + _ROUNDS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return _BATCH / min(seconds[2:])


def _keras() -> tuple[float, float]:
    import keras

    from receivers.models.wifo import WiFo
    from receivers.training.distillation.mcakd import Mcakd

    x = np.random.default_rng(0).standard_normal((_BATCH, SLOTS, SUBCARRIERS, ANTENNAS, 2)).astype(np.float32)
    network = WiFo(SIZE)
    forward: Callable[[Any], Any] = lambda h: network.forecast(h, SLOTS // 2)  # noqa: E731 - compiled below
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        forward = tf.function(forward)
    elif keras.backend.backend() == "jax":
        need("bench speed", "jax")
        import jax

        forward = jax.jit(forward)
    else:
        need("bench speed", "torch")
        import torch

        eager = forward

        def forward(h: Any) -> Any:
            with torch.no_grad():
                return eager(h)

    history = x[:, : SLOTS // 2]
    rate = _best(lambda: keras.ops.convert_to_numpy(forward(history)))
    training = Mcakd(network, kind="none", tasks=["time"])
    training.compile(keras.optimizers.AdamW(1e-4), jit_compile=keras.backend.backend() == "jax")
    return rate, _best(lambda: training.train_on_batch(x))


def _plain() -> tuple[float, float]:
    """The same layers with torch.nn alone: its own fused transformer layer, AdamW."""
    need("bench speed", "torch")
    import torch
    from torch import nn

    def stack(depth: int) -> nn.Module:
        layer = nn.TransformerEncoderLayer(
            _WIDTH, HEADS, 2 * _WIDTH, 0.0, "gelu", batch_first=True, norm_first=True, layer_norm_eps=1e-6
        )
        return nn.TransformerEncoder(layer, depth, nn.LayerNorm(_WIDTH, 1e-6), enable_nested_tensor=False)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv3d(2, _WIDTH, 4, 4)
            self.encoder, self.decoder = stack(DEPTH), stack(DECODER_DEPTH)
            self.bridge, self.head = nn.Linear(_WIDTH, _WIDTH), nn.Linear(_WIDTH, 128)
            self.mask = nn.Parameter(torch.zeros(_WIDTH))
            tokens = SLOTS * SUBCARRIERS * ANTENNAS // 64
            self.position = torch.randn(1, tokens, _WIDTH)

        def forward(self, x: Any) -> Any:
            known = self.embed(x).flatten(2).transpose(1, 2)
            seen = known.shape[1]
            y = self.bridge(self.encoder(known + self.position[:, :seen]))
            hidden = self.mask.expand(len(x), self.position.shape[1] - seen, _WIDTH)
            return self.head(self.decoder(torch.cat([y, hidden], dim=1) + self.position))[:, seen:]

    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-4)
    x = torch.randn(_BATCH, 2, SLOTS // 2, SUBCARRIERS, ANTENNAS)
    target = torch.randn(_BATCH, SLOTS * SUBCARRIERS * ANTENNAS // 128, 128)

    def forward() -> Any:
        with torch.no_grad():
            return net(x)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x), target).backward()
        optimizer.step()

    net.eval()
    rate = _best(forward)
    net.train()
    return rate, _best(step)


if __name__ == "__main__":
    print(*(_plain() if sys.argv[1] == "plain" else _keras()))
