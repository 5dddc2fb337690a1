"""What the uplink does to a report: loss and bit errors; and what the gNB does about a lost one."""

from __future__ import annotations

import numpy as np

from simulator.core.types import CsiReport


def transmit(
    report: CsiReport, *, loss_probability: float, bit_flip_probability: float, seed: int
) -> tuple[CsiReport, np.ndarray]:
    """Send reports over a channel with independent losses and bit flips.

    Args:
        report: what the UEs sent.
        loss_probability: probability that a report does not arrive (erasure, known to the gNB).
        bit_flip_probability: probability that a bit is inverted, unknown to the gNB.
        seed: random seed.

    Returns:
        the report as received, and ``lost`` bool ``[batch, user]``.
    """
    rng = np.random.default_rng(seed)
    lost = rng.random(report.num_bits.shape) < loss_probability
    if bit_flip_probability == 0:
        return report, lost
    sent = np.arange(report.bits.shape[-1]) < report.num_bits[..., None]
    flips = (rng.random(report.bits.shape, np.float32) < bit_flip_probability) & sent
    return CsiReport(report.bits ^ flips.astype(np.uint8), report.num_bits), lost


def last_good(good: np.ndarray, on_loss: str) -> np.ndarray:
    """Slot whose report the gNB uses in each slot.

    Args:
        good: bool ``[batch, user, slot]``, the report of this slot arrived and was a codeword.
        on_loss: "last" falls back to the last good report of the same UE, "none" to nothing.

    Returns:
        int ``[batch, user, slot]``, a slot index, or -1 when the gNB knows nothing.
    """
    index = np.where(good, np.arange(good.shape[-1]), -1)
    return np.maximum.accumulate(index, axis=-1) if on_loss == "last" else index
