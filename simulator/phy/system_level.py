"""UMi, UMa and RMa drops of TR 38.901 in one sector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import tensorflow as tf
from sionna.phy import config
from sionna.phy.channel import gen_single_sector_topology
from sionna.phy.channel.tr38901 import SystemLevelChannel

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
        super().__init__(geometry, xla=False)

    def uplink(self, carrier_hz: float) -> Self:
        """The same drops in the uplink (see the base class): the scenario stays at the carrier of the downlink."""
        found = type(self)(self.geometry, **self._params)
        found._model._cir_sampler = UplinkCoefficients(found._model._cir_sampler, carrier_hz)
        return found

    def paths(self, batch_size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Path coefficients and delays of new drops (see the base class)."""
        self.drop(batch_size)
        return self._model(self.geometry.num_slots, self.sampling_hz)

    def drop(self, batch_size: int) -> None:
        """New positions, states and large-scale parameters of all UEs; no rays."""
        self._model.set_topology(*self.topology(batch_size), los=self._los)

    def topology(self, batch_size: int) -> tuple[tf.Tensor, ...]:
        """New positions, orientations, velocities and indoor states, in the order of Sionna's ``set_topology``."""
        g = self.geometry
        ue, *rest, indoor = gen_single_sector_topology(
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
        return ue, *rest, indoor

    def power_estimates(self) -> Iterator[float]:
        """Of E|h|^2 (see the base class): positions by importance, fading and shadowing in closed form."""
        return sector_power(self.topology, self._model, self._los, self.reach_m)


class UrbanMicro(_SectorDrops):
    """Urban micro cell, street canyon (UMi)."""

    scenario, model, reach_m = "umi", CorrectedUMi, 36.0


class UrbanMacro(_SectorDrops):
    """Urban macro cell (UMa)."""

    scenario, model, reach_m = "uma", CorrectedUMa, 63.0


class RuralMacro(_SectorDrops):
    """Rural macro cell (RMa)."""

    scenario, model, model_options, reach_m = "rma", CorrectedRMa, {}, 1000.0
