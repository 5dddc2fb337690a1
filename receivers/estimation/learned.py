"""Least squares with denoising by a trained network."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from receivers.estimation.correlation import pilot_correlation
from receivers.estimation.csi_rs import CsiRsEstimator
from receivers.weights.folder import TrainedEstimator
from simulator.core.params import validated
from simulator.core.shapes import flat_lead
from simulator.core.types import RadioGeometry

_LAGS = (1, 2, 4)
_BLOCK = 4096  # sequences of a forward pass
_PROBE = 0.05  # step of the derivative, in standard deviations of the noise
_STRIDE = 4  # one port of this many is probed


class LearnedEstimator(CsiRsEstimator):
    r"""Least-squares pilots minus the noise that a network estimates, port by port; interpolation follows.

    ``error_var`` is Stein's unbiased estimate :math:`\overline{|\hat z - z|^2} - \sigma^2 + \sigma^2 \mathrm{div} \hat
    z / P`, which needs no knowledge of the channel; the divergence comes from a second pass with a random probe.

    Args:
        geometry: of the scenario; not an input of the network.
        weights: name in the zoo, or folder with ``card.json``.
        interpolation: "nearest" or "linear".
        csi_rs: ``snr_db``, ``inr_db``, ``period_slots``, ``density``, ``row`` of
            :class:`~receivers.estimation.csi_rs.CsiRsEstimator`.

    Source: Ramani, Blu, Unser, IEEE Trans. Image Process. 17(9), 2008 (Monte-Carlo divergence).
    """

    @validated("estimation")
    def __init__(
        self,
        geometry: RadioGeometry,
        *,
        weights: str = "csirs-conv",
        interpolation: Literal["nearest", "linear"] = "linear",
        **csi_rs: Any,
    ):
        self._between_pilots = interpolation
        super().__init__(geometry, **csi_rs)
        self._trained = TrainedEstimator.shared(weights)

    def _denoise(self, z: np.ndarray, noise_var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        turn, scale, features = facts(z, noise_var)
        pilots = z * (turn / scale[..., None])[:, :, None, None]
        deviation = (np.sqrt(noise_var) / scale)[:, :, None, None, :, None].astype(np.float32)
        cleaned = pilots - deviation * self._noise(pilots, features)
        probed = pilots[:, :, :, ::_STRIDE]
        signs = np.random.default_rng(0).integers(0, 2, (*probed.shape, 2)).astype(np.float32) * 2 - 1
        probe = signs.view(np.complex64)[..., 0]
        step = np.float32(_PROBE) * deviation
        moved = probed + step * probe - deviation * self._noise(probed + step * probe, features)
        slope = np.real((moved - cleaned[:, :, :, ::_STRIDE]) * np.conj(probe)) / step
        removed = np.mean(np.abs(cleaned - pilots) ** 2, axis=(2, 3, 5)) * scale**2
        error_var = removed + noise_var * (np.mean(slope, axis=(2, 3, 5)) - 1)
        return cleaned * (np.conj(turn) * scale[..., None])[:, :, None, None], np.maximum(error_var, 0.02 * noise_var)

    def _noise(self, pilots: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Noise in units of its deviation, complex64 as ``pilots [batch, user, rx_ant, port, slot, pilot]``."""
        from keras import ops

        x = np.ascontiguousarray(pilots, np.complex64).view(np.float32).reshape(-1, pilots.shape[-1], 2)
        repeated = flat_lead(np.broadcast_to(features[:, :, None, None], (*pilots.shape[:-1], features.shape[-1])), 5)
        network = self._trained.model
        starts = range(0, max(len(x), 1), _BLOCK)
        parts = [ops.convert_to_numpy(network(x[i : i + _BLOCK], repeated[i : i + _BLOCK])) for i in starts]
        return np.concatenate(parts).view(np.complex64).reshape(pilots.shape)


def facts(z: np.ndarray, noise_var: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Inputs of the network that describe a UE, and the factors that bring its pilots to one delay and power.

    Args:
        z: pilots complex64 ``[batch, user, rx_ant, port, slot, pilot]``.
        noise_var: of their noise, float32 ``[batch, user, slot]``.

    Returns:
        factors complex64 ``[batch, user, slot, pilot]`` that turn the mean delay to zero; root of the mean power of a
        pilot, float32 ``[batch, user, slot]``; float32 ``[batch, user, slot, 4]``: :math:`\log_{10}` of the noise over
        the power of a pilot, and modulus of the correlation over 1, 2 and 4 pilots relative to the channel.
    """
    count = z.shape[-1]
    r = pilot_correlation(z, noise_var, min(count, _LAGS[-1] + 1))
    scale = np.sqrt(np.maximum(np.mean(z.real**2 + z.imag**2, axis=(2, 3, 5)), 1e-30))
    step = np.conj(r[..., min(1, count - 1)])
    turn = np.exp(1j * np.angle(step)[..., None] * np.arange(count)).astype(np.complex64)
    ratio = noise_var / scale**2
    lags = [min(m, r.shape[-1] - 1) for m in _LAGS]
    relative = np.abs(r[..., lags]) / np.maximum(r[..., :1].real, 0.05 * noise_var[..., None] + 1e-30)
    features = np.concatenate([np.log10(np.clip(ratio, 1e-5, 1))[..., None], np.minimum(relative, 1.2)], axis=-1)
    return turn, scale.astype(np.float32), features.astype(np.float32)
