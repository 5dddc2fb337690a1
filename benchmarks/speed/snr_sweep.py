"""(c) A whole SNR sweep beside a single SNR point."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.timing import in_turn, row


def measure(batch: int = 64, rounds: int = 15) -> list[dict[str, Any]]:
    """Rates of 4 users x 32 ports x 52 RB through the link: 7 SNR points against one; the ratio is one over seven."""
    from keras import ops

    from receivers.estimation.perfect import PerfectEstimator
    from simulator.core import registry
    from simulator.core.types import CsiConfig, Panel
    from simulator.link import Link

    rng = np.random.default_rng(2)
    h = rng.standard_normal((batch, 52, 4, 1, 32, 2), np.float32).view(np.complex64)[..., 0]
    channel = ops.convert_to_tensor(h)
    config = CsiConfig(Panel(8, 2, 2), 1, 52, 360e3, 4)
    rows = []
    for name in ("mrt", "zf"):
        precoder = registry.build("precoders", name)

        def link(snr_db: tuple[float, ...], name: str = name, precoder: Any = precoder) -> Link:
            return Link(config, PerfectEstimator(), {}, {name: precoder}, snr_db)

        one, seven = link((10.0,)), link((-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, 25.0))
        single = one._rates(channel, channel, precoder, (batch, 1))
        sweep = seven._rates(channel, channel, precoder, (batch, 1))
        deviation = float(np.max(np.abs(sweep[3] / single[0] - 1)))
        calls = {
            "one": lambda link=one, p=precoder: link._rates(channel, channel, p, (batch, 1)),
            "seven": lambda link=seven, p=precoder: link._rates(channel, channel, p, (batch, 1)),
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
