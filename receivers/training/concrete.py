"""Layer between encoder and decoder of a variable-bit network in training: relaxed bits, random lengths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from receivers.models.concrete import concrete_temperature, hard_bits, mask_bits, soft_bits
from receivers.training.recipe import ConcreteSection
from simulator.core.backend import Tensor
from simulator.core.seeding import derive


class ConcreteBottleneck(keras.layers.Layer):
    """Bits as the decoder sees them: relaxed in training, hard afterwards; bits that are not sent are -1.

    Args:
        section: of the recipe.
        num_latents: bits of the longest report.
        seed: of the relaxation's noise.

    Call arguments:
        latent: log-odds float32 ``[batch, num_latents]``.
        num_bits: int ``[batch]``, length of every report; None: all.

    Returns:
        float32 ``[batch, num_latents]``: in (0, 1), or -1.
    """

    prior = None

    def __init__(self, section: ConcreteSection, num_latents: int, seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.section, self.num_latents = section, num_latents
        self._noise = keras.random.SeedGenerator(derive(seed, "bottleneck"))
        self.temperature = self.add_weight(shape=(), trainable=False, name="temperature")
        self.set_progress(0.0)
        self.built = True

    def set_progress(self, progress: float) -> None:
        """Temperature after this share of the training."""
        section = self.section
        self.temperature.assign(concrete_temperature(progress, section.start_temperature, section.end_temperature))

    def call(self, latent: Tensor, num_bits: Tensor = None, training: bool = False) -> Tensor:
        """Relax or decide, then mask."""
        bits = soft_bits(latent, self.temperature, self._noise) if training else hard_bits(latent)
        return bits if num_bits is None else mask_bits(bits, num_bits)

    def lengths(self, count: int, rng: np.random.Generator | None = None) -> np.ndarray:
        """Lengths int32 ``[count]`` of reports: random for training, spread evenly over all for validation."""
        if not self.section.variable:
            return np.full(count, self.num_latents, np.int32)
        if rng is not None:
            return rng.integers(1, self.num_latents, count, dtype=np.int32, endpoint=True)
        return (1 + np.arange(count) * self.num_latents // count).astype(np.int32)


def with_lengths(batches: Iterable[Any], bottleneck: ConcreteBottleneck, seed: int, epoch: int) -> Iterator[Any]:
    """Batches ``((images, num_bits), images)`` of one epoch; lengths depend on seed, epoch and step only.

    Args:
        batches: ``(images, images)``.
        bottleneck: draws the lengths.
        seed: of the run.
        epoch: index from 0.
    """
    return (_add(batch, bottleneck, [seed, epoch, 1, step]) for step, batch in enumerate(batches))


def _add(batch: tuple[Any, Any], bottleneck: ConcreteBottleneck, key: list[int]) -> tuple[Any, Any]:
    x, y = batch
    return (x, bottleneck.lengths(len(x), np.random.default_rng(key))), y
