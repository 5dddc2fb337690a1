"""Self-check: statistics of our CDL, TDL and UMa drops against the values of TR 38.901, as z-scores."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.progress import track
from benchmarks.store import write_bytes
from simulator.core import registry
from simulator.core.seeding import derive
from simulator.core.types import Panel, RadioGeometry

# Ray offsets within a cluster, TR 38.901, Table 7.5-3.
_HALF = np.array([0.0447, 0.1413, 0.2492, 0.3715, 0.5129, 0.6797, 0.8844, 1.1481, 1.5195, 2.1551])
RAY_OFFSETS = np.concatenate([_HALF, -_HALF])
# UMa, Table 7.5-6 part 1: mean = a log10(fc) + b with fc in GHz, at least 6; standard deviation.
UMA = {
    "los": {"ds": (-0.0963, -6.955, 0.66), "asd": (0.1114, 1.06, 0.28), "asa": (0.0, 1.81, 0.20), "k": (9.0, 3.5)},
    "nlos": {"ds": (-0.204, -6.28, 0.39), "asd": (-0.1144, 1.5, 0.28), "asa": (-0.27, 2.08, 0.11)},
}
_MAX_SPREAD = np.log10(104.0)  # azimuth spreads are limited to 104 degrees, 7.5 step 4
_UMA_NLOS_CLUSTERS, _UMA_NLOS_R_TAU, _ZETA_DB = 20, 2.3, 3.0
_SEED = 38901


def profile(kind: str, name: str) -> dict[str, Any]:
    """Table of a TDL or CDL profile, TR 38.901, Tables 7.7.1 and 7.7.2, from the data files that Sionna ships.

    Returns:
        ``delays`` (normalised), ``powers`` (linear, sum 1), ``los``; for a CDL also angles and spreads [degree]. The
        specular path of D and E is the first entry, at the delay of the second.
    """
    path = files("sionna.phy.channel.tr38901.models") / f"{kind}-{name}.json"
    data: dict[str, Any] = json.loads(path.read_text())
    powers = 10 ** (np.array(data["powers"]) / 10)
    return {**data, "powers": powers / powers.sum(), "delays": np.array(data["delays"])}


def _geometry(panel: Panel, carrier_hz: float = 3.5e9) -> RadioGeometry:
    return RadioGeometry(
        carrier_hz=carrier_hz, panel=panel, num_users=1, num_rx_ant=1, num_subcarriers=2, spacing_hz=30e3,
        antenna_pattern="omni",
    )  # fmt: skip


def _paths(source: Any, item: str, drops: int, step: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Path coefficients complex ``[drop, port, path]`` and delays ``[drop, path]`` of one UE each [s]."""
    from simulator.phy.panels import port_order
    from simulator.phy.sionna_env import set_seed

    blocks = []
    for start in range(0, drops, step):
        set_seed(derive(_SEED, item, start))
        a, tau = source.paths(min(step, drops - start))
        blocks.append((a.numpy()[:, 0, 0, 0, :, :, 0], tau.numpy()[:, 0, 0]))
    a, tau = (np.concatenate(x) for x in zip(*blocks, strict=True))
    return a[:, port_order(source.geometry.panel)], tau


def _row(item: str, quantity: str, standard: float, samples: np.ndarray, unit: str = "") -> dict[str, Any]:
    """Mean of independent samples beside the standard's value."""
    error = max(float(np.std(samples)) / np.sqrt(len(samples)), 1e-12)
    return _line(item, quantity, standard, float(np.mean(samples)), error, unit, len(samples))


def _line(
    item: str, quantity: str, standard: float, measured: float, error: float, unit: str, count: int
) -> dict[str, Any]:
    return {
        "item": item, "quantity": quantity, "standard": standard, "measured": measured, "std_error": error,
        "z": (measured - standard) / error, "unit": unit, "num_samples": count,
    }  # fmt: skip


