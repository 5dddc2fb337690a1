"""What csilink asks of channel estimators and of the networks that they use."""

from __future__ import annotations

from typing import Any

import numpy as np

from csilink.testing.common import Part, array, configured, noise, run, shaken
from simulator.core.interfaces import Estimator
from simulator.core.types import Panel, RadioGeometry

GEOMETRY = RadioGeometry(3.5e9, Panel(3, 2, 2), 2, 2, 24, 360e3, num_slots=2, subcarriers_per_sample=12)


def check_estimator(estimator: str | type[Estimator], **params: Any) -> None:
    """All checks of a channel estimator: :data:`ESTIMATOR_CHECKS`.

    Args:
        estimator: class, name of a plug-in, or dotted path; constructed for 12 ports, two users with two antennas, two
            slots and 24 resource blocks of 360 kHz.
        **params: of the constructor.

    Raises:
        AssertionError: what the estimator does and must not.
        ConfigError: it cannot be constructed.

    Example:
        >>> from csilink.testing import check_estimator
        >>> check_estimator("noisy", snr_db=10.0)
    """
    run(ESTIMATOR_CHECKS, Part("estimators", estimator, GEOMETRY, **params))


def _channels(rng: np.random.Generator, batch: int) -> np.ndarray:
    """Exponential delay profile of 100 ns; one UE is 26 dB stronger than the other."""
    delays = rng.exponential(100e-9, (batch, 2, 1, 1, 1, 40, 1)) * 360e3
    waves = np.exp(-2j * np.pi * delays * np.arange(24))
    h = (noise(rng, batch, 2, 2, 12, 2, 1, 40) @ waves)[..., 0, :] / np.sqrt(40)
    return (h * np.float32([1, 20])[:, None, None, None, None]).astype(np.complex64)


def declared_error(part: Part, rng: np.random.Generator) -> None:
    """Shapes and types; the mean squared error of every UE is ``error_var`` within 10 %, exactly 0 where that is 0."""
    h = _channels(rng, 60)
    before = h.copy()
    estimate = part.one.estimate(h, seed=3)
    h_hat, error_var = estimate.h_hat, estimate.error_var
    assert np.array_equal(h, before), "estimate() changes the channel"
    assert h_hat.shape == h.shape and h_hat.dtype == np.complex64, f"h_hat is {h_hat.dtype} {h_hat.shape}"
    is_float = error_var.shape == (60, 2, 2) and error_var.dtype == np.float32
    assert is_float, f"error_var is {error_var.dtype} {error_var.shape}, not float32 {(60, 2, 2)}"
    assert np.isfinite(h_hat).all() and (error_var >= 0).all(), "NaN, infinity or a negative error_var"
    error = np.mean(np.abs(h_hat - h) ** 2, axis=(2, 3, 5), dtype=np.float64)
    exact = error_var == 0
    assert (error[exact] == 0).all(), "error_var is 0, the error is not"
    if not exact.all():
        found, declared = error.mean(axis=(0, 2)), error_var.mean(axis=(0, 2))
        assert np.allclose(found, declared, rtol=0.1), f"mean squared errors {found}; error_var {declared}"


def no_drops(part: Part, rng: np.random.Generator) -> None:
    """An empty batch has an empty estimate."""
    estimate = part.one.estimate(np.zeros((0, 2, 2, 12, 2, 24), np.complex64), seed=3)
    shapes = estimate.h_hat.shape, estimate.error_var.shape
    assert shapes == ((0, 2, 2, 12, 2, 24), (0, 2, 2)), f"estimates of shapes {shapes}"


