"""`csilink bench`: speed next to peers, cost at the UE, channels against the standard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.core.paths import writable

bench = typer.Typer(help="Measurements compared with peers.", no_args_is_help=True)


@bench.command()
def speed(
    out: Annotated[Path, typer.Option(callback=writable, help="Folder of speed.csv.")] = Path("results/speed"),
    item: Annotated[list[str] | None, typer.Option(help="One item only, e.g. coders; repeatable.")] = None,
) -> None:
    """Throughput compared with peers, in one process."""
    from benchmarks.speed.suite import ITEMS, run_suite
    from simulator.core.extras import EXTRAS, installed

    for package, extra in EXTRAS.items():
        if extra != "ray" and not installed(package):
            typer.echo(f"left out, {package} is not installed: pip install 'csilink[{extra}]'", err=True)
    frame = run_suite(out, item or ITEMS)
    typer.echo(frame.to_string(index=False))
    typer.echo(f"{out / 'speed.csv'}")


@bench.command()
def ue(
    results: Annotated[Path, typer.Option(help="Results folder of `csilink run ue_budget`.")] = Path(
        "results/ue_budget"
    ),
    out: Annotated[Path, typer.Option(callback=writable, help="Folder of ue_latency.csv and pareto.png.")] = Path(
        "results/ue"
    ),
) -> None:
    """Time of every encoder of the zoo in ONNX Runtime and LiteRT, float and int8, with bits and outage."""
    from benchmarks.speed.ue import measure_zoo

    frame = measure_zoo(results, out)
    typer.echo(frame.round(3).to_string(index=False))
    typer.echo(f"{out / 'ue_latency.csv'}")


@bench.command()
def channels(
    out: Annotated[Path, typer.Option(callback=writable, help="Folder of channels.csv, .png.")] = Path(
        "results/channels"
    ),
) -> None:
    """Our CDL, TDL, UMi, UMa and RMa drops against TR 38.901, as z-scores (in order below 5)."""
    from benchmarks.channels.run import run_checks

    frame = run_checks(out)
    typer.echo(frame.round(6).to_string(index=False))
    worst = frame.loc[frame.z.abs().idxmax()]
    typer.echo(
        f"largest |z| {abs(worst.z):.2f} ({worst['item']}, {worst.quantity}); {out / 'channels.csv'}, channels.png"
    )


@bench.command()
def weights(
    name: Annotated[list[str], typer.Argument(help="Weights of autoencoders by name, or folders.")],
    store: Annotated[list[Path], typer.Option(help="Channel store with a split test; repeatable.")],
    card: Annotated[bool, typer.Option("--card", help="Write the scores into the cards, too.")] = False,
) -> None:
    """Weights on the test samples of other data sets, by channel, next to codes without training at equal bits."""
    from benchmarks.data_sets import open_store
    from benchmarks.other_data import scores_on, table, write_scores

    for each in name:
        scores = scores_on(each, [open_store(folder) for folder in store])
        typer.echo(f"{each}\n{table(scores).to_string(index=False)}")
        if card:
            write_scores(each, scores)
