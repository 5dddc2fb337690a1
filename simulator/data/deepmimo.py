"""DeepMIMO scenarios: rays of Wireless InSite and others in files, turned into OFDM channels here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from simulator.core.errors import ConfigError, StoreError
from simulator.core.params import Count, Integer, PositiveFloat, Real, validated
from simulator.core.types import Panel
from simulator.data.deepmimo_files import Rays, find_rays
from simulator.data.importer import Block, Importer, check_block
from simulator.data.layout import ChannelLayout

_BLOCK_BYTES = 128 << 20
Angles = Annotated[list[Real], Field(min_length=3, max_length=3)]


class DeepMimo(Importer):
    r"""Rays of a scenario folder, for panels in the y-z plane of isotropic elements.

    :math:`h_{r,p}(f) = \sum_l \sqrt{P_l}\, e^{j\phi_l}\, e^{j 2\pi d_\mathrm{rx}\, q_r^T R_\mathrm{rx}^T u_l}
    e^{j 2\pi d\, q_p^T R^T v_l} e^{-j 2\pi f \tau_l}`, where :math:`\phi_l` is the phase at the carrier and f the
    offset from it, v and u are the unit vectors of departure and arrival, q = (0, column, row) numbers the elements,
    and :math:`R = R_z R_y R_x` turns a panel (TR 38.901, 7.1). The amplitude is absolute (the official generator
    divides by :math:`\sqrt{N}`). UEs without a path are left out.

    Layouts: v3 (``BS<k>_UE_*.mat``, ``params.mat``), output of the current ``deepmimo`` package
    (``power_t000_tx000_r001.npz`` or ``.mat`` and so on, ``params.json``), v1 and v2 (``NAME.<k>.CIR.mat``,
    ``NAME.params.mat``), and folders whose subfolders are the scenes of a dynamic scenario in one of these.

    Args:
        path: scenario folder.
        n1: columns (y).
        n2: rows (z).
        num_subcarriers: frequency samples.
        bandwidth_hz: their number times their distance [Hz].
        bs: numbers of the base stations: k of v1 to v3, for the current layout the place of the transmitter among all
            (set, transmitter) from 1; None takes all.
        num_paths: strongest paths used.
        grid: "centred" puts the subcarriers around the carrier; "upper" is the official generator's grid, from the
            carrier upwards, without the paths that last longer than a symbol.
        spacing: distance of the gNB's columns and of its rows [wavelength].
        rotation: of the gNB panel about x, y and z [degree], as in the official generator.
        num_rx_ant: antennas of a UE, ordered ``column, row``.
        num_rx_rows: rows of the UE panel.
        rx_spacing: as ``spacing``, for the UE.
        rx_rotation: as ``rotation``, for the UE.
        rx_sets: sets of receivers (r of the current layout); None takes those that do not transmit as well.
        scenes: numbers of the scenes of a dynamic scenario; None takes all.

    Labels: ``user`` (row in the native files), ``site`` (base station), ``scene`` (dynamic scenarios), ``position_m``,
    ``los``, ``path_gain_db``, ``rms_delay_spread_s`` of the rays.

    Source: Alkhateeb, "DeepMIMO: A generic deep learning dataset for millimeter wave and massive MIMO applications",
    ITA 2019.
    """

    @validated("import")
    def __init__(
        self,
        path: Path,
        *,
        n1: Count = 8,
        n2: Count = 1,
        num_subcarriers: Count = 64,
        bandwidth_hz: PositiveFloat = 20e6,
        bs: list[Count] | None = None,
        num_paths: Count = 25,
        grid: Literal["centred", "upper"] = "centred",
        spacing: PositiveFloat = 0.5,
        rotation: Angles | None = None,
        num_rx_ant: Count = 1,
        num_rx_rows: Count = 1,
        rx_spacing: PositiveFloat = 0.5,
        rx_rotation: Angles | None = None,
        rx_sets: list[Integer] | None = None,
        scenes: list[Integer] | None = None,
    ):
        if num_rx_ant % num_rx_rows:
            raise ConfigError("import.num_rx_rows", num_rx_rows, f"a divisor of num_rx_ant, {num_rx_ant}")
        parts, carrier_hz = find_rays(path, num_paths=num_paths, arrivals=num_rx_ant > 1, rx_sets=rx_sets)
        known = sorted({part.bs for part in parts})
        for number in bs or ():
            if number not in known:
                raise StoreError(f"{path}: no UE file of base station {number}; found {', '.join(map(str, known))}")
        all_scenes = sorted({part.scene for part in parts})
        if not set(scenes or ()) <= set(all_scenes):
            raise ConfigError("import.scenes", scenes, ", ".join(map(str, all_scenes)))
        self._dynamic = all_scenes != [0]
        parts = [p for p in parts if p.bs in (bs or known) and p.scene in (scenes or all_scenes)]
        self._parts = sorted(parts, key=lambda part: (part.scene, part.bs))
        first = (num_subcarriers - 1) / 2 if grid == "centred" else 0
        self._offsets_hz = (np.arange(num_subcarriers) - first) * bandwidth_hz / num_subcarriers
        self._path, self._num_paths = path, num_paths
        self._latest_s = np.inf if grid == "centred" else num_subcarriers / bandwidth_hz
        self._tx = _Panel(n1, n2, spacing, rotation)
        self._rx = _Panel(num_rx_ant // num_rx_rows, num_rx_rows, rx_spacing, rx_rotation)
        self.files, self.splits = tuple(dict.fromkeys(file for part in self._parts for file in part.files)), ("all",)
        self.layout = ChannelLayout(
            Panel(n1, n2), num_subcarriers, bandwidth_hz / num_subcarriers, num_rx_ant=num_rx_ant, carrier_hz=carrier_hz
        )

    def blocks(self, split: str) -> Iterator[Block]:
        """See the base class."""
        antennas = self.layout.panel.num_ports * self.layout.num_rx_ant
        step = max(1, _BLOCK_BYTES // (16 * (self._num_paths + 1) * (antennas + self.layout.num_subcarriers)))
        empty = True
        for part in self._parts:
            rays = part.read()
            for start in range(0, len(rays["power"]), step):
                empty = False
                piece = {key: value[start : start + step] for key, value in rays.items()}
                h = self._channels(piece)
                check_block(h, part.where, start)
                labels = {key: piece[key] for key in ("user", "position_m", "los")}
                labels["path_gain_db"] = 10 * np.log10(np.sum(piece["power"], axis=1))
                labels["rms_delay_spread_s"] = _delay_spread(piece)
                labels["site"] = np.full(len(h), part.bs, np.int32)
                if self._dynamic:
                    labels["scene"] = np.full(len(h), part.scene, np.int32)
                yield h, labels
        if empty:
            raise StoreError(f"{self._path}: no user has a path")

    def _channels(self, rays: Rays) -> np.ndarray:
        """Channels complex64 ``[user, rx_ant, port, 1, subcarrier]``; missing paths have power 0."""
        power = np.where(rays["delay"] < self._latest_s, rays["power"], 0)
        gain = np.sqrt(power) * np.exp(1j * np.radians(rays["phase"]))
        space = (self._tx.response(rays["azimuth"], rays["zenith"]) * gain[:, None])[:, None]
        if self.layout.num_rx_ant > 1:
            space = space * self._rx.response(rays["rx_azimuth"], rays["rx_zenith"])[:, :, None]
        delays = np.exp(-2j * np.pi * rays["delay"][:, :, None] * self._offsets_hz)
        h = space.reshape(len(power), -1, power.shape[1]) @ delays
        return h.astype(np.complex64).reshape(-1, *self.layout.entry_shape)


class _Panel:
    """Isotropic elements in the y-z plane, ordered ``column, row``; distances in wavelengths, rotation in degrees."""

    def __init__(self, columns: int, rows: int, spacing: float, rotation: list[float] | None):
        from scipy.spatial.transform import Rotation

        column, row = np.divmod(np.arange(columns * rows), rows)
        places = spacing * np.stack([np.zeros(len(column)), column, row], axis=1)
        self._places = Rotation.from_euler("ZYX", (rotation or [0, 0, 0])[::-1], degrees=True).apply(places)

    def response(self, azimuth: np.ndarray, zenith: np.ndarray) -> np.ndarray:
        """``[user, element, path]`` of directions ``[user, path]`` [degree]."""
        phi, theta = np.radians(azimuth), np.radians(zenith)
        direction = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)
        return np.exp(2j * np.pi * (self._places @ direction))


def _delay_spread(rays: Rays) -> np.ndarray:
    """Second central moment of the rays' delays [s], ``[user]``."""
    p = rays["power"] / rays["power"].sum(axis=1, keepdims=True)
    mean = np.sum(p * rays["delay"], axis=1, keepdims=True)
    return np.sqrt(np.sum(p * (rays["delay"] - mean) ** 2, axis=1))
