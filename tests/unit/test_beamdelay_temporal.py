"""Temporal beam-delay reports: integer references, chains with lost and wrong reports, one flag, public state alone."""

import hashlib
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from receivers.beamdelay.grid import Grid
from receivers.beamdelay.predicted import GAINS, PredictedCoder, PredictedContent, PredictedTables, decoded, predicted
from receivers.beamdelay.reference import UNIT, Reference
from receivers.beamdelay.tables import Tables
from receivers.feedback.beamdelay import BeamDelayFeedback
from receivers.feedback.beamdelay_temporal import TemporalBeamDelayFeedback
from receivers.weights.folder import zoo_folder
from simulator.core.errors import PayloadError
from simulator.core.seeding import derive_wide
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel
from simulator.maths.transforms import subband_eigenvectors
from simulator.reporting.reporting import Reporting
from simulator.reporting.uplink import UplinkModel

GOLDEN = Path(__file__).parents[1] / "golden" / "beamdelay_temporal.json"
CONFIG = CsiConfig(Panel(4, 2, 2), 2, 28, 360e3, 4, 2)


def channels(batch, slots, seed=1, change=0.25):
    """Few paths whose phases drift, complex64 [slot, batch, 1, rx, port, subcarrier]."""
    rng = np.random.default_rng(seed)
    p, h = CONFIG.panel, 0
    for path in range(4):
        u, v, delay, drift = rng.random((4, batch, 1, 1, 1, 1))
        beam = np.exp(2j * np.pi * u * np.arange(p.n1)[:, None]) * np.exp(2j * np.pi * v * np.arange(p.n2))
        gain = (rng.standard_normal((batch, CONFIG.num_rx_ant, p.num_pol, 2)) @ [1, 1j]) * 0.7**path
        port = (gain[..., None, None] * beam).reshape(batch, 1, CONFIG.num_rx_ant, -1, 1)
        turn = np.exp(2j * np.pi * change * (drift - 0.5) * np.arange(slots)[:, None, None, None, None, None])
        h = h + turn * port * np.exp(-0.2j * np.pi * delay * np.arange(CONFIG.num_subcarriers))
    return h.astype(np.complex64)


def estimate(h):
    return CsiEstimate(h, np.zeros(h.shape[:2], np.float32))


@cache
def scheme(**params):
    return TemporalBeamDelayFeedback(CONFIG, **({"step": 0.2, "rank": 1} | params))


def none(batch, s=None):
    return np.zeros((batch, 1, (s or scheme()).state_size), np.int16)


def flags(report, s):
    return report.bits[:, 0, s.part1_bits] > 0


def by_user(h, w):
    """Mean over subbands of |v^H w|^2 of the strongest layer, ``[user]``."""
    v = subband_eigenvectors(h.reshape(-1, *h.shape[2:]), 4, 1)[:, 0]
    return np.mean(np.abs(np.einsum("ntp,npt->nt", v.conj(), w[:, 0, :, 0])) ** 2, axis=1)


def sgcs(h, w):
    return float(by_user(h, w).mean())


@pytest.mark.long
@pytest.mark.parametrize("params", [{}, {"step": None, "bits": 80}, {"rank": "auto"}, {"rank": 2}], ids=str)
def test_gnb_of_its_own_decodes_a_chain_from_bits_and_public_state(params):
    """Each end is an object of its own, and knows the public state alone."""
    ue = TemporalBeamDelayFeedback(CONFIG, **({"step": 0.2, "rank": 1} | params))
    gnb, h = ue.twin(), channels(6, 5)
    state, used = none(6, ue), 0
    for slot in range(5):
        report = ue.report_after(estimate(h[slot]), state)
        rec, state = gnb.reconstruct_after(report, state)
        assert rec.valid.all() and report.num_bits.max() <= ue.max_bits
        plain = gnb.reconstruct(ue.report(estimate(h[slot]))).w
        assert sgcs(h[slot], rec.w) > sgcs(h[slot], plain) - 0.08
        used += flags(report, ue).sum()
        assert not flags(report, ue).any() or slot
    assert used > 6


