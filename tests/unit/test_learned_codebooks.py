"""RVQ against theory, LBG, stored codebooks, the scheme that uses them, and refinement by a network."""

import json

import numpy as np
import pytest

from receivers.codebooks.lbg import lbg_codebook
from receivers.codebooks.rvq import coloured_rvq_codebook, rvq_codebook, rvq_mean_cos2
from receivers.codebooks.search import best_codeword
from receivers.codebooks.stored import StoredCodebook, write_codebook
from receivers.feedback.codebook import CodebookFeedback
from receivers.models.refiners import FcRefiner
from receivers.training.loop import run
from receivers.training.refine import (
    Refinement,
    RefineSchedule,
    cosine_loss,
    directions,
    mean_cosine,
    refine,
    refine_codebook,
)
from simulator.core.errors import ConfigError, StoreError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel

PANEL = Panel(4, 1, 2)
CONFIG = CsiConfig(PANEL, 2, 6, 360e3, 2)


def gaussian(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def cos2(h, codebook):
    """Best squared cosine of every row, by a loop over codewords."""
    best = np.zeros(len(h))
    for word in codebook:
        best = np.maximum(best, np.abs(h @ word) ** 2)
    return best / np.sum(np.abs(h) ** 2, axis=1)


# Random and LBG codebooks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "mean"), [(1, 0.01170), (4, 0.02622), (8, 0.04703)])
@pytest.mark.long
def test_rvq_at_128_ports_is_isotropic_theory(bits, mean, rng):
    assert rvq_mean_cos2(128, bits) == pytest.approx(mean, abs=6e-6)
    values = np.concatenate(
        [cos2(gaussian(rng, 100, 128), rvq_codebook(128, bits, seed)) for seed in range(12 if bits == 8 else 60)]
    )
    groups = values.reshape(-1, 100).mean(axis=1)  # a codebook each
    assert abs(groups.mean() - mean) < 4 * groups.std() / np.sqrt(len(groups))


def test_coloured_codebooks_follow_their_covariance(rng):
    direction = gaussian(rng, 8)
    one = coloured_rvq_codebook(np.outer(direction, direction.conj()), 3, 0)
    np.testing.assert_allclose(np.abs(one @ direction.conj()) / np.linalg.norm(direction), 1, atol=1e-5)
    words = coloured_rvq_codebook(np.diag([4.0, 1, 1, 1]), 15, 1)
    # E|c_1|^2 of a normalised vector with powers 4 X, Y, Y, Y by numerical integration over X / (X + Y).
    x = rng.exponential(1, (400_000, 4)) * [4, 1, 1, 1]
    assert np.mean(np.abs(words[:, 0]) ** 2) == pytest.approx(np.mean(x[:, 0] / x.sum(axis=1)), abs=0.005)
    iso = [cos2(gaussian(rng, 300, 16), coloured_rvq_codebook(np.eye(16), 5, s)).mean() for s in range(20)]
    assert abs(np.mean(iso) - rvq_mean_cos2(16, 5)) < 4 * np.std(iso) / np.sqrt(20)


def test_lbg_finds_the_clusters(rng):
    centres = gaussian(rng, 8, 16)
    h = (centres[rng.integers(0, 8, 2000)] + 0.02 * gaussian(rng, 2000, 16)) * gaussian(rng, 2000, 1)
    found = max((lbg_codebook(h, 3, seed) for seed in range(6)), key=lambda c: cos2(h, c).mean())
    assert cos2(h, found).mean() > 0.99
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


@pytest.mark.long
def test_lbg_beats_random_codebooks_and_never_falls(rng):
    root = np.tril(gaussian(rng, 16, 16)) * 0.7 ** np.arange(16)
    h, new = (gaussian(rng, n, 16) @ root for n in (4000, 1000))
    means = [cos2(h, lbg_codebook(h, 6, 0, iterations=n)).mean() for n in (1, 2, 4, 8, 30)]
    assert (np.diff(means) > -1e-6).all()
    covariance = np.mean(directions(h)[:, :, None] * directions(h)[:, None].conj(), axis=0)
    coloured = cos2(new, coloured_rvq_codebook(covariance, 6, 0)).mean()
    assert cos2(new, lbg_codebook(h, 6, 0)).mean() > coloured + 0.03 > cos2(new, rvq_codebook(16, 6, 0)).mean() + 0.05
    np.testing.assert_array_equal(lbg_codebook(h, 4, 3), lbg_codebook(h, 4, 3))
    assert len(lbg_codebook(h[:10], 5, 0)) == 32


# Files and scheme ----------------------------------------------------------------------------------------------------


def estimate(rng, batch=7, users=3, config=CONFIG):
    h = gaussian(rng, batch, users, config.num_rx_ant, config.panel.num_ports, config.num_subcarriers)
    return CsiEstimate(h, np.zeros((batch, users), np.float32))


@pytest.fixture
def two(tmp_path):
    books = {"uma": rvq_codebook(8, 4, 1), "rma": rvq_codebook(8, 4, 2), "umi": rvq_codebook(8, 4, 3)}
    write_codebook(tmp_path / "book", "test", PANEL, books, made_by={"seed": 1})
    return tmp_path / "book", books


def test_stored_codebooks_come_back(two):
    folder, books = two
    stored = StoredCodebook(folder)
    assert (stored.name, stored.bits, stored.side, stored.panel) == ("test", 4, "ds", PANEL)
    for name, words in books.items():
        np.testing.assert_array_equal(stored.codebook(name), words)
        np.testing.assert_array_equal(stored.searched(name), words)


@pytest.mark.parametrize("frequency", ["wideband", "subband"])
def test_the_scheme_chooses_as_a_loop_does(two, frequency, rng):
    folder, books = two
    scheme = CodebookFeedback(CONFIG, path=str(folder), environment="uma", frequency=frequency)
    bands = 1 if frequency == "wideband" else 3
    assert scheme.max_bits == 2 + 4 * bands
    csi = estimate(rng)
    report = scheme.report(csi)
    back = scheme.reconstruct(report)
    assert back.valid.all() and back.w.shape == (7, 3, 8, 1, 3)
    for b in range(7):
        for u in range(3):
            assert report.bits[b, u, :2].tolist() == [0, 1]  # rma, uma, umi
            for t in range(3):
                part = csi.h_hat[b, u] if bands == 1 else csi.h_hat[b, u, :, :, 2 * t : 2 * t + 2]
                energy = [np.sum(np.abs(np.einsum("rps,p->rs", part, word)) ** 2) for word in books["uma"]]
                np.testing.assert_array_equal(back.w[b, u, :, 0, t], books["uma"][np.argmax(energy)])
    other = CodebookFeedback(CONFIG, path=str(folder), environment="umi", frequency=frequency)
    assert not other.reconstruct(report).valid.any()
    silent = CodebookFeedback(
        CONFIG, path=str(folder), environment="uma", frequency=frequency, environment_in_report=False
    )
    assert silent.max_bits == 4 * bands
    np.testing.assert_array_equal(silent.reconstruct(silent.report(csi)).w, back.w)


def test_single_side_reads_the_refined_word(tmp_path, rng):
    base, refined = rvq_codebook(8, 5, 9), rvq_codebook(8, 5, 10)
    for number, given in enumerate((base, 9)):
        folder = tmp_path / str(number)
        write_codebook(folder, "ss", PANEL, {"site": refined}, side="ss", base=given)
        scheme = CodebookFeedback(CONFIG, path=str(folder))
        csi = estimate(rng)
        rows = np.moveaxis(csi.h_hat, 3, 4).reshape(21, -1, 8)
        expected = refined[best_codeword(rows, base)].reshape(7, 3, 8)
        np.testing.assert_array_equal(scheme.reconstruct(scheme.report(csi)).w[:, :, :, 0, 0], expected)


def test_random_payloads_are_codewords(two, rng):
    scheme = CodebookFeedback(CONFIG, path=str(two[0]), environment="uma")
    bits = rng.integers(0, 2, (10_000, 1, scheme.max_bits), np.uint8)
    back = scheme.reconstruct(CsiReport(bits, np.full((10_000, 1), scheme.max_bits)))
    norm = np.linalg.norm(back.w[:, 0, :, 0], axis=1)
    np.testing.assert_allclose(norm[back.valid[:, 0]], 1, atol=1e-5)
    assert 0.2 < back.valid.mean() < 0.3 and not norm[~back.valid[:, 0]].any()


def test_wrong_codebooks(two, tmp_path):
    folder, books = two
    for params, words in (
        ({"environment": "moon"}, r"environment.*moon.*rma, uma, umi"),
        ({}, r"environment.*rma, uma, umi"),
        ({"path": str(tmp_path / "none"), "environment": "uma"}, r"path.*card\.json"),
    ):
        with pytest.raises(ConfigError, match=words):
            CodebookFeedback(CONFIG, **{"path": str(folder), **params})
    with pytest.raises(ConfigError, match=r"path.*Panel"):
        CodebookFeedback(CsiConfig(Panel(8, 1, 1), 1, 6, 1e5, 2), path=str(folder), environment="uma")
    with pytest.raises(ConfigError, match=r"layers_per_user"):
        CodebookFeedback(CsiConfig(PANEL, 2, 6, 1e5, 2, 2), path=str(folder), environment="uma")
    with pytest.raises(ConfigError, match="codebooks"):
        write_codebook(tmp_path / "x", "x", PANEL, {"a": rvq_codebook(6, 2, 0)})
    raw = (folder / "uma.npy").read_bytes()
    (folder / "uma.npy").write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(StoreError, match=r"uma\.npy: damaged"):
        StoredCodebook(folder).codebook("uma")
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "side": "both"}))
    with pytest.raises(StoreError, match=r"card\.json.*side"):
        StoredCodebook(folder)
    write_codebook(tmp_path / "long", "long", PANEL, {"a": 2 * books["uma"]})
    with pytest.raises(StoreError, match="norm"):
        StoredCodebook(tmp_path / "long").codebook("a")


