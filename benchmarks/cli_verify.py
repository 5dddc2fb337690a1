"""`csilink verify`: hashes of a folder against its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(folder: Annotated[Path, typer.Argument(help="Results, store, weights, codebook or export.")]) -> None:
    """Check every hash of a folder; exit code 2 and the names of damaged files, if any."""
    from benchmarks.verify import verify as lines
    from simulator.core.errors import StoreError

    damaged = total = 0
    for sound, text in lines(folder):
        typer.echo(f"{'ok' if sound else 'DAMAGED':8}{text}")
        damaged, total = damaged + (not sound), total + 1
    if damaged:
        raise StoreError(f"{folder}: {damaged} of {total} checks failed")
    typer.echo(f"{folder}: {total} checks, all in order")
