"""What csilink asks of networks that refine decoded reports."""

from __future__ import annotations

from typing import Any

import numpy as np

from csilink.testing.common import Part, array, configured, run, shaken

_MOST_PARAMETERS = 1_000_000


def check_report_refiner(refiner: str | type, **params: Any) -> None:
    """All checks of a refiner of decoded reports: :data:`REPORT_REFINER_CHECKS`.

    Args:
        refiner: class derived from ``keras.Model``, or name of a plug-in.
        **params: of the constructor.

    Raises:
        AssertionError: what the network does and must not.
        ConfigError: it cannot be constructed.

    Example:
        >>> from csilink.testing import check_report_refiner
        >>> check_report_refiner("beam_transformer", dim=16, num_layers=1, num_heads=2, hidden=16)
    """
    run(REPORT_REFINER_CHECKS, Part("report_refiners", refiner, **params))


def _tokens(rng: np.random.Generator, layers: int = 4, beams: int = 6) -> np.ndarray:
    from receivers.models.report_frame import FEATURES

    return rng.standard_normal((layers, beams, FEATURES)).astype(np.float32)


def identity_before_training(part: Part, rng: np.random.Generator) -> None:
    """Before training the decoded coefficients come back."""
    from receivers.models.report_frame import decoded

    x = _tokens(rng)
    out = array(part.one(x))
    assert out.dtype == np.float32 and out.shape == decoded(x).shape, f"{out.dtype} {out.shape}"
    assert np.allclose(out, decoded(x), rtol=0, atol=1e-5), "they change"


def any_panel(part: Part, rng: np.random.Generator) -> None:
    """Finite float32 for any number of beams and layers, and for none."""
    from receivers.models.report_frame import TAPS

    for layers, beams in ((1, 2), (3, 16), (2, 40), (0, 6)):
        out = array(part.one(_tokens(rng, layers, beams)))
        assert out.shape == (layers, beams, 4 * TAPS), f"{out.shape} of {layers} layers and {beams} beams"
        assert np.isfinite(out).all(), "NaN or infinity"


def own_layer_alone(part: Part, rng: np.random.Generator) -> None:
    """A refined layer depends on its own tokens and on no other layer of the batch."""
    network, x = shaken(part.new(), rng), _tokens(rng)
    together, alone = array(network(x)), array(network(x[2:3]))[0]
    assert np.allclose(together[2], alone, rtol=1e-4, atol=1e-4), "other layers change it"


def size(part: Part, rng: np.random.Generator) -> None:
    """At most a million parameters."""
    count = part.one.count_params()
    assert count <= _MOST_PARAMETERS, f"it has {count}"


def survives_its_card(part: Part, rng: np.random.Generator) -> None:
    """All weights exist after construction, and ``get_config()`` builds the same network."""
    x = _tokens(rng)
    configured(part, shaken(part.new(), rng), lambda network: array(network(x)))


REPORT_REFINER_CHECKS = (identity_before_training, any_panel, own_layer_alone, size, survives_its_card)
