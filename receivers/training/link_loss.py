"""Rate of a multi-user link as a training loss, differentiable from the rate back to the encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from simulator.core import registry
from simulator.core.types import Panel
from simulator.core.units import db_to_lin
from simulator.maths import rates
from simulator.maths.transforms import from_angular_delay


def sum_rate_loss(
    panel: Panel, num_delays: int, num_subcarriers: int, num_users: int, snr_db: float, num_frequencies: int = 13
) -> Callable[[Any, Any], Any]:
    r"""Loss ``[batch]``: minus the sum rate [bit/s/Hz] of the drop of each sample, divided by the number of users.

    ``num_users`` neighbouring single-antenna samples form a drop. Images are expanded to all frequency samples with
    unit mean power, the gNB zero-forces on the decoded channels, and rates are those of the true (truncated) channels.

    Args:
        panel: gNB panel.
        num_delays: delay taps of the images.
        num_subcarriers: frequency samples of the band.
        num_users: users of a drop.
        snr_db: total transmit power over noise power per frequency sample [dB].
        num_frequencies: samples of the band at which the rate is taken, evenly spread.

    Returns:
        ``loss(y_true, y_pred)`` for images float ``[batch, delay, port, 2]`` of unit power.
    """
    delays, ports = num_delays, panel.num_ports
    # Columns of the two transforms, from unit images.
    angular = from_angular_delay(np.eye(ports, dtype=np.complex64)[:, None], panel, 1)[..., 0].T  # [antenna, beam]
    taps = np.zeros((delays, delays, 1), np.complex64)
    taps[np.arange(delays), np.arange(delays)] = 1
    spectrum = from_angular_delay(taps, Panel(1), num_subcarriers)[:, 0].T * np.sqrt(num_subcarriers / delays)
    count = min(num_frequencies, num_subcarriers)
    spectrum = np.ascontiguousarray(spectrum[np.round(np.linspace(0, num_subcarriers - 1, count)).astype(int)])
    zero_forcing, noise_var = registry.build("precoders", "zf"), float(db_to_lin(-snr_db))

    def channel(images: Any) -> Any:  # [drop, subcarrier, user, port]
        x = ops.cast(images[..., 0], "complex64") + 1j * ops.cast(images[..., 1], "complex64")
        h = ops.matmul(ops.convert_to_tensor(spectrum), ops.matmul(x, ops.convert_to_tensor(angular.T)))
        return ops.swapaxes(ops.reshape(h, (-1, num_users, count, ports)), 1, 2)

    def loss(y_true: Any, y_pred: Any) -> Any:
        h, h_hat = channel(ops.convert_to_tensor(y_true)), channel(y_pred)
        w = zero_forcing.weights(h_hat, 0.0)
        e = rates.received(ops.expand_dims(h, -2), w)
        rate = rates.rate_bpshz(rates.sinr(e, noise_var))  # [drop, subcarrier, user, 1]
        return -ops.reshape(ops.mean(ops.squeeze(rate, -1), axis=1), (-1,))

    return loss
