"""(a) OFDM channel generation compared with Sionna's GenerateOFDMChannel."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.timing import in_turn, row
from simulator.core import registry
from simulator.core.types import Panel, RadioGeometry


def measure(batch: int = 32, rounds: int = 7, num_subcarriers: int = 1024) -> list[dict[str, Any]]:
    """Channels per second for CDL-C, 32 x 2 antennas, against Sionna in graph mode and under XLA.

    ``equal_to`` compares both frequency responses of one Sionna impulse response, relative to its largest value.
    """
    import tensorflow as tf
    from sionna.phy.channel import GenerateOFDMChannel, cir_to_ofdm_channel, subcarrier_frequencies
    from sionna.phy.ofdm import ResourceGrid

    from simulator.phy.ofdm import cir_to_ofdm

    geometry = RadioGeometry(3.5e9, Panel(8, 4, 1), 1, 2, num_subcarriers, 30e3)
    source = registry.build("channels", "cdl", geometry, profile="C")
    grid = ResourceGrid(num_ofdm_symbols=1, fft_size=num_subcarriers, subcarrier_spacing=30e3)
    peer = GenerateOFDMChannel(source._cdl, grid)

    def generate() -> tf.Tensor:
        return peer(batch)

    graph, xla = tf.function(generate), tf.function(generate, jit_compile=True)
    a, tau = source._cdl(4, 1, 1.0)
    # The centred grids differ by half a subcarrier when their number is even.
    shift = tf.cast(subcarrier_frequencies(num_subcarriers, 30e3), tf.float64).numpy() - geometry.frequencies_hz
    turn = tf.exp(tf.complex(0.0, tf.cast(-2 * np.pi * shift[0], tf.float32) * tau))
    theirs = cir_to_ofdm_channel(subcarrier_frequencies(num_subcarriers, 30e3), a, tau)[:, :, :, 0]
    rotated = a * turn[:, :, None, :, None, :, None]
    deviation = float(
        np.max(np.abs(cir_to_ofdm(rotated, tau, num_subcarriers, 30e3) - theirs)) / np.max(np.abs(theirs))
    )
    seconds = in_turn(
        {
            "ours": lambda: source.sample(batch, seed=1),
            "graph": lambda: graph().numpy(),
            "xla": lambda: xla().numpy(),
        },
        rounds,
    )
    median = {name: float(np.median(s)) for name, s in seconds.items()}
    return [
        row(
            f"a: CDL-C 32x2, {num_subcarriers} subcarriers, against Sionna {name}",
            batch / median["ours"],
            batch / median[name],
            "channels/s",
            float(np.median(seconds[name] / seconds["ours"])),
            target,
            deviation,
            f"median of {rounds} rounds, batch {batch}",
        )
        for name, target in (("xla", 4.0), ("graph", 8.0))
    ]
