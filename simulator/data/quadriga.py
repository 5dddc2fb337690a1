"""QuaDRiGa exports: channel vectors of a planar panel with labels, `.npz` or `.mat`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from simulator.core.errors import ConfigError, StoreError
from simulator.core.params import PositiveFloat, validated
from simulator.core.paths import inside
from simulator.core.types import Panel
from simulator.data.arrays import ArrayFile
from simulator.data.importer import Block, Importer, check_block
from simulator.data.labels import read_labels
from simulator.data.layout import ChannelLayout

_LABELS = {
    "site_id": "site",
    "ue_xyz_m": "position_m",
    "path_gain_dB": "path_gain_db",
    "rms_delay_spread_s": "rms_delay_spread_s",
}
_BLOCK = 4000


class Quadriga(Importer):
    """``h`` complex ``[sample, pol, vertical, horizontal]``, or with a last axis ``subcarrier``.

    Vertical counts upwards, horizontal along +y of the array: ports become ``pol, n1 (horizontal), n2 (vertical)``.

    Args:
        path: one `.npz` or `.mat` file (v5, v7.3), or a folder of them. Sites of different files get different numbers,
            and label ``file`` is the number of the file in alphabetical order.
        key: name of the array.
        carrier_hz: carrier frequency [Hz].
        spacing_hz: distance of two subcarriers [Hz]; for narrowband data the width that the sample stands for.

    Source: Jaeckel, Raschkowski, Boerner, Thiele, "QuaDRiGa: A 3-D multi-cell channel model with time evolution",
    IEEE Trans. Antennas Propag. 62, 2014.
    """

    @validated("import")
    def __init__(
        self,
        path: Path,
        *,
        key: str = "h",
        carrier_hz: PositiveFloat | None = None,
        spacing_hz: PositiveFloat = 360e3,
    ):
        self._key = key
        found = [path]
        if path.is_dir():
            found = sorted(inside(path, p.name) for p in path.iterdir() if p.suffix in (".npz", ".mat"))
        if not found:
            raise StoreError(f"{path}: no .npz or .mat file found")
        self._data = [ArrayFile(p) for p in found]
        shape: tuple[int | None, ...] = (None,) * min(max(len(self._data[0].shapes.get(key, ())), 4), 5)
        for file in self._data:
            shape = (None, *file.require(key, shape)[1:])
        pol, n2, n1, *rest = (int(n or 0) for n in shape[1:])
        if pol > 2:
            raise ConfigError("import.key", f"{key} with shape {shape}", "[sample, pol (1 or 2), vertical, horizontal]")
        self.files, self.splits = tuple(found), ("all",)
        self.layout = ChannelLayout(Panel(n1, n2, pol), *(rest or [1]), spacing_hz, carrier_hz=carrier_hz)

    def blocks(self, split: str) -> Iterator[Block]:
        """See the base class."""
        names = {key: name for key, name in _LABELS.items() if all(key in file.shapes for file in self._data)}
        sites = 0
        for number, file in enumerate(self._data):
            value = file.read(self._key)
            if value.dtype.kind != "c":
                raise StoreError(f"{file.path}: {self._key} is {value.dtype}; allowed: complex")
            labels = read_labels(file, names, len(value)) | {"file": np.full(len(value), number, np.int16)}
            if "site" in labels:
                labels["site"] = labels["site"].astype(np.int64) + sites
                sites = int(labels["site"].max()) + 1
            for start in range(0, len(value), _BLOCK):
                part = slice(start, start + _BLOCK)
                check_block(value[part], f"{file.path}: {self._key}", start)
                h = np.swapaxes(value[part], 2, 3).astype(np.complex64)  # [sample, pol, horizontal, vertical, ...]
                h = h.reshape(len(h), 1, self.layout.panel.num_ports, 1, self.layout.num_subcarriers)
                yield h, {name: x[part] for name, x in labels.items()}
