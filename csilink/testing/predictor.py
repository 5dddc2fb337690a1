"""What csilink asks of predictors."""

from __future__ import annotations

import numpy as np

from csilink.testing.common import Part, noise, refused, run
from simulator.core.errors import ConfigError
from simulator.core.interfaces import Predictor
from simulator.core.types import Panel, RadioGeometry

GEOMETRY = RadioGeometry(3.5e9, Panel(3, 2, 2), 2, 2, 7, 360e3, num_slots=20, slot_s=1e-3, speed_mps=3.0)
_SHAPE = (3, 2, 2, 12, 7)


def check_predictor(
    predictor: str | type[Predictor], *, geometry: RadioGeometry = GEOMETRY, exact_phase: bool = True, **params: object
) -> None:
    """All checks of a predictor: :data:`PREDICTOR_CHECKS`.

    Args:
        predictor: class, name of a plug-in, or dotted path.
        geometry: carrier and slot duration that it is constructed for; histories have 12 ports, two UE antennas, seven
            frequency samples.
        exact_phase: whether a phase common to all entries must pass through; False for networks that learn it.
        **params: of the constructor.

    Raises:
        AssertionError: what the predictor does and must not.
        ConfigError: it cannot be constructed.

    Example:
        >>> from csilink.testing import check_predictor
        >>> check_predictor("ar", order=2)
    """
    part = Part("predictors", predictor, geometry, **params)
    run(PREDICTOR_CHECKS if exact_phase else [c for c in PREDICTOR_CHECKS if c is not common_phase], part)


def _history(part: Part, rng: np.random.Generator) -> np.ndarray:
    """Three rays per UE with a Doppler shift of their own, on all antennas and subcarriers, in some noise."""
    slots = part.one.num_history + 3
    phases = np.exp(2j * np.pi * 0.2 * rng.uniform(-1, 1, (3, 2, 1, 1, 1, 3)) * np.arange(slots)[:, None])
    h = phases @ noise(rng, 3, 2, 2, 12, 3, 7) + 0.1 * noise(rng, 3, 2, 2, 12, slots, 7)
    return h.astype(np.complex64)


def future(part: Part, rng: np.random.Generator) -> None:
    """Shape, type and finite values at every delay; 0 slots ahead is the last slot; the history is left as it is."""
    history = _history(part, rng)
    before = history.copy()
    horizon = part.one.horizon
    for ahead in (0, 1, 2 if horizon is None else min(2, horizon)):
        out = part.one.predict(history, ahead)
        assert isinstance(out, np.ndarray) and out.dtype == np.complex64, f"{getattr(out, 'dtype', type(out))}"
        assert out.shape == _SHAPE, f"a prediction of shape {out.shape}, not {_SHAPE}"
        assert np.isfinite(out).all(), "NaN or infinity"
        assert ahead or np.array_equal(out, history[..., -1, :]), "0 slots ahead is not the last slot"
    assert np.array_equal(history, before), "predict() changes the history"


def no_memory(part: Part, rng: np.random.Generator) -> None:
    """The same history has the same future, from this object again and from a new one."""
    history = _history(part, rng)
    out = part.one.predict(history, 1)
    part.one.predict(_history(part, rng), 1)
    for who, again in (("it", part.one), ("a new one", part.new())):
        assert np.array_equal(again.predict(history, 1), out), f"another prediction from {who}"


def scale(part: Part, rng: np.random.Generator) -> None:
    """A channel eight times as strong has a future eight times as strong."""
    history = _history(part, rng)
    _proportional(part, history, np.complex64(8))


def common_phase(part: Part, rng: np.random.Generator) -> None:
    """A phase common to all entries passes through."""
    _proportional(part, _history(part, rng), np.complex64(np.exp(0.7j)))


def _proportional(part: Part, history: np.ndarray, factor: np.complex64) -> None:
    one, two = factor * part.one.predict(history, 1), part.one.predict(factor * history, 1)
    error = np.abs(one - two).max() / np.abs(one).max()
    assert error < 1e-4, f"relative difference {error:.2g}"


def own_history_alone(part: Part, rng: np.random.Generator) -> None:
    """Another history of one UE leaves the predictions of the others in its batch as they are."""
    history = _history(part, rng)
    changed = history.copy()
    changed[1, 1] = 3 * history[0, 0]
    one, two = (part.one.predict(x, 1) for x in (history, changed))
    same = np.ones((3, 2), bool)
    same[1, 1] = False
    assert np.array_equal(one[same], two[same]), "their predictions change"
    assert not np.array_equal(one[1, 1], two[1, 1]), "a prediction does not depend on the history"


def no_csi(part: Part, rng: np.random.Generator) -> None:
    """Zeros, and slots of zeros, of which the gNB knows nothing, have a finite future."""
    history = _history(part, rng)
    for start in (1, history.shape[4] // 2, history.shape[4]):
        history[..., :start, :] = 0
        assert np.isfinite(part.one.predict(history, 1)).all(), f"NaN or infinity after {start} slots of zeros"


def no_drops(part: Part, rng: np.random.Generator) -> None:
    """An empty batch has an empty future."""
    history = np.zeros((0, 2, 2, 12, part.one.num_history + 2, 7), np.complex64)
    for ahead in (0, 1):
        shape = part.one.predict(history, ahead).shape
        assert shape == (0, *_SHAPE[1:]), f"a prediction of shape {shape}"


def limits(part: Part, rng: np.random.Generator) -> None:
    """The shortest history is enough; a shorter one, and a delay out of range, are ConfigErrors of the scenario."""
    predictor, history = part.one, _history(part, rng)
    need, horizon = predictor.num_history, predictor.horizon
    assert need >= 1, f"num_history is {need}"
    assert predictor.predict(history[..., -need:, :], 1).shape == _SHAPE
    words = f"time.history_slots: got {need - 1}"
    refused(ConfigError, words, lambda: predictor.predict(history[..., : need - 1, :], 1))
    refused(ConfigError, "uplink.delay_slots: got -1", lambda: predictor.predict(history, -1))
    if horizon is not None:
        refused(ConfigError, "uplink.delay_slots", lambda: predictor.predict(history, horizon + 1))


PREDICTOR_CHECKS = (future, no_memory, scale, common_phase, own_history_alone, no_csi, no_drops, limits)
