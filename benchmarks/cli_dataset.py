"""`csilink dataset`: stores of channels: generate, import, describe, split and mix."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from benchmarks.cli_options import Overrides
from simulator.core.paths import writable


class _GenerateByDefault(TyperGroup):
    """`csilink dataset RECIPE` stands for `csilink dataset generate RECIPE`."""

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["generate", *args]
        return super().resolve_command(ctx, args)


dataset = typer.Typer(
    help="Channel stores: generate, import, info, split, mix.", no_args_is_help=True, cls=_GenerateByDefault
)

Store = Annotated[Path, typer.Argument(help="Folder of a store.")]
NewStore = Annotated[Path, typer.Option(callback=writable, help="Folder of the new store; must not exist.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the shuffle.")]


@dataset.command()
def generate(
    file: Annotated[str, typer.Argument(help="YAML recipe, or the name of a shipped one.")],
    out: Annotated[
        Path | None, typer.Option(callback=writable, help="Folder of the store.", show_default="datasets/NAME")
    ] = None,
    set_: Overrides = None,
) -> None:
    """Generate a training data set: sharded HDF5 store with manifest; resumable."""
    from benchmarks.dataset import make_dataset
    from scenarios.dataset import parse_recipe
    from scenarios.load import apply_override, find_file, load_mapping

    data = load_mapping(find_file(file, "datasets"))
    for assignment in set_ or ():
        apply_override(data, assignment)
    recipe = parse_recipe(data)
    _say(make_dataset(recipe, out or Path("datasets") / recipe.name))


@dataset.command(name="import")
def import_(
    path: Annotated[Path, typer.Argument(help="File or folder of recorded channels.")],
    format_: Annotated[str, typer.Option("--format", help="See `csilink list importers`.")],
    out: NewStore,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="A=B", help="Parameter of the importer; repeatable.")
    ] = None,
    shard_samples: Annotated[int, typer.Option(min=1, max=100_000, help="Samples of one shard.")] = 4000,
) -> None:
    """Import recorded channels (COST 2100, DeepMIMO, QuaDRiGa, WiFo, or any array file).

    An official DeepMIMO folder of any layout; transmitters, UE arrays, rotation, scenes:

    --format deepmimo --set n1=8 --set n2=4 --set 'bs=[1,2]' --set num_rx_ant=2 --set 'rotation=[0,0,90]'

    One array (.npz .npy .mat .h5 .csv), its axes in order; a*b is one axis with b fastest, n2- counts downwards:

    --format generic --set 'axes=sample subcarrier pol*n2-*n1' --set n1=8 --set n2=2 --set num_pol=2
    --set spacing_hz=15e3

    Axes joined, or absent; slots kept:

    --set 'axes=speed sample slot subcarrier n1 n2 pol sample=speed*sample'   --set 'axes=rx_ant n1 subcarrier sample=1'

    Real and imaginary parts in two arrays or files, or in an axis reim; a table of CsiNet's images:

    --set key=h_re --set key_imag=h_im   --set 'axes=sample reim*n1*delay' --set n1=32 --set num_subcarriers=1024
    --set offset=0.5

    The output of DeepMIMO's generator (as the folder with grid=upper):

    --set 'axes=sample rx_ant n2*n1 subcarrier' --set n1=8 --set n2=4 --set scale=8

    All parameters: docs/recorded.md.
    """
    from benchmarks.progress import waiting
    from scenarios.load import apply_override
    from simulator.core import registry
    from simulator.data.importer import import_store

    params: dict[str, Any] = {}
    for assignment in set_ or ():
        apply_override(params, assignment)
    with waiting(f"import {path.name}"):
        importer = registry.build("importers", format_, path, **params)
        store = import_store(
            importer,
            out,
            name=out.absolute().name,
            origin={"format": format_, "params": params},
            shard_samples=shard_samples,
        )
    for key, value in importer.facts().items():
        typer.echo(f"{key}: {value}")
    _say(store)


@dataset.command()
def info(
    store: Store,
    split: Annotated[str | None, typer.Option(help="Split.", show_default="the first")] = None,
    out: Annotated[
        Path | None, typer.Option(callback=writable, help="PNG of an example.", show_default="results/STORE.png")
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Which sample to draw.")] = 0,
    max_samples: Annotated[int, typer.Option(min=2, help="Samples that the statistics use.")] = 2000,
) -> None:
    """Shapes, power, delay and angular spread, K-factor, coherence time, rank, labels; draws an example.

    Labels that the store holds (delay spread, line of sight, ...) stand next to the estimates. Truncated images say so.
    """
    from benchmarks.dataset_info import describe, draw_example
    from simulator.core.paths import inside
    from simulator.data.store import ChannelStore

    channels = ChannelStore(store)
    chosen = split or next(iter(channels.shards))
    typer.echo(describe(channels, chosen, max_samples).to_string(index=False))
    picture = out or inside(Path("results"), f"{channels.name}.png")
    draw_example(channels, chosen, sample, picture)
    typer.echo(f"example: {picture}")


@dataset.command()
def split(
    store: Store,
    out: NewStore,
    share: Annotated[list[str], typer.Option("--share", metavar="NAME=WEIGHT", help="One per new split; repeatable.")],
    by: Annotated[str, typer.Option(help="Label kept together, e.g. user or site; `sample` for none.")] = "sample",
    seed: Seed = 1,
) -> None:
    """Split all samples of a store anew, so that no user (or site) is in two splits."""
    from benchmarks.progress import waiting
    from simulator.data.rearrange import split_store
    from simulator.data.store import ChannelStore

    with waiting(f"split {store.name}"):
        _say(split_store(ChannelStore(store), out, shares=_weights("--share", share), by=by, seed=seed))


@dataset.command()
def mix(
    stores: Annotated[list[str], typer.Argument(metavar="STORE[=WEIGHT]...", help="Stores of one layout.")],
    out: NewStore,
    seed: Seed = 1,
) -> None:
    """Mix stores by weight, split by split, shuffled; label `part` is the source of a sample."""
    from benchmarks.progress import waiting
    from simulator.data.rearrange import mix_stores
    from simulator.data.store import ChannelStore

    weights = _weights("STORE", [text if "=" in text else f"{text}=1" for text in stores])
    with waiting("mix"):
        _say(mix_stores([(ChannelStore(name), weight) for name, weight in weights.items()], out, seed=seed))


def _weights(field: str, pairs: list[str]) -> dict[str, float]:
    """`NAME=WEIGHT` texts to numbers."""
    from simulator.core.errors import ConfigError

    weights: dict[str, float] = {}
    for text in pairs:
        name, _, number = text.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = -1.0
        if not name or name in weights or not 0 < weight < float("inf"):
            raise ConfigError(field, text, "NAME=WEIGHT with a positive number, each name once")
        weights[name] = weight
    return weights


def _say(store: Any) -> None:
    typer.echo(f"{store.folder}: " + ", ".join(f"{split} {store.num_samples(split)}" for split in store.shards))
    typer.echo(f"store SHA-256 {store.hash}")
