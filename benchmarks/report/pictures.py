"""One channel as pictures: delays, angles, and what every scheme made of it; ``None`` without a channel."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.picture import Picture
from benchmarks.report.figures import PLAIN, shown
from benchmarks.report.frames import spread
from simulator.core.types import Panel

_MOST = 11  # schemes in a picture
_FLOOR_DB = -30.0


def profile(picture: Picture, panel: Panel, spacing_hz: float) -> Figure | None:
    """Power over delay, and over the beams of a DFT codebook, of one channel.

    Args:
        picture: of the drop.
        panel: antennas of the base station.
        spacing_hz: distance of frequency samples [Hz].
    """
    if picture.h is None or picture.h.shape[1] < 2:
        return None
    delays_s, power_db = delay_profile(picture.h, spacing_hz)
    with mpl.rc_context(PLAIN):
        figure = Figure(figsize=(8.6, 3.4), dpi=150, layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(1e6 * delays_s, power_db, color="#0072B2", marker="o", markersize=2.5)
        left.set(xlabel="Delay (µs)", ylabel="Power of a delay (dB of the strongest)", ylim=(_FLOOR_DB - 5, 2))
        if len(picture.h) == panel.num_ports:
            beams = beam_power(picture.h.conj().T, panel)
            image = _decibel(beams.reshape(-1, panel.n2).T)
            shades = right.imshow(image, aspect="auto", origin="lower", vmin=_FLOOR_DB, vmax=0, cmap="viridis")
            figure.colorbar(shades, ax=right, label="Power of a beam (dB)")
            right.set(xlabel="Beam along n1" + ", by station" * (panel.num_trps > 1), ylabel="Beam along n2")
            _whole(right)
            right.grid(False)
        else:
            right.set_axis_off()
    return figure


def rebuilt(picture: Picture, panel: Panel) -> Figure | None:
    """Beams over subbands of the true direction of layer 1, and of what every scheme reports.

    Args:
        picture: of the drop.
        panel: antennas of the base station.
    """
    if picture.direction is None or picture.direction.shape[1] != panel.num_ports:
        return None
    maps = {"true direction": picture.direction}
    for name in spread(list(picture.directions), _MOST):
        known = picture.directions[name]
        maps[f"{shown(name)}\nSGCS {cosines(picture.direction, known).mean():.2f}"] = known
    images = [_decibel(beam_maps(direction, panel)) for direction in maps.values()]
    return _grid(list(maps), images, "Subband", "Beam", vmin=_FLOOR_DB / 1.5, label="Power of a beam (dB)")


def magnitudes(picture: Picture) -> Figure | None:
    """|h| over ports and frequency, true and as explicit schemes rebuild it, on one scale."""
    if picture.h is None or not picture.h_hat:
        return None
    maps = {"true |h|": np.abs(picture.h)}
    for name in spread(list(picture.h_hat), _MOST):
        error = np.sum(np.abs(picture.h - picture.h_hat[name]) ** 2) / np.sum(np.abs(picture.h) ** 2)
        text = "exact" if error < 1e-12 else f"NMSE {10 * np.log10(error):.1f} dB"
        maps[f"{shown(name)}\n{text}"] = np.abs(picture.h_hat[name])
    top = float(maps["true |h|"].max())
    return _grid(list(maps), list(maps.values()), "Frequency sample", "Port", vmin=0, vmax=top, label="|h|")


def delay_profile(h: np.ndarray, spacing_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Delays [s], and power summed over ports, of the first half of the delays, in dB of the strongest.

    Args:
        h: complex ``[port, sample]``; a Hann window over the samples keeps strong paths out of other delays.
        spacing_hz: distance of samples [Hz].
    """
    samples = h.shape[1]
    taps = np.fft.ifft(h * np.hanning(samples), axis=1)
    return np.arange(samples // 2) / (samples * spacing_hz), _decibel((np.abs(taps) ** 2).sum(axis=0))[: samples // 2]


def beam_power(directions: np.ndarray, panel: Panel) -> np.ndarray:
    """Power in every beam of the DFT grid, summed over polarizations and rows: ``[trp * n1 * n2]``.

    Args:
        directions: complex ``[row, port]``, ports ``trp, pol, n1, n2``: the channel, or directions of precoders.
        panel: antennas.
    """
    return beam_maps(directions, panel).sum(axis=1)


def beam_maps(directions: np.ndarray, panel: Panel) -> np.ndarray:
    """As :func:`beam_power` for each row: float ``[trp * n1 * n2, row]``."""
    grid = directions.reshape(len(directions), panel.num_trps, panel.num_pol, panel.n1, panel.n2)
    beams = np.abs(np.fft.fft2(grid, norm="ortho")) ** 2
    return beams.sum(axis=2).reshape(len(directions), -1).T


def cosines(true: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Squared cosine of each subband; 0 where nothing is known. Both complex ``[subband, port]``."""
    norms = np.sum(np.abs(true) ** 2, axis=1) * np.sum(np.abs(known) ** 2, axis=1)
    return np.abs(np.sum(true.conj() * known, axis=1)) ** 2 / np.where(norms > 0, norms, 1)


def _decibel(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power / max(power.max(), 1e-30), 1e-9))


def _whole(ax: Axes) -> None:
    """Whole numbers on both axes."""
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=5))


def _grid(
    titles: list[str], images: list[np.ndarray], x: str, y: str, *, vmin: float, vmax: float = 0.0, label: str
) -> Figure:
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    with mpl.rc_context({**PLAIN, "axes.titlesize": 7.5, "axes.grid": False}):
        figure = Figure(figsize=(2.5 * columns + 1.0, 2.2 * rows + 0.3), dpi=150, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for ax, title, image in zip(axes.flat, titles, images, strict=False):
            shades = ax.imshow(image, aspect="auto", origin="lower", vmin=vmin, vmax=vmax, cmap="viridis")
            ax.set_title(title)
            _whole(ax)
        for ax in list(axes.flat)[len(images) :]:
            ax.set_axis_off()
        for ax in axes[-1]:
            ax.set_xlabel(x)
        for ax in axes[:, 0]:
            ax.set_ylabel(y)
        figure.colorbar(shades, ax=axes, label=label, shrink=0.8)
    return figure
