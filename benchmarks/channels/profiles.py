"""CDL and TDL drops against their profiles: powers, delays, phases, angles of both ends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

import numpy as np

from benchmarks.channels.rays import delay_spread
from benchmarks.channels.reference import RAY_OFFSETS
from benchmarks.channels.rows import geometry, line, row, seeded, worst
from simulator.core import registry
from simulator.core.types import Panel
from simulator.core.units import db_to_lin, lin_to_db


def profile(kind: str, name: str) -> dict[str, Any]:
    """Table of a TDL or CDL profile, TR 38.901, Tables 7.7.1 and 7.7.2, from the data files that Sionna ships.

    Returns:
        ``delays`` (normalised), ``powers`` (linear, sum 1), ``los``; for a CDL also angles and spreads [degree]. The
        specular path of D and E is the first entry, at the delay of the second.
    """
    path = files("sionna.phy.channel.tr38901.models") / f"{kind}-{name}.json"
    data: dict[str, Any] = json.loads(path.read_text())
    powers = db_to_lin(data["powers"])
    return {**data, "powers": powers / powers.sum(), "delays": np.array(data["delays"])}


def _paths(source: Any, item: str, drops: int, step: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Path coefficients complex ``[drop, antenna, port, path]`` and delays ``[drop, path]`` of one UE each [s]."""
    from simulator.phy.panels import port_order

    blocks = []
    for start in range(0, drops, step):
        seeded(item, start)
        a, tau = source.paths(min(step, drops - start))
        blocks.append((a.numpy()[:, 0, :, 0, :, :, 0], tau.numpy()[:, 0, 0]))
    a, tau = (np.concatenate(x) for x in zip(*blocks, strict=True))
    a = a[:, :, port_order(source.geometry.panel)]
    return a[:, port_order(source.geometry.ue_panel)], tau


def _merged(table: dict[str, Any], key: str) -> np.ndarray:
    """A column with the specular path joined to the first cluster, as it leaves the channel model."""
    values = np.array(table[key])
    if not table["los"]:
        return values
    return np.concatenate([[values[0] + values[1]], values[2:]]) if key == "powers" else values[1:]


def check_profile(
    kind: str, name: str, drops: int, table: dict[str, Any] | None = None, corrections: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    r"""Tap or cluster powers and rms delay spread of a TDL or CDL; phase of a specular path; angles of a CDL.

    The angles of cluster c at either end show in the correlation of neighbouring elements,
    :math:`E[h_{m+1} h_m^*] / P_c = E[e^{j\pi \sin\theta \sin\phi}]` over columns and
    :math:`E[e^{j\pi \cos\theta}]` over rows, with every azimuth ray coupled to every zenith ray equally often. The
    UE faces the gNB: its panel is turned by 180 degrees.

    Args:
        kind: "tdl" or "cdl".
        name: "A".."E".
        drops: independent drops.
        table: the standard's values, by default :func:`profile`.
        corrections: of the CDL source; None: all that Sionna needs.
    """
    table = table or profile(kind.upper(), name)
    spread_s = 100e-9
    params: dict[str, Any] = {"profile": name, "delay_spread_s": spread_s}
    if kind == "cdl":
        params |= {"rotate": False, "corrections": None if corrections is None else tuple(corrections)}
    radio = geometry(Panel(2, 2, 1), rx=4, rx_rows=2) if kind == "cdl" else geometry(Panel(8))
    item = f"{kind}-{name}"
    a, tau = _paths(registry.build("channels", kind, radio, **params), item, drops)
    powers, delays = _merged(table, "powers"), _merged(table, "delays")
    order = np.argsort(tau[0], kind="stable")
    a, tau = a[..., order], tau[:, order]
    rank = np.argsort(delays, kind="stable")
    powers, delays = powers[rank], delays[rank]
    share = np.mean(np.abs(a) ** 2, axis=(1, 2))  # [drop, path]
    rows = [
        worst([row(item, f"power of cluster {c + 1} (worst)", powers[c], share[:, c]) for c in range(len(powers))]),
        line(
            item, "cluster delays (largest error)", 0.0, float(np.max(np.abs(tau[0] - delays * spread_s)) * 1e9), 1e-3,
            "ns", drops,
        ),
    ]  # fmt: skip
    # Its square is linear in the powers, so that one drop is an unbiased sample of it.
    expected = float(delay_spread(delays, powers)) * spread_s * 1e9
    square = share @ (delays - powers @ delays) ** 2 * (spread_s * 1e9) ** 2
    measured, error = float(np.sqrt(square.mean())), float(square.std() / np.sqrt(drops)) / (2 * expected)
    rows.append(line(item, "rms delay spread", expected, measured, error, "ns", drops))
    if table["los"]:  # without a phase of its own the mean is the specular path
        first = a[:, 0, 0, 0]
        rows.append(
            worst([row(item, f"phase of the specular path, {x} (worst)", 0.0, getattr(first, x)) for x in _PARTS])
        )
        ratio = table["powers"][0] / table["powers"][1:].sum()
        fourth = np.abs(first) ** 4  # E|s + d|^4 = S^2 + 4 S D + (2 - 1 / 20) D^2 for d of 20 equal waves
        s, d = table["powers"][0], table["powers"][1]
        label = f"K of {lin_to_db(ratio):.1f} dB: E|h|^4 of the first path"
        rows.append(row(item, label, s**2 + 4 * s * d + 1.95 * d**2, fourth))
    if kind == "cdl":
        back = np.argsort(rank)
        for end, (azimuth, zenith) in (("departure", ("aod", "zod")), ("arrival", ("aoa", "zoa"))):
            h = a[:, 0] if end == "departure" else a[:, :, 0]
            rows += _check_angles(item, end, table, h[:, :, back], azimuth, zenith)
    return rows


_PARTS = ("real", "imag")


def _check_angles(
    item: str, end: str, table: dict[str, Any], a: np.ndarray, azimuth_key: str, zenith_key: str
) -> list[dict[str, Any]]:
    """Neighbour correlations of every cluster (worst one shown); elements of the 2x2 panels are column, row."""
    first = 1 if table["los"] else 0
    turn = np.pi if end == "arrival" else 0.0
    spread_a, spread_z = (f"c{key}" for key in (("ASD", "ZSD") if end == "departure" else ("ASA", "ZSA")))
    rows: dict[str, list[dict[str, Any]]] = {"columns": [], "rows": []}
    for c in range(first, len(table["powers"])):
        path = c - first
        azimuth = np.radians(table[azimuth_key][c] + table[spread_a] * RAY_OFFSETS)[:, None] - turn
        zenith = np.radians(table[zenith_key][c] + table[spread_z] * RAY_OFFSETS)[None, :]
        for name, (low, high), phase in (
            ("columns", (0, 2), np.sin(zenith) * np.sin(azimuth)),
            ("rows", (0, 1), np.cos(zenith) + 0 * azimuth),
        ):
            expected = table["powers"][c] * np.mean(np.exp(1j * np.pi * phase))
            if table["los"] and path == 0:
                los = np.radians([table[azimuth_key][0], table[zenith_key][0]]) - [turn, 0.0]
                specular = np.sin(los[1]) * np.sin(los[0]) if name == "columns" else np.cos(los[1])
                expected += table["powers"][0] * np.exp(1j * np.pi * specular)
            product = a[:, high, path] * a[:, low, path].conj()
            for part in _PARTS:
                label = f"{end}: correlation of {name}, cluster {path + 1}, {part} (worst)"
                rows[name].append(row(item, label, float(getattr(expected, part)), getattr(product, part)))
    return [worst(x) for x in rows.values()]
