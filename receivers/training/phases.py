"""Training in turns: epochs of a student by itself, and epochs with its teacher."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from simulator.core.errors import ConfigError


class Untracked:
    """Holds what Keras would otherwise make part of a model."""

    def __init__(self, value: Any):
        self.value = value


def is_passive(epoch: int, autonomous: int = 4, passive: int = 1) -> bool:
    """Whether the teacher takes part in an epoch: ``autonomous`` epochs without it, ``passive`` with it, and so on.

    Source: Tiny-WiFo, Sec. III-C and Eq. (9) (AL-PL); the phase lengths are not public.
    """
    return epoch % (autonomous + passive) >= autonomous


class PhasedTraining(keras.Model):
    """Model that gives the loss of every sample, one of two losses by epoch (``self.passive``).

    Args:
        taught: whether there is a teacher; without, no epoch is passive.
        autonomous: epochs without the teacher; 0: always with it.
        passive: epochs with the teacher that follow.

    Raises:
        ConfigError: numbers of epochs out of range.

    Source: Tiny-WiFo, Sec. III-C (AL-PL).
    """

    def __init__(self, taught: bool, autonomous: int, passive: int, **kwargs):
        super().__init__(**kwargs)
        if autonomous < 0 or passive < 1:
            raise ConfigError("autonomous, passive", (autonomous, passive), "at least 0 and at least 1 epochs")
        self.taught, self.autonomous, self.passive_epochs = taught, autonomous, passive
        self.passive = taught and is_passive(0, autonomous, passive)
        self._steps = Untracked({})

    def set_epoch(self, epoch: int) -> None:
        """Choose the phase; compiled training steps of both phases are kept, so that a change costs nothing."""
        passive = self.taught and is_passive(epoch, self.autonomous, self.passive_epochs)
        if passive != self.passive:
            self._steps.value[self.passive] = self.train_function
            self.train_function = self._steps.value.get(passive)
        self.passive = passive

    def compile(self, *args, **kwargs):
        """As of ``keras.Model``; kept training steps are of the optimiser before."""
        self._steps.value.clear()
        super().compile(*args, **kwargs)

    def make_train_function(self, force=False):
        """As of ``keras.Model``; JAX keeps compiled steps by function, so every phase needs one of its own."""
        if self.train_function is None or force:
            self.train_step = lambda *args: type(self).train_step(self, *args)
        return super().make_train_function(force)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean of what the call gives."""
        return ops.mean(y_pred)
