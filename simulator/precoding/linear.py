"""Linear precoders as pure functions in ``keras.ops``, and the classes that give them names.

All take the effective channel rows ``g`` complex64 ``[..., stream, port]`` that the gNB knows (``y = g w x + n``) and
return ``w`` complex64 ``[..., port, stream]`` with total power 1, shared evenly by the streams that have CSI unless
the name says water-filling. A stream without CSI (``g`` = 0) gets no power.
"""

from __future__ import annotations

from typing import Any

from simulator.core.backend import ops
from simulator.core.interfaces import Precoder
from simulator.core.params import PositiveFloat, validated
from simulator.maths.hermitian import PIVOT_FLOOR, adjoint, hermitian_solve

_TINY = 1e-30


def mrt(g: Any) -> Any:
    r"""Maximum ratio transmission, :math:`w_k = g_k^H / \|g_k\|`, equal power per stream.

    Source: Lo, IEEE Trans. Commun. 47(10), 1999.
    """
    return equal_power(g)


def zf(g: Any) -> Any:
    r"""Zero forcing, columns of :math:`G^H (G G^H)^{-1}` normalised to equal power per stream.

    Linearly dependent users: the Gram matrix of unit rows is loaded by ``PIVOT_FLOOR``, so that the columns tend to
    those of the pseudo-inverse; interference is left between the dependent users, not to the others.

    Source: Spencer, Swindlehurst, Haardt, IEEE Trans. Signal Process. 52(2), 2004.
    """
    return rzf(_unit_rows(g), PIVOT_FLOOR)


def rzf(g: Any, loading: Any) -> Any:
    r"""Regularised zero forcing (MMSE), columns of :math:`G^H (G G^H + \alpha I)^{-1}`, equal power per stream.

    Args:
        g: effective rows ``[..., stream, port]``.
        loading: :math:`\alpha > 0`, in the unit of ``|g|^2``; ``active_streams(g) * noise_var`` maximises the SINR for
            equal path gains. Below ``PIVOT_FLOOR`` of a row's power it is raised to that.

    Source: Peel, Hochwald, Swindlehurst, IEEE Trans. Commun. 53(1), 2005, Eq. (13).
    """
    return equal_power(regularised_rows(g, loading))


def regularised_rows(g: Any, loading: Any) -> Any:
    r"""Rows of :math:`(G G^H + D)^{-1} G`, complex64 ``[..., stream, port]``.

    Args:
        g: effective rows ``[..., stream, port]``.
        loading: diagonal of D, see :func:`loaded_gram`.
    """
    gram, scale = loaded_gram(g, loading)
    scale = ops.cast(scale, "complex64")[..., None]
    return scale * hermitian_solve(gram, g * scale)


def loaded_gram(g: Any, loading: Any) -> tuple[Any, Any]:
    r"""Loaded Gram matrix scaled to a unit diagonal: elimination then works on numbers of order one.

    Args:
        g: effective rows ``[..., stream, port]``.
        loading: diagonal of D, broadcast to ``[..., stream]``; below ``PIVOT_FLOOR`` of a row's power raised to that.

    Returns:
        complex64 :math:`S (G G^H + D) S` and the diagonal of S, float32 ``[..., stream]``.
    """
    gram = ops.matmul(g, adjoint(g))
    power = ops.sum(ops.real(gram) * ops.eye(g.shape[-2]), axis=-1)
    power = power + ops.maximum(loading, PIVOT_FLOOR * power)
    scale = ops.rsqrt(ops.maximum(power, _TINY))
    factor = ops.cast(scale, "complex64")[..., None]
    unit = ops.cast(ops.eye(g.shape[-2]), "complex64")
    return gram * factor * ops.swapaxes(factor, -1, -2) * (1.0 - unit) + unit, scale


def zf_water_filling(g: Any, noise_var: Any) -> Any:
    r"""Zero forcing, power by water-filling over the gains that the gNB expects.

    Stream k has the gain :math:`1 / [(G G^H)^{-1}]_{kk}` after zero forcing. Streams that look weak get less power or
    none, so unlike :func:`zf` this needs the scale of ``g``. Linearly dependent users look weak (the Gram matrix of
    unit rows is loaded by ``PIVOT_FLOOR``). Columns do not depend on the power: a stream without power still has its
    zeros in the columns of the others.

    Args:
        g: effective rows ``[..., stream, port]``.
        noise_var: noise power for total transmit power 1.

    Source: Caire, Shamai, IEEE Trans. Inf. Theory 49(7), 2003 (zero forcing with water-filling); Yoo, Goldsmith,
    IEEE J. Sel. Areas Commun. 24(3), 2006, Sec. II.
    """
    size = g.shape[-2]
    rows, eye = _unit_rows(g), ops.eye(size)
    gram = ops.matmul(rows, adjoint(rows))
    identity = ops.zeros_like(gram) + ops.cast(eye, "complex64")
    loaded = gram * ops.cast(1.0 - eye, "complex64") + (1.0 + PIVOT_FLOOR) * identity
    solved = hermitian_solve(loaded, ops.concatenate([identity, rows], axis=-1))
    spread = ops.sum(ops.real(solved[..., :size]) * eye, axis=-1)  # 1 for orthogonal users, larger for others
    gains = _norm2(g)[..., 0] / ops.maximum(spread, 1.0)
    order = ops.argsort(-gains, axis=-1)
    power = water_filling(ops.take_along_axis(gains, order, axis=-1), noise_var)
    power = ops.take_along_axis(power, ops.argsort(order, axis=-1), axis=-1)
    columns = adjoint(_unit_rows(solved[..., size:]))
    return columns * ops.cast(ops.sqrt(power), "complex64")[..., None, :]


