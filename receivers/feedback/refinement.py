"""Refinement of decoded reports at the gNB: nothing changes at the UE."""

from __future__ import annotations

from typing import Any

import numpy as np

from receivers.codebooks.beam_delay import BeamDelayReport
from receivers.models.report_frame import FEATURES, ReportFrame, conjugated
from receivers.models.report_gate import ReportGate
from receivers.weights.folder import TrainedRefiner
from simulator.core.errors import ConfigError

_CHUNK = 512  # layers at a time


class ReportRefinement:
    """Coefficients that a network expects, given a decoded report, as far as a gate trusts it.

    The network answers to a report and to its complex conjugate, which is as likely; the mean of both counts.

    Args:
        field: of the scenario that names the weights.
        weights: zoo name or folder of a network for reports (recipe with ``task: refinement``).
        size: (polarisations, N2, N1) of the panel.
        num_units: N_3, samples of a report in frequency.

    Raises:
        ConfigError: no such weights, or of another task.
    """

    def __init__(self, field: str, weights: str, size: tuple[int, int, int], num_units: int):
        try:
            self._trained = TrainedRefiner.shared(weights)
        except ConfigError as error:
            raise ConfigError(field, weights, error.allowed) from None
        self._frame, self._gate = ReportFrame(size, num_units), ReportGate(self._trained.gate)

    @property
    def network(self) -> Any:
        """From tokens of a layer to coefficients."""
        return self._trained.model

    @property
    def name(self) -> str:
        """Of the weights."""
        return self._trained.name

    def macs(self, layers: int) -> int:
        """Multiply-accumulates of a report of these layers: both runs of the network."""
        return 2 * min(layers, self._trained.num_layers) * macs_of(self.network, self._frame.num_beams)

    def __call__(self, report: BeamDelayReport) -> np.ndarray:
        """Refined coefficients complex64 ``[report, layer, row, tap]``; further layers than the network knows as is."""
        known, x = self._trained.num_layers, report.x.copy()
        reports = max(_CHUNK // min(known, x.shape[1]), 1)
        for start in range(0, len(x), reports):
            rows = slice(start, start + reports)
            part = BeamDelayReport(
                report.group[rows],
                report.x[rows, :known],
                report.sent[rows, :known],
                report.threshold[rows, :known],
                report.logarithmic,
            )
            x[rows, :known] = self._gate(part, answers(self.network, self._frame, part))
        return x


def macs_of(network: Any, num_beams: int) -> int:
    """Multiply-accumulates of a run of the network over the beams of a layer (:mod:`receivers.models.cost`)."""
    from receivers.models.cost import work_of

    tokens = np.zeros((1, num_beams, FEATURES), np.float32)
    return sum(part.macs for part in work_of(lambda: network(tokens, training=False)) if part.kind != "norm")


def answers(network: Any, frame: ReportFrame, report: BeamDelayReport) -> list[np.ndarray]:
    """Refined coefficients, shape of ``report.x``, of reports, and of their complex conjugates conjugated again."""
    from keras import ops

    tokens = frame.tokens(report)
    both = ops.convert_to_tensor(np.concatenate([tokens, conjugated(tokens)]))
    plain, turned = np.split(np.asarray(ops.convert_to_numpy(network(both, training=False))), 2)
    turned = turned * np.tile(np.array([1, -1], np.float32), turned.shape[-1] // 2)
    return [frame.coefficients(y, report) for y in (plain, turned)]
