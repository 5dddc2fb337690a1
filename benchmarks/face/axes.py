"""Checks at the door: axes and power of channels that come as plain arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import ConfigError
from simulator.core.finite import LARGEST_IN_LINK, check_channels
from simulator.core.types import CsiConfig
from simulator.core.units import lin_to_db
from simulator.maths import transforms

AXES = "[batch, user, rx_ant, port, subcarrier] or [batch, user, rx_ant, port, slot, subcarrier]"
_LOW, _HIGH = 0.5, 2.0  # mean power of a channel that counts as normalised


def checked_channels(h: Any, config: CsiConfig | None = None) -> NDArray[np.complex64]:
    """Channels as complex64, axes and range checked.

    Args:
        h: as :data:`AXES` say.
        config: whose antennas, ports and frequency samples they must have; None: any.

    Raises:
        ConfigError: other axes or sizes (the message says which are expected), real numbers, NaN or infinity.
    """
    h = np.asarray(h)
    if h.ndim not in (5, 6):
        raise ConfigError("h.shape", h.shape, AXES)
    if not np.iscomplexobj(h):
        raise ConfigError("h.dtype", str(h.dtype), "complex numbers (linear amplitude)")
    if config is not None:
        wanted = (config.num_rx_ant, config.panel.num_ports, config.num_subcarriers)
        sizes = (h.shape[2], h.shape[3], h.shape[-1])
        if sizes != wanted:
            allowed = "[batch, user, {} rx_ant, {} ports, (slot,) {} subcarriers]".format(*wanted)
            if sizes == (wanted[0], wanted[2], wanted[1]):
                allowed += "; here subcarriers stand in the place of ports: np.swapaxes(h, 3, -1)"
            raise ConfigError("h.shape", h.shape, allowed)
    check_channels(h, LARGEST_IN_LINK)
    return h.astype(np.complex64, copy=False)


def check_unit_power(h: NDArray[np.complex64], error_var: NDArray[np.float32]) -> None:
    """ConfigError unless the channel of every UE has unit mean power (3 dB), the error of its estimate left aside.

    Args:
        h: as :data:`AXES` say.
        error_var: of the estimates, broadcast against ``[batch, user]``.
    """
    power = np.mean(np.square(np.abs(h), dtype=np.float64), axis=tuple(range(2, h.ndim)))
    wrong = (power < _LOW - error_var) | (power > _HIGH + error_var)
    if wrong.any():
        drop, user = np.argwhere(wrong)[0]
        got = f"mean power {lin_to_db(max(float(power[drop, user]), 1e-30)):.1f} dB of drop {drop}, user {user}"
        allowed = (
            "0 dB, E|h|^2 = 1 per antenna pair, as this scheme does not report the amplitude: csilink.unit_power(h), "
            "or normalization='none' (or 'per_dataset') for reports that carry it"
        )
        raise ConfigError("h", got, allowed)


def by_slot(h: NDArray[Any]) -> NDArray[Any]:
    """Slots as drops: ``[batch, ..., slot, subcarrier]`` to ``[batch * slot, ..., subcarrier]``, slots run faster."""
    if h.ndim == 5:
        return h
    return np.ascontiguousarray(np.moveaxis(h, 4, 1)).reshape(-1, *h.shape[1:4], h.shape[5])


def unit_power(h: Any) -> NDArray[np.complex64]:
    """Channels scaled to unit mean power, each UE and drop by its own factor (``normalization: per_sample``).

    Args:
        h: complex ``[batch, user, rx_ant, port, subcarrier]`` or ``[batch, user, rx_ant, port, slot, subcarrier]``.

    Returns:
        complex64 of the same shape with mean ``|h|^2`` 1 over all axes but the first two.

    Raises:
        ConfigError: other axes, real numbers, NaN or infinity.

    Example:
        >>> import csilink, numpy as np
        >>> h = np.full((1, 1, 1, 4, 2), 3e-6j)
        >>> csilink.unit_power(h)[0, 0, 0, 0].tolist()
        [1j, 1j]
    """
    return transforms.unit_power(checked_channels(h).astype(np.complex128), num_lead=2)
