"""Regularised zero forcing whose columns are turned, user by user, to the directions of most signal."""

from __future__ import annotations

from typing import Any

from simulator.core.backend import ops
from simulator.core.errors import ConfigError
from simulator.maths.hermitian import hermitian_solve
from simulator.precoding.linear import equal_power, loaded_gram, rzf

_SPREAD = 1e3  # amplitudes of one user's layers further apart are taken as this far apart
_SILENT = 1e-12  # a row below this share of its user's power is the rounding of a layer without CSI


def block_rzf(g: Any, loading: Any, num_users: int) -> Any:
    r"""Columns :math:`G^H K_{:,u} Y_u`, :math:`K = (G G^H + \alpha I)^{-1}`, equal power per stream.

    :math:`Y_u` are the eigenvectors of the diagonal block :math:`K_{uu}` of user u, smallest eigenvalue first. With
    :math:`B_u = \sum_{k \ne u} G_k^H G_k + \alpha I` the matrix inversion lemma gives
    :math:`G^H K_{:,u} = B_u^{-1} G_u^H (I + A_u)^{-1}` and :math:`\alpha K_{uu} = (I + A_u)^{-1}`,
    :math:`A_u = G_u B_u^{-1} G_u^H`: the columns are the generalised eigenvectors of :math:`G_u^H G_u` and
    :math:`B_u`, largest eigenvalue (ratio of signal to leakage and noise) first. One inverse of the size of all streams
    serves all users. One layer per user: :func:`simulator.precoding.linear.rzf`.

    Args:
        g: effective rows complex64 ``[..., stream, port]``, layers of a user side by side.
        loading: :math:`\alpha \ge 0`, in the unit of ``|g|^2``; see :func:`simulator.precoding.linear.rzf`.
        num_users: users that share the streams evenly.

    Returns:
        complex64 ``[..., port, stream]``, strongest stream of a user first.

    Raises:
        ConfigError: the streams cannot be shared evenly.
    """
    g, size = ops.convert_to_tensor(g), layers_per_user(g, num_users)
    if size == 1:
        return rzf(g, loading)
    gram, scale = loaded_gram(g, loading)
    weight = ops.cast(scale, "complex64")[..., None]
    identity = ops.zeros_like(gram) + ops.cast(ops.eye(g.shape[-2]), "complex64")
    solved = hermitian_solve(gram, ops.concatenate([identity, g * weight], axis=-1))
    columns = []
    for start in range(0, num_users * size, size):
        own = slice(start, start + size)
        # K = diag(scale) gram^-1 diag(scale); a factor common to a user's layers does not turn its columns.
        relative = scale[..., own] / ops.min(scale[..., own], axis=-1, keepdims=True)
        relative = ops.cast(ops.minimum(relative, _SPREAD), "complex64")[..., None]
        block = solved[..., own, own] * relative * ops.swapaxes(relative, -1, -2)
        _, turn = ops.linalg.eigh(block)  # ascending
        rows = solved[..., own, g.shape[-2] :] * relative
        rows = ops.matmul(ops.conj(ops.swapaxes(turn, -1, -2)), rows)
        power = ops.sum(ops.square(ops.real(rows)) + ops.square(ops.imag(rows)), axis=-1, keepdims=True)
        heard = power > _SILENT * ops.max(power, axis=-2, keepdims=True)
        columns.append(rows * ops.cast(heard, "complex64"))
    return equal_power(ops.concatenate(columns, axis=-2))


def layers_per_user(g: Any, num_users: int) -> int:
    """Layers of one user of ``g [..., stream, port]``.

    Raises:
        ConfigError: ``num_users`` does not divide the streams.
    """
    layers, rest = divmod(g.shape[-2], num_users)
    if rest or not layers:
        raise ConfigError("num_users", num_users, f"a divisor of the {g.shape[-2]} streams")
    return layers
