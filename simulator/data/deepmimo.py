"""DeepMIMO scenarios: rays of Wireless InSite and others in files, turned into OFDM channels here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simulator.core.errors import StoreError
from simulator.core.params import Count, PositiveFloat, validated
from simulator.core.paths import inside
from simulator.core.readers import read_json
from simulator.core.types import Panel
from simulator.data.arrays import ArrayFile
from simulator.data.importer import Block, Importer, check_block
from simulator.data.layout import ChannelLayout

_BLOCK_BYTES = 128 << 20
_V4_KEYS = ("power", "phase", "delay", "aod_az", "aod_el", "inter", "rx_pos")
Rays = dict[str, np.ndarray]


class DeepMimo(Importer):
    r"""Rays of a scenario folder, for a panel in the y-z plane of isotropic elements half a wavelength apart.

    :math:`h_{p}(f) = \sum_l \sqrt{P_l}\, e^{j\phi_l}\, e^{j\pi (m_1 \sin\theta_l \sin\varphi_l + m_2 \cos\theta_l)}
    e^{-j 2\pi f \tau_l}`, where :math:`\phi_l` is the phase at the carrier and f the offset from it. The amplitude is
    absolute (the official generator divides by :math:`\sqrt{N}`). UEs without a path are left out.

    Two layouts are read: native v3 folders (``BS<k>_UE_*.mat`` with ``params.mat``) and what the current ``deepmimo``
    package saves (``power_t000_tx000_r001.npz`` or ``.mat`` and so on, angles in degrees, elevation from the zenith).

    Args:
        path: scenario folder.
        n1: columns (y).
        n2: rows (z).
        num_subcarriers: frequency samples.
        bandwidth_hz: their number times their distance [Hz].
        bs: numbers of the base stations: k of v3, the place in the sorted list from 1 for the current layout; None
            takes all that can be read.
        num_paths: strongest paths used.
        grid: "centred" puts the subcarriers around the carrier, "upper" from the carrier upwards as the official
            generator does.

    Labels: ``user`` (row in the native files), ``site`` (base station), ``position_m``, ``los``, ``path_gain_db``.

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
    ):
        if not path.is_dir():
            raise StoreError(f"{path}: no such folder")
        names = [p.name for p in path.iterdir()]
        native = {int(m[1]): inside(path, n) for n in names if (m := re.fullmatch(r"BS(\d+)_UE_.*\.mat", n))}
        sets = sorted({m[1] for n in names if (m := re.fullmatch(r"power_(t\d+_tx\d+_r\d+)\.(npz|mat)", n))})
        if not native and not sets:
            raise StoreError(f"{path}: neither BS*_UE_*.mat (v3) nor power_t*_tx*_r*.npz or .mat (current) found")
        known: Sequence[int] = sorted(native) if native else range(1, len(sets) + 1)
        for number in bs or ():
            if number not in known:
                raise StoreError(f"{path}: no UE file of base station {number}; found {', '.join(map(str, known))}")
        first = (num_subcarriers - 1) / 2 if grid == "centred" else 0
        self._offsets_hz = (np.arange(num_subcarriers) - first) * bandwidth_hz / num_subcarriers
        self._path, self._numbers, self._num_paths = path, list(bs or known), num_paths
        self._native = {k: native[k] for k in self._numbers} if native else None
        self._sets = {k: sets[k - 1] for k in self._numbers} if not native else {}
        files = list(self._native.values()) if self._native else []
        for name in self._sets.values():
            files += [self._member(key, name).path for key in _V4_KEYS]
        self.files, self.splits = tuple(files), ("all",)
        self.layout = ChannelLayout(
            Panel(n1, n2), num_subcarriers, bandwidth_hz / num_subcarriers, carrier_hz=self._carrier()
        )

    def blocks(self, split: str) -> Iterator[Block]:
        """See the base class."""
        step = max(
            1, _BLOCK_BYTES // (16 * self._num_paths * (self.layout.panel.num_ports + self.layout.num_subcarriers))
        )
        for number in self._numbers:
            rays = self._native_rays(number) if self._native else self._saved_rays(number)
            for start in range(0, len(rays["power"]), step):
                part = {key: value[start : start + step] for key, value in rays.items()}
                h = self._channels(part)
                where = str(self._native[number] if self._native else self._path / f"*_{self._sets[number]}")
                check_block(h, where, start)
                labels = {key: part[key] for key in ("user", "position_m", "los")}
                gain = 10 * np.log10(np.sum(part["power"], axis=1))
                yield h, {**labels, "path_gain_db": gain, "site": np.full(len(h), number, np.int32)}

    def _channels(self, rays: Rays) -> np.ndarray:
        """Channels complex64 ``[user, 1, port, 1, subcarrier]``; missing paths have power 0."""
        layout = self.layout
        zenith, azimuth = np.radians(rays["zenith"]), np.radians(rays["azimuth"])
        y, z = np.divmod(np.arange(layout.panel.num_ports), layout.panel.n2)
        turn = np.sin(zenith) * np.sin(azimuth)
        steer = np.exp(1j * np.pi * (y[:, None] * turn[:, None] + z[:, None] * np.cos(zenith)[:, None]))
        gain = np.sqrt(rays["power"]) * np.exp(1j * np.radians(rays["phase"]))
        delays = np.exp(-2j * np.pi * rays["delay"][:, :, None] * self._offsets_hz)
        return ((steer * gain[:, None]) @ delays).astype(np.complex64)[:, None, :, None]

    def _native_rays(self, number: int) -> Rays:
        """Rays of one v3 base station, users with a path only."""
        from scipy.io import loadmat

        path = (self._native or {})[number]
        file = ArrayFile(path)
        count = file.require("channels", (1, None))[1]
        file.require("rx_locs", (count, 5))
        places = file.read("rx_locs")
        cells = file.guard("channels", lambda: loadmat(path, variable_names=["channels"])["channels"][0])
        most = self._num_paths
        rays = {key: np.zeros((count, most)) for key in ("phase", "delay", "power", "azimuth", "zenith")}
        los = np.zeros(count, bool)
        for user, cell in enumerate(cells):
            matrix = file.guard("channels", lambda cell=cell: cell["p"].item())
            if not isinstance(matrix, np.ndarray) or matrix.dtype.kind != "f" or (matrix.size and matrix.shape[0] != 8):
                raise StoreError(f"{path}: channels[{user}].p is no array of real numbers (8, paths)")
            if not matrix.size:
                continue
            if not np.isfinite(matrix).all():
                raise StoreError(f"{path}: channels[{user}].p is not finite; allowed: no NaN, no infinity")
            phase, delay, power, _, _, azimuth, zenith, direct = matrix[:, np.argsort(-matrix[2])[:most]].astype(float)
            used = slice(len(phase))
            rays["phase"][user, used], rays["delay"][user, used] = phase, delay
            rays["power"][user, used] = 10 ** (power / 10)
            rays["azimuth"][user, used], rays["zenith"][user, used] = azimuth, zenith
            los[user] = (direct > 0).any()
        return _with_paths({**rays, "los": los, "position_m": places[:, :3], "user": np.arange(count)}, str(path))

    def _saved_rays(self, number: int) -> Rays:
        """Rays of one transmitter as the current package saves them, users with a path only."""
        name = self._sets[number]
        data = {}
        for key in _V4_KEYS:
            file = self._member(key, name)
            shape = (None, 3) if key == "rx_pos" else (None, None)
            if key in data or not data:
                file.require(key, shape)
            elif key != "rx_pos":
                file.require(key, data["power"].shape)
            else:
                file.require(key, (len(data["power"]), 3))
            data[key] = file.read(key).astype(np.float64)
        order = np.argsort(-np.nan_to_num(data["power"], nan=-np.inf), axis=1)[:, : self._num_paths]
        there = np.take_along_axis(~np.isnan(data["power"]), order, axis=1)

        def pick(key: str) -> np.ndarray:
            value = np.take_along_axis(data[key], order, axis=1)
            if np.isnan(value[there]).any():
                raise StoreError(f"{self._member(key, name).path}: {key} is NaN where power is not; allowed: finite")
            return np.where(there, value, 0.0)

        power = np.where(there, 10 ** (pick("power") / 10), 0.0)
        los = (there & (np.take_along_axis(data["inter"], order, axis=1) == 0)).any(axis=1)
        rays = {"power": power, "phase": pick("phase"), "delay": pick("delay")}
        rays |= {"azimuth": pick("aod_az"), "zenith": pick("aod_el"), "los": los}
        return _with_paths(
            {**rays, "position_m": data["rx_pos"], "user": np.arange(len(power))}, f"{self._path}/*_{name}"
        )

    def _member(self, key: str, name: str) -> ArrayFile:
        npz = inside(self._path, f"{key}_{name}.npz")
        return ArrayFile(npz if npz.exists() else inside(self._path, f"{key}_{name}.mat"))

    def _carrier(self) -> float | None:
        """Carrier frequency of ``params.mat`` (v3) or ``params.json`` (current); None when it is not told."""
        native, saved = self._path / "params.mat", self._path / "params.json"
        if native.exists():
            file = ArrayFile(inside(self._path, native.name))
            if "carrier_freq" in file.shapes:
                return float(file.read("carrier_freq").reshape(-1)[0])
        if saved.exists():
            try:
                data: Any = read_json(inside(self._path, saved.name))
                return float(data["rt_params"]["frequency"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise StoreError(f"{saved}: no rt_params.frequency ({error})") from None
        return None


def _with_paths(rays: Rays, where: str) -> Rays:
    keep = rays["power"].sum(axis=1) > 0
    if not keep.any():
        raise StoreError(f"{where}: no user has a path")
    return {key: value[keep] for key, value in rays.items()}
