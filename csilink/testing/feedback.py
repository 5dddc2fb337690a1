"""What a feedback scheme promises."""

from __future__ import annotations

from typing import Any

import numpy as np

from csilink.testing.common import noise, run
from simulator.core import registry
from simulator.core.errors import PayloadError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport, Panel

CONFIG = CsiConfig(Panel(3, 2, 2), num_rx_ant=2, num_subcarriers=7, spacing_hz=360e3, subband_size=3)


_BATCH, _USERS = 3, 2
_UNIT = 1e-5  # norms in float32


def check_feedback_scheme(
    scheme: str | type[FeedbackScheme] | FeedbackScheme, *, config: CsiConfig = CONFIG, seed: int = 77, **params: Any
) -> None:
    """All checks of a feedback scheme: :data:`FEEDBACK_CHECKS`.

    Args:
        scheme: class, name of a plug-in, dotted path, or an object.
        config: public configuration that class or name are constructed for; by default 12 ports (3, 2, 2), two UE
            antennas, seven frequency samples.
        seed: public seed.
        **params: of the constructor.

    Raises:
        AssertionError: what the scheme does and must not.
        ConfigError: it cannot be constructed.

    Example:
        >>> from csilink.testing import check_feedback_scheme
        >>> check_feedback_scheme("rvq", bits=5)
    """
    if isinstance(scheme, str):
        scheme = registry.build("feedback", scheme, config, seed=seed, **params)
    elif isinstance(scheme, type):
        scheme = registry.checked("feedback", scheme)(config, seed=seed, **params)
    run(FEEDBACK_CHECKS, scheme)


def plane_waves(
    config: CsiConfig, rng: np.random.Generator, batch: int = _BATCH, users: int = _USERS, intervals: int = 1
) -> CsiEstimate:
    """Channels of three plane waves per receive antenna, as a UE without estimation error knows them.

    Args:
        config: antennas and frequency samples.
        rng: generator.
        batch: drops.
        users: UEs of a drop.
        intervals: with more than one, also the ``future``, in which every wave has a Doppler shift.
    """
    panel, lead = config.panel, (batch, users, config.num_rx_ant)
    h = np.zeros((*lead, panel.num_ports, intervals, config.num_subcarriers), np.complex64)
    for _ in range(3):
        u, v, delay = rng.random((3, *lead, 1)) * np.array([1, 1, 0.15]).reshape(3, 1, 1, 1, 1)
        beam = (
            np.exp(2j * np.pi * u * np.arange(panel.n1))[..., None]
            * np.exp(2j * np.pi * v * np.arange(panel.n2))[..., None, :]
        )
        ports = noise(rng, *lead, panel.num_trps * panel.num_pol)[..., None] * beam.reshape(*lead, 1, -1)
        wave = (
            ports.reshape(*lead, -1, 1) * np.exp(-2j * np.pi * delay * np.arange(config.num_subcarriers))[..., None, :]
        )
        shift = rng.random() - 0.5 if intervals > 1 else 0.0
        h += wave[..., None, :] * np.exp(2j * np.pi * shift * np.arange(intervals))[:, None]
    return CsiEstimate(h[..., 0, :], np.zeros((batch, users), np.float32), future=h if intervals > 1 else None)


def _waves(scheme: FeedbackScheme, rng: np.random.Generator, batch: int = _BATCH) -> CsiEstimate:
    return plane_waves(scheme.config, rng, batch, intervals=scheme.num_intervals)


