"""Tables of numbers in text files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

_NUMBER = re.compile(r"[\s\d.eEnNaAiIfFjJ+()-]+")


def table_shape(path: Path) -> tuple[int, int]:
    """Rows and columns; ValueError when the first row of numbers has none."""
    skip, _, columns = _form(path)
    with path.open("rb") as file:
        rows = sum(1 for line in file if line.strip())
    return rows - skip, columns


def read_table(path: Path) -> np.ndarray:
    """float64 ``[row, column]``, or complex128 where entries read like 1+2i (MATLAB) or 1+2j (Python)."""
    skip, delimiter, _ = _form(path)
    form: dict[str, Any] = {"delimiter": delimiter, "skiprows": skip, "ndmin": 2, "comments": None, "encoding": "utf-8"}
    with path.open(encoding="utf-8") as file:
        is_complex = any(re.search(r"\d[ij]\b", file.readline()) for _ in range(skip + 1))
    if not is_complex:
        return np.loadtxt(path, **form)
    return np.loadtxt(path, dtype=complex, converters=_complex, **form)


def _complex(text: str) -> complex:
    return complex(text.strip().strip("()").replace("i", "j").replace(" ", ""))


def _form(path: Path) -> tuple[int, str | None, int]:
    """Lines of a header, delimiter (None for white space), and columns."""
    with path.open(encoding="utf-8") as file:
        first, second = file.readline(), file.readline()
    skip = 0 if _NUMBER.fullmatch(re.sub("[,;\t]", " ", first)) and re.search(r"\d", first) else 1
    line = (second if skip else first).strip()
    if not re.search(r"\d", line) or not _NUMBER.fullmatch(re.sub("[,;\t]", " ", line)):
        raise ValueError("no row of numbers")
    delimiter = next((mark for mark in ",;\t" if mark in line), None)
    return skip, delimiter, len(line.split(delimiter))