@pytest.mark.long
def test_references_save_bits_worth_more_than_the_quality_they_cost_and_never_cost_more_than_the_flag():
    """A bit is worth slope times squared step of SGCS: 0.06 x 0.2^2."""
    ue, alone = scheme(), BeamDelayFeedback(CONFIG, step=0.2, rank=1)
    h, state, total = channels(24, 4, change=0.1), none(24), np.zeros(2)
    for slot in range(4):
        report, plain = ue.report_after(estimate(h[slot]), state), alone.report(estimate(h[slot]))
        assert (report.num_bits <= plain.num_bits + 1).all()
        rec, state = ue.reconstruct_after(report, state)
        fewer = plain.num_bits[:, 0] + 1 - report.num_bits[:, 0]
        lost = by_user(h[slot], alone.reconstruct(plain).w) - by_user(h[slot], rec.w)
        assert (lost <= 0.06 * 0.2**2 * fewer + 1e-4).all()
        if slot:
            total += report.num_bits.sum(), plain.num_bits.sum()
    assert total[0] < 0.9 * total[1]


def test_a_reference_to_another_channel_costs_the_flag_alone():
    """The public state of another user: of no use, which the UE sees."""
    ue, alone, h = scheme(), BeamDelayFeedback(CONFIG, step=0.2, rank=1), channels(24, 1)[0]
    _, state = ue.reconstruct_after(ue.report(estimate(h)), none(24))
    state = np.roll(state, 1, axis=0)
    report, plain = ue.report_after(estimate(h), state), alone.report(estimate(h))
    assert (report.num_bits <= plain.num_bits + 1).all() and flags(report, ue).mean() < 0.5
    lost = by_user(h, alone.reconstruct(plain).w) - by_user(h, ue.reconstruct_after(report, state)[0].w)
    assert (lost <= 0.06 * 0.2**2 * (plain.num_bits[:, 0] + 1 - report.num_bits[:, 0]) + 1e-4).all()


@pytest.mark.long
def test_of_reports_of_one_length_the_better_one_is_sent():
    """With `bits` a reference costs the flag at most: never worse than a report of one bit less that stands alone."""
    ue, alone = scheme(step=None, bits=30), BeamDelayFeedback(CONFIG, bits=29, rank=1)
    h, state, used = channels(48, 4, seed=6, change=1.0), none(48, ue), 0
    for slot in range(4):
        report = ue.report_after(estimate(h[slot]), state)
        rec, state = ue.reconstruct_after(report, state)
        plain = alone.reconstruct(alone.report(estimate(h[slot]))).w
        assert (by_user(h[slot], rec.w) >= by_user(h[slot], plain) - 1e-3).all()
        used += flags(report, ue).sum()
    assert used > 48


def test_a_report_without_a_reference_is_the_report_of_beamdelay_after_the_flag():
    h = channels(5, 1)[0]
    report, plain = scheme().report(estimate(h)), BeamDelayFeedback(CONFIG, step=0.2, rank=1).report(estimate(h))
    for one, other, n in zip(report.bits[:, 0], plain.bits[:, 0], plain.num_bits[:, 0], strict=True):
        assert one[0] == 0 and np.array_equal(one[1 : n + 1], other[:n])
    assert np.array_equal(report.num_bits, plain.num_bits + 1)


def test_users_with_different_states_are_coded_as_if_each_were_alone():
    ue, h = scheme(), channels(6, 3)
    state = none(6)
    _, after = ue.reconstruct_after(ue.report_after(estimate(h[0]), state), state)
    state[1::2] = after[1::2]
    together = ue.report_after(estimate(h[1]), state)
    assert not flags(together, ue)[::2].any() and flags(together, ue)[1::2].any()
    w = ue.reconstruct_after(together, state)[0].w
    for user in range(6):
        row = slice(user, user + 1)
        single = ue.report_after(estimate(h[1][row]), state[row])
        assert np.array_equal(single.bits, together.bits[row])
        np.testing.assert_allclose(ue.reconstruct_after(single, state[row])[0].w, w[row], atol=1e-6)


def test_nothing_is_hidden_in_the_objects():
    """A fresh pair, given the public state alone, says and hears the same as the pair that lived through the chain."""
    ue, h, state = scheme(), channels(4, 3), none(4)
    for slot in range(2):
        _, state = ue.reconstruct_after(ue.report_after(estimate(h[slot]), state), state)
    fresh = ue.twin(), ue.twin()
    report = fresh[0].report_after(estimate(h[2]), state)
    assert np.array_equal(report.bits, ue.report_after(estimate(h[2]), state).bits) and flags(report, ue).any()
    new = fresh[1].reconstruct_after(report, state)
    old = ue.reconstruct_after(report, state)
    assert np.array_equal(new[0].w, old[0].w) and np.array_equal(new[1], old[1])


