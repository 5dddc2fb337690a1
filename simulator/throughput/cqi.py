"""Channel quality as the CQI reports it: SINR of a user by itself, and its use at the gNB for several users.

Estimates come by slot, rows by sample, CQIs of received reports by drop (:mod:`simulator.core.views`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from simulator.core.backend import ops
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction
from simulator.core.views import by_sample, by_slot, by_user
from simulator.maths import rates
from simulator.maths.rates import known_rows, noise_powers
from simulator.nr.cqi import AT_LEAST, AT_MOST, cqi_widths, differential, subband_index
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

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits of every field."""
        return cqi_widths(self.config.num_subbands if self.throughput.subband_cqi else 0)

    def at_ue(self, csi: CsiEstimate, own: CsiReconstruction) -> np.ndarray:
        """CQI of every UE for the precoder that it reports, int64 ``[snr, drop * slot, user, field]``.

        The wideband CQI, then, where the reports have them, the differential CQIs of the subbands.

        Args:
            csi: estimate of the UE.
            own: CSI in its report, as sent.
        """
        channel = ops.convert_to_tensor(by_sample(csi.h_hat))
        sinr = alone(channel, known_rows(own, self.config), noise_powers(self.snr_db))
        sinr = by_user(sinr)
        wideband = self.throughput.cqi_of(sinr)
        fields = [wideband]
        for band in self._bands:
            fields.append(differential(self.throughput.cqi_of(sinr[..., band, :]), wideband))
        return np.stack(fields, axis=-1)

    def amplitude(self, rows: Any, cqi: np.ndarray) -> np.ndarray:
        """Factors that bring rows of the gNB to the CQI of each UE.

        Args:
            rows: effective rows ``[drop * slot, subcarrier, user, layer, port]``.
            cqi: of :meth:`at_ue` as received, by slot, ``[snr, drop, user, slot, field]``.

        A subband follows its own CQI; where that says two or more above the wideband one, or one or more below, it
        follows the wideband CQI as long as this agrees.

        Returns:
            complex64 ``[snr, drop * slot, n, user, 1, 1]``, n 1 for a wideband CQI, else a frequency sample.
        """
        own, cqi = by_user(alone(rows, rows, noise_powers(self.snr_db))), by_slot(cqi, 3, lead=1)
        wideband = cqi[..., 0]
        gain = self.throughput.gain(wideband, own)
        if not self._bands:
            return np.sqrt(gain)[:, :, None, :, None, None].astype(np.complex64)
        found = np.empty(own.shape[:-1], np.float32)
        for number, band in enumerate(self._bands, 1):
            level = cqi[..., number]
            of_band = self.throughput.gain(subband_index(level, wideband), own[..., band, :])
            ends = {AT_LEAST: np.maximum, AT_MOST: np.minimum}
            for end, limit in ends.items():
                of_band = np.where(level == end, limit(of_band, gain), of_band)
            found[..., band] = of_band[..., None]
        return np.sqrt(by_user(found[..., None]))[..., None].astype(np.complex64)

    @property
    def _bands(self) -> list[slice]:
        """Frequency samples of every subband with a CQI."""
        ends = [*self.config.subband_starts.tolist(), self.config.num_subcarriers]
        return [slice(*pair) for pair in pairwise(ends)] if self.throughput.subband_cqi else []


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
