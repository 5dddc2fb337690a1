"""Run, measure, report: ``from benchmarks import run``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import simulator  # noqa: F401  (before Keras: right products under TensorFlow)

if TYPE_CHECKING:
    from benchmarks.runner import check, run

__all__ = ["check", "run"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from benchmarks import runner

        return getattr(runner, name)
    raise AttributeError(f"module 'benchmarks' has no attribute {name!r}")
