"""Figures and tables to files that are whole or absent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.core.durable import renamed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """A figure as matplotlib's ``savefig`` writes it; PNG where the path has no suffix."""
    with renamed(Path(path), Path(path).suffix) as temporary:
        figure.savefig(temporary, format=Path(path).suffix[1:] or "png", **options)


def save_table(frame: pd.DataFrame, path: Path, **options: Any) -> None:
    """A table as pandas' ``to_csv`` writes it."""
    with renamed(Path(path)) as temporary:
        frame.to_csv(temporary, **options)
