"""AL-PL: which epochs a student learns alone, and in which its teacher takes part. No Keras here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Phases:
    r"""A training in turns: ``autonomous`` epochs or more without the teacher, ``passive`` with it, and so on.

    Without ``least_progress`` a cycle: an autonomous phase has exactly ``autonomous`` epochs. With
    ``least_progress`` = f it ends once the student's own loss :math:`L_e` has fallen by less than the fraction f per
    epoch over its last n = ``autonomous`` epochs, :math:`L_e > (1 - f)^{n - 1} L_{e - n + 1}`.

    Phases follow from the losses of the epochs before and nothing else, so that an interrupted training goes on alike.

    Args:
        autonomous: epochs; 0: the teacher takes part in every epoch. At least 2 with ``least_progress``.
        passive: epochs, at least 1.
        least_progress: fraction per epoch in (0, 1); None: a cycle.

    Source: Tiny-WiFo, Sec. III-C and Eq. (9) (AL-PL): "the transition to passive learning is determined based on the
        student's autonomous learning progress". The rule and its numbers are not public: these are ours.
    """

    autonomous: int = 4
    passive: int = 1
    least_progress: float | None = None

    def passive_after(self, losses: Sequence[float]) -> int:
        """Epochs with the teacher that follow on epochs of these losses; 0: the next one is autonomous."""
        if not self.autonomous:
            return self.passive
        left, own = 0, list[float]()
        for loss in losses:
            if left:
                left -= 1
                continue
            own.append(loss)
            if self._ends(own):
                left, own = self.passive, []
        return left

    def _ends(self, own: Sequence[float]) -> bool:
        """Whether an autonomous phase with these losses is over."""
        if len(own) < self.autonomous or self.least_progress is None:
            return len(own) == self.autonomous
        return own[-1] > (1 - self.least_progress) ** (self.autonomous - 1) * own[-self.autonomous]
