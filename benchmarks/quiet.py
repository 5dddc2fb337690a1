"""Silence of libraries that write to the terminal by themselves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Discard what is written to standard output and error, by C++ too; with ``CSILINK_DEBUG`` it is shown."""
    if os.environ.get("CSILINK_DEBUG"):
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    try:
        with open(os.devnull, "w") as void, redirect_stdout(void), redirect_stderr(void):
            for number in (1, 2):
                os.dup2(void.fileno(), number)
            yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
