"""All speed measurements, each against its peer in one process."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pandas as pd

from benchmarks.progress import track
from simulator.core.durable import write_bytes
from simulator.core.errors import ConfigError

ITEMS = (
    "huffman",
    "rvq",
    "ofdm",
    "precoding",
    "snr_sweep",
    "throughput",
    "stores",
    "codebook_search",
    "coders",
    "beamdelay",
    "etype2",
    "inference",
    "training",
    "prediction",
    "estimation",
)


def run_suite(out: Path | None = None, items: Sequence[str] = ITEMS) -> pd.DataFrame:
    """Measure items; peers that are not installed are left out.

    Args:
        out: folder for ``speed.csv``; None writes nothing.
        items: some of ``ITEMS``, all by default.

    Returns:
        columns ``item, ours, peer, unit, ratio, target, met, equal_to, note``. ``target`` is the required ``ratio``.

    Raises:
        ConfigError: unknown item.
    """
    for name in items:
        if name not in ITEMS:
            raise ConfigError("--item", name, ", ".join(ITEMS))
    import simulator.phy  # noqa: F401 - sets TensorFlow's log level before it is imported

    rows = []
    for name in track(items, "speed", unit="item"):
        rows += import_module(f"benchmarks.speed.{name}").measure()
    frame = pd.DataFrame(rows)
    if out is not None:
        write_bytes(Path(out) / "speed.csv", frame.to_csv(index=False, float_format="%.6g").encode())
    return frame
