"""`csilink show`, `compare` and `report`: results folders in the terminal and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Metrics = Annotated[list[str] | None, typer.Option(help="Name of a metric; repeatable.")]


def show(
    results: Annotated[Path, typer.Argument(help="Results folder.")],
    metric: Annotated[str | None, typer.Option(help="One metric at all operating points.")] = None,
    snr: Annotated[float | None, typer.Option(help="One SNR in dB only.")] = None,
    scheme: Annotated[list[str] | None, typer.Option(help="Label, or a pattern such as 'etype2*'; repeatable.")] = None,
    sort: Annotated[str | None, typer.Option(help="Head of a column.")] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Also draw the metric, by default the rate.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open report.html in the browser.")] = False,
) -> None:
    """Results in the terminal: a short table, one metric, a plot."""
    from benchmarks.report.frames import read_results
    from benchmarks.report.summary import DIRECTIONS, RATES, chosen, curves, key_results, one_metric
    from benchmarks.terminal import plot as draw
    from benchmarks.terminal import show_table
    from simulator.core.errors import ConfigError

    everything = read_results(results / "results.csv")
    frame = chosen(everything, results, schemes=scheme or (), metric=metric, snr_db=snr)
    table = one_metric(frame, metric) if metric else key_results(frame)
    table = table.sorted_by(sort) if sort else table
    show_table(table.heads, table.rows, table.title, table.right)
    if plot:
        known = set(frame["metric"])
        name = metric or next((each for each in (*RATES, *DIRECTIONS) if each in known), sorted(known)[0])
        points, x_label = curves(frame, name)
        typer.echo(draw(points, x_label, name))
    if open_:
        page = results / "report.html"
        if not page.is_file():
            raise ConfigError("--open", str(page), f"a page; `csilink report {results}` draws it")
        typer.launch(page.resolve().as_uri())


def compare(
    a: Annotated[Path, typer.Argument(help="Results folder.")],
    b: Annotated[Path, typer.Argument(help="Another one, or the same with --against.")],
    metric: Metrics = None,
    snr: Annotated[float | None, typer.Option(help="SNR in dB.", show_default="nearest to 20")] = None,
    scheme: Annotated[
        list[str] | None, typer.Option(help="Label in A; repeatable.", show_default="common ones")
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="Label in B to compare with, one for each --scheme.")
    ] = None,
) -> None:
    """Differences B - A with 95 % half-widths, paired drop by drop where both saw the same channels."""
    from benchmarks.compare import compare as differences
    from benchmarks.compare import only_one
    from benchmarks.report.cells import cell, difference
    from benchmarks.report.frames import describe
    from benchmarks.report.summary import DIRECTIONS, RATES
    from benchmarks.terminal import show_table
    from simulator.core.errors import ConfigError

    found = differences(a, b, metrics=metric, schemes=scheme, against=against)
    wanted = metric or [name for name in (*RATES, *DIRECTIONS, "nmse_db") if any(d.metric == name for d in found)]
    snrs = sorted({d.snr_db for d in found if d.snr_db is not None})
    if snr is not None and snr not in snrs:
        raise ConfigError("--snr", snr, f"SNRs of {a} and {b}: {', '.join(f'{each:g}' for each in snrs)}")
    point = snr if snr is not None else min(snrs, key=lambda each: (abs(each - 20), each), default=None)
    kept = [d for d in found if d.metric in wanted and d.snr_db in (None, point)]
    rows = [
        [
            " / ".join(dict.fromkeys(d.schemes)),
            ", ".join(filter(None, [d.precoder, describe(d.axes)])),
            d.metric,
            cell(d.metric, d.a),
            cell(d.metric, d.b),
            difference(d.value, d.ci95),
            d.verdict,
        ]
        for d in kept
    ]
    title = "" if point is None else f"SNR {point:g} dB"
    heads = ["scheme", "at", "metric", "A", "B", "B - A", ""]
    show_table(heads, rows, title, right=("A", "B", "B - A"))
    paired = sorted({d.drops for d in kept if not d.why_not})
    if paired:
        typer.echo(f"paired: the same channels in {' or '.join(map(str, paired))} drops")
    for why in dict.fromkeys(d.why_not for d in kept if d.why_not):
        typer.echo(f"not paired, {why}: both means are taken as independent")
    for folder, words in only_one(a, b).items():
        typer.echo(f"not compared, only in {folder}: {', '.join(words)}")


def report(folder: Annotated[Path, typer.Argument(help="Results folder.")]) -> None:
    """Draw the figures and report.html of a results folder again."""
    from benchmarks.report.report import write_report

    typer.echo(f"report: {write_report(folder)}")
