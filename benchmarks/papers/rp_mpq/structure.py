"""What compression takes and what low precision takes: RP-MPQ's Eq. 10, its split of outage, and Eqs. 11 to 15."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def outage_split(floor: np.ndarray, outage: np.ndarray) -> dict[str, float]:
    """Share of reports in outage by cause: ``outage = floor + operational - rescued``.

    Args:
        floor: bool ``[sample]``, in outage with exact weights at the UE.
        outage: bool ``[..., sample]``, with those of a policy; leading axes are draws.

    Returns:
        ``floor``: in outage with exact weights, which no precision avoids; ``operational``: because of low precision
        alone; ``rescued``: the errors of low precision happen to help.

    Source: RP-MPQ, Sec. I-B and II-B.
    """
    return {
        "floor": float(np.mean(floor)),
        "operational": float(np.mean(outage & ~floor)),
        "rescued": float(np.mean(floor & ~outage)),
        "outage": float(np.mean(outage)),
    }


def information_floor(
    train: tuple[np.ndarray, np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray, np.ndarray], ridge: float
) -> dict[str, float]:
    r"""Terms of :math:`E|x - g(z)|^2 = E|x - E(x|z)|^2 + E|E(x|z) - g(z)|^2` over :math:`E|x|^2`, on test samples.

    The conditional mean is not known. In its place is the best affine map of g(z) and z to x, by ridge regression on
    training samples: a decoder at least as good as g but for the error of the fit. So ``floor`` is an upper bound of
    the encoder's information floor, ``decoder`` a lower bound of what a better decoder can win.

    Args:
        train: images x, latents z and decoded images g(z), each float ``[sample, ...]``.
        test: the same of other samples.
        ridge: weight of the squared coefficients of the change, relative to the mean power of what it is made of.

    Returns:
        ``error``, ``floor`` and ``decoder`` (mean square distance of g from that map).

    Source: RP-MPQ, Eq. 10.
    """
    x, z, g = (part.reshape(len(part), -1).astype(np.float64) for part in train)
    given, change = _with_one(z, g), x - g
    gram = given.T @ given
    weights = np.linalg.solve(gram + ridge * np.trace(gram) / len(gram) * np.eye(len(gram)), given.T @ change)
    x, z, g = (part.reshape(len(part), -1).astype(np.float64) for part in test)
    best = g + _with_one(z, g) @ weights
    power = np.sum(x**2)
    terms = {"error": x - g, "floor": x - best, "decoder": best - g}
    return {name: float(np.sum(term**2) / power) for name, term in terms.items()}


def _with_one(z: np.ndarray, g: np.ndarray) -> np.ndarray:
    return np.concatenate([z, g, np.ones((len(z), 1))], axis=1)


def tail_energy(x: np.ndarray) -> np.ndarray:
    r"""Energy of a channel beyond a distance of its strongest angle: share :math:`E(L) / E(-1)` for L = 0, 1, ...

    Args:
        x: complex ``[sample, delay, angle]``; distances are those on the circle of the DFT's angles. Every delay has a
            strongest angle of its own.

    Returns:
        float64 ``[angle // 2 + 1]``, the last one is 0.

    Source: RP-MPQ, Eqs. 11, 12.
    """
    power = np.abs(x.reshape(-1, x.shape[-1]).astype(np.complex128)) ** 2
    return _beyond(np.add.reduce(_centred(power, np.argmax(power, axis=-1)), axis=0))


def tail_influence(features: Callable[[np.ndarray], np.ndarray], x: np.ndarray, step: float = 1e-2) -> np.ndarray:
    r"""Influence of a pixel on features beyond a distance in angle: share for L = 0, 1, ...

    The middle column of every image is moved by ``step`` times a random direction of unit power; the squared change of
    the features of a column is its influence (Eq. 14: :math:`|C A^\tau B|^2` of a linear state-space model at distance
    :math:`\tau`). A convolution has none beyond its reach (Eq. 12), a state-space model one that falls exponentially
    (Eq. 15).

    Args:
        features: images float32 ``[sample, delay, angle, 2]`` to features of the same columns ``[sample, row, angle,
            map]``.
        x: images.
        step: relative to the root mean square of the images.

    Returns:
        float64 ``[angle // 2 + 1]``; distances on the circle, as in :func:`tail_energy`.

    Source: RP-MPQ, Eqs. 12 to 15.
    """
    rng, middle = np.random.default_rng(0), x.shape[2] // 2
    moved = x.copy()
    direction = rng.standard_normal(x[:, :, middle].shape)
    scale = step * np.sqrt(np.mean(x.astype(np.float64) ** 2) / np.mean(direction**2))
    moved[:, :, middle] += (scale * direction).astype(np.float32)
    change = features(moved).astype(np.float64) - features(x)
    power = np.sum(change**2, axis=(1, 3))
    return _beyond(np.add.reduce(_centred(power, np.full(len(power), middle)), axis=0))


def _centred(power: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Power float64 ``[row, distance]`` of rows ``[row, angle]`` by distance from an angle of each."""
    size = power.shape[-1]
    distance = np.abs((np.arange(size) - at[:, None] + size // 2) % size - size // 2)
    rows = np.repeat(np.arange(len(power)), size).reshape(power.shape)
    found = np.zeros((len(power), size // 2 + 1))
    np.add.at(found, (rows, distance), power)
    return found


def _beyond(power: np.ndarray) -> np.ndarray:
    """Share of the power at distances above each."""
    return np.maximum(1 - np.cumsum(power) / np.sum(power), 0)


def decay(tail: np.ndarray) -> dict[str, float]:
    """Least-squares fits to the logarithm of a tail E(L), L = 1 .. that are not 0: power law and exponential.

    Returns:
        ``power``: a of L^-a (Eq. 12 bounds it by 1 / L); ``rate``: a of exp(-a L) (Eq. 15); root mean squares of their
        residuals [dB]. NaN where fewer than three distances are left.
    """
    radius = np.arange(len(tail))
    used = (radius >= 1) & (tail > 1e-12)
    if used.sum() < 3:
        return dict.fromkeys(("power", "power_misfit_db", "rate", "rate_misfit_db"), float("nan"))
    log, found = np.log(tail[used]), {}
    for name, along in {"power": np.log(radius[used]), "rate": radius[used]}.items():
        slope, offset = np.polyfit(along, log, 1)
        misfit = 10 / np.log(10) * np.sqrt(np.mean((log - slope * along - offset) ** 2))
        found |= {name: float(-slope), f"{name}_misfit_db": float(misfit)}
    return found
