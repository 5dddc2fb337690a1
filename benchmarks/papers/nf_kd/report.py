"""Tables and figures of the NF-KD experiments: Tables 3 and 4, curves over bits, the link, scale, convergence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from benchmarks import run
from benchmarks.papers.nf_kd.curves import curves, students
from benchmarks.papers.nf_kd.distance import kl_share
from benchmarks.report.figures import PALETTE, RC
from benchmarks.saved import save_figure, save_table
from simulator.core.durable import write_bytes
from simulator.core.units import lin_to_db
from simulator.data.store import ChannelStore

TITLES = {
    "baseline": "no teacher",
    "normalized_kd": "Normalized KD",
    "bit_adaptive": "Bit-Adaptive KD",
    "nf_kd_0.4": "NF-KD, 0.4",
    "nf_kd_0.3": "NF-KD, 0.3",
    "mse_control": "control: MSE, 0.15",
    "teacher": "teacher",
}
COLORS = dict(zip(TITLES, PALETTE, strict=False))
METRICS = {
    "nmse_db": "NMSE [dB]",
    "rho": "rho",
    "rho_bf_gain_loss_db": "BG loss [dB]",
    "rho_se_bpshz": "SE, rho^2 [bit/s/Hz]",
    "nmse_scaled_db": "NMSE, best scale [dB]",
    "energy_ratio": "energy ratio",
    "sum_rate_bpshz": "ZF sum rate [bit/s/Hz]",
    "outage_gamma_0.5": "outage, r < 0.5 r_ref",
}


def report(plan: dict[str, Any], stores: dict[str, ChannelStore], out: Path) -> None:
    """Everything below, as CSV and PNG in ``out``."""
    frames = []
    for data, store in stores.items():
        rows = tidy(plan, data, _link(plan, data, store, out))
        frames.append(rows.assign(data=data))
    link = pd.concat(frames)
    over_bits = {data: curves(plan, data, store, out) for data, store in stores.items()}
    tables = {
        "link": link,
        "table_3_4": table(link[link.data == next(iter(stores))], plan),
        "scale": table(link, plan, by=["data", "method", "bits"], metrics=SCALE),
        "curves": pd.concat([frame.assign(data=data) for data, frame in over_bits.items()]),
        "kl": kl_share(plan, stores, out),
    }
    for name, frame in tables.items():
        save_table(frame, out / f"{name}.csv", index=False, float_format="%.5g")
        if name != "link" and name != "curves":
            print(frame.to_string(index=False))
    first = next(iter(stores))
    with mpl.rc_context(RC):
        save_figure(curve_figure(over_bits[first]), out / "fig2_3_bits.png")
        save_figure(link_figure(link[link.data == first], plan), out / "link.png")
        save_figure(scale_figure(link, plan), out / "scale.png")
        save_figure(convergence_figure(plan, stores, out), out / "convergence.png")
    print(f"figures and tables: {out}")


SCALE = ("nmse_db", "nmse_scaled_db", "energy_ratio", "sum_rate_bpshz", "sum_rate_bpshz, zf_water_filling")


def _link(plan: dict[str, Any], data: str, store: ChannelStore, out: Path) -> pd.DataFrame:
    """Results of the link on the test split: all students, eType II, perfect CSI."""
    section, layout, folder = plan["link"], store.layout, out / data
    teacher, *weights = [str(folder / name) for _, _, name in students(plan, data)]
    radio = {key: plan["data"][data][key] for key in ("carrier", "bs", "time") if key in plan["data"][data]}
    schemes: list[dict[str, Any]] = [
        {"scheme": "perfect"},
        {"scheme": "variable-bit", "weights": teacher},
        {"scheme": "variable-bit", "weights": weights, "bits": plan["bits"]},
    ]
    if section.get("combinations"):
        schemes.append({"scheme": "etype2-r16", "combination": section["combinations"]})
    scenario = {
        "name": f"nf_kd_{data}",
        "seed": section["seed"],
        **radio,
        "ue": {**plan["data"][data].get("ue", {}), "num_users": section["num_users"], "num_rx_ant": layout.num_rx_ant},
        "channel": {"model": "recorded", "store": str(store.folder), "split": "test"},
        # Stored channels have the scale that the networks were trained for.
        "normalization": "per_sample"
        if plan["data"][data].get("normalization", "per_sample") == "per_sample"
        else "none",
        "feedback": schemes,
        "precoding": {"precoders": ["zf", "zf_water_filling"]},
        "snr_db": section["snr_db"],
        "outage": {"gammas": [0.5, 0.9], "rates_bpshz": [1.0]},
        "run": {"drops": section["drops"], "chunk_drops": section["chunk_drops"]},
    }
    path = folder / "link.yaml"
    write_bytes(path, yaml.safe_dump(scenario, sort_keys=False).encode())
    return run(path, out=folder / "link", workers=1, resume=True)


def tidy(plan: dict[str, Any], data: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of results.csv with method, seed and bits; metrics under `zf_water_filling` carry its name."""
    names = {name: (method, seed) for method, seed, name in students(plan, data)}
    rows = []
    for row in frame.itertuples():
        name, _, bits = str(row.scheme).rpartition("-b")
        method, seed = names.get(name, (row.scheme, 0))
        metric = row.metric + (f", {row.precoder}" if row.precoder == "zf_water_filling" else "")
        rows.append(
            {
                "method": method,
                "seed": seed,
                "bits": float(bits) if name in names else row.bits_mean,
                "snr_db": row.snr_db,
                "metric": metric,
                "value": row.value,
                "ci95": row.ci95,
            }
        )
    return pd.DataFrame(rows)