@pytest.mark.long
def test_another_process_decodes_bits_and_state(tmp_path):
    ue, h, state = scheme(), channels(3, 2), none(3)
    _, state = ue.reconstruct_after(ue.report(estimate(h[0])), state)
    report = ue.report_after(estimate(h[1]), state)
    assert flags(report, ue).any()
    np.savez(tmp_path / "sent.npz", bits=report.bits, num_bits=report.num_bits, state=state)
    code = (
        "import sys, numpy as np\n"
        "from receivers.feedback.beamdelay_temporal import TemporalBeamDelayFeedback as T\n"
        "from simulator.core.types import CsiConfig, CsiReport, Panel\n"
        "x = np.load(sys.argv[1])\n"
        "gnb = T(CsiConfig(Panel(4, 2, 2), 2, 28, 360e3, 4, 2), step=0.2, rank=1)\n"
        "rec, state = gnb.reconstruct_after(CsiReport(x['bits'], x['num_bits']), x['state'])\n"
        "np.savez(sys.argv[2], w=rec.w, state=state)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "sent.npz", tmp_path / "heard.npz"], check=True)
    heard = np.load(tmp_path / "heard.npz")
    rec, new = ue.reconstruct_after(report, state)
    assert np.array_equal(heard["state"], new) and np.array_equal(heard["w"], rec.w)


@pytest.mark.long
def test_any_bits_after_any_state_are_csi_of_unit_norm():
    """200 random payloads of random length; those that refer to nothing, and only those, are invalid."""
    ue, rng = scheme(rank="auto"), np.random.default_rng(5)
    h = channels(200, 1)[0][:, :, :, :, :]
    _, state = ue.reconstruct_after(ue.report(estimate(h)), none(200, ue))
    state[::3] = 0
    bits = rng.integers(0, 2, (200, 1, 300)).astype(np.uint8)
    num_bits = rng.integers(1, 300, (200, 1))
    rec, new = ue.reconstruct_after(CsiReport(bits, num_bits), state)
    refers = (bits[:, 0, 1] == 1) & (num_bits[:, 0] > 1)
    rank = 1 + bits[:, 0, 0]
    np.testing.assert_array_equal(rec.valid[:, 0], ~refers | (state[:, 0, 0] == rank))
    norm = np.linalg.norm(rec.w[:, 0, :, 0], axis=1)
    np.testing.assert_allclose(norm, np.broadcast_to(rec.valid, norm.shape), atol=1e-4)
    good = rec.valid[:, 0]
    assert np.array_equal(new[~good], state[~good]) and np.array_equal(new[good, 0, 0], rank[good])
    with pytest.raises(PayloadError, match="num_bits"):
        ue.reconstruct_after(CsiReport(bits, 0 * num_bits), state)


def test_every_prefix_is_a_report():
    ue, h, state = scheme(), channels(8, 2, change=0.1), none(8)
    _, state = ue.reconstruct_after(ue.report(estimate(h[0])), state)
    report = ue.report_after(estimate(h[1]), state)
    short = ue.omit(report, 12)
    assert short.num_bits.max() <= 12 and not short.bits[..., 12:].any()
    rec = ue.reconstruct_after(short, state)[0]
    assert rec.valid.all() and sgcs(h[1], rec.w) > 0.5


def test_reference_is_that_of_a_loop_over_coefficients():
    """Prediction, level and size of a part in whole numbers, against a loop with Python's integers."""
    book = scheme().books[1]
    ue, h, state = scheme(), channels(3, 2), none(3)
    _, state = ue.reconstruct_after(ue.report(estimate(h[0])), state)
    report = ue.report_after(estimate(h[1]), state)
    reference, known = Reference.unpack(state[:, 0], 1, 1, 112)
    assert known.all() and flags(report, ue).any()
    row = int(np.flatnonzero(flags(report, ue))[0])
    energy = np.ascontiguousarray(np.moveaxis(reference.energy[..., book.coder.grid.order], 2, 0))
    one = slice(row, row + 1)
    content, bins = book.coder.decode(report.bits[one, 0, 1:], report.num_bits[row] - 1, energy[:, one])
    found = book.decode(report.bits[:, 0], report.num_bits[:, 0], reference, known)[0].cells
    levels = book.coder.tables.levels
    for place, cell in enumerate(book.coder.grid.order):
        for part, parts in enumerate((content.real, content.imag)):
            q = int(parts[place, 0, 0])
            level = int(levels[bins[place, 0, 0], min(abs(q), 15)]) if abs(q) < 15 else 256 * abs(q)
            size = level * int(2**22 * 0.2) >> 16
            was = int(reference.cells[part, row, 0, cell])
            expected = (was * GAINS[int(content.gain[0])] >> 2) + (size if q > 0 else -size)
            assert abs(int(found[part, row, 0, cell]) - expected) <= 1
    assert np.abs(reference.cells).max() < 2 * UNIT


def test_reference_survives_its_packing():
    rng = np.random.default_rng(3)
    reference = Reference(rng.integers(0, 16, 4), rng.integers(0, 16, (4, 2)), rng.integers(-UNIT, UNIT, (2, 4, 2, 10)))
    packed = reference.pack(3)
    back, known = Reference.unpack(packed, 3, 2, 10)
    assert packed.dtype == np.int16 and known.all() and packed.shape == (4, Reference.size(3, 10))
    assert all(np.array_equal(getattr(reference, key), getattr(back, key)) for key in ("group", "row", "cells"))
    assert not Reference.unpack(packed, 3, 1, 10)[1].any() and not Reference.unpack(0 * packed, 3, 2, 10)[1].any()


def golden_case(rank, seed):
    """Contents after references, made from integers alone."""
    shape, tables = (2, 2, 4, 7), Tables.load(zoo_folder() / "beamdelay-urban" / "tables.npz")
    referred = PredictedTables.load(zoo_folder() / "beamdelay-temporal" / "tables.npz")
    coder = PredictedCoder(Grid(shape, tables.importance), shape, referred, rank, [25, 60])
    rng, size = np.random.default_rng(seed), coder.grid.size
    reference = rng.integers(-3000, 3000, (2, 3, rank, size)) * (rng.integers(0, 8, (3, rank, size)) == 0)
    energy = np.moveaxis(np.sum(reference**2, axis=0)[..., coder.grid.order], 2, 0)
    real, imag = rng.integers(-2, 3, (2, size, 3, rank)) * (rng.integers(0, 10, (2, size, 3, rank)) == 0)
    real[0, 0], imag[3, 1] = 17, -40
    gain, step, zero = rng.integers(0, 4, 3), rng.integers(0, 2, 3), np.zeros((3, rank), int)
    return coder, reference, PredictedContent(zero[:, 0], step, zero, real, imag, gain, energy)


def heard(coder, reference, content, bins):
    """Check sum of the integers that the gNB decodes."""
    new = predicted(reference, content.gain)
    new = new[..., coder.grid.order] + np.moveaxis(
        decoded(content, bins, coder.tables.levels, coder.sizes, coder.origins), 1, 3
    )
    return hashlib.sha256(np.ascontiguousarray(new).astype("<i4").tobytes()).hexdigest()[:16]


def test_golden_streams_and_states():
    """Six pinned reports and what they make of their references: a change of any is a breaking release."""
    for case in json.loads(GOLDEN.read_text()):
        coder, reference, content = golden_case(case["rank"], case["seed"])
        bits, num_bits = coder.encode(content, 4000)
        found = ["".join(map(str, row[:n])) for row, n in zip(bits, num_bits, strict=True)]
        assert [f"{int(x, 2):x}/{len(x)}" for x in found] == case["bits"]
        back, bins = coder.decode(bits, num_bits, content.energy)
        for key in ("step", "gain", "real", "imag"):
            assert np.array_equal(getattr(back, key), getattr(content, key))
        assert heard(coder, reference, back, bins) == case["state"]


# In the link ----------------------------------------------------------------------------------------------------------


class Spied(TemporalBeamDelayFeedback):
    """Keeps what the link hands around."""

    def report_after(self, csi, state):
        self.__dict__.setdefault("given", []).append(state.copy())
        return super().report_after(csi, state)

    def reconstruct_after(self, report, state):
        found = super().reconstruct_after(report, state)
        self.__dict__.setdefault("heard", []).append((state.copy(), found[1].copy(), found[0].valid.copy()))
        return found


def run(uplink, slots=6, batch=5, seed=3):
    reporting = Reporting(Spied(CONFIG, step=0.2, rank=1), uplink)
    h = channels(batch, slots)
    by_slot = np.moveaxis(h, 0, 1).reshape(batch * slots, *h.shape[2:])
    known = reporting.run(None, estimate(by_slot), (batch, slots - reporting.lead), seed=seed)
    return reporting, known, h


@pytest.mark.long
@pytest.mark.parametrize("delay", [0, 2])
@pytest.mark.parametrize("loss", [0.0, 0.4])
def test_the_reference_is_the_newest_report_that_both_ends_know_to_have_arrived(delay, loss):
    """Replayed slot by slot: after a loss the chain goes on from the last report that arrived, a delay later."""
    uplink = UplinkModel(loss_probability=loss, delay_slots=delay)
    reporting, known, _ = run(uplink, slots=7)
    rng_lost = uplink.transmit(CsiReport(np.zeros((35, 1, 1), np.uint8), np.ones((35, 1), int)), seed=_seed(3))[1]
    lost = rng_lost.reshape(5, 7)
    after = [none(5)]
    for slot, (state, new, _) in enumerate(reporting.gnb.heard):
        at = max(slot - delay, 0)
        assert np.array_equal(state, after[at]) and np.array_equal(reporting.scheme.given[slot], state)
        after.append(np.where(lost[:, slot, None, None], after[-1], new))
    assert lost.any() == (loss > 0)
    for slot in range(7 - delay):  # every loss keeps the last good CSI
        assert np.array_equal(known.good[:, 0, slot], ~lost[:, slot])


def _seed(seed):
    return derive_wide(seed, "uplink")


@pytest.mark.long
def test_after_a_wrong_report_the_ue_does_not_refer_and_the_next_report_mends_it():
    reporting, known, h = run(UplinkModel(bit_flip_probability=0.004), slots=9, batch=12, seed=4)
    wrong, given = known.wrong[:, 0], reporting.scheme.given
    assert wrong.any() and not wrong.all()
    held, clean = np.zeros(12, bool), 0
    for slot in range(9):
        assert not given[slot][held].any()  # nothing that the UE did not send
        valid = reporting.gnb.heard[slot][2]
        clean += int((held & ~wrong[:, slot]).sum())
        held = np.where(valid[:, 0], wrong[:, slot], held)
    assert clean > 2
    rows = ~wrong
    w = known.csi.w.reshape(12, 9, *known.csi.w.shape[1:])
    quality = [sgcs(h[s][rows[:, s]], w[rows[:, s], s]) for s in range(9) if rows[:, s].any()]
    assert min(quality) > 0.75


@pytest.mark.long
def test_losses_meet_the_same_reports_as_those_of_a_scheme_without_state():
    uplink = UplinkModel(loss_probability=0.3)
    _, known, h = run(uplink)
    plain = Reporting(BeamDelayFeedback(CONFIG, step=0.2, rank=1), uplink)
    by_slot = np.moveaxis(h, 0, 1).reshape(30, *h.shape[2:])
    other = plain.run(None, estimate(by_slot), (5, 6), seed=3)
    assert np.array_equal(known.good, other.good) and (known.num_bits <= other.num_bits + 1).all()


@pytest.mark.long
def test_a_cqi_in_the_reports_changes_neither_csi_nor_references():
    uplink, h = UplinkModel(loss_probability=0.3), channels(5, 6)
    by_slot = np.moveaxis(h, 0, 1).reshape(30, *h.shape[2:])
    drop = np.arange(30).reshape(1, 30, 1) % 16
    numbers = iter(range(6))

    def at_ue(csi, rec):
        return drop[:, np.arange(5) * 6 + next(numbers), :, None]

    plain, field = (
        Reporting(TemporalBeamDelayFeedback(CONFIG, step=0.2, rank=1), uplink).run(
            None, estimate(by_slot), (5, 6), seed=3, cqi=x
        )
        for x in (None, SimpleNamespace(widths=(4,), at_ue=at_ue))
    )
    assert np.array_equal(plain.csi.w, field.csi.w) and np.array_equal(plain.num_bits + 4, field.num_bits)
    said = drop.reshape(5, 1, 6)
    assert np.array_equal(field.cqi[0, ..., 0][field.good], said[field.good])


def test_operations_are_those_of_both_networks():
    """Cells times passes times bits of both operands, counted for both sets of tables."""
    book, h = scheme().books[1], channels(2, 1)[0]
    once = [
        64 * len(t.w1) * t.w1.shape[1] + 256 * sum(t.w1.shape) for t in (book.alone.coder.tables, book.coder.tables)
    ]
    np.testing.assert_allclose(scheme().ue_bops(estimate(h)), 5 * 112 * sum(once))
