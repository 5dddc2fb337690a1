"""CsiNet's COST 2100 files: truncated angular-delay images around 0.5 in MATLAB files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simulator.core.errors import StoreError
from simulator.core.params import PositiveFloat, validated
from simulator.core.paths import inside
from simulator.core.types import Panel
from simulator.core.units import lin_to_db
from simulator.data.arrays import ArrayFile
from simulator.data.importer import Block, Importer, check_block
from simulator.data.labels import read_labels
from simulator.data.layout import ChannelLayout
from simulator.data.statistics import rms_delay_spread_s

ANGLES = DELAYS = 32
# Constants of the released evaluation: delay axis padded to 257; the first 125 bins of its DFT are compared.
PADDED_DELAYS, KEPT_BINS = 257, 125
_CARRIER_HZ = {"indoor": 5.3e9, "outdoor": 300e6}
_LABELS = {"environment_id": "site", "ue_xyz_m": "position_m", "pathloss_dB": "pathloss_db"}
_BLOCK = 4000


class Cost2100(Importer):
    r"""``DATA_H{train,val,test}{in,out}.mat``, key ``HT`` real ``[sample, 2048]``, every file that exists.

    A row is ``[real | imaginary, angle 32, delay 32]`` with 0.5 for zero: :math:`x = (r - 0.5) + j (i - 0.5)`. Where
    ``DATA_HtestF{in,out}_all.mat`` (``HF_all`` complex ``[sample, 4000]``) exists, :meth:`facts` gives the loss by
    truncation on the test split. Labels from ``meta_{train,val,test}{in,out}.mat`` where they exist.

    Args:
        path: folder.
        environment: "indoor" (5.3 GHz) or "outdoor" (300 MHz).
        bandwidth_hz: of the full grid, 1024 subcarriers [Hz].

    Source: Wen, Shih, Jin, "Deep learning for massive MIMO CSI feedback", IEEE Wireless Commun. Lett. 7(5), 2018.
    """

    @validated("import")
    def __init__(self, path: Path, *, environment: Literal["indoor", "outdoor"], bandwidth_hz: PositiveFloat = 20e6):
        short = environment.removesuffix("door")
        names = {split: f"DATA_H{split}{short}.mat" for split in ("train", "val", "test")}
        self._data = {split: ArrayFile(inside(path, name)) for split, name in names.items() if (path / name).exists()}
        if not self._data:
            raise StoreError(f"{path}: none of {', '.join(names.values())} found")
        for file in self._data.values():
            file.require("HT", (None, 2 * ANGLES * DELAYS))
        self._meta = {
            split: ArrayFile(inside(path, meta.name))
            for split in self._data
            if (meta := path / f"meta_{split}{short}.mat").exists()
        }
        full = path / f"DATA_HtestF{short}_all.mat"
        self._full = ArrayFile(inside(path, full.name)) if "test" in self._data and full.exists() else None
        if self._full is not None:
            self._full.require("HF_all", (self._data["test"].shapes["HT"][0], ANGLES * KEPT_BINS))
        self.files = tuple(
            f.path for f in (*self._data.values(), *self._meta.values(), *([self._full] if self._full else []))
        )
        self.splits = tuple(self._data)
        self.layout = ChannelLayout(
            Panel(ANGLES), 1024, bandwidth_hz / 1024, carrier_hz=_CARRIER_HZ[environment], num_delays=DELAYS
        )
        self._truncation: dict[str, Any] = {}

    def blocks(self, split: str) -> Iterator[Block]:
        """See the base class."""
        file = self._data[split]
        rows = file.read("HT")
        full = self._full.read("HF_all") if self._full is not None and split == "test" else None
        labels = {}
        if len(self._meta) == len(self._data):  # the same labels in every split, or none
            labels = read_labels(self._meta[split], _LABELS, len(rows))
            labels |= {"path_gain_db": -labels.pop("pathloss_db")} if "pathloss_db" in labels else {}
        losses = []
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            block = rows[part]
            where = f"{file.path}: HT"
            if block.dtype.kind != "f":
                raise StoreError(f"{where} is {block.dtype}; allowed: real floating point")
            check_block(block, where, start)
            low, high = float(block.min()), float(block.max())
            if low < 0 or high > 1:
                raise StoreError(f"{where} has values {low:.3g}..{high:.3g}; allowed: 0..1 with 0.5 for zero")
            h = np.empty((len(block), ANGLES * DELAYS), np.complex64)
            np.subtract(block[:, : ANGLES * DELAYS], 0.5, out=h.real, casting="unsafe")
            np.subtract(block[:, ANGLES * DELAYS :], 0.5, out=h.imag, casting="unsafe")
            images = h.reshape(-1, ANGLES, DELAYS)
            if full is not None:
                check_block(full[part], f"{self._full.path if self._full else ''}: HF_all", start)
                h_full = full[part].reshape(-1, ANGLES, KEPT_BINS)
                spread_s = rms_delay_spread_s(h_full, self.layout.bandwidth_hz / PADDED_DELAYS)
                losses.append((*truncation_loss(images, h_full), spread_s))
            yield images[:, None, :, None, :], {key: value[part] for key, value in labels.items()}
        if losses:
            ratio, rho, spread_s = (np.concatenate(x) for x in zip(*losses, strict=True))
            self._truncation = {
                "nmse_db": round(float(lin_to_db(ratio.mean())), 2),
                "rho": round(float(rho.mean()), 4),
                "rms_delay_spread_ns": [round(float(x), 1) for x in 1e9 * np.percentile(spread_s, (10, 50, 90))],
                "num_samples": len(ratio),
                "rule": f"delay axis padded to {PADDED_DELAYS}, DFT, first {KEPT_BINS} bins against HF_all",
            }

    def facts(self) -> dict[str, Any]:
        """``truncation``: NMSE and rho of the truncated image against the full channel, delay spread of the latter."""
        return {"truncation": self._truncation} if self._truncation else {}


def truncation_loss(images: np.ndarray, h_full: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Loss of the truncated image against the full channel, by the rule of the released evaluation.

    Args:
        images: complex ``[sample, angle, delay]``.
        h_full: complex ``[sample, angle, 125]``, the first bins of a 257-point grid.

    Returns:
        NMSE ratio :math:`\|\hat H - H\|^2 / \|H\|^2` and the mean over bins of
        :math:`|h^H \hat h| / (\|h\| \|\hat h\|)`, both float64 ``[sample]``.
    """
    h_hat = np.fft.fft(images, n=PADDED_DELAYS, axis=-1)[..., :KEPT_BINS]
    full = h_full.astype(np.complex128)
    ratio = np.sum(np.abs(h_hat - full) ** 2, axis=(1, 2)) / np.sum(np.abs(full) ** 2, axis=(1, 2))
    inner = np.abs(np.sum(full.conj() * h_hat, axis=1))
    return ratio, np.mean(inner / (np.linalg.norm(full, axis=1) * np.linalg.norm(h_hat, axis=1)), axis=-1)
