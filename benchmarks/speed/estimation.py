"""(l) CSI-RS least squares with linear interpolation compared with Sionna's LSChannelEstimator and its interpolator."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.timing import in_turn, row


def measure(batch: int = 64, rounds: int = 9, num_rb: int = 52) -> list[dict[str, Any]]:
    """UEs per second from one received OFDM symbol: 8 ports x 4 antennas, all subcarriers of 52 resource blocks.

    Ours takes row 6 of TS 38.211, Table 7.4.1.5.3-1 (CDM over two subcarriers); Sionna's pilot patterns have no CDM, so
    that each port has one of the same eight elements for itself. Both give estimates and their error variance.
    ``equal_to`` compares them on flat channels without noise.
    """
    import tensorflow as tf
    from sionna.phy.ofdm import LSChannelEstimator, PilotPattern, ResourceGrid

    from receivers.estimation.ls import LeastSquaresEstimator
    from simulator.core.types import Panel, RadioGeometry
    from simulator.phy.compiled import compiled

    ports, antennas, samples = 8, 4, 12 * num_rb
    rng = np.random.default_rng(5)
    h = rng.standard_normal((batch, 1, antennas, ports, 1, 1, 2), np.float32).view(np.complex64)[..., 0]
    geometry = RadioGeometry(3.5e9, Panel(4, 1, 2), 1, antennas, samples, 30e3)
    estimator = LeastSquaresEstimator(geometry, snr_db=20, row=6)
    signal, slots = estimator.signal, np.array([0])
    symbol = int(signal.resource.l_bar[0])
    sent = signal.resource.grid(samples)[:, symbol] / np.float32(np.sqrt(2))
    grid = np.zeros((batch, 1, antennas, 1, 14, samples), np.complex64)
    grid[..., 0, symbol, :] = np.einsum("burp,pk->burk", h[..., 0, 0], sent)
    noise_var = np.full((batch, 1, 1), estimator.noise_var, np.float32)

    pilots = np.exp(0.5j * np.pi * rng.integers(0, 4, (ports, samples))) * (
        np.arange(samples) % 12 == np.arange(ports)[:, None]
    )
    pattern = PilotPattern(
        np.ones((1, ports, 1, samples), bool), pilots[None].astype(np.complex64)
    )  # all elements, zero where other ports send
    peer = LSChannelEstimator(ResourceGrid(1, samples, 30e3, num_streams_per_tx=ports, pilot_pattern=pattern), "lin")
    received = tf.constant(np.einsum("burp,pk->burk", h[..., 0, 0], pilots)[:, :, :, None].astype(np.complex64))
    variance = tf.constant(np.float32(estimator.noise_var))

    def ours() -> np.ndarray:
        return estimator.from_pilots(signal.despread(signal.elements(grid), slots), noise_var)[0]

    graph = compiled(lambda y: peer(y, variance))
    calls = {
        "ours": ours,
        "block by block": lambda: peer(received, variance)[0].numpy(),
        "XLA": lambda: graph(received)[0].numpy(),
    }
    deviation = float(np.max(np.abs(ours()[..., 0, :] - calls["XLA"]()[:, :, :, 0, :, 0])) / np.max(np.abs(h)))
    seconds = in_turn(calls, rounds)
    return [
        row(
            f"l: CSI-RS LS and linear interpolation, {ports} ports x {antennas} antennas x {samples} subcarriers, "
            f"against Sionna {name}",
            batch / float(np.median(seconds["ours"])),
            batch / float(np.median(seconds[name])),
            "UEs/s",
            float(np.median(seconds[name] / seconds["ours"])),
            1.0,
            deviation,
            f"median of {rounds} rounds, batch {batch}",
        )
        for name in ("block by block", "XLA")
    ]
