"""Results frame to Matplotlib figures: pure functions, ``None`` when the frame has no data for the figure.

A frame is ``results.csv`` as read by :func:`benchmarks.report.report.read_results`; swept axes are the columns
outside ``BASE_COLUMNS``. Hand in one combination of swept axes at a time, except to :func:`metric_vs_axis`.
A scheme keeps its colour and marker in all figures that get the same ``styles``.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from benchmarks.report.frames import (
    REFERENCE,
    at,
    at_one_snr,
    combinations,
    describe,
    family,
    nearest_snr,
    outage_text,
    spread,
    swept_axes,
)

# after Wong's colour-blind-safe palette; without black (the reference), yellow darkened
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#B0569A", "#B59B00", "#56B4E9", "#7A5230", "#6E6E6E")
MARKERS = "osD^vPX*hp"
RC = {
    **{"font.family": "DejaVu Sans", "font.size": 9.0, "axes.titlesize": 9.5, "axes.labelsize": 9.0},
    **{"axes.grid": True, "grid.color": "#D5D8DC", "grid.linewidth": 0.6, "axes.axisbelow": True},
    **{"axes.edgecolor": "#5F6B7A", "axes.spines.top": False, "axes.spines.right": False},
    **{"xtick.color": "#3B4450", "ytick.color": "#3B4450", "legend.fontsize": 8.0, "legend.frameon": False},
    **{"lines.linewidth": 1.5, "lines.markersize": 4.8, "figure.titlesize": 10.0},
    **{"svg.hashsalt": "csilink", "svg.fonttype": "path", "figure.facecolor": "white", "savefig.dpi": 150},
}
# For figures with the words of users: labels and names are drawn as they are written, `$` and `\\` included.
PLAIN = {**RC, "text.parse_math": False}
LABELS = {
    "sum_rate_bpshz": "Sum rate (bit/s/Hz)",
    "relative_rate": "Rate over that with perfect CSI",
    "goodput_bpshz": "Goodput of all users (bit/s/Hz)",
    "bler": "BLER",
    "sgcs": "SGCS",
    "sgcs_subband": "SGCS by subband",
    "nmse_db": "NMSE (dB)",
}
BITS_LABEL = "Feedback (bits per report, mean)"
SNR_LABEL = "SNR (dB)"


@dataclass(frozen=True)
class Style:
    """Style of a scheme in every figure."""

    color: str
    marker: str
    linestyle: str = "-"
    reference: bool = False  # perfect CSI: a level, not a contender

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of ``Axes.plot``."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.linestyle}


Styles = dict[str, Style]


def shown(text: str) -> str:
    """The text as a label; Matplotlib hides those that begin with `_`."""
    return f"\u200b{text}" if text.startswith("_") else text


def network(scheme: str) -> str:
    """Label without precision, quantiser and coder: ``csinet-250`` of ``csinet-250-mid_tread-b5-range-w8``."""
    scheme = re.sub(r"-mpq-(online|oracle|static|ilp|random)-.*", r"-mpq-\1", scheme)
    return re.sub(r"-(?:(?:mid_tread|mu_law|lloyd_max|uniform|vector)-)?b\d+(?=-|$).*", "", scheme)


def scheme_styles(schemes: Iterable[str], references: Collection[str] | None = None) -> dict[str, Style]:
    """Hue per family in order of appearance, shade (light to dark with the rate) and marker within it.

    Args:
        schemes: their labels.
        references: those that send perfect CSI; None: labels of that family.
    """
    families: dict[str, list[str]] = {}
    styles: dict[str, Style] = {}
    for scheme in dict.fromkeys(schemes):
        if scheme in references if references is not None else family(scheme) == REFERENCE:
            styles[scheme] = Style("#222222", "", "--", reference=True)
        else:
            families.setdefault(family(scheme), []).append(scheme)
    for idx, members in enumerate(families.values()):
        members.sort(key=lambda scheme: [int(digits) for digits in re.findall(r"-(?:b|pc)(\d+)", scheme)])
        shades = np.linspace(-0.45, 0.35, len(members)) if len(members) > 1 else [0.0]
        for place, (scheme, shade) in enumerate(zip(members, shades, strict=True)):
            color = _mix(PALETTE[idx % len(PALETTE)], float(shade))
            linestyle = ("-", "-.", ":")[idx // len(PALETTE) % 3]
            styles[scheme] = Style(color, MARKERS[(idx + place) % len(MARKERS)], linestyle)
    return styles


def render(figure: Figure) -> dict[str, bytes]:
    """SVG and PNG bytes without a date: equal frames give equal bytes. Freezes the layout of the figure."""
    pictures = {}
    with mpl.rc_context(PLAIN):
        for suffix, metadata in (("svg", {"Date": None}), ("png", {})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, metadata=metadata)
            figure.set_layout_engine("none")  # laid out once: the second format reuses it
            pictures[suffix] = buffer.getvalue()
    return pictures


def _styled(draw: Callable[..., Figure | None]) -> Callable[..., Figure | None]:
    """Run under ``PLAIN``, with styles made from the frame where the caller gives none."""

    @functools.wraps(draw)
    def styled(frame: pd.DataFrame, *args: Any, styles: Styles | None = None, **params: Any) -> Figure | None:
        with mpl.rc_context(PLAIN):
            return draw(frame, *args, styles=styles or scheme_styles(frame["scheme"]), **params)

    return styled


@_styled
def metric_vs_snr(
    frame: pd.DataFrame, metric: str = "sum_rate_bpshz", *, styles: Styles, title: str = ""
) -> Figure | None:
    """One panel per precoder, one line per scheme, 95 % band."""
    rows = _metric(frame, metric)
    if rows.empty:
        return None
    precoders = _panels(rows, "precoder")
    figure, grid = _grid(1, len(precoders), title)
    for ax, (name, part) in zip(grid[0], precoders, strict=True):
        _curves(ax, part, "snr_db", styles)
        ax.set(title=name, xlabel=SNR_LABEL)
    grid[0, 0].set(ylabel=LABELS[metric], ylim=(0, None))
    _below_reference(grid[0, 0], rows, styles)
    return _with_legend(figure, styles)


@_styled
def outage_vs_snr(frame: pd.DataFrame, *, styles: Styles, title: str = "") -> Figure | None:
    """One row per outage criterion, one column per precoder; logarithmic to the last decade seen, then 0."""
    rows = frame[frame["metric"].str.startswith("outage_") & np.isfinite(frame["value"])]
    if rows.empty:
        return None
    criteria, precoders = list(rows["metric"].unique()), list(rows["precoder"].unique())
    figure, grid = _grid(len(criteria), len(precoders), title)
    for line, criterion in zip(grid, criteria, strict=True):
        chosen = rows[rows["metric"] == criterion]
        for ax, precoder in zip(line, precoders, strict=True):
            _curves(ax, chosen[chosen["precoder"] == precoder], "snr_db", styles, floor=0.0)
            ax.set(title=f"{precoder}, {outage_text(criterion)}")
        positive = chosen["value"][chosen["value"] > 0]
        decade = int(np.floor(np.log10(positive.min()))) if len(positive) else -3
        _log_with_zero(line[0], min(decade, -1))
        line[0].set(ylabel="Outage probability")
    for ax in grid[-1]:
        ax.set(xlabel=SNR_LABEL)
    return _with_legend(figure, styles)


@_styled
def user_rate_cdf(cdf: pd.DataFrame, *, snr_db: float | None = None, styles: Styles, title: str = "") -> Figure | None:
    """``user_rate_cdf.csv`` at the SNR nearest to ``snr_db``; one panel per precoder."""
    rows = cdf[cdf["snr_db"] == nearest_snr(cdf, 20.0 if snr_db is None else snr_db)]
    if rows.empty:
        return None
    precoders = _panels(rows, "precoder")
    figure, grid = _grid(1, len(precoders), title)
    for ax, (name, part) in zip(grid[0], precoders, strict=True):
        for scheme, curve in part.groupby("scheme", sort=False):
            curve = curve.sort_values(["rate_bpshz", "cdf"])
            line = {**styles[scheme].line, "label": shown(scheme), "markevery": (0.05, 0.25)}
            ax.plot(curve["rate_bpshz"], curve["cdf"], **line)
        ax.set(title=f"{name}, SNR {rows['snr_db'].iloc[0]:g} dB", xlabel="User rate (bit/s/Hz)")
    grid[0, 0].set(ylabel="Share of users at or below", ylim=(0, 1.01), xlim=(0, None))
    return _with_legend(figure, styles)


@_styled
def metric_vs_bits(
    frame: pd.DataFrame, metric: str, *, snr_db: float | None = None, styles: Styles, title: str = ""
) -> Figure | None:
    """A metric against the measured mean bits; a family is one line, the reference a dashed level.

    ``snr_db`` (default: the SNR nearest to 20 dB) is used by link metrics only.
    """
    rows, at_snr = at_one_snr(_metric(frame, metric), snr_db)
    rows = rows[np.isfinite(rows["bits_mean"])]
    if _is_reference(rows, styles).all():  # no scheme to compare with the reference
        return None
    counted = frame[(frame["metric"] == "bits_mean") & frame["ci95"].notna()]
    spreads = counted.groupby(["scheme", "bits_mean"])["ci95"].max()
    keys = pd.MultiIndex.from_frame(rows[["scheme", "bits_mean"]])
    rows = rows.assign(bits_ci95=spreads.reindex(keys).to_numpy())
    panels = _panels(rows, "precoder")
    figure, grid = _grid(1, len(panels), title)
    for ax, (name, part) in zip(grid[0], panels, strict=True):
        is_level = _is_reference(part, styles)
        _families(ax, part[~is_level], "bits_mean", styles, x_error="bits_ci95")
        for level in part[is_level].drop_duplicates(["scheme", "value"]).itertuples():
            look, label = styles[level.scheme], f"{shown(level.scheme)} ({level.bits_mean:,.0f} bits)"
            ax.axhline(level.value, color=look.color, linestyle=look.linestyle, linewidth=1.2, label=label)
            low, high = level.value - level.ci95, level.value + level.ci95
            if low < high:  # an empty half-width is neither
                ax.axhspan(low, high, color=look.color, alpha=0.10, linewidth=0)
        ax.set(title=", ".join(filter(None, [name, at_snr])), xlabel=BITS_LABEL)
        _maybe_log(ax, rows["bits_mean"][~_is_reference(rows, styles)])
    grid[0, 0].set(ylabel=LABELS.get(metric, metric), **_bottom(metric))
    if _bottom(metric):
        _below_reference(grid[0, 0], rows, styles)
    return _with_legend(figure, styles)


@_styled
def metric_vs_axis(
    frame: pd.DataFrame, metric: str, axis: str, *, snr_db: float | None = None, styles: Styles
) -> Figure | None:
    """A metric against a numeric swept axis, one line per scheme.

    A row of panels per combination of the other axes, four at most.
    """
    rows, at_snr = at_one_snr(_metric(frame, metric), snr_db)
    if pd.api.types.is_bool_dtype(rows[axis]) or not pd.api.types.is_numeric_dtype(rows[axis]):
        return None
    rows = rows[np.isfinite(rows[axis])]
    if rows[axis].nunique() < 2:
        return None
    others = spread(combinations(rows, [other for other in swept_axes(frame) if other != axis]))
    precoders = [name for name, _ in _panels(rows, "precoder")]
    figure, grid = _grid(len(others), len(precoders), sharey="all")
    for line, other in zip(grid, others, strict=True):
        panels = dict(_panels(at(rows, other), "precoder"))
        for ax, name in zip(line, precoders, strict=True):
            part = panels.get(name, rows.iloc[:0])
            # a scheme with one point: its rate is the axis, so the family makes the line
            single = part.groupby("scheme")[axis].transform("nunique") < 2
            _families(ax, part[single], axis, styles)
            _curves(ax, part[~single], axis, styles)
            ax.set(title=", ".join(filter(None, [name, at_snr, describe(other)])))
        line[0].set(ylabel=LABELS.get(metric, metric))
    grid[0, 0].set(**_bottom(metric))  # after the last line: it freezes the shared limits
    if _bottom(metric):
        _below_reference(grid[0, 0], rows, styles)
    for ax in grid[-1]:
        ax.set(xlabel=axis)
        _maybe_log(ax, rows[axis])
        if rows[axis].nunique() <= 8:
            ax.xaxis.set_major_locator(FixedLocator(sorted(rows[axis].unique())))
    return _with_legend(figure, styles)


def _mix(color: str, shade: float) -> str:
    """Towards white for a negative shade, towards black for a positive one."""
    target = 1.0 if shade < 0 else 0.0
    return to_hex([(1 - abs(shade)) * part + abs(shade) * target for part in to_rgb(color)])


def _is_reference(rows: pd.DataFrame, styles: Styles) -> pd.Series:
    return rows["scheme"].map(lambda scheme: styles[scheme].reference).astype(bool)


def label_of(metric: str) -> str:
    """Label of a metric on an axis."""
    return LABELS.get(metric) or (outage_text(metric) if metric.startswith("outage_") else metric)


def _below_reference(ax: Axes, rows: pd.DataFrame, styles: Styles) -> None:
    """Limit the axis where the reference is far above all others; a note says where it goes."""
    level, others = (rows[_is_reference(rows, styles) == wanted] for wanted in (True, False))
    if level.empty or others.empty:
        return
    top = (others["value"] + others["ci95"].fillna(0)).max()
    if level["value"].max() > 1.5 * top > 0:
        ax.set_ylim(0, 1.06 * top)
        name, value = level.loc[level["value"].idxmax(), ["scheme", "value"]]
        place = {"xy": (0.99, 0.985), "xycoords": "axes fraction", "ha": "right", "va": "top", "fontsize": 7.5}
        ax.annotate(f"{shown(name)}: up to {value:.4g} ↑", **place)


def _metric(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Finite rows; without those of exact CSI, whose NMSE of minus infinity is stored as -300 dB."""
    exact = (metric == "nmse_db") & (frame["value"] < -200)
    return frame[(frame["metric"] == metric) & np.isfinite(frame["value"]) & ~exact]


