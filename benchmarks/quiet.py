"""Silence of libraries that write to the terminal by themselves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_TALKATIVE = ("tensorflow",)  # write while they are imported, before any setting of theirs counts


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


def quiet_imports() -> None:
    """Discard what libraries write while they are imported, whoever imports them and whenever."""
    if not any(isinstance(finder, _Quiet) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Quiet())


class _Quiet(MetaPathFinder):
    """Finds talkative libraries as others do, and imports them in silence."""

    def __init__(self) -> None:
        self._left = set(_TALKATIVE) - set(sys.modules)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self._left:
            return None
        self._left.remove(name)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_quietly(module: ModuleType) -> None:
                with quiet():
                    load(module)

            spec.loader.exec_module = load_quietly  # type: ignore[method-assign]
        return spec
