"""UMi, UMa and RMa drops of TR 38.901 in one sector."""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf
from sionna.phy.channel import gen_single_sector_topology
from sionna.phy.channel.tr38901 import RMa, UMa, UMi

from simulator.core.params import PositiveFloat, Probability, validated
from simulator.core.types import RadioGeometry
from simulator.phy.panels import bs_array, ue_array
from simulator.phy.source import SionnaSource


class _SectorDrops(SionnaSource):
    """Users uniform in one 120 degree sector, a new drop (positions, large and small scale) for every sample.

    Args:
        geometry: carrier, antennas, users, time.
        los: True or False forces the state of outdoor UEs; None draws it (TR 38.901, Table 7.4.2-1).
        indoor_probability: share of indoor UEs; None takes the scenario's own value.
        isd_m: inter-site distance [m]; None takes the scenario's own value.
        pathloss: path loss and shadow fading are part of the channel (normalisation may remove them again).

    Source: TR 38.901, clauses 7.2 to 7.5, by Sionna.
    """

    scenario: ClassVar[str]
    model: ClassVar[type]
    model_options: ClassVar[dict[str, str]] = {"o2i_model": "low"}

    @validated("channel")
    def __init__(
        self,
        geometry: RadioGeometry,
        *,
        los: bool | None = None,
        indoor_probability: Probability | None = None,
        isd_m: PositiveFloat | None = None,
        pathloss: bool = True,
    ):
        self._los, self._indoor, self._isd = los, indoor_probability, isd_m
        self._model = self.model(
            carrier_frequency=geometry.carrier_hz,
            ut_array=ue_array(geometry),
            bs_array=bs_array(geometry),
            direction="downlink",
            enable_pathloss=pathloss,
            enable_shadow_fading=pathloss,
            **self.model_options,
        )
        super().__init__(geometry, xla=False)

    def paths(self, batch_size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Path coefficients and delays of new drops (see the base class)."""
        g = self.geometry
        topology = gen_single_sector_topology(
            batch_size,
            g.num_users,
            self.scenario,
            isd=self._isd,
            indoor_probability=self._indoor,
            min_ut_velocity=g.speed_range_mps[0],
            max_ut_velocity=g.speed_range_mps[1],
        )
        self._model.set_topology(*topology, los=self._los)
        return self._model(g.num_slots, self.sampling_hz)


class UrbanMicro(_SectorDrops):
    """Urban micro cell, street canyon (UMi)."""

    scenario, model = "umi", UMi


class UrbanMacro(_SectorDrops):
    """Urban macro cell (UMa)."""

    scenario, model = "uma", UMa


class RuralMacro(_SectorDrops):
    """Rural macro cell (RMa)."""

    scenario, model, model_options = "rma", RMa, {}
