"""What beam-delay reports say, and its coefficients in the order of coding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from receivers.beamdelay.contexts import CAP

_LONG = 128  # items of a row


@dataclass(frozen=True)
class Content:
    """What reports say.

    Args:
        group: rotation group ``[report]``.
        step: index of the step ``[report]``.
        row: of the origins, ``[report, layer]``.
        real: whole parts of the coefficients by place, int ``[place, report, layer]``; that of the origin is positive.
        imag: the same; that of the origin is 0.
    """

    group: np.ndarray
    step: np.ndarray
    row: np.ndarray
    real: np.ndarray
    imag: np.ndarray

    def of(self, reports: slice | np.ndarray) -> Content:
        """Some of the reports."""
        places = (slice(None), reports)
        return replace(
            self, group=self.group[reports], step=self.step[reports], row=self.row[reports], real=self.real[places],
            imag=self.imag[places],
        )  # fmt: skip

    def mixed(self, reports: np.ndarray, other: Content) -> Content:
        """``other`` in some reports, bool ``[report]``, this elsewhere."""
        group, step = (np.where(reports, y, x) for x, y in ((self.group, other.group), (self.step, other.step)))
        row = np.where(reports[:, None], other.row, self.row)
        real, imag = (
            np.where(reports[:, None], y, x) for x, y in ((self.real, other.real), (self.imag, other.imag))
        )  # fmt: skip
        return replace(self, group=group, step=step, row=row, real=real, imag=imag)

    def replaced(self, reports: np.ndarray, other: Content) -> Content:
        """The same with other coefficients in some reports."""
        real, imag = self.real.copy(), self.imag.copy()
        real[:, reports], imag[:, reports] = other.real, other.imag
        return replace(self, real=real, imag=imag)


def in_order(x: np.ndarray) -> np.ndarray:
    """``x [place, report, layer]`` in the order of coding, ``[place * layer, report]``."""
    return np.moveaxis(x, 1, 2).reshape(-1, x.shape[1])


def running(x: np.ndarray) -> np.ndarray:
    """Sums up to every row of ``x [row, item]``; ``np.cumsum`` strides over long rows, five times slower."""
    if x.shape[1] < _LONG:
        return np.cumsum(x, axis=0)
    found = x.copy()
    for i in range(1, len(x)):
        np.add(found[i - 1], x[i], out=found[i])
    return found


def last_nonzero(content: Content) -> np.ndarray:
    """Of every report the last coefficient in the order of coding that is not 0, ``[report]``."""
    some = in_order((content.real != 0) | (content.imag != 0))
    return len(some) - 1 - some[::-1].argmax(axis=0)


def symbols_of(content: Content) -> np.ndarray:
    """Symbols ``16 min(|a|, 15) + min(|b|, 15)`` of parts a, b, ``[place, report, layer]``."""
    a, b = (np.minimum(np.abs(part), CAP) for part in (content.real, content.imag))
    return a * (CAP + 1) + b
