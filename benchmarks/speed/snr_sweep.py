"""(c) A whole SNR sweep compared with a single SNR point."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.timing import in_turn, row


def measure(batch: int = 64, rounds: int = 15) -> list[dict[str, Any]]:
    """Rates of 4 users x 32 ports x 52 RB: 7 SNR points against one; the ratio is one over seven."""
    from keras import ops

    from simulator.core import registry
    from simulator.downlink.serve import Downlink

    rng = np.random.default_rng(2)
    h = rng.standard_normal((batch, 52, 4, 1, 32, 2), np.float32).view(np.complex64)[..., 0]
    channel = ops.convert_to_tensor(h)
    rows = []
    for name in ("mrt", "zf"):
        precoder = registry.build("precoders", name)

        one, seven = Downlink((10.0,)), Downlink((-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, 25.0))
        single = one.serve(channel, channel, precoder, (batch, 1)).rate
        sweep = seven.serve(channel, channel, precoder, (batch, 1)).rate
        deviation = float(np.max(np.abs(sweep[3] / single[0] - 1)))
        calls = {
            "one": lambda link=one, p=precoder: link.serve(channel, channel, p, (batch, 1)).rate,
            "seven": lambda link=seven, p=precoder: link.serve(channel, channel, p, (batch, 1)).rate,
        }
        seconds = in_turn(calls, rounds)
        rows.append(
            row(
                f"c: {name}, one SNR point against seven",
                1e3 * float(np.median(seconds["seven"])),
                1e3 * float(np.median(seconds["one"])),
                "ms",
                float(np.median(seconds["one"] / seconds["seven"])),
                1 / 1.3,
                deviation,
                f"seven points cost {np.median(seconds['seven'] / seconds['one']):.2f} x one; batch {batch}",
            )
        )
    return rows
