"""Common part of all estimators on CSI-RS: the observation, the step from pilots to samples, and the slots between."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy.special import j0

from receivers.estimation.error_filter import ErrorFilter
from receivers.estimation.interpolation import Interpolation
from simulator.core.errors import ConfigError
from simulator.core.interfaces import Estimator
from simulator.core.params import Integer, SnrDb, validated
from simulator.core.types import CsiEstimate, RadioGeometry
from simulator.core.units import db_to_lin
from simulator.nr.csi_rs import CsiRs
from simulator.nr.csi_rs_signal import CsiRsSignal

_LIGHT_SPEED = 299_792_458.0
Period = Annotated[Integer, Field(ge=1, le=640)]


class CsiRsEstimator(Estimator):
    r"""Estimator that uses nothing but the resource elements of a CSI-RS.

    The UE receives :math:`y = \sum_p h_p s_p + n + g x` on every element, with the sequence and the orthogonal codes of
    TS 38.211, and despreads it. The L ports of a CDM group share the transmit power, and L elements are added: the
    least-squares pilot of a port has the error variance :math:`\sigma^2 = 1 / \mathrm{SNR}`, whatever L, relative to a
    channel of unit gain; density 3 gives three of them per resource block. A fully loaded neighbouring cell adds
    :math:`g x`: Gaussian symbols x of unit power, new on every element, from one direction :math:`g \sim
    \mathcal{CN}(0, \mathrm{INR} \sigma^2 I)` per UE and slot. The UE knows the noise and the mean power of the
    interference over its antennas (CSI-IM).

    Where a frequency sample is a resource block, the channel is flat over it; where it is a subcarrier, elements lie
    at true subcarriers, and the channel changes over the two of a CDM group. Over a slot it does not change.

    Between two CSI-RS the last estimate is held. ``error_var`` then has the change of the channel under Jakes' spectrum
    at the UE speed of the scenario (mean over its range); CSI-RS are in the slots 0, ``period_slots``, ...

    Args:
        geometry: panel, frequency samples, carrier, speed.
        snr_db: total transmit power over noise power per subcarrier, as in the link [dB].
        inr_db: power of the interference per UE antenna over the noise [dB]; None: no neighbour.
        period_slots: slots from one CSI-RS to the next.
        density: 3, 1 or 0.5 elements per port and resource block; None: 1, or the density of the row.
        row: of TS 38.211, Table 7.4.1.5.3-1; None: the one with the largest CDM groups.

    Raises:
        ConfigError: the panel has no CSI-RS (ports, density, row), or the band is too narrow for it.
    """

    _extrapolates = False  # over slots; otherwise the last estimate is held
    _between_pilots: Literal["nearest", "linear"] = "linear"  # over frequency; set before __init__

    @validated("estimation")
    def __init__(
        self,
        geometry: RadioGeometry,
        *,
        snr_db: SnrDb,
        inr_db: SnrDb | None = None,
        period_slots: Period = 1,
        density: Literal[3, 1, 0.5] | None = None,
        row: Annotated[Integer, Field(ge=1, le=18)] | None = None,
    ):
        if geometry.panel.num_trps > 1:
            raise ConfigError("bs.num_trps", geometry.panel.num_trps, "1 with estimators on CSI-RS (estimation.name)")
        resource = CsiRs(geometry.panel.num_ports, row=row, density=density)
        self.geometry, self.signal = geometry, CsiRsSignal(resource, geometry)
        self.noise_var = float(db_to_lin(-snr_db))
        self._interference_var = 0.0 if inr_db is None else self.noise_var * float(db_to_lin(inr_db))
        self._period = period_slots
        positions = self.signal.positions
        self.interpolation = Interpolation(positions, geometry.num_subcarriers, self._between_pilots)
        self.spacing = float(positions[0, 1] - positions[0, 0]) if positions.shape[1] > 1 else 1.0
        order = 1 if self._between_pilots == "nearest" else 2
        count = positions.shape[1]
        self._lost = ErrorFilter(lambda t: self.interpolation.spectrum(t)[0], order, self.spacing, count)
        # The other half of the ports of a CDM group leaves sin^2(pi tau) of its power on a pilot.
        mixed = resource.cdm[0] > 1 and geometry.subcarriers_per_sample == 1
        self._leaked = ErrorFilter(lambda t: np.sin(np.pi * t) ** 2, 1, self.spacing, count) if mixed else None

    def estimate(self, h: np.ndarray, *, seed: int) -> CsiEstimate:
        """Estimates of a drop (see :class:`~simulator.core.interfaces.Estimator`)."""
        slots = np.arange(0, h.shape[4], self._period)
        y, var = self.observe(h[..., slots, :], slots, seed)
        z = self.signal.despread(y, slots)
        h_hat, error_var, power = self.from_pilots(z, var * self.signal.noise_gain)
        return self._every_slot(h_hat, error_var, power, h.shape[4])

    def observe(self, h: np.ndarray, slots: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Received resource elements in slots with CSI-RS.

        Args:
            h: channel complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``.
            slots: their numbers.
            seed: of noise and interference.

        Returns:
            elements complex64 ``[batch, user, rx_ant, location, element, slot, rb]``, and the mean variance of noise
            and interference on them, float32 ``[batch, user, slot]``.
        """
        rng = np.random.default_rng(seed)
        y = self.signal.receive(h, slots)
        y += np.float32(np.sqrt(self.noise_var)) * _gaussian(rng, y.shape)
        var = np.full((*h.shape[:2], len(slots)), self.noise_var, np.float32)
        if self._interference_var:
            g = np.float32(np.sqrt(self._interference_var)) * _gaussian(rng, (*h.shape[:3], 1, 1, len(slots), 1))
            y += g * _gaussian(rng, (*h.shape[:2], 1, *y.shape[3:]))
            var += np.mean(np.abs(g) ** 2, axis=2)[:, :, 0, 0, :, 0]
        return y, var

    def from_pilots(self, z: np.ndarray, noise_var: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Estimate of every sample from despread pilots.

        Args:
            z: complex64 ``[batch, user, rx_ant, port, slot, pilot]``.
            noise_var: of the pilots, float32 ``[batch, user, slot]``.

        Returns:
            estimate complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``, its error variance and the power of an
            entry of the channel, float32 ``[batch, user, slot]``.
        """
        power = np.maximum(_power(z) - noise_var, 0)
        bias = np.float32(0)
        if not self.interpolation.exact:
            bias = self._lost.power(z, noise_var)
            if self._leaked is not None:
                noise_var = np.maximum(noise_var + self._leaked.power(z, noise_var), noise_var / 2)
        h_hat, error_var = self._filter(z, noise_var, bias)
        return h_hat, error_var.astype(np.float32), power

    def _filter(self, z: np.ndarray, noise_var: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Estimate and its error variance, from pilots, the variance of their noise, and the interpolation error."""
        pilots, error_var = self._denoise(z, noise_var)
        return self.interpolation(pilots), np.maximum(error_var + bias, error_var / 2)

    def _denoise(self, z: np.ndarray, noise_var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Better pilots, and the error variance that they leave after interpolation; here: the pilots themselves."""
        return z, noise_var * self.interpolation.noise_gain

    def _every_slot(self, h_hat: np.ndarray, error_var: np.ndarray, power: np.ndarray, num_slots: int) -> CsiEstimate:
        """Hold or extrapolate the estimates at the CSI-RS."""
        if self._period == 1:
            return CsiEstimate(h_hat, error_var)
        last, age = np.divmod(np.arange(num_slots), self._period)
        before = np.maximum(last - 1, 0)
        step = np.where(self._extrapolates & (last > 0), age / self._period, 0.0)  # (1 + step) last - step before
        out = h_hat[..., last, :]
        if step.any():
            out = out + step.astype(np.float32)[:, None] * (out - h_hat[..., before, :])
        now, then = self._correlation(age), self._correlation(age + self._period)
        # Mean square of h - (1 + s) h_last + s h_before, for a channel of unit power.
        drift = 1 + (1 + step) ** 2 + step**2 - 2 * (1 + step) * now + 2 * step * then
        drift -= 2 * step * (1 + step) * self._correlation(self._period)
        noise = (1 + step) ** 2 * error_var[..., last] + step**2 * error_var[..., before]
        return CsiEstimate(out, (noise + np.maximum(drift, 0) * power[..., last]).astype(np.float32))

    def _correlation(self, slots: np.ndarray | int) -> np.ndarray:
        """Jakes: correlation over ``slots`` slots, mean over the speeds."""
        speed = np.linspace(*self.geometry.speed_range_mps, 33)
        doppler_hz = speed * self.geometry.carrier_hz / _LIGHT_SPEED
        return j0(2 * np.pi * np.multiply.outer(np.asarray(slots) * self.geometry.slot_s, doppler_hz)).mean(axis=-1)


def _gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Circular Gaussian noise of unit variance, complex64."""
    return rng.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0] * np.float32(np.sqrt(0.5))


def _power(z: np.ndarray) -> np.ndarray:
    """Mean power of an entry per UE and slot."""
    return np.mean(z.real**2 + z.imag**2, axis=(2, 3, 5))
