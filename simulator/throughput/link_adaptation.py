"""Link adaptation as pure functions in NumPy: from effective SINRs to an index, and its correction by ACK and NACK."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.core.params import PositiveFloat, TargetBler, check_value


def highest_row(effective_db: ArrayLike, threshold_db: ArrayLike) -> NDArray[np.int64]:
    r"""Inner loop: the last row of a table whose block error rate does not exceed the target.

    Args:
        effective_db: effective SINR ``[row, ...]``, or ``[1, ...]`` where it does not depend on the row [dB].
        threshold_db: effective SINR at which each row meets the target ``[row, ...]`` [dB].

    Returns:
        Row int64 ``[...]``; -1 where even the first row exceeds the target.
    """
    met = np.asarray(effective_db) >= np.asarray(threshold_db)
    last = len(met) - 1 - np.argmax(met[::-1], axis=0)
    return np.where(met.any(axis=0), last, -1)


@dataclass(frozen=True)
class OuterLoop:
    r"""Outer loop: an offset [dB] that is taken off the SINR before the inner loop, moved after every block.

    .. math:: \Delta \leftarrow \Delta + \Delta_{up} \text{ after a NACK}, \quad
              \Delta \leftarrow \Delta - \Delta_{up} \frac{p}{1 - p} \text{ after an ACK}

    so that it rests where the block error rate is the target p.

    Args:
        target_bler: p, 1e-5 to 0.5.
        step_up_db: :math:`\Delta_{up}` > 0 [dB].
        start_db: offset before the first block [dB].
        limits_db: least and greatest offset [dB].
        warm_up_slots: blocks that it has seen before those that are scored.

    Source: Sampath, Kumar, Holtzman, IEEE VTC 1997; Pedersen et al., IEEE VTC 2005.
    """

    target_bler: float = 0.1
    step_up_db: float = 1.0
    start_db: float = 0.0
    limits_db: tuple[float, float] = (-20.0, 30.0)
    warm_up_slots: int = 0

    def __post_init__(self) -> None:
        check_value("throughput.target_bler", TargetBler, self.target_bler)
        check_value("throughput.olla_step_db", PositiveFloat, self.step_up_db)

    @property
    def step_down_db(self) -> float:
        """Step after an ACK [dB]."""
        return self.step_up_db * self.target_bler / (1 - self.target_bler)

    def start(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Offsets before the first block."""
        return np.full(shape, self.start_db, np.float64)

    def update(self, offset_db: NDArray[np.float64], ack: ArrayLike, sent: ArrayLike) -> NDArray[np.float64]:
        """Offsets after a slot; those without a block stay.

        Args:
            offset_db: offsets before it ``[...]`` [dB].
            ack: bool ``[...]``.
            sent: bool ``[...]``, whether there was a block.
        """
        moved = offset_db + np.where(ack, -self.step_down_db, self.step_up_db)
        return np.where(sent, np.clip(moved, *self.limits_db), offset_db)
