"""The command `csilink`. Imports are local to each command, so that help and checks stay fast."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.cli_bench import bench
from benchmarks.cli_dataset import dataset
from benchmarks.cli_paper import paper
from benchmarks.cli_verify import verify
from benchmarks.quiet import quiet, quiet_imports
from simulator.core.paths import nothing_left, writable

app = typer.Typer(
    name="csilink",
    help="Link-level simulator of CSI feedback: every scheme in one link, at equal measured bits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(bench, name="bench")
app.add_typer(dataset, name="dataset")
app.command()(verify)
app.command()(paper)

# Faults of the disk, not of the program.
_DISK = (
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
)

File = Annotated[str, typer.Argument(help="YAML file, or the name of a shipped one.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one field; repeatable.")]
Drops = Annotated[int | None, typer.Option(help="Number of channel drops; overrides run.drops.")]


def _version(wanted: bool) -> None:
    if wanted:
        from simulator.core.content import own_version

        typer.echo(f"csilink {own_version()}")
        raise typer.Exit


@app.callback()
def csilink(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Link-level simulator of CSI feedback: every scheme in one link, at equal measured bits."""


@app.command()
def run(
    file: File,
    out: Annotated[
        Path | None, typer.Option(callback=writable, help="Results folder.", show_default="results/NAME")
    ] = None,
    drops: Drops = None,
    set_: Overrides = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.", show_default="all CPUs, at most 8")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray (extra `ray`).")] = "local",
    resume: Annotated[bool, typer.Option("--resume", help="Go on in a folder that holds results.")] = False,
) -> None:
    """Run a scenario: results.csv, results.parquet, figures and report.html."""
    from benchmarks.runner import run as run_scenario

    frame = run_scenario(
        file, out=out, drops=drops, overrides=set_ or (), workers=workers, engine=engine, resume=resume
    )
    folder = out if out is not None else Path("results") / str(frame["scenario"].iloc[0])
    typer.echo(f"{len(frame)} rows in {folder / 'results.csv'}")
    typer.echo(f"report: {folder / 'report.html'}")


@app.command()
def check(file: File, drops: Drops = None, set_: Overrides = None) -> None:
    """Validate a scenario and build its parts without running it."""
    from benchmarks.runner import check as check_scenario

    points = check_scenario(file, set_ or (), drops)
    from benchmarks.build import build_payloads

    typer.echo(f"{points[0].scenario.name}: {len(points)} point(s), {points[0].scenario.run.drops} drops each")
    for label, payload in build_payloads(points[0].scenario).items():
        typer.echo(f"  {label}: at most {payload.max_bits} bits per report")


@app.command(name="list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(help="One kind only, e.g. feedback, presets; zoo with doubling tests.")
    ] = None,
    cost: Annotated[bool, typer.Option("--cost", help="Parameters and MACs of every model.")] = False,
) -> None:
    """Known plug-ins, presets, data sets and weights."""
    if cost:
        from benchmarks.cost import cost_table

        typer.echo(cost_table().to_string(index=False))
        return
    from importlib.resources import files

    from receivers.weights.card import SCHEMAS
    from receivers.weights.folder import zoo_names
    from simulator.core import registry
    from simulator.core.errors import ConfigError

    shipped = {
        "presets": sorted(p.stem for p in (Path(str(files("scenarios"))) / "presets").glob("*.yaml")),
        "datasets": sorted(p.stem for p in (Path(str(files("scenarios"))) / "datasets").glob("*.yaml")),
        "recipes": sorted(p.stem for p in (Path(str(files("receivers"))) / "training" / "recipes").glob("*.yaml")),
        "zoo": [name for task in SCHEMAS for name in zoo_names(task)],
    }
    if kind is not None and kind not in (*registry.KINDS, *shipped):
        raise ConfigError("kind", kind, ", ".join((*registry.KINDS, *shipped)))
    if kind == "zoo":
        from benchmarks.doubling import zoo_table

        typer.echo(zoo_table())
        return
    for name in (*registry.KINDS, *shipped):
        if kind in (None, name):
            known = shipped[name] if name in shipped else registry.names(name)
            typer.echo(f"{name}: {', '.join(known) or '-'}")


@app.command()
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
        for line in _scores(card.get("test", {})):
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


def _scores(test: dict[str, Any], name: str = "") -> list[str]:
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
            lines += _scores(entry, name if group else f"{name}, {key}" if name else key)
    return lines


def _value(metric: str, entry: dict[str, Any]) -> str:
    return f"{metric.removesuffix('_db')} {entry[metric]}" + " dB" * metric.endswith("_db")


