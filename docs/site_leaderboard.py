"""The leaderboard on the site: its tables with what the filter and the sorting need, pictures, all operating points.

Pages without JavaScript show everything; docs/leaderboard.js adds the filter and the buttons of the headings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from html import escape

from site_svg import Axis, Curve, Scale, picture, wide

from benchmarks.leaderboard.entry import FAMILIES, Entry, chosen
from benchmarks.leaderboard.result import Line, Result
from benchmarks.leaderboard.table import KINDS, Kind, bits_of, places, results
from benchmarks.leaderboard.track import NONE, Track, track, tracks
from simulator.core import registry

Found = list[tuple[Entry, Result]]
TITLES = {
    "sgcs_subband": "SGCS by subband",
    "sum_rate_bpshz": "sum rate [bit/s/Hz]",
    "nmse_db": "NMSE [dB]",
    "goodput_bpshz": "goodput [bit/s/Hz]",
}
_BITS = {"bits_mean": "bits per report, mean", "bits_per_slot": "bits per slot, mean"}


def leaderboard(text: str) -> str:
    """The page with its results first: the filter, and a section for every track in place of its tables."""
    head, _, rest = text.partition("\n## Results\n")
    first, _, rules = head.partition("\n## Rules\n")
    intro, *sections = re.split(r"^(?=### )", rest, flags=re.M)
    made = "".join(_section(part) for part in sections)
    return f"{first}\n## Results\n{intro}{_filter()}\n\n{made}## Rules\n{rules}"


def _section(text: str) -> str:
    """A track under its heading: tables of HTML in place of those of Markdown, pictures, all operating points."""
    name = re.search(r"<!-- table: ([\w-]+)-mean -->", text)[1]
    each = track(name)
    found = _found(name)
    shown = ["*No result yet.*"]
    if found:
        tables = (grid(found, each, kind) for kind in KINDS)
        shown = [score_picture(found, each), *tables, cost_picture(found, each), points(found, each)]
    heading = text.partition("\n")[0]
    inner = "\n\n".join([each.description, *shown])
    better = registry.load("metrics", each.scores[0]).better
    start = f'<div class="track" data-track="{name}" data-better="{better}" markdown="1">'
    return f"{start}\n\n{heading}\n\n{inner}\n\n</div>\n\n"


@cache
def _found(name: str) -> Found:
    """Results of a track, read and checked once."""
    return results(chosen(None), track(name))


def scheme_results(name: str) -> str:
    """Results of the entries that use a scheme, on every track; empty where there are none."""
    return _of_entries(lambda entry, each: any(line["scheme"] == name for line in entry.lines(each)))


def weight_results(name: str) -> str:
    """The same of the entries that read a set of weights."""
    return _of_entries(lambda entry, each: name in entry.weights)


def _of_entries(of: Callable[[Entry, Track], bool]) -> str:
    parts = []
    for each in tracks():
        found = _found(each.name)
        own = {entry.name for entry, _ in found if of(entry, each)}
        if own:
            shown = [grid(found, each, kind, own, "../") for kind in KINDS]
            if not parts:
                shown = [score_picture(found, each, own), *shown, cost_picture(found, each, own)]
            mine = [(entry, result) for entry, result in found if entry.name in own]
            parts += [f"### {each.name}", each.description, *shown, points(mine, each, "../")]
    if not parts:
        return ""
    about = "Entries of the [leaderboard](../leaderboard.md#results) with it, in bold where they lead all others."
    return "\n\n".join(["## Scores and costs", about, legend(), *parts])


def _filter() -> str:
    """Form that leaderboard.js shows; without it there is none."""
    limits = dict.fromkeys(number for each in tracks() for number in each.limits)
    choices = {
        "track": ("Track", [("", "all"), *((each.name, each.name) for each in tracks())]),
        "class": ("Payload class", [("", "all"), *((str(number), str(number)) for number in limits)]),
        "family": ("Kind of scheme", [("", "all"), *FAMILIES.items()]),
        "bits": ("Limit on", [("mean", "mean of the reports"), ("max", "longest report")]),
    }
    fields = "".join(
        f'<label>{title} <select name="{name}">'
        + "".join(f'<option value="{value}">{escape(shown)}</option>' for value, shown in options)
        + "</select></label>"
        for name, (title, options) in choices.items()
    )
    return (
        f'<form class="filter" aria-label="Filter of the results" hidden>{fields}<output aria-live="polite"></output>'
        f"</form>\n{legend()}"
    )


def legend() -> str:
    """What the colours of the pictures mean."""
    shown = "".join(f'<span class="curve-{family}">{title}</span>' for family, title in FAMILIES.items())
    return f'<p class="legend">Colours of the pictures: {shown}</p>'


def grid(found: Found, each: Track, kind: Kind, own: set[str] | None = None, up: str = "") -> str:
    """One row for each entry, one column for each class: score, and difference from the leader with its half-width.

    Args:
        found: results of the track.
        each: the track.
        kind: what the limits of the classes hold for.
        own: entries to show; None: all.
        up: from the folder of the page to that of the site.
    """
    columns = {n: {p.entry.name: p for p in places(found, each, limit, kind)} for n, limit in each.limits.items()}
    order = dict.fromkeys(name for cells in reversed(columns.values()) for name in cells if own is None or name in own)
    entries = {entry.name: entry for entry, _ in found}
    head = "".join(f'<th data-class="{n}">{n} (≤ {each.limits[n]:g})</th>' for n in columns)
    rows = []
    for name in order:
        cells = ""
        for number, column in columns.items():
            place = column.get(name)
            if place is None:
                cells += f'<td data-class="{number}"></td>'
                continue
            value, more = f"{place.score.value:.3f}", ""
            if place.behind is not None:
                gap, half = place.behind
                more = f" <small>({_signed(-gap)} ± {half:.3f}){'' if place.significant else ' ≈'}</small>"
            value = f"<strong>{value}</strong>" if place.leads else value
            said = escape(f"{place.line.label}, {bits_of(place.line, each, kind):.4g} bit")
            cells += f'<td data-class="{number}" data-value="{place.score.value}" title="{said}">{value}{more}</td>'
        rows.append(_row(entries[name], each, cells, up))
    caption = "Limit on the mean of the reports" if kind == "mean" else "Limit on the longest report"
    return _table(f"{each.name}: {each.scores[0]}. {caption}.", "<th>entry</th>" + head, rows, f'data-bits="{kind}"')


def _signed(number: float) -> str:
    return f"{number:+.3f}".replace("-", "\N{MINUS SIGN}")


def points(found: Found, each: Track, up: str = "") -> str:
    """All operating points with all scores, percentiles of the bits, and costs."""
    head = "".join(
        f"<th>{title}</th>"
        for title in (
            *("entry", "operating point", *(f"{escape(TITLES[s])} ± 95 %" for s in each.scores)),
            *(["bits per slot"] if each.bits == "bits_per_slot" else []),
            *("bits mean", "p95", "max", "UE network [Gbop]", "encode [ms]", "decode [ms]"),
        )
    )
    rows = [_row(entry, each, _point(line, each), up) for entry, result in found for line in result.head.lines]
    machines = sorted({str(result.head.machine.get("cpu", "unknown")) for _, result in found})
    table = _table(f"{each.name}: all operating points.", head, rows, "data-points")
    return (
        f"<details><summary>All {len(rows)} operating points, with costs</summary>\n{table}\n"
        f"<p>Processor time per report, one thread of {escape(', '.join(machines))}; "
        "operations of networks at the UE alone.</p></details>"
    )


def _point(line: Line, each: Track) -> str:
    cells = f"<td><code>{escape(line.label)}</code></td>"
    for name in each.scores:
        score = line.scores.get(name)
        half = "" if score is None or score.ci95 is None else f" <small>± {score.ci95:#.2g}</small>"
        cells += "<td></td>" if score is None else f'<td data-value="{score.value}">{score.value:#.4g}{half}</td>'
    means = [*([line.bits.per_slot] if each.bits == "bits_per_slot" else []), line.bits.mean]
    cells += "".join(f'<td data-value="{n}">{n:.1f}</td>' for n in means)
    cells += "".join(f'<td data-value="{n}">{n:g}</td>' for n in (line.bits.p95, line.bits.max))
    costs = (line.ue_gbops, line.encode_ms, line.decode_ms)
    cells += "".join("<td></td>" if n is None else f'<td data-value="{n}">{n:#.3g}</td>' for n in costs)
    limits = {kind: bits_of(line, each, kind) for kind in KINDS}
    classes = [f"{kind}-{n}" for kind in KINDS for n, limit in each.limits.items() if limits[kind] <= limit + 1e-9]
    return cells.replace("<td>", f'<td data-classes="{" ".join(classes)}">', 1)


def _row(entry: Entry, each: Track, cells: str, up: str) -> str:
    more = " †" * (entry.side_information != NONE)
    said = escape(f"{entry.description} {FAMILIES[entry.family]}.")
    page = f"{up}schemes/{entry.lines(each)[0]['scheme']}.html"
    name = f'<a href="{page}" title="{said}"><code>{entry.name}</code></a>{more}'
    return f'<tr data-family="{entry.family}"><th scope="row" data-value="{entry.name}">{name}</th>{cells}</tr>'


def _table(caption: str, head: str, rows: list[str], attributes: str) -> str:
    body, head = "\n".join(rows), head.replace("<th", "<th scope=col")
    table = f"<table data-sortable><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>\n{body}\n"
    return wide(caption, f"{table}</tbody></table>", attributes)


def score_picture(found: Found, each: Track, own: set[str] | None = None) -> str:
    """First score of a track against bits.

    Args:
        found: results of the track.
        each: the track.
        own: entries to show; the others are faint then. None: all.
    """
    metric = each.scores[0]
    scale: Scale = "loss" if metric == "sgcs_subband" else "linear"
    return _picture(found, each, own, TITLES[metric], scale, lambda line: _value(line, metric))


def cost_picture(found: Found, each: Track, own: set[str] | None = None) -> str:
    """Processor time at the UE against bits; arguments as of :func:`score_picture`."""
    return _picture(found, each, own, "processor time at the UE [ms per report]", "log", lambda line: line.encode_ms)


def _value(line: Line, metric: str) -> float | None:
    return line.scores[metric].value if metric in line.scores else None


def _picture(
    found: Found, each: Track, own: set[str] | None, title: str, scale: Scale, value: Callable[[Line], float | None]
) -> str:
    curves = []
    for entry, result in found:
        shown = sorted((bits_of(line, each, "mean"), v, line.label) for line in result.head.lines if (v := value(line)))
        points = [(b, v, f"{entry.name}: {label}, {b:.4g} bit, {v:.4g}") for b, v, label in shown]
        if points:
            curves.append(Curve(entry.name, points, entry.family, own is not None and entry.name not in own))
    xs, ys = zip(*((x, y) for curve in curves for x, y, _ in curve.points), strict=True)
    label = f"{title} against bits, track {each.name}"
    marks = [(limit, str(number)) for number, limit in each.limits.items()]
    x = Axis.around(f"{_BITS[each.bits]} (dashed: limits of the classes)", xs, "log")
    drawn = picture(curves, x, Axis.around(title, ys, scale), label, marks=marks)
    return wide(label, drawn)
