"""Scores of shipped weights on channels that they were not trained on: from a results folder into their cards."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.report.frames import read_results, swept_axes
from receivers.weights.card import CARD, write_card
from receivers.weights.folder import zoo_folder, zoo_names
from simulator.core.errors import StoreError
from simulator.core.readers import read_json


def other_channels(folder: Path, name: str, metric: str = "sgcs_subband") -> dict[str, Any]:
    """Section ``out_of_distribution`` of the card of some weights.

    Args:
        folder: results of a sweep over channels, in which the weights, and a scheme without weights, took part.
        name: of the weights; the yardstick is the other scheme whose mean bits are nearest.
        metric: score, without precoder and SNR.

    Returns:
        score of both on every channel, their bits, the largest half-width, drops of a channel and the command.

    Raises:
        StoreError: the weights, or any other scheme, are not among the schemes.
    """
    frame = read_results(folder / "results.csv")
    axes = [axis for axis in swept_axes(frame) if axis.startswith("channel.")]
    rows = frame[(frame["metric"] == metric) & (frame["scheme"] != "perfect")]
    bits = rows.groupby("scheme", sort=False)["bits_mean"].mean()
    ours = [scheme for scheme in bits.index if _is_of(scheme, [name])]
    others = bits[[not _is_of(scheme, zoo_names("feedback")) for scheme in bits.index]]
    if not ours or others.empty:
        raise StoreError(f"{folder}: schemes {', '.join(map(str, bits.index))}; needs {name} and one without weights")
    nearest = (others - bits[ours[0]]).abs().idxmin()
    chosen = {name: ours[0], re.sub(r"-rank\d+$", "", str(nearest)): nearest}
    rows = rows[rows["scheme"].isin(chosen.values())]
    by_channel = {
        _channel(part.iloc[0], axes): {
            key: round(float(part.loc[part["scheme"] == scheme, "value"].iloc[0]), 3) for key, scheme in chosen.items()
        }
        for _, part in rows.groupby(axes, sort=False)
    }
    return {
        "bits": {key: round(float(bits[scheme]), 1) for key, scheme in chosen.items()},
        "by_channel": by_channel,
        "ci95_max": round(float(rows["ci95"].max()), 3),
        "command": f"csilink run {rows['scenario'].iloc[0]}",
        "metric": metric,
        "num_samples": int(rows["num_samples"].iloc[0]),
    }


def _is_of(scheme: Any, weights: list[str]) -> bool:
    return any(str(scheme) == name or str(scheme).startswith(f"{name}-") for name in weights)


def _channel(row: pd.Series, axes: list[str]) -> str:
    """Words of a channel: its model where nothing is swept, profile and delay spread of a CDL."""
    words = {axis.removeprefix("channel."): row[axis] for axis in axes}
    profile, spread = words.pop("profile", None), words.pop("delay_spread_s", None)
    head = f"CDL-{profile}" if profile is not None else str(row["channel"])
    more = [f"{float(spread) * 1e9:.0f} ns"] if spread is not None else []
    return " ".join([head, *more, *(f"{key} {value}" for key, value in words.items())])


def main(folder: Path, names: list[str]) -> None:
    """Write the section into the cards of the zoo and print rows of Markdown, one for each scheme."""
    for name in names:
        found = other_channels(folder, name)
        place = zoo_folder() / name
        write_card(place, {**read_json(place / CARD), "out_of_distribution": found})
        for scheme, bits in found["bits"].items():
            cells = [f"{channel} {scores[scheme]:.3f}" for channel, scores in found["by_channel"].items()]
            print(f"| `{scheme}` | {bits:g} | {', '.join(cells)} |")


if __name__ == "__main__":
    import sys

    main(Path(sys.argv[1]), sys.argv[2:])