@app.command(name="import-torch")
def import_torch(
    model: Annotated[str, typer.Argument(help="crnet, clnet, transnet, stnet, mamba_transformer, wifo or wifo_cf.")],
    files: Annotated[list[Path], typer.Argument(help="Checkpoint, or encoder and decoder checkpoints.")],
    out: Annotated[Path, typer.Option(callback=writable, help="Folder to write.")],
    store: Annotated[
        Path | None,
        typer.Option(help="Channel store of the kind that it was trained on (tables, scores); wifo needs none."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="A=B",
            help="Parameter of the model. transnet needs attention_axis=batch (released code) or attention_axis=token.",
        ),
    ] = None,
) -> None:
    """Published PyTorch weights to a folder that serves as `weights:` of a scenario."""
    from benchmarks.import_torch import import_checkpoint
    from receivers.weights.card import CARD
    from scenarios.load import apply_override

    params: dict[str, object] = {}
    for assignment in set_ or ():
        apply_override(params, assignment)
    with nothing_left(out, kept=CARD) as claimed, quiet():
        claimed()
        test = import_checkpoint(model, files, store, out, params).get("test", {})
    for line in _scores(test):
        typer.echo(f"test, {line}")
    typer.echo(f"weights and card: {out}")


@app.command()
def export(
    weights: Annotated[str, typer.Argument(help="Zoo name or folder of weights; with --verify an exported folder.")],
    side: Annotated[str, typer.Option(help="ue (encoder) or gnb (decoder).")] = "ue",
    format_: Annotated[str, typer.Option("--format", help="keras, savedmodel, onnx or litert.")] = "keras",
    int8: Annotated[bool, typer.Option("--int8", help="Weights and activations in 8 bits (onnx, litert).")] = False,
    out: Annotated[
        Path | None, typer.Option(callback=writable, help="Folder.", show_default="exports/NAME-SIDE-FORMAT")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Run an exported folder against its golden vectors.")
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="With --verify: run a SavedModel that was not exported here.")
    ] = False,
) -> None:
    """Encoder or decoder with quantiser, tables, card and golden vectors, for use in another link."""
    from benchmarks.export import export_model, verify_folder

    folder = Path(weights)
    if not verify:
        folder = out or Path("exports") / f"{folder.name}-{side}-{format_}{'-int8' if int8 else ''}"
        with nothing_left(folder), quiet():
            export_model(weights, side, format_, folder, int8=int8)
    with quiet():
        result = verify_folder(folder, trust=trust)
    typer.echo(f"{folder}: {result}")


@app.command()
def policies(
    weights: Annotated[str, typer.Argument(help="Zoo name or folder of weights.")],
    store: Annotated[Path, typer.Option(help="Channel store of their data set; its validation split calibrates.")],
    out: Annotated[
        Path | None, typer.Option(callback=writable, help="File.", show_default="precision.npz next to the weights")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="A=B", help="E.g. candidates=10.")] = None,
) -> None:
    """Mixed-precision policies of an encoder for scheme rp-mpq (sensitivities, ILP, KL, tables)."""
    from benchmarks.data_sets import open_store
    from receivers.precision.policy_set import FILE
    from receivers.weights.folder import TrainedModel
    from scenarios.load import apply_override

    params: dict[str, Any] = {}
    for assignment in set_ or ():
        apply_override(params, assignment)
    path, channels = out or TrainedModel(weights).folder / FILE, open_store(store)
    from receivers.precision.offline import parse_precision

    recipe = parse_precision(params)
    from benchmarks.precision import make_policies

    found, _ = make_policies(weights, channels, recipe, typer.echo)
    found.save(path)
    typer.echo(f"{len(found.policies)} policies, cost {found.kappa.min():.3f}..{found.kappa.max():.3f}: {path}")


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Results folder.")]) -> None:
    """Draw the figures and report.html of a results folder again."""
    from benchmarks.report.report import write_report

    typer.echo(f"report: {write_report(folder)}")


def main() -> None:
    """Entry point: 0 done, 1 internal fault, 2 wrong input, 130 interrupted."""
    from simulator.core.errors import CsilinkError
    from simulator.core.extras import EXTRAS, missing

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    quiet_imports()
    try:
        code = app(standalone_mode=False)
        if code == 130:  # Typer's answer to Ctrl-C
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except CsilinkError as error:
        _fail(2, *(each.text for each in error.all))
    except (KeyboardInterrupt, typer.Abort):
        _fail(130, "interrupted; run again with --resume to go on")
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            _fail(2, f"{error.filename}: cannot be read or written ({error.strerror}); choose another file or folder")
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in EXTRAS:
            _fail(2, str(missing("this command", str(error.name).partition(".")[0])))
        if hasattr(error, "format_message"):  # a usage error of the command line parser
            _fail(2, error.format_message() or "a command is needed")
        if os.environ.get("CSILINK_DEBUG"):
            raise
        lines = str(error).strip().splitlines() or [""]
        _fail(1, f"internal fault: {type(error).__name__}: {lines[-1]} (CSILINK_DEBUG=1 shows the trace)")


def _fail(code: int, *messages: str) -> None:
    for message in messages:
        print("csilink:", " ".join(message.splitlines()), file=sys.stderr)
    sys.stderr.flush()
    os._exit(code) if code == 130 else sys.exit(code)


if __name__ == "__main__":
    main()
