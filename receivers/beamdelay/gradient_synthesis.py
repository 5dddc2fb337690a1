"""Analysis by synthesis: a UE that knows the decoder decides on coefficients by what the gNB will make of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.content import Content
from receivers.beamdelay.contexts import CAP
from receivers.beamdelay.frame import Frame
from receivers.beamdelay.quantizer import SLOPE
from receivers.codebooks.beam_delay import BeamDelayReport
from receivers.models.report_frame import ReportFrame, conjugated

PASSES = 12  # at most
_CURVATURE = 0.6  # of the loss along a coefficient: half the second derivative, 1 without the decoder
_SHARE = 0.25  # of the coefficients that change in the first pass
_FAILED = 4  # single changes in a row, after which the search of a report ends
_FASTER, _SLOWER = 1.5, 0.5  # after a pass that helped, and after one that did not
_GAINED = 1e-7  # by a pass that helped
_MOVES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])  # of real and imaginary part; and both to 0
_LAYERS = 512  # at a time


class GradientSynthesis:
    r"""Decoder of beam-delay reports and the search of the UE that knows it.

    A pass finds the gradient g of the loss :math:`D = 1 - \mathrm{SGCS}` of what the gNB decodes with respect to the
    coefficients. A change of one of them by d, to 0 or by one step in one part, costs about

    .. math:: \mathrm{Re}(g^* d) + \kappa |d|^2 + \mu \Delta^2 \, \delta\ell

    with the change :math:`\delta\ell` of its code length. The changes that save most, at first as many as 25 % of the
    coefficients, are made together; where :math:`D + \mu \Delta^2 \ell` falls they stay, and the next pass may change
    more, else the report remains and half as many are tried, at last one after the other.

    Args:
        frame: of the directions.
        coder: entropy coder.
        steps: sizes of the steps, by their index.
        network: :class:`receivers.models.beam_transformer.BeamTransformer` of the gNB.

    Source: analysis by synthesis as in Kroon, Deprettere, Sluyter, IEEE Trans. Acoust., Speech, Signal Process. 34(5),
        1986; amortised decisions and their refinement: Yang, Bamler, Mandt, NeurIPS 2020.
    """

    def __init__(self, frame: Frame, coder: BeamDelayCoder, steps: np.ndarray, network: Any):
        from receivers.models.report_loss import report_gradient

        self.frame, self.coder, self.steps, self.network = frame, coder, np.asarray(steps, np.float32), network
        self.reports = ReportFrame(frame.shape[:3], frame.num_taps)
        self._loss = report_gradient(self.reports.kernel())

    def report(self, content: Content, bins: np.ndarray) -> BeamDelayReport:
        """Coefficients as the entropy coder decodes them."""
        cells = self.coder.values(content, bins, self.steps)
        return self.frame.report(content.group, content.row, cells, self.steps[content.step])

    def tokens(self, content: Content, bins: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Input of the network, and directions of its loss, of beams complex64 ``[report, layer, row, unit]``."""
        report = self.report(content, bins)
        origin = self.reports.origin(report.x.reshape(-1, *report.x.shape[2:]))
        return self.reports.tokens(report), self.reports.target(c.reshape(-1, *c.shape[2:]), origin)

    def refined(self, content: Content, bins: np.ndarray) -> np.ndarray:
        """Coefficients complex64 ``[report, layer, row, tap]`` of the network.

        The mean of its answers to a report and to the complex conjugate of that, which is as likely.
        """
        from keras import ops

        report, found = self.report(content, bins), []
        tokens = self.reports.tokens(report)
        for i in range(0, len(tokens), _LAYERS):
            part = tokens[i : i + _LAYERS]
            plain, turned = (
                np.asarray(ops.convert_to_numpy(self.network(ops.convert_to_tensor(x), training=False)))
                for x in (part, conjugated(part))
            )
            found.append(0.5 * (plain + turned * np.tile(np.float32([1, -1]), turned.shape[-1] // 2)))
        return self.reports.coefficients(np.concatenate(found), report)

    def judged(self, content: Content, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tables ``[place, report, layer]``, cost ``[report]``, gradient complex64 ``[place, report, layer]``."""
        bins = self.coder.bins(content)
        report = self.report(content, bins)
        origin = self.reports.origin(report.x.reshape(-1, *report.x.shape[2:]))
        tokens, target = self.reports.tokens(report), self.reports.target(c.reshape(-1, *c.shape[2:]), origin)
        parts = [self._slopes(tokens[i : i + _LAYERS], target[i : i + _LAYERS]) for i in range(0, len(tokens), _LAYERS)]
        loss, slopes = (np.concatenate(x) for x in zip(*parts, strict=True))
        g = self.reports.gradient(slopes, report)
        cells = self.frame.off_grid(content.row.ravel(), g.reshape(-1, *g.shape[2:])).reshape(*g.shape[:2], -1)
        length = np.sum(self.coder.ideal_bits(content, bins), axis=(0, 2))
        cost = loss.reshape(g.shape[:2]).sum(axis=1) + SLOPE * np.square(self.steps[content.step]) * length
        return bins, cost, np.ascontiguousarray(np.moveaxis(cells[..., self.coder.grid.order], 2, 0))

    def _slopes(self, tokens: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Loss ``[layer]`` and its gradient in the coefficients of the tokens ``[layer, beam, 52]``."""
        from keras import ops

        from receivers.models.pullback import linearised

        y, back = linearised(self.network, ops.convert_to_tensor(tokens))
        loss, slope = self._loss(target, np.asarray(ops.convert_to_numpy(y)))
        return loss, np.asarray(ops.convert_to_numpy(back(ops.convert_to_tensor(slope))))

    def __call__(self, content: Content, c: np.ndarray, passes: int = PASSES, most_bits: float = np.inf) -> Content:
        """Content after the search, from that of :class:`~receivers.beamdelay.quantizer.Quantizer`.

        Args:
            content: of reports.
            c: beams of the directions in the groups of the reports, complex64 ``[report, layer, row, subband]``.
            passes: at most.
            most_bits: of a report, which ``content`` may have beyond already.
        """
        bins, cost, gradient = self.judged(content, c)
        most = np.maximum(_SHARE * np.sum((content.real != 0) | (content.imag != 0), axis=(0, 2)), 1)
        first = np.zeros(len(most), np.int64)
        for _ in range(passes):
            rows = np.flatnonzero(first < _FAILED)
            if not rows.size:
                break
            other = self._changed(content.of(rows), bins[:, rows], gradient[:, rows], first[rows], most[rows])
            new_bins, new_cost, new_gradient = self.judged(other, c[rows])
            better = new_cost < cost[rows] - _GAINED
            if most_bits < np.inf:
                better &= self.coder.needed(other, new_bins, int(most_bits)) <= most_bits
            taken = rows[better]
            content = content.replaced(taken, other.of(np.flatnonzero(better)))
            bins[:, taken], gradient[:, taken] = new_bins[:, better], new_gradient[:, better]
            cost[taken] = new_cost[better]
            single = most[rows] < 2
            first[rows] = np.where(better, 0, first[rows] + single)
            most[rows] = np.maximum(most[rows] * np.where(better, _FASTER, _SLOWER), 1)
        return content

    def _changed(
        self, content: Content, bins: np.ndarray, gradient: np.ndarray, first: np.ndarray, most: np.ndarray
    ) -> Content:
        """Content with at most ``most [report]`` changes of single coefficients, those that save most from a first."""
        step = self.steps[content.step]
        slope = np.maximum(np.abs(gradient.real), np.abs(gradient.imag))
        at = np.nonzero((slope > _CURVATURE * step[:, None]) | (content.real != 0) | (content.imag != 0))
        q = np.stack([content.real[at], content.imag[at]])
        options = np.concatenate([q + _MOVES[:, :, None], np.zeros_like(q)[None]])  # [option, part, coefficient]
        width, g, lengths = step[at[1]], gradient[at], self.coder.tables.lengths
        d = (options - q) * width
        cost = g.real * d[:, 0] + g.imag * d[:, 1] + _CURVATURE * np.sum(np.square(d), axis=1)
        cost += SLOPE * width**2 * (lengths[bins[at], _symbols(options)] - lengths[bins[at], _symbols(q)])
        if self.coder.origins:  # real, positive, and not beyond what exists
            origin = at[0] == 0
            limited = self.coder.limit_origin(content.real[0] + 1, content.step)[at[1], at[2]]
            cost[2:, origin] = np.inf
            cost[0, origin & (q[0] >= limited)] = np.inf
            cost[1, origin & (q[0] <= 1)] = np.inf
        best, least = cost.argmin(axis=0), cost.min(axis=0)
        order = np.lexsort((least, at[1]))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order)) - np.searchsorted(at[1][order], np.arange(len(step)))[at[1][order]]
        rank -= first[at[1]]
        rows = np.flatnonzero((least < 0) & (rank >= 0) & (rank < most[at[1]]))
        places = tuple(x[rows] for x in at)
        real, imag = content.real.copy(), content.imag.copy()
        real[places], imag[places] = options[best[rows], 0, rows], options[best[rows], 1, rows]
        return replace(content, real=real, imag=imag)


def _symbols(parts: np.ndarray) -> np.ndarray:
    """Symbols of the coder ``[option, coefficient]`` of parts ``[option, part, coefficient]``."""
    size = np.minimum(np.abs(parts), CAP)
    return size[..., 0, :] * (CAP + 1) + size[..., 1, :]
