"""Task ``autoencoder``: images of channels through an encoder, a quantiser and a decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from receivers.training.codecs import codec_samples, codec_scores, codec_sections
from receivers.training.image_model import MOST_FITTED, head
from receivers.training.image_recipe import ImageRecipe
from receivers.training.images import ImageTask
from receivers.training.task import Samples


class AutoencoderRecipe(ImageRecipe):
    """One training of an autoencoder of channels.

    Args:
        task: this one.
        target: an image for every UE antenna, or one for all.
        loss: distortion.
    """

    task: Literal["autoencoder"]
    target: Literal["channel", "mimo"] = "channel"
    loss: Literal["nmse", "mse", "sum_rate"] = "nmse"


class AutoencoderTask(ImageTask):
    """Encoder and decoder of channel images, with a quantiser in the loop and a rate term where the recipe says so.

    The card has the error after every coder, with the KLT of the same training images and the sparse angular-delay
    code at equal bits.
    """

    schema = AutoencoderRecipe

    def write(self, model: Any, folder: Path) -> dict[str, Any]:
        """Network and tables."""
        return {**super().write(model, folder), **codec_sections(self, model, folder)}

    def score(self, model: Any, folder: Path) -> dict[str, Any]:
        """Distortion and counted bits of the finished folder on the test split."""
        names = self.store.origin.get("parts", [self.store.name])
        return codec_scores(folder, self.store, head(self.train, MOST_FITTED), *self.test, names, self.recipe)

    def test_samples(self, model: Any, folder: Path) -> Samples:
        """Distortion of the default report, with a rate term plus weight times bits."""
        return codec_samples(folder, self.test[0], self.recipe, self.loss)
