"""Effect of the uplink on a report: delay, loss and bit errors; fallback of the gNB after a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from simulator.core.errors import ConfigError
from simulator.core.interfaces import Payload
from simulator.core.types import CsiReport

OnLoss = Literal["last", "none"]
OverBudget = Literal["error", "omit", "segment"]


class Uplink(ABC):
    """Transport of a report to the gNB.

    Attributes:
        on_loss: "last" falls back to the last good report of the same UE, "none" to nothing.
        delay_slots: slots from the last slot of a report to its use.
        slots_per_report: slots that one report takes; the UE begins a report in every such slot.
    """

    on_loss: OnLoss
    delay_slots: int
    slots_per_report: int = 1

    @property
    @abstractmethod
    def may_fail(self) -> bool:
        """Whether reports are lost or wrong at all."""

    @abstractmethod
    def transmit(self, report: CsiReport, *, seed: int) -> tuple[CsiReport, np.ndarray]:
        """Send reports.

        Args:
            report: reports to be sent by the UEs.
            seed: random seed; equal seeds meet equal channels, whatever the scheme.

        Returns:
            the report as received, ``num_bits`` as sent, and ``lost`` bool ``[batch, user]``: the gNB knows
            that it did not get the report. Which bits are wrong, and which reports lost, depends on the seed and on the
            lengths, not on the values of the bits.
        """

    def for_scheme(self, scheme: Payload, label: str) -> Uplink:
        """This uplink for the reports of one scheme; ConfigError where they do not fit."""
        return self


@dataclass(frozen=True)
class UplinkModel(Uplink):
    """Independent losses and bit flips, whatever the length of a report.

    Args:
        loss_probability: probability that the transmission of a slot does not arrive.
        bit_flip_probability: probability that a bit is inverted, unknown to the gNB.
        on_loss: see :class:`Uplink`.
        delay_slots: see :class:`Uplink`.
        max_bits: payload budget of a slot [bit]; None: any report fits.
        over_budget: what happens to a longer report: "error", "omit" or "segment".
        slots_per_report: see :class:`Uplink`; set by :meth:`for_scheme`.
        scheme: the scheme; set by :meth:`for_scheme`.
    """

    loss_probability: float = 0.0
    bit_flip_probability: float = 0.0
    on_loss: OnLoss = "last"
    delay_slots: int = 0
    max_bits: int | None = None
    over_budget: OverBudget = "error"
    slots_per_report: int = 1
    scheme: Payload | None = None

    @property
    def may_fail(self) -> bool:
        """Whether one of the probabilities is positive."""
        return self.loss_probability > 0 or self.bit_flip_probability > 0

    def for_scheme(self, scheme: Payload, label: str) -> UplinkModel:
        """This uplink with the number of slots that a report of the scheme takes."""
        if self.max_bits is None:
            return self
        slots = slots_for(scheme, label, self.max_bits, self.over_budget, "uplink.max_bits", self.max_bits)
        return replace(self, slots_per_report=slots, scheme=scheme)

    def transmit(self, report: CsiReport, *, seed: int) -> tuple[CsiReport, np.ndarray]:
        """As :func:`transmit`; a report over several slots arrives when all of them do."""
        loss: float | np.ndarray = self.loss_probability
        if self.max_bits is not None:
            if self.scheme is not None and self.over_budget == "omit":
                report = self.scheme.omit(report, self.max_bits)
            slots = -(-np.asarray(report.num_bits) // self.max_bits)
            loss = np.where(slots > 1, 1 - (1 - loss) ** slots, loss)
        return transmit(report, loss_probability=loss, bit_flip_probability=self.bit_flip_probability, seed=seed)


def slots_for(scheme: Payload, label: str, max_bits: int, over_budget: OverBudget, field: str, got: object) -> int:
    """Slots that a report takes with ``max_bits`` in each.

    Raises:
        ConfigError: naming ``field``, for reports over the budget that can neither be shortened nor split.
    """
    if scheme.max_bits <= max_bits:
        return 1
    if over_budget == "segment":
        return -(-scheme.max_bits // max_bits)
    if over_budget == "omit" and scheme.min_bits <= max_bits:
        return 1
    least = scheme.min_bits if over_budget == "omit" else scheme.max_bits
    ways = "uplink.over_budget: segment" + (" or omit" if scheme.min_bits <= max_bits else "")
    raise ConfigError(field, got, f"room for {least} bits of {label} in a slot, which has {max_bits}; or {ways}")


def transmit(
    report: CsiReport, *, loss_probability: float | np.ndarray, bit_flip_probability: float, seed: int
) -> tuple[CsiReport, np.ndarray]:
    """Send reports over a channel with independent losses and bit flips.

    Args:
        report: reports sent by the UEs.
        loss_probability: probability that a report does not arrive (erasure, known to the gNB), or one for each report.
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
    """Slot whose report stands for each slot of a history: the last good one; before the first good one, the first.

    Args:
        good: bool ``[batch, user, slot]``, as in :func:`last_good`.

    Returns:
        int ``[batch, user, slot]``, -1 for UEs without a good report. A history that ends before the first good report
        makes no sense.
    """
    source = last_good(good, "last")
    first = np.where(good.any(axis=-1), good.argmax(axis=-1), -1)
    return np.where(source < 0, first[..., None], source)


def take_slots(value: np.ndarray, source: np.ndarray, interval: np.ndarray | None = None) -> np.ndarray:
    """CSI of the slots that stand for each slot.

    Args:
        value: complex64 ``[batch, slot, user, ...]``.
        source: int ``[batch, user, slot]``, see :func:`last_good`; may have fewer slots than ``value``.
        interval: int ``[batch, user, slot]``, interval of ``value [batch, slot, user, interval, ...]``; None: it has
            none.

    Returns:
        complex64 ``[batch, slot, user, ...]`` with the slots of ``source``; zeros where it is -1.
    """
    source = np.moveaxis(source, 2, 1)
    batch, user = np.arange(len(value))[:, None, None], np.arange(value.shape[2])
    where = (batch, np.maximum(source, 0), user)
    taken: np.ndarray = value[where if interval is None else (*where, np.moveaxis(interval, 2, 1))]
    taken = taken * (source >= 0)[(...,) + (None,) * (taken.ndim - 3)]
    return taken.astype(np.complex64, copy=False)