# Refinement ----------------------------------------------------------------------------------------------------------


def test_the_loss_is_minus_the_cosine(rng):
    g, v = gaussian(rng, 5, 8), gaussian(rng, 5, 8)
    from receivers.models.codeword_refiner import to_tokens

    expected = np.abs(np.sum(g.conj() * v, axis=1)) / np.linalg.norm(g, axis=1) / np.linalg.norm(v, axis=1)
    np.testing.assert_allclose(-np.asarray(cosine_loss(to_tokens(v, 2), 3 * to_tokens(g, 2))), expected, atol=1e-6)
    h = gaussian(rng, 3, 8)
    np.testing.assert_allclose(np.abs(np.sum(directions(h) * h, axis=1)), np.linalg.norm(h, axis=1), rtol=1e-5)


@pytest.mark.long
def test_all_words_once_per_step_is_the_step_over_all_pairs(rng, tmp_path):
    """The same codebook as when the word of every channel goes through the network by itself, in one step an epoch.

    The epochs of a full batch are counted together.
    """
    train, val, base = gaussian(rng, 200, 8), gaussian(rng, 100, 8), rvq_codebook(8, 8, 0)

    def make():
        import keras

        keras.utils.set_random_seed(0)
        return FcRefiner(8, 2, 16, 1)

    found = []
    for schedule in (RefineSchedule(3, batch_size=17, full_batch=True), RefineSchedule(3, batch_size=200)):
        task = Refinement(make, base, directions(train), directions(val), schedule, 2, 0)  # 256 words, 200 pairs
        _, history = run(task, tmp_path / str(len(found)))
        found.append((refine(task.refiner, base, 2), [entry["loss"] for entry in history["epochs"]]))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-5)
    np.testing.assert_allclose(found[0][1], [np.mean(found[1][1])], rtol=1e-5)
    assert np.abs(found[0][0] - refine(make(), base, 2)).max() > 1e-3


