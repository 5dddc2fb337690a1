"""Figures and tables to files that are whole or absent."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.core.durable import renamed, write_bytes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """A figure as matplotlib's ``savefig`` writes it; PNG where the path has no suffix."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=Path(path).suffix[1:] or "png", **options)
    write_bytes(Path(path), buffer.getvalue())


def save_table(frame: pd.DataFrame, path: Path, **options: Any) -> None:
    """A table as pandas' ``to_csv`` writes it."""
    with renamed(Path(path)) as temporary:
        frame.to_csv(temporary, **options)
