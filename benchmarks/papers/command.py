"""Command line common to the papers' experiments."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from simulator.core.extras import need


def parse(
    doc: str | None, key: str, sizes: tuple[str, ...] = ("small", "full"), **options: dict[str, Any]
) -> tuple[argparse.Namespace, Path]:
    """Arguments ``--size``, ``--out``, ``--backend`` and those of ``options``; sets the Keras backend.

    Args:
        doc: description for ``--help``.
        key: of the paper; results go to ``results/papers/<key>-<size>`` by default, see ``--out``.
        sizes: available plans, the default first.
        options: further arguments by name, each with the keywords of ``add_argument``.

    Returns:
        the arguments, and the results folder.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--size", choices=sizes, default=sizes[0])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"), default=None)
    for name, keywords in options.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **keywords)
    arguments = parser.parse_args()
    if arguments.backend:
        need("--backend", arguments.backend)
        os.environ["KERAS_BACKEND"] = arguments.backend
    return arguments, arguments.out or Path("results/papers") / f"{key}-{arguments.size}"
