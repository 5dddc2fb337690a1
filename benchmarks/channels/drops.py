"""UMi, UMa and RMa drops: positions, states, path loss and large-scale parameters; no ray is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.channels import reference as ref
from benchmarks.channels.rows import exact, geometry, line, paired, row, seeded, worst
from simulator.core import registry
from simulator.core.types import Panel

KINDS = ("umi", "uma", "rma")
_MAX_SPREAD = {"asd": 104.0, "asa": 104.0, "zsa": 52.0, "zsd": 52.0}  # 7.5 step 4 [degree]


def draw(
    kind: str, drops: int, carrier_hz: float = 3.5e9, corrections: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Large-scale state of one UE per drop, float64 ``[drop]`` (positions ``[drop, 3]``)."""
    source = registry.build(
        "channels",
        kind,
        geometry(Panel(1), carrier_hz),
        corrections=None if corrections is None else tuple(corrections),
    )
    seeded(f"{kind} {carrier_hz}")
    source.drop(drops)
    s, sampler, lsp = source._model._scenario, source._model._lsp_sampler, source._model._lsp
    found = {
        "ue": s.ut_loc, "bs": s.bs_loc, "indoor": s.indoor, "los": s.los, "d_in": s.distance_2d_in,
        "aod": s.los_aod, "aoa": s.los_aoa, "zod": s.los_zod, "zoa": s.los_zoa, "offset": s.zod_offset,
        "pl_b": s.basic_pathloss, "pl": sampler.sample_pathloss(), "ds": lsp.ds, "asd": lsp.asd, "asa": lsp.asa,
        "sf": lsp.sf, "k": lsp.k_factor, "zsa": lsp.zsa, "zsd": lsp.zsd,
    }  # fmt: skip
    x = {key: np.asarray(value, float).reshape(drops, -1).squeeze() for key, value in found.items()}
    to_ue = x["ue"] - x["bs"]
    x["d_2d"], x["d_3d"] = np.hypot(to_ue[:, 0], to_ue[:, 1]), np.linalg.norm(to_ue, axis=1)
    x["h_ut"], x["h_bs"] = x["ue"][:, 2], x["bs"][:, 2]
    for key in ("indoor", "los"):
        x[key] = x[key].astype(bool)
    return x