def checked_reconstruction(scheme: FeedbackScheme, known: CsiReconstruction, batch: int, users: int) -> np.ndarray:
    """Validity ``[batch, user]`` of a reconstruction whose shape, type and norms are in order."""
    c = scheme.config
    assert isinstance(known, CsiReconstruction), f"reconstruct() returns a {type(known).__name__}"
    assert (known.h is not None) == scheme.explicit, "explicit says h or w, reconstruct() returns the other"
    valid = np.ones((batch, users), bool) if known.valid is None else known.valid
    assert valid.shape == (batch, users) and valid.dtype == bool, f"valid is {valid.dtype} {valid.shape}"
    value = known.value
    assert value.dtype == np.complex64, f"reconstruction of {value.dtype}, not complex64"
    assert np.isfinite(value).all(), "NaN or infinity in the reconstruction"
    if known.w is None:
        wanted = (batch, users, c.num_rx_ant, c.panel.num_ports, c.num_subcarriers)
    else:
        wanted = (batch, users, c.panel.num_ports, c.num_layers, c.num_subbands)
        norm = np.linalg.norm(known.w, axis=2)[valid]
        assert np.allclose(norm, 1, rtol=0, atol=_UNIT), f"directions of norm {norm.min():.6g}..{norm.max():.6g}, not 1"
    assert value.shape == wanted, f"reconstruction of shape {value.shape}, not {wanted}"
    several = known.intervals
    assert (several is not None) == (scheme.num_intervals > 1), "num_intervals says one or several, reconstruct() else"
    if several is not None:
        wanted = (*wanted[:-1], scheme.num_intervals, wanted[-1])
        assert several.shape == wanted, f"intervals of shape {several.shape}, not {wanted}"
        assert np.isfinite(several).all() and several.dtype == np.complex64, f"intervals of {several.dtype}"
        assert np.array_equal(several[..., 0, :], value), "the first interval is not the reconstruction"
    return valid


def report_and_reconstruction(scheme: FeedbackScheme, rng: np.random.Generator) -> None:
    """Shapes, lengths and padding of a report; its own reconstruction is valid; the estimate is left as it is."""
    estimate = _waves(scheme, rng)
    before = estimate.h_hat.copy()
    report = scheme.report(estimate)
    assert np.array_equal(estimate.h_hat, before), "report() changes the estimate"
    lead = (_BATCH, _USERS)
    assert report.bits.shape[:2] == report.num_bits.shape == lead, f"report of shape {report.bits.shape}, not {lead}"
    assert isinstance(scheme.max_bits, int), f"max_bits is {scheme.max_bits!r}, not an integer"
    longest = report.num_bits.max()
    assert 0 < longest <= scheme.max_bits, f"a report of {longest} bits; max_bits is {scheme.max_bits}"
    beyond = np.arange(report.bits.shape[2]) >= report.num_bits[..., None]
    assert not report.bits[beyond].any(), "padding is not zero"
    assert checked_reconstruction(scheme, scheme.reconstruct(report), *lead).all(), "its own report is invalid"


def ue_cost(scheme: FeedbackScheme, rng: np.random.Generator) -> None:
    """Bit operations float64 of every report, or None from a scheme without a network."""
    bops = scheme.ue_bops(_waves(scheme, rng))
    if bops is not None:
        assert bops.shape == (_BATCH, _USERS) and bops.dtype == np.float64, f"{bops.dtype} {bops.shape}"
        assert (bops > 0).all(), "a report without operations"


def deterministic(scheme: FeedbackScheme, rng: np.random.Generator) -> None:
    """Equal estimates have equal reports, from this object again and from a twin; nothing is remembered."""
    fresh = scheme.twin()
    estimate = _waves(scheme, rng)
    report = scheme.report(estimate)
    scheme.report(_waves(scheme, rng))
    assert scheme.label and scheme.label == fresh.label, f"labels {scheme.label!r} and {fresh.label!r} of twins"
    assert scheme.max_bits == fresh.max_bits, "max_bits of twins differ"
    for who, again in (("it", scheme.report(estimate)), ("its twin", fresh.report(estimate))):
        same = np.array_equal(again.bits, report.bits) and np.array_equal(again.num_bits, report.num_bits)
        assert same, f"another report from {who}"


def channel_dependent(scheme: FeedbackScheme, rng: np.random.Generator) -> None:
    """More than half of the reports of other channels differ."""
    one, two = (scheme.report(_waves(scheme, rng, batch=20)) for _ in range(2))
    width = min(one.bits.shape[2], two.bits.shape[2])
    assert (one.bits[..., :width] != two.bits[..., :width]).any(axis=2).mean() > 0.5, "too many are equal"


def bits_alone(scheme: FeedbackScheme, rng: np.random.Generator) -> None:
    """A twin that has seen no channel reconstructs the same from the bits."""
    report = scheme.report(_waves(scheme, rng))
    here, there = (end.reconstruct(report) for end in (scheme, scheme.twin()))
    one, two = (x.value for x in (here, there))
    assert np.abs(one - two).max() <= 1e-6 * np.abs(one).max(), "the gNB needs more than the bits"


