"""`csilink publish`: a folder of weights made ready for the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def publish(
    folder: Annotated[Path, typer.Argument(help="Folder of weights, with card.json.")],
    repo: Annotated[str, typer.Option(help="user/name on the hub.")],
    license_: Annotated[str | None, typer.Option("--license", help="Identifier of the hub, e.g. apache-2.0.")] = None,
    safetensors: Annotated[
        bool, typer.Option("--safetensors", help="Put the network's weights into model.safetensors; the card names it.")
    ] = False,
) -> None:
    """README.md with the metadata of the Hugging Face hub, and the name by which scenarios find the weights."""
    from benchmarks.publish import README
    from benchmarks.publish import publish as write

    name = write(folder, repo, license_, as_tensors=safetensors)
    typer.echo(f"written: {folder / README}")
    typer.echo(f"send it: hf upload {repo} {folder}")
    typer.echo(f"then:    weights: {name}")
