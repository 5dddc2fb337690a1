"""Estimates to unit-power angular-delay images and back, shared by the explicit schemes."""

from __future__ import annotations

import numpy as np

from simulator.core.types import CsiConfig, CsiReconstruction
from simulator.maths.transforms import from_angular_delay, to_angular_delay, to_complex, to_real


def to_unit_images(h_hat: np.ndarray, config: CsiConfig, num_delays: int) -> tuple[np.ndarray, np.ndarray]:
    """Image of every receive antenna and the amplitude taken out.

    Args:
        h_hat: complex64 ``[batch, user, rx_ant, port, subcarrier]``.
        config: public configuration.
        num_delays: delay taps kept.

    Returns:
        float32 ``[batch * user * rx_ant, delay, port, 2]`` of unit mean power per complex entry; amplitudes float64
        ``[batch * user * rx_ant]``.
    """
    x = to_real(to_angular_delay(h_hat.reshape(-1, *h_hat.shape[3:]), config.panel, num_delays))
    power = 2 * np.mean(np.square(x, dtype=np.float64), axis=(1, 2, 3))
    scale = np.sqrt(np.maximum(power, 1e-30))
    return (x / scale[:, None, None, None]).astype(np.float32), scale


def from_unit_images(
    x: np.ndarray, valid: np.ndarray, config: CsiConfig, amplitude: np.ndarray | None = None
) -> CsiReconstruction:
    """Channels of images; zeros where a report is not valid.

    Args:
        x: float32 ``[batch * user * rx_ant, delay, port, 2]``.
        valid: bool ``[batch, user]``.
        config: public configuration.
        amplitude: of every image, in their order; None where the gNB knows that channels have unit power per entry.
    """
    if amplitude is None:
        amplitude = np.full(len(x), (config.num_subcarriers / x.shape[1]) ** 0.5, np.float32)
    h = from_angular_delay(to_complex(x) * np.reshape(amplitude, (-1, 1, 1)), config.panel, config.num_subcarriers)
    h = h.reshape(*valid.shape, config.num_rx_ant, config.panel.num_ports, -1)
    return CsiReconstruction(h=np.where(valid[:, :, None, None, None], h, np.complex64(0)), valid=valid)
