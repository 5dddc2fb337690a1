"""Optimiser of a recipe: AdamW with warm-up and a cosine, unless the recipe names another."""

from __future__ import annotations

from typing import Any

import keras

from receivers.training.schedules import WarmRestarts
from receivers.training.torch_adam import TorchAdam


def build_optimizer(
    recipe: Any, learning_rate: float, epochs: int, steps: int, restarts: Any = None
) -> keras.optimizers.Optimizer:
    """Fresh optimiser of a stage.

    The rate rises linearly over ``recipe.warmup_epochs`` and falls to zero along a cosine, or restarts.

    Args:
        recipe: ``warmup_epochs``, ``weight_decay``, ``clipnorm``, ``optimizer``.
        learning_rate: peak.
        epochs: of the stage.
        steps: of an epoch.
        restarts: section of warm restarts, or None.
    """
    section = recipe.optimizer
    warmup = int(min(recipe.warmup_epochs, epochs / 2) * steps)
    schedule: keras.optimizers.schedules.LearningRateSchedule
    if restarts is not None:
        first = max(round(restarts.first_epochs * steps), 1)
        schedule = WarmRestarts(
            restarts.base_rate, learning_rate, first, restarts.multiplier, restarts.gamma, min(warmup, first)
        )
    else:
        schedule = keras.optimizers.schedules.CosineDecay(
            learning_rate / 100,
            max(epochs * steps - warmup, 1),
            alpha=1.0 if section.schedule == "constant" else 0.005,
            warmup_target=learning_rate,
            warmup_steps=warmup,
        )
    optimizer = (TorchAdam if section.torch else keras.optimizers.AdamW)(
        schedule,
        weight_decay=recipe.weight_decay if section.name == "adamw" else 0.0,
        epsilon=section.epsilon,
        global_clipnorm=recipe.clipnorm,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma", "matrix", "factor"])
    return optimizer
