"""Content of a channel store: statistics as a table, one example as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.saved import save_figure
from simulator.core.errors import ConfigError
from simulator.data.layout import ChannelLayout
from simulator.data.port_order import below_horizon
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
from simulator.maths.transforms import from_angular_delay

_CHUNK_BYTES = 64 << 20
_TAPS, _SHARES = (16, 32, 64), (0.9, 0.99)
_NAMES = ("site", "user", "file", "part", "sample", "scene")  # labels that number things


def describe(store: ChannelStore, split: str, max_samples: int = 2000) -> pd.DataFrame:
    """Table ``quantity, value, p10, p90, unit`` of a split; medians over samples unless the name says mean.

    Labels of the store stand after the quantity that they name. Truncated angular-delay images are expanded first; a
    row says so. Memory is that of a chunk of 64 MiB.
    """
    labels = store.labels(split)
    rows = _spread_rows(store, split, max_samples)
    chunks = [_per_sample(h, store) for h in _chunks(store, split, rows)]
    found = {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]}
    table = _Table()
    table.fact("samples", ", ".join(f"{name} {store.num_samples(name)}" for name in store.shards))
    table.fact("used here", f"{len(rows)} of {split}")
    _layout_rows(table, store.layout, labels)
    power = found["power"]
    table.fact("mean power per entry", f"{round(10 * np.log10(power.mean()), 2) + 0.0:.2f}", "dB")
    table.spread("power per entry", 10 * np.log10(power), "dB")
    if store.layout.num_delays is not None:
        _truncation_rows(table, store)
    shown = {"rms_delay_spread_s", "los"} & set(labels)
    _statistic_rows(table, found, store.layout, {key: labels[key][rows] for key in shown})
    if store.layout.num_slots > 1:
        _coherence_rows(table, found["rho"], found["lag"], store.layout)
    for share in _SHARES:
        ports = store.layout.panel.num_ports
        table.spread(f"directions with {share:.0%} of the energy (of {ports})", found[f"directions{share}"], "")
    if "condition" in found:
        table.spread("condition number over UE antennas", found["condition"], "dB")
    for key, value in labels.items():
        if key not in (*shown, *_NAMES) and value.ndim == 1 and value.dtype.kind in "fiub":
            table.spread(f"{key}, label in the store", value[rows].astype(float), "")
    return pd.DataFrame(table.rows)


class _Table:
    """Rows of :func:`describe`."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def fact(self, quantity: str, value: Any, unit: str = "", low: str = "", high: str = "") -> None:
        """One value, with percentiles where they are given."""
        self.rows.append({"quantity": quantity, "value": value, "p10": low, "p90": high, "unit": unit})

    def spread(self, quantity: str, values: np.ndarray, unit: str) -> None:
        """Median and percentiles of the finite values; nothing where there is none."""
        values = values[np.isfinite(values)]
        if len(values):
            low, middle, high = (f"{x:.3g}" if abs(x) > 5e-4 else "0" for x in np.percentile(values, (10, 50, 90)))
            self.fact(quantity, middle, unit, low, high)


def _layout_rows(table: _Table, layout: ChannelLayout, labels: dict[str, np.ndarray]) -> None:
    panel = layout.panel
    axes = "rx_ant, angle, slot, delay" if layout.num_delays is not None else "rx_ant, port, slot, subcarrier"
    table.fact(f"shape [{axes}]", " x ".join(map(str, layout.entry_shape)))
    table.fact("panel n1 x n2 x pol", f"{panel.n1} x {panel.n2} x {panel.num_pol}")
    table.fact("bandwidth", f"{layout.bandwidth_hz / 1e6:.4g}", "MHz")
    table.fact("carrier", "unknown" if layout.carrier_hz is None else f"{layout.carrier_hz / 1e9:.4g}", "GHz")
    table.fact("labels", ", ".join(labels) or "-")


def _truncation_rows(table: _Table, store: ChannelStore) -> None:
    """What truncation to the first taps left, and what it took."""
    layout, lost = store.layout, store.origin.get("truncation") or {}
    latest_us = layout.num_delays / layout.bandwidth_hz * 1e6
    table.fact(
        "truncated", f"{layout.num_delays} of {layout.num_subcarriers} taps kept, no path after {latest_us:.3g} us"
    )
    if "nmse_db" in lost:
        table.fact("lost by truncation (test split)", f"NMSE {lost['nmse_db']} dB, rho {lost['rho']}")
    if "rms_delay_spread_ns" in lost:
        low, middle, high = (f"{x:.3g}" for x in lost["rms_delay_spread_ns"])
        table.fact("rms delay spread before truncation (test split)", middle, "ns", low, high)


