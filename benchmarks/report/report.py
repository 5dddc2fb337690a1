"""A results folder to figures (PNG, SVG) and one self-contained ``report.html``."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import yaml

from benchmarks.picture import read_picture
from benchmarks.rebuild import mend_tables
from benchmarks.report.bd_table import bd_frame, bd_tables, curve, without_bits
from benchmarks.report.cells import bits_text, cell, difference
from benchmarks.report.figures import scheme_styles
from benchmarks.report.frames import (
    at,
    combinations,
    describe,
    nearest_snr,
    plain,
    read_results,
    read_table,
    reference_labels,
    repeated,
    swept_axes,
)
from benchmarks.report.interactive import page_data
from benchmarks.report.sections import AXIS_METRICS, CHANNEL, PLOTS, Sections
from benchmarks.report.tables import key_results, pivots
from benchmarks.report.verdict import Winner, metric_of, paired_of, winners
from benchmarks.results_folder import CONTENT, SCENARIO, read_points
from scenarios.schema import Scenario
from scenarios.sweep import Point
from simulator.core.durable import write_bytes
from simulator.core.errors import StoreError
from simulator.core.paths import inside, is_file
from simulator.core.readers import read_json

CDF_COLUMNS = ("scheme", "precoder", "snr_db", "rate_bpshz", "cdf")
MANIFEST_KEYS = ("name", "scenario", "snr_definition", "normalization")
BD_FILE = "bd_rate.csv"
_TEMPLATES = Path(__file__).parents[1] / "templates"


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
    snr_db, point = nearest_snr(frame), _first_point(folder)
    references = reference_labels(frame["scheme"].unique(), manifest["scenario"])
    styles = scheme_styles(frame["scheme"], references)
    drawn = Sections(frame, cdf, snr_db, styles)
    seen = manifest.get("seen_along", {})
    drawn.along_axes(seen if isinstance(seen, dict) else {})
    drawn.of_kinds()
    if point is not None:
        geometry = point.scenario.geometry
        drawn.of_channel(read_picture(folder, point.key), geometry.panel, geometry.spacing_hz)
    # schemes that differ only in a swept number of bits stand in one table where their labels tell them apart
    fewer = without_bits(axes)
    shown = combinations(frame, axes if len(repeated(frame, fewer)) else fewer)
    differences = bd_frame(frame, references)
    paired = paired_of(folder)
    best = [(part, winners(at(frame, part), snr_db, references, curve, paired(part))) for part in shown]
    page = _template().render(
        manifest=manifest,
        facts=_facts(frame, manifest, point),
        snr_db=None if snr_db is None else f"{snr_db:g}",
        verdicts=[
            (describe(part), [_winner(each, metric_of(frame)) for each in found]) for part, found in best if found
        ],
        judged=metric_of(frame),
        key_tables=[
            (describe(part), key_results(at(frame, part), snr_db, references, [(w.scheme, w.precoder) for w in found]))
            for part, found in best
        ],
        references=sorted(references),
        sections=drawn.sections,
        bd_tables=bd_tables(differences, snr_db),
        metrics=_metrics(frame),
        origin=_origin(manifest),
        pivots=pivots(frame),
        data=page_data(frame, cdf, styles),
        script=(_TEMPLATES / "report.js").read_bytes().decode(),
        scenario_yaml=yaml.safe_dump(manifest["scenario"], sort_keys=False, allow_unicode=True),
    )
    _write(folder, page, drawn.files, differences)
    return folder / "report.html"


def _write(folder: Path, page: str, files: dict[str, bytes], differences: pd.DataFrame) -> None:
    """Figures, BD-rates and page; figures of an earlier report that this one does not have go."""
    drawn_here = (*PLOTS, *CHANNEL, *(f"{metric}_over_" for metric in AXIS_METRICS))
    try:
        place = inside(folder, "figures")
        place.mkdir(exist_ok=True)
        for name, content in files.items():
            write_bytes(place / name, content)
        for old in place.iterdir():
            if old.name not in files and old.name.startswith(drawn_here):
                old.unlink()
        (folder / BD_FILE).unlink(missing_ok=True)
        if len(differences):
            text = differences.to_csv(index=False, float_format="%.6g", lineterminator="\n")
            write_bytes(folder / BD_FILE, text.encode())
        write_bytes(folder / "report.html", page.encode(errors="backslashreplace"))
    except OSError as error:
        raise StoreError(f"{folder}: the report cannot be written ({error.strerror or error})") from None


def _first_point(folder: Path) -> Point | None:
    """First point of a folder with chunks; None for a folder of another csilink, whose tables are shown alone."""
    with suppress(StoreError):
        if is_file(folder / SCENARIO) and is_file(folder / CONTENT):
            return read_points(folder)[1][0]
    return None


def _winner(winner: Winner, metric: str | None) -> dict[str, Any]:
    """A row of the verdict."""
    unit = "dB" if metric == "nmse_db" else ""
    lead = "" if winner.runner_up is None else difference(winner.lead, winner.lead_ci95)
    return {
        **{"budget": f"{winner.budget:,}", "scheme": winner.scheme, "precoder": winner.precoder},
        **{"bits": bits_text(winner.bits), "value": cell(metric or "", winner.value, winner.ci95), "unit": unit},
        **{"share": f"{winner.share:.0f} %" if np.isfinite(winner.share) else "", "runner_up": winner.runner_up},
        **{"lead": lead, "clear": winner.clear},
    }


def _facts(frame: pd.DataFrame, manifest: dict[str, Any], point: Point | None) -> list[tuple[str, str]]:
    def several(column: str) -> str:
        return ", ".join(dict.fromkeys(plain(value) for value in frame[column].dropna()))

    drops = _known(manifest, "num_drops")
    return [
        ("Channel", several("channel")),
        ("Users", several("num_users")),
        ("Ports", several("num_ports")),
        ("Drops", f"{drops:,}" if isinstance(drops, int) else str(drops)),
        ("Precoders", several("precoder") or "none"),
        *(_carrier(point.scenario) if point is not None else ()),
    ]


def _carrier(scenario: Scenario) -> list[tuple[str, str]]:
    """Frequency, bandwidth and spacing of the first point."""
    carrier = scenario.carrier
    count = carrier.num_subcarriers if carrier.num_rb is None else 12 * carrier.num_rb
    width_hz = (count or 0) * carrier.subcarrier_spacing_hz
    blocks = "" if carrier.num_rb is None else f", {carrier.num_rb} RB"
    return [
        ("Carrier", f"{carrier.carrier_hz / 1e9:g} GHz"),
        ("Bandwidth", f"{width_hz / 1e6:.4g} MHz{blocks}"),
        ("Spacing", f"{carrier.subcarrier_spacing_hz / 1e3:g} kHz"),
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
    loader = jinja2.FileSystemLoader(_TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html")
