"""Progress bars with remaining time, on standard error, silent when it is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")


def bar() -> Progress:
    """A progress display; without a terminal it prints nothing."""
    console = Console(file=sys.stderr)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=False,
    )


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """A spinner with elapsed time around work of unknown length; silent without a terminal."""
    console = Console(file=sys.stderr)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        progress.add_task(title, total=None)
        yield


def track(items: Sequence[T] | Iterable[T], title: str, *, unit: str) -> Iterator[T]:
    """Items with a progress bar; without a terminal a line every 10 s instead."""
    items = list(items)
    with bar() as progress:
        task = progress.add_task(title, total=len(items))
        last = time.monotonic()
        for done, item in enumerate(items):
            yield item
            progress.advance(task)
            if progress.disable and time.monotonic() - last > 10:
                last = time.monotonic()
                print(f"{title}: {done + 1}/{len(items)} {unit}s", file=sys.stderr, flush=True)
