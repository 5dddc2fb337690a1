"""(c2) Precoder and SINR compared with Sionna's RZF precoded channel and LMMSE post-equalisation SINR."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.timing import in_turn, row


def measure(batch: int = 256, rounds: int = 21, noise_var: float = 0.1) -> list[dict[str, Any]]:
    """4 single-antenna users x 32 ports x 52 RB, both under XLA, against Sionna's two SINR computations.

    For one antenna the SINR is ``S / (I + noise)``; Sionna computes it without ``interference_whitening``. With it, its
    default, the unit variance of the whitened noise already holds the interference, which is then added once more:
    ``S / (2 I + noise)``. ``equal_to`` is the largest relative difference from ours.
    """
    import tensorflow as tf
    from sionna.phy.mimo import StreamManagement
    from sionna.phy.ofdm import LMMSEPostEqualizationSINR, ResourceGrid, RZFPrecodedChannel

    from simulator.maths import rates
    from simulator.phy.compiled import compiled
    from simulator.precoding.linear import rzf

    users, samples, ports = 4, 52, 32
    rng = np.random.default_rng(3)
    h = rng.standard_normal((batch, samples, users, 1, ports, 2), np.float32).view(np.complex64)[..., 0] / np.sqrt(2)
    channel = tf.constant(h.astype(np.complex64))
    # Sionna: [batch, rx, rx_ant, tx, tx_ant, symbol, subcarrier]
    theirs = tf.constant(h.transpose(0, 2, 3, 4, 1)[:, :, :, None, :, None, :].astype(np.complex64))
    grid = ResourceGrid(1, samples, 30e3, num_tx=1, num_streams_per_tx=users)
    streams = StreamManagement(np.ones((users, 1)), users)
    precoded, post_sinr = RZFPrecodedChannel(grid, streams), LMMSEPostEqualizationSINR(grid, streams)
    loading = users * noise_var

    @compiled
    def ours(x: Any) -> Any:
        g = tf.reshape(x, (batch, samples, users, ports))
        return rates.sinr(rates.received(x, rzf(g, loading)), noise_var)

    def peer(whitening: bool) -> Any:
        def function(x: Any) -> Any:
            effective = precoded(x, tf.fill([batch, 1, users], 1.0 / users), alpha=tf.constant(loading))
            return post_sinr(effective, tf.constant(noise_var), interference_whitening=whitening)

        return compiled(function)

    peers = {"default": peer(True), "without whitening": peer(False)}
    remarks = {"default": "; counts interference twice", "without whitening": ""}
    calls = {"ours": lambda: ours(channel).numpy()}
    calls |= {name: lambda f=function: f(theirs).numpy() for name, function in peers.items()}
    sinr = {name: call().reshape(batch, samples, users) for name, call in calls.items()}
    seconds = in_turn(calls, rounds)
    return [
        row(
            f"c2: RZF and SINR, 4 users x {ports} ports x {samples} RB, against Sionna XLA ({name})",
            batch / float(np.median(seconds["ours"])),
            batch / float(np.median(seconds[name])),
            "drops/s",
            float(np.median(seconds[name] / seconds["ours"])),
            3.0,
            float(np.max(np.abs(sinr["ours"] / sinr[name] - 1))),
            f"median of {rounds} rounds, batch {batch}{remark}",
        )
        for name, remark in remarks.items()
    ]
