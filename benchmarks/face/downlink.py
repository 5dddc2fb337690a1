"""Precoders and rates on plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.face.axes import by_slot, checked_channels
from benchmarks.face.channel import Channel
from benchmarks.face.feedback import Feedback
from simulator.core import registry
from simulator.core.backend import ops
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiReconstruction, PrecodingContext
from simulator.maths import rates

_MAX_POWER = 1.001  # total transmit power 1, and float32 rounding


class Precoding:
    """A precoder by name; made by :func:`precoder`. Call it with what the gNB knows.

    Args:
        name: plug-in of `csilink list precoders`.
        config: of the link; None: any antennas.
        num_layers: layers per UE where channels come as plain arrays without a ``config``.
        params: of the precoder.
    """

    def __init__(self, name: str, config: CsiConfig | None, num_layers: int, params: dict[str, Any]):
        self.name, self._config = name, config
        self._num_layers = num_layers if config is None else config.num_layers
        self._precoder = registry.build("precoders", name, **params)

    def __call__(
        self, known: Any, snr_db: float | None = None, *, relative_error: float = 0.0
    ) -> NDArray[np.complex64]:
        """Precoder of every drop and frequency sample.

        Args:
            known: reconstruction of :meth:`Feedback.reconstruct`, or channels complex
                ``[batch, user, rx_ant, port, (slot,) subcarrier]``.
            snr_db: total transmit power over noise power per subcarrier [dB]; for precoders that depend on the noise.
            relative_error: variance of the error of ``known`` over its power, linear; for "rzf_robust".

        Returns:
            ``w`` complex64 ``[batch, subcarrier, port, stream]``, sum of ``|w|^2`` over ports and streams at most 1;
            ``stream = user * layers + layer``. With slots the first axis is ``batch * slot``.

        Raises:
            ConfigError: axes that are not those of the link; more streams than ports or than the precoder serves; no
                SNR where it is needed; total power above 1.
        """
        rows = self._rows(known)
        batch, samples, users, layers, ports = rows.shape
        if users * layers > ports:
            allowed = f"at most as many streams (users * layers, here {users} * {layers}) as ports"
            raise ConfigError("h", f"{ports} ports", allowed)
        self._precoder.check(users, users * layers, ports)
        if snr_db is None and self._precoder.noise_dependent:
            raise ConfigError("snr_db", None, f"a number [dB]: {self.name} depends on the noise")
        noise_var = float(rates.noise_powers((0.0 if snr_db is None else float(snr_db),))[0])
        made = self._precoder.for_link(PrecodingContext(users, relative_error))
        w = made.weights(ops.reshape(rows, (batch, samples, users * layers, ports)), noise_var)
        return _checked_precoder(ops.convert_to_numpy(w), self.name)

    def _rows(self, known: Any) -> Any:
        """Effective rows ``[batch, subcarrier, user, layer, port]``."""
        if isinstance(known, CsiReconstruction):
            config = getattr(known, "config", self._config)
            if config is None:
                raise ConfigError("known", "a bare CsiReconstruction", f"csilink.precoder({self.name!r}, link) for it")
            return rates.known_rows(known, config)
        h = by_slot(checked_channels(known, self._config))
        limit = min(h.shape[2], h.shape[3])
        if not 1 <= self._num_layers <= limit:
            raise ConfigError("num_layers", self._num_layers, f"1..{limit} (min of UE antennas and ports)")
        channel = ops.convert_to_tensor(np.ascontiguousarray(np.moveaxis(h, -1, 1)))
        return rates.effective_rows(channel, self._num_layers)


def precoder(name: str, link: Channel | Feedback | None = None, *, num_layers: int = 1, **params: Any) -> Precoding:
    """A precoder by name.

    Args:
        name: plug-in of `csilink list precoders`, e.g. "mrt", "zf", "rzf", "wmmse", or a dotted path.
        link: channel or feedback whose antennas, frequency samples and layers channels must have; None: any.
        num_layers: layers per UE where neither a link nor a reconstruction says so.
        **params: of the precoder, e.g. ``num_iterations=100`` of "wmmse".

    Returns:
        :class:`Precoding`: call it with a reconstruction or a channel, and ``snr_db`` where it depends on the noise.

    Raises:
        ConfigError: an unknown name or parameter.

    Source: of every precoder: its function in ``simulator.precoding``.

    Example:
        >>> import csilink
        >>> rayleigh = csilink.channel("rayleigh", panel=(4, 1, 2), num_users=2, num_rb=4)
        >>> h = rayleigh.sample(3, seed=7)
        >>> w = csilink.precoder("zf", rayleigh)(h)
        >>> w.shape  # [batch, subcarrier, port, stream]
        (3, 4, 8, 2)
        >>> csilink.rate(h, w, snr_db=20).shape  # [batch, user]
        (3, 2)
    """
    return Precoding(name, None if link is None else link.config, num_layers, params)


def rate(h: Any, w: Any, snr_db: float | Sequence[float]) -> NDArray[np.float32]:
    r"""Rate of every UE on the true channel, Shannon of the post-LMMSE SINR, mean over the band, sum over layers.

    .. math:: r_u = \frac{1}{N} \sum_n \sum_l \log_2 (1 + \mathrm{SINR}_{u, l, n})

    Args:
        h: true channel, complex ``[batch, user, rx_ant, port, (slot,) subcarrier]``, linear amplitude.
        w: precoder complex ``[batch, subcarrier, port, stream]``, total power at most 1; streams belong to users in
            order. With slots the first axis is ``batch * slot``.
        snr_db: total transmit power over noise power per subcarrier [dB], for channels with E|h|^2 = 1.

    Returns:
        float32 ``[batch, user]`` [bit/s/Hz]; for several SNRs ``[snr, batch, user]``.

    Raises:
        ConfigError: axes of ``h`` and ``w`` that do not fit, total power above 1, NaN.

    Source: SINR: :func:`simulator.maths.rates.sinr` (Tse, Viswanath, Eq. (8.67)).

    Example:
        >>> import csilink, numpy as np
        >>> h = np.ones((1, 1, 1, 4, 1), complex)  # 4 ports in phase: beamforming gain 4
        >>> w = csilink.precoder("mrt")(h)
        >>> round(float(csilink.rate(h, w, snr_db=0)[0, 0]), 4)  # log2(1 + 4)
        2.3219
    """
    h = by_slot(checked_channels(h))
    w = np.asarray(w)
    batch, users, _, ports, samples = h.shape
    streams = w.shape[-1] if w.ndim == 4 else 0
    if w.shape != (batch, samples, ports, streams) or not streams or streams % users:
        allowed = f"[{batch} batch, {samples} subcarriers, {ports} ports, a multiple of {users} streams] for this h"
        raise ConfigError("w.shape", w.shape, allowed)
    w = _checked_precoder(w.astype(np.complex64, copy=False), "w")
    channel = ops.convert_to_tensor(np.ascontiguousarray(np.moveaxis(h, -1, 1)))
    e = rates.received(channel, ops.convert_to_tensor(w))
    found = [
        ops.convert_to_numpy(ops.mean(ops.sum(rates.rate_bpshz(rates.sinr(e, noise_var)), axis=-1), axis=1))
        for noise_var in rates.noise_powers(tuple(np.atleast_1d(np.asarray(snr_db, float))))
    ]
    return np.stack(found) if np.ndim(snr_db) else found[0]


def _checked_precoder(w: NDArray[np.complex64], name: str) -> NDArray[np.complex64]:
    """ConfigError for entries that are not finite, or more than the total transmit power 1."""
    power = float(np.max(np.sum(np.square(np.abs(w)), axis=(-2, -1)), initial=0.0))
    if not power <= _MAX_POWER:
        raise ConfigError(name, f"total power {power:.4g}", "at most 1, the sum of |w|^2 over ports and streams")
    return w
