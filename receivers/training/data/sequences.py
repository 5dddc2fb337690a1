"""Channels over time, straight from the stores of several data sets, for prediction networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from receivers.models.history import to_history
from simulator.core.errors import ConfigError
from simulator.data.store import ChannelStore


class PredictionBatches:
    """Batches of a split, each of neighbouring samples of one store, in an order that seed and epoch decide.

    Samples of a store are in random order from the start; every UE antenna is a sample, turned by a random phase.

    Args:
        stores: data sets, of any sizes.
        split: name of the split.
        batch_size: samples; an incomplete batch at the end of a shard is dropped.
        max_samples: stored samples of every data set at most.
    """

    def __init__(self, stores: Sequence[ChannelStore], split: str, batch_size: int, max_samples: int | None = None):
        self._stores, self._split = list(stores), split
        self._pieces: list[tuple[int, tuple[int, int, int]]] = []
        for number, store in enumerate(self._stores):
            check_store(store)
            rows = max(batch_size // store.layout.num_rx_ant, 1)
            taken, most = 0, max_samples or store.num_samples(split)
            for piece in store.slices(split, rows):
                if piece[2] - piece[1] == rows and taken + rows <= most:
                    self._pieces.append((number, piece))
                    taken += rows
            if not taken:
                allowed = f"1..{most}, the samples of the split {split} of {store.name}"
                raise ConfigError("batch_size", batch_size, allowed)

    def __len__(self) -> int:
        return len(self._pieces)

    def epoch(self, seed: int, epoch: int) -> Iterator[np.ndarray]:
        """Every batch once, float32 ``[sample, slot, subcarrier, antenna, 2]``."""
        rng = np.random.default_rng([seed, epoch])
        for index in rng.permutation(len(self._pieces)):
            number, piece = self._pieces[index]
            h, _ = self._stores[number].read_slice(self._split, piece)
            phase = rng.uniform(0, 2 * np.pi, (len(h), h.shape[1], 1, 1, 1))
            yield to_history(h * np.exp(1j * phase).astype(np.complex64))


def check_store(store: ChannelStore) -> None:
    """ConfigError unless the store has channels over frequency, in several slots."""
    if store.layout.num_delays is not None or store.layout.num_slots < 2:
        found = "delay taps" if store.layout.num_delays is not None else "one slot"
        raise ConfigError("datasets", f"{store.name} ({found})", "channels over subcarriers in 2 slots or more")
