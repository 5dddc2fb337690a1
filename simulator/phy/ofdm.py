"""Channel impulse response to OFDM frequency response, fast."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf


def path_phases(tau: tf.Tensor, num_subcarriers: int, spacing_hz: float) -> tf.Tensor:
    r"""Phases :math:`e^{-j 2 \pi f_n \tau_m}` on the centred grid :math:`f_n = (n - (N-1)/2) \Delta f`.

    The grid is split as ``n = i * step + j``: two short tables and one product replace N complex exponentials per path.

    Args:
        tau: float32 ``[..., path]`` [s].
        num_subcarriers: N.
        spacing_hz: :math:`\Delta f` [Hz].

    Returns:
        complex64 ``[..., path, subcarrier]``.
    """
    step = math.isqrt(num_subcarriers - 1) + 1
    blocks = -(-num_subcarriers // step)
    coarse_hz = (np.arange(blocks) * step - (num_subcarriers - 1) / 2) * spacing_hz
    fine_hz = np.arange(step) * spacing_hz

    def table(freq_hz: np.ndarray) -> tf.Tensor:
        turns = tau[..., None] * tf.constant(-freq_hz, tf.float32)
        angle = 2 * math.pi * (turns - tf.round(turns))
        return tf.complex(tf.cos(angle), tf.sin(angle))

    grid = table(coarse_hz)[..., :, None] * table(fine_hz)[..., None, :]
    shape = tf.concat([tf.shape(tau), [blocks * step]], 0)
    return tf.reshape(grid, shape)[..., :num_subcarriers]


def cir_to_ofdm(a: tf.Tensor, tau: tf.Tensor, num_subcarriers: int, spacing_hz: float) -> tf.Tensor:
    r"""Frequency response :math:`h(f_n) = \sum_m a_m e^{-j 2 \pi f_n \tau_m}` as one batched matrix product.

    Equal to ``sionna.phy.channel.cir_to_ofdm_channel`` on the same grid; that function builds a tensor
    ``[..., path, subcarrier]`` per antenna pair, here the phases are shared by all antennas of a link.

    Args:
        a: complex64 ``[batch, user, rx_ant, 1, tx_ant, path, time]``, Sionna's path coefficients, downlink.
        tau: float32 ``[batch, user, 1, path]`` [s].
        num_subcarriers: frequency samples.
        spacing_hz: their distance [Hz].

    Returns:
        complex64 ``[batch, user, rx_ant, tx_ant, time, subcarrier]``.
    """
    batch, users, rx, _, tx, paths, time = a.shape
    phases = path_phases(tau[:, :, 0], num_subcarriers, spacing_hz)
    rows = tf.reshape(tf.transpose(a[:, :, :, 0], [0, 1, 2, 3, 5, 4]), [batch, users, rx * tx * time, paths])
    return tf.reshape(tf.matmul(rows, phases), [batch, users, rx, tx, time, num_subcarriers])
