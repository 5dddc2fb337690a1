"""Channel store to training images."""

from __future__ import annotations

import keras
import numpy as np

from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.transforms import to_angular_delay, to_real


def load_images(
    store: ChannelStore, split: str, num_delays: int, max_samples: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Angular-delay images of a split, every receive antenna and slot a sample of its own.

    Args:
        store: channel store.
        split: name of the split.
        num_delays: delay taps kept.
        max_samples: stop after this many.

    Returns:
        float32 ``[sample, delay, port, 2]`` scaled to unit mean power per complex entry, and the mixture part uint8
        ``[sample]``. Held in memory: 8 * delay * port byte per sample.
    """
    images, parts, total = [], [], 0
    for h, labels in store.read(split):
        images.append(to_images(h, store.layout, num_delays))
        parts.append(np.repeat(labels.get("part", np.zeros(len(h), np.uint8)), len(images[-1]) // len(h)))
        total += len(images[-1])
        if max_samples is not None and total >= max_samples:
            break
    return np.concatenate(images)[:max_samples], np.concatenate(parts)[:max_samples]


def to_images(h: np.ndarray, layout: ChannelLayout, num_delays: int) -> np.ndarray:
    """Stored channels to training images, every receive antenna and slot a sample of its own.

    Args:
        h: complex64 ``[sample, *layout.entry_shape]``; truncated angular-delay data pass as they are.
        layout: of the store.
        num_delays: delay taps kept.

    Returns:
        float32 ``[image, delay, port, 2]`` of unit mean power per complex entry.
    """
    flat = np.moveaxis(h, 3, 2).reshape(-1, h.shape[2], h.shape[4])
    if layout.num_delays is None:
        image = to_angular_delay(flat, layout.panel, num_delays)
    else:
        image = np.swapaxes(flat[..., :num_delays], 1, 2)
    return scale_images(to_real(image))[0]


def scale_images(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images to unit mean power per complex entry, and the amplitude taken out.

    Args:
        x: float32 ``[sample, delay, port, 2]``.

    Returns:
        scaled images, same shape, and the amplitude float32 ``[sample]``.
    """
    power = 2 * np.mean(np.square(x), axis=(1, 2, 3), dtype=np.float64)
    scale = np.sqrt(np.maximum(power, 1e-30)).astype(np.float32)
    return x / scale[:, None, None, None], scale


class EpochBatches(keras.utils.PyDataset):
    """Batches of one epoch; order and phases depend on seed and epoch only, so that a resumed run sees the same.

    Args:
        images: float32 ``[sample, delay, port, 2]``.
        batch_size: samples of a batch; the incomplete last one is left out.
        seed: of the run.
        epoch: index from 0.
        random_phase: turn every sample by a common random phase, under which the channel distribution is invariant.
    """

    def __init__(self, images: np.ndarray, batch_size: int, seed: int, epoch: int, random_phase: bool = True):
        super().__init__()
        rng = np.random.default_rng([seed, epoch])
        self._images, self._batch = images, batch_size
        self._order = rng.permutation(len(images))
        self._phase = rng.uniform(0, 2 * np.pi, len(images)) if random_phase else np.zeros(len(images))

    def __len__(self) -> int:
        return len(self._images) // self._batch

    def __getitem__(self, index: int):
        pick = self._order[index * self._batch : (index + 1) * self._batch]
        x = turned(self._images[pick], self._phase[pick])
        return x, x


def turned(images: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Images float32 ``[sample, delay, port, 2]`` times ``exp(j phase)``, one phase ``[sample]`` each [rad]."""
    turn = np.exp(1j * phase).astype(np.complex64)[:, None, None]
    return (images.view(np.complex64)[..., 0] * turn)[..., None].view(np.float32)
