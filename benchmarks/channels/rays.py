"""Rays of UMi, UMa and RMa drops: angles of both ends, offsets, sub-clusters, XPR, delays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.channels import reference as ref
from benchmarks.channels.rows import exact, generator, geometry, paired, row, seeded
from simulator.core import registry
from simulator.core.types import Panel

STATES = ("los", "nlos", "o2i")


def check_rays(
    kind: str, state: str, drops: int, carrier_hz: float = 3.5e9, corrections: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    r"""Rays of drops of two UEs in one state.

    Angles are compared through cosines, which are free of wrapping at 360 degrees and of folding at the poles: with
    sign X, spread part :math:`\theta'` and normal part Y,
    :math:`E\cos(c + X\theta' + Y) = \cos c \cos\theta' e^{-\sigma^2/2}`.

    Args:
        kind: "umi", "uma" or "rma".
        state: "los", "nlos" or "o2i", of all UEs.
        drops: independent drops.
        carrier_hz: carrier frequency [Hz].
        corrections: of the channel source; None: all that Sionna needs.
    """
    fc, item, table = carrier_hz / 1e9, f"{kind}-{state} {carrier_hz / 1e9:g} GHz", ref.TABLE[kind, state]
    source = registry.build(
        "channels", kind, geometry(Panel(1), carrier_hz, users=2), los=state == "los",
        indoor_probability=float(state == "o2i"), corrections=None if corrections is None else tuple(corrections),
    )  # fmt: skip
    seeded(item)
    source.drop(drops)
    model = source._model
    drawn, lsp, s = model._ray_sampler(model._lsp), model._lsp, model._scenario
    n = table["clusters"]
    rays = {key: getattr(drawn, key).numpy()[:, 0, :, :n].astype(float) for key in ("aod", "aoa", "zod", "zoa", "xpr")}
    power = drawn.powers.numpy()[:, 0, :, :n].astype(float)
    spreads = {key: getattr(lsp, key).numpy()[:, 0].astype(float) for key in ("asd", "asa", "zsd", "zsa", "k_factor")}
    ue, bs = s.ut_loc.numpy().astype(float), s.bs_loc.numpy().astype(float)
    d_2d, h_ut = np.linalg.norm((ue - bs)[..., :2], axis=-1), ue[..., 2]
    mean_zsd, _ = ref.zenith_spread(kind, state, d_2d, h_ut, bs[..., 2])
    half = {
        "c_zsd": (3 / 8) * 10**mean_zsd,
        **{key: np.full(d_2d.shape, table[key]) for key in ("c_asd", "c_asa", "c_zsa")},
    }
    azimuth = np.arctan2(*np.moveaxis((ue - bs)[..., 1::-1], -1, 0))
    down = np.arctan2(d_2d, h_ut - bs[..., 2])
    centre = {
        "aod": azimuth,
        "aoa": azimuth + np.pi,
        "zod": down + np.radians(ref.zenith_offset(kind, state, d_2d, h_ut, fc)),
        "zoa": np.full_like(down, np.pi / 2) if state == "o2i" else np.pi - down,
    }
    rows = []
    for angle, spread in (("aod", "asd"), ("aoa", "asa"), ("zod", "zsd"), ("zoa", "zsa")):
        expected, measured = _mean_cosines(
            table, state, angle[0] == "a", power, spreads[spread], spreads["k_factor"], rays[angle], centre[angle],
            half[f"c_{spread}"],
        )  # fmt: skip
        # One sample per drop: the two UEs share their large-scale parameters in part.
        rows.append(paired(item, f"cosines of {angle.upper()}", expected.mean(axis=1), measured.mean(axis=1)))
    rows += _ray_offsets(item, rays, half)
    ratio = power / power.max(axis=-1, keepdims=True)
    weak = np.mean((ratio > 0) & (ratio < 0.999 * 10**-2.5))
    rows.append(exact(item, "share of clusters below -25 dB", weak, 0.001))
    rows.append(_third_sub_cluster(item, power, rays["aod"], table["c_asd"]))
    if state != "los":
        side = np.mean(np.sin(rays["aod"] - azimuth[..., None, None]), axis=-1)
        rows.append(row(item, "sides of the clusters of two UEs", 0.0, np.mean(side[:, 0] * side[:, 1], axis=-1)))
    mean, sigma = table["xpr"]
    xpr = 10 * np.log10(rays["xpr"]).reshape(-1)
    rows += [
        row(item, "mean of XPR", mean, xpr, "dB"),
        row(item, "variance of XPR", sigma**2, (xpr - mean) ** 2, "dB^2"),
    ]
    return rows


def _mean_cosines(
    table: dict[str, Any], state: str, azimuth: bool, power: np.ndarray, spread: np.ndarray, k: np.ndarray,
    rays: np.ndarray, centre: np.ndarray, half: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Cosines of all rays from the LOS direction (azimuth) or the zenith: expectation and draw, ``[drop, ue]``.

    Clusters by their power; 7.5 step 7 with (7.5-9) to (7.5-20).
    """
    n, k = table["clusters"], k[..., None]
    share, k_db = power, 10 * np.log10(k)
    constant = (ref.C_PHI if azimuth else ref.C_THETA)[n] * np.ones_like(k)
    if state == "los":
        share = power / (k + 1)
        share[..., 0] += (k / (k + 1))[..., 0]
        if azimuth:
            constant = constant * (1.1035 - 0.028 * k_db - 0.002 * k_db**2 + 0.0001 * k_db**3)
        else:
            constant = constant * (1.3086 + 0.0339 * k_db - 0.0077 * k_db**2 + 0.0002 * k_db**3)
    ratio = np.maximum(share / share.max(axis=-1, keepdims=True), 1e-6)  # the weakest as the generator limits them
    log = -np.log(ratio)
    prime = 2 * spread[..., None] / 1.4 * np.sqrt(log) / constant if azimuth else spread[..., None] * log / constant
    factor = np.cos(np.radians(prime)) * np.exp(-((np.radians(spread / 7)[..., None]) ** 2) / 2)
    if state == "los":  # the first cluster is turned into the LOS direction, and all others with it
        factor = factor * factor[..., :1]
        factor[..., 0] = 1.0
    within = np.mean(np.cos(np.radians(half[..., None] * ref.RAY_OFFSETS)), axis=-1)
    base = np.ones_like(centre) if azimuth else np.cos(centre)
    expected = base[..., None] * factor * within[..., None]
    drawn = np.mean(np.cos(rays - (centre[..., None, None] if azimuth else 0.0)), axis=-1)
    return np.sum(power * expected, axis=-1), np.sum(power * drawn, axis=-1)


