"""Analysis by synthesis: no report is worse for it, one coefficient changes in a round, the UE's cost, refusals."""

import numpy as np
import pytest
from test_beamdelay import channels, config

from receivers.beamdelay.codebook import content_of
from receivers.feedback.beamdelay import BeamDelayFeedback
from simulator.core.errors import ConfigError
from simulator.core.types import CsiEstimate, Panel
from simulator.maths.transforms import subband_eigenvectors

STEP, SLOPE = 0.15, 0.06


def made(synthesis, known=None):
    """Scheme, its PMI of 24 channels, and what it is worth with the directions ``known`` of the gNB."""
    c = config(Panel(4, 2, 2), num_subcarriers=28, subband_size=4)
    scheme = BeamDelayFeedback(c, step=STEP, refine="refine-urban", rank=1, synthesis=0 if known else synthesis)
    book = scheme.codebooks[1]
    if known is None:
        known = lambda pmi: scheme.directions(book, pmi)  # noqa: E731
    elif synthesis:
        book.synthesise(known, synthesis)
    h = channels(c, 24, paths=8)[:, 0]
    v, pmi = subband_eigenvectors(h, 4, 1), book.select(h)
    bits = book.coder.ideal_bits(content_of(pmi)).sum(axis=(0, 2))
    gain = np.mean(np.abs(np.einsum("nltp,nplt->nlt", v.conj(), known(pmi))) ** 2, axis=(1, 2))
    return scheme, pmi, gain - SLOPE * STEP**2 * bits


@pytest.mark.long
def test_reports_are_worth_more_to_a_gnb_that_refines():
    """Loss of SGCS as refined, and bits; every report has at most a change for each round."""
    (_, plain, before), (scheme, pmi, after) = made(0), made(3)
    assert (after > before - 1e-5).all() and after.mean() > before.mean() + 0.002
    changed = ((plain["real"] != pmi["real"]) | (plain["imag"] != pmi["imag"])).sum(axis=(1, 2))
    assert 1 < changed.max() <= 3 and (changed[after > before + 1e-5] > 0).all()
    assert scheme.label == "beamdelay-s0.15-rank1-refine-urban-synthesis3"


def test_the_best_of_the_changes_of_least_cost_is_made():
    """One round, a gNB that decodes, against a loop over eight changes in the order of what they cost."""
    scheme = made(0)[0]
    book = scheme.codebooks[1]
    _, plain, before = made(0, book.precoder)
    after = made(1, book.precoder)[2]
    c = config(Panel(4, 2, 2), num_subcarriers=28, subband_size=4)
    v = subband_eigenvectors(channels(c, 24, paths=8)[:, 0], 4, 1)
    quantizer = book._quantizer
    content, target = quantizer(v, np.zeros(24, np.int64))
    bins, cells = book.coder.bins(content), target.cells / np.float32(STEP)
    for report in range(0, 24, 3):
        tried = []
        for place in range(1, len(bins)):
            x, table = cells[place, report, 0], bins[place, report, 0]
            if max(abs(x.real), abs(x.imag)) <= 0.5:
                continue
            costs = {}
            for a in {round(abs(float(x.real))), max(round(abs(float(x.real))) - 1, 0), 0}:
                for b in {round(abs(float(x.imag))), max(round(abs(float(x.imag))) - 1, 0), 0}:
                    levels = quantizer._levels[table]
                    error = (abs(x.real) - levels[a]) ** 2 + (abs(x.imag) - levels[b]) ** 2
                    costs[a, b] = error + SLOPE * quantizer._lengths[table, 16 * a + b]
            now = abs(plain["real"][report, place, 0]), abs(plain["imag"][report, place, 0])
            least, best = min((cost - costs[now], pair) for pair, cost in costs.items() if pair != now)
            tried.append((least, place, best))
        values = {(): before[report]}
        for _, place, (a, b) in sorted(tried)[:8]:
            other = {key: np.array(value[report : report + 1]) for key, value in plain.items()}
            x = cells[place, report, 0]
            other["real"][0, place, 0], other["imag"][0, place, 0] = np.sign(x.real) * a, np.sign(x.imag) * b
            w = book.precoder(other)
            gain = np.mean(np.abs(np.einsum("ltp,plt->lt", v[report].conj(), w[0])) ** 2)
            values[place, a, b] = gain - SLOPE * STEP**2 * book.coder.ideal_bits(content_of(other)).sum()
        assert after[report] == pytest.approx(max(values.values()), abs=1e-5)


def test_the_cost_of_the_ue():
    """41 refinements of five rounds, two runs of the network each."""
    c = config(Panel(8, 2, 2), num_subcarriers=52)
    csi = CsiEstimate(channels(c, 2), np.zeros((2, 1), np.float32))
    plain, searched = (
        BeamDelayFeedback(c, step=STEP, refine="refine-urban", rank=1, synthesis=n).ue_bops(csi) for n in (0, 5)
    )
    dense = 101 * 128 + 3 * (4 * 128**2 + 2 * 128 * 256) + 128 * 52
    assert plain.shape == searched.shape == (2, 1)
    assert searched[0, 0] / (41 * 2 * 16 * 1024) > dense and plain[0, 0] < 1e9


@pytest.mark.parametrize("params", [{"bits": 70, "refine": "refine-urban"}, {"step": 0.2}, {"bits": 70}], ids=str)
def test_without_a_step_or_a_refinement(params):
    with pytest.raises(ConfigError, match="synthesis"):
        BeamDelayFeedback(config(), synthesis=2, **params)
