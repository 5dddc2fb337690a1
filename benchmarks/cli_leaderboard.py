"""`csilink leaderboard`: tracks, entries, results, tables, verification."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from simulator.core.paths import writable

leaderboard = typer.Typer(help="Frozen comparisons: list, table, run, verify, add.", no_args_is_help=True)

Entries = Annotated[list[str] | None, typer.Argument(metavar="[ENTRY]...", help="Name of an entry, or folder.")]
TrackName = Annotated[str | None, typer.Option("--track", help="One track only.")]
Workers = Annotated[int, typer.Option(min=1, help="Worker processes.")]


@leaderboard.command(name="list")
def list_() -> None:
    """Tracks with their rules, and entries with the tracks on which they have a result."""
    from benchmarks.leaderboard.entry import chosen
    from benchmarks.leaderboard.result import read_result
    from benchmarks.leaderboard.track import tracks

    known = {track.name: track for track in tracks()}
    for track in known.values():
        limits = ", ".join(f"{name}: {limit:g}" for name, limit in track.limits.items())
        typer.echo(f"{track.name} ({track.version}, {track.hash}): {track.description}")
        typer.echo(f"  {track.drops} drops; {', '.join(track.scores)}; {track.bits}, largest of each class: {limits}")
        if reason := track.missing():
            typer.echo(f"  not on this machine: {reason}")
    for folder, entry in chosen(None):
        there = [name for name in entry.tracks if read_result(folder, entry, known[name])]
        without = [name for name in entry.tracks if name not in there]
        typer.echo(f"{entry.name}: {', '.join(there) or '-'}" + f"; not run: {', '.join(without)}" * bool(without))


@leaderboard.command()
def table(
    entries: Annotated[
        list[str] | None, typer.Argument(metavar="[FOLDER]...", help="Folders to show with the entries of csilink.")
    ] = None,
    track: TrackName = None,
    class_: Annotated[int | None, typer.Option("--class", help="One payload class only, e.g. 111.")] = None,
    kind: Annotated[str, typer.Option("--bits", help="What the limit is about: mean, or max of a report.")] = "mean",
    score: Annotated[str | None, typer.Option(help="Metric.", show_default="the first of the track")] = None,
) -> None:
    """Entries of a class in order; `behind the leader` is over pairs of drops, `*` where its interval leaves out 0."""
    from benchmarks.leaderboard.entry import chosen
    from benchmarks.leaderboard.table import KINDS, frame, places, results
    from simulator.core.errors import ConfigError

    if kind not in KINDS:
        raise ConfigError("--bits", kind, ", ".join(KINDS))
    everyone = chosen(None) + (chosen(entries) if entries else [])
    for each in _tracks(track):
        if class_ is not None and class_ not in each.limits:
            raise ConfigError("--class", class_, ", ".join(map(str, each.limits)))
        found = results(everyone, each)
        if not found:
            typer.echo(f"{each.name}: no result yet")
            continue
        for name, limit in each.limits.items():
            if class_ in (None, name):
                metric = score or each.scores[0]
                typer.echo(f"\n{each.name}, class {name}: {kind} at most {limit:g} bit; {metric}")
                rows = places(found, each, limit, "max" if kind == "max" else "mean", score)
                typer.echo(frame(rows, each).to_string(index=False) if rows else "no entry fits")


@leaderboard.command()
def run(
    entries: Entries = None,
    track: TrackName = None,
    workers: Workers = 1,
    out: Annotated[Path, typer.Option(callback=writable, help="Folder of the runs; they resume.")] = Path(
        "results/leaderboard"
    ),
    new_weights: Annotated[
        bool, typer.Option("--new-weights", help="Weights were trained anew: write their hashes into entry.yaml first.")
    ] = False,
    missing: Annotated[bool, typer.Option("--missing", help="Only what has no valid result yet.")] = False,
) -> None:
    """Run entries (all of csilink where none is named) on their tracks and write the results into their folders."""
    from benchmarks.leaderboard.entry import chosen, renewed
    from benchmarks.leaderboard.run import is_missing, run_track

    picked = chosen(entries)
    if new_weights:
        picked = [(folder, renewed(folder, entry)) for folder, entry in picked]
    for each in _tracks(track):
        here = [
            pair for pair in picked if each.name in pair[1].tracks and not (missing and not is_missing(*pair, each))
        ]
        if not here:
            continue
        if reason := each.missing():
            typer.echo(f"{each.name}: skipped, {reason}")
            continue
        run_track(each, here, out=out, workers=workers, say=typer.echo)


@leaderboard.command()
def verify(
    entry: Annotated[str, typer.Argument(help="Name of an entry, or folder.")],
    track: TrackName = None,
    share: Annotated[float, typer.Option(min=0.001, max=1, help="Share of the drops.")] = 0.1,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the choice of drops.", show_default="unpredictable")
    ] = None,
    workers: Workers = 1,
) -> None:
    """Compute a random tenth of the drops again and compare; exit code 2 where the result is not confirmed."""
    from benchmarks.leaderboard.entry import entry as find
    from benchmarks.leaderboard.result import paths
    from benchmarks.leaderboard.verify import verify as check
    from simulator.core.errors import StoreError

    folder, found = find(entry)
    faults = []
    for each in _tracks(track):
        if each.name not in found.tracks or (track is None and not paths(folder, each)[0].exists()):
            continue
        if reason := each.missing():
            typer.echo(f"{each.name}: skipped, {reason}")
            continue
        verdict = check(folder, found, each, share=share, seed=seed, workers=workers)
        count, compared = verdict.differing
        typer.echo(
            f"{found.name}, {each.name}: {verdict.drops} of {verdict.total} drops computed again, "
            f"{compared - count} of {compared} values equal, largest difference of a mean {verdict.worst[0]:.1g}: "
            f"{verdict.fault or 'confirmed'}"
        )
        faults += [f"{each.name}: {verdict.fault}"] if verdict.fault else []
    if faults:
        raise StoreError(f"{found.name}: not confirmed; {'; '.join(faults)}")


@leaderboard.command()
def add(
    folder: Annotated[Path, typer.Argument(help="Folder of the entry; a name without a slash is one of csilink's.")],
    line: Annotated[
        list[str], typer.Option("--line", help="Line of `feedback` in YAML, e.g. '{scheme: dft}'; repeatable.")
    ],
    track: Annotated[list[str], typer.Option("--track", help="Track of the lines; repeatable.")],
    description: Annotated[str, typer.Option(help="Of the scheme, with its source.")],
    family: Annotated[str, typer.Option(help="Kind of scheme: 3gpp, codebook, transform, network.")],
    training: Annotated[str, typer.Option(help="Data that its parameters were made from, or none.")],
    ue_cost: Annotated[str, typer.Option(help="What the UE computes for a report.")],
    side_information: Annotated[str, typer.Option(help="What it knows in addition, e.g. uplink.")] = "none",
    then_run: Annotated[bool, typer.Option("--run", help="Run it, too.")] = False,
) -> None:
    """Write entry.yaml of a new entry, with the hashes of the weights that it reads; with --run also its results."""
    from benchmarks.leaderboard.entry import new_entry
    from benchmarks.leaderboard.track import track as find
    from scenarios.load import parse_yaml

    place = new_entry(
        folder,
        tracks=[find(name) for name in track],
        lines=[parse_yaml(text, "--line") for text in line],
        description=description,
        family=family,
        training=training,
        ue_cost=ue_cost,
        side_information=side_information,
    )
    typer.echo(f"entry: {place}")
    if then_run:
        for name in track:
            run([str(place)], name)


def _tracks(name: str | None) -> list[Any]:
    from benchmarks.leaderboard.track import track, tracks

    return tracks() if name is None else [track(name)]
