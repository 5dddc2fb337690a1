"""Numbers of results as text, with the digits that their half-widths allow."""

from __future__ import annotations

import numpy as np

SHARES = ("outage_", "bler", "report_loss", "report_error")  # beginnings of metrics that are shares: 0 to 1
COSINES = ("sgcs", "cosine", "rho", "relative_rate")  # 1: nothing is lost, in no drop
EXACT_DB = -200.0  # an NMSE below this is rounding: the channel itself


def cell(metric: str, value: float, ci95: float = np.nan) -> str:
    """A value as :func:`number` writes it, but what its metric cannot be is not said.

    An exact channel is ``exact``, not -300 dB. A share that was never seen is ``0 (≤ 0.0076)``, not 0.0 ± 1.5; one with
    a half-width that says nothing is ``0.25 (0 to 1)``.
    """
    if metric == "nmse_db" and value < EXACT_DB:
        return "exact"
    if metric.startswith(COSINES) and abs(value - 1) < 1e-6:
        return "1"
    if metric.startswith(SHARES) and np.isfinite(ci95) and ci95 > 0:
        low, high = max(value - ci95, 0.0), min(value + ci95, 1.0)
        if low <= 0 and high >= 1:
            return f"{value:.3g} (0 to 1)"
        if low <= 0:
            return f"{max(value, 0):.2g} (≤ {high:.2g})"
        if high >= 1:
            return f"{value:.3g} (≥ {low:.3g})"
    return number(value, ci95)


def number(value: float, ci95: float = np.nan) -> str:
    """Value and half-width with the digits that the half-width allows: ``12.340 ± 0.052``.

    Half-widths that six decimals do not show are left out.
    """
    if not np.isfinite(value):
        return "–" if np.isnan(value) else ("∞" if value > 0 else "-∞")
    if not np.isfinite(ci95) or ci95 < 5e-7:
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    decimals = int(np.clip(1 - np.floor(np.log10(ci95)), 0, 6))
    return f"{value:.{decimals}f} ± {ci95:.{decimals}f}"


def difference(value: float, ci95: float) -> str:
    """A difference with its sign: ``+0.52 ± 0.11``; ``0`` for none in any drop."""
    if value == 0 and ci95 == 0:
        return "0"
    text = number(value, ci95)
    return f"+{text}" if value > 0 else text


def bits_text(bits: float) -> str:
    """Bits with a thousands separator, one decimal only where it is not zero."""
    return "–" if not np.isfinite(bits) else (f"{bits:,.0f}" if bits == round(bits) else f"{bits:,.1f}")
