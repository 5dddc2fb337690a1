"""UMi, UMa and RMa drops of TR 38.901 in one sector."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf
from sionna.phy import SPEED_OF_LIGHT, config
from sionna.phy.channel import gen_single_sector_topology
from sionna.phy.channel.tr38901 import SystemLevelChannel
from sionna.phy.channel.utils import set_3gpp_scenario_parameters

from simulator.core.errors import ConfigError
from simulator.core.params import PositiveFloat, Probability, SystemCorrection, validated
from simulator.core.types import RadioGeometry
from simulator.phy.panels import bs_array, ue_array
from simulator.phy.reciprocity import UplinkCoefficients
from simulator.phy.sector_power import sector_power
from simulator.phy.source import SionnaSource
from simulator.phy.tr38901_corrections import SYSTEM, active
from simulator.phy.tr38901_rays import CorrectedRays
from simulator.phy.tr38901_scenario import CorrectedRMa, CorrectedUMa, CorrectedUMi


class _SectorDrops(SionnaSource):
    """Users uniform in one 120 degree sector, a new drop (positions, large and small scale) for every sample.

    With several stations (``panel.num_trps``) the others are those of the neighbouring sites, which face the far corner
    of the sector, and UEs are uniform in the sectors of all. Every link has path loss, state, rays and distance of its
    own; delays count from the first path that arrives at the UE.

    Args:
        geometry: carrier, antennas, users, time.
        los: True or False forces the state of outdoor UEs; None draws it (TR 38.901, Table 7.4.2-1).
        indoor_probability: share of indoor UEs; None takes the scenario's own value.
        isd_m: inter-site distance [m]; None takes the scenario's own value.
        pathloss: path loss and shadow fading are part of the channel (normalisation may remove them again).
        ue_floors: UMi, UMa: indoor UEs are on floors 1..N of buildings of N = 4..8 floors, both uniform, at
            3 (floor - 1) + 1.5 m (TR 36.873, Table 6-1); otherwise all UEs are at 1.5 m.
        corrections: of Sionna's channels (see :mod:`simulator.phy.tr38901_corrections`); None: all that it needs.

    Source: TR 38.901, clauses 7.2 to 7.5, by Sionna with corrections.
    """

    scenario: ClassVar[str]
    model: ClassVar[type]
    model_options: ClassVar[dict[str, str]] = {"o2i_model": "low"}
    reach_m: ClassVar[float]  # of the line of sight (Table 7.4.2-1)

    @validated("channel")
    def __init__(
        self,
        geometry: RadioGeometry,
        *,
        los: bool | None = None,
        indoor_probability: Probability | None = None,
        isd_m: PositiveFloat | None = None,
        pathloss: bool = True,
        ue_floors: bool = False,
        corrections: tuple[SystemCorrection, ...] | None = None,
    ):
        if ue_floors and self.scenario == "rma":
            raise ConfigError("channel.ue_floors", ue_floors, "false for rma: all UEs are at 1.5 m")
        self._los, self._indoor, self._isd, self._floors = los, indoor_probability, isd_m, ue_floors
        self.corrections = active(SYSTEM, corrections)
        self._params: dict[str, Any] = {
            "los": los, "indoor_probability": indoor_probability, "isd_m": isd_m, "pathloss": pathloss,
            "ue_floors": ue_floors, "corrections": self.corrections,
        }  # fmt: skip
        scenario = self.model(
            carrier_frequency=geometry.carrier_hz,
            ut_array=ue_array(geometry),
            bs_array=bs_array(geometry),
            direction="downlink",
            enable_pathloss=pathloss,
            enable_shadow_fading=pathloss,
            corrections=self.corrections,
            **self.model_options,
        )
        self._model = SystemLevelChannel(scenario)
        self._model._ray_sampler = CorrectedRays(scenario)
        self._isd_m = float(set_3gpp_scenario_parameters(self.scenario, isd=isd_m)[1])
        super().__init__(geometry, xla=False)

    def uplink(self, carrier_hz: float) -> Self:
        """The same drops in the uplink (see the base class): the scenario stays at the carrier of the downlink."""
        found = type(self)(self.geometry, **self._params)
        found._model._cir_sampler = UplinkCoefficients(found._model._cir_sampler, carrier_hz)
        return found

    def paths(self, batch_size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Path coefficients and delays of new drops (see the base class)."""
        self.drop(batch_size)
        a, tau = self._model(self.geometry.num_slots, self.sampling_hz)
        if self.num_trps > 1:  # all stations send at the same time, the UE begins with the first one that arrives
            distance = tf.transpose(self._model._scenario.distance_3d, [0, 2, 1])
            tau += ((distance - tf.reduce_min(distance, axis=2, keepdims=True)) / SPEED_OF_LIGHT)[..., None]
        return a, tau

    def drop(self, batch_size: int) -> None:
        """New positions, states and large-scale parameters of all UEs; no rays."""
        self._model.set_topology(*self.topology(batch_size), los=self._los)

    def topology(self, batch_size: int) -> tuple[tf.Tensor, ...]:
        """New positions, orientations, velocities and indoor states, in the order of Sionna's ``set_topology``."""
        g = self.geometry
        ue, bs, turn, bs_turn, velocity, indoor = gen_single_sector_topology(
            batch_size,
            g.num_users,
            self.scenario,
            isd=self._isd,
            indoor_probability=self._indoor,
            min_ut_velocity=g.speed_range_mps[0],
            max_ut_velocity=g.speed_range_mps[1],
        )
        if self._floors:
            floors = tf.floor(config.tf_rng.uniform(indoor.shape, 4.0, 9.0, name="floors"))
            floor = tf.floor(config.tf_rng.uniform(indoor.shape, name="floor") * floors)
            height = ue[..., 2] + tf.where(indoor, 3 * floor, 0.0)
            ue = tf.concat([ue[..., :2], height[..., None]], axis=-1)
        if self.num_trps > 1:
            ue = self._spread(ue)
        place, yaw = (tf.constant(x, tf.float32) for x in _stations(self._isd_m, self.num_trps))
        bs = tf.concat(
            [tf.broadcast_to(place, [batch_size, *place.shape]), tf.repeat(bs[..., 2:], self.num_trps, 1)], axis=2
        )
        yaw = tf.broadcast_to(yaw[:, None], [batch_size, self.num_trps, 1])
        bs_turn = tf.concat([yaw, tf.repeat(bs_turn[..., 1:], self.num_trps, axis=1)], axis=2)
        return ue, bs, turn, bs_turn, velocity, indoor

    def _spread(self, ue: tf.Tensor) -> tf.Tensor:
        """UEs of the first sector ``[batch, user, 3]``, each moved to its place in the sector of a random station."""
        place, yaw = _stations(self._isd_m, self.num_trps)
        own = config.tf_rng.uniform(ue.shape[:2], 0, self.num_trps, tf.int32, name="sector")
        turn = tf.gather(tf.constant(yaw - yaw[0], tf.float32), own)
        x, y, height = tf.unstack(ue, axis=-1)
        turned = tf.stack([tf.cos(turn) * x - tf.sin(turn) * y, tf.sin(turn) * x + tf.cos(turn) * y], axis=-1)
        return tf.concat([turned + tf.gather(tf.constant(place, tf.float32), own), height[..., None]], axis=-1)

    @property
    def num_trps(self) -> int:
        """Stations."""
        return self.geometry.panel.num_trps

    def power_estimates(self) -> Iterator[float]:
        """Of E|h|^2 (see the base class): positions by importance, fading and shadowing in closed form."""
        stations = [
            sector_power(partial(self._station_topology, number), self._model, self._los, self.reach_m)
            for number in range(self.num_trps)
        ]
        return (float(np.mean(powers)) for powers in zip(*stations, strict=True))

    def _station_topology(self, number: int, batch_size: int) -> tuple[tf.Tensor, ...]:
        """As :meth:`topology`, of one station."""
        ue, bs, turn, bs_turn, velocity, indoor = self.topology(batch_size)
        one = slice(number, number + 1)
        return ue, bs[:, one], turn, bs_turn[:, one], velocity, indoor


class UrbanMicro(_SectorDrops):
    """Urban micro cell, street canyon (UMi)."""

    scenario, model, reach_m = "umi", CorrectedUMi, 36.0


class UrbanMacro(_SectorDrops):
    """Urban macro cell (UMa)."""

    scenario, model, reach_m = "uma", CorrectedUMa, 63.0


class RuralMacro(_SectorDrops):
    """Rural macro cell (RMa)."""

    scenario, model, model_options, reach_m = "rma", CorrectedRMa, {}, 1000.0


def _stations(isd_m: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places ``[trp, 2]`` [m] and azimuths ``[trp]`` [rad] of the panels.

    The sector of the first site lies between 0 and 120 degrees. Its far corner belongs to the sites at 30 and 90
    degrees, too; the fourth site lies beyond it. All face this corner.
    """
    turn = np.exp(1j * np.pi / 6 * np.arange(4))  # 0, 30, 60, 90 degrees
    sites = isd_m * np.array([0, turn[1], turn[3], np.sqrt(3) * turn[2]])[:count]
    return np.stack([sites.real, sites.imag], axis=1), np.angle(isd_m / np.sqrt(3) * turn[2] - sites)
