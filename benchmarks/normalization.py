"""The factor of `normalization: per_dataset`: a property of the channel law, computed once and kept in a file."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reads import note_channel
from scenarios.sweep import content_hash
from simulator.core import registry
from simulator.core.cache import cache_folder, cached
from simulator.core.content import noting
from simulator.core.interfaces import ChannelSource
from simulator.core.readers import read_json
from simulator.core.types import RadioGeometry

FORMAT = 1
HALF_WIDTH_DB = 0.05
# Smallest number of estimates for an interval, and largest; those of an unknown source each cost draws.
_LEAST, _MOST = 20, 1000


@dataclass(frozen=True)
class MeanPower:
    """E|h|^2 of one antenna pair under a channel law.

    Args:
        value: linear.
        half_width_db: 95 % half-width [dB]; 0 where the value is exact.
        estimates: independent estimates that it is the mean of; 0 where it is exact.
    """

    value: float
    half_width_db: float
    estimates: int

    @property
    def text(self) -> str:
        """Value and half-width as text."""
        how = "exact" if not self.estimates else f"95 % half-width {self.half_width_db:.3f} dB"
        return f"{10 * math.log10(self.value):.3f} dB ({how})"


def mean_power(channel: Any, geometry: RadioGeometry) -> MeanPower:
    """Mean power of a channel section, from the file of an earlier call or computed now (one process at a time).

    It does not depend on seed, SNR, or size of a run. The name of the file depends on all that determines the value:
    the source, its parameters, the geometry, versions, and the text of all modules that draw channels.

    Raises:
        StoreError: the cache cannot be written.
    """
    kind = registry.load("channels", channel.model)
    if kind.power_of_one_element:
        geometry = _one_element(geometry)
    path = cache_folder() / "power" / f"{channel.model}-{content_hash(_identity(kind, channel, geometry))}.json"

    def find(temporary: Path) -> None:
        source = registry.build("channels", channel.model, geometry, **channel.model_dump(exclude={"model"}))
        temporary.write_text(json.dumps(asdict(_found(source, path))) + "\n")

    return cached(path, find, lambda known: MeanPower(**read_json(known)))


def mixed(powers: list[MeanPower], weights: list[float]) -> MeanPower:
    """Mean power of a mixture of channels."""
    share = np.array(weights) / np.sum(weights) * [power.value for power in powers]
    relative = [10 ** (power.half_width_db / 10) - 1 for power in powers]
    half = float(np.sqrt(np.sum((share * relative) ** 2)) / np.sum(share))
    return MeanPower(float(np.sum(share)), 10 * math.log10(1 + half), sum(power.estimates for power in powers))


def _one_element(g: RadioGeometry) -> RadioGeometry:
    """One element (pair) at both ends, one slot, one frequency; two users where there are more."""
    return replace(
        g,
        panel=replace(g.panel, n1=1, n2=1),
        num_users=min(g.num_users, 2),
        num_rx_ant=g.ue_num_pol,
        ue_num_rows=1,
        num_subcarriers=1,
        num_slots=1,
        speed_mps=0.0,
        max_speed_mps=None,
    )


def _identity(kind: type, channel: Any, geometry: RadioGeometry) -> dict[str, Any]:
    """All that determines the value."""
    texts = sorted(Path(import_module("simulator.phy").__file__).parent.glob("*.py"))
    texts.append(Path(sys.modules[kind.__module__].__file__))
    with noting() as read:
        note_channel(channel)
    return {
        "format": FORMAT,
        "half_width_db": HALF_WIDTH_DB,
        "channel": channel.model_dump(mode="json"),
        "source": f"{kind.__module__}.{kind.__qualname__}",
        "geometry": asdict(geometry),
        "versions": {package: version(package) for package in ("csilink", "numpy", "sionna", "tensorflow")},
        "code": hashlib.sha256(b"".join(text.read_bytes() for text in texts)).hexdigest(),
        "reads": read,
    }


def _found(source: ChannelSource, path: Path) -> MeanPower:
    """Exact, or the mean of as many estimates as the half-width takes (Student's t)."""
    from scipy.stats import t

    exact = source.mean_power()
    if exact is not None:
        return MeanPower(float(exact), 0.0, 0)
    values: list[float] = []
    half_width_db = math.inf
    for value in _reported(source.power_estimates(), path):
        values.append(value)
        count = len(values)
        if count >= _LEAST:
            half = t.ppf(0.975, count - 1) * np.std(values, ddof=1) / math.sqrt(count)
            half_width_db = 10 * math.log10(1 + half / np.mean(values))
            if half_width_db < HALF_WIDTH_DB or count == _MOST:
                break
    return MeanPower(float(np.mean(values)), float(half_width_db), len(values))


def _reported(values: Iterator[float], path: Path) -> Iterator[float]:
    """Values, with a line on standard error after 2 s and then every 10 s."""
    last = time.monotonic() - 8
    for number, value in enumerate(values, 1):
        if time.monotonic() - last > 10:
            last = time.monotonic()
            print(f"mean power for normalization: per_dataset: {number} estimates, kept in {path}", file=sys.stderr)
        yield value