def svd(g: Any) -> Any:
    r"""Right singular vectors of one user's channel, equal power per layer.

    ``g`` are the rows :math:`\sigma_l v_l^H` of
    :func:`simulator.maths.rates.effective_rows`, orthogonal by construction.

    Source: Telatar, Europ. Trans. Telecommun. 10(6), 1999.
    """
    return equal_power(g)


def water_filling(gains: Any, noise_var: Any) -> Any:
    r"""Power per layer, :math:`p_l = (\mu - \sigma^2 / s_l)^+` with :math:`\sum_l p_l = 1`.

    Args:
        gains: float ``[..., layer]``, squared singular values in descending order.
        noise_var: noise power for total transmit power 1.

    Returns:
        float ``[..., layer]``.

    Source: Cover, Thomas, Elements of Information Theory, 2nd ed., Eq. (9.77).
    """
    floor = noise_var / ops.maximum(gains, _TINY)
    floor = floor - floor[..., :1]  # strong noise would swallow the power in float32
    count = ops.cast(ops.arange(1, gains.shape[-1] + 1), "float32")
    level = (1.0 + ops.cumsum(floor, axis=-1)) / count
    active = ops.cast(level > floor, "float32")
    best = ops.max(ops.where(active > 0, count, 1.0), axis=-1, keepdims=True, initial=1.0)  # of an empty batch too
    level = ops.sum(ops.where(ops.equal(count, best), level, 0.0), axis=-1, keepdims=True)
    return ops.where(count <= best, ops.maximum(level - floor, 0.0), 0.0)


def equal_power(rows: Any) -> Any:
    """Precoder ``[..., port, stream]``: Hermitian transpose of ``rows [..., stream, port]``, equal power per stream.

    The total is 1 over the streams that are not zero.
    """
    norm2 = _norm2(rows)
    used = ops.cast(norm2 > _TINY, "float32")
    share = used / ops.maximum(ops.sum(used, axis=-2, keepdims=True), 1.0)
    return adjoint(rows * ops.cast(ops.sqrt(share / ops.maximum(norm2, _TINY)), "complex64"))


def active_streams(g: Any) -> Any:
    """Number of streams that have CSI, float32 ``[..., 1]`` of ``g [..., stream, port]``: they share the power."""
    return ops.sum(ops.cast(_norm2(g) > _TINY, "float32"), axis=-2)


def _norm2(g: Any) -> Any:
    return ops.sum(ops.square(ops.real(g)) + ops.square(ops.imag(g)), axis=-1, keepdims=True)


def _unit_rows(g: Any) -> Any:
    return g * ops.cast(ops.rsqrt(ops.maximum(_norm2(g), _TINY)), "complex64")


class Mrt(Precoder):
    """Maximum ratio transmission, see :func:`mrt`."""

    def weights(self, g: Any, noise_var: float) -> Any:
        """Precoder complex64 ``[..., port, stream]``."""
        return mrt(g)


class Zf(Precoder):
    """Zero forcing, see :func:`zf`."""

    def weights(self, g: Any, noise_var: float) -> Any:
        """Precoder complex64 ``[..., port, stream]``."""
        return zf(g)


class ZfWaterFilling(Precoder):
    """Zero forcing with water-filling over the streams, see :func:`zf_water_filling`."""

    noise_dependent = True

    def weights(self, g: Any, noise_var: float) -> Any:
        """Precoder complex64 ``[..., port, stream]``."""
        return zf_water_filling(g, noise_var)


class Rzf(Precoder):
    """Regularised zero forcing, see :func:`rzf`.

    Args:
        loading: fixed regularisation; None takes ``active_streams(g) * noise_var``.
    """

    noise_dependent = True

    @validated("precoding.rzf")
    def __init__(self, loading: PositiveFloat | None = None):
        self.loading = loading

    def weights(self, g: Any, noise_var: float) -> Any:
        """Precoder complex64 ``[..., port, stream]``."""
        return rzf(g, active_streams(g) * noise_var if self.loading is None else self.loading)


class Svd(Precoder):
    """Singular vectors of one user, see :func:`svd`."""

    single_user = True

    def weights(self, g: Any, noise_var: float) -> Any:
        """Precoder complex64 ``[..., port, stream]``."""
        return svd(g)


class SvdWaterFilling(Svd):
    """Singular vectors of one user with water-filling over the layers, see :func:`water_filling`."""

    noise_dependent = True

    def weights(self, g: Any, noise_var: float) -> Any:
        """Precoder complex64 ``[..., port, layer]``."""
        columns = adjoint(_unit_rows(g))
        gains = _norm2(g)[..., 0]
        power = water_filling(gains, noise_var) * ops.cast(gains > _TINY, "float32")
        return columns * ops.cast(ops.sqrt(power), "complex64")[..., None, :]
