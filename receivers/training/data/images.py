"""Channel store to training images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.maths.transforms import (
    subband_eigenvectors,
    to_angular_delay,
    to_eigenvector_image,
    to_mimo_image,
    to_real,
)


@dataclass(frozen=True)
class ImageView:
    """Images that a recipe takes from stored channels: angular-delay images, or subband eigenvectors.

    Args:
        layout: of the store.
        num_delays: delay taps kept (target channel).
        subband_size: frequency samples of a subband (target eigenvector).
        target: "channel": every receive antenna and slot is an image; "mimo": every slot, all antennas together;
            "eigenvector": the strongest layer of every slot.
        domain: "angular_delay" or "antenna_frequency" (target mimo).
        scaling: "per_sample": images of unit power; "none": as stored (target mimo).
    """

    layout: ChannelLayout
    num_delays: int
    subband_size: int = 4
    target: str = "channel"
    domain: str = "angular_delay"
    scaling: str = "per_sample"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and the two components of an image."""
        ports = self.layout.panel.num_ports
        if self.target == "channel":
            return self.num_delays, ports, 2
        if self.target == "mimo":
            rows = self.num_delays if self.domain == "angular_delay" else self.layout.num_subcarriers
            return rows, self.layout.num_rx_ant * ports, 2
        return -(-self.layout.num_subcarriers // self.subband_size), ports, 2

    @property
    def per_entry(self) -> int:
        """Images of one stored sample."""
        slots = self.layout.num_slots
        return slots * self.layout.num_rx_ant if self.target == "channel" else slots

    def __call__(self, h: np.ndarray) -> np.ndarray:
        """Images float32 ``[image, height, width, 2]`` of ``h [sample, *layout.entry_shape]``.

        Truncated angular-delay data pass as they are (target channel).
        """
        layout = self.layout
        if self.target != "channel":
            if layout.num_delays is not None:
                raise ConfigError("target", self.target, "channel, for a store of truncated angular-delay images")
            by_slot = np.moveaxis(h, 3, 1).reshape(-1, h.shape[1], h.shape[2], h.shape[4])
            if self.target == "mimo":
                taps = self.num_delays if self.domain == "angular_delay" else None
                image = to_mimo_image(by_slot, layout.panel, taps)
                return scale_images(image)[0] if self.scaling == "per_sample" else image
            w = subband_eigenvectors(by_slot, self.subband_size, 1)[:, 0]
            return to_eigenvector_image(w, layout.panel)
        flat = np.moveaxis(h, 3, 2).reshape(-1, h.shape[2], h.shape[4])
        if layout.num_delays is None:
            image = to_angular_delay(flat, layout.panel, self.num_delays)
        else:
            image = np.swapaxes(flat[..., : self.num_delays], 1, 2)
        return scale_images(to_real(image))[0]


def load_images(
    store: ChannelStore, split: str, view: ImageView, max_samples: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Images of a split.

    Args:
        store: channel store.
        split: name of the split.
        view: definition of an image.
        max_samples: stop after this many.

    Returns:
        float32 ``[image, height, width, 2]`` and the mixture part uint8 ``[image]``. Held in memory.
    """
    images, parts, total = [], [], 0
    for h, labels in store.read(split):
        images.append(view(h))
        parts.append(np.repeat(labels.get("part", np.zeros(len(h), np.uint8)), len(images[-1]) // len(h)))
        total += len(images[-1])
        if max_samples is not None and total >= max_samples:
            break
    return np.concatenate(images)[:max_samples], np.concatenate(parts)[:max_samples]


def scale_images(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images to unit mean power per complex entry, and the amplitude taken out.

    Args:
        x: float32 ``[sample, height, width, 2]``.

    Returns:
        scaled images, same shape, and the amplitude float32 ``[sample]``.
    """
    power = 2 * np.mean(np.square(x), axis=(1, 2, 3), dtype=np.float64)
    scale = np.sqrt(np.maximum(power, 1e-30)).astype(np.float32)
    return x / scale[:, None, None, None], scale


class EpochBatches:
    """Batches of one epoch; order and phases depend on seed and epoch only, so that a resumed run sees the same.

    Args:
        images: float32 ``[sample, height, width, 2]``.
        batch_size: samples of a batch; the incomplete last one is left out.
        seed: of the run.
        epoch: index from 0.
        random_phase: turn every sample by a common random phase, under which the channel distribution is invariant.
    """

    def __init__(self, images: np.ndarray, batch_size: int, seed: int, epoch: int, random_phase: bool = True):
        rng = np.random.default_rng([seed, epoch])
        self._images, self._batch = images, batch_size
        self._order = rng.permutation(len(images))
        self._phase = rng.uniform(0, 2 * np.pi, len(images)) if random_phase else np.zeros(len(images))

    def __len__(self) -> int:
        return len(self._images) // self._batch

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pick = self._order[index * self._batch : (index + 1) * self._batch]
        x = turned(self._images[pick], self._phase[pick])
        return x, x


def turned(images: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Images float32 ``[sample, height, width, 2]`` times ``exp(j phase)``, one phase ``[sample]`` each [rad]."""
    turn = np.exp(1j * phase).astype(np.complex64)[:, None, None]
    return (images.view(np.complex64)[..., 0] * turn)[..., None].view(np.float32)
