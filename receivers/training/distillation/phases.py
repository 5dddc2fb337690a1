"""Training in turns: epochs of a student by itself, and epochs with its teacher."""

from __future__ import annotations

from typing import Any

from keras import ops

from receivers.training.steps import SteppedModel
from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError


def is_passive(epoch: int, autonomous: int = 4, passive: int = 1) -> bool:
    """Whether the teacher takes part in an epoch: ``autonomous`` epochs without it, ``passive`` with it, and so on.

    Source: Tiny-WiFo, Sec. III-C and Eq. (9) (AL-PL); the phase lengths are not public.
    """
    return epoch % (autonomous + passive) >= autonomous


class PhasedTraining(SteppedModel):
    """Model that gives the loss of every sample, one of two losses by epoch (``self.passive``).

    Args:
        taught: whether there is a teacher; without, no epoch is passive.
        autonomous: epochs without the teacher; 0: always with it.
        passive: epochs with the teacher that follow.

    Raises:
        ConfigError: numbers of epochs out of range.

    Source: Tiny-WiFo, Sec. III-C (AL-PL).
    """

    def __init__(self, taught: bool, autonomous: int, passive: int, **kwargs: Any):
        super().__init__(**kwargs)
        if autonomous < 0 or passive < 1:
            raise ConfigError("autonomous, passive", (autonomous, passive), "at least 0 and at least 1 epochs")
        self.taught, self.autonomous, self.passive_epochs = taught, autonomous, passive
        self.passive = taught and is_passive(0, autonomous, passive)

    def set_step(self, epoch: int, step: int = 0, shape: Any = None) -> None:
        """Choose the phase of the next batch."""
        self.passive = self.taught and is_passive(epoch, self.autonomous, self.passive_epochs)
        self.select((self.passive, shape))

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Mean of the losses from the call."""
        return ops.mean(y_pred)