def own_channel_alone(scheme: FeedbackScheme, rng: np.random.Generator) -> None:
    """Another channel of one UE leaves the reports of the others in its batch as they are."""
    one, other = _waves(scheme, rng), _waves(scheme, rng)
    own = {name: x.copy() for name, x in vars(one).items() if x is not None}
    for name, x in own.items():
        x[1, 1] = vars(other)[name][1, 1]
    first, second = scheme.report(one), scheme.report(CsiEstimate(**own))
    same = np.ones((_BATCH, _USERS), bool)
    same[1, 1] = False
    width = min(first.bits.shape[2], second.bits.shape[2])
    equal = np.array_equal(first.num_bits[same], second.num_bits[same])
    equal = equal and np.array_equal(first.bits[same][:, :width], second.bits[same][:, :width])
    assert equal, "their reports change"


def empty_batch(scheme: FeedbackScheme, rng: np.random.Generator, lead: tuple[int, int] = (0, _USERS)) -> None:
    """No drop, or no user: a report and a reconstruction of that shape."""
    c = scheme.config
    none = np.zeros((*lead, c.num_rx_ant, c.panel.num_ports, c.num_subcarriers), np.complex64)
    estimate = CsiEstimate(none, np.zeros(lead, np.float32))
    report, bops = scheme.report(estimate), scheme.ue_bops(estimate)
    assert report.bits.shape[:2] == report.num_bits.shape == lead, f"report of shape {report.bits.shape}"
    assert report.bits.dtype == np.uint8, f"bits of {report.bits.dtype}"
    assert bops is None or bops.shape == lead, f"bit operations of shape {bops.shape}"
    bare = CsiReport(np.zeros((*lead, 0), np.uint8), np.zeros(lead, int))
    for sent in (report, scheme.omit(report, 1), bare):
        checked_reconstruction(scheme, scheme.reconstruct(sent), *lead)


def wrong_length(scheme: FeedbackScheme, rng: np.random.Generator) -> None:
    """Another length: PayloadError where all reports have one length, else reports marked as no codeword."""
    report = scheme.report(_waves(scheme, rng))
    lead = (_BATCH, _USERS)
    padded = np.pad(report.bits, ((0, 0), (0, 0), (0, scheme.max_bits + 1 - report.bits.shape[2])))
    num_bits = {"shorter": report.num_bits - 1, "longer": np.full(lead, scheme.max_bits + 1)}
    num_bits["empty"] = num_bits["without columns"] = np.zeros(lead, int)
    for change in ("shorter", "longer", "empty", "without columns"):
        if scheme.nested and change in ("shorter", "longer"):  # every prefix is a report
            continue
        bits = padded[..., :0] if change == "without columns" else padded
        try:
            known = scheme.reconstruct(CsiReport(bits, num_bits[change]))
        except PayloadError:
            continue
        assert not checked_reconstruction(scheme, known, *lead).any(), f"valid although it is {change}"


def random_bits(scheme: FeedbackScheme, rng: np.random.Generator) -> None:
    """300 patterns of lengths that occur, then of any length: a finite reconstruction or PayloadError."""
    usual = scheme.report(_waves(scheme, rng, batch=20)).num_bits.ravel()
    shape = (150, _USERS)
    bits = rng.integers(0, 2, (*shape, scheme.max_bits), dtype=np.uint8)
    bits[:5], bits[5:10] = 0, 1
    for num_bits in (rng.choice(usual, shape), rng.integers(0, scheme.max_bits + 1, shape)):
        sent = bits * (np.arange(scheme.max_bits) < num_bits[..., None]).astype(np.uint8)
        try:
            known = scheme.reconstruct(CsiReport(sent, num_bits))
        except PayloadError:
            continue
        checked_reconstruction(scheme, known, *shape)


FEEDBACK_CHECKS = (
    report_and_reconstruction,
    ue_cost,
    deterministic,
    channel_dependent,
    bits_alone,
    own_channel_alone,
    empty_batch,
    wrong_length,
    random_bits,
)
