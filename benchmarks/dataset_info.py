"""What is in a channel store: statistics as a table, one example as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from simulator.core.errors import ConfigError, StoreError
from simulator.data.layout import ChannelLayout
from simulator.data.statistics import (
    angular_spread_deg,
    beam_power,
    coherence,
    delay_profile,
    dominant_directions,
    energy_in_taps,
    k_factor_db,
    rms_delay_spread_s,
)
from simulator.data.store import ChannelStore
from simulator.transforms import from_angular_delay


def describe(store: ChannelStore, split: str, max_samples: int = 2000) -> pd.DataFrame:
    """Table ``quantity, value, p10, p90, unit`` of a split; medians over samples unless the name says mean."""
    layout = store.layout
    h = _load(store, split, max_samples)
    rows: list[dict[str, Any]] = []

    def fact(quantity: str, value: Any, unit: str = "") -> None:
        rows.append({"quantity": quantity, "value": value, "p10": "", "p90": "", "unit": unit})

    def spread(quantity: str, values: np.ndarray, unit: str) -> None:
        values = values[np.isfinite(values)]
        if len(values):
            low, middle, high = (f"{x:.3g}" for x in np.percentile(values, (10, 50, 90)))
            rows.append({"quantity": quantity, "value": middle, "p10": low, "p90": high, "unit": unit})

    fact("samples", ", ".join(f"{name} {store.num_samples(name)}" for name in store.shards))
    fact("used here", f"{len(h)} of {split}")
    axes = "rx_ant, angle, slot, delay" if layout.num_delays is not None else "rx_ant, port, slot, subcarrier"
    fact(f"shape [{axes}]", " x ".join(map(str, layout.entry_shape)))
    panel = layout.panel
    fact("panel n1 x n2 x pol", f"{panel.n1} x {panel.n2} x {panel.num_pol}")
    fact("bandwidth", f"{layout.bandwidth_hz / 1e6:.4g}", "MHz")
    fact("carrier", "unknown" if layout.carrier_hz is None else f"{layout.carrier_hz / 1e9:.4g}", "GHz")
    fact("labels", ", ".join(store.labels(split)) or "-")
    power = np.mean(np.abs(h) ** 2, axis=(1, 2, 3, 4), dtype=np.float64)
    fact("mean power per entry", f"{10 * np.log10(power.mean()):.2f}", "dB")
    spread("power per entry", 10 * np.log10(power), "dB")
    if h.shape[-1] > 1:
        spread("rms delay spread", rms_delay_spread_s(h, layout.spacing_hz) * 1e9, "ns")
        for taps in (t for t in (16, 32, 64) if t < layout.entry_shape[3]):
            spread(f"energy in first {taps} delay taps", 100 * energy_in_taps(h, taps), "%")
        spread("K-factor (moments)", k_factor_db(h), "dB")
    if panel.n1 > 1:
        spread("azimuth spread seen by the panel", angular_spread_deg(h, panel), "degree")
    if layout.num_slots > 1:
        slot_s = layout.slot_s or float("nan")
        rho, lag = coherence(h)
        spread("correlation over one slot", rho, "")
        within = lag < layout.num_slots
        label = "coherence time (|rho| < 0.5)"
        if within.mean() < 0.9:
            fact(
                label,
                f"over {(layout.num_slots - 1) * slot_s * 1e3:.3g} in {100 * (1 - within.mean()):.0f} % of samples",
                "ms",
            )
        if within.any():
            spread(label, lag[within] * slot_s * 1e3, "ms")
    for share in (0.9, 0.99):
        spread(f"directions with {share:.0%} of the energy (of {panel.num_ports})", dominant_directions(h, share), "")
    if h.shape[1] > 1:
        ratio = np.linalg.svd(np.moveaxis(h, 1, 3)[..., 0, :, :].reshape(-1, h.shape[1], h.shape[4]), compute_uv=False)
        spread("condition number over UE antennas", 20 * np.log10(ratio[:, 0] / np.maximum(ratio[:, -1], 1e-12)), "dB")
    return pd.DataFrame(rows)


def draw_example(store: ChannelStore, split: str, index: int, path: Path) -> None:
    """PNG of one sample: |h| over antenna and frequency, power delay profile, angular spectrum beside the mean.

    Raises:
        ConfigError: no such sample.
        StoreError: the picture cannot be written.
    """
    from matplotlib.figure import Figure

    layout, count = store.layout, store.num_samples(split)
    if index >= count:
        raise ConfigError("--sample", index, f"0..{count - 1}")
    h = _expand(store.take(split, np.array([index])), layout)
    mean = _load(store, split, 500)
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
    magnitude = 20 * np.log10(np.maximum(np.abs(h[0, 0, :, 0]), 1e-30))
    top = magnitude.max()
    edges = layout.bandwidth_hz / 2e6
    picture = left.imshow(
        magnitude, aspect="auto", origin="lower", cmap="viridis", vmin=top - 40, vmax=top, interpolation="nearest",
        extent=(-edges, edges, -0.5, len(magnitude) - 0.5),
    )  # fmt: skip
    figure.colorbar(picture, ax=left, label="|h| [dB]")
    left.set(xlabel="frequency offset [MHz]", ylabel="port")
    left.set_title(f"|h| of {split} sample {index}", parse_math=False)
    early = h.shape[-1] // 16  # the last taps are those before delay 0
    delays_us = (np.arange(h.shape[-1]) - early) / layout.bandwidth_hz * 1e6
    latest = early
    for data, label, style in ((mean, f"mean of {len(mean)} samples", {"color": "0.6"}), (h, "this sample", {})):
        profile = delay_profile(data / np.sqrt(np.mean(np.abs(data) ** 2, axis=(1, 2, 3, 4), keepdims=True))).mean(
            axis=0
        )
        profile_db = np.roll(10 * np.log10(np.maximum(profile / profile.max(), 1e-6)), early)
        latest = max(latest, int(np.flatnonzero(profile_db > -40)[-1]))
        middle.plot(delays_us, profile_db, label=label, **style)
    first = delays_us[0] if layout.num_delays is None else -0.1 * delays_us[latest]
    middle.set(xlabel="delay [µs]", ylabel="power [dB]", title="Power delay profile", ylim=(-40, 2))
    middle.set_xlim(first, delays_us[min(latest + 1, h.shape[-1] - 1)])
    middle.grid(alpha=0.3)
    middle.legend(frameon=False)
    spectra = [(beam_power(x, layout.panel).mean(axis=0), label) for x, label in ((mean, "mean"), (h, "this sample"))]
    if layout.panel.n2 > 1:
        spectrum = 10 * np.log10(np.maximum(spectra[1][0] / spectra[1][0].max(), 1e-6))
        picture = right.imshow(
            spectrum.T, aspect="auto", origin="lower", cmap="magma", vmin=-30, vmax=0, extent=(-1, 1, -1, 1)
        )
        figure.colorbar(picture, ax=right, label="power [dB]")
        right.set(xlabel="horizontal direction cosine", ylabel="vertical direction cosine", title="Angular spectrum")
    else:
        for spectrum, label in spectra:
            u = np.linspace(-1, 1, len(spectrum), endpoint=False)
            style = {"color": "0.6"} if label == "mean" else {}
            right.plot(u, 10 * np.log10(np.maximum(spectrum[:, 0] / spectrum.max(), 1e-6)), label=label, **style)
        right.set(xlabel="direction cosine", ylabel="power [dB]", title="Angular spectrum", ylim=(-40, 2))
        right.grid(alpha=0.3)
        right.legend(frameon=False)
    figure.suptitle(store.name, parse_math=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from None


def _load(store: ChannelStore, split: str, most: int) -> np.ndarray:
    """Samples spread evenly over a split, in the antenna-frequency domain, at most 1 GiB."""
    entry = 8 * int(np.prod(store.layout.entry_shape[:3])) * store.layout.num_subcarriers
    count = store.num_samples(split)
    number = max(1, min(count, most, (1 << 30) // entry))
    return _expand(store.take(split, np.linspace(0, count - 1, number).astype(int)), store.layout)


def _expand(h: np.ndarray, layout: ChannelLayout) -> np.ndarray:
    """``[sample, rx_ant, port, slot, subcarrier]`` of stored samples."""
    if layout.num_delays is None:
        return h
    return np.moveaxis(from_angular_delay(np.moveaxis(h, 2, -1), layout.panel, layout.num_subcarriers), 2, 3)
