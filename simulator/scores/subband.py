"""Squared cosines by subband, as 3GPP compares CSI feedback: layer by layer, and of the space that the layers span."""

from __future__ import annotations

import numpy as np

from simulator.core.interfaces import Metric
from simulator.core.shapes import flat_tail
from simulator.maths.directions import layer_correlation2
from simulator.outcomes import CsiOutcome

_RANK_TOLERANCE = 1e-6  # of the largest eigenvalue of W^H W: weaker combinations of layers are rounding


def subspace_correlation2(v: np.ndarray, w: np.ndarray) -> np.ndarray:
    r"""How much of the space of ``v`` the columns of ``w`` span: :math:`\|Q_V^H Q_W\|_F^2 / L`, 0 to 1.

    :math:`Q_V` and :math:`Q_W` are orthonormal bases: no rotation and no scale of the layers counts. Mean of the
    squared cosines of the principal angles, 0 for every dimension that ``w`` lacks.

    Args:
        v: complex ``[..., port, layer]``, L layers.
        w: complex ``[..., port, layer]``.

    Returns:
        float64 ``[...]``; for one layer the squared cosine.
    """
    product = np.conj(np.swapaxes(_basis(v), -1, -2)) @ _basis(w)
    return np.minimum(np.sum(np.abs(product) ** 2, axis=(-2, -1)) / v.shape[-1], 1.0)


def _basis(x: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the columns of ``x [..., port, layer]``, complex128, with zeros where it has fewer."""
    x = np.asarray(x, np.complex128)
    gram = np.conj(np.swapaxes(x, -1, -2)) @ x
    good = np.isfinite(gram).all(axis=(-2, -1), keepdims=True)
    power, u = np.linalg.eigh(np.where(good, gram, 0))
    present = power > np.maximum(_RANK_TOLERANCE * power[..., -1:], 1e-60)
    factor = present / np.sqrt(np.where(present, power, 1.0))
    return np.where(good, x @ u * factor[..., None, :], np.nan)


class SgcsSubband(Metric):
    r"""SGCS by subband: the target of a layer is its eigenvector of the subband covariance, as in studies of 3GPP.

    Mean over layers, subbands, UEs and slots of :math:`|v_l^H w_l|^2 / (\|v_l\|^2 \|w_l\|^2)`. :math:`v_l` is the l-th
    eigenvector of :math:`\sum_n H_n^H H_n` over the samples of the subband (true channel), :math:`w_l` that at the gNB:
    its precoder there, or that eigenvector of the reconstructed channel. With several layers also each on its own
    (``sgcs_subband_layer1``, ...).

    The mean is over all layers that the gNB wants: one that the UE does not report (a lower rank, a lost report, no
    codeword) counts 0. Layers of equal gain may turn into each other; ``sgcs_subspace`` does not see that.

    Source: 3GPP TR 38.843, 6.2 (SGCS; per layer for more than one).
    """

    unit, better, scope, bounds = "1", "higher", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean squared cosine per drop, of all layers and of each."""
        if outcome.directions is None:
            return {}
        found = layer_correlation2(*outcome.directions())  # [batch * slot, user, layer, subband]
        layers = {"": found} | {f"_layer{i + 1}": found[:, :, i] for i in range(found.shape[2]) if found.shape[2] > 1}
        return {f"sgcs_subband{name}": _by_drop(x, outcome) for name, x in layers.items()}


class SgcsSubspace(Metric):
    r"""Share of the dominant subspace of a subband that the reported layers span. Links with several layers only.

    Mean over subbands, UEs and slots of :math:`\|V^H W\|_F^2 / L` with orthonormal bases of the L target directions of
    ``sgcs_subband`` and of the layers that the gNB knows. Rotated layers serve a single user as well and have 1 here;
    for one layer it is ``sgcs_subband``. A layer that is not reported lacks one dimension.
    """

    unit, better, scope, bounds = "1", "higher", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean share per drop."""
        if outcome.directions is None or outcome.correlation2.shape[2] == 1:
            return {}
        found = subspace_correlation2(*(np.moveaxis(x, 2, -1) for x in outcome.directions()))
        return {"sgcs_subspace": _by_drop(found, outcome)}


def _by_drop(x: np.ndarray, outcome: CsiOutcome) -> np.ndarray:
    """Mean over all values of a drop, of ``[batch * slot, ...]``."""
    drops, slots = outcome.num_bits.shape[0], outcome.num_bits.shape[2]
    return flat_tail(x.reshape(drops, slots, *x.shape[1:])).mean(axis=1)
