"""Linear detection at the UE, by sample: channel knowledge after precoding, receive filter, post-detection SINR.

``e`` is the channel after precoding complex64 ``[..., user, rx_ant, stream]``, see
:func:`simulator.maths.rates.received`; streams belong to users in order, the same number each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from simulator.core.backend import ops
from simulator.core.errors import ConfigError
from simulator.maths import rates
from simulator.maths.hermitian import scaled_solve
from simulator.nr.dmrs import Dmrs

CHANNELS = ("genie", "dmrs")
RECEIVERS = ("irc", "lmmse", "mrc")
INTERFERENCE = ("genie", "residual")
_PIVOT = 1e-7  # as in rates.sinr
_TINY = 1e-30
_BLOCK = 12


class Knowledge(NamedTuple):
    """What the UEs know in one slot and sample."""

    own: Any  # complex64 [..., user, rx_ant, layer], channel of the own layers
    covariance: Any  # complex64 [..., user, rx_ant, rx_ant], of the other users' streams and the noise


def own_columns(e: Any) -> Any:
    """Channel of every user's own layers, complex64 ``[..., user, rx_ant, layer]``."""
    users, layers = e.shape[-3], e.shape[-1] // e.shape[-3]
    return ops.stack([e[..., u, :, u * layers : (u + 1) * layers] for u in range(users)], axis=-3)


