"""CDL-A..E of TR 38.901 for several users, each with its own mean angles."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import tensorflow as tf
from sionna.phy import config
from sionna.phy.channel.tr38901 import CDL, Rays, Topology

from simulator.core.params import AzimuthRange, CdlCorrection, DelaySpread, Profile, ZenithRange, validated
from simulator.core.types import RadioGeometry
from simulator.phy.panels import bs_array, ue_array
from simulator.phy.reciprocity import UplinkCoefficients
from simulator.phy.source import SionnaSource
from simulator.phy.tr38901_corrections import CDL as CORRECTIONS
from simulator.phy.tr38901_corrections import active


class ClusteredDelayLine(SionnaSource):
    r"""Clustered delay line; the angles of every user are moved to mean angles of its own.

    A CDL profile has one fixed set of cluster angles: users that share it share all angles and no precoder separates
    them. With ``rotate`` each user's angles are translated to a desired mean,
    :math:`\phi' = \phi - \mu_\mathrm{model} + \mu_\mathrm{desired}` (angle spread unchanged).

    Args:
        geometry: carrier, antennas, users, time.
        profile: "A".."E".
        delay_spread_s: rms delay spread [s].
        rotate: draw mean angles per user and drop; None rotates when there is more than one user.
        azimuth_range_deg: mean departure azimuth uniform in +- this range [degree].
        zenith_range_deg: mean departure zenith uniform in 90 .. 90 + this range [degree] (users below the panel).
        corrections: of Sionna's channels (see :mod:`simulator.phy.tr38901_corrections`); None: all that it needs.
            ``los-phase``: the specular path of D and E has a random phase per user and drop, as the distance of
            (7.5-29) gives it; otherwise it is the same for all.

    Source: TR 38.901, 7.7.1 (profiles), 7.7.5.1 (mean angles), 7.5 steps 10 and 11 (coefficients), by Sionna.
    """

    @validated("channel")
    def __init__(
        self,
        geometry: RadioGeometry,
        *,
        profile: Profile,
        delay_spread_s: DelaySpread = 100e-9,
        rotate: bool | None = None,
        azimuth_range_deg: AzimuthRange = 60.0,
        zenith_range_deg: ZenithRange = 15.0,
        corrections: tuple[CdlCorrection, ...] | None = None,
    ):
        # Profiles without a specular path have nothing to correct.
        self.corrections = active(CORRECTIONS, corrections) if profile in "DE" else ()
        self._rotate = geometry.num_users > 1 if rotate is None else rotate
        self._azimuth, self._zenith = math.radians(azimuth_range_deg), math.radians(zenith_range_deg)
        self._params: dict[str, Any] = {
            "profile": profile, "delay_spread_s": delay_spread_s, "rotate": rotate,
            "azimuth_range_deg": azimuth_range_deg, "zenith_range_deg": zenith_range_deg,
            "corrections": self.corrections,
        }  # fmt: skip
        self._los_draw = "los phase"
        self._cdl = CDL(
            profile,
            delay_spread_s,
            geometry.carrier_hz,
            ue_array(geometry),
            bs_array(geometry),
            "downlink",
            min_speed=geometry.speed_range_mps[0],
            max_speed=geometry.speed_range_mps[1],
        )
        self._mean_aod = self._mean_angle(self._cdl._aod, self._cdl._los_aod)
        self._mean_zod = self._mean_angle(self._cdl._zod, self._cdl._los_zod)
        super().__init__(geometry, xla=True)

    def uplink(self, carrier_hz: float) -> Self:
        """The same UEs in the uplink (see the base class)."""
        found = type(self)(self.geometry, **self._params)
        found._cdl._cir_sampler = UplinkCoefficients(found._cdl._cir_sampler, carrier_hz)
        found._los_draw = "uplink los phase"
        return found

    def _mean_angle(self, rays: tf.Tensor, los: tf.Tensor) -> float:
        """Power-weighted circular mean of the profile's angles [rad] (TR 38.901, Annex A.2)."""
        rays, los = rays.numpy()[0, 0, 0], float(los.numpy().squeeze())
        power = np.repeat(self._cdl._powers.numpy()[0, 0, 0][:, None] / rays.shape[1], rays.shape[1], axis=1)
        total = np.sum(power * np.exp(1j * rays))
        if bool(self._cdl.los):
            k_factor = float(self._cdl._k_factor.numpy().squeeze())
            total = (total + k_factor * np.exp(1j * los)) / (k_factor + 1)
        return float(np.angle(total))

    def mean_power(self) -> float | None:
        """With omnidirectional elements; the angles matter with others.

        1 between vertical elements. Where an end has two polarisations, the mean over both holds half of the power of
        the specular path, and of the other paths half of their power and half of their cross-polar leakage.
        """
        if self.geometry.antenna_pattern != "omni":
            return None
        if self.geometry.panel.num_pol == self.geometry.ue_num_pol == 1:
            return 1.0
        specular = 0.0
        if bool(self._cdl.los):
            k_factor = float(self._cdl._k_factor.numpy().squeeze())
            specular = k_factor / (k_factor + 1)
        leak = float(1 / self._cdl._xpr.numpy().ravel()[0])
        return 0.5 * (specular + (1 - specular) * (1 + leak))

    def paths(self, batch_size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Path coefficients and delays (see the base class)."""
        g, cdl = self.geometry, self._cdl
        links = batch_size * g.num_users

        def uniform(name: str, low: float, high: float) -> tf.Tensor:
            return config.tf_rng.uniform([links, 1, 1], low, high, tf.float32, name)

        def tiled(x: tf.Tensor) -> tf.Tensor:
            return tf.tile(x, [links] + [1] * (x.shape.rank - 1))

        aod, zod, aoa, los_aod, los_zod, los_aoa = (
            tiled(x) for x in (cdl._aod, cdl._zod, cdl._aoa, cdl._los_aod, cdl._los_zod, cdl._los_aoa)
        )
        if self._rotate:
            d_aod = uniform("azimuth", -self._azimuth, self._azimuth) - self._mean_aod
            d_zod = uniform("zenith", math.pi / 2, math.pi / 2 + self._zenith + 1e-9) - self._mean_zod
            d_aoa = uniform("arrival", -math.pi, math.pi)
            aod, los_aod = aod + d_aod[..., None, None], los_aod + d_aod
            aoa, los_aoa = aoa + d_aoa[..., None, None], los_aoa + d_aoa
            zod, los_zod = _fold_zenith(zod + d_zod[..., None, None]), _fold_zenith(los_zod + d_zod)
        aoa, aod, zoa, zod = cdl._random_coupling(aoa, aod, tiled(cdl._zoa), zod)
        # In wavelengths: the distance enters the specular path as a phase only.
        distance = tf.zeros([links, 1, 1])
        if self.corrections:
            distance = uniform(self._los_draw, 0.0, 1.0) * cdl._cir_sampler._lambda_0
        heading = uniform("heading", 0.0, 2 * math.pi)[:, 0]  # [link, 1]
        low, high = g.speed_range_mps
        speed = uniform("speed", low, high) if low < high else low  # one speed for all: no draw
        velocity = speed * tf.stack([tf.cos(heading), tf.sin(heading), tf.zeros_like(heading)], axis=-1)
        topology = Topology(
            velocities=velocity,
            moving_end="rx",
            los_aoa=los_aoa,
            los_aod=los_aod,
            los_zoa=tiled(cdl._los_zoa),
            los_zod=los_zod,
            los=tf.fill([links, 1, 1], cdl.los),
            distance_3d=distance,
            tx_orientations=tf.zeros([links, 1, 3]),
            rx_orientations=tf.tile(tf.constant([[[math.pi, 0.0, 0.0]]]), [links, 1, 1]),
        )
        rays = Rays(
            delays=tiled(cdl._delays * cdl.delay_spread),
            powers=tiled(cdl._powers),
            aoa=aoa,
            aod=aod,
            zoa=zoa,
            zod=zod,
            xpr=tiled(cdl._xpr),
        )
        a, tau = cdl._cir_sampler(g.num_slots, self.sampling_hz, tiled(cdl._k_factor), rays, topology)
        # [link, tx, rx, path, rx_ant, tx_ant, time] -> [batch, user, rx_ant, 1, tx_ant, path, time]
        a = tf.transpose(a[:, 0, 0], [0, 2, 3, 1, 4])
        shape = [batch_size, g.num_users, g.num_rx_ant, 1, g.panel.num_ports, a.shape[3], g.num_slots]
        return tf.reshape(a, shape), tf.reshape(tau, [batch_size, g.num_users, 1, a.shape[3]])


def _fold_zenith(theta: tf.Tensor) -> tf.Tensor:
    """Zenith angles back into [0, pi], as TR 38.901, 7.5 step 7 does for angles beyond the pole."""
    theta = tf.math.floormod(theta, 2 * math.pi)
    return tf.where(theta > math.pi, 2 * math.pi - theta, theta)
