"""Largest ratio of signal to leakage and noise."""

from __future__ import annotations

from typing import Any

from simulator.core.interfaces import Precoder
from simulator.core.params import Count, validated
from simulator.core.types import PrecodingContext
from simulator.precoding.blocks import block_rzf
from simulator.precoding.linear import active_streams


def slnr(g: Any, noise_var: Any, num_users: int) -> Any:
    r"""Columns that maximise signal over leakage and noise, user by user, equal power per stream.

    .. math:: \max_{W_u} \frac{\mathrm{tr}(W_u^H G_u^H G_u W_u)}
              {\mathrm{tr}(W_u^H (\sum_{k \ne u} G_k^H G_k + S \sigma^2 I) W_u)}

    The noise term is :math:`M_u \sigma^2` of the paper with one receive dimension per layer and power 1/S for each of
    the S streams that have CSI. The columns are generalised eigenvectors of the two matrices, largest eigenvalues
    first; see :func:`simulator.precoding.blocks.block_rzf`. One layer per user: RZF with the loading
    :math:`S \sigma^2`.

    Args:
        g: effective rows complex64 ``[..., stream, port]``, layers of a user side by side.
        noise_var: noise power for total transmit power 1.
        num_users: users that share the streams evenly.

    Returns:
        complex64 ``[..., port, stream]``, strongest stream of a user first.

    Raises:
        ConfigError: the streams cannot be shared evenly.

    Source: Sadek, Tarighat, Sayed, IEEE Trans. Wireless Commun. 6(5), 2007.
    """
    return block_rzf(g, active_streams(g) * noise_var, num_users)


class Slnr(Precoder):
    """Signal to leakage and noise ratio, see :func:`slnr`.

    Args:
        num_users: users that share the streams; None takes one stream per user. The link sets it.
    """

    noise_dependent = True

    @validated("precoding.slnr")
    def __init__(self, num_users: Count | None = None):
        self.num_users = num_users

    def for_link(self, context: PrecodingContext) -> Slnr:
        """This precoder for the users of the link."""
        return Slnr(context.num_users)

    def weights(self, g: Any, noise_var: float) -> Any:
        """Precoder complex64 ``[..., port, stream]``."""
        return slnr(g, noise_var, self.num_users or g.shape[-2])