def interference_covariance(e: Any, noise_var: Any) -> Any:
    r""":math:`R_u = \sum_{j \notin u} e_j e_j^H + \sigma^2 I`, complex64 ``[..., user, rx_ant, rx_ant]``."""
    users, rx, streams = e.shape[-3:]
    other = 1.0 - np.repeat(np.eye(users, dtype=np.float32), streams // users, axis=-1)[:, None, :]
    others = e * ops.cast(ops.convert_to_tensor(other), "complex64")
    white = ops.cast(ops.convert_to_tensor(noise_var), "complex64") * ops.cast(ops.eye(rx), "complex64")
    return ops.matmul(others, _hermitian(others)) + white


def filters(known: Knowledge, receiver: str) -> Any:
    r"""Receive filters :math:`f_s`, complex64 ``[..., user, rx_ant, layer]``, of any scale.

    ``irc``: :math:`(\hat E_u \hat E_u^H + \hat R_u)^{-1} \hat e_s`, ``lmmse``: the same with the white covariance
    :math:`\mathrm{tr}(\hat R_u) / N_r \, I`, ``mrc``: :math:`\hat e_s`.

    Raises:
        ConfigError: unknown receiver.

    Source: Tse, Viswanath, Fundamentals of Wireless Communication, Eq. (8.66); TR 36.829, 5.1 (MMSE-IRC).
    """
    if receiver == "mrc":
        return known.own
    if receiver not in RECEIVERS:
        raise ConfigError("detection.receiver", receiver, ", ".join(RECEIVERS))
    covariance = known.covariance
    if receiver == "lmmse":
        rx = covariance.shape[-1]
        power = ops.sum(ops.real(covariance) * ops.eye(rx), axis=(-2, -1), keepdims=True) / rx
        covariance = ops.cast(power * ops.eye(rx), "complex64")
    return scaled_solve(ops.matmul(known.own, _hermitian(known.own)) + covariance, known.own, floor=_PIVOT)


def filtered_sinr(e: Any, f: Any, noise_var: Any) -> Any:
    r"""SINR after given filters on the true channel.

    .. math:: \mathrm{SINR}_s = \frac{|f_s^H e_s|^2}{\sum_{j \ne s} |f_s^H e_j|^2 + \sigma^2 \|f_s\|^2}

    The effective gain :math:`f_s^H e_s` is assumed known, so with one antenna, where a filter only scales, estimation
    errors cost nothing.

    Args:
        e: true channel ``[..., user, rx_ant, stream]``.
        f: filters ``[..., user, rx_ant, layer]``, see :func:`filters`; a zero filter has SINR 0.
        noise_var: float32, broadcast against ``[..., user, layer]``.

    Returns:
        float32 ``[..., user, layer]``.
    """
    users, layers, streams = e.shape[-3], f.shape[-1], e.shape[-1]
    own = ops.reshape(ops.eye(streams), (users, layers, streams))
    f = f * ops.cast(ops.rsqrt(ops.maximum(ops.sum(_power(f), axis=-2, keepdims=True), _TINY)), "complex64")
    power = _power(ops.matmul(_hermitian(f), e))  # [..., user, layer, stream]
    return ops.sum(power * own, axis=-1) / (ops.sum(power * (1.0 - own), axis=-1) + noise_var)


@dataclass(frozen=True)
class Detection:
    """How UEs demodulate. The default, ``genie`` and ``irc``, is :func:`simulator.maths.rates.sinr`.

    Args:
        channel: ``genie`` knows the channel after precoding; ``dmrs`` takes least squares from pilots, averaged over
            a precoding resource block group (PRG), with noise and, where ports do not suffice, interference.
        receiver: see :func:`filters`.
        interference: covariance of interference and noise: ``genie`` or ``residual``, the sample covariance of what
            the own pilots leave on the resource elements of the DM-RS. None: ``residual`` for ``dmrs``, else ``genie``.
        loading: ``residual`` covariances get this share of their mean diagonal on the diagonal.
        dmrs: pilots.
        prg_rb: resource blocks of one PRG, inside which the gNB holds its precoder. None: 2 for ``dmrs`` (TS 38.214,
            5.1.2.3); for ``genie`` every frequency sample has its own precoder.
        samples_per_rb: frequency samples of one resource block, 1 or 12.

    Users get DM-RS ports in order. Where the streams exceed the ports, users that share ports are separated by
    scrambling alone: pilots of other users reach them as QPSK symbols.

    Raises:
        ConfigError: unknown names, or ``residual`` without DM-RS.
    """

    channel: str = "genie"
    receiver: str = "irc"
    interference: str | None = None
    loading: float = 0.01
    dmrs: Dmrs = field(default_factory=Dmrs)
    prg_rb: int | None = None
    samples_per_rb: int = 1

    def __post_init__(self) -> None:
        for name, known in (("channel", CHANNELS), ("receiver", RECEIVERS), ("interference", (*INTERFERENCE, None))):
            if getattr(self, name) not in known:
                raise ConfigError(f"detection.{name}", getattr(self, name), ", ".join(map(str, known)))
        if self.interference == "residual" and self.channel != "dmrs":
            raise ConfigError("detection.interference", "residual", "genie: without DM-RS there is no residual")

    @property
    def prg(self) -> int | None:
        """Frequency samples of one PRG; None: no PRGs."""
        size = self.prg_rb or (2 if self.channel == "dmrs" else None)
        return size and size * self.samples_per_rb

    def sinr(self, e: Any, noise_vars: np.ndarray, *, seed: int = 0) -> Any:
        """Post-detection SINR.

        Args:
            e: complex64 ``[snr or 1, batch, subcarrier, user, rx_ant, stream]``.
            noise_vars: float32 ``[snr]``, noise power for total transmit power 1.
            seed: seeds noise and scrambling of the DM-RS, the unit noise is the same at every SNR.

        Returns:
            float32 ``[snr, batch, subcarrier, user, layer]``.
        """
        if (self.channel, self.receiver) == ("genie", "irc"):
            return rates.sinr(e, ops.convert_to_tensor(noise_vars[:, None, None, None, None]))
        by_snr = []
        for index, noise_var in enumerate(noise_vars):
            one = e[min(index, e.shape[0] - 1)]
            by_snr.append(filtered_sinr(one, filters(self.knowledge(one, noise_var, seed), self.receiver), noise_var))
        return ops.stack(by_snr)

    def knowledge(self, e: Any, noise_var: float, seed: int) -> Knowledge:
        """What the UEs know of ``e [batch, subcarrier, user, rx_ant, stream]``."""
        if self.channel == "genie":
            return Knowledge(own_columns(e), interference_covariance(e, noise_var))
        own, covariance = self._from_pilots(e, noise_var, np.random.default_rng(seed))
        if self.interference == "genie":
            covariance = interference_covariance(e, noise_var)
        return Knowledge(own, covariance)

    def _from_pilots(self, e: Any, noise_var: float, rng: np.random.Generator) -> tuple[Any, Any]:
        """Least squares of the own layers and residual covariance, constant in each PRG."""
        batch, n, users, rx, streams = e.shape
        layers = streams // users
        sent, own, used = self._pilots(batch, n, users, layers, rng)
        noise = rng.standard_normal((batch, n, users, rx, used.shape[-1], 2), np.float32).view(np.complex64)[..., 0]
        noise *= np.float32(np.sqrt(noise_var / 2)) * used[:, None, None, :]
        y = ops.matmul(e, ops.convert_to_tensor(sent)) + ops.convert_to_tensor(noise)
        energy = self._over_prg(np.sum(np.abs(own) ** 2, axis=3).mean(axis=1)[None])  # [1, n, layer]
        own = ops.convert_to_tensor(own)
        e_hat = self._over_prg(ops.matmul(y, _hermitian(own))) / ops.cast(energy, "complex64")[:, :, None, None, :]
        left = y - ops.matmul(e_hat, own)
        count = self._over_prg(used.sum(axis=-1)[None]) - layers  # every layer takes one dimension away
        scatter = self._over_prg(ops.matmul(left, _hermitian(left)))
        covariance = scatter / ops.cast(count, "complex64")[:, :, None, None, None]
        mean = ops.sum(ops.real(covariance) * ops.eye(rx), axis=(-2, -1), keepdims=True) / rx
        return e_hat, covariance + ops.cast(self.loading * mean * ops.eye(rx), "complex64")

    def _pilots(
        self, batch: int, n: int, users: int, layers: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pilots of all streams as every user descrambles them, of its own layers, and resource elements in use.

        Complex64 ``[n, user, stream, element]``, with a leading batch axis where scrambling differs; ``[n, user, layer,
        element]``; float32 ``[n, element]``.
        """
        codes = self.dmrs.codes()
        together = len(codes) // layers  # users on orthogonal ports
        if not together:
            raise ConfigError("precoding.layers_per_user", layers, f"at most {len(codes)} (DM-RS ports)")
        if self.samples_per_rb == 1:
            codes = codes.reshape(len(codes), 1, -1)
        codes = np.tile(codes, (1, -(-n // codes.shape[1]), 1))[:, :n].transpose(1, 0, 2)  # [n, port, element]
        used = np.any(codes != 0, axis=1).astype(np.float32)
        user = np.arange(users)
        port = np.ravel((user % together * layers)[:, None] + np.arange(layers))
        sent = np.repeat(codes[:, None, port].astype(np.complex64), users, axis=1)
        apart = user[:, None] // together != np.repeat(user // together, layers)  # [user, stream]
        own = np.stack([sent[:, u, u * layers : (u + 1) * layers] for u in range(users)], axis=1)
        if apart.any():
            quarter = rng.integers(4, size=(batch, *sent.shape), dtype=np.int8)
            sent = sent * np.where(apart[:, :, None], np.array([1, 1j, -1, -1j], np.complex64)[quarter], 1)
        return sent, own, used

    def _over_prg(self, x: Any) -> Any:
        """Sum over the samples of every PRG, at each of its samples; ``x [batch, n, ...]``."""
        n, size = x.shape[1], self.prg
        rest = list(x.shape[2:])
        x = ops.pad(x, [[0, 0], [0, -n % size]] + [[0, 0]] * len(rest))
        total = ops.sum(ops.reshape(x, (x.shape[0], -1, size, *rest)), axis=2)
        return ops.repeat(total, size, axis=1)[:, :n]


def _hermitian(x: Any) -> Any:
    return ops.conj(ops.swapaxes(x, -1, -2))


def _power(x: Any) -> Any:
    return ops.square(ops.real(x)) + ops.square(ops.imag(x))