def table(
    link: pd.DataFrame, plan: dict[str, Any], by: list[str] | None = None, metrics: tuple[str, ...] = tuple(METRICS)
) -> pd.DataFrame:
    """Mean and standard deviation over the seeds at the SNR of the paper's tables."""
    by = by or ["method", "bits"]
    here = link[link.metric.isin(metrics) & (link.snr_db.isna() | (link.snr_db == plan["link"]["table_snr_db"]))]
    grouped = here.groupby([*by, "metric"], sort=False).value
    wide = grouped.agg(["mean", "std"]).unstack("metric")
    columns = [(stat, metric) for metric in metrics for stat in ("mean", "std") if ("mean", metric) in wide.columns]
    wide = wide[columns]
    wide.columns = [metric if stat == "mean" else f"{metric} std" for stat, metric in columns]
    order = {method: index for index, method in enumerate(dict.fromkeys(here.method))}
    return wide.reset_index().sort_values(
        by, key=lambda c: c.map(order) if c.name == "method" else c, ignore_index=True
    )


def curve_figure(over_bits: pd.DataFrame) -> Figure:
    """NMSE and rho over the number of bits (the paper's Figs. 2 and 3); bands span the seeds."""
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    for axis, (metric, label) in zip(
        figure.subplots(1, 2), {"nmse_db": "NMSE (dB)", "rho": r"cosine similarity $\rho$"}.items(), strict=True
    ):
        for method, part in over_bits.groupby("method", sort=False):
            values = part.pivot_table(index="bits", columns="seed", values=metric)
            style = {**_style(method), "lw": 1.4}
            axis.plot(values.index, values.mean(axis=1), **style)
            axis.fill_between(
                values.index, values.min(axis=1), values.max(axis=1), color=COLORS[method], alpha=0.15, lw=0
            )
        axis.set(xlabel="bits per report", ylabel=label, xlim=(0, None))
    _legend(figure)
    return figure


