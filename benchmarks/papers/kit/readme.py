"""Tables of a paper's README, written from the CSVs in ``results/``, so that both have the same numbers.

A table stands between ``<!-- table: NAME -->`` and ``<!-- /table -->``; ``figures.README[NAME]`` of the paper makes it
from the folder ``results`` as a frame of texts.

python -m benchmarks.papers.kit.readme [KEY ...]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import pandas as pd

from benchmarks.papers.kit.run import PAPERS, papers
from simulator.core.durable import write_bytes
from simulator.core.errors import ConfigError

_BLOCK = re.compile(r"<!-- table: ([\w-]+) -->\n.*?<!-- /table -->", re.DOTALL)


def readme(key: str) -> str:
    """Text of the README of a paper with its tables made anew.

    Raises:
        ConfigError: the README names a table that the paper does not make, or lacks one that it makes.
    """
    return with_tables((PAPERS / key / "README.md").read_text(), _makers(key), PAPERS / key / "results")


def write_readme(key: str) -> Path:
    """Write the tables of a README."""
    path = PAPERS / key / "README.md"
    write_bytes(path, readme(key).encode())
    return path


def with_tables(text: str, makers: Mapping[str, Callable[[Path], pd.DataFrame]], results: Path) -> str:
    """Text whose marked tables are those of ``makers``; every one of them must be marked once."""
    marked = _BLOCK.findall(text)
    if sorted(marked) != sorted(makers):
        raise ConfigError("README", sorted(marked), f"one marker for each of {sorted(makers)}")
    return _BLOCK.sub(lambda m: f"<!-- table: {m[1]} -->\n{markdown(makers[m[1]](results))}<!-- /table -->", text)


def markdown(frame: pd.DataFrame) -> str:
    """A frame of texts as a table of Markdown."""
    rows = [list(frame.columns), ["---"] * frame.shape[1], *frame.fillna("").astype(str).to_numpy().tolist()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _makers(key: str) -> Mapping[str, Callable[[Path], pd.DataFrame]]:
    return import_module(f"benchmarks.papers.{key}.figures").README


if __name__ == "__main__":
    for each in sys.argv[1:] or papers():
        print(write_readme(each))
