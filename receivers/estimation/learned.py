"""LMMSE with a correction by a trained network."""

from __future__ import annotations

from typing import Any

import numpy as np

from receivers.estimation.csi_rs import CsiRsEstimator
from receivers.estimation.lmmse import LmmseEstimator
from receivers.estimation.pilot_covariance import apply_matrices, pilot_covariance
from receivers.weights.folder import TrainedEstimator
from simulator.core.params import validated
from simulator.core.types import Panel, RadioGeometry

_BLOCK = 2**18  # bins of a forward pass
_PROBE = 0.05  # step of the derivative, in standard deviations of the noise


class LearnedEstimator(CsiRsEstimator):
    r"""LMMSE with estimated delays, and what a network adds to it in bins of delay and beam.

    Pilots z become :math:`\hat z = z - r + \Delta(z - r, r)` with :math:`r = \sigma^2 (R + \sigma^2 I)^{-1} z`; LMMSE
    carries :math:`z - r` to the samples, lines between pilots carry :math:`\Delta`.

    ``error_var`` is Stein's unbiased estimate :math:`\overline{|\hat z - z|^2} - \sigma^2 + \sigma^2 \mathrm{div} \hat
    z / P`, which needs no knowledge of the channel, and what LMMSE adds to its error between pilots. The divergence
    comes from a second pass with a random probe; that of the linear part is known and not left to the probe.

    Args:
        geometry: of the scenario.
        weights: name in the zoo, or folder with ``card.json``.
        csi_rs: ``snr_db``, ``inr_db``, ``period_slots``, ``density``, ``row`` of
            :class:`~receivers.estimation.csi_rs.CsiRsEstimator`.

    Source: Ramani, Blu, Unser, IEEE Trans. Image Process. 17(9), 2008 (Monte-Carlo divergence).
    """

    @validated("estimation")
    def __init__(self, geometry: RadioGeometry, *, weights: str = "csirs-delay-beam", **csi_rs: Any):
        super().__init__(geometry, **csi_rs)
        self._lmmse = LmmseEstimator(geometry, **csi_rs)
        self._trained = TrainedEstimator.shared(weights)

    def _filter(self, z: np.ndarray, noise_var: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """LMMSE and correction."""
        profile, inverse = pilot_covariance(z, noise_var)
        h_hat, error_var = self._lmmse.filtered(z, noise_var, profile, inverse)
        linear = lmmse_matrices(inverse, noise_var)
        kept = apply_matrices(z, linear)
        change = self._change(z, kept, noise_var)
        step = np.float32(_PROBE) * np.sqrt(noise_var)[:, :, None, None, :, None].astype(np.float32)
        # Low bits of pilots are as random as any, and those of a UE do not depend on its place in the batch.
        bits = np.ascontiguousarray(z, np.complex64).view(np.int32) >> 2 & 1
        probe = (2 * bits - 1).astype(np.float32).view(np.complex64)
        probed = z + step * probe
        moved = apply_matrices(probed, lmmse_matrices(pilot_covariance(probed, noise_var)[1], noise_var))
        moved = moved + self._change(probed, moved, noise_var)
        straight = apply_matrices(probe, linear)  # what the linear part makes of the probe
        slope = _mean(np.real(((moved - kept - change) / step - straight) * np.conj(probe)))
        freedom = np.trace(linear, axis1=-2, axis2=-1).real / z.shape[-1]
        removed = kept + change - z
        stein = _mean(removed.real**2 + removed.imag**2) + noise_var * (slope + 2 * freedom - 1)
        between = error_var - noise_var * freedom
        return h_hat + self.interpolation(change), np.maximum(stein + np.maximum(between, 0), 0.02 * noise_var)

    def _change(self, z: np.ndarray, kept: np.ndarray, noise_var: np.ndarray) -> np.ndarray:
        """What the network adds to the estimate ``kept`` of the pilots."""
        from keras import ops

        given = [to_bins(x, noise_var, self.geometry.panel) for x in (kept, z - kept)]
        size = max(_BLOCK // max(int(np.prod(given[0].shape[1:-1])), 1), 1)
        network, starts = self._trained.model, range(0, max(len(given[0]), 1), size)
        parts = [ops.convert_to_numpy(network(*(x[i : i + size] for x in given))) for i in starts]
        return from_bins(np.concatenate(parts), z.shape, noise_var)


def lmmse_matrices(inverse: np.ndarray, noise_var: np.ndarray) -> np.ndarray:
    r"""LMMSE of pilots from pilots, :math:`R (R + \sigma^2 I)^{-1} = I - \sigma^2 (R + \sigma^2 I)^{-1}`.

    Args:
        inverse: complex128 ``[batch, user, slot, pilot, pilot]``.
        noise_var: :math:`\sigma^2` ``[batch, user, slot]``.

    Returns:
        the shape of ``inverse``.
    """
    return np.eye(inverse.shape[-1]) - noise_var[..., None, None] * inverse


def to_bins(x: np.ndarray, noise_var: np.ndarray, panel: Panel) -> np.ndarray:
    """Inputs of the network: unitary DFT over both axes of the panel and over frequency, in units of the noise.

    Args:
        x: pilots complex64 ``[batch, user, rx_ant, port, slot, pilot]``.
        noise_var: of their noise ``[batch, user, slot]``.
        panel: of the ports.

    Returns:
        float32 ``[batch * user * slot, rx_ant * num_pol, n2, n1, pilot, 2]``.
    """
    x = np.moveaxis(x / np.sqrt(noise_var)[:, :, None, None, :, None], 4, 2)
    x = x.reshape(-1, x.shape[3] * panel.num_pol, panel.n1, panel.n2, x.shape[-1]).swapaxes(2, 3)
    x = np.fft.ifft(np.fft.fftn(x, axes=(2, 3), norm="ortho"), axis=4, norm="ortho").astype(np.complex64)
    return np.ascontiguousarray(x).view(np.float32).reshape(*x.shape, 2)


def from_bins(bins: np.ndarray, shape: tuple[int, ...], noise_var: np.ndarray) -> np.ndarray:
    """Inverse of :func:`to_bins`: pilots complex64 of this shape."""
    batch, users, antennas, ports, slots, pilots = shape
    x = np.ascontiguousarray(bins, np.float32).view(np.complex64)[..., 0]
    x = np.fft.fft(np.fft.ifftn(x, axes=(2, 3), norm="ortho"), axis=4, norm="ortho").swapaxes(2, 3)
    x = np.moveaxis(x.reshape(batch, users, slots, antennas, ports, pilots), 2, 4)
    return (x * np.sqrt(noise_var)[:, :, None, None, :, None]).astype(np.complex64)


def _mean(x: np.ndarray) -> np.ndarray:
    """Mean over antennas, ports and pilots."""
    return np.mean(x, axis=(2, 3, 5))
