"""Progress with remaining time, on standard error: a display on a terminal or in a notebook, else a line every 10 s."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
EVERY_S = 10.0  # between lines without a display


def display(*columns: ProgressColumn, transient: bool = False) -> Progress:
    """A live display of these columns; ``disable`` is set where neither a terminal nor a notebook shows it."""
    console = Console(file=sys.stderr)
    shown = console.is_terminal or console.is_jupyter
    return Progress(*columns, console=console, disable=not shown, transient=transient)


@contextmanager
def lines(text: Callable[[], str], every_s: float | None = None) -> Iterator[None]:
    """Print what ``text`` returns on standard error every 10 s while the context is open, whatever its work does."""
    stop = threading.Event()

    def tell() -> None:
        while not stop.wait(EVERY_S if every_s is None else every_s):
            print(text(), file=sys.stderr, flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Elapsed time around work of unknown length."""
    started = time.monotonic()
    with display(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), transient=True) as progress:
        progress.add_task(title, total=None)
        if not progress.disable:
            yield
            return
        with lines(lambda: f"{title}: {time.monotonic() - started:.0f} s"):
            yield


def track(items: Sequence[T] | Iterable[T], title: str, *, unit: str, total: int | None = None) -> Iterator[T]:
    """Items, with progress; without a ``total`` they are listed first."""
    if total is None:
        items = list(items)
        total = len(items)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with display(*columns, TextColumn("left"), TimeRemainingColumn()) as progress:
        task = progress.add_task(title, total=total)
        if not progress.disable:
            for item in items:
                yield item
                progress.advance(task)
            return
        done = 0
        with lines(lambda: f"{title}: {done}/{total} {unit}s"):
            for item in items:
                yield item
                done += 1


class DropProgress:
    """Progress of a run: drops, drops per second, time left, half-width of the watched metric.

    Args:
        name: of the run.
        total: drops that are wanted.
        done: of these, drops of an earlier run.
    """

    def __init__(self, name: str, total: int, done: int = 0):
        self._name, self._total, self._done, self._before, self._watched = name, total, done, done, ""
        self._started = time.monotonic()
        self._shown = display(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
        self._task = self._shown.add_task(name, total=total, completed=done, text=self.text)

    @contextmanager
    def running(self) -> Iterator[DropProgress]:
        """Shown while the context is open."""
        with self._shown:
            if not self._shown.disable:
                yield self
                return
            with lines(lambda: f"{self._name}: {self.text}"):
                yield self

    def update(self, done: int, total: int, watched: str) -> None:
        """Set finished and wanted drops, and what the watched metric is at."""
        self._done, self._total, self._watched = done, max(total, done), watched
        self._shown.update(self._task, completed=self._done, total=self._total, text=self.text)

    @property
    def text(self) -> str:
        """``128/384 drops, 4.2 drops/s, 61 s left, sum_rate_bpshz within 3.1 %``."""
        new, seconds = self._done - self._before, time.monotonic() - self._started
        found = [f"{self._done:,}/{self._total:,} drops"]
        if new:
            rate = new / max(seconds, 1e-9)
            found += [f"{rate:.3g} drops/s", f"{duration((self._total - self._done) / rate)} left"]
        else:
            found.append(f"{duration(seconds)}: workers start and compile")
        return ", ".join(found + [self._watched] * bool(self._watched))


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
