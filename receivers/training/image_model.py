"""The training model of a recipe of images as it starts: random, at PCA or at trained weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from receivers.training.image_recipe import ImageRecipe
from receivers.weights.folder import named_weights
from simulator.core.errors import ConfigError
from simulator.core.seeding import derive

if TYPE_CHECKING:
    from receivers.training.data.stream import StreamedImages
    from receivers.training.distillation.outputs import Distillation
    from receivers.training.objective import TrainingModel

# Steps in which the prior alone learns the latents of the start.
_PRIOR_STEPS = 400
# Images that fit transforms and tables.
MOST_FITTED, MOST_TABLED = 50_000, 30_000


def build_model(
    recipe: ImageRecipe, train: np.ndarray | StreamedImages, bottleneck: Callable[[Any], Any]
) -> TrainingModel:
    """Fresh training model of a recipe, initialised (from weights with another number of latents: all but theirs)."""
    import keras

    from receivers.models.checked import autoencoder_class, build_checked
    from receivers.training.objective import TrainingModel
    from receivers.training.pca import fit_pca, initialize_linear

    keras.utils.set_random_seed(recipe.seed)
    make, sizes = autoencoder_class(recipe.model.name), {"height": train.shape[1], "width": train.shape[2]}
    autoencoder = build_checked("model.params", make, recipe.model.params, **sizes)
    if recipe.init == "pca":
        initialize_linear(autoencoder, *fit_pca(head(train, MOST_FITTED), autoencoder.num_latents))
    elif recipe.init != "random":
        start = named_weights("init", recipe.init, "random, pca, ")
        known, wanted = start.model.get_config(), autoencoder.get_config()
        if start.card["model"]["name"] != recipe.model.name or {**known, "num_latents": 0} != {
            **wanted,
            "num_latents": 0,
        }:
            raise ConfigError("init", recipe.init, f"weights of {recipe.model.name} with the same parameters")
        for old, new in zip(start.model.variables, autoencoder.variables, strict=True):
            if old.shape == new.shape:  # another number of latents has fresh dense layers
                new.assign(old)
    layer = bottleneck(autoencoder)
    distillation = None if recipe.distill is None else _distillation(recipe, train.shape[1:])
    return TrainingModel(autoencoder, layer, distillation)


def _distillation(recipe: ImageRecipe, shape: tuple[int, ...]) -> Distillation:
    """The recipe's teacher, which must know the student's images."""
    from receivers.training.distillation.outputs import Distillation

    name = recipe.distill.teacher
    teacher = named_weights("distill.teacher", name)
    if not teacher.is_network:
        raise ConfigError("distill.teacher", name, "weights of a network")
    ours = {key: getattr(recipe, key) for key in ("target", "domain", "scaling")}
    ours |= {"offset": 0.0, "scale": 1.0, "transposed": False}
    theirs = {key: getattr(teacher.input, key) for key in ours}
    ours["image"], theirs["image"] = (" x ".join(map(str, size)) for size in (shape[:2], teacher.shape))
    different = [key for key in ours if ours[key] != theirs[key]]
    if different:
        known, wanted = (", ".join(f"{key} {values[key]}" for key in different) for values in (theirs, ours))
        raise ConfigError("distill.teacher", f"{name} ({known})", f"weights for {wanted}")
    return Distillation(recipe.distill, teacher.model)


def fit_prior(model: TrainingModel, images: np.ndarray, recipe: ImageRecipe) -> None:
    """Let the prior learn the latents of the start, so that the rate is meaningful from the first step."""
    import keras

    from receivers.training.bottleneck import RateOf
    from receivers.training.steps import jit_compiled

    prior = keras.Sequential([keras.Input((model.autoencoder.num_latents,)), RateOf(model.bottleneck)])
    optimizer = keras.optimizers.Adam(0.01)
    prior.compile(optimizer=optimizer, loss=lambda y_true, bits: bits, jit_compile=jit_compiled())
    optimizer.build(prior.trainable_variables)  # TensorFlow would trace a step that makes them twice
    latent = model.latents(images)
    size = min(200, len(latent))
    rng = np.random.default_rng(derive(recipe.seed, "prior"))
    for _ in range(_PRIOR_STEPS):
        batch = latent[rng.choice(len(latent), size, replace=False)]
        prior.train_on_batch(batch, np.zeros(size, np.float32))


def head(train: np.ndarray | StreamedImages, count: int) -> np.ndarray:
    """The first training images."""
    return train[:count] if isinstance(train, np.ndarray) else train.head(count)
