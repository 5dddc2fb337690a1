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
from benchmarks.cli_doctor import doctor
from benchmarks.cli_leaderboard import leaderboard
from benchmarks.cli_options import Overrides
from benchmarks.cli_paper import paper
from benchmarks.cli_publish import publish
from benchmarks.cli_results import compare, report, show
from benchmarks.cli_train import score_lines, train
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
app.command()(doctor)
app.command()(show)
app.command()(compare)
app.command()(report)
app.add_typer(leaderboard, name="leaderboard")
app.command()(verify)
app.command()(publish)
app.command()(paper)
app.command()(train)

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
    from benchmarks.report.summary import key_results
    from benchmarks.terminal import show_table

    table = key_results(frame)
    show_table(table.heads, table.rows, table.title, table.right)
    typer.echo(f"{len(frame)} rows in {folder / 'results.csv'}; more: csilink show {folder}")
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
    for line in score_lines(test):
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
            _fail(2, _usage(error) or "a command is needed")
        if os.environ.get("CSILINK_DEBUG"):
            raise
        lines = str(error).strip().splitlines() or [""]
        _fail(1, f"internal fault: {type(error).__name__}: {lines[-1]} (CSILINK_DEBUG=1 shows the trace)")


def _usage(error: Any) -> str:
    """Usage error of the command line parser: what came, and of a missing argument or option what it takes."""
    said, parameter = str(error.format_message()), getattr(error, "param", None)
    if hasattr(error.__cause__, "errors"):  # of pydantic, whose words leave out the value
        return f"{said}, got {error.__cause__.errors()[0]['input']!r}"
    if not said.startswith("Missing") or not getattr(parameter, "help", None):
        return said
    return f"{said.rstrip('.')}; allowed: {parameter.help}"


def _fail(code: int, *messages: str) -> None:
    for message in messages:
        print("csilink:", " ".join(message.splitlines()), file=sys.stderr)
    sys.stderr.flush()
    os._exit(code) if code == 130 else sys.exit(code)


if __name__ == "__main__":
    main()
