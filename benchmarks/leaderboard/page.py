"""Tables of docs/leaderboard.md, written from the result files, so that both have the same numbers.

python -m benchmarks.leaderboard.page
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.leaderboard.entry import FAMILIES, chosen
from benchmarks.leaderboard.table import KINDS, Kind, Place, places, results
from benchmarks.leaderboard.track import NONE, track, tracks
from benchmarks.papers.kit.readme import with_tables
from simulator.core.durable import write_bytes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "leaderboard.md"


def page() -> str:
    """Text of the page with its tables made anew."""
    makers = {f"{each.name}-{kind}": partial(_grid, each.name, kind) for each in tracks() for kind in KINDS}
    return with_tables(PAGE.read_text(), makers | {"tracks": _tracks, "entries": _entries}, PAGE.parent)


def _tracks(folder: Path) -> pd.DataFrame:
    """Rules of every track."""
    rows = []
    for each in tracks():
        limits = " / ".join(f"{limit:g}" for limit in each.limits.values())
        rows.append(
            {"track": f"`{each.name}`", "link": each.description, "drops": each.drops}
            | {
                "scores": ", ".join(f"`{name}`" for name in each.scores),
                "limits [bit]": limits + " per slot" * (each.bits != "bits_mean"),
            }
        )
    return pd.DataFrame(rows)


def _entries(folder: Path) -> pd.DataFrame:
    """All entries."""
    return pd.DataFrame(
        {"entry": f"`{entry.name}`", "kind": FAMILIES[entry.family], "scheme": entry.description}
        | {"training": entry.training, "UE": entry.ue_cost}
        for _, entry in chosen(None)
    )


def _grid(name: str, kind: Kind, folder: Path) -> pd.DataFrame:
    """One row for each entry with a result, one column for each class."""
    each = track(name)
    found = results(chosen(None), each)
    columns = {
        f"{number} (≤ {limit:g})": {place.entry.name: _cell(place) for place in places(found, each, limit, kind)}
        for number, limit in each.limits.items()
    }
    order = list(dict.fromkeys(name for cells in reversed(columns.values()) for name in cells))
    more = {entry.name for entry, _ in found if entry.side_information != NONE}
    names = [f"`{name}`" + " †" * (name in more) for name in order]
    body = {title: [cells.get(name, "") for name in order] for title, cells in columns.items()}
    return pd.DataFrame({"entry": names or ["no result yet"], **(body if names else dict.fromkeys(columns, ""))})


def _cell(place: Place) -> str:
    """Score, difference from the leader with its half-width, ``≈`` where that is not significant."""
    value = f"{place.score.value:.3f}"
    if place.leads:
        return f"**{value}**"
    if place.behind is None:
        return value
    gap, half = place.behind
    return f"{value} ({-gap:+.3f} ± {half:.3f}){'' if place.significant else ' ≈'}"


def main() -> None:
    """Write the tables."""
    write_bytes(PAGE, page().encode())
    print(PAGE)


if __name__ == "__main__":
    main()