def check_drops(
    kind: str, drops: int, carrier_hz: float = 3.5e9, corrections: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    """Geometry, LOS state, path loss with O2I and large-scale parameters of one scenario.

    Args:
        kind: "umi", "uma" or "rma".
        drops: independent drops of one UE.
        carrier_hz: carrier frequency [Hz].
        corrections: of the channel source; None: all that Sionna needs.
    """
    x, fc = draw(kind, drops, carrier_hz, corrections), carrier_hz / 1e9
    item = f"{kind} {fc:g} GHz"
    rows = _geometry(item, x) + _path_loss(item, kind, x, fc)
    for state, mask in (("los", x["los"]), ("nlos", ~x["los"] & ~x["indoor"]), ("o2i", x["indoor"])):
        rows += _large_scale(item, kind, state, {key: value[mask] for key, value in x.items()}, fc)
    return rows


def direction(azimuth: np.ndarray, zenith: np.ndarray) -> np.ndarray:
    """Unit vector of angles in degree, (7.1-6)."""
    a, z = np.radians(azimuth), np.radians(zenith)
    return np.stack([np.sin(z) * np.cos(a), np.sin(z) * np.sin(a), np.cos(z)], axis=-1)


def _geometry(item: str, x: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    away = (x["ue"] - x["bs"]) / x["d_3d"][:, None]
    angles = {"departure": (x["aod"], x["zod"], away), "arrival": (x["aoa"], x["zoa"], -away)}
    return [
        exact(item, f"angles of {name} of the LOS path (largest error)",
              np.degrees(np.linalg.norm(direction(azimuth, zenith) - vector, axis=1)), 0.02, "degree")
        for name, (azimuth, zenith, vector) in angles.items()
    ]  # fmt: skip


def _path_loss(item: str, kind: str, x: dict[str, np.ndarray], fc: float) -> list[dict[str, Any]]:
    inside, most = x["indoor"], ref.MAX_INDOOR_M[kind]
    args = (x["d_2d"], x["d_3d"], x["h_ut"], x["h_bs"], fc)
    line_db, other_db = (ref.path_loss(kind, los, *args) for los in (True, False))
    # Which of the two losses an indoor UE has: its state.
    sees = np.where(inside, np.abs(x["pl_b"] - line_db) < np.abs(x["pl_b"] - other_db), x["los"])
    differ = np.abs(line_db - other_db) > 0.01
    d_out = np.maximum(x["d_2d"] - x["d_in"], 0)
    p = ref.los_probability(kind, d_out, x["h_ut"])
    rows = [
        row(item, "indoor distance", most / 3, x["d_in"][inside], "m"),
        exact(item, "basic path loss (largest error)", x["pl_b"] - np.where(sees, line_db, other_db), 0.01, "dB"),
    ]
    for name, mask in (("outdoor", ~inside), ("indoor", inside & differ)):
        rows.append(paired(item, f"LOS probability, {name}", p[mask], sees[mask]))
    rest = (x["pl"] - x["pl_b"] - ref.wall_loss(fc) - 0.5 * x["d_in"])[inside]
    rows.append(row(item, "random part of the O2I loss", 0.0, rest, "dB"))
    rows.append(row(item, "variance of the O2I loss", 4.4**2, rest**2, "dB^2"))
    gain = 10 * np.log10(x["sf"]) - x["pl"]
    expected = -_mean_loss(kind, x, line_db, other_db, fc)
    for name, mask in (("outdoor", ~inside), ("indoor", inside)):
        rows.append(paired(item, f"path gain, {name}", expected[mask], gain[mask], "dB"))
    return rows


def _mean_loss(kind: str, x: dict[str, np.ndarray], los: np.ndarray, nlos: np.ndarray, fc: float) -> np.ndarray:
    """Loss at every position, averaged over LOS state and indoor distance (density 2 (1 - d / max) / max)."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    most = ref.MAX_INDOOR_M[kind]
    d_in, weights = (nodes + 1) / 2 * most, weights * (1 - (nodes + 1) / 2)
    d_out = np.maximum(x["d_2d"][:, None] - np.where(x["indoor"][:, None], d_in, 0.0), 0)
    p = ref.los_probability(kind, d_out, x["h_ut"][:, None]) @ weights
    return p * los + (1 - p) * nlos + x["indoor"] * (ref.wall_loss(fc) + 0.5 * most / 3)


def _large_scale(item: str, kind: str, state: str, x: dict[str, np.ndarray], fc: float) -> list[dict[str, Any]]:
    table, count, item = ref.TABLE[kind, state], len(x["ds"]), f"{item} {state}"
    normal: dict[str, np.ndarray] = {}  # scaled to mean 0 and variance 1
    rows = []
    for key in ("ds", "asd", "asa", "zsa"):
        mean, sigma = ref.spread(kind, state, key, fc)
        y, limit = np.log10(x[key]), np.log10(_MAX_SPREAD.get(key, np.inf))
        first, second = (_moment(mean, sigma, power, limit) for power in (1, 2))
        rows.append(row(item, f"mean of lg {key.upper()}", first, y))
        rows.append(row(item, f"variance of lg {key.upper()}", second - first**2, (y - first) ** 2))
        normal[key] = (y - mean) / sigma
    mean, sigma = ref.zenith_spread(kind, state, x["d_2d"], x["h_ut"], x["h_bs"])
    y = np.log10(x["zsd"])
    offset = ref.zenith_offset(kind, state, x["d_2d"], x["h_ut"], fc)
    rows += [
        exact(item, "offset of ZOD (largest error)", x["offset"] - offset, 0.01, "degree"),
        paired(item, "mean of lg ZSD", mean, y),
        row(item, "variance of lg ZSD", sigma**2, (y - mean) ** 2),
    ]
    normal["zsd"] = (y - mean) / sigma
    if kind == "rma" and state == "los":  # 4 dB up to the breakpoint, 6 dB beyond it
        sigma = np.where(x["d_2d"] < 2 * np.pi * x["h_bs"] * x["h_ut"] * fc * 1e9 / ref.LIGHT_MPS, 4.0, 6.0)
    else:
        sigma = np.full(count, table["sf"])
    fading = 10 * np.log10(x["sf"])
    rows += [
        row(item, "mean of SF", 0.0, fading, "dB"),
        paired(item, "variance of SF", sigma**2, fading**2, "dB^2"),
    ]
    normal["sf"] = fading / sigma
    if "k" in table:
        mean, sigma = table["k"]
        y = 10 * np.log10(x["k"])
        rows += [row(item, "mean of K", mean, y, "dB"), row(item, "variance of K", sigma**2, (y - mean) ** 2, "dB^2")]
        normal["k"] = (y - mean) / sigma
    # A limited spread would bend its correlations.
    whole = {key for key in normal if np.mean(x[key] < 0.999 * _MAX_SPREAD.get(key, np.inf)) > 0.998}
    rows.append(
        worst([
            row(item, f"correlation of {a.upper()} and {b.upper()} (worst)", value, normal[a] * normal[b])
            for (a, b), value in ref.correlation(kind, state).items() if {a, b} <= whole
        ])
    )  # fmt: skip
    return rows


def _moment(mean: float, sigma: float, power: int, limit: float) -> float:
    """First or second moment of ``min(x, limit)`` for normal x."""
    if np.isinf(limit):
        return mean if power == 1 else mean**2 + sigma**2
    a = (limit - mean) / sigma
    below, density = 0.5 * (1 + math.erf(a / math.sqrt(2))), math.exp(-(a**2) / 2) / math.sqrt(2 * math.pi)
    if power == 1:
        return mean * below - sigma * density + limit * (1 - below)
    return (mean**2 + sigma**2) * below - sigma * (mean + limit) * density + limit**2 * (1 - below)


def check_heights(drops: int, corrections: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Effective environment heights of UMa, read from the path loss of LOS UEs at 22.5 m, 1 km away, 0.5 GHz.

    Beyond the breakpoint :math:`(h_BS - h_E)(h_UT - h_E)` follows from the loss, and with it :math:`h_E`.
    """
    d, h_ut, h_bs, fc, item = 1000.0, 22.5, 25.0, 0.5, "uma 0.5 GHz"
    source = registry.build(
        "channels", "uma", geometry(Panel(1), fc * 1e9),
        corrections=None if corrections is None else tuple(corrections),
    )  # fmt: skip
    seeded("heights")
    places = np.zeros((5, drops, 1, 3), np.float32)  # UE, gNB; orientations and velocities are zero
    places[0], places[1] = (d, 0, h_ut), (0, 0, h_bs)
    source._model._scenario.set_topology(*places, np.zeros((drops, 1), bool), True)
    loss = source._model._scenario.basic_pathloss.numpy().astype(float).reshape(-1)
    shares = ref.height_shares(d, h_ut)
    expected = {
        h: float(ref.path_loss("uma", True, np.array(d), np.hypot(d, h_bs - h_ut), np.array(h_ut), h_bs, fc, h))
        for h in shares
    }
    return [
        line(item, f"share of effective height {h:g} m", share, float(np.mean(np.abs(loss - expected[h]) < 0.01)),
             np.sqrt(share * (1 - share) / drops), "", drops)
        for h, share in shares.items()
    ]  # fmt: skip
