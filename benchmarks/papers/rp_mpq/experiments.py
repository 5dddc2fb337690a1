"""RP-MPQ's trainings and tables: networks, uniform widths, policies, controllers, latency."""

from __future__ import annotations

import pandas as pd

from benchmarks.papers.kit.latency import apart
from benchmarks.papers.kit.run import Run
from benchmarks.papers.rp_mpq.accuracy import floors, structure, tails, uniform
from benchmarks.papers.rp_mpq.networks import first, trainings
from benchmarks.papers.rp_mpq.scheduling import budgets_met, controllers, outages, policies, spearman, splits

__all__ = ["TABLES", "trainings"]


def latency(run: Run) -> pd.DataFrame:
    """Table VII, in a process of its own."""
    _, _, folder = first(run)
    policies(run)
    return apart("benchmarks.papers.rp_mpq.latency:encoder_times", folder / "latency.csv", folder)


TABLES = {
    "table_2_3": lambda run: structure(run, next(iter(run.stores))),
    "table_6": lambda run: structure(run, "tdl"),
    "table_4": uniform,
    "fig2_table5": controllers,
    "fig1_spearman": spearman,
    "fig2": outages,
    "table_5": budgets_met,
    "outage_split": splits,
    "eq_10": floors,
    "eq_11_15": tails,
    "table_7": latency,
}
