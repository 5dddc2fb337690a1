"""TR 38.901 in NumPy float64: tables typed from the standard, and formulas of states, path loss and angles.

Nothing here comes from Sionna. Distances and heights in m, frequencies in GHz, losses in dB, angles in degree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LIGHT_MPS = 299_792_458.0
_HALF = np.array([0.0447, 0.1413, 0.2492, 0.3715, 0.5129, 0.6797, 0.8844, 1.1481, 1.5195, 2.1551])
RAY_OFFSETS = np.sort(np.concatenate([_HALF, -_HALF]))  # Table 7.5-3
THIRD_SUB_CLUSTER = np.array([0.8844, 0.8844, 1.1481, 1.1481])  # |offset| of rays 13..16, Table 7.5-5
MAX_INDOOR_M = {"umi": 25.0, "uma": 25.0, "rma": 10.0}  # 7.4.3.1
C_PHI = {10: 1.090, 11: 1.123, 12: 1.146, 19: 1.273, 20: 1.289}  # Table 7.5-2
C_THETA = {10: 0.957, 11: 1.031, 12: 1.104, 19: 1.184, 20: 1.178}  # Table 7.5-4
# Table 7.5-6, parts 1 and 2: mean = a log10(b + fc) + c and standard deviation likewise, as (a, b, c).
_F = 1.0  # UMi counts 1 + fc


def _entry(mean: Any, sigma: Any, b: float = 0.0) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    pair = [x if isinstance(x, tuple) else (0.0, x) for x in (mean, sigma)]
    return (pair[0][0], b, pair[0][1]), (pair[1][0], b, pair[1][1])


_URBAN_O2I = {
    "ds": _entry(-6.62, 0.32), "asd": _entry(1.25, 0.42), "asa": _entry(1.76, 0.16), "zsa": _entry(1.01, 0.43),
    "sf": 7.0, "xpr": (9.0, 5.0), "r_tau": 2.2, "zeta": 4.0, "clusters": 12, "c_asd": 5.0, "c_asa": 8.0, "c_zsa": 3.0,
}  # fmt: skip
TABLE: dict[tuple[str, str], dict[str, Any]] = {
    ("umi", "los"): {
        "ds": _entry((-0.24, -7.14), 0.38, _F), "asd": _entry((-0.05, 1.21), 0.41, _F),
        "asa": _entry((-0.08, 1.73), (0.014, 0.28), _F), "zsa": _entry((-0.1, 0.73), (-0.04, 0.34), _F),
        "sf": 4.0, "k": (9.0, 5.0), "xpr": (9.0, 3.0), "r_tau": 3.0, "zeta": 3.0, "clusters": 12,
        "c_asd": 3.0, "c_asa": 17.0, "c_zsa": 7.0,
    },
    ("umi", "nlos"): {
        "ds": _entry((-0.24, -6.83), (0.16, 0.28), _F), "asd": _entry((-0.23, 1.53), (0.11, 0.33), _F),
        "asa": _entry((-0.08, 1.81), (0.05, 0.3), _F), "zsa": _entry((-0.04, 0.92), (-0.07, 0.41), _F),
        "sf": 7.82, "xpr": (8.0, 3.0), "r_tau": 2.1, "zeta": 3.0, "clusters": 19,
        "c_asd": 10.0, "c_asa": 22.0, "c_zsa": 7.0,
    },
    ("umi", "o2i"): _URBAN_O2I,
    ("uma", "los"): {
        "ds": _entry((-0.0963, -6.955), 0.66), "asd": _entry((0.1114, 1.06), 0.28), "asa": _entry(1.81, 0.20),
        "zsa": _entry(0.95, 0.16), "sf": 4.0, "k": (9.0, 3.5), "xpr": (8.0, 4.0), "r_tau": 2.5, "zeta": 3.0,
        "clusters": 12, "c_asd": 5.0, "c_asa": 11.0, "c_zsa": 7.0,
    },
    ("uma", "nlos"): {
        "ds": _entry((-0.204, -6.28), 0.39), "asd": _entry((-0.1144, 1.5), 0.28), "asa": _entry((-0.27, 2.08), 0.11),
        "zsa": _entry((-0.3236, 1.512), 0.16), "sf": 6.0, "xpr": (7.0, 3.0), "r_tau": 2.3, "zeta": 3.0,
        "clusters": 20, "c_asd": 2.0, "c_asa": 15.0, "c_zsa": 7.0,
    },
    ("uma", "o2i"): _URBAN_O2I,
    ("rma", "los"): {
        "ds": _entry(-7.49, 0.55), "asd": _entry(0.90, 0.38), "asa": _entry(1.52, 0.24), "zsa": _entry(0.47, 0.40),
        "sf": None, "k": (7.0, 4.0), "xpr": (12.0, 4.0), "r_tau": 3.8, "zeta": 3.0, "clusters": 11,
        "c_asd": 2.0, "c_asa": 3.0, "c_zsa": 3.0,
    },
    ("rma", "nlos"): {
        "ds": _entry(-7.43, 0.48), "asd": _entry(0.95, 0.45), "asa": _entry(1.52, 0.13), "zsa": _entry(0.58, 0.37),
        "sf": 8.0, "xpr": (7.0, 3.0), "r_tau": 1.7, "zeta": 3.0, "clusters": 10,
        "c_asd": 2.0, "c_asa": 3.0, "c_zsa": 3.0,
    },
    ("rma", "o2i"): {
        "ds": _entry(-7.47, 0.24), "asd": _entry(0.67, 0.18), "asa": _entry(1.66, 0.21), "zsa": _entry(0.93, 0.22),
        "sf": 8.0, "xpr": (7.0, 3.0), "r_tau": 1.7, "zeta": 3.0, "clusters": 10,
        "c_asd": 2.0, "c_asa": 3.0, "c_zsa": 3.0,
    },
}  # fmt: skip
_PAIRS = (
    "asd-ds asa-ds asa-sf asd-sf ds-sf asd-asa asd-k asa-k ds-k sf-k zsd-sf zsa-sf zsd-k zsa-k zsd-ds zsa-ds "
    "zsd-asd zsa-asd zsd-asa zsa-asa zsd-zsa"
)
_URBAN_O2I_CORRELATION = ".4 .4 0 .2 -.5 0 0 0 0 0 0 0 0 0 -.6 -.2 -.2 0 0 .5 .5"
_CORRELATION = {
    ("umi", "los"): ".5 .8 -.4 -.5 -.4 .4 -.2 -.3 -.7 .5 0 0 0 0 0 .2 .5 .3 0 0 0",
    ("umi", "nlos"): "0 .4 -.4 0 -.7 0 0 0 0 0 0 0 0 0 -.5 0 .5 .5 0 .2 0",
    ("umi", "o2i"): _URBAN_O2I_CORRELATION,
    ("uma", "los"): ".4 .8 -.5 -.5 -.4 0 0 -.2 -.4 0 0 -.8 0 0 -.2 0 .5 0 -.3 .4 0",
    ("uma", "nlos"): ".4 .6 0 -.6 -.4 .4 0 0 0 0 0 -.4 0 0 -.5 0 .5 -.1 0 0 0",
    ("uma", "o2i"): _URBAN_O2I_CORRELATION,
    ("rma", "los"): "0 0 0 0 -.5 0 0 0 0 0 .01 -.17 0 -.02 -.05 .27 .73 -.14 -.20 .24 -.07",
    ("rma", "nlos"): "-.4 0 0 .6 -.5 0 0 0 0 0 -.04 -.25 0 0 -.10 -.40 .42 -.27 -.18 .26 -.27",
    ("rma", "o2i"): "0 0 0 0 0 -.7 0 0 0 0 0 0 0 0 0 0 .66 .47 -.55 -.22 0",
}


def correlation(kind: str, state: str) -> dict[tuple[str, str], float]:
    """Cross-correlations of the large-scale parameters, Table 7.5-6, part 2."""
    values = _CORRELATION[kind, state].split()
    pairs = (pair.split("-") for pair in _PAIRS.split())
    return {(a, b): float(x) for (a, b), x in zip(pairs, values, strict=True)}


def spread(kind: str, state: str, key: str, fc: float) -> tuple[float, float]:
    """Mean and standard deviation of lg DS [s], ASD, ASA or ZSA [degree], Table 7.5-6."""
    fc = max(fc, {"umi": 2.0, "uma": 6.0, "rma": 0.0}[kind])
    mean, sigma = (a * np.log10(b + fc) + c if a else c for a, b, c in TABLE[kind, state][key])
    return float(mean), float(sigma)


def zenith_spread(kind: str, state: str, d_2d: np.ndarray, h_ut: np.ndarray, h_bs: float) -> tuple[np.ndarray, float]:
    """Mean of lg ZSD of every link and its standard deviation, Tables 7.5-7 to 7.5-9; O2I as NLOS."""
    km = d_2d / 1000
    if kind == "umi":
        if state == "los":
            return np.maximum(-0.21, -14.8 * km + 0.01 * np.abs(h_ut - h_bs) + 0.83), 0.35
        return np.maximum(-0.5, -3.1 * km + 0.01 * np.maximum(h_ut - h_bs, 0) + 0.2), 0.35
    if kind == "uma":
        offset, sigma = (0.75, 0.40) if state == "los" else (0.9, 0.49)
        return np.maximum(-0.5, -2.1 * km - 0.01 * (h_ut - 1.5) + offset), sigma
    slope, offset, sigma = (-0.17, 0.22, 0.34) if state == "los" else (-0.19, 0.28, 0.30)
    return np.maximum(-1.0, slope * km - 0.01 * (h_ut - 1.5) + offset), sigma


def zenith_offset(kind: str, state: str, d_2d: np.ndarray, h_ut: np.ndarray, fc: float) -> np.ndarray:
    """Offset of the zenith of departure [degree], Tables 7.5-7 to 7.5-9."""
    if state == "los":
        return np.zeros_like(d_2d)
    if kind == "umi":
        return -(10 ** (-1.5 * np.log10(np.maximum(10, d_2d)) + 3.3))
    if kind == "uma":
        x = np.log10(max(fc, 6.0))
        power = (0.208 * x - 0.782) * np.log10(np.maximum(25, d_2d)) - 0.13 * x + 2.03 - 0.07 * (h_ut - 1.5)
        return 7.66 * x - 5.96 - 10**power
    return np.degrees(np.arctan((35 - 3.5) / d_2d) - np.arctan((35 - 1.5) / d_2d))


def los_probability(kind: str, d_out: np.ndarray, h_ut: np.ndarray) -> np.ndarray:
    """Table 7.4.2-1 at the outdoor distance d_2D-out; ``h_ut`` counts for UMa."""
    if kind == "rma":
        return np.where(d_out <= 10, 1.0, np.exp(-(d_out - 10) / 1000))
    d = np.maximum(d_out, 18.0)
    p = 18 / d + np.exp(-d / (36 if kind == "umi" else 63)) * (1 - 18 / d)
    if kind == "uma":
        c = (np.clip(h_ut - 13, 0, None) / 10) ** 1.5
        p = p * (1 + c * 1.25 * (d / 100) ** 3 * np.exp(-d / 150))
    return np.where(d_out <= 18, 1.0, p)


def path_loss(
    kind: str, los: bool, d_2d: np.ndarray, d_3d: np.ndarray, h_ut: np.ndarray, h_bs: float, fc: float,
    h_e: np.ndarray | float = 1.0,
) -> np.ndarray:  # fmt: skip
    """Table 7.4.1-1 without shadow fading; RMa with buildings of 5 m and streets of 20 m."""
    lg, f = np.log10(d_3d), 20 * np.log10(fc)
    if kind == "rma":
        h, w = 5.0, 20.0
        limit = 2 * np.pi * h_bs * h_ut * fc * 1e9 / LIGHT_MPS

        def near(d: np.ndarray) -> np.ndarray:
            slope, less = min(0.03 * h**1.72, 10), min(0.044 * h**1.72, 14.77)
            return 20 * np.log10(40 * np.pi * d * fc / 3) + slope * np.log10(d) - less + 0.002 * np.log10(h) * d

        line = np.where(d_2d <= limit, near(d_3d), near(limit) + 40 * np.log10(d_3d / limit))
        if los:
            return line
        other = 161.04 - 7.1 * np.log10(w) + 7.5 * np.log10(h) - (24.37 - 3.7 * (h / h_bs) ** 2) * np.log10(h_bs)
        other = other + (43.42 - 3.1 * np.log10(h_bs)) * (lg - 3) + f - (3.2 * np.log10(11.75 * h_ut) ** 2 - 4.97)
        return np.maximum(line, other)
    limit = 4 * (h_bs - h_e) * (h_ut - h_e) * fc * 1e9 / LIGHT_MPS
    start, slope, drop = (32.4, 21.0, 9.5) if kind == "umi" else (28.0, 22.0, 9.0)
    far = start + 40 * lg + f - drop * np.log10(limit**2 + (h_bs - h_ut) ** 2)
    line = np.where(d_2d <= limit, start + slope * lg + f, far)
    if los:
        return line
    if kind == "umi":
        return np.maximum(line, 22.4 + 35.3 * lg + 21.3 * np.log10(fc) - 0.3 * (h_ut - 1.5))
    return np.maximum(line, 13.54 + 39.08 * lg + f - 0.6 * (h_ut - 1.5))


def wall_loss(fc: float) -> float:
    """PL_tw of the low-loss building, Tables 7.4.3-1 and 7.4.3-2; standard deviation 4.4 dB."""
    glass, concrete = 2 + 0.2 * fc, 5 + 4 * fc
    return float(5 - 10 * np.log10(0.3 * 10 ** (-glass / 10) + 0.7 * 10 ** (-concrete / 10)))


def height_shares(d_2d: float, h_ut: float) -> dict[float, float]:
    """Probabilities of the effective environment heights of UMa, Table 7.4.1-1, note 1."""
    g = 0.0 if d_2d <= 18 else 1.25 * (d_2d / 100) ** 3 * np.exp(-d_2d / 150)
    c = max((h_ut - 13) / 10, 0) ** 1.5 * g
    others = np.arange(12.0, h_ut - 1.5 + 1e-9, 3.0)
    return {1.0: float(1 / (1 + c)), **{float(h): float(c / (1 + c) / len(others)) for h in others}}
