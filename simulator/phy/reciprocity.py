"""Partial reciprocity of uplink and downlink at two carriers: the same paths, other phases of their rays."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from sionna.phy import PI, config
from sionna.phy.channel.tr38901 import ChannelCoefficientsGenerator


class UplinkCoefficients(ChannelCoefficientsGenerator):
    r"""Coefficients of the downlink's rays at the carrier of the uplink, in the axes of the downlink.

    Angles, delays, powers and cross-polarisation of the rays are given; their initial phases (7.5 step 10) are drawn
    anew, independent of those of the downlink. Wave length :math:`\lambda` of the uplink in the phases of antennas,
    :math:`e^{j 2 \pi \hat r^T d / \lambda}`, of motion and of the specular path; the antennas stay where they are. The
    uplink channel is the transpose of what this generator gives, for antennas are reciprocal. TR 38.901 itself says
    nothing of the two carriers of FDD; this is the assumption under which port selection codebooks are compared.

    Args:
        downlink: generator of the downlink.
        carrier_hz: of the uplink [Hz].

    Source: TR 38.901, 7.5 steps 10 and 11.
    """

    def __init__(self, downlink: ChannelCoefficientsGenerator, carrier_hz: float):
        super().__init__(carrier_hz, downlink._tx_array, downlink._rx_array, downlink._subclustering)

    def _step_10(self, shape: Any) -> tf.Tensor:
        super()._step_10(shape)  # later draws of the drop keep their names
        return config.tf_rng.uniform(tf.concat([shape, [4]], axis=0), -PI, PI, self.rdtype, "uplink phases")
