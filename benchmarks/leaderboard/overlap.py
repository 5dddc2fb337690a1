"""Keeps test channels of the tracks out of training data.

Two rules. No data set may be drawn from the root seed of a track. And no sample that a training fits to or chooses by
(all splits but ``test``) may be a test channel: every track has a fingerprint of the first user of every drop, 16
entries of its channel over the whole band and at both ends of the array, up to a common complex factor. Two channels
are taken as the same where the squared cosine of their fingerprints exceeds ``1 - 1e-5``: channels that were stored and
rounded agree to 1e-6, independent ones do not come that near.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from benchmarks.leaderboard.track import FOLDER, frozen, track, tracks
from benchmarks.progress import track as progress
from simulator.core.content import sha256
from simulator.core.errors import ConfigError, StoreError
from simulator.core.readers import read_npz
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore

FILE = FOLDER / "test_channels.npz"
TEST = "test"  # split that no training fits to
_SAMPLES = 8  # of the band
_SAME = 1e-5


def check_seed(seed: int) -> None:
    """Refuse the seed of a data set from which a track draws its test channels.

    Raises:
        ConfigError: it is that of a track.
    """
    for each in tracks():
        if seed == each.seed:
            allowed = f"another seed: the leaderboard draws the test channels of track {each.name} from this one"
            raise ConfigError("seed", seed, allowed)


def check_training(store: ChannelStore) -> None:
    """Refuse a training data set that shares channels with a track.

    Raises:
        StoreError: the seed of its recipe is that of a track, or its samples are test channels of one.
    """
    recipe = store.origin.get("recipe")
    if isinstance(recipe, dict) and isinstance(recipe.get("seed"), int):
        try:
            check_seed(recipe["seed"])
        except ConfigError as error:
            raise StoreError(f"{store.folder}: {error.line}") from None
    known = test_channels()
    wanted = {t.name: known[t.name] for t in tracks() if t.name in known and _grid(store.layout) == _grid_of(t.name)}
    for split in store.shards if wanted else ():
        for name, shared in _shared(store, split, wanted).items() if split != TEST else ():
            if shared:
                raise StoreError(
                    f"{store.folder}: {len(shared)} samples of split {split} are test channels of track {name} "
                    f"(the first is number {shared[0]}); train on others"
                )


@cache
def test_channels() -> dict[str, np.ndarray]:
    """Fingerprints complex64 ``[drop, 16]`` of unit norm, by track; tracks of recorded channels have none."""
    if sha256(FILE) != frozen()["test_channels"]:
        raise StoreError(f"{FILE}: damaged, SHA-256 differs from {FOLDER.name}/frozen.json")
    return {name: _unit(x[..., 0] + 1j * x[..., 1].astype(np.float32)) for name, x in read_npz(FILE).items()}


def fingerprints(h: np.ndarray) -> np.ndarray:
    """Fingerprints complex64 ``[sample, 16]`` of channels ``[sample, rx_ant, port, slot, subcarrier]``.

    First antenna, first and last port, first slot, eight frequency samples over the band; unit norm.
    """
    samples = np.linspace(0, h.shape[-1] - 1, _SAMPLES).astype(int)
    picked = h[:, 0, [0, -1], 0][..., samples]
    return _unit(picked.reshape(len(h), -1))


def _unit(x: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return (x / np.where(norm > 0, norm, 1)).astype(np.complex64)


def _shared(store: ChannelStore, split: str, wanted: dict[str, np.ndarray]) -> dict[str, list[int]]:
    """Numbers of the samples of a split that are test channels, by track."""
    found: dict[str, list[int]] = {name: [] for name in wanted}
    first = 0
    for piece in progress(store.slices(split, 2000), f"test channels in {store.name}, {split}", unit="part"):
        prints = fingerprints(store.read_slice(split, piece)[0])
        for name, tests in wanted.items():
            near = np.abs(prints @ tests.conj().T).max(axis=1) ** 2 > 1 - _SAME
            found[name] += (first + np.flatnonzero(near)).tolist()
        first += len(prints)
    return found


@cache
def _grid_of(name: str) -> tuple[Any, ...]:
    return _grid(ChannelLayout.of(track(name).point([{"scheme": "dft"}]).scenario.geometry))


def _grid(layout: ChannelLayout) -> tuple[Any, ...]:
    """What two channels need in common to be compared."""
    return layout.panel, layout.num_subcarriers, layout.spacing_hz, layout.num_rx_ant, layout.num_delays