def _bottom(metric: str) -> dict[str, Any]:
    return {"ylim": (0, None)} if metric.endswith("_bpshz") else {}


def _panels(rows: pd.DataFrame, column: str) -> list[tuple[str, pd.DataFrame]]:
    return [("" if pd.isna(name) else str(name), part) for name, part in rows.groupby(column, sort=False, dropna=False)]


def _grid(num_rows: int, num_cols: int, title: str = "", sharey: str = "row") -> tuple[Figure, np.ndarray]:
    height = 3.9 if num_rows == 1 else 2.9 * num_rows
    figure = Figure(figsize=(4.3 * num_cols + 2.9, height + 0.3 * bool(title)), dpi=150, layout="constrained")
    if title:
        figure.suptitle(title, fontweight="bold")
    return figure, figure.subplots(num_rows, num_cols, squeeze=False, sharex=True, sharey=sharey)


def _curves(ax: Axes, rows: pd.DataFrame, x: str, styles: Styles, floor: float | None = None) -> None:
    """A line per scheme with its 95 % band."""
    for scheme, curve in rows.groupby("scheme", sort=False):
        curve, look = curve.sort_values(x), styles[scheme]
        ax.plot(curve[x], curve["value"], **look.line, label=shown(scheme))
        low, high = curve["value"] - curve["ci95"], curve["value"] + curve["ci95"]
        ax.fill_between(curve[x], low.clip(lower=floor), high, color=look.color, alpha=0.16, linewidth=0)


