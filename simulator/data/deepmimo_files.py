"""Rays of a DeepMIMO scenario folder, in each of the three layouts that its generators have used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.errors import ConfigError, StoreError
from simulator.core.paths import inside
from simulator.core.readers import read_json
from simulator.data.arrays import ArrayFile

Rays = dict[str, np.ndarray]
_NATIVE, _OLD = r"BS(\d+)_UE_(?:(\d+)-\d+|.*)\.mat", r"(.+)\.(\d+)\.CIR\.mat"
_SAVED = r"power_t(\d+)_tx(\d+)_r(\d+)\.(?:npz|mat)"
_SAVED_KEYS = {"power": "power", "phase": "phase", "delay": "delay", "aod_az": "azimuth", "aod_el": "zenith"}
_ARRIVALS = {"aoa_az": "rx_azimuth", "aoa_el": "rx_zenith"}


@dataclass(frozen=True)
class RayPart:
    """Rays from one base station to one group of UEs in one scene.

    :attr:`read` returns ``power`` (linear, for a transmit power of 0 dB), ``phase`` [degree], ``delay`` [s],
    ``azimuth``, ``zenith`` of departure and, where asked for, ``rx_azimuth``, ``rx_zenith`` of arrival [degree], all
    ``[user, path]`` with power 0 where there is none; ``los``, ``position_m`` and ``user`` (row over all groups). UEs
    without a path are left out.
    """

    bs: int
    scene: int
    where: str
    files: tuple[Path, ...]
    read: Callable[[], Rays]


def find_rays(
    path: Path, *, num_paths: int, arrivals: bool, rx_sets: Sequence[int] | None = None
) -> tuple[list[RayPart], float | None]:
    """Every part of a scenario folder, and the carrier frequency [Hz] (None when no file states it).

    Args:
        path: the folder, or one whose subfolders are the scenes of a dynamic scenario.
        num_paths: strongest paths kept.
        arrivals: angles of arrival are needed.
        rx_sets: receiver sets of the current layout; None takes those that do not transmit as well.
    """
    if not path.is_dir():
        raise StoreError(f"{path}: no such folder")
    scenes = (
        [path]
        if _layout(path)
        else sorted((inside(path, p.name) for p in path.iterdir() if p.is_dir() and _layout(p)), key=_number)
    )
    if not scenes:
        raise StoreError(
            f"{path}: neither BS*_UE_*.mat (v3) nor power_t*_tx*_r*.npz or .mat (current) nor NAME.*.CIR.mat (v2) "
            "found, here or in the scenes of a dynamic scenario"
        )
    parts: list[RayPart] = []
    carrier = None
    for number, folder in enumerate(scenes):
        scene = _number(folder)[0] if folder != path and _number(folder)[0] >= 0 else number
        facts = _facts(folder, path)
        carrier = carrier or facts.get("carrier_hz")
        made = {"native": _native, "saved": _saved, "old": _old}[_layout(folder)](
            folder, facts, num_paths, arrivals, rx_sets
        )
        parts += [RayPart(bs, scene, where, files, read) for bs, where, files, read in made]
    return parts, carrier


def _number(path: Path) -> tuple[int, str]:
    """Sorting key: the number at the end of a name, -1 when there is none."""
    found = re.search(r"(\d+)$", path.name)
    return (int(found[1]) if found else -1, path.name)


def _matches(folder: Path, pattern: str) -> list[tuple[re.Match[str], Path]]:
    return [(m, inside(folder, p.name)) for p in sorted(folder.iterdir()) if (m := re.fullmatch(pattern, p.name))]


def _layout(folder: Path) -> str:
    for name, pattern in (("native", _NATIVE), ("saved", _SAVED), ("old", _OLD)):
        if _matches(folder, pattern):
            return name
    return ""


def _facts(folder: Path, root: Path) -> dict[str, Any]:
    """``carrier_hz``, ``tx_power_dbm`` of a parameter file, ``transmits``: the sets that transmit."""
    for place in (folder, root):
        if (saved := place / "params.json").exists():
            try:
                data = read_json(inside(place, saved.name))
                sets = data.get("txrx_sets") or {}
                sets = sets.values() if isinstance(sets, dict) else sets
                transmits = {int(s["id"]): bool(s["is_tx"]) for s in sets}
                return {"carrier_hz": float(data["rt_params"]["frequency"]), "transmits": transmits}
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise StoreError(f"{saved}: no rt_params.frequency, or damaged txrx_sets ({error!r})") from None
        for native in [place / "params.mat", *sorted(place.glob("*.params.mat"))]:
            if native.exists():
                file = ArrayFile(inside(place, native.name))
                names = {"carrier_freq": "carrier_hz", "transmit_power": "tx_power_dbm"}
                return {new: float(file.read(old).reshape(-1)[0]) for old, new in names.items() if old in file.shapes}
    return {}


Made = Iterator[tuple[int, str, tuple[Path, ...], Callable[[], Rays]]]


def _native(folder: Path, facts: dict[str, Any], most: int, arrivals: bool, rx_sets: Sequence[int] | None) -> Made:
    """v3: a cell of ray matrices for every UE; a base station may have several files of UEs."""
    _refuse_sets(rx_sets)
    found = sorted((int(m[1]), int(m[2] or 0), p) for m, p in _matches(folder, _NATIVE))
    for bs, first, path in found:
        yield bs, str(path), (path,), partial(_native_rays, path, first, facts, most)


def _native_rays(path: Path, first: int, facts: dict[str, Any], most: int) -> Rays:
    file = ArrayFile(path)
    key = "channels_VV" if "channels" not in file.shapes and "channels_VV" in file.shapes else "channels"
    count = file.require(key, (1, None))[1]
    file.require("rx_locs", (count, 5))
    places = file.read("rx_locs")
    names = ("phase", "delay", "power", "rx_azimuth", "rx_zenith", "azimuth", "zenith")
    rays = {name: np.zeros((count, most)) for name in names}
    los = np.zeros(count, bool)
    for user, matrix in enumerate(file.read_field(key, "p")):
        if matrix.size and (matrix.dtype.kind != "f" or matrix.ndim != 2 or len(matrix) not in (8, 10)):
            raise StoreError(f"{path}: {key}[{user}].p is no array of real numbers (8 or 10, paths)")
        if not matrix.size:
            continue
        if not np.isfinite(matrix).all():
            raise StoreError(f"{path}: {key}[{user}].p is not finite; allowed: no NaN, no infinity")
        matrix = matrix[:8, np.argsort(-matrix[2], kind="stable")[:most]].astype(float)
        for name, row in zip(names, matrix, strict=False):
            rays[name][user, : len(row)] = row
        rays["power"][user, : matrix.shape[1]] = _linear(matrix[2], facts)
        los[user] = (matrix[7] > 0).any()
    return _with_paths({**rays, "los": los, "position_m": places[:, :3], "user": first + np.arange(count)})


def _saved(folder: Path, facts: dict[str, Any], most: int, arrivals: bool, rx_sets: Sequence[int] | None) -> Made:
    """Current layout: one file for a quantity, a transmitter and a set of receivers; base stations are transmitters."""
    found = [(int(m[1]), int(m[2]), int(m[3]), p.name.removeprefix("power_").rpartition(".")[0])
             for m, p in _matches(folder, _SAVED)]  # fmt: skip
    transmitters = {pair: number for number, pair in enumerate(sorted({(t, tx) for t, tx, _, _ in found}), 1)}
    transmits = facts.get("transmits") or dict.fromkeys((t for t, *_ in found), True)
    receivers = sorted({r for *_, r, _ in found})
    chosen = list(rx_sets) if rx_sets is not None else [r for r in receivers if not transmits.get(r, False)]
    if not chosen or not set(chosen) <= set(receivers):
        what = "all of them transmit, which UEs do not; name those to read" if rx_sets is None else rx_sets
        raise ConfigError("import.rx_sets", what, f"sets of receivers {', '.join(map(str, receivers))}")

    def member(name: str, key: str) -> ArrayFile:
        npz = inside(folder, f"{key}_{name}.npz")
        return ArrayFile(npz if npz.exists() else inside(folder, f"{key}_{name}.mat"))

    keys = _SAVED_KEYS | (_ARRIVALS if arrivals else {})
    first = 0
    for receiver in chosen:
        here = [(t, tx, name) for t, tx, r, name in found if r == receiver]
        for t, tx, name in here:
            files = tuple(member(name, key).path for key in (*keys, "inter", "rx_pos"))
            read = partial(_saved_rays, partial(member, name), keys, first, most)
            yield transmitters[t, tx], f"{folder}/*_{name}", files, read
        first += member(here[0][2], "rx_pos").require("rx_pos", (None, 3))[0]


def _saved_rays(member: Callable[[str], ArrayFile], keys: dict[str, str], first: int, most: int) -> Rays:
    shape = member("power").require("power", (None, None))
    data = {}
    for key in (*keys, "inter", "rx_pos"):
        file = member(key)
        file.require(key, (shape[0], 3) if key == "rx_pos" else shape)
        data[key] = file.read(key).astype(np.float64)
    order = np.argsort(-np.nan_to_num(data["power"], nan=-np.inf), axis=1, kind="stable")[:, :most]
    there = np.take_along_axis(~np.isnan(data["power"]), order, axis=1)

    def pick(key: str) -> np.ndarray:
        value = np.take_along_axis(data[key], order, axis=1)
        if np.isnan(value[there]).any():
            raise StoreError(f"{member(key).path}: {key} is NaN where power is not; allowed: finite")
        return np.where(there, value, 0.0)

    rays = {name: pick(key) for key, name in keys.items()}
    rays["power"] = np.where(there, 10 ** (rays["power"] / 10), 0.0)
    los = (there & (np.take_along_axis(data["inter"], order, axis=1) == 0)).any(axis=1)
    return _with_paths({**rays, "los": los, "position_m": data["rx_pos"], "user": first + np.arange(shape[0])})


def _old(folder: Path, facts: dict[str, Any], most: int, arrivals: bool, rx_sets: Sequence[int] | None) -> Made:
    """v1 and v2: flat arrays: the number of UEs, then per UE its number, its path count and four values per path."""
    _refuse_sets(rx_sets)
    for match, path in sorted(_matches(folder, _OLD), key=lambda item: int(item[0][2])):
        stem = path.name.removesuffix(".CIR.mat")
        names = {
            key: inside(folder, f"{stem}.{key}.mat") for key in ("CIR", "DoD", "LoS", *(["DoA"] if arrivals else []))
        }
        names["Loc"] = inside(folder, f"{match[1]}.Loc.mat")
        files = tuple(ArrayFile(name).path for name in names.values())
        yield int(match[2]), str(path), files, partial(_old_rays, names, facts, most)


def _old_rays(names: dict[str, Path], facts: dict[str, Any], most: int) -> Rays:
    def only(key: str) -> np.ndarray:
        file = ArrayFile(names[key])
        if len(file.shapes) != 1:
            raise StoreError(f"{file.path}: holds {', '.join(file.shapes) or 'nothing'}; allowed: one array")
        value = file.read(next(iter(file.shapes)))
        if not np.isfinite(value).all():
            raise StoreError(f"{file.path}: not finite; allowed: no NaN, no infinity")
        return value.astype(np.float64)

    flat = {key: only(key).reshape(-1) for key in names if key not in ("LoS", "Loc")}
    starts, paths = _records(flat["CIR"], names["CIR"])
    for key, value in flat.items():
        if len(value) != len(flat["CIR"]) or (value[starts - 1] != paths).any():
            raise StoreError(f"{names[key]}: other numbers of paths than {names['CIR'].name}")
    los, places = only("LoS").reshape(-1), only("Loc")
    if len(los) != len(paths) + 1 or places.ndim != 2 or len(places) < len(paths) or places.shape[1] < 4:
        raise StoreError(
            f"{names['Loc']}: {places.shape} and LoS {los.shape}; allowed: a row for each of {len(paths)} UEs"
        )
    kept = np.flatnonzero(paths)
    width = int(min(paths.max(initial=1), 10**4))
    index = starts[kept, None] + 4 * np.arange(width)
    there = np.arange(width) < paths[kept, None]
    index = np.where(there, index, starts[kept, None])
    power = np.where(there, _linear(flat["CIR"][index + 3], facts), 0.0)
    order = np.argsort(-power, axis=1, kind="stable")[:, :most]
    index, power = np.take_along_axis(index, order, axis=1), np.take_along_axis(power, order, axis=1)
    rays = {"power": power}
    for name, (key, column) in {
        "phase": ("CIR", 1), "delay": ("CIR", 2), "azimuth": ("DoD", 1), "zenith": ("DoD", 2),
        "rx_azimuth": ("DoA", 1), "rx_zenith": ("DoA", 2),
    }.items():  # fmt: skip
        if key in flat:
            rays[name] = np.where(power > 0, flat[key][index + column], 0.0)
    return {**rays, "los": los[1:][kept] == 1, "position_m": places[kept, 1:4], "user": kept}


def _records(flat: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Index of the first value of every UE's paths, and the number of paths."""
    count = int(flat[0]) if len(flat) else -1
    starts, paths = np.zeros(max(count, 0), int), np.zeros(max(count, 0), int)
    at = 1
    for user in range(count):
        number = flat[at + 1] if at + 1 < len(flat) else -1
        if number != int(number) or number < 0:
            break
        starts[user], paths[user] = at + 2, number
        at += 2 + 4 * int(number)
    if count < 1 or at != len(flat):
        raise StoreError(f"{path}: damaged or truncated; allowed: the number of UEs, then a record for each of them")
    return starts, paths


def _linear(power_dbm: np.ndarray, facts: dict[str, Any]) -> np.ndarray:
    """Power gain of rays whose power was computed with the transmit power of the parameter file."""
    return 10 ** ((power_dbm - facts.get("tx_power_dbm", 0.0)) / 10)


def _refuse_sets(rx_sets: Sequence[int] | None) -> None:
    if rx_sets is not None:
        raise ConfigError("import.rx_sets", list(rx_sets), "null: only the current layout has sets of receivers")


def _with_paths(rays: Rays) -> Rays:
    keep = rays["power"].sum(axis=1) > 0
    return {key: value[keep] for key, value in rays.items()}
