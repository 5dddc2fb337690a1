"""Regularised zero forcing for CSI with an error of known variance."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np

from simulator.core.backend import ops
from simulator.core.interfaces import Precoder
from simulator.core.params import NonNegativeFloat, validated
from simulator.core.types import PrecodingContext
from simulator.precoding.linear import active_streams, rzf


def rzf_robust(g: Any, noise_var: Any, error_var: Any) -> Any:
    r"""Regularised zero forcing with the loading :math:`\alpha = S \sigma^2 + \sum_s \sigma_{e,s}^2`.

    The true rows are ``g + e``, e white, independent of ``g``, of variance :math:`\sigma_{e,s}^2` per entry. The mean
    over e of the power that stream j leaves at receiver s is :math:`|g_s w_j|^2 + \sigma_{e,s}^2 \|w_j\|^2`: at total
    power 1 the error acts as noise of its own variance. Without error :func:`simulator.precoding.linear.rzf`.

    Args:
        g: effective rows complex64 ``[..., stream, port]``, the mean of the true ones given the CSI.
        noise_var: noise power for total transmit power 1.
        error_var: float, or float32 broadcast to ``[..., stream]``.

    Returns:
        complex64 ``[..., port, stream]``, equal power per stream.

    Source: Shenouda, Davidson, IEEE J. Sel. Areas Commun. 26(6), 2008 (linear precoding, total MSE averaged over the
    error).
    """
    g = ops.convert_to_tensor(g)
    error_var = ops.broadcast_to(ops.cast(error_var, "float32"), g.shape[:-1])
    return rzf(g, active_streams(g) * noise_var + ops.sum(error_var, axis=-1, keepdims=True))


class RzfRobust(Precoder):
    """Regularised zero forcing with the variance of the CSI error, see :func:`rzf_robust`.

    Args:
        relative_error: variance of the error over the power of the known row, linear; None takes the link's figure for
            each scheme, see :class:`simulator.core.types.PrecodingContext`.
    """

    noise_dependent = True

    @validated("precoding.rzf_robust")
    def __init__(self, relative_error: NonNegativeFloat | None = None):
        self.fixed = relative_error is not None
        self.relative_error = np.float32(relative_error or 0.0)

    def for_link(self, context: PrecodingContext) -> RzfRobust:
        """This precoder for CSI of the accuracy that the link states, unless the constructor named one."""
        bound = copy(self)
        if not self.fixed:
            by_layer = np.atleast_1d(np.asarray(context.relative_error, np.float32))
            bound.relative_error = np.tile(by_layer, context.num_users if by_layer.size > 1 else 1)
        return bound

    def weights(self, g: Any, noise_var: float) -> Any:
        """Precoder complex64 ``[..., port, stream]``."""
        g = ops.convert_to_tensor(g)
        power = ops.mean(ops.square(ops.real(g)) + ops.square(ops.imag(g)), axis=-1)
        return rzf_robust(g, noise_var, power * ops.convert_to_tensor(self.relative_error))
