"""One link: channel -> estimate -> report -> uplink -> reconstruct -> precode -> rate. Knows no scheme."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from keras import ops

from simulator import metrics
from simulator.core.errors import ConfigError
from simulator.core.interfaces import Estimator, FeedbackScheme, Precoder
from simulator.core.seeding import derive
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, PrecodingContext
from simulator.core.units import db_to_lin
from simulator.scores import CsiOutcome, LinkOutcome
from simulator.uplink import last_good, transmit


@dataclass(frozen=True)
class UplinkModel:
    """Impairments of the uplink, see :mod:`simulator.uplink`."""

    loss_probability: float = 0.0
    bit_flip_probability: float = 0.0
    on_loss: str = "last"
    delay_slots: int = 0


@dataclass(frozen=True)
class Link:
    """The link of one scenario point. All schemes, precoders and SNRs see the same channels.

    Args:
        config: public configuration.
        estimator: channel estimator of the UEs.
        schemes: feedback schemes by label.
        precoders: precoders by name.
        snr_db: total transmit power over noise power per subcarrier [dB].
        uplink: impairments.
        gammas: relative outage targets.
        rates_bpshz: absolute outage targets.
        history_slots: estimates that the UE knows when it reports, its current one included.

    In slot t the gNB uses the report of slot ``t - delay_slots``. The first ``history_slots - 1 + delay_slots``
    slots of a drop fill the history and the delay; they are not scored.
    """

    config: CsiConfig
    estimator: Estimator
    schemes: Mapping[str, FeedbackScheme]
    precoders: Mapping[str, Precoder]
    snr_db: tuple[float, ...]
    uplink: UplinkModel = UplinkModel()
    gammas: tuple[float, ...] = (0.95,)
    rates_bpshz: tuple[float, ...] = (1.0,)
    history_slots: int = 1

    def run(self, h: np.ndarray, *, seed: int) -> Iterator[tuple[str, str | None, CsiOutcome | LinkOutcome]]:
        """Outcomes of one chunk, scheme by scheme.

        Args:
            h: true channel complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``.
            seed: seeds estimation noise and uplink impairments, the same for every scheme.

        Yields:
            ``(scheme, None, CsiOutcome)``, then ``(scheme, precoder, LinkOutcome)`` for every precoder.
        """
        delay = self.uplink.delay_slots
        batch, users = h.shape[:2]
        reported = h.shape[4] - self.history_slots + 1
        slots = reported - delay  # that are scored
        if slots < 1:
            need = self.history_slots + delay
            raise ConfigError("time.num_slots", h.shape[4], f"at least {need} (history_slots + uplink.delay_slots)")
        csi = self._estimates(_by_slot(h), h.shape[4], seed)
        h = h[..., -slots:, :]
        channel = ops.convert_to_tensor(np.ascontiguousarray(np.moveaxis(_by_slot(h), -1, 1)))
        # channel [batch * slot, subcarrier, user, rx_ant, port]
        rows = metrics.effective_rows(channel, self.config.num_layers)  # [bt, n, user, layer, port]
        perfect = {name: p.for_link(PrecodingContext(users)) for name, p in self.precoders.items()}
        reference = {name: self._rates(channel, rows, p, (batch, slots)) for name, p in perfect.items()}
        for label, scheme in self.schemes.items():
            sent = scheme.report(csi)
            bops = scheme.ue_bops(csi)
            arrived, lost = transmit(
                sent,
                loss_probability=self.uplink.loss_probability,
                bit_flip_probability=self.uplink.bit_flip_probability,
                seed=derive(seed, "uplink"),
            )
            known = self._known(scheme.reconstruct(arrived), lost, (batch, reported), slots)
            num_bits = _scored(sent.num_bits, (batch, reported, users), slots)
            rows_hat = ops.convert_to_tensor(self._rows(known))
            correlation2 = ops.convert_to_numpy(metrics.correlation2(rows, rows_hat))
            yield (
                label,
                None,
                CsiOutcome(
                    h=h,
                    h_hat=None
                    if known.h is None
                    else np.moveaxis(known.h.reshape(batch, slots, *known.h.shape[1:]), 1, 4),
                    correlation2=correlation2.reshape(batch, slots, *correlation2.shape[1:]).transpose(0, 3, 4, 1, 2),
                    num_bits=num_bits,
                    snr_db=self.snr_db,
                    part1_bits=scheme.part1_bits,
                    ue_bops=None if bops is None else _scored(bops, (batch, reported, users), slots),
                ),
            )
            context = PrecodingContext(users, relative_error(correlation2))
            for name, precoder in self.precoders.items():
                rate = self._rates(channel, rows_hat, precoder.for_link(context), (batch, slots))
                yield label, name, LinkOutcome(rate, reference[name], self.gammas, self.rates_bpshz)

    def _estimates(self, flat: np.ndarray, slots: int, seed: int) -> CsiEstimate:
        """Estimates of every reported slot ``[batch * slot, ...]``, with their past where it is asked for."""
        csi = self.estimator.estimate(flat, seed=derive(seed, "estimation"))
        past = self.history_slots - 1
        if not past:
            return csi
        by_drop = csi.h_hat.reshape(-1, slots, *csi.h_hat.shape[1:])
        windows = np.moveaxis(np.lib.stride_tricks.sliding_window_view(by_drop, past + 1, axis=1), -1, -2)
        history = np.ascontiguousarray(windows).reshape(-1, *windows.shape[2:])
        error_var = csi.error_var.reshape(-1, slots, *csi.error_var.shape[1:])[:, past:]
        return CsiEstimate(
            h_hat=np.ascontiguousarray(history[..., -1, :]),
            error_var=error_var.reshape(-1, *error_var.shape[2:]),
            history=history,
        )

    def _known(
        self, rec: CsiReconstruction, lost: np.ndarray, shape: tuple[int, int], used_slots: int
    ) -> CsiReconstruction:
        """CSI that the gNB uses in every scored slot: the last good report, or zeros where it knows nothing."""
        good = ~lost if rec.valid is None else ~lost & rec.valid
        batch, slots = shape
        if good.all() and used_slots == slots:
            return rec
        value = rec.h if rec.w is None else rec.w
        source = last_good(
            np.moveaxis(good.reshape(batch, slots, -1), 1, 2), self.uplink.on_loss
        )  # [batch, user, slot]
        source = np.moveaxis(source, 2, 1)  # [batch, slot, user]
        value = value.reshape(batch, slots, *value.shape[1:])
        source = source[:, :used_slots]  # a report of slot t serves slot t + delay
        pick = np.maximum(source, 0)[(...,) + (None,) * (value.ndim - 3)]
        used = np.take_along_axis(value, pick, axis=1) * (source >= 0)[(...,) + (None,) * (value.ndim - 3)]
        used = used.reshape(batch * used_slots, *value.shape[2:]).astype(np.complex64)
        return CsiReconstruction(h=used) if rec.w is None else CsiReconstruction(w=used)

    def _rows(self, known: CsiReconstruction) -> np.ndarray:
        """Effective rows complex64 ``[batch * slot, subcarrier, user, layer, port]`` of what the gNB knows."""
        if known.h is not None:
            h = ops.convert_to_tensor(np.ascontiguousarray(np.moveaxis(known.h, -1, 1)))
            return metrics.effective_rows(h, self.config.num_layers)
        # A direction carries no gain; E|h|^2 = 1 per port stands in for it, which only precoders that depend on the
        # noise can tell.
        gain = np.float32(np.sqrt(self.config.panel.num_ports))
        w = known.w if known.w.shape[-1] == self.config.num_subcarriers else known.w[..., self.config.subband_of]
        rows = gain * np.conj(w)  # [bt, user, port, layer, n]
        return np.ascontiguousarray(rows.transpose(0, 4, 1, 3, 2))

    def _rates(self, channel, rows, precoder: Precoder, shape: tuple[int, int]) -> np.ndarray:
        """User rates float32 ``[snr, batch, user, slot]``: precoders that ignore the noise are computed once."""
        bt, n, users, layers, ports = rows.shape
        g = ops.reshape(rows, (bt, n, users * layers, ports))
        noise_vars = db_to_lin([-s for s in self.snr_db]).astype(np.float32)
        if precoder.noise_dependent:
            e = ops.stack([metrics.received(channel, precoder.weights(g, float(v))) for v in noise_vars])
        else:
            e = metrics.received(channel, precoder.weights(g, 0.0))[None]
        quality = metrics.sinr(
            e, ops.convert_to_tensor(noise_vars[:, None, None, None, None])
        )  # [snr, bt, n, user, layer]
        rate = ops.mean(ops.sum(metrics.rate_bpshz(quality), axis=-1), axis=2)
        return np.moveaxis(ops.convert_to_numpy(rate).reshape(len(noise_vars), *shape, users), 2, 3)


def _scored(value: np.ndarray, shape: tuple[int, int, int], slots: int) -> np.ndarray:
    """A number per report ``[batch * reported, user]`` to those of the scored slots ``[batch, user, slot]``."""
    return np.moveaxis(value.reshape(shape)[:, :slots], 1, 2)


def relative_error(correlation2: np.ndarray) -> np.ndarray:
    r"""Long-term error of the rows relative to what is known of them, float32 ``[layer]``: :math:`1 / \rho^2 - 1`.

    Known rows are ``c g + e`` in any unit and phase. Linear MMSE of the true row gives an error of :math:`1 - \rho^2`
    of its power, beside an estimate of :math:`\rho^2` of it. The mean over a chunk stands for what a gNB learns over
    time; rows of which it knows nothing (0) do not count.

    Args:
        correlation2: squared cosine between true and known rows, ``[batch, subcarrier, user, layer]``.
    """
    known = correlation2 > 0
    mean = np.sum(correlation2, axis=(0, 1, 2), dtype=np.float64) / np.maximum(np.sum(known, axis=(0, 1, 2)), 1)
    perfect = (mean == 0) | (mean > 1 - 1e-6)  # nothing known, or nothing but rounding
    return np.where(perfect, 0.0, 1.0 / np.where(perfect, 1.0, mean) - 1.0).astype(np.float32)


def _by_slot(h: np.ndarray) -> np.ndarray:
    """One report for each slot: ``[batch, user, rx, port, slot, n]`` to ``[batch * slot, user, rx, port, n]``."""
    return np.ascontiguousarray(np.moveaxis(h, 4, 1)).reshape(-1, *h.shape[1:4], h.shape[5])
