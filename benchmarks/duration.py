"""Time of precoders for many users, reported before a run begins."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scenarios.schema import Scenario

if TYPE_CHECKING:
    from simulator.link import Link

# Complex multiplications and additions of one core in a second, for systems of 32 and more streams (measured).
_RATE = 4e7
_LONG_S = 30.0


def precoding_seconds(scenario: Scenario, link: Link) -> float:
    r"""Estimate of the time that one core precodes one drop [s], good to a factor of 3.

    Every system of S streams on P ports takes :math:`S^2 (S + P)` complex operations; there is one for each slot,
    frequency, SNR (precoders that depend on the noise), scheme (and perfect CSI), and step of the precoder
    (:attr:`simulator.core.interfaces.Precoder.num_solves`).
    """
    g, streams = scenario.geometry, scenario.served_users * scenario.precoding.layers_per_user
    systems = sum(
        precoder.num_solves * (len(scenario.snr_db) if precoder.noise_dependent else 1)
        for precoder in link.precoders.values()
    )
    systems *= g.num_slots * g.num_subcarriers * (len(link.reporting) + 1)
    return systems * streams**2 * (streams + g.panel.num_ports) / _RATE


def say_if_long(seconds: float) -> None:
    """A line on standard error where precoding alone takes over half a minute of one core."""
    if seconds > _LONG_S:
        minutes = f"{seconds / 60:.1f}" if seconds < 600 else f"{seconds / 60:.0f}"
        print(
            f"precoding: about {minutes} min of one core; less with fewer users (ue.num_users, "
            "scheduling.num_selected), SNRs, schemes, drops, or num_iterations of wmmse",
            file=sys.stderr,
        )
