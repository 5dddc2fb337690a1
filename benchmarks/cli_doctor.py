"""`csilink doctor`: what is installed here, and whether it works."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    check: Annotated[list[str] | None, typer.Option(help="One check only, e.g. TensorFlow; repeatable.")] = None,
) -> None:
    """Versions, machine, and a tiny real computation with every part; exit code 1 where a promised part fails."""
    from benchmarks import doctor as clinic
    from benchmarks.doctor_checks import CHECKS
    from benchmarks.terminal import show_table
    from simulator.core.errors import ConfigError

    for name in check or ():
        if name not in CHECKS:
            raise ConfigError("--check", name, ", ".join(CHECKS))
    show_table(["Fact", "Value"], [*clinic.facts(), *((f"extra {name}", state) for name, state in clinic.extras())])
    found = list(clinic.findings(check))
    rows = [(f.name, f.state, "promised" if f.promised else "optional", f.detail) for f in found]
    show_table(["Check", "State", "Part", "Seen"], rows)
    if sick := [f.name for f in found if f.sick]:
        typer.echo(f"does not work, though csilink's requirements promise it: {', '.join(sick)}")
        raise typer.Exit(1)
    broken = [f.name for f in found if f.state == "fails"]
    typer.echo(f"all promised parts work; optional parts that fail: {', '.join(broken) or 'none'}")
