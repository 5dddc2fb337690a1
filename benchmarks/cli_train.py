"""`csilink train`: one training, or a queue of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.cli_options import Overrides
from simulator.core.paths import nothing_left, writable


def train(
    file: Annotated[str | None, typer.Argument(help="YAML file, or the name of a shipped one.")] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Channel store; of a recipe with several data sets their folder.",
            show_default="the recipe's data sets, paths or names in datasets/",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(callback=writable, help="Checkpoints, weights, card.", show_default="checkpoints/NAME"),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="Keras backend: tensorflow, jax or torch.", show_default="KERAS_BACKEND, or tensorflow"),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Pause after this wall time; the same command goes on.")
    ] = None,
    set_: Overrides = None,
    double: Annotated[
        bool,
        typer.Option("--double", help="Doubling test: train with twice the samples seen, too; the card says the gain."),
    ] = False,
    onednn: Annotated[
        bool, typer.Option("--onednn", help="TensorFlow's oneDNN kernels, twice as fast for convolutions on a CPU.")
    ] = False,
    half: Annotated[
        Path | None,
        typer.Option(help="With --double: folder of the plain training, finished or not.", show_default="OUT/half"),
    ] = None,
    queue: Annotated[
        Path | None, typer.Option(help="YAML file of many trainings, run in order; the same command goes on.")
    ] = None,
    status: Annotated[Path | None, typer.Option(help="Table of the trainings of a queue file.")] = None,
) -> None:
    """Train a model or make a codebook, resumable. The folder serves as `weights:` (`path:`) of a scenario."""
    if queue is not None or status is not None or file is None:
        _queue(queue, status, [file, store, out, backend, minutes, set_, double, half, onednn])
        return
    from receivers.training.recipe import parse_training
    from scenarios.load import apply_override, find_file, load_mapping
    from simulator.core.errors import ConfigError
    from simulator.core.extras import need

    if half is not None and not double:
        raise ConfigError("--half", half, "with --double")
    if backend is not None:
        if backend not in ("tensorflow", "jax", "torch"):
            raise ConfigError("--backend", backend, "tensorflow, jax, torch")
        need("--backend", backend)
        os.environ["KERAS_BACKEND"] = backend
    data = load_mapping(find_file(file, "training/recipes", room="receivers"))
    for assignment in set_ or ():
        apply_override(data, assignment)
    recipe = parse_training(data)
    if onednn:
        from benchmarks.train_queue import use_onednn

        use_onednn("--onednn", recipe, backend)
    stores = _stores(list(recipe.data.values()), store)
    from benchmarks.doubling import told
    from benchmarks.train import train as run_training
    from benchmarks.train import train_doubled
    from receivers.training.loop import PausedError

    before, seconds = None, float("inf") if minutes is None else 60 * minutes
    for variant in recipe.variants():
        folder = (out / variant.name if out and variant is not recipe else out) or Path("checkpoints") / variant.name
        if before is not None:
            variant = variant.model_copy(update={"init": str(before)})
        try:
            with nothing_left(folder):
                if double:
                    plain = half / variant.name if half and variant is not recipe else half
                    card = train_doubled(variant, stores, folder, typer.echo, half=plain, seconds=seconds)
                else:
                    card = run_training(variant, stores, folder, typer.echo, seconds=seconds)
        except PausedError as pause:
            typer.echo(f"{pause}; the same command goes on")
            return
        for line in score_lines(card.get("test", {})):
            typer.echo(f"test, {line}")
        if found := card.get("converged"):
            typer.echo(f"doubling test, {found['metric']}: {found['half']} to {found['full']}, {told(card)}")
        typer.echo(f"{card.get('kind', 'weights')} and card: {folder}")
        before = folder


def _queue(queue: Path | None, status: Path | None, others: list[Any]) -> None:
    """`csilink train --queue FILE` and `csilink train --status FILE`."""
    from benchmarks.train_queue import run_queue, table
    from benchmarks.train_queue import status as rows
    from simulator.core.errors import ConfigError

    if (queue is None) == (status is None) or any(others):
        raise ConfigError(
            "train", "none or several", "one of FILE, --queue FILE, --status FILE; no other option with the latter two"
        )
    if status is not None:
        typer.echo(table(rows(status)))
    elif queue is not None and not run_queue(queue, typer.echo):
        raise typer.Exit(1)


def _stores(names: list[str], given: Path | None) -> list[Any]:
    """Stores of the data sets of a recipe: ``given`` is the one store, or the folder of all by name."""
    from benchmarks.data_sets import open_store, store_folder
    from simulator.core.paths import is_file
    from simulator.data.store import MANIFEST

    if given is not None and len(names) == 1 and (is_file(given / MANIFEST) or not (given / names[0]).is_dir()):
        return [open_store(given)]
    return [open_store(store_folder(name, given)) for name in names]


def score_lines(test: dict[str, Any], name: str = "") -> list[str]:
    """Scores of a card in lines: every section that has a mean with its half-width."""
    lines = []
    if "ci95" in test:
        numbers = [k for k, v in test.items() if isinstance(v, float) and k != "ci95"]
        metric = next((k for k in numbers if k != "bits_mean"), numbers[0])
        bits = f"{test['bits_mean']} bit, " if "bits_mean" in test else ""
        lines.append(f"{name}: {bits}{_value(metric, test)}")
        for key, entry in test.items():
            if key.endswith("_at_these_bits"):
                lines[-1] += f" ({key.removesuffix('_at_these_bits')} at these bits: {_value(metric, entry)})"
        return lines
    for key, entry in test.items():
        if isinstance(entry, dict):
            group = key == "codecs" or key.startswith("by_")  # of entries that have names of their own
            lines += score_lines(entry, name if group else f"{name}, {key}" if name else key)
    return lines


def _value(metric: str, entry: dict[str, Any]) -> str:
    return f"{metric.removesuffix('_db')} {entry[metric]}" + " dB" * metric.endswith("_db")