def _statistic_rows(
    table: _Table, found: dict[str, np.ndarray], layout: ChannelLayout, labels: dict[str, np.ndarray]
) -> None:
    """Delays, K-factor and angles, each with the label of the store that it estimates."""
    kept = "" if layout.num_delays is None else " of the kept taps (too low)"
    for key, (name, unit, scale) in {
        "delay_spread": (f"rms delay spread{kept}", "ns", 1e9),
        **{f"taps{t}": (f"energy in first {t} delay taps", "%", 100.0) for t in _TAPS},
        "k_factor": ("K-factor (moments)", "dB", 1.0),
        "azimuth_spread": ("azimuth spread seen by the panel", "degree", 1.0),
        "below": ("below the horizon, if rows count upwards (mean)", "%", 100.0),
    }.items():
        if key == "below" and key in found:
            table.fact(name, f"{100 * np.mean(found[key]):.0f}", unit)
        elif key in found:
            table.spread(name, scale * found[key], unit)
        if key == "delay_spread" and "rms_delay_spread_s" in labels:
            label = labels["rms_delay_spread_s"].astype(float)
            table.spread("rms delay spread, label in the store", 1e9 * label, "ns")
            if key in found and (label > 0).any():
                table.spread("estimate / label", found[key][label > 0] / label[label > 0], "")
        if key == "k_factor" and "los" in labels:
            table.fact("line of sight, label in the store (mean)", f"{100 * np.mean(labels['los'] > 0):.0f}", "%")


def _per_sample(h: np.ndarray, store: ChannelStore) -> dict[str, np.ndarray]:
    """Every statistic of a chunk, ``[sample]``."""
    layout, panel = store.layout, store.layout.panel
    found = {"power": np.mean(np.abs(h) ** 2, axis=(1, 2, 3, 4), dtype=np.float64)}
    if h.shape[-1] > 1:
        # Truncation of the delay rings at the edges of the band: the middle half shows the true taps.
        edge = 0 if layout.num_delays is None else h.shape[-1] // 4
        found["delay_spread"] = rms_delay_spread_s(h[..., edge : h.shape[-1] - edge], layout.spacing_hz)
        found |= {f"taps{t}": energy_in_taps(h, t) for t in _TAPS if t < layout.entry_shape[3]}
        found["k_factor"] = k_factor_db(h)
    if panel.n1 > 1:
        found["azimuth_spread"] = angular_spread_deg(h, panel)
    if panel.n2 > 1:
        found["below"] = below_horizon(h, panel)
    if layout.num_slots > 1:
        found["rho"], found["lag"] = coherence(h)
    found |= {f"directions{s}": n for s, n in zip(_SHARES, dominant_directions(h, _SHARES), strict=True)}
    if h.shape[1] > 1:
        pairs = np.moveaxis(h, 1, 3)[..., 0, :, :].reshape(-1, h.shape[1], h.shape[4])
        values = np.linalg.svd(pairs, compute_uv=False)
        found["condition"] = 20 * np.log10(values[:, 0] / np.maximum(values[:, -1], 1e-12))
    return found


def _coherence_rows(table: _Table, rho: np.ndarray, lag: np.ndarray, layout: ChannelLayout) -> None:
    slot_s = layout.slot_s or float("nan")
    table.spread("correlation over one slot", rho, "")
    within = lag < layout.num_slots
    label = "coherence time (|rho| < 0.5)"
    if within.mean() < 0.9:
        most = (layout.num_slots - 1) * slot_s * 1e3
        table.fact(label, f"over {most:.3g} in {100 * (1 - within.mean()):.0f} % of samples", "ms")
    if within.any():
        table.spread(label, lag[within] * slot_s * 1e3, "ms")


def draw_example(store: ChannelStore, split: str, index: int, path: Path) -> None:
    """PNG of one sample: |h| over antenna and frequency, power delay profile, angular spectrum, each with the mean.

    Raises:
        ConfigError: no such sample.
        StoreError: the picture cannot be written.
    """
    from matplotlib.figure import Figure

    layout, count = store.layout, store.num_samples(split)
    if index >= count:
        raise ConfigError("--sample", index, f"0..{count - 1}")
    h = _expand(store.take(split, np.array([index])), layout)
    rows = _spread_rows(store, split, 500)
    mean_profile, mean_beams = np.zeros(h.shape[-1]), 0.0
    for part in _chunks(store, split, rows):
        mean_profile += _unit_profile(part) * len(part) / len(rows)
        mean_beams = mean_beams + beam_power(part, layout.panel).sum(axis=0) / len(rows)
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
    _draw_magnitude(figure, left, h, layout)
    left.set_title(f"|h| of {split} sample {index}", parse_math=False)
    profiles = {f"mean of {len(rows)} samples": mean_profile, "this sample": _unit_profile(h)}
    _draw_profiles(middle, profiles, layout)
    _draw_spectrum(figure, right, mean_beams, beam_power(h, layout.panel)[0])
    figure.suptitle(store.name, parse_math=False)
    save_figure(figure, path, dpi=130)


