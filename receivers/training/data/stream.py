"""Training images straight from a store, through a shuffle buffer: memory does not grow with the store."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from receivers.training.data.images import ImageView, turned
from simulator.data.store import ChannelStore

_ROWS = 256  # neighbouring samples read at once


class StreamedImages:
    """Images of one split, read in blocks of random order and mixed in a buffer.

    An image that leaves the buffer is drawn at random from it and replaced by a new one. A thread reads and transforms
    ahead. Order and phases depend on seed and epoch only.

    Args:
        store: channel store.
        split: name of the split.
        view: definition of an image.
        buffer_images: images of the buffer.
        noise_snr_db: inputs are images of the channels in white noise, of an SNR between the two [dB] that is drawn for
            each sample; None: inputs are the targets.
        fresh: draws the channels of an epoch, block by block, in place of the split; None: those of the split.
        fresh_samples: samples of such an epoch.
    """

    def __init__(
        self,
        store: ChannelStore,
        split: str,
        view: ImageView,
        buffer_images: int = 16384,
        noise_snr_db: tuple[float, float] | None = None,
        fresh: Callable[[int], Iterable[np.ndarray]] | None = None,
        fresh_samples: int = 0,
    ):
        self._store, self._split, self._view, self._buffer = store, split, view, buffer_images
        self._noise, self._fresh = noise_snr_db, fresh
        self.shape = ((fresh_samples or store.num_samples(split)) * view.per_entry, *view.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def head(self, count: int) -> np.ndarray:
        """The first images of the split, float32 ``[count, height, width, 2]``, at most all."""
        blocks, total = [], 0
        for piece in self._store.slices(self._split, _ROWS):
            blocks.append(self._view(self._channels(piece)))
            total += len(blocks[-1])
            if total >= count:
                break
        return np.concatenate(blocks)[:count]

    def batches(
        self, batch_size: int, seed: int, epoch: int, random_phase: bool = True
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches ``(input, target)`` of one epoch, every image once; the incomplete last batch is left out."""
        rng = np.random.default_rng([seed, epoch])
        rest = np.empty((0, *self._item), np.float32)
        for images in self._shuffled(rng, [seed, epoch]):
            rest = np.concatenate([rest, images])
            whole = len(rest) // batch_size * batch_size
            for start in range(0, whole, batch_size):
                batch = rest[start : start + batch_size]
                phase = rng.uniform(0, 2 * np.pi, batch_size) if random_phase else None
                images_ = [batch[:, i] if phase is None else turned(batch[:, i], phase) for i in range(batch.shape[1])]
                yield images_[0], images_[-1]
            rest = rest[whole:]

    @property
    def _item(self) -> tuple[int, ...]:
        """Shape of what is shuffled: the image, or those of estimate and channel."""
        return (1 if self._noise is None else 2, *self.shape[1:])

    def _shuffled(self, rng: np.random.Generator, key: list[int]) -> Iterator[np.ndarray]:
        blocks: Iterable[tuple[int, np.ndarray]]
        if self._fresh is None:
            pieces = self._store.slices(self._split, _ROWS)
            blocks = ((int(i), self._channels(pieces[i])) for i in rng.permutation(len(pieces)))
        else:
            blocks = enumerate(self._fresh(key[1]))
        buffer: np.ndarray = np.empty((min(self._buffer, len(self)), *self._item), np.float32)
        filled = 0
        for images in _ahead(self._images(h, [*key, number]) for number, h in blocks):
            room = min(len(images), len(buffer) - filled)
            buffer[filled : filled + room] = images[:room]
            filled += room
            for start in range(room, len(images), len(buffer)):
                new = images[start : start + len(buffer)]
                out = rng.choice(len(buffer), len(new), replace=False)
                yield buffer[out]
                buffer[out] = new
        for start in range(0, filled, _ROWS):
            if start == 0:
                last = rng.permutation(filled)
            yield buffer[last[start : start + _ROWS]]

    def _channels(self, piece: tuple[int, int, int]) -> np.ndarray:
        return self._store.read_slice(self._split, piece)[0]

    def _images(self, h: np.ndarray, key: list[int]) -> np.ndarray:
        """Items float32 ``[image, 1 or 2, height, width, 2]`` of channels; ``key`` seeds their noise."""
        images = [self._view(h)]
        if self._noise is not None:
            images.insert(0, self._view(in_noise(h, self._noise, np.random.default_rng([*key, 1]))))
        return np.stack(images, axis=1)


def in_noise(h: np.ndarray, snr_db: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Channels complex64 ``[sample, ...]`` in white noise; the SNR of each sample is uniform in dB between the two."""
    axes = tuple(range(1, h.ndim))
    power = np.mean(np.abs(h) ** 2, axis=axes, keepdims=True)
    var = power * 10 ** (-rng.uniform(*snr_db, len(h)).reshape(-1, *(1,) * len(axes)) / 10)
    noise = rng.standard_normal((*h.shape, 2), np.float32).view(np.complex64)[..., 0]
    return h + np.sqrt(var / 2).astype(np.float32) * noise


def _ahead(items: Iterator[np.ndarray], depth: int = 4) -> Iterator[np.ndarray]:
    """Items made by a thread of their own, at most ``depth`` in advance; its faults are raised here."""
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
