"""Channel prediction by a transformer over delay-beam bins, as a correction of linear prediction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from receivers.models.autoencoder import arguments
from receivers.models.prenorm_block import PreNormBlock
from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError

_FLOOR = 1e-4  # of the mean power of a bin: what is below is scaled no further up


@keras.saving.register_keras_serializable(package="csilink")
class DelayBeamPredictor(keras.Model):
    r"""Autoregression, and what a transformer over the bins of delay and beam adds to it.

    A unitary DFT over subcarriers and over the panel turns slot t of the channel into bins :math:`x_g(t)`; few
    paths, with few Doppler frequencies, share a bin. Linear prediction of order :math:`p_k` with one set of
    coefficients for all bins (modified covariance method, :class:`~receivers.prediction.ar.ArPredictor`) gives
    :math:`a^k_g(\tau)`, scaled down where a slot would have more power than the mean of the history; :math:`a^K = 0`.

    The bins with most power are tokens: their histories and :math:`a^k_g`, divided by
    :math:`s_g = \sigma_g x_g(T) / |x_g(T)|` with the root mean square :math:`\sigma_g` of the history;
    :math:`\log \sigma_g`; the autocorrelation of the whole channel; and :math:`\log u(\tau)`, how far the first two
    orders disagree: :math:`u^2 = D / (D + P)` with the mean power P of a bin and that, D, of
    :math:`a^0 - a^1`. Pre-norm attention over the tokens gives :math:`\delta_g`, and :math:`c_k` from their mean:

    .. math:: \hat x_g(T + \tau) = a^0_g + \sum_{k=1}^{K} c_k(\tau) (a^k_g - a^0_g) + u(\tau) s_g \delta_g(\tau).

    The last layers start at zero, the prediction thus at the first autoregression; where the orders agree, as in a
    slow channel, it stays there. Common phase and scale of a channel pass through.

    Args:
        num_history: T, slots that are used: the last ones; fewer are an error.
        num_future: slots that can be predicted.
        num_subcarriers: K.
        panel: ``(n1, n2, num_pol)`` of the array of antennas, which are ordered as CSI-RS ports.
        num_tokens: bins with most power that are tokens.
        orders: p_0, p_1, ..., two or more.
        loading: of the normal equations, relative to the mean of their diagonal.
        dim: width.
        num_heads: heads; must divide the width.
        num_layers: layers.
        hidden: width of the feed-forward networks.

    Call arguments:
        history: float32 ``[batch, slot, subcarrier, antenna, 2]`` (real, imaginary), the latest slot last.

    Returns:
        float32 ``[batch, num_future, subcarrier, antenna, 2]``.

    Raises:
        ConfigError: a parameter or shape that does not fit.

    Source: ours; prediction by angle and delay: Yin, Wang, Liu, Gesbert, "Addressing the curse of mobility in massive
        MIMO with Prony-based angular-delay domain channel predictions", IEEE JSAC 38(12), 2020.
    """

    def __init__(
        self,
        num_history: int = 12,
        num_future: int = 12,
        num_subcarriers: int = 16,
        panel: Sequence[int] = (4, 2, 1),
        num_tokens: int = 48,
        orders: Sequence[int] = (8, 4),
        loading: float = 1e-6,
        dim: int = 96,
        num_heads: int = 4,
        num_layers: int = 3,
        hidden: int = 192,
        **kwargs: Any,
    ):
        config = arguments(locals())
        super().__init__(**kwargs)
        sizes = (num_future, num_subcarriers, num_layers, hidden)
        if min(sizes) < 1:
            raise ConfigError("num_future, num_subcarriers, num_layers, hidden", sizes, "at least 1")
        if len(panel) != 3 or min(panel) < 1:
            raise ConfigError("panel", list(panel), "n1, n2, num_pol")
        if len(orders) < 2 or not all(1 <= p < num_history for p in orders):
            raise ConfigError("orders", list(orders), f"two or more of 1 to {num_history - 1}, below num_history")
        if num_heads < 1 or dim % num_heads:
            raise ConfigError("dim, num_heads", (dim, num_heads), "a width and a divisor of it")
        if not 0 < loading <= 1:
            raise ConfigError("loading", loading, "above 0, at most 1")
        if not 1 <= num_tokens <= num_subcarriers * np.prod(panel):
            raise ConfigError("num_tokens", num_tokens, f"1 to the number of bins, {num_subcarriers * np.prod(panel)}")
        self.num_tokens = num_tokens
        self.num_history, self.num_future, self.num_subcarriers = num_history, num_future, num_subcarriers
        self.panel, self.orders, self.loading = tuple(panel), tuple(orders), loading
        self._config = {**config, "panel": list(panel), "orders": list(orders)}
        self.num_antennas = int(np.prod(panel))
        bins = num_subcarriers * self.num_antennas
        self.embed = layers.Dense(dim, name="embed")
        self.embed.build((None, bins, 4 * num_history + (2 * len(orders) + 1) * num_future + 1))
        self.position = layers.Embedding(bins, dim, embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02))
        self.position.build()
        self.blocks = [PreNormBlock(num_heads, hidden, name=f"block{i}") for i in range(num_layers)]
        for block in self.blocks:
            block.build((None, bins, dim))
        self.norm = layers.LayerNormalization(epsilon=1e-6, name="norm")
        self.norm.build((None, bins, dim))
        self.head = layers.Dense(2 * num_future, kernel_initializer="zeros", name="head")
        self.head.build((None, bins, dim))
        self.mix = layers.Dense(len(orders) * num_future, kernel_initializer="zeros", name="mix")
        self.mix.build((None, dim))
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return dict(self._config)

    def check_forecast(self, shape: tuple[int | None, ...], count: int, axis: int = 0) -> None:
        """Raise the error that a forecast of a history of this shape would raise."""
        if axis != 0:
            raise ConfigError("axis", axis, "0 (slots)")
        if not 1 <= count <= self.num_future:
            raise ConfigError("count", count, f"1 to {self.num_future} slots")
        if (
            len(shape) != 5
            or tuple(shape[2:]) != (self.num_subcarriers, self.num_antennas, 2)
            or shape[1] < self.num_history
        ):
            wanted = f"[batch, {self.num_history} or more, {self.num_subcarriers}, {self.num_antennas}, 2]"
            raise ConfigError("history", tuple(shape), wanted)

    def forecast(self, history: Tensor, count: int, axis: int = 0) -> Tensor:
        """The next slots of a channel.

        Args:
            history: float32 ``[batch, slot, subcarrier, antenna, 2]``, the latest slot last.
            count: slots to predict.
            axis: 0, slots.

        Returns:
            float32 ``[batch, count, subcarrier, antenna, 2]``.

        Raises:
            ConfigError: a parameter or shape that does not fit.
        """
        x = ops.convert_to_tensor(history)
        self.check_forecast(x.shape, count, axis)
        return self(x[:, -self.num_history :])[:, :count]

    def call(self, history: Tensor, training: bool = False) -> Tensor:
        """Bins, autoregression, correction, and back."""
        x = self._bins(history)  # real, imaginary: [batch, bin, slot]
        power = ops.mean(x[0] ** 2 + x[1] ** 2, axis=-1, keepdims=True)
        total = ops.maximum(ops.mean(power, axis=1, keepdims=True), 1e-30)
        forecasts = [
            _limited(_autoregression(*x, order, self.loading, self.num_future), total) for order in self.orders
        ]
        gap = _power(a - b for a, b in zip(*forecasts[:2], strict=True))
        doubt = ops.sqrt(gap / (gap + total) + 1e-12)  # [batch, 1, future slot]
        strongest = ops.top_k(power[..., 0], self.num_tokens)[1]

        def chosen(z: Tensor) -> Tensor:
            return ops.take_along_axis(z, strongest[..., None], axis=1)

        scale = ops.sqrt(chosen(power) + _FLOOR * total)
        turn = _unit(*(chosen(part[..., -1:]) for part in x))
        signals = [tuple(chosen(part) / scale for part in z) for z in (x, *forecasts)]
        tokens = [part for z in signals for part in _times(z, (turn[0], -turn[1]))]
        tokens.append(ops.log(scale / ops.sqrt(total)))
        lead = ops.shape(scale)[:2]
        for whole in (ops.log(doubt), _autocorrelation(*x) / total):
            tokens.append(ops.broadcast_to(whole, (*lead, whole.shape[-1])))
        y = self.embed(ops.concatenate(tokens, axis=-1)) + self.position(strongest)
        for block in self.blocks:
            y = block(y, maps=False)[0]
        y = self.norm(y)
        weights = ops.split(ops.expand_dims(self.mix(ops.mean(y, axis=1)), 1), len(self.orders), axis=-1)
        change = _times([part * scale * doubt for part in ops.split(self.head(y), 2, axis=-1)], turn)
        place = ops.swapaxes(ops.one_hot(strongest, power.shape[1]), 1, 2)
        future = []
        for part, corrected in enumerate(change):
            first, *others = (f[part] for f in forecasts)
            mixed = sum(w * (a - first) for w, a in zip(weights, (*others, 0.0), strict=True))
            future.append(first + mixed + ops.matmul(place, corrected))
        return self._channel(*future)

    def _bins(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """``[batch, slot, subcarrier, antenna, 2]`` to real and imaginary parts ``[batch, bin, slot]``."""
        x = ops.reshape(h, (-1, h.shape[1], self.num_subcarriers * self.num_antennas, 2))
        x = ops.transpose(x, (3, 0, 2, 1))
        return _product(self._basis(), (x[0], x[1]))

    def _channel(self, real: Tensor, imag: Tensor) -> Tensor:
        """Inverse of :meth:`_bins`."""
        y = ops.stack(_product(np.conj(self._basis().T), (real, imag)), axis=-1)
        y = ops.transpose(y, (0, 2, 1, 3))
        return ops.reshape(y, (-1, self.num_future, self.num_subcarriers, self.num_antennas, 2))

    def _basis(self) -> np.ndarray:
        """Unitary DFT over subcarriers and both axes of the panel, complex64 ``[bin, entry]``."""
        n1, n2, num_pol = self.panel
        delay, *beams = (np.fft.fft(np.eye(n), norm="ortho") for n in (self.num_subcarriers, n1, n2))
        return reduce(np.kron, (delay, np.eye(num_pol), *beams)).astype(np.complex64)


def _times(a: Sequence[Tensor], b: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Product of complex numbers, entry by entry."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _unit(real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
    """Complex numbers divided by their magnitude."""
    size = ops.sqrt(real**2 + imag**2 + 1e-30)
    return real / size, imag / size


def _power(x: Iterable[Tensor]) -> Tensor:
    """Mean power over bins of ``[batch, bin, slot]``: ``[batch, 1, slot]``."""
    return ops.mean(sum(part**2 for part in x), axis=1, keepdims=True)


def _limited(x: tuple[Tensor, Tensor], power: Tensor) -> tuple[Tensor, Tensor]:
    """Slots that have more power than this, float ``[batch, 1, 1]``, scaled down to it."""
    factor = ops.sqrt(power / ops.maximum(_power(x), power))
    return x[0] * factor, x[1] * factor


def _product(matrix: np.ndarray, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Complex matrix times complex tensor ``[batch, entry, ...]``, as one real product."""
    real = np.block([[matrix.real, -matrix.imag], [matrix.imag, matrix.real]]).astype(np.float32)
    y = ops.matmul(real, ops.concatenate(x, axis=1))
    return tuple(ops.split(y, 2, axis=1))


