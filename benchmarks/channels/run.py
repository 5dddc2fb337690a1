"""Self-check of all channel models: one table, one picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.progress import track
from simulator.core.durable import write_bytes


def run_checks(out: Path | None = None, drops: int = 20000, corrections: Iterable[str] | None = None) -> pd.DataFrame:
    """All checks.

    Args:
        out: folder for ``channels.csv`` and ``channels.png``; None writes nothing.
        drops: of large-scale parameters; profiles take a fifth of it, rays a tenth.
        corrections: of UMi, UMa and RMa; None: all that Sionna needs.

    Returns:
        columns ``item, quantity, standard, measured, std_error, z, unit, num_samples``; |z| < 5 everywhere passes.
    """
    import simulator.phy  # noqa: F401 - sets TensorFlow's log level before it is imported
    from benchmarks.channels import drops as large
    from benchmarks.channels import profiles, rays
    from benchmarks.channels.line_of_sight import check_line_of_sight

    work: list[tuple[str, tuple[Any, ...]]] = [(kind, (name,)) for kind in ("tdl", "cdl") for name in "ABCDE"]
    work += [("drops", (kind, ghz)) for kind in large.KINDS for ghz in (3.5, 28.0) if (kind, ghz) != ("rma", 28.0)]
    work += [("rays", (kind, state)) for kind in large.KINDS for state in rays.STATES]
    work += [("path", (kind,)) for kind in large.KINDS]
    work += [("delays", (kind, 3.5)) for kind in large.KINDS] + [("delays", ("uma", 28.0)), ("heights", ())]
    rows: list[dict[str, Any]] = []
    for what, args in track(work, "TR 38.901", unit="channel"):
        if what in ("tdl", "cdl"):
            rows += profiles.check_profile(what, args[0], drops // 5)
        elif what == "drops":
            rows += large.check_drops(args[0], drops, args[1] * 1e9, corrections)
        elif what == "rays":
            rows += rays.check_rays(*args, drops // 10, corrections=corrections)
        elif what == "path":
            rows += check_line_of_sight(args[0], drops // 10, corrections=corrections)
        elif what == "delays":
            rows += rays.check_delay_spread(args[0], drops // 5, args[1] * 1e9, corrections)
        else:
            rows += large.check_heights(drops, corrections)
    frame = pd.DataFrame(rows)
    if out is not None:
        from benchmarks.channels.figure import draw

        write_bytes(Path(out) / "channels.csv", frame.to_csv(index=False, float_format="%.6g").encode())
        draw(frame, Path(out) / "channels.png", 3 * drops, corrections)
    return frame
