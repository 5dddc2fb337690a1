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