def _families(ax: Axes, rows: pd.DataFrame, x: str, styles: Styles, x_error: str = "") -> None:
    """A thin line through the schemes of a family, and a marker with error bars per scheme."""
    for name, members in rows.groupby(rows["scheme"].map(family), sort=False):
        members = members.sort_values(x)
        middle = styles[members["scheme"].iloc[len(members) // 2]].color
        ax.plot(members[x], members["value"], color=middle, linewidth=1.0, alpha=0.7, label=f"_{name}")
        for scheme, points in members.groupby("scheme", sort=False):
            look, xy = styles[scheme], (points[x], points["value"])
            bars = {"yerr": points["ci95"], "xerr": points[x_error] if x_error else None}
            ax.errorbar(*xy, **bars, fmt="none", ecolor=look.color, capsize=2.5)
            mark = {"marker": look.marker or "x", "markersize": 6, "linestyle": ""}
            ax.plot(*xy, **mark, color=look.color, label=shown(scheme))


def _maybe_log(ax: Axes, x: pd.Series) -> None:
    """Logarithmic x with plain numbers when the values span more than a factor of 20."""
    if len(x) and x.min() > 0 and x.max() / x.min() > 20:
        ax.set_xscale("log")
        narrow = x.max() / x.min() < 200
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())


def _log_with_zero(ax: Axes, decade: int) -> None:
    """Decades from ``10**decade`` to 1 above a short linear strip that holds zero."""
    ax.set_yscale("symlog", linthresh=10.0**decade, linscale=0.4)
    ax.set_ylim(-0.2 * 10.0**decade, 1.4)
    ticks = [0.1, 0.2, 0.5, 1.0] if decade == -1 else [10.0**power for power in range(decade, 1)]
    ax.yaxis.set_major_locator(FixedLocator([0.0, *ticks]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _with_legend(figure: Figure, styles: Styles) -> Figure:
    """One legend for all panels, to the right of them, in the order of the styles."""
    found: dict[str, Any] = {}
    for ax in figure.axes:
        handles, labels = ax.get_legend_handles_labels()
        found.update(zip(labels, handles, strict=True))
    wanted = [label for scheme in styles for label in found if f"{label} ".startswith(f"{shown(scheme)} ")]
    labels = list(dict.fromkeys(wanted))
    handles = [found[label] for label in labels]
    figure.legend(handles, labels, loc="outside right upper", title="Scheme", alignment="left")
    return figure