def own_channel_alone(part: Part, rng: np.random.Generator) -> None:
    """Another channel of one UE leaves the estimates of the others as they are, without interference from them."""
    if getattr(part.one, "inr_db", None):  # interference of other cells is drawn for the batch
        return
    h = _channels(rng, 3)
    changed = h.copy()
    changed[1, 1] = 5 * h[0, 0]
    one, two = (part.one.estimate(x, seed=3) for x in (h, changed))
    same = np.ones((3, 2), bool)
    same[1, 1] = False
    assert np.array_equal(one.h_hat[same], two.h_hat[same]), "their estimates change"
    assert np.array_equal(one.error_var[same], two.error_var[same]), "their error_var changes"
    assert not np.array_equal(one.h_hat[1, 1], two.h_hat[1, 1]), "an estimate does not depend on the channel"


def seeds(part: Part, rng: np.random.Generator) -> None:
    """The same seed has the same noise, another seed another one."""
    h = _channels(rng, 4)
    one, again, other = (part.one.estimate(h, seed=s) for s in (3, 3, 4))
    assert np.array_equal(one.h_hat, again.h_hat), "another estimate for the same seed"
    assert (one.h_hat != other.h_hat).any() or not one.error_var.any(), "another seed, the same estimate"


def no_future(part: Part, rng: np.random.Generator) -> None:
    """The estimate of a slot uses no later one."""
    h = _channels(rng, 4)
    changed = h.copy()
    changed[..., 1, :] = 0
    one, two = (part.one.estimate(x, seed=3).h_hat[..., 0, :] for x in (h, changed))
    assert np.array_equal(one, two), "the first slot changes with the second"


ESTIMATOR_CHECKS = (declared_error, no_drops, own_channel_alone, seeds, no_future)


# Networks ------------------------------------------------------------------------------------------------------------


def check_estimation_model(model: str | type, **params: Any) -> None:
    """All checks of a network that corrects estimates of pilots: :data:`ESTIMATION_MODEL_CHECKS`.

    Args:
        model: class derived from ``keras.Model``, or name of a plug-in.
        **params: of the constructor.

    Raises:
        AssertionError: what the network does and must not.
        ConfigError: it cannot be constructed.

    Example:
        >>> from csilink.testing import check_estimation_model
        >>> check_estimation_model("delay_beam_denoiser", width=4)
    """
    run(ESTIMATION_MODEL_CHECKS, Part("estimation_models", model, **params))


def _bins(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Bins of an estimate and of what it has removed."""
    return (
        rng.standard_normal((*shape, 2)).astype(np.float32),
        rng.standard_normal((*shape, 2)).astype(np.float32),
    )


def change_of_bins(part: Part, rng: np.random.Generator) -> None:
    """Finite float32 of the shape of the bins, for any panel, band and number of antennas, and for no user."""
    for shape in ((3, 4, 2, 4, 24), (2, 1, 1, 3, 7), (2, 2, 1, 1, 1), (0, 4, 2, 4, 7)):
        out = array(part.one(*_bins(rng, *shape)))
        assert out.shape == (*shape, 2) and out.dtype == np.float32, f"{out.dtype} {out.shape}, not {(*shape, 2)}"
        assert np.isfinite(out).all(), "NaN or infinity"


def own_user_alone(part: Part, rng: np.random.Generator) -> None:
    """The change of a user depends on its own bins and on nothing else of the batch."""
    network = shaken(part.new(), rng)
    estimate, removed = _bins(rng, 4, 2, 1, 4, 12)
    together = array(network(estimate, removed))
    alone = array(network(estimate[1:2], removed[1:2]))[0]
    assert np.allclose(together[1], alone, rtol=1e-4, atol=1e-5), "other users of the batch change it"
    assert np.ptp(together, axis=0).max() > 0, "it does not depend on the bins"


def survives_its_card(part: Part, rng: np.random.Generator) -> None:
    """All weights exist after construction, and ``get_config()`` builds the same network."""
    given = _bins(rng, 3, 2, 1, 4, 12)
    configured(part, shaken(part.new(), rng), lambda network: array(network(*given)))


ESTIMATION_MODEL_CHECKS = (change_of_bins, own_user_alone, survives_its_card)