def _draw_magnitude(figure: Any, axes: Any, h: np.ndarray, layout: ChannelLayout) -> None:
    """|h| of the first antenna and slot over ports and frequency."""
    magnitude = 20 * np.log10(np.maximum(np.abs(h[0, 0, :, 0]), 1e-30))
    top = magnitude.max()
    edges = layout.bandwidth_hz / 2e6
    picture = axes.imshow(
        magnitude, aspect="auto", origin="lower", cmap="viridis", vmin=top - 40, vmax=top, interpolation="nearest",
        extent=(-edges, edges, -0.5, len(magnitude) - 0.5),
    )  # fmt: skip
    figure.colorbar(picture, ax=axes, label="|h| [dB]")
    axes.set(xlabel="frequency offset [MHz]", ylabel="port")


def _draw_profiles(axes: Any, profiles: dict[str, np.ndarray], layout: ChannelLayout) -> None:
    """Power delay profiles by label, the last one in colour."""
    taps = len(next(iter(profiles.values())))
    early = taps // 16  # the last taps are those before delay 0
    delays_us = (np.arange(taps) - early) / layout.bandwidth_hz * 1e6
    latest = early
    for label, profile in profiles.items():
        profile_db = np.roll(10 * np.log10(np.maximum(profile / profile.max(), 1e-6)), early)
        latest = max(latest, int(np.flatnonzero(profile_db > -40)[-1]))
        axes.plot(delays_us, profile_db, label=label, **({"color": "0.6"} if "mean" in label else {}))
    first = delays_us[0] if layout.num_delays is None else -0.1 * delays_us[latest]
    axes.set(xlabel="delay [µs]", ylabel="power [dB]", title="Power delay profile", ylim=(-40, 2))
    if taps > 1:
        axes.set_xlim(first, delays_us[min(latest + 1, taps - 1)])
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def _draw_spectrum(figure: Any, axes: Any, mean: np.ndarray, own: np.ndarray) -> None:
    """Power over directions ``[horizontal, vertical]``: of one sample as a map, or with the mean along one axis."""
    if own.shape[1] > 1:
        spectrum = 10 * np.log10(np.maximum(own / own.max(), 1e-6))
        picture = axes.imshow(
            spectrum.T, aspect="auto", origin="lower", cmap="magma", vmin=-30, vmax=0, extent=(-1, 1, -1, 1)
        )
        figure.colorbar(picture, ax=axes, label="power [dB]")
        axes.set(xlabel="horizontal direction cosine", ylabel="vertical direction cosine", title="Angular spectrum")
        return
    for spectrum, label in ((mean, "mean"), (own, "this sample")):
        u = np.linspace(-1, 1, len(spectrum), endpoint=False)
        style = {"color": "0.6"} if label == "mean" else {}
        axes.plot(u, 10 * np.log10(np.maximum(spectrum[:, 0] / spectrum.max(), 1e-6)), label=label, **style)
    axes.set(xlabel="direction cosine", ylabel="power [dB]", title="Angular spectrum", ylim=(-40, 2))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def _unit_profile(h: np.ndarray) -> np.ndarray:
    """Mean delay profile of samples that are brought to unit power, ``[subcarrier]``."""
    return delay_profile(h / np.sqrt(np.mean(np.abs(h) ** 2, axis=(1, 2, 3, 4), keepdims=True))).mean(axis=0)


def _spread_rows(store: ChannelStore, split: str, most: int) -> np.ndarray:
    """Numbers of samples spread evenly over a split."""
    count = store.num_samples(split)
    return np.linspace(0, count - 1, min(count, most)).astype(int)


def _chunks(store: ChannelStore, split: str, rows: np.ndarray) -> Iterator[np.ndarray]:
    """These samples in the antenna-frequency domain, in chunks whose channels and statistics take 64 MiB."""
    layout, ports = store.layout, store.layout.panel.num_ports
    full = layout.num_rx_ant * ports * layout.num_slots * layout.num_subcarriers
    step = max(1, _CHUNK_BYTES // (8 * (2 * full + 64 * 16 * ports + 2 * ports**2)))
    for start in range(0, len(rows), step):
        yield _expand(store.take(split, rows[start : start + step]), layout)


def _expand(h: np.ndarray, layout: ChannelLayout) -> np.ndarray:
    """``[sample, rx_ant, port, slot, subcarrier]`` of stored samples."""
    if layout.num_delays is None:
        return h
    return np.moveaxis(from_angular_delay(np.moveaxis(h, 2, -1), layout.panel, layout.num_subcarriers), 2, 3)