def link_figure(link: pd.DataFrame, plan: dict[str, Any]) -> Figure:
    """True sum rate and outage of the users next to the rho^2 approximation; eType II at its own bits."""
    figure = Figure(figsize=(11.5, 3.8), layout="constrained")
    panels = {
        "sum_rate_bpshz": f"ZF sum rate of {plan['link']['num_users']} users (bit/s/Hz)",
        "outage_gamma_0.5": r"share of reports with $r < 0.5\,r_\mathrm{ref}$",
        "rho_se_bpshz": r"$\log_2(1 + \mathrm{SNR}\,\rho^2)$ (bit/s/Hz)",
    }
    here = link[link.snr_db == plan["link"]["table_snr_db"]]
    for axis, (metric, label) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        rows = here[here.metric == metric]
        for method, part in rows.groupby("method", sort=False):
            if method in TITLES:
                stats = part.groupby("bits").value.agg(["mean", "min", "max"])
                spread = (stats["mean"] - stats["min"], stats["max"] - stats["mean"])
                axis.errorbar(stats.index, stats["mean"], spread, **_style(method))
        standard = rows[rows.method.str.startswith("etype2")]
        if len(standard):
            axis.plot(standard.bits, standard.value, "k^", ms=5, label="enhanced Type II")
        perfect = rows[rows.method == "perfect"]
        if len(perfect) and metric == "sum_rate_bpshz":
            axis.axhline(perfect.value.iloc[0], color="0.4", ls="--", lw=1, label="perfect CSI")
        _bits_axis(axis, plan)
        axis.set(ylabel=label)
    _legend(figure)
    return figure


def scale_figure(link: pd.DataFrame, plan: dict[str, Any]) -> Figure:
    """Effect of scale: NMSE against NMSE at the best scale, energy ratio, rate with power by expected gain."""
    data = list(dict.fromkeys(link.data))
    figure = Figure(figsize=(10.5, 2.9 * len(data)), layout="constrained")
    for row, name in zip(figure.subplots(len(data), 3, squeeze=False), data, strict=True):
        here = link[(link.data == name) & link.method.isin(TITLES)]
        here = here[here.snr_db.isna() | (here.snr_db == plan["link"]["table_snr_db"])]
        for method, part in here.groupby("method", sort=False):
            wide = part.groupby(["bits", "metric"]).value.mean().unstack("metric")
            style = _style(method)
            row[0].plot(wide.index, wide.nmse_db, **style)
            row[0].plot(wide.index, wide.nmse_scaled_db, **{**style, "ls": ":", "mfc": "none", "label": None})
            row[1].plot(wide.index, wide.energy_ratio, **style)
            gain = wide["sum_rate_bpshz, zf_water_filling"] - wide.sum_rate_bpshz
            row[2].plot(wide.index, gain, **style)
        row[0].set(ylabel="NMSE (dB)\ndotted: best scale", title=plan["titles"][name])
        row[1].set(ylabel=r"$|\hat h|^2 / |h|^2$")
        row[2].set(ylabel="rate gained by\nwater-filling (bit/s/Hz)")
        for axis in row:
            _bits_axis(axis, plan)
    _legend(figure)
    return figure


def convergence_figure(plan: dict[str, Any], stores: dict[str, ChannelStore], out: Path) -> Figure:
    """Validation NMSE of every training over its epochs."""
    figure = Figure(figsize=(4.8 * len(stores), 3.6), layout="constrained")
    for axis, data in zip(figure.subplots(1, len(stores), squeeze=False)[0], stores, strict=True):
        for method, seed, name in students(plan, data):
            epochs = json.loads((out / data / name / "history.json").read_text())["epochs"]
            label = TITLES[method] if seed in (plan["seeds"][data][0], plan["teacher"]["seed"]) else None
            loss = lin_to_db([e["val_loss"] for e in epochs])
            axis.plot(np.arange(1, len(loss) + 1), loss, color=COLORS[method], lw=0.9, label=label)
        axis.set(xlabel="epoch", ylabel="validation MSE (dB), all lengths", title=plan["titles"][data])
    _legend(figure)
    return figure


def _style(method: str) -> dict[str, Any]:
    """Line of a method; the teacher has one length."""
    marker = {"marker": "*", "ms": 9, "ls": "none"} if method == "teacher" else {"lw": 1.2}
    return {"color": COLORS[method], "label": TITLES[method], **marker}


def _bits_axis(axis: Any, plan: dict[str, Any]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(plan["bits"], [str(b) for b in plan["bits"]])
    axis.set_xlabel("bits per report")


def _legend(figure: Figure) -> None:
    """One legend for all panels."""
    handles = {
        label: handle for axis in figure.axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncol=5)