def _worst(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return max(rows, key=lambda row: abs(row["z"]))


def delay_spread(delays: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """Rms delay spread of a profile, second central moment; ``[..., path]`` to ``[...]``."""
    powers = powers / powers.sum(axis=-1, keepdims=True)
    mean = np.sum(powers * delays, axis=-1, keepdims=True)
    return np.sqrt(np.sum(powers * (delays - mean) ** 2, axis=-1))


def _merged(table: dict[str, Any], key: str) -> np.ndarray:
    """A column with the specular path joined to the first cluster, as it leaves the channel model."""
    values = np.array(table[key])
    if not table["los"]:
        return values
    return np.concatenate([[values[0] + values[1]], values[2:]]) if key == "powers" else values[1:]


def check_profile(kind: str, name: str, drops: int, table: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Tap or cluster powers and rms delay spread of a TDL or CDL; for a CDL also the angles.

    The departure angles of cluster c show in the correlation of neighbouring elements,
    :math:`E[h_{m+1} h_m^*] / P_c = E[e^{j\\pi \\sin\\theta \\sin\\phi}]` over columns and
    :math:`E[e^{j\\pi \\cos\\theta}]` over rows, with every azimuth ray coupled to every zenith ray equally often.

    Args:
        kind: "tdl" or "cdl".
        name: "A".."E".
        drops: independent drops.
        table: the standard's values, by default :func:`profile`.
    """
    table = table or profile(kind.upper(), name)
    spread_s = 100e-9
    panel = Panel(2, 2, 1) if kind == "cdl" else Panel(8)
    params = {"profile": name, "delay_spread_s": spread_s, **({"rotate": False} if kind == "cdl" else {})}
    item = f"{kind}-{name}"
    a, tau = _paths(registry.build("channels", kind, _geometry(panel), **params), item, drops)
    powers, delays = _merged(table, "powers"), _merged(table, "delays")
    order = np.argsort(tau[0], kind="stable")
    a, tau = a[..., order], tau[:, order]
    rank = np.argsort(delays, kind="stable")
    powers, delays = powers[rank], delays[rank]
    share = np.mean(np.abs(a) ** 2, axis=1)  # [drop, path]
    rows = [
        _worst([_row(item, f"power of cluster {c + 1} (worst)", powers[c], share[:, c]) for c in range(len(powers))]),
        _line(
            item, "cluster delays (largest error)", 0.0, float(np.max(np.abs(tau[0] - delays * spread_s)) * 1e9), 1e-3,
            "ns", drops,
        ),
    ]  # fmt: skip
    # Its square is linear in the powers, so that one drop is an unbiased sample of it.
    expected = float(delay_spread(delays, powers)) * spread_s * 1e9
    square = share @ (delays - powers @ delays) ** 2 * (spread_s * 1e9) ** 2
    measured, error = float(np.sqrt(square.mean())), float(square.std() / np.sqrt(drops)) / (2 * expected)
    rows.append(_line(item, "rms delay spread", expected, measured, error, "ns", drops))
    if kind == "cdl":
        rows += _check_angles(item, table, a[:, :, np.argsort(rank)], share[:, np.argsort(rank)])
    return rows


def _check_angles(item: str, table: dict[str, Any], a: np.ndarray, share: np.ndarray) -> list[dict[str, Any]]:
    """Neighbour correlations of every cluster (worst one shown); ports of the 2x2 panel are column, row."""
    first = 1 if table["los"] else 0
    rows: dict[str, list[dict[str, Any]]] = {"columns": [], "rows": []}
    for c in range(first, len(table["powers"])):
        path = c - first
        azimuth = np.radians(table["aod"][c] + table["cASD"] * RAY_OFFSETS)[:, None]
        zenith = np.radians(table["zod"][c] + table["cZSD"] * RAY_OFFSETS)[None, :]
        for name, (low, high), phase in (
            ("columns", (0, 2), np.sin(zenith) * np.sin(azimuth)),
            ("rows", (0, 1), np.cos(zenith) + 0 * azimuth),
        ):
            expected = table["powers"][c] * np.mean(np.exp(1j * np.pi * phase))
            if table["los"] and path == 0:
                los = np.radians([table["aod"][0], table["zod"][0]])
                turn = np.sin(los[1]) * np.sin(los[0]) if name == "columns" else np.cos(los[1])
                expected += table["powers"][0] * np.exp(1j * np.pi * turn)
            product = a[:, high, path] * a[:, low, path].conj()
            for part in ("real", "imag"):
                label = f"correlation of {name}, cluster {path + 1}, {part} (worst)"
                rows[name].append(_row(item, label, float(getattr(expected, part)), getattr(product, part)))
    return [_worst(x) for x in rows.values()]


def check_uma(drops: int, carrier_hz: float, los: bool) -> list[dict[str, Any]]:
    """Large-scale parameters of UMa drops against Table 7.5-6, and the delay spread that NLOS drops realise.

    The latter is compared with an independent Monte Carlo of 7.5 steps 5, 6 and 11.
    """
    from scipy import stats

    state = "los" if los else "nlos"
    source = registry.build("channels", "uma", _geometry(Panel(1), carrier_hz), los=los, indoor_probability=0.0)
    item, fc = f"uma-{state} {carrier_hz / 1e9:g} GHz", max(carrier_hz / 1e9, 6.0)
    a, tau, lsp = [], [], []
    from simulator.phy.sionna_env import set_seed

    for start in range(0, drops, 250):
        set_seed(derive(_SEED, item, start))
        block = source.paths(min(250, drops - start))
        a.append(block[0].numpy()[:, 0, 0, 0, 0, :, 0])
        tau.append(block[1].numpy()[:, 0, 0])
        found = source._model._lsp
        lsp.append([getattr(found, key).numpy().reshape(-1) for key in ("ds", "asd", "asa", "k_factor")])
    values = dict(zip(("ds", "asd", "asa", "k"), np.concatenate(lsp, axis=1), strict=True))
    rows = []
    for key in ("ds", "asd", "asa"):
        slope, offset, sigma = UMA[state][key]
        mean = slope * np.log10(fc) + offset
        x = np.log10(values[key])
        normal = stats.norm(mean, sigma)
        limit = np.inf if key == "ds" else _MAX_SPREAD
        first, second = (_moment(normal, power, limit) for power in (1, 2))
        deviation = np.sqrt(second - first**2)
        rows.append(_row(item, f"mean of lg {key.upper()}", first, x))
        rows.append(_row(item, f"variance of lg {key.upper()}", deviation**2, (x - first) ** 2))
    if los:
        mean, sigma = UMA["los"]["k"]
        x = 10 * np.log10(values["k"])
        rows += [_row(item, "mean of K", mean, x, "dB"), _row(item, "variance of K", sigma**2, (x - mean) ** 2, "dB^2")]
    else:
        power = np.abs(np.concatenate(a)) ** 2
        x = np.log10(delay_spread(np.concatenate(tau), power))
        reference = _uma_nlos_delay_spread(values["ds"].astype(float), carrier_hz)
        # Paired by the drawn DS, which is common to both.
        rows.append(_row(item, "mean of lg (realised DS / DS)", 0.0, x - reference))
    return rows


def _moment(normal: Any, power: int, limit: float) -> float:
    """Moment of ``min(x, limit)`` for normal x."""
    low, high = normal.mean() - 9 * normal.std(), normal.mean() + 9 * normal.std()
    return float(normal.expect(lambda x: np.minimum(x, limit) ** power, lb=low, ub=high))


def _uma_nlos_delay_spread(ds: np.ndarray, carrier_hz: float) -> np.ndarray:
    """lg of the realised rms delay spread for drawn DS [s]: clusters, sub-clusters of the two strongest, 20 rays."""
    rng = np.random.default_rng(derive(_SEED, "reference"))
    count, n = len(ds), _UMA_NLOS_CLUSTERS
    tau = -_UMA_NLOS_R_TAU * ds[:, None] * np.log(rng.uniform(size=(count, n)))
    tau = np.sort(tau - tau.min(axis=1, keepdims=True), axis=1)
    shadow = 10 ** (-_ZETA_DB * rng.standard_normal((count, n)) / 10)
    p = np.exp(-tau * (_UMA_NLOS_R_TAU - 1) / (_UMA_NLOS_R_TAU * ds[:, None])) * shadow
    p /= p.sum(axis=1, keepdims=True)
    p[p < p.max(axis=1, keepdims=True) * 10**-2.5] = 0.0
    strongest = np.argsort(-p, axis=1)[:, :2]
    c_ds = max(0.25, 6.5622 - 3.4084 * np.log10(carrier_hz / 1e9)) * 1e-9
    ray = np.sqrt(p / 20)[..., None] * np.exp(2j * np.pi * rng.uniform(size=(count, n, 20)))
    delays, powers = [tau], [np.abs(ray.sum(axis=2)) ** 2]
    rows = np.arange(count)
    for k in range(2):
        cluster = strongest[:, k]
        powers[0][rows, cluster] = 0.0
        for offset, (low, high) in zip((0.0, 1.28, 2.56), ((0, 10), (10, 16), (16, 20)), strict=True):
            powers.append(np.abs(ray[rows, cluster, low:high].sum(axis=1))[:, None] ** 2)
            delays.append((tau[rows, cluster] + offset * c_ds)[:, None])
    return np.log10(delay_spread(np.concatenate(delays, axis=1), np.concatenate(powers, axis=1)))


def run_checks(out: Path | None = None, drops: int = 20000, uma_drops: int = 4000) -> pd.DataFrame:
    """All checks.

    Args:
        out: folder for ``channels.csv``; None writes nothing.
        drops: of every CDL and TDL profile.
        uma_drops: of every UMa case.

    Returns:
        columns ``item, quantity, standard, measured, std_error, z, unit, num_samples``; |z| < 5 everywhere is in order.
    """
    import simulator.phy  # noqa: F401 - sets TensorFlow's log level before it is imported

    rows: list[dict[str, Any]] = []
    work = [("tdl", name) for name in "ABCDE"] + [("cdl", name) for name in "ABCDE"]
    work += [("uma", f"{ghz} {state}") for ghz in (3.5, 28) for state in ("los", "nlos")]
    for kind, name in track(work, "TR 38.901", unit="channel"):
        if kind == "uma":
            ghz, state = name.split()
            rows += check_uma(uma_drops, float(ghz) * 1e9, state == "los")
        else:
            rows += check_profile(kind, name, drops)
    frame = pd.DataFrame(rows)
    if out is not None:
        write_bytes(Path(out) / "channels.csv", frame.to_csv(index=False, float_format="%.6g").encode())
    return frame
