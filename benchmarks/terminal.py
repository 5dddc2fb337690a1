"""Tables, sparklines and plots in a terminal; plain text where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_BARS = "▁▂▃▄▅▆▇█"
_MARKS = "abcdefghijklmnopqrstuvwxyz"


def show_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", right: Sequence[str] = (), bold: object = None
) -> None:
    """Print a table on standard output; wider than the terminal only where there is none.

    Args:
        heads: of the columns.
        rows: cells.
        title: line above it.
        right: heads of columns that are flush right.
        bold: numbers of rows that stand out.
    """
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for head in heads:
        table.add_column(Text(head), justify="right" if head in right else "left", overflow="fold")
    chosen = set(bold) if isinstance(bold, Iterable) else set()
    for number, row in enumerate(rows):
        style = "bold" if number in chosen else None
        table.add_row(*(Text(cell) for cell in row), style=style)
    console = Console(highlight=False)
    if console.is_terminal or console.is_jupyter:
        console.print(table)
        return
    console.width = 10_000
    console.width = Measurement.get(console, console.options, table).maximum
    with console.capture() as text:
        console.print(table)
    print("\n".join(line.rstrip() for line in text.get().splitlines()))


def sparkline(values: Sequence[float]) -> str:
    """A character per value, from the lowest to the highest bar; a space for one that is not finite.

    >>> sparkline([0, 1, 2, float("nan"), 7])
    '▁▂▃ █'
    """
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return " " * len(values)
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    top = len(_BARS) - 1
    return "".join(_BARS[round((v - low) / span * top)] if np.isfinite(v) else " " for v in values)


def plot(
    curves: Mapping[str, Sequence[tuple[float, float]]], x_label: str, y_label: str, width: int = 72, height: int = 18
) -> str:
    """Curves as text: a mark for each, a legend below; later ones are drawn over earlier ones.

    Args:
        curves: label to points ``(x, y)``; those that are not finite are left out.
        x_label: below the axis.
        y_label: above the axis.
        width: columns of the drawing.
        height: its lines.
    """
    kept = {name: [p for p in points if np.isfinite(p).all()] for name, points in curves.items()}
    every = np.array([point for points in kept.values() for point in points])
    if not len(every):
        return "nothing to plot"
    (x_low, y_low), (x_high, y_high) = every.min(axis=0), every.max(axis=0)
    grid = [[" "] * width for _ in range(height)]
    for number, points in enumerate(kept.values()):
        for x, y in points:
            column = round((x - x_low) / ((x_high - x_low) or 1) * (width - 1))
            line = round((y_high - y) / ((y_high - y_low) or 1) * (height - 1))
            grid[line][column] = _MARKS[number % len(_MARKS)]
    ticks = {0: f"{y_high:.4g}", height - 1: f"{y_low:.4g}"}
    margin = max(map(len, ticks.values()))
    body = [f"{ticks.get(number, ''):>{margin}} │{''.join(line).rstrip()}" for number, line in enumerate(grid)]
    low, high = f"{x_low:.4g}", f"{x_high:.4g}"
    axis = low + x_label.center(width - len(low) - len(high)) + high
    legend = [f"{_MARKS[number % len(_MARKS)]} {name}" for number, name in enumerate(kept)]
    return "\n".join([y_label, *body, f"{'':>{margin}} └{'─' * width}", f"{'':>{margin}}  {axis}", *legend])
