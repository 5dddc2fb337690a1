"""Channel quality as the CQI reports it: SINR of a user by itself, and its use at the gNB for several users.

Estimates come by slot, rows by sample, CQIs of received reports by drop (:mod:`simulator.core.views`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.core.backend import ops
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction
from simulator.core.views import by_sample, by_slot, by_user
from simulator.maths import rates
from simulator.maths.rates import known_rows, noise_powers
from simulator.throughput.blocks import Throughput


@dataclass(frozen=True)
class Cqi:
    """CQI of every report, and the scale that the gNB gives its own CSI by it.

    Args:
        throughput: CQI table and block error rates.
        config: public configuration.
        snr_db: total transmit power over noise power per subcarrier [dB]; a CQI for each.
    """

    throughput: Throughput
    config: CsiConfig
    snr_db: tuple[float, ...]

    def at_ue(self, csi: CsiEstimate, own: CsiReconstruction) -> np.ndarray:
        """CQI of every UE for the precoder that it reports, int64 ``[snr, drop * slot, user]``.

        Args:
            csi: estimate of the UE.
            own: CSI in its report, as sent.
        """
        channel = ops.convert_to_tensor(by_sample(csi.h_hat))
        sinr = alone(channel, known_rows(own, self.config), noise_powers(self.snr_db))
        return self.throughput.wideband_cqi(by_user(sinr))

    def amplitude(self, rows: Any, cqi: np.ndarray) -> np.ndarray:
        """Factors that bring rows of the gNB to the CQI of each UE.

        Args:
            rows: effective rows ``[drop * slot, subcarrier, user, layer, port]``.
            cqi: of :meth:`at_ue` as received, by slot, ``[snr, drop, user, slot]``.

        Returns:
            complex64 ``[snr, drop * slot, 1, user, 1, 1]``.
        """
        own = by_user(alone(rows, rows, noise_powers(self.snr_db)))
        gain = self.throughput.gain(by_slot(cqi, 3, lead=1), own)
        return np.sqrt(gain)[:, :, None, :, None, None].astype(np.complex64)


def alone(channel: Any, rows: Any, noise_vars: np.ndarray) -> np.ndarray:
    r"""SINR of every layer if its user were alone: equal powers on the layers of its report, LMMSE receiver.

    Args:
        channel: of every user complex64 ``[drop * slot, subcarrier, user, rx_ant, port]``: an estimate at the UE; at
            the gNB the rows themselves.
        rows: effective rows of the report ``[drop * slot, subcarrier, user, layer, port]``, 0 for layers without.
        noise_vars: noise powers for total transmit power 1, float32 ``[snr]``.

    Returns:
        float32 ``[snr, drop * slot, subcarrier, user, layer]``, linear.

    Source: TS 38.214, 5.2.2.1 (CQI is conditioned on the rank and the precoder of its report).
    """
    norm = ops.sqrt(ops.sum(ops.square(ops.real(rows)) + ops.square(ops.imag(rows)), axis=-1, keepdims=True))
    count = ops.sum(ops.cast(norm > 0, "float32"), axis=-2, keepdims=True)
    scale = ops.where(norm > 0, 1 / (ops.maximum(norm, 1e-20) * ops.sqrt(ops.maximum(count, 1.0))), 0.0)
    w = ops.conj(rows) * ops.cast(scale, "complex64")
    e = ops.expand_dims(ops.matmul(channel, ops.swapaxes(w, -1, -2)), -3)  # [bt, n, user, 1, rx_ant, layer]
    by_snr = [rates.sinr(e, float(noise_var)) for noise_var in noise_vars]
    return np.stack([ops.convert_to_numpy(x)[..., 0, :] for x in by_snr])
