"""Rays of one site: UEs with coverage, their paths, kept in a file so that a site is traced once.

Runs as a program of its own (``python -m simulator.phy.site_trace REQUEST.json OUT.npz``): the ray tracer may need an
LLVM library that must be chosen before it is imported, and its memory goes back to the system at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.cache import cache_folder, cached
from simulator.core.content import sha256
from simulator.core.errors import ConfigError, StoreError
from simulator.core.readers import read_npz
from simulator.core.seeding import derive
from simulator.core.types import RadioGeometry

FORMAT = 3
SCENES = ("munich", "etoile", "florence", "san_francisco", "simple_street_canyon")
_CELL_M = 4.0  # side of the cells of the coverage map [m]
_MAP_RAYS = 1_000_000  # rays of the coverage map
_MIN_GAIN_DB = -150.0  # least path gain of a position with coverage [dB]
_BATCH = 250  # positions traced at once


@dataclass(frozen=True)
class SiteRequest:
    """Everything that determines the rays of a site; equal requests share one file.

    Args:
        scene: built-in scene of Sionna RT.
        carrier_hz: carrier frequency [Hz]; material parameters depend on it (ITU-R P.2040).
        num_pol: polarisations of the gNB, 1 (V) or 2 (+-45 degrees).
        ue_num_pol: polarisations of the UE, 1 (V) or 2 (V, H).
        antenna_pattern: of the gNB, "38.901" or "omni".
        bs_position_m: positions of the stations (x, y, z) [m].
        look_at_m: points that their panels face (x, y, z) [m].
        area_center_m: centre of the rectangle of UEs (x, y) [m].
        area_size_m: its sides (x, y) [m].
        ue_height_m: height of the UEs above z = 0 [m].
        num_points: UEs to find.
        max_depth: interactions of a path, at most.
        max_paths: strongest paths of a link kept.
        diffuse: also diffuse reflection.
        diffraction: also diffraction at edges.
        num_rays: rays launched.
        seed: of positions and rays.
    """

    scene: str
    carrier_hz: float
    num_pol: int
    ue_num_pol: int
    antenna_pattern: str
    bs_position_m: tuple[tuple[float, float, float], ...]
    look_at_m: tuple[tuple[float, float, float], ...]
    area_center_m: tuple[float, float]
    area_size_m: tuple[float, float]
    ue_height_m: float = 1.5
    num_points: int = 1000
    max_depth: int = 4
    max_paths: int = 64
    diffuse: bool = False
    diffraction: bool = False
    num_rays: int = 200_000
    seed: int = 1

    @property
    def key(self) -> str:
        """Hash of the request, and of what traces it: this file, csilink, the ray tracer."""
        versions = {package: version(package) for package in ("csilink", "sionna-rt", "mitsuba", "drjit")}
        code = sha256(Path(__file__))
        text = json.dumps({"format": FORMAT, "versions": versions, "code": code, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def site_request(
    geometry: RadioGeometry, *, bs_position_m: Any, look_at_m: Any, site_seed: int = 1, **params: Any
) -> SiteRequest:
    """The request of a channel section ``site`` (its other parameters bear the names of :class:`SiteRequest`).

    Args:
        geometry: of the radio section.
        bs_position_m: a point, or one for each station.
        look_at_m: as the positions, or a point for all.
        site_seed: seed of the request.
        **params: of the section.

    Raises:
        ConfigError: more users than points; not a position for each station.
    """
    trps = geometry.panel.num_trps
    points = {"bs_position_m": bs_position_m, "look_at_m": look_at_m}
    for field, value in points.items():
        value = (value,) if np.ndim(value) == 1 else value
        if field == "look_at_m" and len(value) == 1:
            value = trps * tuple(value)
        if len(value) != trps:
            allowed = f"{trps}, one for each station (bs.num_trps)" + (", or 1 for all" if field == "look_at_m" else "")
            raise ConfigError(f"channel.{field}", f"{len(value)} point(s)", allowed)
        points[field] = tuple(value)
    request = SiteRequest(
        carrier_hz=float(geometry.carrier_hz),
        num_pol=geometry.panel.num_pol,
        ue_num_pol=geometry.ue_num_pol,
        antenna_pattern=geometry.antenna_pattern,
        seed=site_seed,
        **points,
        **params,
    )
    if geometry.num_users > request.num_points:
        allowed = f"at most channel.num_points = {request.num_points}"
        raise ConfigError("ue.num_users", geometry.num_users, allowed)
    return request


def check_traceable(request: SiteRequest) -> None:
    """StoreError where the rays are not in the cache and this machine cannot trace them; traces nothing itself."""
    from simulator.phy.llvm import working_llvm

    if not _file(request).exists():
        working_llvm()


def _file(request: SiteRequest) -> Path:
    return cache_folder() / "sites" / f"{request.scene}-{request.key}.npz"


def site_paths(request: SiteRequest) -> dict[str, np.ndarray]:
    """Paths of a site, from the file of an earlier call or traced now (one process at a time).

    Returns:
        ``a`` complex64 ``[point, trp, ue_pol, bs_pol, path]`` (baseband coefficients of single elements, zero padded),
        ``tau`` float32 ``[point, trp, path]`` [s], unit vectors ``k_t, k_r`` float32 ``[point, trp, path, 3]`` of
        departure and towards the incoming wave, ``position_m [point, 3]``, ``los [point]`` (to any station),
        ``rotation [trp, 3, 3]`` of the panels.

    Raises:
        StoreError: no working LLVM, no coverage, or the cache cannot be written.
    """
    return cached(_file(request), lambda temporary: _trace_in_child(request, temporary), read_npz)


def _trace_in_child(request: SiteRequest, path: Path) -> None:
    from simulator.phy.llvm import working_llvm

    print(f"tracing {request.scene} for {request.num_points} UEs, kept in {path.parent}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "simulator.phy.site_trace", json.dumps(asdict(request)), str(path)]
    environment = {**os.environ, "DRJIT_LIBLLVM_PATH": working_llvm()}
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if child.returncode:
        reason = (child.stderr.strip().splitlines() or [f"exit {child.returncode}"])[-1]
        raise StoreError(f"site {request.scene}: ray tracing failed ({reason})")


def trace(request: SiteRequest) -> dict[str, np.ndarray]:
    """Trace a site in this process; see :func:`site_paths` for the result."""
    import sionna.rt as rt

    scene, stations = _scene(request)
    coverage = rt.RadioMapSolver()(
        scene,
        center=[*request.area_center_m, request.ue_height_m],
        orientation=[0.0, 0.0, 0.0],
        size=list(request.area_size_m),
        cell_size=[_CELL_M, _CELL_M],
        samples_per_tx=_MAP_RAYS,
        max_depth=request.max_depth,
        seed=request.seed,
    )
    gain = np.array(coverage.path_gain)
    for number in range(len(stations)):
        if not np.any((gain.argmax(axis=0) == number) & (gain[number] >= 10 ** (_MIN_GAIN_DB / 10))):
            raise StoreError(f"station {number + 1} has no coverage, or another is stronger everywhere in the area")
    solver, blocks, total = rt.PathSolver(), [], 0
    for number in range(12 + 12 * request.num_points // _BATCH):
        positions, _ = coverage.sample_positions(
            num_pos=-(-_BATCH // len(stations)),
            metric="path_gain",
            min_val_db=_MIN_GAIN_DB,
            tx_association=True,
            seed=derive(request.seed, "positions", number),
        )
        places = np.swapaxes(positions, 0, 1).reshape(-1, 3)  # station after station
        for i, place in enumerate(places):
            scene.add(rt.Receiver(f"ue{i}", position=[float(x) for x in place]))
        paths = solver(
            scene,
            max_depth=request.max_depth,
            samples_per_src=request.num_rays,
            diffuse_reflection=request.diffuse,
            diffraction=request.diffraction,
            refraction=False,
            synthetic_array=True,
            seed=request.seed,
        )
        blocks.append(_strongest(paths, request.max_paths, places, rt.InteractionType.NONE))
        for i in range(len(places)):
            scene.remove(f"ue{i}")
        total += len(blocks[-1]["los"])
        if total >= request.num_points:
            break
    if total < request.num_points:
        raise StoreError(f"only {total} of {request.num_points} UEs have a path; choose another area or fewer points")
    return {**_merged(blocks, request.num_points), "rotation": np.stack([_rotation(bs.orientation) for bs in stations])}


def _scene(request: SiteRequest) -> tuple[Any, list[Any]]:
    """Scene with single (dual-polarised) elements at both ends, and its stations, which face their targets."""
    import sionna.rt as rt

    scene = rt.load_scene(getattr(rt.scene, request.scene), merge_shapes=True)
    scene.frequency = request.carrier_hz
    pattern = "tr38901" if request.antenna_pattern == "38.901" else "iso"
    cross, pair = ("cross" if request.num_pol == 2 else "V"), ("VH" if request.ue_num_pol == 2 else "V")
    scene.tx_array = rt.PlanarArray(num_rows=1, num_cols=1, pattern=pattern, polarization=cross)
    scene.rx_array = rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization=pair)
    stations = []
    for number, (place, target) in enumerate(zip(request.bs_position_m, request.look_at_m, strict=True)):
        bs = rt.Transmitter(f"bs{number}", position=list(place))
        scene.add(bs)
        bs.look_at(list(target))
        stations.append(bs)
    return scene, stations


def _merged(blocks: list[dict[str, np.ndarray]], num_points: int) -> dict[str, np.ndarray]:
    """The first UEs of all blocks, zero padded to the largest number of paths."""
    most = max(block["tau"].shape[2] for block in blocks)

    def padded(x: np.ndarray, axis: int) -> np.ndarray:
        widths = [(0, 0)] * x.ndim
        widths[axis] = (0, most - x.shape[axis])
        return np.pad(x, widths)

    axis_of = {"a": 4, "tau": 2, "k_t": 2, "k_r": 2}
    merged = {
        key: np.concatenate([padded(b[key], axis_of[key]) if key in axis_of else b[key] for b in blocks])
        for key in blocks[0]
    }
    return {key: value[:num_points] for key, value in merged.items()}


def _strongest(paths: Any, most: int, positions: np.ndarray, no_interaction: int) -> dict[str, np.ndarray]:
    """Valid paths of the UEs that have any, those of every station strongest first."""
    a, tau = paths.cir(normalize_delays=False, out_type="numpy")
    valid = np.array(paths.valid)  # [ue, trp, path]
    a = np.where(valid[:, :, None, None], np.moveaxis(a[..., 0], 2, 1), 0)  # [ue, trp, ue_pol, bs_pol, path]
    power = np.sum(np.abs(a) ** 2, axis=(2, 3))
    keep = np.flatnonzero(power.sum(axis=(1, 2)) > 0)
    order = np.argsort(-power[keep], axis=2, kind="stable")[..., :most]

    def pick(x: np.ndarray) -> np.ndarray:
        return np.take_along_axis(x[keep], order, axis=2)

    def direction(theta: Any, phi: Any) -> np.ndarray:
        theta, phi = pick(np.array(theta)), pick(np.array(phi))
        return np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1)

    direct = np.all(np.array(paths.interactions) == no_interaction, axis=0) & valid
    return {
        "a": np.take_along_axis(a[keep], order[:, :, None, None], axis=4).astype(np.complex64),
        "tau": np.maximum(pick(tau), 0).astype(np.float32),
        "k_t": direction(paths.theta_t, paths.phi_t).astype(np.float32),
        "k_r": direction(paths.theta_r, paths.phi_r).astype(np.float32),
        "position_m": positions[keep].astype(np.float32),
        "los": direct[keep].any(axis=(1, 2)),
    }


def _rotation(orientation: Any) -> np.ndarray:
    """Rotation from panel to global coordinates, ``R_z(yaw) R_y(pitch) R_x(roll)`` (TR 38.901, eq. 7.1-4)."""
    angles = (float(np.array(x).squeeze()) for x in (orientation.x, orientation.y, orientation.z))
    (cz, sz), (cy, sy), (cx, sx) = ((np.cos(angle), np.sin(angle)) for angle in angles)
    z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    return z @ y @ x


def _main() -> None:
    try:
        np.savez(sys.argv[2], **trace(SiteRequest(**json.loads(sys.argv[1]))))
    except StoreError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main()
