"""The results frame: how it is read, and what its columns and labels mean.

A frame is ``results.csv`` as read by :func:`read_results`; swept axes are the columns outside ``BASE_COLUMNS``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.store import LEADING, TRAILING
from simulator.core.errors import StoreError

BASE_COLUMNS = (*LEADING, *TRAILING)
TEXT_COLUMNS = ("scenario", "channel", "scheme", "precoder", "metric", "unit", "seed")
NUMBER_COLUMNS = ("bits_mean", "bits_max", "num_ports", "num_users", "snr_db", "value", "ci95", "num_samples")
KEY_COLUMNS = ("scheme", "precoder", "snr_db", "metric")
MAX_COMBINATIONS = 4
REFERENCE = "perfect"  # the family whose bits are raw float32: a level, not a point, on a bits axis


def read_results(path: Path) -> pd.DataFrame:
    """``results.csv``, checked: text as str, the rest as numbers, a swept axis where all of it is one."""
    if not path.exists():
        raise StoreError(f"{path}: no such file; allowed: a results folder, which `csilink run` writes")
    frame = read_table(path, BASE_COLUMNS, TEXT_COLUMNS, NUMBER_COLUMNS)
    empty = [column for column in ("scheme", "metric") if frame[column].isna().any()]
    if empty:
        raise StoreError(f"{path}: empty cells in column {', '.join(empty)}; every row needs a scheme and a metric")
    twice = repeated(frame, swept_axes(frame))
    if len(twice):
        raise StoreError(f"{path}: two rows for {twice.iloc[0].to_dict()}; expected one row for each of these")
    return frame


def read_table(path: Path, columns: tuple[str, ...], text: tuple[str, ...], numbers: tuple[str, ...]) -> pd.DataFrame:
    """A CSV file with these columns, ``text`` as str and the rest as numbers, of which ``numbers`` must be such."""
    expected = f"expected a CSV file with the columns {', '.join(columns)} and one column per swept axis"
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8")
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; {expected}") from None
    except (OSError, ValueError) as error:  # pandas' parser, empty-data and decoding errors are ValueErrors
        raise StoreError(f"{path}: cannot be read ({' '.join(str(error).split())}); {expected}") from None
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise StoreError(f"{path}: column {', '.join(missing)} missing; {expected}")
    if frame.empty:
        raise StoreError(f"{path}: has no rows; {expected}")
    for column in frame.columns.difference(text, sort=False):
        try:
            frame[column] = pd.to_numeric(frame[column])
        except ValueError as error:
            if column in numbers:
                raise StoreError(f"{path}: column {column} must hold numbers ({error})") from None
            frame[column] = frame[column].replace({"True": True, "False": False})
    return frame


def repeated(frame: pd.DataFrame, axes: list[str]) -> pd.DataFrame:
    """Keys that occur a second time when only these axes tell rows apart."""
    keys = frame[[*KEY_COLUMNS, *axes]]
    return keys[keys.duplicated()]


def family(scheme: str) -> str:
    """Label without its rate: ``rvq-b6`` gives ``rvq``, ``etype2-pc4+ar@ue`` gives ``etype2+ar@ue``."""
    return re.sub(r"-(?:b|pc)\d+(?=[-+]|$)", "", scheme)


def swept_axes(frame: pd.DataFrame) -> list[str]:
    """Names of the swept axis columns, in the order of the file."""
    return [column for column in frame.columns if column not in BASE_COLUMNS]


def combinations(frame: pd.DataFrame, axes: list[str]) -> list[dict[str, Any]]:
    """Values of ``axes`` that occur together, in order of appearance; without axes one empty dict."""
    return frame[axes].drop_duplicates().to_dict("records") if axes else [{}]


def spread(items: list[Any], count: int = MAX_COMBINATIONS) -> list[Any]:
    """At most ``count`` items, evenly spread from the first to the last."""
    if len(items) <= count:
        return items
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, count)]


def at(frame: pd.DataFrame, combination: dict[str, Any]) -> pd.DataFrame:
    """Rows of one combination; an empty axis value matches empty."""
    keep = pd.Series(True, index=frame.index)
    for axis, value in combination.items():
        keep &= frame[axis].isna() if pd.isna(value) else frame[axis] == value
    return frame[keep]


def describe(combination: dict[str, Any]) -> str:
    """``bs.n1 = 8, estimation.snr_db = 10``."""
    return ", ".join(f"{axis} = {plain(value)}" for axis, value in combination.items())


def plain(value: Any) -> str:
    """A cell as a reader writes it: ``8`` for 8.0, ``(none)`` for an empty one."""
    if pd.isna(value):
        return "(none)"
    return f"{value:g}" if isinstance(value, float) else str(value)


def nearest_snr(frame: pd.DataFrame, wanted_db: float = 20.0) -> float | None:
    """The SNR of the frame closest to the wanted one (the lower of two equally close), None without any."""
    present = frame["snr_db"].dropna().unique()
    return float(min(present, key=lambda snr_db: (abs(snr_db - wanted_db), snr_db))) if len(present) else None


def outage_text(metric: str) -> str:
    """``outage_rate_1`` as ``rate < 1 bit/s/Hz``."""
    kind, _, threshold = metric.removeprefix("outage_").partition("_")
    words = {"gamma": f"rate < {threshold} × rate with perfect CSI", "rate": f"rate < {threshold} bit/s/Hz"}
    return words.get(kind, metric)


def at_one_snr(rows: pd.DataFrame, snr_db: float | None) -> tuple[pd.DataFrame, str]:
    """Rows of one SNR and its text; metrics of the feedback alone have no SNR and stay whole."""
    chosen = nearest_snr(rows, 20.0 if snr_db is None else snr_db)
    return (rows, "") if chosen is None else (rows[rows["snr_db"] == chosen], f"SNR {chosen:g} dB")


def reference_labels(schemes: Iterable[str], scenario: Mapping[str, Any]) -> set[str]:
    """Labels of schemes that send perfect CSI, by what they are: those of scheme ``perfect`` in the scenario.

    Where the scenario does not tell, it is the label.
    """
    lines = scenario.get("feedback")
    lines = [line for line in lines if isinstance(line, dict)] if isinstance(lines, list) else []
    named = {str(line["label"]): line.get("scheme") == REFERENCE for line in lines if line.get("label")}
    return {scheme for scheme in schemes if named.get(scheme, family(scheme).partition("+")[0] == REFERENCE)}
