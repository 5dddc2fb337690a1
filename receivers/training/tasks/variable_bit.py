"""Task ``variable_bit``: images through bits, of which the first n are sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from receivers.training.codecs import image_error
from receivers.training.image_recipe import ImageRecipe
from receivers.training.images import ImageTask
from receivers.training.recipe import ConcreteSection
from receivers.training.task import Samples
from simulator.core.errors import ConfigError


class VariableBitRecipe(ImageRecipe):
    """One training of a network whose latents are log-odds of bits.

    Args:
        task: this one.
        target: an image for every UE antenna, or one for all.
        loss: distortion.
        quantizer: none.
        rate: none.
        concrete: relaxation of the bits.
    """

    task: Literal["variable_bit"]
    target: Literal["channel", "mimo"] = "channel"
    loss: Literal["nmse", "mse"] = "nmse"
    quantizer: None = None
    rate: None = None
    concrete: ConcreteSection = ConcreteSection()


class VariableBitTask(ImageTask):
    """Network of bits, relaxed in training; the card has the error after 1, 2, 4, ... bits."""

    schema = VariableBitRecipe

    def bottleneck(self, autoencoder: Any) -> Any:
        """Relaxed bits."""
        from receivers.training.concrete import ConcreteBottleneck

        if not autoencoder.binary:
            raise ConfigError("model.name", self.recipe.model.name, "with task variable_bit a network of bits")
        self._layer = ConcreteBottleneck(self.recipe.concrete, autoencoder.num_latents, seed=self.recipe.seed)
        return self._layer

    def start_epoch(self, model: Any, epoch: int) -> None:
        """Temperature of the relaxation."""
        model.bottleneck.set_progress(epoch / sum(map(len, self.plan)))

    def batches(self, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Images with the lengths of their reports, and images."""
        from receivers.training.concrete import with_lengths

        return with_lengths(super().batches(epoch), self._layer, self.recipe.seed, epoch)

    def score(self, model: Any, folder: Path) -> dict[str, Any]:
        """Error of the images of the test split after 1, 2, 4, ... bits, or after all."""
        return bit_scores(folder, self.test[0], self.recipe.concrete.variable)

    def test_samples(self, model: Any, folder: Path) -> Samples:
        """Error over power, mean over the numbers of bits."""
        errors = bit_errors(folder, self.test[0], self.recipe.concrete.variable)
        return Samples(np.mean(list(errors.values()), axis=0), digits=4)


def bit_scores(folder: Path, test: np.ndarray, variable: bool) -> dict[str, Any]:
    """NMSE of images after 1, 2, 4, ... bits of a network; if not ``variable``, after all."""
    scores = {str(n): Samples(error) for n, error in bit_errors(folder, test, variable).items()}
    return {"metric": "nmse of the image", "num_samples": len(test), "by_bits": scores}


def bit_errors(folder: Path, test: np.ndarray, variable: bool) -> dict[int, np.ndarray]:
    """Error over power of every image, by number of bits."""
    from receivers.models.concrete import MASKED
    from receivers.weights.folder import TrainedModel

    trained = TrainedModel.shared(str(folder))
    bits = (trained.encode(test) > 0).astype(np.float32)
    most = bits.shape[1]
    errors = {}
    for num_bits in [2**i for i in range(most.bit_length()) if variable and 2**i < most] + [most]:
        received = np.where(np.arange(most) < num_bits, bits, np.float32(MASKED))
        errors[num_bits] = image_error(test, trained.decode(received))
    return errors