def _autocorrelation(real: Tensor, imag: Tensor) -> Tensor:
    """Mean over bins and slots of x(t + lag) conj x(t), ``[batch, 1, 2 * lag]``: real parts, imaginary parts."""
    slots, out = real.shape[-1], ([], [])
    for lag in range(slots):
        late, early = (real[..., lag:], imag[..., lag:]), (real[..., : slots - lag], -imag[..., : slots - lag])
        for part, value in zip(out, _times(late, early), strict=True):
            part.append(ops.mean(value, axis=(1, 2)))
    return ops.expand_dims(ops.stack([*out[0], *out[1]], axis=-1), 1)


def _autoregression(real: Tensor, imag: Tensor, order: int, loading: float, count: int) -> tuple[Tensor, Tensor]:
    """Linear prediction with coefficients from all bins, forwards and backwards: ``[batch, bin, count]`` twice.

    A complex system is a real one of twice its size; in float64, since slow channels make it nearly singular. JAX
    takes float32 unless ``JAX_ENABLE_X64`` is set, which moves the mean error by 0.3 %.
    """
    x = [ops.cast(part, "float64") for part in (real, imag)]
    joined, turned = ops.concatenate(x, axis=1), ops.concatenate([x[1], -x[0]], axis=1)  # [batch, 2 bin, slot]
    covariance = [ops.matmul(ops.swapaxes(joined, 1, 2), part) for part in (joined, turned)]
    covariance[1] = -covariance[1]  # imaginary part of the sum of x(s) conj x(t)
    size = order + 1
    windows = range(real.shape[-1] - order)
    forward = [sum(c[:, s : s + size, s : s + size] for s in windows) for c in covariance]
    total = [
        f + sign * f[:, ::-1, ::-1] for f, sign in zip(forward, (1.0, -1.0), strict=True)
    ]  # and backwards, conjugated
    gram, right = ([t[:, 1:, 1:] for t in total], [t[:, 1:, :1] for t in total])
    system = ops.concatenate(
        [ops.concatenate([gram[0], -gram[1]], axis=2), ops.concatenate([gram[1], gram[0]], axis=2)], axis=1
    )
    diagonal = ops.trace(gram[0], axis1=1, axis2=2)[:, None, None] / order
    loaded = system + ops.maximum(loading * diagonal, 1e-30) * np.eye(2 * order)
    solved = ops.solve(loaded, ops.concatenate(right, axis=1))
    a = [ops.expand_dims(part[..., 0], 1) for part in ops.split(solved, 2, axis=1)]  # [batch, 1, order]
    past = [x[0][..., -1 : -order - 1 : -1], x[1][..., -1 : -order - 1 : -1]]  # newest first
    future = ([], [])
    for _ in range(count):
        new = [ops.sum(part, axis=-1, keepdims=True) for part in _times(past, a)]
        past = [ops.concatenate([n, p[..., :-1]], axis=-1) for n, p in zip(new, past, strict=True)]
        for part, value in zip(future, new, strict=True):
            part.append(value)
    return tuple(ops.cast(ops.concatenate(part, axis=-1), "float32") for part in future)
