"""Analysis by synthesis: a UE that knows how the gNB refines reports makes them for that."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from receivers.beamdelay.content import Content
from receivers.beamdelay.gradient_synthesis import GradientSynthesis
from receivers.beamdelay.quantizer import SLOPE


class Synthesis:
    r"""Reports that serve the gNB better, or as they were.

    What :class:`GradientSynthesis` finds for the network alone is taken where it also has more

    .. math:: \sum_l \frac{1}{N_3} \sum_t |v_{l,t}^H \hat{w}_{l,t}|^2 - \mu \Delta^2 b

    with the directions :math:`\hat{w}` that the gNB finds, which may leave a report unrefined, and the bits b.

    Args:
        search: with the network of the gNB.
        known: directions complex64 ``[report, port, layer, subband]`` at the gNB, of contents and their tables.
        passes: of the search, at most.
    """

    def __init__(self, search: GradientSynthesis, known: Callable[[Content, np.ndarray], np.ndarray], passes: int):
        self._search, self._known, self._passes = search, known, passes

    def __call__(self, v: np.ndarray, content: Content) -> Content:
        """Content for directions complex64 ``[report, layer, subband, port]``, from a first one."""
        found = self._search(content, self._search.frame.project(content.group, v), self._passes)
        return content.mixed(self._worth(v, found) > self._worth(v, content), found)

    def _worth(self, v: np.ndarray, content: Content) -> np.ndarray:
        bins = self._search.coder.bins(content)
        gain = np.square(np.abs(np.einsum("nltp,nplt->nlt", v.conj(), self._known(content, bins))))
        bits = np.sum(self._search.coder.ideal_bits(content, bins), axis=(0, 2))
        price = SLOPE * np.square(self._search.steps[content.step])
        return np.sum(gain.mean(axis=2), axis=1, dtype=np.float64) - price * bits
