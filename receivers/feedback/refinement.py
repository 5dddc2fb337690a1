"""Refinement of decoded reports at the gNB: nothing changes at the UE."""

from __future__ import annotations

import numpy as np

from receivers.codebooks.beam_delay import BeamDelayReport
from receivers.models.report_frame import ReportFrame
from receivers.weights.folder import TrainedRefiner
from simulator.core.errors import ConfigError

_CHUNK = 1024  # layers at a time


class ReportRefinement:
    """Coefficients that a network expects to be behind a decoded report.

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
            self._trained = TrainedRefiner(weights)
        except ConfigError as error:
            raise ConfigError(field, weights, error.allowed) from None
        self._frame = ReportFrame(size, num_units)

    @property
    def name(self) -> str:
        """Of the weights."""
        return self._trained.name

    def __call__(self, report: BeamDelayReport) -> np.ndarray:
        """Refined coefficients complex64 ``[report, layer, row, tap]``; further layers than the network knows as is."""
        from keras import ops

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
            y = self._trained.model(ops.convert_to_tensor(self._frame.tokens(part)), training=False)
            x[rows, :known] = self._frame.coefficients(ops.convert_to_numpy(y), part)
        return x