@pytest.mark.parametrize(("interval", "bits"), [(None, 4), (None, 7), (4, 4)])
@pytest.mark.long
def test_refinement_gains_on_channels_with_structure(interval, bits, rng, tmp_path):
    """Channels in a plane of 3 of 8 dimensions: refined words move into it; Algorithm 2 goes on from its own words.

    Codebooks smaller than a batch, and larger.
    """
    root = gaussian(rng, 3, 8)
    train, val, test = (gaussian(rng, n, 3) @ root for n in (2500, 500, 500))
    base = rvq_codebook(8, bits, 0)

    def make(seed):
        import keras

        keras.utils.set_random_seed(seed)
        return FcRefiner(8, 2, 64, 2)

    schedule = RefineSchedule(12, batch_size=100, update_interval=interval)
    refined = refine_codebook(make, base, train, val, schedule, tmp_path / "a")
    v = directions(test)
    before = mean_cosine(v, base, base)
    after = mean_cosine(v, refined.codebook if interval else base, refined.codebook)
    assert after > before + 0.1
    np.testing.assert_allclose(np.linalg.norm(refined.codebook, axis=1), 1, atol=1e-5)
    kept = [e["cosine_val"] for e in refined.history if e["kept"]]
    assert (np.diff(kept) > 0).all() and len(refined.history) == (4 if interval else 13)
    twin = refine_codebook(make, base, train, val, schedule, tmp_path / "b")
    np.testing.assert_array_equal(twin.codebook, refined.codebook)
