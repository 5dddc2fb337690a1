"""Cost of an unreliable report under a precision policy, and its table over the UE's observations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.core.errors import ConfigError
from simulator.core.units import db_to_lin


def hoyer_sparsity(x: ArrayLike) -> NDArray[np.float64]:
    r"""Hoyer's sparsity: 0 for entries of equal magnitude, 1 for a single one.

    .. math:: s = \frac{\sqrt N - \|x\|_1 / \|x\|_2}{\sqrt N - 1}

    Args:
        x: real ``[sample, ...]`` of any scale; the N >= 2 entries after the first axis are one vector. Complex values
            come as real and imaginary parts.
    Returns:
        float64 ``[sample]`` in [0, 1]; 0 where all entries are zero.
    Raises:
        ConfigError: for complex, non-finite or single entries.
    Source: RP-MPQ, Eq. (33); Hoyer, J. Mach. Learn. Res. 5, 2004, Sec. 3.1.
    """
    x = finite("sparsity.x", x)
    size = int(np.prod(x.shape[1:]))
    if x.ndim < 2 or size < 2:
        raise ConfigError("sparsity.x", f"shape {x.shape}", "[sample, ...] with at least two entries a sample")
    x = np.abs(x.reshape(len(x), size))
    largest = x.max(axis=1, keepdims=True)
    x = x / np.where(largest > 0, largest, 1)  # squares stay in the range of float64
    length = np.sqrt((x**2).sum(axis=1))
    ratio = x.sum(axis=1) / np.where(length > 0, length, 1)
    sparsity = np.clip((np.sqrt(size) - ratio) / (np.sqrt(size) - 1), 0, 1)
    return np.where(length > 0, sparsity, 0.0)


def mrt_rate(h: NDArray[np.complex64], h_hat: NDArray[np.complex64], snr_db: ArrayLike) -> NDArray[np.float64]:
    r"""Rate of one antenna under MRT on known channels, mean over the band [bit/s/Hz].

    .. math:: r = \frac{1}{N} \sum_n \log_2\!\Big(1 + \rho\, \frac{|\hat h[n]^H h[n]|^2}{\|\hat h[n]\|^2}\Big)

    Args:
        h: true channels complex64 ``[sample, port, subcarrier]``.
        h_hat: known channels, same shape, of any scale; zeros get no rate.
        snr_db: transmit power over noise power [dB], ``[...]``.
    Returns:
        float64 ``[..., sample]``.
    Source: RP-MPQ, Eq. (38).
    """
    gain = np.abs(np.sum(h_hat.conj() * h, axis=1)) ** 2
    power = np.sum(np.abs(h_hat) ** 2, axis=1)
    gain = np.float64(gain / np.where(power > 0, power, 1))
    snr = db_to_lin(np.asarray(snr_db)[..., None, None])
    return np.log2(1 + snr * gain).mean(axis=-1)


def violation_cost(
    rate: ArrayLike, rate_ref: ArrayLike, gamma: ArrayLike, beta: float = 0.5, eps: float = 1e-9
) -> NDArray[np.float64]:
    r"""Outage, plus the relative size of the missing rate.

    .. math:: V = 1[r < \gamma r_{ref}] + \beta \frac{\max(0, \gamma r_{ref} - r)}{\gamma r_{ref} + \epsilon}

    Args:
        rate: rate under a policy, >= 0.
        rate_ref: rate under ideal CSI, >= 0, in the unit of ``rate``.
        gamma: part of ``rate_ref`` that must be reached, in (0, 1).
        beta: weight of the missing rate, >= 0.
        eps: > 0, in the unit of the rates: no division by zero.
    Returns:
        float64 of the common shape of ``rate``, ``rate_ref`` and ``gamma``, in [0, 1 + beta].
    Raises:
        ConfigError: for values outside these ranges or shapes that do not broadcast.
    Source: RP-MPQ, Eqs. (30), (31).
    """
    rate, rate_ref = finite("rate", rate, least=0), finite("rate_ref", rate_ref, least=0)
    gamma, beta, eps = finite("gamma", gamma), finite("beta", beta, (), least=0), finite("eps", eps, ())
    if not ((gamma > 0) & (gamma < 1)).all():
        raise ConfigError("gamma", f"{gamma.min()}..{gamma.max()}", "between 0 and 1, without the ends")
    if eps <= 0:
        raise ConfigError("eps", float(eps), "above 0")
    try:
        wanted, rate = np.broadcast_arrays(gamma * rate_ref, rate)
    except ValueError:
        shapes = f"shapes {rate.shape}, {rate_ref.shape}, {gamma.shape}"
        raise ConfigError("rate, rate_ref, gamma", shapes, "shapes that broadcast") from None
    return (rate < wanted) + beta * np.maximum(0, wanted - rate) / (wanted + eps)


def importance(sparsity: ArrayLike, alpha: float) -> NDArray[np.float64]:
    r"""Weight :math:`w = 1 + \alpha s` of samples, float64 of the shape of ``sparsity``.

    Raises: ConfigError: for a negative or non-finite value.
    Source: RP-MPQ, Eq. (32).
    """
    return 1 + finite("alpha", alpha, (), least=0) * finite("sparsity", sparsity, least=0)


@dataclass(frozen=True, eq=False)
class Surrogate:
    r"""Mean violation cost by policy, SNR and bin of the sparsity: used by the UE in place of the rates.

    .. math:: V_{t,\pi} \approx \tilde V(\pi; \rho_t, s_t)

    Bin b holds the sparsities from edge b - 1 (included) to edge b; the outer bins have no outer end. A pooled bin has
    too few calibration samples for a mean of its own: its entries are the means over all samples at that SNR.

    Args:
        snr_db: float64 ``[snr]``, increasing [dB].
        edges: float64 ``[bin - 1]``, increasing.
        table: float64 ``[policy, snr, bin]``.
        counts: int64 ``[bin]``, calibration samples in every bin.
        pooled: bool ``[bin]``.
    Raises:
        ConfigError: for shapes, types or values that do not fit these.
    Source: RP-MPQ, Eq. (37) and Sec. VI-E; the bins are ours.
    """

    snr_db: NDArray[np.float64]
    edges: NDArray[np.float64]
    table: NDArray[np.float64]
    counts: NDArray[np.int64]
    pooled: NDArray[np.bool_]

    def __post_init__(self) -> None:
        _increasing("surrogate.snr_db", self.snr_db)
        _increasing("surrogate.edges", self.edges)
        num_bins = len(self.edges) + 1
        finite("surrogate.table", self.table, (None, len(self.snr_db), num_bins), least=0)
        finite("surrogate.counts", self.counts, (num_bins,), least=0)
        finite("surrogate.pooled", self.pooled, (num_bins,))
        if not self.table.size:
            raise ConfigError("surrogate.table", f"shape {self.table.shape}", "at least one policy and one SNR")
        kinds = self.counts.dtype.kind + self.pooled.dtype.kind
        if kinds != "ib":
            raise ConfigError("surrogate", f"{self.counts.dtype}, {self.pooled.dtype}", "integer counts, bool pooled")

    @classmethod
    def fit(
        cls, violations: ArrayLike, sparsity: ArrayLike, snr_db: ArrayLike, num_bins: int = 10, min_samples: int = 20
    ) -> Surrogate:
        """Table of calibration samples, with as many samples in every bin as equal sparsities allow.

        Equal sparsities stay in one bin, so there are fewer bins than asked for where many are equal.

        Args:
            violations: violation costs ``[policy, snr, sample]``, >= 0.
            sparsity: ``[sample]``.
            snr_db: ``[snr]``, increasing [dB].
            num_bins: bins asked for, >= 1.
            min_samples: a bin with fewer is pooled; >= 1.
        Raises:
            ConfigError: for an empty calibration set, or anything else.
        """
        for field, value in (("num_bins", num_bins), ("min_samples", min_samples)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ConfigError(field, value, "an integer from 1")
        sparsity, snr_db = finite("sparsity", sparsity, (None,)), finite("snr_db", snr_db, (None,))
        if not sparsity.size:
            raise ConfigError("sparsity", "no sample", "at least one calibration sample")
        violations = finite("violations", violations, (None, len(snr_db), len(sparsity)), least=0)
        ordered = np.sort(sparsity)
        edges = np.unique(ordered[np.arange(1, num_bins) * len(ordered) // num_bins])
        edges = edges[edges > ordered[0]]  # every bin has a sample
        cell = np.searchsorted(edges, sparsity, side="right")
        counts = np.bincount(cell, minlength=len(edges) + 1)
        pooled = counts < min_samples
        use = [slice(None) if pool else cell == b for b, pool in enumerate(pooled)]
        table = np.stack([violations[:, :, chosen].mean(axis=2) for chosen in use], axis=2)
        return cls(snr_db, edges, table, counts.astype(np.int64), pooled)

    def lookup(self, snr_db: ArrayLike, sparsity: ArrayLike) -> NDArray[np.float64]:
        """Expected violation cost float64 ``[sample, policy]``.

        Args:
            snr_db: one SNR, or ``[sample]`` [dB]. The nearest one of the table counts, the lower one at half way; there
                is no interpolation, and outside the table its ends count.
            sparsity: ``[sample]``; values outside those of the calibration belong to the outer bins.
        Raises:
            ConfigError: for non-finite values or other shapes.
        """
        sparsity = finite("sparsity", sparsity, (None,))
        snr_db = finite("snr_db", snr_db, (len(sparsity),) if np.ndim(snr_db) else ())
        row = np.abs(snr_db[..., None] - self.snr_db).argmin(axis=-1)
        return self.table[:, row, np.searchsorted(self.edges, sparsity, side="right")].T

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The five fields by name, for an npz file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Surrogate:
        """Inverse of :meth:`to_arrays`; other arrays are ignored. ConfigError for missing or wrong ones."""
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in arrays]:
            raise ConfigError("surrogate", f"no {', '.join(missing)}", f"arrays {', '.join(names)}")
        numbers = {name: finite(f"surrogate.{name}", arrays[name]) for name in ("snr_db", "edges", "table")}
        return cls(**numbers, counts=np.asarray(arrays["counts"]), pooled=np.asarray(arrays["pooled"]))


def finite(
    field: str, value: ArrayLike, shape: tuple[int | None, ...] | None = None, least: float = -np.inf
) -> NDArray[np.float64]:
    """``value`` as float64; ConfigError unless real, finite, >= ``least`` and of ``shape`` (None: any length)."""
    value = np.asarray(value)
    if value.dtype.kind not in "fiub":
        raise ConfigError(field, f"{value.dtype}", "real numbers")
    given = value.shape
    if shape is not None and (
        len(shape) != len(given) or any(n not in (None, m) for n, m in zip(shape, given, strict=True))
    ):
        raise ConfigError(field, f"shape {given}", f"shape {shape}".replace("None", "any"))
    value = value.astype(np.float64)
    if not np.isfinite(value).all():
        raise ConfigError(field, "NaN or infinity", "finite values")
    if value.size and value.min() < least:
        raise ConfigError(field, float(value.min()), f"at least {least:.6g}")
    return value


def _increasing(field: str, value: ArrayLike) -> None:
    """ConfigError unless ``value`` is one strictly increasing row of finite numbers."""
    if (np.diff(finite(field, value, (None,))) <= 0).any():
        raise ConfigError(field, "equal or falling values", "increasing values")
