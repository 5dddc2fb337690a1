"""Quantisers whose levels or codewords are weights of a network."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="csilink")
class TrainableLevels(keras.layers.Layer):
    r"""Scalar quantiser with trainable levels, increasing by construction: first level plus softplus increments.

    Args:
        levels: start, increasing, ``[2**bits]``.

    Call arguments:
        x: float32, any shape.

    Returns:
        nearest level of every value; the gradient reaches the value (straight-through) and its level.

    Source: Jang et al., IEEE Wireless Commun. Lett. 8(3), 2019 (quantiser in the loop); Bengio et al., arXiv:1308.3432.
    """

    def __init__(self, levels, **kwargs):
        super().__init__(**kwargs)
        self._start = [float(v) for v in levels]
        steps = np.maximum(np.diff(self._start), 1e-6)
        self.first = self.add_weight(shape=(), initializer=keras.initializers.Constant(self._start[0]), name="first")
        self.steps = self.add_weight(shape=(len(steps),), initializer="zeros", name="steps")
        self.steps.assign(np.log(np.expm1(steps)))
        self.built = True

    @property
    def levels(self):
        """Levels float32 ``[2**bits]``, increasing."""
        rise = ops.cumsum(ops.softplus(self.steps))
        return self.first + ops.concatenate([ops.zeros((1,)), rise])

    def call(self, x):
        """Quantise."""
        levels = self.levels
        borders = ops.stop_gradient((levels[1:] + levels[:-1]) / 2)
        index = ops.searchsorted(borders, ops.reshape(ops.stop_gradient(x), (-1,)), side="right")
        index = ops.minimum(index, len(self._start) - 1)
        return ops.reshape(ops.take(levels, index), ops.shape(x)) + (x - ops.stop_gradient(x))

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "levels": self._start}


@keras.saving.register_keras_serializable(package="csilink")
class TrainableCodebook(keras.layers.Layer):
    r"""Vector quantiser with trainable codewords.

    Adds :math:`\|\mathrm{sg}(x) - e\|^2 + \beta \|x - \mathrm{sg}(e)\|^2` per latent to the losses.

    Args:
        codebook: start, ``[2**bits, dim]``.
        beta: weight of the commitment.

    Call arguments:
        x: float32 ``[..., latent]``, a multiple of ``dim`` latents.

    Returns:
        nearest codewords, straight-through.

    Source: van den Oord, Vinyals, Kavukcuoglu, NeurIPS 2017, Eq. (3).
    """

    def __init__(self, codebook, beta: float = 0.25, **kwargs):
        super().__init__(**kwargs)
        self._start, self.beta = np.asarray(codebook, np.float32), beta
        self.codebook = self.add_weight(shape=self._start.shape, initializer="zeros", name="codebook")
        self.codebook.assign(self._start)
        self.built = True

    def call(self, x):
        """Quantise and add the losses."""
        groups = ops.reshape(x, (-1, 1, self._start.shape[1]))
        index = ops.argmin(ops.sum(ops.square(ops.stop_gradient(groups) - self.codebook), axis=-1), axis=-1)
        nearest = ops.reshape(ops.take(self.codebook, index, axis=0), ops.shape(x))
        pull = ops.mean(ops.square(ops.stop_gradient(x) - nearest))
        commit = ops.mean(ops.square(x - ops.stop_gradient(nearest)))
        self.add_loss(pull + self.beta * commit)
        return ops.stop_gradient(nearest) + (x - ops.stop_gradient(x))

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "codebook": self._start.tolist(), "beta": self.beta}
