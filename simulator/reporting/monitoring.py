"""Performance monitoring of a UE's predictor: accuracy of what it predicted, and of what it would have held instead."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction
from simulator.core.views import by_drop, by_slot
from simulator.maths.directions import layer_correlation2, subband_directions

PAI_BITS = 4  # of one SGCS
NO_PAI = 15  # reserved; here: nothing is known
_EDGES = np.arange(30, 100, 5) / 100  # largest SGCS of the codes 0 to 13; code 14 ends at 1


def pai_code(sgcs: ArrayLike) -> NDArray[np.int64]:
    r"""Code of a prediction accuracy indicator (PAI): 0 up to .30, k for :math:`(.30 + .05 (k - 1), .30 + .05 k]`.

    Args:
        sgcs: squared generalised cosine similarity ``[...]``, 0 to 1.

    Returns:
        int64 ``[...]``, 0 to 14; 15 is reserved.

    Source: TS 38.214 (Rel. 19), 5.2.1.4.6.
    """
    return np.asarray(np.searchsorted(_EDGES, np.asarray(sgcs, np.float64), side="left"), np.int64)


def pai_value(code: ArrayLike) -> NDArray[np.float64]:
    """SGCS in the middle of the cell of each code, float64 ``[...]``; NaN for the reserved code 15."""
    ends = np.concatenate([[0.0], _EDGES, [1.0]])
    return np.asarray(np.append((ends[1:] + ends[:-1]) / 2, np.nan)[np.asarray(code)], np.float64)


def pai_widths(config: CsiConfig) -> tuple[int, ...]:
    """Bits of every value of a report: for each layer the predicted and the held CSI."""
    return (PAI_BITS,) * (2 * config.num_layers)


def prediction_accuracy(
    measured: CsiEstimate, predicted: CsiEstimate, config: CsiConfig, batch: int, ahead: int
) -> NDArray[np.int64]:
    r"""PAI of every slot, from the CSI that the UE measures there and what it had ``ahead`` slots before.

    The SGCS of layer l is the mean over subbands of :math:`|v_l^H w_l|^2`, v being the l-th eigenvector of the subband
    in the measured channel, w that in the prediction of that slot, or in the last measurement from before, held.

    Args:
        measured: estimates of all slots, by slot.
        predicted: prediction in each of them for the slot ``ahead`` later.
        config: public configuration.
        batch: drops.
        ahead: slots that the predictor looks ahead.

    Returns:
        int64 ``[batch * slot, user, 2 * layer]`` for the slots from ``ahead`` on: codes of layer 1 predicted, held, of
        layer 2, ...

    Source: TS 38.214 (Rel. 19), 5.2.1.4.6; SGCS: TR 38.843, 6.2.
    """
    now, expected = (
        by_drop(subband_directions(CsiReconstruction(h=csi.h_hat), config), batch, 1) for csi in (measured, predicted)
    )
    slots = now.shape[1] - ahead
    found = [layer_correlation2(now[:, ahead:], past[:, :slots]).mean(axis=-1) for past in (expected, now)]
    return by_slot(pai_code(np.stack(found, axis=-1)).reshape(batch, slots, now.shape[2], -1), 1)
