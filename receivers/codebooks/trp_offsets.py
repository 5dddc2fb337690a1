"""Delays of stations against the first one (i_{1,9}), on rows of coefficients or ports, station after station."""

from __future__ import annotations

import numpy as np

from receivers.codebooks.alignment import starts
from simulator.core.errors import ConfigError


def check_offsets(field: str, mode: int, oversampling: int) -> None:
    """ConfigError unless codebookMode is 1 or 2 and O_3 is 1 or 4 (TS 38.214 Rel. 18, 5.2.2.2.8 and 5.2.2.2.9)."""
    if mode not in (1, 2):
        raise ConfigError(f"{field}.mode", mode, "1, 2")
    if oversampling not in (1, 4):
        raise ConfigError(f"{field}.oversampling", oversampling, "1, 4 (O_3)")


def station_delays(c: np.ndarray, trp: np.ndarray, steps: int) -> np.ndarray:
    """Steps ``[report, trp]`` of the strongest delays of all stations but the first after that of the first.

    Args:
        c: complex64 ``[report, layer, row, unit]``.
        trp: station of every row.
        steps: of a delay over the band, N_3 O_3.
    """
    x = np.fft.fft(next(starts(c)), steps, axis=3)
    power = np.sum(np.square(x.real) + np.square(x.imag), axis=1)  # [report, row, delay]
    delay = np.add.reduceat(power, np.flatnonzero(np.diff(trp, prepend=-1)), axis=1).argmax(axis=2)
    found: np.ndarray = (delay[:, 1:] - delay[:, :1]) % steps
    return found


def station_turns(offset: np.ndarray, trp: np.ndarray, steps: int, num_units: int) -> np.ndarray:
    r"""Factors :math:`e^{j 2 \pi t d_j / (N_3 O_3)}` of the stations, complex64 ``[report, 1, row, unit]``.

    Args:
        offset: d ``[report, trp]`` of all but the first.
        trp: station of every row.
        steps: N_3 O_3.
        num_units: N_3.
    """
    turns = np.pad(offset, ((0, 0), (1, 0)))[:, trp] / steps
    return np.exp(2j * np.pi * turns[:, None, :, None] * np.arange(num_units)).astype(np.complex64)
