"""Task ``eigenvector``: the strongest direction of every subband through an encoder, a quantiser and a decoder."""

from __future__ import annotations

from typing import Literal

from receivers.training.image_recipe import ImageRecipe
from receivers.training.tasks.autoencoder import AutoencoderTask


class EigenvectorRecipe(ImageRecipe):
    """One training of an autoencoder of eigenvectors.

    Args:
        task: this one.
        target: the strongest direction of every subband.
        loss: minus the squared generalised cosine similarity.
    """

    task: Literal["eigenvector"]
    target: Literal["eigenvector"] = "eigenvector"
    loss: Literal["sgcs"] = "sgcs"


class EigenvectorTask(AutoencoderTask):
    """Encoder and decoder of subband eigenvectors; the card has their similarity by subband after every coder."""

    schema = EigenvectorRecipe
