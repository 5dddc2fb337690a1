"""Optimiser of a recipe: AdamW with warm-up and a cosine, unless the recipe names another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from receivers.training.averages import keep_averages
from receivers.training.recipe import IterativeRecipe
from receivers.training.schedules import GrownBatches, Trapezoid, WarmRestarts
from receivers.training.torch_adam import TorchAdam


def build_optimizer(
    recipe: IterativeRecipe,
    learning_rate: float,
    steps: Sequence[int],
    epoch_steps: int,
    sizes: Sequence[int] = (),
) -> keras.optimizers.Optimizer:
    """Fresh optimiser of a stage.

    Args:
        recipe: warm-up, ``weight_decay``, ``clipnorm``, ``ema``, ``optimizer``, ``restarts`` where it has them.
        learning_rate: peak.
        steps: of each epoch of the stage.
        epoch_steps: of a whole epoch of batches of ``recipe.batch_size``.
        sizes: of the batches of each epoch, in those batches; none: 1.
    """
    section = recipe.optimizer
    decay = section.adam_weight_decay
    options: dict[str, Any] = {"epsilon": section.epsilon, "global_clipnorm": recipe.clipnorm}
    if recipe.ema is not None:
        options |= {"use_ema": True, "ema_momentum": recipe.ema}
    make = TorchAdam if section.torch else keras.optimizers.AdamW
    if section.name == "muon":
        make = keras.optimizers.Muon
        options |= {"adam_lr_ratio": section.adam_ratio, "exclude_layers": list(section.exclude)}
        options["adam_weight_decay"] = recipe.weight_decay if decay is None else decay
    optimizer = make(
        learning_rates(recipe, learning_rate, steps, epoch_steps, sizes),
        weight_decay=0.0 if section.name == "adam" else recipe.weight_decay,
        **options,
    )
    if decay is None:
        optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma", "matrix", "factor"])
    if recipe.ema is not None:
        keep_averages(optimizer)
    return optimizer


def learning_rates(
    recipe: IterativeRecipe, peak: float, steps: Sequence[int], epoch_steps: int, sizes: Sequence[int] = ()
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Learning rate of every step of a stage; arguments as above."""
    sizes = sizes or [1] * len(steps)
    rates = _by_batches(recipe, peak, sum(n * size for n, size in zip(steps, sizes, strict=True)), epoch_steps)
    return rates if set(sizes) == {1} else GrownBatches(rates, list(steps), list(sizes))


def _by_batches(
    recipe: IterativeRecipe, peak: float, steps: int, epoch_steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Of batches of one size: linear rise, then what the recipe says."""
    section, restarts = recipe.optimizer, getattr(recipe, "restarts", None)
    rise = recipe.warmup_epochs * epoch_steps
    if recipe.warmup_samples is not None:
        rise = recipe.warmup_samples / recipe.batch_size
    warmup = int(min(rise, steps / 2))
    if restarts is not None:
        first = max(round(restarts.first_epochs * epoch_steps), 1)
        return WarmRestarts(restarts.base_rate, peak, first, restarts.multiplier, restarts.gamma, min(warmup, first))
    if section.schedule == "trapezoid":
        return Trapezoid(peak, steps, warmup, round(section.decay * steps))
    return keras.optimizers.schedules.CosineDecay(
        peak / 100,
        max(steps - warmup, 1),
        alpha=1.0 if section.schedule == "constant" else 0.005,
        warmup_target=peak,
        warmup_steps=warmup,
    )
