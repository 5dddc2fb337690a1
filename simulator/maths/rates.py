"""Rates and CSI accuracy as pure functions in ``keras.ops``.

Leading axes are free. ``h`` is the true channel complex64 ``[..., user, rx_ant, port]`` of one frequency sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.core.backend import ops
from simulator.core.types import CsiConfig, CsiReconstruction
from simulator.core.units import db_to_lin
from simulator.core.views import by_sample, layer_rows
from simulator.maths.hermitian import hermitian_solve

_TINY = 1e-30


def effective_rows(h: Any, num_layers: int) -> Any:
    r"""Rows :math:`\sigma_l v_l^H` of the strongest layers of every user, :math:`H = U \Sigma V^H`.

    Args:
        h: complex64 ``[..., user, rx_ant, port]``.
        num_layers: layers per user, at most ``rx_ant``.

    Returns:
        complex64 ``[..., user, layer, port]``, strongest layer first; for one antenna ``h`` itself.
    """
    if h.shape[-2] == 1:
        return h
    _, u = ops.linalg.eigh(ops.matmul(h, ops.conj(ops.swapaxes(h, -1, -2))))  # ascending
    strongest = ops.flip(u, axis=-1)[..., :num_layers]
    return ops.matmul(ops.conj(ops.swapaxes(strongest, -1, -2)), h)


def received(h: Any, w: Any) -> Any:
    """Channel after precoding, complex64 ``[..., user, rx_ant, stream]`` = ``h`` times ``w [..., port, stream]``."""
    return ops.matmul(h, ops.expand_dims(w, -3)) if h.shape[-2] > 1 else _one_antenna(h, w)


def _one_antenna(h: Any, w: Any) -> Any:
    return ops.expand_dims(ops.matmul(ops.squeeze(h, -2), w), -2)


def sinr(e: Any, noise_var: Any) -> Any:
    r"""Post-LMMSE SINR of every stream at its own user.

    .. math:: \mathrm{SINR}_s = e_s^H \Big( \sum_{j \ne s} e_j e_j^H + \sigma^2 I \Big)^{-1} e_s

    Streams belong to users in order, ``num_streams / num_users`` each. With several antennas the inverse is taken in
    float32: above about 50 dB SNR the rate of well separated layers is off by more than 0.01 bit/s/Hz.

    Args:
        e: complex64 ``[..., user, rx_ant, stream]`` from :func:`received`.
        noise_var: float32, broadcast against ``[..., user, layer]``.

    Returns:
        float32 ``[..., user, layer]``.

    Source: Tse, Viswanath, Fundamentals of Wireless Communication, Eq. (8.67); one antenna: Eq. (5) of LVM4CF.
    """
    num_users, num_rx, num_streams = e.shape[-3:]
    num_layers = num_streams // num_users
    own = ops.reshape(ops.eye(num_streams), (num_users, num_layers, num_streams))
    if num_rx == 1:
        power = ops.square(ops.real(e[..., 0, :])) + ops.square(ops.imag(e[..., 0, :]))  # [..., user, stream]
        signal = ops.sum(power[..., None, :] * own, axis=-1)
        others = ops.sum(power[..., None, :] * (1.0 - own), axis=-1)
        return signal / (others + noise_var)
    rows = ops.swapaxes(e, -1, -2)  # [..., user, stream, rx]
    wanted = ops.einsum("uls,...usr->...ulr", ops.cast(own, "complex64"), rows)
    kept = ops.sqrt(1.0 - own)
    other = e[..., None, :, :] * ops.cast(kept, "complex64")[..., None, :]  # [..., user, layer, rx, stream]
    loading = ops.cast(noise_var, "complex64")[..., None, None] * ops.cast(ops.eye(num_rx), "complex64")
    covariance = ops.matmul(other, ops.conj(ops.swapaxes(other, -1, -2))) + loading
    scale = ops.rsqrt(ops.real(ops.diagonal(covariance, axis1=-2, axis2=-1)))
    unit = covariance * ops.cast(scale[..., :, None] * scale[..., None, :], "complex64")
    x = wanted * ops.cast(scale, "complex64")
    y = hermitian_solve(unit, x[..., None], floor=1e-7)[..., 0]
    return ops.maximum(ops.real(ops.sum(ops.conj(x) * y, axis=-1)), 0.0)


def rate_bpshz(sinr_value: Any) -> Any:
    """Shannon rate ``log2(1 + SINR)`` [bit/s/Hz]."""
    return ops.log1p(sinr_value) * 1.4426950408889634


def correlation2(a: Any, b: Any, axes: int | tuple[int, ...] = -1) -> Any:
    r"""Squared cosine of the angle between rows, :math:`|a^H b|^2 / (\|a\|^2 \|b\|^2)`; 0 where a row is zero.

    Args:
        a: complex64 ``[..., port]``.
        b: complex64 ``[..., port]``.
        axes: axes of the inner product.

    Returns:
        float32 ``[...]`` in [0, 1].
    """
    inner = ops.sum(ops.conj(a) * b, axis=axes)
    power = ops.square(ops.real(inner)) + ops.square(ops.imag(inner))
    return ops.minimum(power / ops.maximum(_energy(a, axes), _TINY) / ops.maximum(_energy(b, axes), _TINY), 1.0)


def cosine_matrix(h: Any, h_hat: Any, axes: tuple[int, ...]) -> Any:
    r"""Modulus of the normalised inner product, :math:`|\langle \hat H, H \rangle_F| / (\|\hat H\|_F \|H\|_F)`.

    One antenna: the cosine of the rows. Ignores scale and phase; 0 where a matrix is zero.

    Args:
        h: complex64, any shape.
        h_hat: complex64, the same shape.
        axes: axes of the matrix, antennas and ports.

    Returns:
        float32 in [0, 1], without ``axes``.

    Source: NF-KD, Eq. (9), with the modulus.
    """
    return ops.sqrt(correlation2(h, h_hat, axes))


def nmse(h: Any, h_hat: Any, axes: tuple[int, ...]) -> Any:
    r"""Normalised squared error :math:`\|\hat h - h\|^2 / \|h\|^2` over ``axes``, linear."""
    return _energy(h_hat - h, axes) / ops.maximum(_energy(h, axes), _TINY)


def nmse_scaled(h: Any, h_hat: Any, axes: tuple[int, ...]) -> Any:
    r"""NMSE after the best complex factor for each ``h_hat``: the error of its shape alone.

    .. math:: \min_c \|c \hat h - h\|^2 / \|h\|^2 = 1 - |\hat h^H h|^2 / (\|\hat h\|^2 \|h\|^2)

    Computed from the residual, as the difference from 1 loses small errors in float32. A zero ``h_hat`` has 1.

    Args:
        h: complex64, any shape.
        h_hat: complex64, the same shape.
        axes: axes of one report.

    Returns:
        float32, linear, without ``axes``.
    """
    inner = ops.sum(ops.conj(h_hat) * h, axis=axes, keepdims=True)
    energy = ops.maximum(_energy(h_hat, axes, keepdims=True), _TINY)
    return nmse(h, h_hat * (inner / ops.cast(energy, "complex64")), axes)


def energy_ratio(h: Any, h_hat: Any, axes: tuple[int, ...]) -> Any:
    r"""Energy of ``h_hat`` over that of ``h``, :math:`\|\hat h\|^2 / \|h\|^2` over ``axes``, linear."""
    return _energy(h_hat, axes) / ops.maximum(_energy(h, axes), _TINY)


def _energy(x: Any, axis: Any, keepdims: bool = False) -> Any:
    return ops.sum(ops.square(ops.real(x)) + ops.square(ops.imag(x)), axis=axis, keepdims=keepdims)


def known_rows(csi: CsiReconstruction, config: CsiConfig) -> Any:
    """Effective rows complex64 ``[batch * slot, subcarrier, user, layer, port]`` of the CSI at the gNB."""
    if csi.h is not None:
        return effective_rows(ops.convert_to_tensor(by_sample(csi.h)), config.num_layers)
    # A direction carries no gain: E|h|^2 = 1 per port replaces it, which matters to noise-dependent precoders alone.
    gain = np.float32(np.sqrt(config.panel.num_ports))
    w = csi.w if csi.w.shape[-1] == config.num_subcarriers else csi.w[..., config.subband_of]
    return ops.convert_to_tensor(by_sample(layer_rows(gain * np.conj(w))))


def noise_powers(snr_db: tuple[float, ...]) -> np.ndarray:
    """Noise powers per subcarrier for total transmit power 1, float32 ``[snr]``."""
    return db_to_lin([-s for s in snr_db]).astype(np.float32)


def known_layers(rows: Any) -> np.ndarray:
    """Layers with CSI at the gNB, bool ``[batch * slot, user, layer]``."""
    return np.any(ops.convert_to_numpy(rows) != 0, axis=(1, 4))
