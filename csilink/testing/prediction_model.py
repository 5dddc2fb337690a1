"""What csilink asks of networks that predict channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from csilink.testing.common import Part, array, configured, run, shaken


def check_prediction_model(model: str | type, **params: Any) -> None:
    """All checks of a network that the predictor ``network`` uses: :data:`PREDICTION_MODEL_CHECKS`.

    Args:
        model: class derived from ``receivers.models.sequence_predictor.SequencePredictor`` (or with its ``forecast``),
            or name of a plug-in.
        **params: of the constructor.

    Raises:
        AssertionError: what the network does and must not.
        ConfigError: it cannot be constructed.

    Example:
        >>> from csilink.testing import check_prediction_model
        >>> check_prediction_model("lstm", group=4, width=8)
    """
    run(PREDICTION_MODEL_CHECKS, Part("prediction_models", model, **params))


def _history(part: Part, rng: np.random.Generator, batch: int = 3) -> np.ndarray:
    """Channels ``[batch, slot, subcarrier, antenna, 2]`` of 8 subcarriers and 4 antennas, of mean power 1."""
    slots = max(4, getattr(part.one, "num_history", 1))
    return (rng.standard_normal((batch, slots, 8, 4, 2)) / np.sqrt(2)).astype(np.float32)


def _forecast(network: Any, history: np.ndarray, count: int) -> np.ndarray:
    return array(network.forecast(history, count))


def future_slots(part: Part, rng: np.random.Generator) -> None:
    """``forecast`` gives as many slots as asked for, finite float32."""
    history = _history(part, rng)
    for count in (1, 2):
        out = _forecast(part.one, history, count)
        wanted = (3, count, 8, 4, 2)
        assert out.shape == wanted and out.dtype == np.float32, f"{out.dtype} {out.shape}, not {wanted}"
        assert np.isfinite(out).all(), "NaN or infinity"


def own_channel_alone(part: Part, rng: np.random.Generator) -> None:
    """The future of a channel depends on its own history and on nothing else of the batch."""
    network, history = shaken(part.new(), rng), _history(part, rng)
    together, alone = _forecast(network, history, 1), _forecast(network, history[1:2], 1)[0]
    assert np.allclose(together[1], alone, rtol=1e-4, atol=1e-5), "other channels of the batch change it"
    assert np.ptp(together, axis=0).max() > 0, "it does not depend on the history"


def latest_slot_counts(part: Part, rng: np.random.Generator) -> None:
    """Another last slot has another future."""
    network, history = shaken(part.new(), rng), _history(part, rng)
    changed = history.copy()
    changed[:, -1] *= -1
    assert np.abs(_forecast(network, history, 1) - _forecast(network, changed, 1)).max() > 0, "it has the same"


def survives_its_card(part: Part, rng: np.random.Generator) -> None:
    """All weights exist after construction, and ``get_config()`` builds the same network."""
    history = _history(part, rng)
    configured(part, shaken(part.new(), rng), lambda network: _forecast(network, history, 1))


PREDICTION_MODEL_CHECKS = (future_slots, own_channel_alone, latest_slot_counts, survives_its_card)
