"""Weighted MMSE iterations towards a local maximum of the sum rate."""

from __future__ import annotations

from typing import Any

from simulator.core.backend import ops
from simulator.core.interfaces import Precoder
from simulator.core.params import Count, validated
from simulator.core.types import PrecodingContext
from simulator.maths import rates
from simulator.maths.hermitian import scaled_solve
from simulator.precoding.blocks import layers_per_user
from simulator.precoding.linear import active_streams, regularised_rows, rzf

NUM_ITERATIONS = 20
_PIVOT = 1e-7  # as in rates.sinr, which covariances at the receivers resemble
_TINY = 1e-30


def wmmse(g: Any, noise_var: Any, num_users: int | None = None, num_iterations: int = NUM_ITERATIONS) -> Any:
    r"""Precoder after a fixed number of WMMSE iterations that start from RZF; unequal powers, total 1.

    An iteration sets, for every stream s of user u and in this order, the LMMSE receiver
    :math:`u_s = (\sum_j G_u w_j w_j^H G_u^H + \sigma^2 I)^{-1} G_u w_s`, the weight :math:`1 / e_s` with the mean
    squared error :math:`e_s = 1 / (1 + \mathrm{SINR}_s)`, and with :math:`f_s = G_u^H u_s`

    .. math:: w_s \propto \Big( \sum_j \frac{f_j f_j^H}{e_j} + \mu I \Big)^{-1} \frac{f_s}{e_s}, \quad
              \mu = \sigma^2 \sum_j \frac{\|u_j\|^2}{e_j} .

    Streams of one user count as interference to each other, as in :func:`simulator.maths.rates.sinr`. The multiplier is
    that of every stationary point under a sum power constraint; it replaces the bisection of the paper: the noise is
    scaled with the power in use, so the steps raise the rate of the precoder scaled to power 1, which never falls.

    Args:
        g: effective rows complex64 ``[..., stream, port]``, layers of a user side by side.
        noise_var: noise power for total transmit power 1, above 0.
        num_users: users that share the streams evenly and receive their own jointly; None: one stream per user.
        num_iterations: 0 gives RZF.

    Returns:
        complex64 ``[..., port, stream]``.

    Raises:
        ConfigError: the streams cannot be shared evenly.

    Source: Shi, Razaviyayn, Luo, He, IEEE Trans. Signal Process. 59(9), 2011, Table I; multiplier: Christensen,
    Agarwal, de Carvalho, Cioffi, IEEE Trans. Wireless Commun. 7(12), 2008.
    """
    users = num_users or g.shape[-2]
    g, rows = _start(g, noise_var, users)
    for _ in range(num_iterations):
        _, rows = _iterate(g, rows, users)
    return _hermitian(rows)


def wmmse_convergence(
    g: Any, noise_var: Any, num_users: int | None = None, num_iterations: int = NUM_ITERATIONS
) -> Any:
    """Sum rate [bit/s/Hz] of RZF and after every iteration of :func:`wmmse`, float32 ``[..., num_iterations + 1]``."""
    users = num_users or g.shape[-2]
    g, rows = _start(g, noise_var, users)
    rates = []
    for _ in range(num_iterations + 1):
        rate, rows = _iterate(g, rows, users)
        rates.append(rate)
    return ops.stack(rates, axis=-1)


def _start(g: Any, noise_var: Any, users: int) -> tuple[Any, Any]:
    """Rows for unit noise, and RZF as ``[..., stream, port]``."""
    layers_per_user(g, users)
    g = ops.convert_to_tensor(g) * ops.cast(ops.rsqrt(ops.cast(noise_var, "float32")), "complex64")
    return g, _hermitian(rzf(g, active_streams(g)))


def _iterate(g: Any, rows: Any, users: int) -> tuple[Any, Any]:
    """Sum rate ``[...]`` of the precoder ``rows [..., stream, port]`` at unit noise, and the next precoder."""
    streams = g.shape[-2]
    layers = streams // users
    lead = tuple(ops.shape(g)[:-2])
    received = ops.reshape(ops.matmul(g, _hermitian(rows)), (*lead, users, layers, streams))
    quality = rates.sinr(received, ops.ones(()))  # [..., user, layer]
    mse = ops.reshape(1.0 / (1.0 + quality), (*lead, streams))
    receiver = _receivers(received)
    filtered = ops.matmul(_hermitian(receiver), ops.reshape(g, (*lead, users, layers, g.shape[-1])))
    filtered = ops.reshape(filtered, (*lead, streams, g.shape[-1]))  # f_s^H
    noise = ops.reshape(ops.sum(_power(receiver), axis=-2), (*lead, streams))  # |u_s|^2
    multiplier = ops.sum(noise / mse, axis=-1, keepdims=True)
    # (F^H E^-1 F + mu I)^-1 F^H E^-1 = F^H (F F^H + mu E)^-1
    turned = regularised_rows(filtered, multiplier * mse)
    total = ops.sum(_power(turned), axis=(-2, -1), keepdims=True)
    turned = turned * ops.cast(ops.rsqrt(ops.maximum(total, _TINY)), "complex64")
    return ops.sum(rates.rate_bpshz(quality), axis=(-2, -1)), turned


def _receivers(received: Any) -> Any:
    """LMMSE receivers ``[..., user, rx, layer]`` at unit noise of ``received [..., user, rx, stream]``."""
    users, size = received.shape[-3:-1]
    eye = ops.eye(size)
    wanted = ops.stack([received[..., u, :, u * size : (u + 1) * size] for u in range(users)], axis=-3)
    covariance = ops.matmul(received, _hermitian(received)) + ops.cast(eye, "complex64")
    return scaled_solve(covariance, wanted, floor=_PIVOT)


def _hermitian(x: Any) -> Any:
    return ops.conj(ops.swapaxes(x, -1, -2))


def _power(x: Any) -> Any:
    return ops.square(ops.real(x)) + ops.square(ops.imag(x))


class Wmmse(Precoder):
    """Weighted MMSE, see :func:`wmmse`.

    Args:
        num_iterations: iterations after RZF.
        num_users: users that share the streams; None takes one stream per user. The link sets it.
    """

    noise_dependent = True

    @validated("precoding.wmmse")
    def __init__(self, num_iterations: Count = NUM_ITERATIONS, num_users: Count | None = None):
        self.num_iterations = num_iterations
        self.num_users = num_users

    @property
    def num_solves(self) -> int:
        """One for RZF, and one per iteration."""
        return self.num_iterations + 1

    def for_link(self, context: PrecodingContext) -> Wmmse:
        """This precoder for the users of the link."""
        return Wmmse(self.num_iterations, context.num_users)

    def weights(self, g: Any, noise_var: float) -> Any:
        """Precoder complex64 ``[..., port, stream]``."""
        return wmmse(g, noise_var, self.num_users, self.num_iterations)
