"""CSI-RS of a scenario and what the UEs make of it, of the antennas or of beamformed ports."""

from __future__ import annotations

from dataclasses import replace

from scenarios.feedback import Beamformed, Feedback
from scenarios.schema import Scenario
from simulator.core import registry
from simulator.core.interfaces import Estimator
from simulator.core.types import Panel
from simulator.precoding.port_beams import PortBeamforming
from simulator.reporting.beamformed import BeamformedCsiRs


def build_estimator(scenario: Scenario, ports: Panel | None = None) -> Estimator:
    """Channel estimator of the UEs, of the antennas or of other ports."""
    section, geometry = scenario.estimation, scenario.geometry
    if ports is not None:
        geometry = replace(geometry, panel=ports)
    return registry.build("estimators", section.name, geometry, **(section.model_extra or {}))


def beamformed_ports(section: Beamformed, num_trps: int) -> Panel:
    """Beamformed ports as a scheme and an estimator take them: a row in either polarisation of every station."""
    return Panel(section.ports // 2, 1, 2).at(num_trps)


def build_csi_rs(scenario: Scenario, entry: Feedback) -> BeamformedCsiRs | None:
    """Beamformed CSI-RS of a line of schemes."""
    section, sounding = entry.beamformed, scenario.sounding
    if section is None or sounding is None:
        return None
    ratio = scenario.uplink_hz / scenario.carrier.carrier_hz
    beamforming = PortBeamforming(
        scenario.panel, section.ports, section.delays, ratio, sounding.uplink_snr_db, section.taps
    )
    ports = beamformed_ports(section, scenario.panel.num_trps)
    return BeamformedCsiRs(beamforming, build_estimator(scenario, ports))
