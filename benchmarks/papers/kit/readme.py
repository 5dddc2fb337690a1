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
from typing import Any

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


def listed(frame: pd.DataFrame, cells: Mapping[str, str]) -> pd.DataFrame:
    """One row for each of ``frame``, a column for each title of ``cells`` with its template, see :func:`text`."""
    return pd.DataFrame([{title: text(cell, row) for title, cell in cells.items()} for _, row in frame.iterrows()])


def grid(
    frame: pd.DataFrame, rows: str, columns: str, cell: str, names: Mapping[str, str], corner: str = ""
) -> pd.DataFrame:
    """A row for each of ``names``, in that order, a column for each value of ``columns``.

    Args:
        frame: one row for each cell.
        rows: column of ``frame`` with keys of ``names``.
        columns: column of ``frame``; in order of appearance.
        cell: template, see :func:`text`.
        names: titles of the rows; those without a cell are left out.
        corner: title of the first column.
    """
    cells = {(row[rows], row[columns]): text(cell, row) for _, row in frame.iterrows() if row[rows] in names}
    titles = list(dict.fromkeys(column for _, column in cells))
    wanted = [key for key in names if any(row == key for row, _ in cells)]
    body = [[names[key], *(cells.get((key, title), "") for title in titles)] for key in wanted]
    return pd.DataFrame(body, columns=[corner, *titles])


def text(template: str, row: Mapping[str, Any]) -> str:
    """``template`` with the fields of ``row``: without a spread "± x" or "(x)" that is NaN, empty if another is."""
    filled = template.format_map({key: _Unknown() if pd.isna(value) else value for key, value in row.items()})
    filled = re.sub(r" (± \?|\(\?\))", "", filled)
    return "" if "?" in filled else filled


class _Unknown:
    """NaN in a template."""

    def __format__(self, spec: str) -> str:
        return "?"


def _makers(key: str) -> Mapping[str, Callable[[Path], pd.DataFrame]]:
    return import_module(f"benchmarks.papers.{key}.figures").README


if __name__ == "__main__":
    for each in sys.argv[1:] or papers():
        print(write_readme(each))