def _ray_offsets(item: str, rays: dict[str, np.ndarray], half: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Rays about the middle of their cluster against Table 7.5-3, sorted."""
    rows = []
    for angle, key in (("aod", "c_asd"), ("aoa", "c_asa"), ("zod", "c_zsd"), ("zoa", "c_zsa")):
        x, c = rays[angle], half[key][..., None, None]
        middle = np.angle(np.exp(1j * x).sum(axis=-1, keepdims=True))
        offset = np.degrees(np.angle(np.exp(1j * (x - middle)))) / c
        clear = np.broadcast_to(c[..., 0] * 2.2 < 60, x.shape[:-1])
        if angle[0] == "z":  # clusters whose rays are not folded at a pole
            clear = clear & np.all((x > np.radians(2.2 * c)) & (x < np.pi - np.radians(2.2 * c)), axis=-1)
        clear = clear & (c[..., 0] > 0.2)  # float32 angles resolve smaller spreads badly
        if clear.any():
            error = np.sort(offset[clear], axis=-1) - ref.RAY_OFFSETS
            rows.append(exact(item, f"ray offsets of {angle.upper()} (largest error)", error, 0.01))
    return rows


def _third_sub_cluster(item: str, power: np.ndarray, aod: np.ndarray, c: float) -> dict[str, Any]:
    """Rays 13..16 of the strongest cluster, which arrive 2.56 c_DS later, are those of Table 7.5-5."""
    strongest = np.take_along_axis(aod, power.argmax(axis=-1)[..., None, None], axis=2)[:, :, 0]
    middle = np.angle(np.exp(1j * strongest).sum(axis=-1, keepdims=True))
    offset = np.degrees(np.angle(np.exp(1j * (strongest - middle)))) / c
    error = np.sort(np.abs(offset[..., 12:16]), axis=-1) - ref.THIRD_SUB_CLUSTER
    return exact(item, "offsets of the third sub-cluster (largest error)", error, 0.01)


def check_delay_spread(
    kind: str, drops: int, carrier_hz: float, corrections: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    """Delay spread that NLOS drops realise, against an independent Monte Carlo of 7.5 steps 5, 6 and 11."""
    source = registry.build(
        "channels", kind, geometry(Panel(1), carrier_hz), los=False, indoor_probability=0.0,
        corrections=None if corrections is None else tuple(corrections),
    )  # fmt: skip
    item, a, tau, drawn = f"{kind}-nlos {carrier_hz / 1e9:g} GHz", [], [], []
    for start in range(0, drops, 500):
        seeded(item, "paths", start)
        block = source.paths(min(500, drops - start))
        a.append(block[0].numpy()[:, 0, 0, 0, 0, :, 0])
        tau.append(block[1].numpy()[:, 0, 0])
        drawn.append(source._model._lsp.ds.numpy().reshape(-1))
    ds = np.concatenate(drawn).astype(float)
    realised = np.log10(delay_spread(np.concatenate(tau), np.abs(np.concatenate(a)) ** 2))
    # Paired by the drawn DS, which is common to both.
    return [row(item, "mean of lg (realised DS / DS)", 0.0, realised - _reference_spread(kind, ds, carrier_hz / 1e9))]


def delay_spread(delays: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """Rms delay spread of a profile, second central moment; ``[..., path]`` to ``[...]``."""
    powers = powers / powers.sum(axis=-1, keepdims=True)
    mean = np.sum(powers * delays, axis=-1, keepdims=True)
    return np.sqrt(np.sum(powers * (delays - mean) ** 2, axis=-1))


def _reference_spread(kind: str, ds: np.ndarray, fc: float) -> np.ndarray:
    """Logarithm of the realised rms delay spread for drawn DS [s]: clusters, the two strongest split, 20 rays."""
    table = ref.TABLE[kind, "nlos"]
    n, r_tau = table["clusters"], table["r_tau"]
    rng = generator(kind)
    count = len(ds)
    tau = -r_tau * ds[:, None] * np.log(rng.uniform(size=(count, n)))
    tau = np.sort(tau - tau.min(axis=1, keepdims=True), axis=1)
    shadow = 10 ** (-table["zeta"] * rng.standard_normal((count, n)) / 10)
    p = np.exp(-tau * (r_tau - 1) / (r_tau * ds[:, None])) * shadow
    p /= p.sum(axis=1, keepdims=True)
    p[p < p.max(axis=1, keepdims=True) * 10**-2.5] = 0.0
    strongest = np.argsort(-p, axis=1)[:, :2]
    c_ds = {"umi": 11.0, "uma": max(0.25, 6.5622 - 3.4084 * np.log10(max(fc, 6.0))), "rma": 3.91}[kind] * 1e-9
    ray = np.sqrt(p / 20)[..., None] * np.exp(2j * np.pi * rng.uniform(size=(count, n, 20)))
    delays, powers = [tau], [np.abs(ray.sum(axis=2)) ** 2]
    each = np.arange(count)
    for k in range(2):
        cluster = strongest[:, k]
        powers[0][each, cluster] = 0.0
        for offset, (low, high) in zip((0.0, 1.28, 2.56), ((0, 10), (10, 16), (16, 20)), strict=True):
            powers.append(np.abs(ray[each, cluster, low:high].sum(axis=1))[:, None] ** 2)
            delays.append((tau[each, cluster] + offset * c_ds)[:, None])
    return np.log10(delay_spread(np.concatenate(delays, axis=1), np.concatenate(powers, axis=1)))
