"""`csilink paper`: a reproduced paper from its plan to figures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from simulator.core.paths import writable


def paper(
    key: Annotated[str, typer.Argument(help="nf_kd, rp_mpq, stqenet, ...: a folder of benchmarks/papers.")],
    size: Annotated[str, typer.Option(help="Plan: small (CPU), full (the paper's size), ...")] = "small",
    out: Annotated[
        Path | None, typer.Option(callback=writable, help="Results folder.", show_default="results/papers/KEY-SIZE")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="Keras backend: tensorflow, jax or torch.", show_default="KERAS_BACKEND, or tensorflow"),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Train what has this name, * for any text (e.g. '*-s1'), and stop; repeatable."),
    ] = None,
    train_only: Annotated[bool, typer.Option("--train-only", help="Stop after the trainings.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one field of the plan; repeatable.")
    ] = None,
) -> None:
    """Train, score and draw a paper's experiments; every step resumes where it was interrupted."""
    from simulator.core.errors import ConfigError
    from simulator.core.extras import need

    if backend is not None:
        if backend not in ("tensorflow", "jax", "torch"):
            raise ConfigError("--backend", backend, "tensorflow, jax, torch")
        need("--backend", backend)
        os.environ["KERAS_BACKEND"] = backend
    from benchmarks.papers.kit.run import load_plan, run_paper

    plan = load_plan(key, size, set_ or ())
    run_paper(key, plan, out or Path("results/papers") / f"{key}-{size}", only or (), train_only, typer.echo)
