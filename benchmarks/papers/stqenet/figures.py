"""STQENet's figures, and the table of its README."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.papers.kit.figures import Curve, convergence, history, legend, row_of_panels
from benchmarks.papers.kit.readme import grid, listed
from benchmarks.papers.kit.run import Run
from benchmarks.papers.stqenet.experiments import BASELINES, gains, rate_name
from benchmarks.report.figures import PALETTE

# Codes of the comparison: family in the table of accuracy; name; start of their labels in the link.
FAMILIES = {
    "stqenet-eb": ("STQENet, rate-trained", "stqenet-eb"),
    "baseline1-eb": ("baseline 1: learned transform, rate-trained", "baseline1-eb"),
    "baseline2-eb": ("baseline 2's network, rate-trained", "baseline2-eb"),
    "crnet-eb": ("CRNet, rate-trained", "crnet-eb"),
    "stqenet (range)": ("STQENet, mu-law, range coded", "stqenet-"),
    "baseline2 (fixed)": ("baseline 2: mu-law, offset network", "baseline2-"),
    "KLT": ("KLT, range coded", "klt"),
    "sparse": ("sparse code", "sparse"),
    "stqenet-eb-mulaw": ("STQENet, mu-law, rate-trained", "stqenet-eb-mulaw"),
}
COLORS = dict(zip(FAMILIES, (*PALETTE, "#E377C2"), strict=True))

# Networks of the table of costs: keys of the plan's runs, names of those that are no family.
COSTED = {
    "stqenet": "STQENet",
    "stqenet-released": "STQENet, released attention",
    "baseline1-eb": "baseline 1: learned transform",
    "baseline2": "baseline 2: CsiNet with offset network",
    "baseline2-eb": "CsiNet",
    "crnet-eb": "CRNet",
}


def noise_figure(run: Run) -> Figure:
    """NMSE against the SNR of the CSI, and of the latents, for all widths (the paper's Fig. 3)."""
    return noise_panels(run.table("accuracy"), list(run.stores))


def noise_panels(table: pd.DataFrame, environments: list[str]) -> Figure:
    """A panel for each environment: noise on the CSI in full lines, on the latents (released code) in dashed ones."""
    figure, axes = row_of_panels(len(environments))
    lines = {"csi": ("-", "noise on the CSI"), "latent": ("--", "on the latents (released code)")}
    for axis, name in zip(axes, environments, strict=True):
        rows = table[(table.environment == name) & np.isfinite(table.snr_db)].sort_values("snr_db")
        for noise, (line, what) in lines.items():
            for color, bits in zip(PALETTE, (2, 4, 6, 8), strict=False):
                curve = rows[(rows.code == f"stqenet-b{bits}-fixed") & (rows.noise == noise)]
                style = {"color": color, "ls": line, "marker": "o", "ms": 3, "label": f"{bits} bits, {what}"}
                axis.errorbar(curve.snr_db, curve.nmse_db, curve.ci95_db, **style)
        axis.set(title=f"{name}-like", xlabel="SNR of the CSI, or of the latents (dB)", ylabel="NMSE (dB)")
    legend(figure)
    return figure


def rate_figure(run: Run) -> Figure:
    """NMSE against counted bits of all codes (the paper's Fig. 4)."""
    table = run.table("accuracy")
    figure, axes = row_of_panels(len(run.stores), height=4.8)
    for axis, name in zip(axes, run.stores, strict=True):
        for family, color in COLORS.items():
            curve, style = _noise_free(table, name, family), "--" if family in ("KLT", "sparse") else "-"
            axis.plot(curve.bpp, curve.nmse_db, style, color=color, marker="o", ms=3.5, label=FAMILIES[family][0])
        axis.set(title=f"{name}-like", xlabel="bits per real entry (counted, mean)", ylabel="NMSE (dB)", xlim=(0, 1.6))
    legend(figure)
    return figure


def _noise_free(table: pd.DataFrame, environment: str, family: str) -> pd.DataFrame:
    rows = table[(table.environment == environment) & (table.family == family) & np.isinf(table.snr_db)]
    return rows.sort_values("bpp")


def link_figure(run: Run) -> Figure:
    """Sum rate against bits of a report at the highest SNR."""
    section, table = run.plan["link"], run.table("link")
    snr_db = max(section["snr_db"])
    figure, axes = row_of_panels(len(run.stores))
    for axis, name in zip(axes, run.stores, strict=True):
        frame = table[table.environment == name]
        bits = frame[frame.metric == "bits_mean"].set_index("scheme").value
        rate = frame[(frame.metric == "sum_rate_bpshz") & (frame.snr_db == snr_db)].set_index("scheme")
        axis.axhline(rate.value["perfect"], color="#222222", ls="--", lw=1, label="perfect CSI")
        for color, (label, start) in zip(COLORS.values(), FAMILIES.values(), strict=True):
            others = [other for _, other in FAMILIES.values() if other.startswith(start) and other != start]
            chosen = [s for s in rate.index if s.startswith(start) and not any(s.startswith(o) for o in others)]
            chosen = sorted(chosen, key=lambda s: bits[s])
            style = {"color": color, "marker": "o", "ms": 3.5, "label": label}
            axis.errorbar(bits[chosen], rate.value[chosen], rate.ci95[chosen], **style)
        axis.set(title=f"{name}-like, ZF, {section['num_users']} users, {snr_db} dB")
        axis.set(xlabel="bits per report (counted, mean)", ylabel="sum rate (bit/s/Hz)")
    legend(figure)
    return figure


def convergence_figure(run: Run) -> Figure:
    """Objective on validation samples by epoch, the steps of lambda one after the other."""
    panels: dict[str, list[Curve]] = {}
    for environment in run.stores:
        curves = panels[f"{environment}-like"] = []
        for color, (code, section) in zip(PALETTE, run.plan["runs"].items(), strict=False):
            start = 0
            for weight in run.plan["rate_weights"] if section["kind"] != "fixed" else (None,):
                folder = run.out / environment / (code if weight is None else rate_name(code, weight))
                loss = [e["val_loss"] + (weight or 0) * e.get("val_bits", 0) for e in history(folder)]
                epochs = range(start + 1, start + len(loss) + 1)
                curves.append(Curve(epochs, loss, {"color": color, "label": None if start else code}))
                start += len(loss)
    return convergence(panels, "NMSE + lambda bits, validation", yscale="log")


FIGURES = {
    "fig3_nmse_vs_snr": noise_figure,
    "fig4_nmse_vs_bits": rate_figure,
    "sum_rate_vs_bits": link_figure,
    "convergence": convergence_figure,
}


def accuracy_table(results: Path) -> pd.DataFrame:
    """Counted bits per real entry and NMSE of all codes, up to 1.6 bits."""
    table = pd.read_csv(results / "accuracy.csv")
    table = table[np.isinf(table.snr_db) & (table.bpp < 1.6)].sort_values("bpp")
    points = table.assign(text=[f"{r.bpp:.2f}: {r.nmse_db:.1f}" for r in table.itertuples()])
    cells = points.groupby(["environment", "family"], as_index=False).text.agg("; ".join)
    names = {family: label for family, (label, _) in FAMILIES.items()}
    return grid(cells, "family", "environment", "{text}", names, "code (bits per real entry: NMSE in dB)")


def gain_table(results: Path) -> pd.DataFrame:
    """Average gain of the rate-trained STQENet over the baselines, two readings of the paper's percentage."""
    frame = gains(pd.read_csv(results / "accuracy.csv"))
    names = {**{family: FAMILIES[family][0] for family in BASELINES}, "all": "mean of these"}
    return grid(frame, "baseline", "environment", "{error_percent:.0f} %, {decibel_percent:.0f} %", names, "baseline")


def cost_table(results: Path) -> pd.DataFrame:
    """Parameters and multiply-accumulates at the paper's size."""
    million = "{{{side}_params:.2f}}; {{{side}_published:.2f}}, {{{side}_macs:.2f}}"
    frame = pd.read_csv(results / "cost.csv")
    frame = frame[frame.network.isin(list(COSTED))].assign(network=lambda x: x.network.map(COSTED))
    counts = [column for column in frame if column.endswith(("_params", "_published", "_macs"))]
    frame[counts] /= 1e6
    attention = frame.encoder_attention.add(frame.decoder_attention) / 1e6
    cells = {"network": "{network}", **{side: million.format(side=side) for side in ("encoder", "decoder")}}
    return listed(frame.assign(attention=attention, eq3=frame.eq3 / 1e6), cells | {"attention": "{attention:.2f}"})


README = {"accuracy": accuracy_table, "gain": gain_table, "cost": cost_table}
