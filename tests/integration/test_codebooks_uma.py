"""Codebooks on UMa channels of Sionna: order of the combinations, distance from random beams."""

import numpy as np
import pytest
from eager import eagerly

from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from simulator.core.types import Panel, RadioGeometry
from simulator.maths.transforms import subband_eigenvectors
from simulator.phy.system_level import UrbanMacro

PANEL = Panel(8, 2, 2)


@pytest.fixture(scope="module")
def uma():
    """Channels complex64 ``[report, 1, port, resource block]`` of 600 UEs without line of sight."""
    source = UrbanMacro(RadioGeometry(3.5e9, PANEL, 1, 1, 52, 360e3), los=False)
    with eagerly():
        return source.sample(600, seed=9)[:, 0, :, :, 0]


@pytest.mark.long
def test_sgcs_rises_with_the_combination(uma):
    """Paired over the UEs; the greedy choice of an open NumPy simulator has .62 .68 .72 .79 .80 .85 and .82 .83."""
    v = subband_eigenvectors(uma, 4, 1)[:, 0]  # [report, subband, port]
    scores = []
    for combination in range(1, 9):
        book = EnhancedTypeTwoCodebook(PANEL, 52, 4, 1, combination)
        w = book.precoder(book.select(uma))[:, :, 0]
        scores.append(np.mean(np.abs(np.einsum("ntp,npt->nt", v.conj(), w)) ** 2, axis=1))
    for worse, better in ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (6, 7)):
        gain = scores[better] - scores[worse]
        assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain)), (worse + 1, better + 1)
    rival = [0.62, 0.68, 0.72, 0.79, 0.80, 0.85, 0.82, 0.83]
    assert (np.mean(scores, axis=1) > rival).all()
