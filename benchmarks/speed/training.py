"""(h) Training throughput of the networks under every backend, compared with plain PyTorch of the same layers."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from benchmarks.speed.timing import row
from simulator.core.extras import installed, need

MODELS = ("csinet", "crnet", "transnet", "stqenet")
_BATCH, _STEPS = 100, 8


def measure() -> list[dict[str, Any]]:
    """Samples per second of the best backend; the peer is plain PyTorch's CRNet, for the others their slowest backend.

    Each backend runs in a process of its own (Keras fixes it at import), one after the other, 1/16 compression, batch
    100, Adam, mean squared error, all threads.
    """
    rows = []
    backends = [b for b in ("tensorflow", "jax", "torch") if installed(b)]
    for model in MODELS:
        rates = {backend: _run(model, backend) for backend in backends}
        best = max(rates, key=lambda b: rates[b])
        note = ", ".join(f"{b} {r:.0f}" for b, r in rates.items())
        if model == "crnet" and installed("torch"):
            peer = _run(model, "plain")
            item = "h: training of crnet, best Keras backend against plain PyTorch"
            rows.append(row(item, rates[best], peer, "samples/s", rates[best] / peer, 1.0, 0.0, f"{note}; best {best}"))
        else:
            slowest = min(rates.values())
            item = f"h: training of {model}, best Keras backend against the slowest"
            ratio = rates[best] / slowest
            rows.append(row(item, rates[best], slowest, "samples/s", ratio, 1.0, 0.0, f"{note}; best {best}"))
    return rows


def _run(model: str, backend: str) -> float:
    environment = {
        **os.environ,
        "KERAS_BACKEND": "torch" if backend == "plain" else backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-m", "benchmarks.speed.training", model, backend]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=600)
    return float(done.stdout.split()[-1])


def _keras(model: str) -> float:
    import time

    import keras
    import numpy as np

    from simulator.core import registry

    x = np.random.default_rng(0).uniform(0, 1, (_BATCH * _STEPS, 32, 32, 2)).astype(np.float32)
    network = registry.build("models", model, num_latents=128)
    jit = keras.backend.backend() == "jax"  # as receivers.training.fit does
    network.compile(optimizer=keras.optimizers.Adam(1e-3, epsilon=1e-8), loss="mse", jit_compile=jit)
    best = 0.0
    for _ in range(4):
        start = time.perf_counter()
        network.fit(x, x, batch_size=_BATCH, verbose=0, shuffle=False)
        best = max(best, len(x) / (time.perf_counter() - start))
    return best


def _plain_crnet() -> float:
    """CRNet with torch.nn alone, channels first, as one would write it there."""
    import time

    need("bench speed", "torch")
    import torch
    from torch import nn

    def conv(i: int, o: int, kernel: tuple[int, int]) -> nn.Sequential:
        padding = (kernel[0] // 2, kernel[1] // 2)
        return nn.Sequential(nn.Conv2d(i, o, kernel, padding=padding, bias=False), nn.BatchNorm2d(o))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Sequential(
                *(conv(2, 7, (3, 3)), nn.LeakyReLU(0.3), conv(7, 7, (1, 9)), nn.LeakyReLU(0.3), conv(7, 7, (9, 1)))
            )
            self.b = nn.Sequential(conv(2, 7, (1, 5)), nn.LeakyReLU(0.3), conv(7, 7, (5, 1)))
            self.merge, self.act = conv(14, 2, (1, 1)), nn.LeakyReLU(0.3)

        def forward(self, x: Any) -> Any:
            return self.act(x + self.merge(self.act(torch.cat([self.a(x), self.b(x)], dim=1))))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Sequential(
                *(conv(2, 2, (3, 3)), nn.LeakyReLU(0.3), conv(2, 2, (1, 9)), nn.LeakyReLU(0.3), conv(2, 2, (9, 1)))
            )
            self.b, self.act = conv(2, 2, (3, 3)), nn.LeakyReLU(0.3)
            self.merge = conv(4, 2, (1, 1))
            self.down, self.up = nn.Linear(2048, 128), nn.Linear(128, 2048)
            self.head = nn.Sequential(conv(2, 2, (5, 5)), nn.LeakyReLU(0.3), Block(), Block(), nn.Sigmoid())

        def forward(self, x: Any) -> Any:
            y = self.act(self.merge(self.act(torch.cat([self.a(x), self.b(x)], dim=1))))
            return self.head(self.up(self.down(y.flatten(1))).reshape(x.shape))

    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    net, loss = Net(), nn.MSELoss()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, eps=1e-8)
    x = torch.rand(_BATCH * _STEPS, 2, 32, 32)
    best = 0.0
    for _ in range(4):
        start = time.perf_counter()
        for batch in x.split(_BATCH):
            optimizer.zero_grad()
            loss(net(batch), batch).backward()
            optimizer.step()
        best = max(best, len(x) / (time.perf_counter() - start))
    return best


if __name__ == "__main__":
    print(_plain_crnet() if sys.argv[2] == "plain" else _keras(sys.argv[1]))
