"""Analysis by synthesis for a gNB that refines: no report is worse for it, the UE's cost, refusals."""

import numpy as np
import pytest
from test_beamdelay import channels, config

from receivers.beamdelay.codebook import content_of
from receivers.feedback.beamdelay import BeamDelayFeedback
from receivers.feedback.ntc import NtcFeedback
from simulator.core.errors import ConfigError
from simulator.core.types import CsiEstimate, Panel
from simulator.maths.transforms import subband_eigenvectors

STEP, SLOPE = 0.15, 0.06


def made(passes, known=None):
    """Scheme, its PMI of 24 channels, and what it is worth with the directions ``known`` of the gNB."""
    c = config(Panel(4, 2, 2), num_subcarriers=28, subband_size=4)
    scheme = BeamDelayFeedback(c, step=STEP, refine="refine-urban", rank=1, synthesis=0 if known else passes)
    book = scheme.codebooks[1]
    if known is None:
        known = lambda pmi: scheme.directions(book, pmi)  # noqa: E731
    elif passes:
        book.synthesise(scheme._refinement.network, known, passes)
    h = channels(c, 24, paths=8)[:, 0]
    v, pmi = subband_eigenvectors(h, 4, 1), book.select(h)
    bits = book.coder.ideal_bits(content_of(pmi)).sum(axis=(0, 2))
    gain = np.mean(np.abs(np.einsum("nltp,nplt->nlt", v.conj(), known(pmi))) ** 2, axis=(1, 2))
    return scheme, pmi, gain - SLOPE * STEP**2 * bits


def differs(one, other):
    return (one["real"] != other["real"]).any(axis=(1, 2)) | (one["imag"] != other["imag"]).any(axis=(1, 2))


@pytest.mark.long
def test_reports_are_worth_more_to_a_gnb_that_refines():
    """Loss of SGCS as refined, and bits: no report is worse for the search, most are better."""
    (_, plain, before), (scheme, pmi, after) = made(0), made(6)
    assert (after > before - 1e-5).all() and after.mean() > before.mean() + 0.003
    assert differs(plain, pmi).mean() > 0.5 and np.array_equal(after > before + 1e-5, differs(plain, pmi))
    assert scheme.label == "beamdelay-s0.15-rank1-refine-urban-synthesis6"


@pytest.mark.long
def test_what_the_search_finds_for_the_network_alone_does_not_count():
    """A gNB that does not refine after all: reports change only where its directions are better."""
    decodes = made(0)[0].codebooks[1].precoder
    (_, plain, before), (_, pmi, after) = made(0, decodes), made(4, decodes)
    changed = differs(plain, pmi)
    assert 0 < changed.mean() < 0.9 and (after[changed] > before[changed]).all()


@pytest.mark.long
def test_the_cost_of_the_ue():
    """Five passes and one before them, there and back, and both answers to two reports."""
    c = config(Panel(8, 2, 2), num_subcarriers=52)
    csi = CsiEstimate(channels(c, 2), np.zeros((2, 1), np.float32))
    plain, searched = (
        BeamDelayFeedback(c, step=STEP, refine="refine-urban", rank=1, synthesis=n).ue_bops(csi) for n in (0, 5)
    )
    dense = 101 * 128 + 4 * (4 * 128**2 + 2 * 128 * 256) + 128 * 52
    attention = 4 * 2 * 16 * 128  # scores and sums of four layers, of a token
    assert plain.shape == searched.shape == (2, 1) and plain[0, 0] < 1e9
    run = 16 * 1024 * (dense + attention)
    assert searched[0, 0] - plain[0, 0] == pytest.approx((6 * 2 + 2 * 2) * run, rel=0.01)
    learned, begun = (NtcFeedback(c, step=STEP, rank=1, passes=n).ue_bops(csi)[0, 0] for n in (12, 0))
    assert learned - begun == pytest.approx(12 * 2 * run, rel=0.01)


@pytest.mark.parametrize("params", [{"bits": 70, "refine": "refine-urban"}, {"step": 0.2}, {"bits": 70}], ids=str)
def test_without_a_step_or_a_refinement(params):
    with pytest.raises(ConfigError, match="synthesis"):
        BeamDelayFeedback(config(), synthesis=2, **params)
