"""What csilink asks of plug-ins, as functions for the tests of whoever writes one.

    from csilink.testing import check_feedback_scheme, check_precoder

    def test_my_scheme():
        check_feedback_scheme(MyScheme, bits=6)

A check returns nothing and raises AssertionError with what is wrong. The contract tests of csilink call the same ones
on everything that is registered. Channels are plane waves from a seeded generator, so that a code for channels has a
codeword for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from csilink.testing.coding import CODER_CHECKS, QUANTIZER_CHECKS, check_coder, check_quantizer
from csilink.testing.common import Part, array, noise, run
from csilink.testing.estimator import (
    ESTIMATION_MODEL_CHECKS,
    ESTIMATOR_CHECKS,
    check_estimation_model,
    check_estimator,
)
from csilink.testing.importer import IMPORTER_CHECKS, check_importer
from csilink.testing.metric import METRIC_CHECKS, check_metric
from csilink.testing.prediction_model import PREDICTION_MODEL_CHECKS, check_prediction_model
from csilink.testing.predictor import PREDICTOR_CHECKS, check_predictor
from csilink.testing.refiner import REFINER_CHECKS, check_refiner
from simulator.core import registry
from simulator.core.backend import ops
from simulator.core.errors import ConfigError, PayloadError
from simulator.core.interfaces import ChannelSource, FeedbackScheme, Precoder
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport, Panel, RadioGeometry

__all__ = [
    "CODER_CHECKS",
    "ESTIMATION_MODEL_CHECKS",
    "ESTIMATOR_CHECKS",
    "FEEDBACK_CHECKS",
    "IMPORTER_CHECKS",
    "METRIC_CHECKS",
    "PRECODER_CHECKS",
    "PREDICTION_MODEL_CHECKS",
    "PREDICTOR_CHECKS",
    "QUANTIZER_CHECKS",
    "REFINER_CHECKS",
    "Part",
    "check_channel",
    "check_coder",
    "check_estimation_model",
    "check_estimator",
    "check_feedback_scheme",
    "check_importer",
    "check_metric",
    "check_model",
    "check_precoder",
    "check_prediction_model",
    "check_predictor",
    "check_quantizer",
    "check_refiner",
    "plane_waves",
]

GEOMETRY = RadioGeometry(3.5e9, Panel(3, 2, 2), 2, 2, 5, 360e3, num_slots=2, speed_mps=3.0)
CONFIG = CsiConfig(Panel(3, 2, 2), num_rx_ant=2, num_subcarriers=7, spacing_hz=360e3, subband_size=3)
_BATCH, _USERS = 3, 2
_UNIT = 1e-5  # norms in float32
_POWER = 1e-4  # total power of precoders that solve linear systems in float32


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


def check_precoder(precoder: str | type[Precoder] | Precoder, **params: Any) -> None:
    """All checks of a precoder: :data:`PRECODER_CHECKS`.

    Args:
        precoder: class, name of a plug-in, dotted path, or an object.
        **params: of the constructor.

    Raises:
        AssertionError: what the precoder does and must not.
        ConfigError: it cannot be constructed.

    Example:
        >>> from csilink.testing import check_precoder
        >>> check_precoder("zf")
    """
    if isinstance(precoder, str):
        precoder = registry.build("precoders", precoder, **params)
    elif isinstance(precoder, type):
        precoder = registry.checked("precoders", precoder)(**params)
    run(PRECODER_CHECKS, precoder)


def check_channel(source: str | type[ChannelSource], *, geometry: RadioGeometry = GEOMETRY, **params: Any) -> None:
    """Shapes, seeds and drops of a channel source, as the runner uses it: one object, many seeds.

    Args:
        source: class, name of a plug-in, or dotted path.
        geometry: carrier, antennas, users, time; by default 12 ports (3, 2, 2), two users with two antennas, two slots,
            five frequency samples.
        **params: of the constructor.

    Raises:
        AssertionError: what the source does and must not.
        ConfigError: it cannot be constructed.

    Example:
        >>> from csilink.testing import check_channel
        >>> check_channel("rayleigh")
    """
    if isinstance(source, str):
        made = registry.build("channels", source, geometry, **params)
    else:
        made = registry.checked("channels", source)(geometry, **params)
    g = geometry
    drop = (g.num_users, g.num_rx_ant, g.panel.num_ports, g.num_slots, g.num_subcarriers)
    h = made.sample(3, seed=1)
    assert isinstance(h, np.ndarray) and h.dtype == np.complex64, f"sample() returns {getattr(h, 'dtype', type(h))}"
    assert h.shape == (3, *drop), f"channels of shape {h.shape}, not {(3, *drop)}"
    assert np.isfinite(h).all(), "NaN or infinity"
    power = np.sum(np.abs(h) ** 2, axis=(2, 3, 4, 5))
    assert (power > 0).all(), "a channel of zeros"
    none = made.sample(0, seed=1)
    assert none.shape == (0, *drop), f"no drops have the shape {none.shape}"
    assert all(len(value) == 0 for value in made.labels(0, seed=1).values()), "labels of no drops"
    other = made.sample(3, seed=2)
    assert (np.abs(other - h) ** 2).sum(axis=(2, 3, 4, 5)).min() > 1e-3 * power.min(), "another seed, the same channel"
    again = made.sample(3, seed=1)
    assert np.array_equal(again, h), "another channel for the same seed"
    assert not np.shares_memory(again, h), "two samples share their memory"
    assert (h[0] != h[1]).any(), "all drops are alike"
    later = made.sample(3, seed=1, first=2)
    # Rounding of a product depends on the place in the batch; random numbers do not.
    assert np.abs(later[0] - h[2]).max() < 1e-5 * np.abs(h[2]).max(), "a drop depends on those before it"
    assert (later[1] != h[0]).any() and (later[1] != h[1]).any(), "drops repeat"


def check_model(model: str | type, *, shape: tuple[int, int] = (8, 12), **params: Any) -> None:
    """Encoder, decoder and configuration of a network of ``csilink.models``.

    Args:
        model: class derived from ``receivers.models.autoencoder.Autoencoder``, or name of a plug-in.
        shape: height (delay taps) and width (ports) of an image.
        **params: of the constructor.

    Raises:
        AssertionError: what the network does and must not.
        ConfigError: it cannot be constructed, or is of another base class.

    Example:
        >>> from csilink.testing import check_model
        >>> check_model("csinet", num_latents=16)
    """
    from receivers.models.checked import autoencoder_class

    cls = autoencoder_class(model) if isinstance(model, str) else model
    network = cls(height=shape[0], width=shape[1], **params)
    images = np.random.default_rng(1).standard_normal((5, *shape, 2)).astype(np.float32)
    latents = array(network.encoder(images, training=False))
    assert latents.shape == (5, network.num_latents), f"latents of shape {latents.shape}, not (5, num_latents)"
    assert np.isfinite(latents).all(), "NaN or infinity in the latents"
    assert np.ptp(latents, axis=0).max() > 0, "latents do not depend on the image"
    decoded = array(network.decoder(latents, training=False))
    assert decoded.shape == images.shape, f"images of shape {decoded.shape}, not {images.shape}"
    assert np.isfinite(decoded).all(), "NaN or infinity in the images"
    again = cls(**network.get_config())
    assert len(again.weights) == len(network.weights), "get_config() builds another network"
    for one, two in zip(again.weights, network.weights, strict=True):
        assert one.shape == two.shape, f"get_config() builds another network: {one.path} {one.shape}, {two.shape}"
        one.assign(two)
    rebuilt = array(again.encoder(images, training=False))
    assert np.allclose(rebuilt, latents, rtol=1e-5, atol=1e-6), "the network of get_config() computes something else"


# Feedback ------------------------------------------------------------------------------------------------------------


def plane_waves(config: CsiConfig, rng: np.random.Generator, batch: int = _BATCH, users: int = _USERS) -> CsiEstimate:
    """Channels of three plane waves per receive antenna, as a UE without estimation error knows them.

    Args:
        config: antennas and frequency samples.
        rng: generator.
        batch: drops.
        users: UEs of a drop.
    """
    panel, lead = config.panel, (batch, users, config.num_rx_ant)
    h = np.zeros((*lead, panel.num_ports, config.num_subcarriers), np.complex64)
    for _ in range(3):
        u, v, delay = rng.random((3, *lead, 1)) * np.array([1, 1, 0.15]).reshape(3, 1, 1, 1, 1)
        beam = (
            np.exp(2j * np.pi * u * np.arange(panel.n1))[..., None]
            * np.exp(2j * np.pi * v * np.arange(panel.n2))[..., None, :]
        )
        ports = noise(rng, *lead, panel.num_pol)[..., None] * beam.reshape(*lead, 1, -1)
        h += ports.reshape(*lead, -1, 1) * np.exp(-2j * np.pi * delay * np.arange(config.num_subcarriers))[..., None, :]
    return CsiEstimate(h.astype(np.complex64), np.zeros((batch, users), np.float32))


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
    return valid


def report_and_reconstruction(scheme: FeedbackScheme, rng: np.random.Generator) -> None:
    """Shapes, lengths and padding of a report; its own reconstruction is valid; the estimate is left as it is."""
    estimate = plane_waves(scheme.config, rng)
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
    bops = scheme.ue_bops(plane_waves(scheme.config, rng))
    if bops is not None:
        assert bops.shape == (_BATCH, _USERS) and bops.dtype == np.float64, f"{bops.dtype} {bops.shape}"
        assert (bops > 0).all(), "a report without operations"


def deterministic(scheme: FeedbackScheme, rng: np.random.Generator) -> None:
    """Equal estimates have equal reports, from this object again and from a twin; nothing is remembered."""
    fresh = scheme.twin()
    estimate = plane_waves(scheme.config, rng)
    report = scheme.report(estimate)
    scheme.report(plane_waves(scheme.config, rng))
    assert scheme.label and scheme.label == fresh.label, f"labels {scheme.label!r} and {fresh.label!r} of twins"
    assert scheme.max_bits == fresh.max_bits, "max_bits of twins differ"
    for who, again in (("it", scheme.report(estimate)), ("its twin", fresh.report(estimate))):
        same = np.array_equal(again.bits, report.bits) and np.array_equal(again.num_bits, report.num_bits)
        assert same, f"another report from {who}"


def channel_dependent(scheme: FeedbackScheme, rng: np.random.Generator) -> None:
    """More than half of the reports of other channels differ."""
    one, two = (scheme.report(plane_waves(scheme.config, rng, batch=20)) for _ in range(2))
    width = min(one.bits.shape[2], two.bits.shape[2])
    assert (one.bits[..., :width] != two.bits[..., :width]).any(axis=2).mean() > 0.5, "too many are equal"


def bits_alone(scheme: FeedbackScheme, rng: np.random.Generator) -> None:
    """A twin that has seen no channel reconstructs the same from the bits."""
    report = scheme.report(plane_waves(scheme.config, rng))
    here, there = (end.reconstruct(report) for end in (scheme, scheme.twin()))
    one, two = (x.value for x in (here, there))
    assert np.abs(one - two).max() <= 1e-6 * np.abs(one).max(), "the gNB needs more than the bits"


def own_channel_alone(scheme: FeedbackScheme, rng: np.random.Generator) -> None:
    """Another channel of one UE leaves the reports of the others in its batch as they are."""
    one = plane_waves(scheme.config, rng)
    h_hat = one.h_hat.copy()
    h_hat[1, 1] = plane_waves(scheme.config, rng).h_hat[1, 1]
    first, second = scheme.report(one), scheme.report(CsiEstimate(h_hat, one.error_var))
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


def wrong_length(
    scheme: FeedbackScheme,
    rng: np.random.Generator,
    changes: tuple[str, ...] = ("shorter", "longer", "empty", "without columns"),
) -> None:
    """Another length: PayloadError where all reports have one length, else reports marked as no codeword."""
    report = scheme.report(plane_waves(scheme.config, rng))
    lead = (_BATCH, _USERS)
    padded = np.pad(report.bits, ((0, 0), (0, 0), (0, scheme.max_bits + 1 - report.bits.shape[2])))
    num_bits = {"shorter": report.num_bits - 1, "longer": np.full(lead, scheme.max_bits + 1)}
    num_bits["empty"] = num_bits["without columns"] = np.zeros(lead, int)
    for change in changes:
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
    usual = scheme.report(plane_waves(scheme.config, rng, batch=20)).num_bits.ravel()
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


# Precoders -----------------------------------------------------------------------------------------------------------


def served_users(precoder: Precoder) -> list[int]:
    """Numbers of one-layer users that a precoder serves on 8 ports, of 1, 2, 5 and 8."""
    served = []
    for users in (1, 2, 5, 8):
        try:
            precoder.check(users, users, 8)
        except ConfigError:
            continue
        served.append(users)
    assert served, "check() refuses every link"
    return served


def _weights(precoder: Precoder, g: np.ndarray, noise_var: float) -> np.ndarray:
    return array(precoder.weights(g, noise_var))


def _has_unit_power(w: np.ndarray) -> None:
    power = np.sum(np.abs(w) ** 2, axis=(-2, -1))
    assert np.allclose(power, 1, rtol=0, atol=_POWER), f"total power {power.min():.6g}..{power.max():.6g}, not 1"


def total_power(precoder: Precoder, rng: np.random.Generator) -> None:
    """Shape, type and total power 1 at any noise."""
    for users in served_users(precoder):
        for noise_var in (1e-4, 0.1, 100.0):
            w = _weights(precoder, noise(rng, 3, 4, users, 8), noise_var)
            assert w.shape == (3, 4, 8, users), f"w of shape {w.shape}, not {(3, 4, 8, users)}"
            assert w.dtype == np.complex64, f"w of {w.dtype}"
            _has_unit_power(w)


def no_matrices(precoder: Precoder, rng: np.random.Generator, leads: Any = ((0,), (0, 4), (3, 0))) -> None:
    """An empty batch has an empty precoder."""
    served = served_users(precoder)
    for users, lead in [*((n, leads[0]) for n in served), *((served[-1], lead) for lead in leads[1:])]:
        w = _weights(precoder, ops.zeros((*lead, users, 8), "complex64"), 0.1)
        assert w.shape == (*lead, 8, users) and w.dtype == np.complex64, f"{w.dtype} {w.shape} for {lead}"


def power_of_layers(precoder: Precoder, rng: np.random.Generator) -> None:
    """Total power 1 for one user with several orthogonal layers of falling strength."""
    u = np.linalg.svd(noise(rng, 6, 8, 8))[0][:, :4].astype(np.complex64)
    for noise_var in (1e-4, 1.0, 100.0):
        _has_unit_power(_weights(precoder, u * np.float32([3, 1, 0.3, 0.01])[:, None], noise_var))


def degenerate_groups(precoder: Precoder, rng: np.random.Generator) -> None:
    """Users without CSI get no power, equal users leave it finite."""
    for users in served_users(precoder):
        g = noise(rng, 4, users, 8)
        g[0] = 0
        g[1, 0] = 0
        g[2] = g[2, :1]
        for noise_var in (1e-9, 0.1):
            w = _weights(precoder, g, noise_var)
            power = np.sum(np.abs(w) ** 2, axis=(1, 2))
            assert np.isfinite(w).all() and (power <= 1 + _POWER).all(), f"total power {power}"
            assert (w[0] == 0).all() and (w[1, :, 0] == 0).all(), "power for users of whom nothing is known"
            _has_unit_power(w[1 if users > 1 else 2 :])


def declared_noise_dependence(precoder: Precoder, rng: np.random.Generator) -> None:
    """The noise changes nothing unless ``noise_dependent`` says so."""
    if not precoder.noise_dependent:
        g = noise(rng, 5, max(served_users(precoder)), 8)
        assert np.array_equal(_weights(precoder, g, 0.0), _weights(precoder, g, 10.0)), "noise_dependent is False"


PRECODER_CHECKS = (total_power, no_matrices, power_of_layers, degenerate_groups, declared_noise_dependence)
