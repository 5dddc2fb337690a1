"""Task ``wifo_cf``: WiFo-CF over several data sets; folders of its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from receivers.training.recipe import Finite, TrainingSection
from receivers.training.stores import StoresRecipe, StoresTask, split_samples
from receivers.training.task import Samples
from receivers.weights.card import file_entry, write_card
from receivers.weights.folder import TrainedModel, save_weights
from simulator.core.errors import ConfigError
from simulator.core.params import Count, Integer
from simulator.core.types import CsiConfig

if TYPE_CHECKING:
    from receivers.models.wifo_cf import WiFoCf

ANALOG_SNR_DB = 10.0


class WiFoCfSection(TrainingSection):
    """Constructor arguments of the network.

    Args:
        name: the network.
        params: arguments of its constructor.
    """

    name: Literal["wifo_cf"]
    params: dict[str, Any] = {}


class WiFoCfRecipe(StoresRecipe):
    """One training run of WiFo-CF; an image is a random slot of a UE antenna, scaled to unit power.

    ``users`` neighbouring samples of a batch are the UEs of a drop. Widths are drawn from ``bits - spread`` to
    ``bits + spread``; ``uplink_snr_db`` adds noise to the codewords.

    Args:
        task: this one.
        model: network.
        users: UEs of a drop.
        bits: bits of a value, in the middle.
        spread: widths differ from it by up to this.
        uplink_snr_db: SNR of noise on the codewords [dB]; null: none.
    """

    task: Literal["wifo_cf"]
    model: WiFoCfSection
    users: Count = 1
    bits: Annotated[Integer, Field(ge=1, le=16)] = 5
    spread: Annotated[Integer, Field(ge=0, le=15)] = 2
    uplink_snr_db: Finite | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> WiFoCfRecipe:
        if self.batch_size % self.users:
            raise ConfigError("batch_size", self.batch_size, f"a multiple of users ({self.users})")
        if not 1 <= self.bits - self.spread <= self.bits + self.spread <= 16:
            raise ConfigError("spread", self.spread, "widths bits - spread .. bits + spread in 1..16")
        return self


class WiFoCfTask(StoresTask):
    """WiFo-CF; the epoch with the lowest NMSE of the validation samples at ``bits``, mean over data sets, counts.

    The card has the geometry of the last data set, of the unseen ones if there are any: a link with another geometry
    takes the same weights with a card of its own (:func:`write_weights`). Test scores are in real bits, and as analog
    values in an uplink of 10 dB.
    """

    schema = WiFoCfRecipe
    curve = ("val_loss",)

    def build(self, folder: Path, progress: Callable[[str], None]) -> Any:
        """Fresh network with its loss."""
        import keras

        from receivers.models.checked import build_checked
        from receivers.models.wifo_cf import WiFoCf
        from receivers.training.wifo_cf import WiFoCfTraining

        recipe = self.recipe
        keras.utils.set_random_seed(recipe.seed)
        network = build_checked("model.params", WiFoCf, recipe.model.params)
        common = {"bits": recipe.bits, "spread": recipe.spread, "uplink_snr_db": recipe.uplink_snr_db}
        return WiFoCfTraining(network, seed=recipe.seed, **common, **self.distillation(load_wifo_cf))

    def prepare(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Images of a random slot."""
        slot = rng.integers(x.shape[1])
        return images(x[:, slot : slot + 1], self.recipe.users)

    def validate(self, model: Any) -> dict[str, float]:
        """NMSE, mean over data sets."""
        users, bits = self.recipe.users, self.recipe.bits
        samples = [images(split_samples(store, "val"), users) for store in self.stores]
        return {"val_loss": float(np.mean([wifo_cf_nmse(model.network, x, bits).mean() for x in samples]))}

    def write(self, model: Any, folder: Path) -> dict[str, Any]:
        """The network."""
        from receivers.models.wifo_cf import WiFoCf

        network = WiFoCf(**model.network.get_config())  # the trained one would save its optimiser along
        network.set_weights(model.network.get_weights())
        layout = [*self.stores, *self.unseen][-1].layout
        config = CsiConfig(layout.panel, 1, layout.num_subcarriers, layout.spacing_hz, layout.num_subcarriers)
        sections = _sections(folder, network, config, self.recipe.bits)
        return {"parameters": network.count_params(), **sections}

    def score(self, model: Any, folder: Path) -> dict[str, Any]:
        """NMSE by data set: in ``bits`` bits for a value, and analog."""
        network, recipe = model.network, self.recipe
        scores: dict[str, Any] = {
            "metric": "nmse",
            "bits": recipe.bits,
            "analog_snr_db": ANALOG_SNR_DB,
            "by_data_set": {},
        }
        for store in [*self.stores, *self.unseen]:
            x = images(split_samples(store, "test"), recipe.users)
            scores["by_data_set"][store.name] = {
                "bits": Samples(wifo_cf_nmse(network, x, recipe.bits), counted=True),
                "analog": Samples(wifo_cf_nmse(network, x, 16, ANALOG_SNR_DB), counted=True),
                "report_bits": network.num_latents(*x.shape[2:4]) * recipe.bits,
            }
        return scores

    def test_samples(self, model: Any, folder: Path) -> Samples:
        """NMSE in ``bits`` bits for a value, samples of all data sets."""
        sets = (images(split_samples(store, "test"), self.recipe.users) for store in self.stores)
        return Samples(np.concatenate([wifo_cf_nmse(model.network, x, self.recipe.bits) for x in sets]), digits=4)


def load_wifo_cf(weights: str) -> WiFoCf:
    """Network of a folder of weights."""
    from receivers.models.wifo_cf import WiFoCf

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
    from receivers.training.data.images import scale_images

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
    from keras import ops

    from receivers.training.wifo_cf import noise_scale

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


def write_weights(
    folder: str | Path,
    name: str,
    model: WiFoCf,
    config: CsiConfig,
    *,
    bits: int = 5,
    num_delays: int | None = None,
    details: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Folder of weights that scheme ``wifo-cf`` takes: ``card.json`` and ``model.weights.h5``.

    Args:
        folder: made if missing.
        name: of the weights.
        model: trained network.
        config: panel and band of the training; images had unit power each.
        bits: default width of the link.
        num_delays: delay taps of the images; None: images are antennas and subcarriers.
        details: further entries of the card (recipe, data, metrics).

    Returns:
        the card.

    Raises:
        ConfigError: sizes that the network does not accept.
    """
    sections = _sections(Path(folder), model, config, bits, num_delays)
    return write_card(Path(folder), {"name": name, **(details or {}), **sections})


def _sections(
    folder: Path, model: WiFoCf, config: CsiConfig, bits: int, num_delays: int | None = None
) -> dict[str, Any]:
    """Write the network; sections of the card."""
    latents = model.num_latents(config.panel.num_ports, num_delays or config.num_subcarriers)
    save_weights(model, folder / "model.weights.h5")
    return {
        "model": {"name": "wifo_cf", "params": model.get_config()},
        "weights": file_entry(folder / "model.weights.h5"),
        "input": {
            **vars(config.panel),
            "num_subcarriers": config.num_subcarriers,
            "spacing_hz": config.spacing_hz,
            "num_delays": num_delays or config.num_subcarriers,
            "num_latents": latents,
            "domain": "antenna_frequency" if num_delays is None else "angular_delay",
        },
        "codec": {"quantizer": model.quantizer.law, "bits": bits},
    }
