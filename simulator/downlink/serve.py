"""From the CSI at the gNB to the signals at the UEs: schedule, choose ranks, precode, detect.

Channels and rows are by sample, rates and ranks that come out by drop (:mod:`simulator.core.views`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from simulator.core.backend import ops
from simulator.core.errors import ConfigError
from simulator.core.interfaces import Precoder
from simulator.core.views import by_drop, by_user
from simulator.downlink.detection import Detection
from simulator.downlink.scheduler import Scheduler, adaptive_layers, band_samples
from simulator.maths import rates
from simulator.maths.rates import known_layers, noise_powers

_MAX_POWER = 1.001  # total transmit power 1, and float32 rounding


class Served(NamedTuple):
    """Outcome of one precoder."""

    rate: np.ndarray  # float32 [snr, batch, user, slot], mean over the band of the sum over layers [bit/s/Hz]
    sinr: Any  # float32 [snr, batch * slot, subcarrier, user, layer], after detection, linear
    rank: np.ndarray  # int [snr, batch, user, slot], layers with CSI that were served


@dataclass(frozen=True)
class Downlink:
    """Data transmission of every slot.

    Args:
        snr_db: total transmit power over noise power per subcarrier [dB].
        detection: how UEs demodulate.
        scheduler: who is served; None: everybody.
        adaptive_rank: the gNB chooses layers per user, see :func:`simulator.downlink.scheduler.adaptive_layers`;
            otherwise it serves all layers that it has CSI of.
    """

    snr_db: tuple[float, ...]
    detection: Detection = field(default_factory=Detection)
    scheduler: Scheduler | None = None
    adaptive_rank: bool = False

    def serve(self, channel: Any, rows: Any, precoder: Precoder, shape: tuple[int, int], *, seed: int = 0) -> Served:
        """Rates and SINR of all users, 0 for layers that are not served.

        Args:
            channel: complex64 ``[batch * slot, subcarrier, user, rx_ant, port]``.
            rows: effective rows that the gNB knows ``[batch * slot, subcarrier, user, layer, port]``.
            precoder: for the number of users that share a slot.
            shape: batch and slots.
            seed: seeds the noise of the DM-RS.
        """
        noise_vars = noise_powers(self.snr_db)
        if self.scheduler is None and not self.adaptive_rank:
            quality = self._sinr(channel, rows, precoder, noise_vars, seed)
            layers = np.repeat(known_layers(rows)[None], len(noise_vars), axis=0)
        else:
            quality, layers = self._planned(channel, rows, precoder, noise_vars, shape, seed)
        rate = ops.mean(ops.sum(rates.rate_bpshz(quality), axis=-1), axis=2)  # [snr, bt, user]
        rate, rank = (by_drop(x, shape[0], 3, lead=1) for x in (ops.convert_to_numpy(rate), layers.sum(axis=-1)))
        return Served(rate, quality, rank)

    def check_power(self, rows: Any, precoder: Precoder, name: str) -> None:
        """ConfigError for a precoder that spends more than the total transmit power 1 on the rows of the first slot."""
        streams = rows.shape[2] * rows.shape[3]
        first = ops.reshape(rows[:1], (min(rows.shape[0], 1), rows.shape[1], streams, rows.shape[-1]))
        for noise_var in noise_powers(self.snr_db) if precoder.noise_dependent else (0.0,):
            w = ops.convert_to_numpy(precoder.weights(first, float(noise_var)))
            power = float(np.max(np.sum(np.abs(w) ** 2, axis=(-2, -1)), initial=0.0))
            if not power <= _MAX_POWER:
                got = f"{name}, total power {power:.4g}"
                raise ConfigError("precoding.precoders", got, "at most 1, the sum of |w|^2 over ports and streams")

    def expected_sinr(self, rows: Any, amplitude: np.ndarray, precoder: Precoder, shape: tuple[int, int]) -> np.ndarray:
        """SINR that the gNB expects if the channels were its effective rows, at a scale of their own for every SNR.

        Args:
            rows: see :meth:`serve`.
            amplitude: of every row, complex64 ``[snr, ...]``, broadcast against ``rows``.
            precoder: see :meth:`serve`.
            shape: see :meth:`serve`.

        Returns:
            see :class:`Served`, with ideal detection.
        """
        by_snr = []
        for snr_db, factor in zip(self.snr_db, amplitude, strict=True):
            at = replace(self, snr_db=(snr_db,), detection=Detection())
            by_snr.append(at.serve(rows * ops.convert_to_tensor(factor), rows, precoder, shape).sinr)
        return np.concatenate([ops.convert_to_numpy(x) for x in by_snr])

    def _sinr(self, channel: Any, rows: Any, precoder: Precoder, noise_vars: np.ndarray, seed: int) -> Any:
        """SINR ``[snr, bt, n, user, layer]``: precoders that ignore the noise are computed once."""
        bt, n, users, layers, ports = rows.shape
        g = ops.reshape(rows, (bt, n, users * layers, ports))
        group = self.detection.prg
        if group is not None:  # one precoder for every PRG, that of its middle
            start = np.arange(0, n, group)
            g = ops.take(g, (start + np.minimum(start + group, n)) // 2, axis=1)
        e = []
        for noise_var in noise_vars if precoder.noise_dependent else (0.0,):
            w = precoder.weights(g, float(noise_var))
            e.append(rates.received(channel, w if group is None else ops.repeat(w, group, axis=1)[:, :n]))
        e = ops.stack(e) if len(e) > 1 else e[0][None]
        return self.detection.sinr(e, noise_vars, seed=seed)

    def _planned(
        self, channel: Any, rows: Any, precoder: Precoder, noise_vars: np.ndarray, shape: tuple[int, int], seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """SINR and served layers bool ``[snr, bt, user, layer]``, where the gNB decides slot by slot."""
        channel, rows = ops.convert_to_numpy(channel), ops.convert_to_numpy(rows)
        bt, n, users, layers, _ = rows.shape
        quality = np.zeros((len(noise_vars), bt, n, users + 1, layers), np.float32)  # the last index stands for no user
        served = np.zeros((len(noise_vars), bt, users + 1, layers), bool)
        together = not self.adaptive_rank and not self.scheduler.noise_dependent
        for index in [np.arange(len(noise_vars))] if together else np.arange(len(noise_vars))[:, None]:
            chosen = np.broadcast_to(np.arange(users), (bt, users))
            served_channel, served_rows = channel, rows
            if self.scheduler is not None:
                chosen = self.scheduler.select(rows, float(noise_vars[index[0]]), shape[1])
                served_channel, served_rows = (_of_users(x, chosen) for x in (channel, rows))
            mask = known_layers(served_rows)
            if self.adaptive_rank:
                mask = self._layers(served_rows, mask, precoder, float(noise_vars[index[0]]))
                served_rows = served_rows * mask[:, None, :, :, None]
            sinr = self._sinr(
                *map(ops.convert_to_tensor, (served_channel, served_rows)), precoder, noise_vars[index], seed
            )
            at = np.where(chosen < 0, users, chosen)
            drop = np.arange(bt)[:, None]
            sinr = by_user(ops.convert_to_numpy(sinr))  # [snr, bt, chosen, n, layer]
            for position, snr in enumerate(index):
                by_user(quality[snr])[drop, at] = sinr[position]
                served[snr][drop, at] = mask
        return quality[..., :users, :], served[..., :users, :]

    def _layers(self, rows: np.ndarray, known: np.ndarray, precoder: Precoder, noise_var: float) -> np.ndarray:
        """Layers with the largest sum rate that the gNB expects of UEs with one antenna per layer."""
        subset = np.ascontiguousarray(rows[:, band_samples(rows.shape[1])])
        bt, n, users, layers, ports = subset.shape
        channel = ops.convert_to_tensor(subset)

        def rate(mask: np.ndarray) -> np.ndarray:
            g = ops.convert_to_tensor((subset * mask[:, None, :, :, None]).reshape(bt, n, users * layers, ports))
            quality = rates.sinr(rates.received(channel, precoder.weights(g, noise_var)), np.float32(noise_var))
            total = ops.mean(ops.sum(rates.rate_bpshz(quality), axis=(-2, -1)), axis=1)
            return ops.convert_to_numpy(total)

        return adaptive_layers(known, rate)


def _of_users(x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """``x [bt, n, user, ...]`` of the users ``chosen [bt, k]``; zeros for nobody (-1)."""
    index = np.maximum(chosen, 0).reshape(len(x), 1, -1, *[1] * (x.ndim - 3))
    return np.take_along_axis(x, index, axis=2) * (chosen >= 0).reshape(index.shape)
