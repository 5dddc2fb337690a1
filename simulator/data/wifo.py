"""WiFo's data sets: time-varying OFDM channels in MATLAB files whose names and variables are swapped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.errors import ConfigError, StoreError
from simulator.core.params import Count, PositiveFloat, validated
from simulator.core.paths import inside
from simulator.core.types import Panel
from simulator.data.arrays import ArrayFile
from simulator.data.importer import Block, Importer, check_block
from simulator.data.labels import read_labels
from simulator.data.layout import ChannelLayout
from simulator.data.port_order import require_order

_BLOCK_BYTES = 256 << 20
_LABELS = {
    "site_id": "site",
    "ue_start_xyz_m": "position_m",
    "path_gain_dB": "path_gain_db",
    "speed_kmh": "speed_kmh",
    "rms_delay_spread_s": "rms_delay_spread_s",
}


class WiFo(Importer):
    """``X_{train,val,test}.mat``: complex ``[sample, time, subcarrier, antenna]``, one or more of them in a folder.

    The release stores variable ``X_val`` in ``X_test.mat`` and so on. The split is that of the file name; whichever one
    of ``X_train, X_val, X_test`` the file holds is read, and :meth:`facts` states which.

    Args:
        path: one file, or a folder of them (with ``meta.npz`` for labels where it exists).
        n1: columns of the panel.
        n2: rows of the panel; the antenna index runs fastest over rows.
        spacing_hz: subcarrier distance [Hz].
        slot_s: time step [s].
        carrier_hz: carrier frequency [Hz].
        check: refuse antennas that are clearly in another order.

    Source: Liu et al., "WiFo: Wireless foundation model for channel prediction", 2025 (layout of the released sets).
    """

    @validated("import")
    def __init__(
        self,
        path: Path,
        *,
        n1: Count,
        n2: Count = 1,
        spacing_hz: PositiveFloat,
        slot_s: PositiveFloat,
        carrier_hz: PositiveFloat | None = None,
        check: bool = True,
    ):
        found = [path] if path.is_file() else [inside(path, f"X_{split}.mat") for split in ("train", "val", "test")]
        self._check = check
        self._data: dict[str, tuple[ArrayFile, str]] = {}
        shape: tuple[int, ...] | None = None
        for name in found:
            if not name.exists():
                continue
            file = ArrayFile(name)
            keys = [key for key in ("X_train", "X_val", "X_test") if key in file.shapes]
            if len(keys) != 1:
                raise StoreError(
                    f"{name}: holds {', '.join(file.shapes) or 'nothing'}; allowed: one of X_train, X_val, X_test"
                )
            here = file.require(keys[0], (None, *(shape or (None, None, None))))
            shape = here[1:]
            if shape[2] != n1 * n2:
                raise ConfigError("import.n1", f"n1 {n1}, n2 {n2}", f"n1 * n2 = {shape[2]}, the antennas of {name}")
            split = next((s for s in ("train", "val", "test") if s in name.stem), "all")
            self._data[split] = (file, keys[0])
        if shape is None:
            raise StoreError(f"{path}: no X_train.mat, X_val.mat or X_test.mat found")
        meta = (path if path.is_dir() else path.parent) / "meta.npz"
        self._meta = ArrayFile(inside(meta.parent, meta.name)) if len(self._data) == 1 and meta.exists() else None
        self.files = tuple(f.path for f in (*(file for file, _ in self._data.values()), *filter(None, [self._meta])))
        self.splits = tuple(self._data)
        self.layout = ChannelLayout(
            Panel(n1, n2), shape[1], spacing_hz, num_slots=shape[0], slot_s=slot_s, carrier_hz=carrier_hz
        )

    def blocks(self, split: str) -> Iterator[Block]:
        """See the base class."""
        file, key = self._data[split]
        count, *entry = file.shapes[key]
        labels = read_labels(self._meta, _LABELS, count) if self._meta else {}
        step = max(1, _BLOCK_BYTES // (8 * int(np.prod(entry))))
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            value = file.read(key, part)
            check_block(value, f"{file.path}: {key}", start)
            h = np.ascontiguousarray(value.transpose(0, 3, 1, 2)[:, None], dtype=np.complex64)
            if start == 0 and self._check:
                require_order(h, self.layout.panel, ("n1", "n2"))
            yield h, {name: x[part] for name, x in labels.items()}

    def facts(self) -> dict[str, Any]:
        """Which variable each file held."""
        return {"variables": {file.path.name: key for file, key in self._data.values()}}
