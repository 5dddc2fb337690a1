"""Trainings that are repeated with several seeds: names, spread, paired differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def seeded(method: str, seed: int) -> str:
    """Name of the training of a method with a seed."""
    return f"{method}-s{seed}"


def by_seed(frame: pd.DataFrame, methods: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """Rows of ``network`` that are trainings of these methods and seeds, with columns ``method`` and ``seed``."""
    names = {seeded(method, seed): (method, seed) for method in methods for seed in seeds}
    part = frame[frame.network.isin(list(names))]
    return part.assign(method=[names[n][0] for n in part.network], seed=[names[n][1] for n in part.network])


def paired(frame: pd.DataFrame, methods: Sequence[str], by: list[str], value: str = "nmse_db") -> pd.DataFrame:
    r"""Effect of a method: values minus those of the first method with the same seed.

    A seed fixes the initial weights and the order of the data, so that much of the spread over seeds is common to all
    methods. The half-width is :math:`t_{n-1, 0.975}\, s / \sqrt n` over the differences of n seeds.

    Args:
        frame: columns ``method``, ``seed``, those of ``by``, and ``value``.
        methods: in order of the result; the first is the reference.
        by: columns whose cases are kept apart.
        value: column that is compared.

    Returns:
        ``method``, the columns of ``by``, ``difference``, ``ci95``, ``seeds``; NaN half-width for one seed.
    """
    from scipy.stats import t

    wide = frame.pivot_table(index=[*by, "seed"], columns="method", values=value)
    rows = []
    for method in [method for method in methods[1:] if method in wide]:
        for case, cell in (wide[method] - wide[methods[0]]).dropna().groupby(by):
            n = len(cell)
            half = t.ppf(0.975, n - 1) * cell.std(ddof=1) / n**0.5 if n > 1 else np.nan
            row = {"method": method, **dict(zip(by, case, strict=True))}
            rows.append({**row, "difference": cell.mean(), "ci95": half, "seeds": n})
    return pd.DataFrame(rows, columns=["method", *by, "difference", "ci95", "seeds"])
