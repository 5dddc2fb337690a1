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


def filled(good: np.ndarray) -> np.ndarray:
    """Slot whose report stands for each slot of a history: the last good one, before the first good one that one.

    Args:
        good: bool ``[batch, user, slot]``, as in :func:`last_good`.

    Returns:
        int ``[batch, user, slot]``, -1 for UEs without a good report. A history that ends before the first good report
        makes no sense.
    """
    source = last_good(good, "last")
    first = np.where(good.any(axis=-1), good.argmax(axis=-1), -1)
    return np.where(source < 0, first[..., None], source)


def take_slots(value: np.ndarray, source: np.ndarray) -> np.ndarray:
    """CSI of the slots that stand for each slot.

    Args:
        value: complex64 ``[batch, slot, user, ...]``.
        source: int ``[batch, user, slot]``, as of :func:`last_good`; may have fewer slots than ``value``.

    Returns:
        complex64 ``[batch, slot, user, ...]`` with the slots of ``source``; zeros where it is -1.
    """
    source = np.moveaxis(source, 2, 1)[(...,) + (None,) * (value.ndim - 3)]
    taken = np.take_along_axis(value, np.maximum(source, 0), axis=1) * (source >= 0)
    return taken.astype(np.complex64, copy=False)
