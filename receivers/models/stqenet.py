"""STQENet: STNet's encoder and decoder with working global attention, made for quantised, entropy-coded latents."""

from __future__ import annotations

from typing import Any

import keras

from receivers.models.stnet import StNet


@keras.saving.register_keras_serializable(package="csilink")
class StqeNet(StNet):
    """STNet with ``attention="windowed"`` and bounded latents; quantiser and entropy model come with the training.

    Arguments as :class:`~receivers.models.stnet.StNet`; ``attention="released"`` gives the published code's form.

    Source: Ansarifard et al., "CSI compression beyond latents: end-to-end hybrid attention-CNN networks with entropy
    regularization", arXiv:2509.08776, Sec. III. Its code takes STNet's encoder and decoder as they are.
    """

    def __init__(
        self,
        height: int = 32,
        width: int = 32,
        num_latents: int = 128,
        attention: str = "windowed",
        row_norm: bool = True,
        latent_activation: str = "linear",
        image_activation: str = "leaky_relu",
        output_activation: str = "sigmoid",
        **kwargs: Any,
    ):
        super().__init__(
            height,
            width,
            num_latents,
            attention,
            row_norm,
            latent_activation,
            image_activation,
            output_activation,
            **kwargs,
        )
