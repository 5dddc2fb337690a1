"""Training of WiFo-CF over several data sets, and its error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from receivers.models.checked import build_checked
from receivers.models.wifo_cf import WiFoCf
from receivers.training.data.images import scale_images
from receivers.training.fit_prediction import split_samples
from receivers.training.fit_stores import fit_stores
from receivers.training.wifo_cf import WiFoCfTraining, noise_scale
from receivers.training.wifo_cf_recipe import WiFoCfRecipe
from receivers.weights.folder import TrainedModel
from simulator.core.errors import ConfigError
from simulator.data.store import ChannelStore


def fit_wifo_cf(
    recipe: WiFoCfRecipe, stores: Sequence[ChannelStore], folder: Path, progress: Callable[[str], None] = print
) -> tuple[WiFoCf, dict[str, Any]]:
    """Train to the end, from the last finished epoch if ``folder`` has one.

    The epoch with the lowest NMSE of the validation samples at ``bits``, mean over data sets, gives the weights.

    Raises:
        StoreError: the folder belongs to another recipe, or training diverged.
    """
    keras.utils.set_random_seed(recipe.seed)
    network = build_checked("model.params", WiFoCf, recipe.model.params)

    def build() -> WiFoCfTraining:
        options: dict[str, Any] = {}
        if recipe.distill is not None:
            options = recipe.distill.model_dump(exclude={"teacher"})
            options["teacher"] = load_wifo_cf(recipe.distill.teacher)
        common = {"bits": recipe.bits, "spread": recipe.spread, "uplink_snr_db": recipe.uplink_snr_db}
        return WiFoCfTraining(network, seed=recipe.seed, **common, **options)

    def validate() -> dict[str, float]:
        scores = [
            wifo_cf_nmse(network, images(split_samples(s, "val"), recipe.users), recipe.bits).mean() for s in stores
        ]
        return {"val_loss": float(np.mean(scores))}

    def prepare(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        slot = rng.integers(x.shape[1])
        return images(x[:, slot : slot + 1], recipe.users)

    _, state = fit_stores(recipe, stores, folder, build, validate, prepare, progress)
    return network, state


def load_wifo_cf(weights: str) -> WiFoCf:
    """Network of a folder of weights."""
    trained = TrainedModel(weights)
    if trained.card["model"]["name"] != "wifo_cf":
        raise ConfigError("distill.teacher", weights, "weights of wifo_cf")
    return trained.load(WiFoCf(**trained.card["model"]["params"]))


def images(x: np.ndarray, users: int = 1) -> np.ndarray:
    """The first slot of every sample as an image of unit power.

    Args:
        x: channels float32 ``[sample, slot, subcarrier, antenna, 2]``.
        users: neighbouring samples that are the UEs of a drop; an incomplete last drop is dropped.

    Returns:
        float32 ``[sample / users, users, antenna, subcarrier, 2]``.
    """
    image, _ = scale_images(np.ascontiguousarray(np.swapaxes(x[:, 0], 1, 2)))
    drops = len(image) // users
    return image[: drops * users].reshape(drops, users, *image.shape[1:])


def wifo_cf_nmse(network: WiFoCf, x: np.ndarray, bits: int, snr_db: float | None = None, seed: int = 5) -> np.ndarray:
    """Squared error over power of every UE, float64 ``[drop * user]``, after the quantiser and a noisy uplink.

    Args:
        network: the network.
        x: images float32 ``[drop, user, antenna, subcarrier, 2]``.
        bits: of a value of the codeword.
        snr_db: white noise on the codewords over the mean square of each [dB]; None: none.
        seed: of the noise.
    """
    rng, ratios = np.random.default_rng(seed), []
    for start in range(0, len(x), 256):
        block = x[start : start + 256]
        z = network.quantizer.dequantize(
            network.quantizer.quantize(ops.convert_to_numpy(network.encode(block, bits)), bits), bits
        )
        if snr_db is not None:
            scale = ops.convert_to_numpy(noise_scale(ops.convert_to_tensor(z), snr_db))
            z = z + scale * rng.standard_normal(z.shape, np.float32)
        h_hat = ops.convert_to_numpy(network.decode(z.astype(np.float32), bits, block.shape[2:4]))
        error, power = (np.sum(np.square(y, dtype=np.float64), axis=(2, 3, 4)) for y in (block - h_hat, block))
        ratios.append((error / np.maximum(power, 1e-30)).ravel())
    return np.concatenate(ratios)
