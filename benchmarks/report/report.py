"""A results folder to figures (PNG, SVG) and one self-contained ``report.html``."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from benchmarks.rebuild import mend_tables
from benchmarks.report import figures
from benchmarks.report.bd_table import bd_frame, bd_tables, without_bits
from benchmarks.report.cells import bits_text, cell
from benchmarks.report.figures_cost import COST, outage_vs_ue_cost
from benchmarks.report.frames import (
    REFERENCE,
    at,
    combinations,
    describe,
    family,
    nearest_snr,
    outage_text,
    plain,
    read_results,
    read_table,
    repeated,
    spread,
    swept_axes,
)
from simulator.core.durable import write_bytes
from simulator.core.errors import StoreError
from simulator.core.paths import inside
from simulator.core.readers import read_json

CDF_COLUMNS = ("scheme", "precoder", "snr_db", "rate_bpshz", "cdf")
MANIFEST_KEYS = ("name", "scenario", "snr_definition", "normalization")
BD_FILE = "bd_rate.csv"
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


def write_report(folder: Path) -> Path:
    """Write ``figures/*.png``, ``figures/*.svg``, ``bd_rate.csv`` and ``report.html``; return the path of the page.

    Tables that changed since the run are written again from the chunks.

    Args:
        folder: results folder with ``results.csv``, ``manifest.json`` and, where rates were drawn,
            ``user_rate_cdf.csv``.

    Raises:
        StoreError: an input is missing, damaged or empty, or the folder cannot be written.
    """
    folder = Path(folder)
    mend_tables(folder)
    frame, manifest = read_results(inside(folder, "results.csv")), _read_manifest(inside(folder, "manifest.json"))
    axes = swept_axes(frame)
    cdf = _read_cdf(inside(folder, "user_rate_cdf.csv"), axes)
    snr_db = nearest_snr(frame)
    seen = manifest.get("seen_along", {})
    sections, files = _draw_all(frame, cdf, snr_db, seen if isinstance(seen, dict) else {})
    # schemes that differ only in a swept number of bits stand in one table where their labels tell them apart
    fewer = without_bits(axes)
    shown = combinations(frame, axes if len(repeated(frame, fewer)) else fewer)
    differences = bd_frame(frame)
    page = _template().render(
        manifest=manifest,
        facts=_facts(frame, manifest),
        snr_db=None if snr_db is None else f"{snr_db:g}",
        key_tables=[(describe(part), key_results(at(frame, part), snr_db)) for part in shown],
        sections=sections,
        bd_tables=bd_tables(differences, snr_db),
        metrics=_metrics(frame),
        origin=_origin(manifest),
        pivots=pivots(frame),
        scenario_yaml=yaml.safe_dump(manifest["scenario"], sort_keys=False, allow_unicode=True),
    )
    drawn_here = (*PLOTS, *(f"{metric}_over_" for metric in AXIS_METRICS))
    try:
        place = inside(folder, "figures")
        place.mkdir(exist_ok=True)
        for name, content in files.items():
            write_bytes(place / name, content)
        for old in place.iterdir():  # figures of an earlier report that this one does not have
            if old.name not in files and old.name.startswith(drawn_here):
                old.unlink()
        (folder / BD_FILE).unlink(missing_ok=True)
        if len(differences):
            write_bytes(
                folder / BD_FILE, differences.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()
            )
        write_bytes(folder / "report.html", page.encode(errors="backslashreplace"))
    except OSError as error:
        raise StoreError(f"{folder}: the report cannot be written ({error.strerror or error})") from None
    return folder / "report.html"


def key_results(frame: pd.DataFrame, snr_db: float | None) -> dict[str, Any]:
    """Scheme x precoder at one SNR, with the share of the perfect-CSI sum rate and the best row marked."""
    outages = [metric for metric in frame["metric"].unique() if metric.startswith("outage_")]
    sgcs = "sgcs_subband" if (frame["metric"] == "sgcs_subband").any() else "sgcs"  # one of the two, for room
    others = [m for m in ("goodput_bpshz", "bler", sgcs, "nmse_db") if (frame["metric"] == m).any()]
    metrics = outages + others
    link = frame[frame["precoder"].notna() & (frame["snr_db"] == snr_db)]
    rate = link[link["metric"] == "sum_rate_bpshz"].set_index(["scheme", "precoder"])["value"].dropna()
    pairs = link[["scheme", "precoder"]].drop_duplicates().to_dict("records")
    pairs = pairs or [{"scheme": scheme, "precoder": None} for scheme in frame["scheme"].unique()]
    p95 = _p95(frame)
    rows = []
    for pair in pairs:
        own = frame[frame["scheme"] == pair["scheme"]]
        here = own[own["precoder"].isna() | (own["precoder"] == pair["precoder"]) & (own["snr_db"] == snr_db)]
        found = {row.metric: cell(row.metric, row.value, row.ci95) for row in here.itertuples()}
        best = rate[[key for key in rate.index if key[1] == pair["precoder"]]]
        ceiling = next((value for (scheme, _), value in best.items() if family(scheme) == REFERENCE), np.nan)
        rest = best[[family(scheme) != REFERENCE for scheme, _ in best.index]]
        share = 100.0 * rate.get((pair["scheme"], pair["precoder"]), np.nan) / ceiling
        rows.append(
            {
                "precoder": pair["precoder"] or "–",
                "scheme": pair["scheme"],
                "bits": [
                    bits_text(bits) for bits in (own["bits_mean"].max(), *p95[pair["scheme"]], own["bits_max"].max())
                ],
                "sum_rate": found.get("sum_rate_bpshz", "–"),
                "share": f"{share:.1f}" if np.isfinite(share) else None,
                "bar": f"{np.clip(share, 0, 100):.1f}",
                "others": [found.get(metric, "–") for metric in metrics],
                "best": len(rest) > 0 and (pair["scheme"], pair["precoder"]) == rest.idxmax(),
            }
        )
    order = list(dict.fromkeys(row["precoder"] for row in rows))
    rows.sort(key=lambda row: order.index(row["precoder"]))
    heads = [("Outage", outage_text(metric)) for metric in outages]
    heads += [figures.LABELS[metric].partition(" ")[::2] for metric in others]
    has_share = any(row["share"] is not None for row in rows)
    bits_heads = ["mean", *(["95 %"] if any(p95.values()) else []), "max"]
    return {"heads": heads, "bits_heads": bits_heads, "has_rate": len(rate) > 0, "has_share": has_share, "rows": rows}


def _p95(frame: pd.DataFrame) -> dict[str, list[float]]:
    """Percentile of the bits by scheme, in a list; empty lists where it equals the maximum."""
    found = frame[frame["metric"] == "bits_p95"].groupby("scheme")[["value", "bits_max"]].max()
    tells = (found["value"] < found["bits_max"]).any()
    return {scheme: [found["value"].get(scheme, np.nan)] * bool(tells) for scheme in frame["scheme"].unique()}


def pivots(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The whole tidy table: a pivot by SNR per link metric, sum rate first, then the feedback metrics."""
    axes = swept_axes(frame)
    tables = []
    link = frame[frame["snr_db"].notna()]
    for metric in sorted(link["metric"].unique(), key=lambda metric: metric != "sum_rate_bpshz"):
        rows = link[link["metric"] == metric]
        keys = [*axes, "scheme", *(["precoder"] if rows["precoder"].notna().any() else [])]
        heads = [f"{snr_db:g} dB" for snr_db in sorted(rows["snr_db"].unique())]
        tables.append(_pivot(metric, rows, keys, rows["snr_db"].map("{:g} dB".format), heads))
    rows = frame[frame["snr_db"].isna()]
    if len(rows):
        tables.append(
            _pivot(
                "Metrics of the feedback alone",
                rows,
                [*axes, "scheme"],
                rows["metric"],
                rows["metric"].unique(),
            )
        )
    return tables


def _pivot(title: str, rows: pd.DataFrame, keys: list[str], column: pd.Series, heads: Any) -> dict[str, Any]:
    cells: dict[tuple, dict[str, str]] = {}
    for key, head, *numbers in zip(
        rows[keys].itertuples(index=False, name=None), column, rows["metric"], rows["value"], rows["ci95"], strict=True
    ):
        cells.setdefault(tuple(plain(part) for part in key), {})[head] = cell(*numbers)
    body = [(key, [line.get(head, "–") for head in heads]) for key, line in cells.items()]
    unit = rows["unit"].iloc[0] if rows["unit"].nunique() == 1 else ""
    counts = sorted({f"{count:,.0f}" for count in (rows["num_samples"].min(), rows["num_samples"].max())}, key=len)
    about = ", ".join(filter(None, ["" if unit == "1" else unit, f"{' to '.join(counts)} samples each"]))
    return {"title": title, "about": about, "names": keys, "heads": list(heads), "body": body}


def _draw_all(frame: pd.DataFrame, cdf: pd.DataFrame, snr_db: float | None, seen: dict[str, str]) -> Drawn:
    """Sections of the page in order, each with its pictures, and the content of ``figures/`` by name.

    ``seen`` describes which channels the values of an axis share.
    """
    styles, axes = figures.scheme_styles(frame["scheme"]), swept_axes(frame)
    sections: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}

    def add(pictures: list[tuple[str, str, Figure | None]], **section: Any) -> None:
        section["pictures"] = []
        for name, title, figure in pictures:
            if figure is not None:
                rendered = figures.render(figure)
                files.update({f"{name}.{suffix}": content for suffix, content in rendered.items()})
                uri = "data:image/svg+xml;base64," + base64.b64encode(rendered["svg"]).decode()
                section["pictures"].append({"title": title, "uri": uri, "narrow": figure.get_figwidth() < 9})
        sections.append(section)

    for key, draw in PLOTS.items():
        if key in ONLY_WITH and not (frame["metric"] == ONLY_WITH[key]).any():
            continue
        # bits are the x axis of a bits figure: a swept bits axis belongs into one figure there
        everything = combinations(frame, without_bits(axes) if key.endswith("_vs_bits") else axes)
        pictures = []
        for idx, part in enumerate(spread(everything), start=1):
            title = describe(part)
            here = at(frame, part)
            if key.endswith("_vs_snr") and here["snr_db"].nunique() < 2:
                continue
            figure = draw(here, at(cdf, part), snr_db, styles=styles, title=title)
            pictures.append((key if len(everything) == 1 else f"{key}_{idx}", title, figure))
        add(pictures, key=key, what="", axis="", seen="", num_combinations=len(everything))
    for axis in axes:
        for metric in [metric for metric in AXIS_METRICS if (frame["metric"] == metric).any()]:
            figure = figures.metric_vs_axis(frame, metric, axis, snr_db=snr_db, styles=styles)
            name = f"{metric}_over_" + re.sub(r"[^A-Za-z0-9_.-]", "_", axis)[-100:]
            what = figures.LABELS[metric].partition(" (")[0]
            add([(name, axis, figure)], key="over", what=what, axis=axis, seen=seen.get(axis, ""), num_combinations=1)
    return sections, files


def _facts(frame: pd.DataFrame, manifest: dict[str, Any]) -> list[tuple[str, str]]:
    def several(column: str) -> str:
        return ", ".join(dict.fromkeys(plain(value) for value in frame[column].dropna()))

    drops = _known(manifest, "num_drops")
    return [
        ("Channel", several("channel")),
        ("Users", several("num_users")),
        ("Ports", several("num_ports")),
        ("Drops", f"{drops:,}" if isinstance(drops, int) else str(drops)),
        ("Schemes", str(frame["scheme"].nunique())),
        ("Precoders", several("precoder") or "none"),
    ]


def _metrics(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Metric, its glossary entry in the template (the name without its threshold or layer), its unit in the file."""
    units = frame.drop_duplicates("metric").set_index("metric")["unit"].fillna("–")
    return [(metric, re.sub(r"_(layer)?[\d.]+$", "", metric), unit) for metric, unit in units.items()]


def _origin(manifest: dict[str, Any]) -> list[tuple[str, Any]]:
    wall_time_s = manifest.get("wall_time_s")
    wall_time = f"{wall_time_s:.1f} s" if isinstance(wall_time_s, int | float) else "not recorded"
    return (
        [("Started", _known(manifest, "started")), ("Wall time", wall_time)]
        + [
            (name, _known(manifest, key))
            for name, key in (("Seed", "seed"), ("Commit", "commit"), ("Drops", "num_drops"))
        ]
        + [("Code", "differs from the commit")] * (manifest.get("dirty") is True)
    )


def _known(manifest: dict[str, Any], key: str) -> Any:
    return "not recorded" if manifest.get(key) is None else manifest[key]


def _read_cdf(path: Path, axes: list[str]) -> pd.DataFrame:
    """The CDF table; an absent file means that no rates were drawn."""
    columns = (*axes, *CDF_COLUMNS)
    if not path.exists():
        return pd.DataFrame({column: pd.Series(dtype=float) for column in columns})
    return read_table(path, columns, ("scheme", "precoder"), ("snr_db", "rate_bpshz", "cdf"))


def _read_manifest(path: Path) -> dict[str, Any]:
    expected = f"expected a JSON object with the keys {', '.join(MANIFEST_KEYS)}"
    try:
        manifest = read_json(path)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; {expected}") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); {expected}") from None
    missing = [key for key in MANIFEST_KEYS if not isinstance(manifest, dict) or key not in manifest]
    if missing:
        raise StoreError(f"{path}: key {', '.join(missing)} missing; {expected}")
    kinds = {"scenario": dict, "versions": dict, "hashes": dict, "notes": list}
    wrong = [key for key, kind in kinds.items() if not isinstance(manifest.get(key, kind()), kind)]
    if wrong:
        raise StoreError(f"{path}: {', '.join(wrong)} of the wrong kind; expected objects, and a list of notes")
    return manifest


def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parents[1] / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html")
