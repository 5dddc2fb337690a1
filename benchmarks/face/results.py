"""A results folder as a table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def load(folder: str | Path) -> pd.DataFrame:
    """Results of a finished run, what :func:`csilink.run` returned.

    Args:
        folder: results folder, e.g. ``results/quickstart``.

    Returns:
        one row per (point, metric): scenario, channel, scheme, bits_mean, bits_max [bit], precoder, num_ports,
        num_users, snr_db [dB], swept axes, metric, value and ci95 (in ``unit``), unit, num_samples, seed.

    Raises:
        StoreError: no results there, or a damaged table.

    Example:
        >>> import csilink
        >>> csilink.load("no/such/folder")
        Traceback (most recent call last):
        simulator.core.errors.StoreError: no/such/folder/results.csv: ...
    """
    from benchmarks.report.frames import read_results

    return read_results(Path(folder) / "results.csv")
