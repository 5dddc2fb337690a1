"""Figures that several papers draw: one legend for all panels, convergence of trainings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simulator.core.readers import read_json
from simulator.core.units import lin_to_db


class Curve(NamedTuple):
    """One line over epochs.

    Args:
        epochs: numbers of the epochs.
        values: one for each.
        style: keywords of ``plot``; a curve without ``label`` is not in the legend.
    """

    epochs: Any
    values: Any
    style: dict[str, Any]


def history(folder: Path) -> list[dict[str, float]]:
    """Epochs of a training, finished or not."""
    return read_json(folder / "history.json")["epochs"]


def loss_curve(folder: Path, key: str = "val_loss", **style: Any) -> Curve:
    """A loss over the epochs that have it, in dB."""
    scored = [(i, entry[key]) for i, entry in enumerate(history(folder), 1) if key in entry]
    return Curve([i for i, _ in scored], lin_to_db([loss for _, loss in scored]), style)


def convergence(panels: Mapping[str, Iterable[Curve]], ylabel: str, ncol: int = 4, **axis_options: Any) -> Figure:
    """One panel for each title with its curves over epochs."""
    figure, axes = row_of_panels(len(panels), height=3.8, sharey=axis_options.pop("sharey", False))
    for axis, (title, curves) in zip(axes, panels.items(), strict=True):
        for curve in curves:
            axis.plot(curve.epochs, curve.values, **{"lw": 1.1, **curve.style})
        axis.set(xlabel="epoch", title=title, **axis_options)
    axes[0].set_ylabel(ylabel)
    legend(figure, ncol)
    return figure


def row_of_panels(
    count: int, width: float = 4.8, height: float = 4.2, sharey: bool = False
) -> tuple[Figure, np.ndarray]:
    """A figure of ``count`` panels side by side, and their axes."""
    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False, sharey=sharey)[0]


def legend(figure: Figure, ncol: int = 4) -> None:
    """One legend for all panels, below them."""
    axes: list[Axes] = figure.axes
    labelled = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncol=ncol)
