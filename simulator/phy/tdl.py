"""TDL-A..E of TR 38.901, with antenna correlation from a mean departure angle per user."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from sionna.phy import config
from sionna.phy.channel import one_ring_corr_mat
from sionna.phy.channel.tr38901 import TDL

from simulator.core.errors import ConfigError
from simulator.core.params import AngleSpread, AzimuthRange, DelaySpread, Profile, validated
from simulator.core.types import RadioGeometry
from simulator.phy.source import SionnaSource


class TappedDelayLine(SionnaSource):
    """Tapped delay line with Kronecker antenna correlation.

    Args:
        geometry: carrier, antennas, users, time.
        profile: "A".."E".
        delay_spread_s: rms delay spread [s].
        angle_spread_deg: azimuth angular standard deviation at the gNB [degree]; None: uncorrelated antennas.
        azimuth_range_deg: mean departure azimuths are uniform in +- this range, one per user and drop.

    A TDL has no angles. With ``angle_spread_deg`` every user gets its own mean azimuth (TR 38.901, 7.7.5.1), and the
    columns of the panel are correlated by local scattering around it (one-ring model); rows see one common elevation
    and are fully correlated, polarisations are independent, and so are the antennas of a UE. For A, B, C only: the
    specular tap of D and E has one direction, which a correlation matrix does not describe (use ``cdl``).

    Source: TR 38.901, 7.7.2, by Sionna; one-ring model: Bjornson, Hoydis, Sanguinetti, "Massive MIMO Networks", 2.6.
    """

    @validated("channel")
    def __init__(
        self,
        geometry: RadioGeometry,
        *,
        profile: Profile,
        delay_spread_s: DelaySpread = 100e-9,
        angle_spread_deg: AngleSpread | None = None,
        azimuth_range_deg: AzimuthRange = 60.0,
    ):
        if angle_spread_deg is not None and profile in "DE":
            raise ConfigError(
                "channel.angle_spread_deg", angle_spread_deg, "null for the line-of-sight profiles D and E"
            )
        self._sqrt_tables = None
        if angle_spread_deg is not None:
            self._sqrt_tables = tf.constant(_azimuth_roots(geometry, angle_spread_deg, azimuth_range_deg))
        self._tdl = TDL(
            profile,
            delay_spread_s,
            geometry.carrier_hz,
            min_speed=geometry.speed_range_mps[0],
            max_speed=geometry.speed_range_mps[1],
            num_rx_ant=geometry.num_rx_ant,
            num_tx_ant=geometry.panel.num_ports,
        )
        super().__init__(geometry, xla=True)

    def mean_power(self) -> float:
        """1: the powers of a profile are normalised, and so is the diagonal of the correlation."""
        return 1.0

    def paths(self, batch_size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Path coefficients and delays (see the base class)."""
        g = self.geometry
        links = batch_size * g.num_users
        a, tau = self._tdl(links, g.num_slots, self.sampling_hz)
        if self._sqrt_tables is not None:
            p = g.panel
            pick = config.tf_rng.uniform([links], 0, self._sqrt_tables.shape[0], tf.int32, "azimuth")
            root = tf.gather(self._sqrt_tables, pick)  # [link, n1, n1]
            # One gain per column: rows of the panel repeat row 0, so that a column keeps unit power.
            column = tf.reshape(a[:, 0], [links, g.num_rx_ant, p.num_pol, p.n1, p.n2, -1, g.num_slots])[..., :1, :, :]
            mixed = tf.einsum("bij,brpjvlt->brpivlt", root, column)
            a = tf.reshape(tf.repeat(mixed, p.n2, axis=4), tf.shape(a))
        shape = [batch_size, g.num_users, g.num_rx_ant, 1, g.panel.num_ports, -1, g.num_slots]
        return tf.reshape(a, shape), tf.reshape(tau, [batch_size, g.num_users, 1, -1])


def _azimuth_roots(geometry: RadioGeometry, spread_deg: float, range_deg: float) -> np.ndarray:
    """Hermitian square roots of the column correlation on a fine grid of azimuths, complex64 ``[azimuth, n1, n1]``."""
    azimuths = np.linspace(-range_deg, range_deg, 241)
    corr = one_ring_corr_mat(azimuths, geometry.panel.n1, 0.5, spread_deg).numpy()
    power, vectors = np.linalg.eigh(corr)
    return ((vectors * np.sqrt(np.maximum(power, 0))[:, None]) @ vectors.conj().transpose(0, 2, 1)).astype(np.complex64)
