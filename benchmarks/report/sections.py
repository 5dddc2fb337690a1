"""Sections of the page: every figure as a picture, as files, and as a recipe for the script."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.picture import Picture
from benchmarks.report import figures, pictures
from benchmarks.report.bd_table import without_bits
from benchmarks.report.figures import Styles
from benchmarks.report.figures_cost import COST, outage_vs_ue_cost
from benchmarks.report.frames import at, combinations, describe, spread, swept_axes
from benchmarks.report.interactive import recipes
from simulator.core.types import Panel

Drawn = tuple[list[dict[str, Any]], dict[str, bytes]]

# kinds of figures; the template holds the heading of each and how to read it
PLOTS: dict[str, Callable[..., Figure | None]] = {
    "sum_rate_vs_snr": lambda frame, cdf, snr_db, **look: figures.metric_vs_snr(frame, **look),
    "goodput_vs_snr": lambda frame, cdf, snr_db, **look: figures.metric_vs_snr(frame, "goodput_bpshz", **look),
    "sum_rate_vs_bits": lambda frame, cdf, snr_db, **look: figures.metric_vs_bits(
        frame, "sum_rate_bpshz", snr_db=snr_db, **look
    ),
    "user_rate_cdf": lambda frame, cdf, snr_db, **look: figures.user_rate_cdf(cdf, snr_db=snr_db, **look),
    "outage_vs_snr": lambda frame, cdf, snr_db, **look: figures.outage_vs_snr(frame, **look),
    "nmse_vs_bits": lambda frame, cdf, snr_db, **look: figures.metric_vs_bits(frame, "nmse_db", **look),
    "sgcs_subband_vs_bits": lambda frame, cdf, snr_db, **look: figures.metric_vs_bits(frame, "sgcs_subband", **look),
    "sgcs_vs_bits": lambda frame, cdf, snr_db, **look: figures.metric_vs_bits(frame, "sgcs", **look),
    "outage_vs_ue_cost": lambda frame, cdf, snr_db, styles, **look: outage_vs_ue_cost(frame, snr_db=snr_db, **look),
}
# figures that most scenarios do not ask for, and the metric that asks for them
ONLY_WITH = {"outage_vs_ue_cost": COST, "goodput_vs_snr": "goodput_bpshz", "sgcs_subband_vs_bits": "sgcs_subband"}
AXIS_METRICS = ("sum_rate_bpshz", "relative_rate", "goodput_bpshz", "sgcs_subband", "sgcs", "nmse_db")
# x and metrics of what the script draws for a figure; the cost has its picture alone
CHARTS: dict[str, tuple[str, str]] = {
    "sum_rate_vs_snr": ("snr_db", "sum_rate_bpshz"),
    "goodput_vs_snr": ("snr_db", "goodput_bpshz"),
    "sum_rate_vs_bits": ("bits", "sum_rate_bpshz"),
    "user_rate_cdf": ("rate", "user_rate_bpshz"),
    "outage_vs_snr": ("snr_db", "outage_"),
    "nmse_vs_bits": ("bits", "nmse_db"),
    "sgcs_subband_vs_bits": ("bits", "sgcs_subband"),
    "sgcs_vs_bits": ("bits", "sgcs"),
}
CHANNEL = ("channel_profile", "channel_rebuilt", "channel_magnitude")


class Sections:
    """Sections in the order of the page, and the files of ``figures/`` by name.

    Args:
        frame: results.
        cdf: distribution of the user rate.
        snr_db: where results stand that are not drawn over the SNR [dB].
        styles: of all schemes.
    """

    def __init__(self, frame: pd.DataFrame, cdf: pd.DataFrame, snr_db: float | None, styles: Styles):
        self._frame, self._cdf, self._snr_db, self._styles = frame, cdf, snr_db, styles
        self.sections: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}

    def along_axes(self, seen: dict[str, str]) -> None:
        """A figure per swept axis and metric; ``seen`` says which channels the values of an axis share."""
        frame = self._frame
        for axis in swept_axes(frame):
            for metric in [metric for metric in AXIS_METRICS if (frame["metric"] == metric).any()]:
                figure = figures.metric_vs_axis(frame, metric, axis, snr_db=self._snr_db, styles=self._styles)
                if figure is None:  # an axis of words
                    continue
                name = f"{metric}_over_" + re.sub(r"[^A-Za-z0-9_.-]", "_", axis)[-100:]
                about = {"what": figures.LABELS[metric].partition(" (")[0], "axis": axis, "seen": seen.get(axis, "")}
                charts = recipes(frame, frame, axis, [metric], self._snr_db)
                self._add([(name, axis, figure, charts)], key="over", num_combinations=1, **about)

    def of_kinds(self) -> None:
        """The figures of ``PLOTS``, one for each combination of swept axes, four at most."""
        frame, axes = self._frame, swept_axes(self._frame)
        for key, draw in PLOTS.items():
            if key in ONLY_WITH and not (frame["metric"] == ONLY_WITH[key]).any():
                continue
            # bits are the x axis of a bits figure: a swept bits axis belongs into one figure there
            everything = combinations(frame, without_bits(axes) if key.endswith("_vs_bits") else axes)
            drawn = []
            for idx, part in enumerate(spread(everything), start=1):
                title, here = describe(part), at(frame, part)
                if key.endswith("_vs_snr") and here["snr_db"].nunique() < 2:
                    continue
                figure = draw(here, at(self._cdf, part), self._snr_db, styles=self._styles, title=title)
                name = key if len(everything) == 1 else f"{key}_{idx}"
                drawn.append((name, title, figure, self._charts(key, here)))
            self._add(drawn, key=key, what="", axis="", seen="", num_combinations=len(everything))

    def of_channel(self, picture: Picture, panel: Panel, spacing_hz: float) -> None:
        """One channel, and what the schemes made of it."""
        for key, figure in zip(
            CHANNEL,
            (
                pictures.profile(picture, panel, spacing_hz),
                pictures.rebuilt(picture, panel),
                pictures.magnitudes(picture),
            ),
            strict=True,
        ):
            if figure is not None:
                self._add([(key, "", figure, [])], key=key, what="", axis="", seen="", num_combinations=1)

    def _charts(self, key: str, here: pd.DataFrame) -> list[dict[str, Any]]:
        if key not in CHARTS:
            return []
        x, wanted = CHARTS[key]
        metrics = [wanted]
        if wanted.endswith("_"):
            metrics = [name for name in here["metric"].unique() if name.startswith(wanted)]
        return recipes(self._frame, here, x, metrics, self._snr_db)

    def _add(self, drawn: list[tuple[str, str, Figure | None, list[dict[str, Any]]]], **section: Any) -> None:
        section["pictures"] = []
        for name, title, figure, charts in drawn:
            if figure is not None:
                rendered = figures.render(figure)
                self.files.update({f"{name}.{suffix}": content for suffix, content in rendered.items()})
                uri = "data:image/svg+xml;base64," + base64.b64encode(rendered["svg"]).decode()
                narrow = figure.get_figwidth() < 9
                about = {"name": name, "title": title, "uri": uri, "narrow": narrow, "charts": charts}
                section["pictures"].append(about)
        self.sections.append(section)
