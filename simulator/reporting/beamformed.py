"""CSI-RS that the gNB beamforms for every user from the uplink."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.core.interfaces import Estimator
from simulator.precoding.port_beams import PortBeamforming


@dataclass(frozen=True, eq=False)
class BeamformedCsiRs:
    """Ports of a scheme in place of the antennas: the UE estimates and reports them, the gNB knows what they are.

    Args:
        beamforming: how the gNB makes the ports.
        estimator: of the UE, for as many ports.
    """

    beamforming: PortBeamforming
    estimator: Estimator
