"""Tiny-WiFo's data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scenarios.load import load_mapping

UNSEEN = ("D17", "D18")


def sections(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """WiFo's data sets D1 .. D18 as recipes for Sionna, plain data by key.

    The section ``data`` of a plan has ``max_entries`` (subcarriers times antennas of a slot; fewer subcarriers are
    taken from the same band, at least 8), ``splits``, ``seed``, and ``sets`` to take only some.
    """
    section, table = plan["data"], load_mapping(Path(__file__).parent / "sets.yaml")
    wanted = section.get("sets", list(table["sets"]))
    rows = {key: dict(zip(table["columns"], table["sets"][key], strict=True)) for key in wanted}
    return {key: _recipe(key, row, section) for key, row in rows.items()}


def _recipe(key: str, row: dict[str, Any], section: dict[str, Any]) -> dict[str, Any]:
    subcarriers = row["subcarriers"]
    while subcarriers > 8 and subcarriers * row["rows"] * row["columns"] > section["max_entries"]:
        subcarriers //= 2
    spacing_hz = row["spacing_khz"] * 1e3 * row["subcarriers"] / subcarriers
    place, sight = row["scenario"].split()
    if place == "indoor":
        common = {"model": "cdl", "delay_spread_s": 30e-9, "rotate": True}
        channels = [{**common, "profile": profile} for profile in ("DE" if sight == "los" else "ABC")]
    else:
        channels = [{"model": place, "los": sight == "los", "indoor_probability": 0.0, "pathloss": False}]
    splits = section["splits"] if key not in UNSEEN else {k: section["splits"][k] for k in ("val", "test")}
    return {
        "name": f"wifo_{key.lower()}_{subcarriers}",
        "description": f"{key}: {row['carrier_ghz']} GHz, {place} {sight}, {row['low_kmh']}..{row['high_kmh']} km/h",
        "seed": section["seed"] + int(key[1:]),
        "carrier": {
            "carrier_hz": row["carrier_ghz"] * 1e9,
            "num_subcarriers": subcarriers,
            "subcarrier_spacing_hz": spacing_hz,
            "granularity": "subcarrier",
        },
        "bs": {"n1": row["columns"], "n2": row["rows"], "num_pol": 1},
        "ue": {"speed_mps": round(row["low_kmh"] / 3.6, 3), "max_speed_mps": round(row["high_kmh"] / 3.6, 3)},
        "time": {"num_slots": row["slots"], "slot_s": row["step_ms"] * 1e-3},
        "parts": [{"channel": channel} for channel in channels],
        "splits": splits,
        "shard_samples": max(splits.values()),
    }
