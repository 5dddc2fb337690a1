"""Block diagonalisation."""

from __future__ import annotations

from typing import Any

from simulator.core.interfaces import Precoder
from simulator.core.params import Count, validated
from simulator.core.types import PrecodingContext
from simulator.precoding.blocks import block_rzf


def bd(g: Any, num_users: int) -> Any:
    r"""Zero forcing between users only: right singular vectors of :math:`G_u P_u`, equal power per stream.

    :math:`P_u` projects onto the null space of the rows of all other users. The layers of one user stay orthogonal but
    share its signal space, which its LMMSE receiver separates. Equal to :func:`simulator.precoding.blocks.block_rzf`
    without loading; users that depend on each other linearly are handled as in :func:`simulator.precoding.linear.zf`.

    Args:
        g: effective rows complex64 ``[..., stream, port]``, layers of a user side by side.
        num_users: users that share the streams evenly.

    Returns:
        complex64 ``[..., port, stream]``, strongest stream of a user first.

    Raises:
        ConfigError: the streams cannot be shared evenly.

    Source: Spencer, Swindlehurst, Haardt, IEEE Trans. Signal Process. 52(2), 2004, Sec. III (there with water-filling).
    """
    return block_rzf(g, 0.0, num_users)


class Bd(Precoder):
    """Block diagonalisation, see :func:`bd`.

    Args:
        num_users: users that share the streams; None takes one stream per user. The link sets it.
    """

    @validated("precoding.bd")
    def __init__(self, num_users: Count | None = None):
        self.num_users = num_users

    def for_link(self, context: PrecodingContext) -> Bd:
        """This precoder for the users of the link."""
        return Bd(context.num_users)

    def weights(self, g: Any, noise_var: float) -> Any:
        """Precoder complex64 ``[..., port, stream]``."""
        return bd(g, self.num_users or g.shape[-2])
