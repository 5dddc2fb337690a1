"""What a precoder promises."""

from __future__ import annotations

from typing import Any

import numpy as np

from csilink.testing.common import array, noise, run
from simulator.core import registry
from simulator.core.backend import ops
from simulator.core.errors import ConfigError
from simulator.core.interfaces import Precoder

_POWER = 1e-4  # total power of precoders that solve linear systems in float32


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
