"""A feedback scheme as a block of somebody's own Sionna link."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from sionna.phy import Block

from benchmarks.face.axes import unit_power
from benchmarks.face.feedback import Feedback
from simulator.core.errors import ConfigError
from simulator.phy.panels import port_order

_RB = 12  # subcarriers of a resource block
_AXES = "[batch, num_rx, num_rx_ant, 1, num_tx_ant, num_ofdm_symbols, num_subcarriers]"


class FeedbackBlock(Block):
    r"""CSI at the UEs to CSI at the gNB, through the bits of one report per UE and slot.

    Put it between a Sionna channel (or channel estimator) and a Sionna precoder: what it returns takes the place of
    perfect CSI. Axes and the order of antennas are Sionna's. It runs eagerly and inside ``tf.function``, not under XLA;
    no gradient flows through it.

    Args:
        feedback: scheme, as :func:`csilink.feedback` makes it.
        symbol: OFDM symbol whose channel is reported; the report serves all symbols.

    Call arguments:
        h: complex ``[batch, num_rx, num_rx_ant, 1, num_tx_ant, num_ofdm_symbols, num_subcarriers]``, linear amplitude;
            ``num_subcarriers`` is that of the scheme, or 12 times the resource blocks of a scheme with one sample per
            resource block, which is the mean of its two middle subcarriers.
        error_var: variance of the error of ``h`` per entry, after scaling ``h`` to unit power.

    Returns:
        ``h_hat`` complex of the shape of ``h``, and ``num_bits`` int32 ``[batch, num_rx]``. Schemes that do not report
        the amplitude see every UE's channel at unit mean power, and ``h_hat`` has that power too. Implicit schemes
        give one effective row per layer, :math:`\sqrt{P} w_l^H`, in the place of the receive antennas.

    Raises:
        ConfigError: axes or sizes that are not those of the scheme.

    Source: RB of 12 subcarriers: TS 38.211, 4.4.4.1; ports: TS 38.214, 5.2.2.2.1.

    Example:
        >>> import csilink, numpy as np
        >>> rayleigh = csilink.channel("rayleigh", panel=(4, 1, 2), num_users=2, num_rb=4)
        >>> block = csilink.feedback("perfect", rayleigh).block()
        >>> h = csilink.unit_power(rayleigh.sample(3, seed=7))
        >>> h_hat, num_bits = block(h[:, :, :, None, :, None])  # [batch, rx, rx_ant, tx, tx_ant, symbol, subcarrier]
        >>> bool(np.allclose(h_hat[:, :, :, 0, :, 0], h))
        True
    """

    def __init__(self, feedback: Feedback, symbol: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self._feedback, self._symbol = feedback, symbol
        self._to_port = port_order(feedback.config.panel)

    def call(self, h: tf.Tensor, error_var: Any = 0.0) -> tuple[tf.Tensor, tf.Tensor]:
        """CSI at the gNB and length of every report."""
        self._check(tuple(h.shape))
        h_hat, num_bits = tf.numpy_function(self._run, [h, error_var], [tf.complex64, tf.int32], stateful=False)
        config = self._feedback.config
        rows = config.num_rx_ant if self._feedback.explicit else config.num_layers
        h_hat.set_shape([*h.shape[:2], rows, *h.shape[3:]])
        num_bits.set_shape(h.shape[:2])
        return tf.cast(h_hat, self.cdtype), num_bits

    def _check(self, shape: tuple[int | None, ...]) -> None:
        config = self._feedback.config
        fits = (
            len(shape) == 7
            and shape[2:5] == (config.num_rx_ant, 1, len(self._to_port))
            and shape[5] > self._symbol >= 0
            and shape[6] in (config.num_subcarriers, _RB * config.num_subcarriers)
        )
        if not fits:
            sizes = f"{config.num_rx_ant} rx_ant, 1 tx, {len(self._to_port)} tx_ant"
            band = f"{config.num_subcarriers} (or {_RB} times that) subcarriers"
            raise ConfigError("h.shape", shape, f"{_AXES} with {sizes}, more symbols than {self._symbol}, {band}")

    def _run(self, h: np.ndarray, error_var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        config, repeats = self._feedback.config, h.shape[6] // self._feedback.config.num_subcarriers
        reported = h[:, :, :, 0, :, self._symbol][:, :, :, self._to_port]
        if repeats == _RB:
            reported = (reported[..., 5::_RB] + reported[..., 6::_RB]) / 2
        if config.amplitude_range_db is None:
            reported = unit_power(reported)
        report = self._feedback.report(reported, error_var=error_var)
        known = self._feedback.reconstruct(report)
        if known.h is not None:
            rows = known.h
        else:
            w = known.w if known.w.shape[-1] == config.num_subcarriers else known.w[..., config.subband_of]
            rows = np.sqrt(config.panel.num_ports) * np.conj(np.swapaxes(w, 2, 3))
        h_hat = np.empty((*rows.shape[:3], 1, rows.shape[3], h.shape[5], h.shape[6]), np.complex64)
        h_hat[:, :, :, 0, self._to_port] = np.repeat(rows, repeats, axis=-1)[..., None, :]
        return h_hat, np.asarray(report.num_bits, np.int32)
