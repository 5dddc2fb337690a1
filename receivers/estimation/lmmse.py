"""Linear MMSE over frequency, with a delay profile that is given or estimated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from receivers.estimation.beam_filter import beam_filter
from receivers.estimation.csi_rs import CsiRsEstimator
from receivers.estimation.delay_profile import delay_grid
from receivers.estimation.pilot_covariance import apply_matrices, pilot_covariance
from simulator.core.errors import ConfigError
from simulator.core.params import DelaySpread, validated
from simulator.core.types import RadioGeometry


class LmmseEstimator(CsiRsEstimator):
    r"""LMMSE: :math:`\hat h = R_{hp} (R_{pp} + \sigma^2 I)^{-1} z`, per port and antenna, over the pilots of a slot.

    Args:
        geometry: of the scenario.
        covariance: "profile": that of an exponential power-delay profile,
            :math:`R(\Delta f) = P / (1 + j 2 \pi \Delta f \tau)`, with the power P of the slot; "estimated": the delays
            above the noise in the least-squares pilots of the slot, mean over ports and antennas.
        delay_spread_s: rms delay spread :math:`\tau` of the profile [s].
        beams: then filter the beams of the panel by their estimated power, see
            :func:`~receivers.estimation.beam_filter.beam_filter`; with "estimated" alone.
        csi_rs: ``snr_db``, ``inr_db``, ``period_slots``, ``density``, ``row`` of
            :class:`~receivers.estimation.csi_rs.CsiRsEstimator`.

    With a profile, ``error_var`` is Stein's unbiased estimate from the pilots, which holds for any channel. Where it
    shows that the pilots themselves are better than the filtered ones, the two are mixed in the best proportion.

    Raises:
        ConfigError: also without ``delay_spread_s`` for a profile, or with it elsewhere.

    Source: Edfors et al., IEEE Trans. Commun. 46(7), 1998; Stein, Ann. Statist. 9(6), 1981.
    """

    @validated("estimation")
    def __init__(
        self,
        geometry: RadioGeometry,
        *,
        covariance: Literal["profile", "estimated"] = "estimated",
        delay_spread_s: DelaySpread | None = None,
        beams: bool = False,
        **csi_rs: Any,
    ):
        super().__init__(geometry, **csi_rs)
        if (covariance == "profile") != (delay_spread_s is not None):
            allowed = "a delay spread for covariance 'profile'" if delay_spread_s is None else "none ('estimated')"
            raise ConfigError("estimation.delay_spread_s", delay_spread_s, allowed)
        if beams and covariance == "profile":
            raise ConfigError("estimation.beams", beams, "false with covariance 'profile'")
        self._beams = beams
        positions, samples = self.signal.positions, np.arange(geometry.num_subcarriers)
        if delay_spread_s is None:
            delays = delay_grid(positions.shape[1], self.spacing)
            # Delays relative to the pilots of the first CDM group: the others are shifted against it.
            shifts = positions[:, :1] - positions[0, 0]
            self._pilot_waves = np.exp(-2j * np.pi * np.multiply.outer(positions[0], delays))
            self._waves = np.exp(-2j * np.pi * np.multiply.outer(samples - shifts, delays))
            self._gram = np.mean(np.conj(np.swapaxes(self._waves, 1, 2)) @ self._waves, axis=0) / len(samples)
            self._filter = self._seen
        else:
            spread = delay_spread_s * geometry.spacing_hz
            to_pilots = 1 / (1 + 2j * np.pi * spread * (samples[None, :, None] - positions[:, None, :]))
            among = 1 / (1 + 2j * np.pi * spread * (positions[0, :, None] - positions[0]))
            self._values, vectors = np.linalg.eigh(among)
            self._vectors, self._loads = vectors.astype(np.complex64), to_pilots @ vectors
            self._filter = self._given

    def _given(self, z: np.ndarray, noise_var: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Filter of the given profile, in the basis of its eigenvectors."""
        power = np.mean(z.real**2 + z.imag**2, axis=(2, 3, 5)) - noise_var
        ratio = noise_var / np.maximum(power, 1e-6 * noise_var)
        gain = 1 / (np.maximum(self._values, 0) + ratio[..., None])  # [batch, user, slot, eigenvector]
        filtered = (z @ np.conj(self._vectors)) * gain[:, :, None, None].astype(np.float32)
        h_hat = self._by_group(filtered, self._loads)
        rest = (filtered * ratio[:, :, None, None, :, None].astype(np.float32)) @ self._vectors.T  # z less its estimate
        # Stein: mean |z - z_hat|^2 - noise + 2 noise tr(W) / P.
        freedom = np.mean(self._values * gain, axis=-1)
        residual = np.mean(rest.real**2 + rest.imag**2, axis=(2, 3, 5))
        # Mixed with the pilots, the least is left at this share of the filter; below 1/2 the pilots alone are better.
        share = noise_var * (1 - freedom) / np.maximum(residual, 1e-30)
        wrong = share < 0.5
        share = np.where(wrong, share, 1.0)
        mixed = share**2 * residual + noise_var * (1 - 2 * share * (1 - freedom))
        beyond = power[..., None] * (
            np.mean(np.abs(self._loads) ** 2, axis=(0, 1)) - self._values**2 / len(self._values)
        )
        error_var = mixed - share * np.sum(beyond * gain, axis=-1) + (1 - share) * bias
        if wrong.any():
            h_hat = h_hat + (1 - share)[:, :, None, None, :, None].astype(np.float32) * self.interpolation(rest)
        return h_hat, np.maximum(error_var, 1e-3 * noise_var)

    def _seen(self, z: np.ndarray, noise_var: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Filter of the estimated delays."""
        return self.filtered(z, noise_var, *pilot_covariance(z, noise_var))

    def filtered(
        self, z: np.ndarray, noise_var: np.ndarray, profile: np.ndarray, inverse: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """LMMSE of all samples for a covariance of the pilots, with covariance "estimated" alone.

        Args:
            z: pilots complex64 ``[batch, user, rx_ant, port, slot, pilot]``.
            noise_var: of their noise ``[batch, user, slot]``.
            profile: see :func:`~receivers.estimation.pilot_covariance.pilot_covariance`.
            inverse: see there.

        Returns:
            estimate complex64 ``[batch, user, rx_ant, port, slot, subcarrier]`` and its error variance ``[batch, user,
            slot]``.
        """
        waves, count = self._pilot_waves, z.shape[-1]
        if self.interpolation.exact:
            filtered = np.eye(count) - noise_var[..., None, None] * inverse
            error_var = noise_var * np.trace(filtered, axis1=-2, axis2=-1).real / count
            return self._by_beam(apply_matrices(z, filtered), error_var, noise_var, lambda: filtered @ filtered / count)
        loads = profile[..., :, None] * (np.conj(waves.T) @ inverse)  # [batch, user, slot, delay, pilot]
        h_hat = self._by_group(apply_matrices(z, loads), self._waves)
        gained = np.einsum("...ij,ji->...", (loads @ waves) * profile[..., None, :], self._gram).real
        error_var = np.maximum(profile.sum(axis=-1) - gained, 1e-3 * noise_var)
        return self._by_beam(
            h_hat, error_var, noise_var, lambda: loads @ np.conj(np.swapaxes(loads, -1, -2)) @ self._gram
        )

    def _by_beam(
        self, h_hat: np.ndarray, error_var: np.ndarray, noise_var: np.ndarray, gains: Callable[[], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Filter over beams; ``gains`` gives a matrix with the eigenvalues of the covariance of filtered unit noise."""
        if not self._beams:
            return h_hat, error_var
        matrix = gains()
        trace = np.trace(matrix, axis1=-2, axis2=-1).real
        freedom = trace**2 / np.maximum(np.einsum("...ij,...ji->...", matrix, matrix).real, 1e-30)
        h_hat, change = beam_filter(h_hat, noise_var * trace, freedom, self.geometry.panel)
        return h_hat, np.maximum(error_var + change, 1e-3 * noise_var)

    def _by_group(self, x: np.ndarray, matrices: np.ndarray) -> np.ndarray:
        """Matrices complex ``[group, subcarrier, in]`` of every CDM group times ``[..., port, slot, in]``."""
        ports = x.shape[-3] // len(matrices)
        parts = (x[..., i * ports : (i + 1) * ports, :, :] @ m.T.astype(np.complex64) for i, m in enumerate(matrices))
        return np.concatenate(list(parts), axis=-3) if len(matrices) > 1 else next(parts)
