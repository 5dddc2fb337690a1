"""Train the network of estimator ``csi_rs_learned``: ``python -m benchmarks.train_estimator FOLDER``, CPU minutes."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cards import training_facts
from receivers.weights.folder import save_weights
from simulator.core import registry
from simulator.core.interfaces import ChannelSource
from simulator.core.seeding import derive
from simulator.core.types import Panel, RadioGeometry
from simulator.core.units import db_to_lin
from simulator.data.store import sha256, write_json
from simulator.maths.transforms import unit_power

# 8 ports, 2 antennas, 52 resource blocks at 30 kHz; a third of the drops from each.
GEOMETRY = RadioGeometry(3.5e9, Panel(4, 1, 2), 1, 2, 52, 360e3, ue_num_pol=2, subcarriers_per_sample=12)
CHANNELS: dict[str, dict[str, Any]] = {
    "umi": {"model": "umi"},
    "tdl-A 100 ns": {"model": "tdl", "profile": "A", "delay_spread_s": 100e-9},
    "tdl-C 300 ns": {"model": "tdl", "profile": "C", "delay_spread_s": 300e-9},
}
SNR_DB = (-10.0, 30.0)
SEED, BATCH, LENGTHS, RATE, EPOCHS = 9001, 32, (52, 26), 3e-3, 8
_SPLITS = {"train": 4000, "val": 200, "test": 400}


def corrections() -> list[str]:
    """Active corrections of the channels."""
    return [name for source in _sources().values() for name in source.corrections]


@cache
def _sources() -> dict[str, ChannelSource]:
    return {
        name: registry.build("channels", s["model"], GEOMETRY, **{k: v for k, v in s.items() if k != "model"})
        for name, s in CHANNELS.items()
    }


def draw(split: str) -> dict[str, np.ndarray]:
    """Channels by name, unit power per UE, complex64 ``[drop, user, rx_ant, port, slot, pilot]``."""
    sets = {}
    for name, source in _sources().items():
        blocks = [
            source.sample(200, seed=derive(SEED, "channel", split, name), first=200 * j)
            for j in range(_SPLITS[split] // 200)
        ]
        sets[name] = unit_power(np.concatenate(blocks), num_lead=2)
    return sets


def example(h: np.ndarray, rng: np.random.Generator, snr_db: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pilots, facts and the noise to be estimated, as the network takes them, of channels at an SNR each."""
    from receivers.estimation.learned import facts

    var = db_to_lin(-snr_db).astype(np.float32)[:, None, None]
    n = rng.standard_normal((*h.shape, 2), np.float32).view(np.complex64)[..., 0] * np.float32(np.sqrt(0.5))
    z = h + np.sqrt(var)[:, :, None, None, :, None] * n
    turn, scale, features = facts(z, var)
    pilots = z * (turn / scale[..., None])[:, :, None, None]
    repeated = np.broadcast_to(features[:, :, None, None], (*z.shape[:-1], features.shape[-1]))
    return tuple(_sequences(x) for x in (pilots, repeated, n * turn[:, :, None, None]))  # type: ignore[return-value]


def _sequences(x: np.ndarray) -> np.ndarray:
    if np.iscomplexobj(x):
        x = np.ascontiguousarray(x, np.complex64).view(np.float32).reshape(*x.shape, 2)
        return x.reshape(-1, *x.shape[-2:])
    return x.reshape(-1, x.shape[-1])


def residual(network: Any, h: np.ndarray, snr_db: float, seed: int = 1) -> float:
    """Mean error of the pilots over that of least squares at one SNR."""
    from keras import ops

    pilots, features, noise = example(h, np.random.default_rng(seed), np.full(len(h), snr_db))
    return float(np.mean((ops.convert_to_numpy(network(pilots, features)) - noise) ** 2) * 2)


def train(folder: Path, progress: Any = print) -> dict[str, Any]:
    """Train, write weights and card into ``folder``."""
    import keras

    keras.utils.set_random_seed(SEED)
    network = registry.build("estimation_models", "conv_denoiser")
    channels, val = np.concatenate(list(draw("train").values())), np.concatenate(list(draw("val").values()))
    pilots, features = keras.Input((None, 2)), keras.Input((4,))
    model = keras.Model([pilots, features], network(pilots, features))
    steps = len(channels) // BATCH
    schedule = keras.optimizers.schedules.CosineDecay(
        RATE / 100, (EPOCHS - 1) * steps, alpha=0.005, warmup_target=RATE, warmup_steps=steps // 2
    )
    model.compile(keras.optimizers.Adam(schedule, epsilon=1e-8, global_clipnorm=1.0), loss="mse")
    rng, curve = np.random.default_rng(SEED), []
    for epoch in range(EPOCHS):
        start, losses = time.perf_counter(), []
        for step, index in enumerate(np.split(rng.permutation(len(channels))[: steps * BATCH], steps)):
            first = rng.integers(53 - LENGTHS[step % 2])
            h = channels[index][..., first : first + LENGTHS[step % 2]]
            *x, noise = example(h, rng, rng.uniform(*SNR_DB, len(h)))
            losses.append(float(model.train_on_batch(x, noise)))
        score = float(np.mean([residual(network, val, s) for s in (-5.0, 5.0, 15.0, 25.0)]))
        seconds = time.perf_counter() - start
        curve.append({"loss": 2 * float(np.mean(losses)), "val_loss": score, "seconds": seconds})
        progress(f"epoch {epoch + 1}: {curve[-1]}")
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(network, folder / "model.weights.h5")
    test = draw("test")
    card = {
        "name": folder.name,
        "task": "estimation",
        "description": "Noise on least-squares pilots of the CSI-RS, 360 kHz apart, -10 to 30 dB.",
        "model": {"name": "conv_denoiser", "params": network.get_config()},
        "parameters": network.count_params(),
        "weights": {"file": "model.weights.h5", "sha256": sha256(folder / "model.weights.h5")},
        "channels": f"corrected: {', '.join(corrections())}",
        "recipe": {
            "channels": CHANNELS, "drops": _SPLITS, "seed": SEED, "batch_drops": BATCH, "epochs": EPOCHS,
            "learning_rate": RATE, "snr_db": SNR_DB, "lengths": LENGTHS, "spacing_hz": GEOMETRY.spacing_hz,
        },
        "training": training_facts({"epochs": curve}),
        "test": {
            "metric": "error of the pilots over that of least squares",
            "num_samples": _SPLITS["test"],
            "by_channel": {
                name: {f"{s:g} dB": round(residual(network, h, s), 4) for s in (-5.0, 5.0, 15.0, 25.0)}
                for name, h in test.items()
            },
        },
    }  # fmt: skip
    write_json(folder / "card.json", card)
    return card


if __name__ == "__main__":
    import sys

    import simulator.phy  # noqa: F401 - sets TensorFlow's log level before it is imported

    train(Path(sys.argv[1]))
