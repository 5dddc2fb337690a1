"""LVM4CF's figures, and the table of its README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.papers.kit.figures import legend, row_of_panels
from benchmarks.papers.kit.readme import grid
from benchmarks.papers.kit.run import Run
from benchmarks.papers.kit.seeds import seeded
from benchmarks.papers.lvm4cf.experiments import OTHERWISE, without_seed
from benchmarks.report.figures import PALETTE

TITLES = {
    "uma28": "UMa, 28 GHz, 128 ports",
    "uma3g5": "UMa, 3.5 GHz, 128 ports",
    "rma28": "RMa, 28 GHz, 128 ports",
    "rma3g5": "RMa, 3.5 GHz, 128 ports",
    "uma28_32": "UMa, 28 GHz, 32 ports",
    "munich3g5": "one site, 3.5 GHz, 128 ports",
}
COLORS = dict(zip(("rvq", "coloured", "lbg", "fc", "transformer", "gpt2", "lvm4cf", "mlp"), PALETTE, strict=True))
STANDARD = "3GPP Type I, eType II"


def cosine_figure(run: Run) -> Figure:
    """Cosine against bits, one panel for each environment (the paper's Figs. 5 and 6)."""
    table = run.table("codebooks")
    figure, axes = row_of_panels(len(run.stores), width=3.6)
    for axis, environment in zip(axes, run.stores, strict=True):
        here = table[table.environment == environment]
        for method, part in here.groupby(here.code.map(_method), sort=False):
            mean = part.groupby("bits")[["cosine", "cosine_ci95"]].mean()
            axis.errorbar(mean.index, mean.cosine, mean.cosine_ci95, label=method, **_style(str(method)))
        if environment == run.plan.get("standard"):
            frame = run.table("link")
            standard = frame[frame.scheme.str.startswith(("type1", "etype2"))]
            axis.plot(standard.bits_mean, standard.cosine, "k^", label=STANDARD)
            axis.set_xscale("log", base=2)
            axis.set_xticks([4, 8, 16, 32, 64, 128, 256], ["4", "8", "16", "32", "64", "128", "256"])
        else:
            axis.set_xticks(sorted(here.bits.unique()))
        axis.set(title=TITLES.get(environment, environment), xlabel="bits per report", ylabel="cosine")
    legend(figure, 8)
    return figure


def sum_rate_figure(run: Run) -> Figure:
    """ZF sum rate against SNR (the paper's Fig. 9); the longest codebooks of each environment, and extra ones."""
    panels = [(environment, max(run.plan["bits"])) for environment in run.stores]
    panels += [(extra["environment"], extra["bits"]) for extra in run.plan.get("extra", ())]
    first = seeded("", run.plan["seeds"][0]) if "seeds" in run.plan else ""
    table = run.table("rates")
    table = table[table.metric == "sum_rate_bpshz"].sort_values("snr_db")
    figure, axes = row_of_panels(len(panels), width=3.4)
    for axis, (environment, bits) in zip(axes, panels, strict=True):
        for scheme, part in table[table.environment == environment].groupby("scheme", sort=False):
            code, _, size = str(scheme).rpartition("-b")
            if size == str(bits) and code.endswith(first):
                axis.plot(part.snr_db, part.value, label=_method(code), **_style(_method(code)))
            elif scheme in ("type1-mode1", "etype2-pc1", "etype2-pc8"):
                line = {"type1-mode1": ":", "etype2-pc1": "-.", "etype2-pc8": (0, (6, 2))}[str(scheme)]
                axis.plot(part.snr_db, part.value, ls=line, color="k", label=f"{scheme} ({part.bits_mean.iloc[0]:.0f})")
        users = run.plan["link"]["num_users"]
        axis.set(title=f"{TITLES.get(environment, environment)}\n{bits} bits")
        axis.set(xlabel="SNR (dB)", ylabel=f"sum rate of {users} users (bit/s/Hz)")
    legend(figure, 8)
    return figure


def cost_figure(run: Run) -> Figure:
    """Parameters, time of a report and sum rate at 20 dB of dual-side codebooks (the paper's Fig. 8)."""
    table, environment, bits = run.table("codebooks"), next(iter(run.plan["data"])), max(run.plan["bits"])
    table = table.assign(code=table.code.map(_method)).drop_duplicates(["environment", "bits", "code"])
    here = table[(table.environment == environment) & ~table.code.str.endswith("-ss") & (table.bits == bits)]
    colors = [COLORS[code.partition("-")[0]] for code in here.code]
    columns = {
        "parameters": "parameters (thousands)",
        "report_us": "time of a report (µs)",
        "sum_rate_20db": "sum rate (bit/s/Hz)",
    }
    figure, axes = row_of_panels(3, width=3.2, height=3.2)
    for axis, (column, label) in zip(axes, columns.items(), strict=True):
        axis.barh(here.code, here[column] / (1e3 if column == "parameters" else 1), color=colors)
        axis.invert_yaxis()
        axis.set(xlabel=label)
    figure.suptitle(f"{TITLES.get(environment)}, {bits} bits")
    return figure


def less_lbg_figure(run: Run) -> Figure:
    """Cosine of networks of both sides less that of LBG with the same seed, one panel for each number of bits."""
    table = run.table("seeds")
    table = table[table.method.str.endswith("-ds")]
    figure, axes = row_of_panels(len(run.plan["bits"]), width=4.2)
    places, methods = list(run.stores), list(dict.fromkeys(table.method))
    for axis, bits in zip(axes, run.plan["bits"], strict=True):
        for i, method in enumerate(methods):
            part = table[(table.bits == bits) & (table.method == method)].set_index("environment").reindex(places)
            at = np.arange(len(places)) + (i - (len(methods) - 1) / 2) * 0.8 / len(methods)
            color = COLORS[method.partition("-")[0]]
            axis.bar(at, part.less_lbg, 0.8 / len(methods), yerr=part.less_lbg_ci95, label=method, color=color)
        axis.axhline(0, color="k", lw=0.8)
        axis.set_xticks(range(len(places)), [TITLES.get(p, p).replace(", ", ",\n") for p in places], fontsize=7)
        axis.set(title=f"{bits} bits", ylabel="cosine less that of LBG")
    legend(figure, len(methods))
    return figure


def convergence_figure(run: Run) -> Figure:
    """Validation cosine over the epochs, mean over seeds, of networks of both sides at the most bits of the plan."""
    table, bits = run.table("curves"), max(run.plan["bits"])
    table = table[table.code.str.contains("-ds") & (table.bits == bits)]
    figure, axes = row_of_panels(len(run.stores), width=3.2)
    for axis, environment in zip(axes, run.stores, strict=True):
        here = table[table.environment == environment]
        for method, part in here.groupby(here.code.map(_method), sort=False):
            mean = part.groupby("epoch").cosine_val.mean()
            axis.plot(mean.index, mean, label=method, **_style(str(method)))
        axis.set(title=TITLES.get(environment, environment), xlabel="epochs", ylabel="validation cosine")
    legend(figure, 8)
    return figure


def _method(code: str) -> str:
    """A code without its seed."""
    return without_seed(code)[0]


def _style(code: str) -> dict[str, Any]:
    """Colour by method; dashes and open markers for a codebook at the gNB alone, dots for all words per step."""
    color, single = COLORS[code.partition("-")[0]], code.endswith("-ss")
    shape = {"marker": "o" if "-" in code else "s", "ms": 3.5, "lw": 1.2}
    return {
        "color": color,
        "ls": "--" if single else ":" if code.endswith(OTHERWISE) else "-",
        "mfc": "none" if single else color,
        **shape,
    }


FIGURES = {
    "cosine_vs_bits": cosine_figure,
    "sum_rate_vs_snr": sum_rate_figure,
    "cost": cost_figure,
    "less_lbg": less_lbg_figure,
    "convergence": convergence_figure,
}

NAMES = {"rvq": "RVQ", "coloured": "coloured RVQ", "lbg": "LBG"}
NETWORKS = {"fc": "FC", "transformer": "Transformer", "gpt2": "GPT-2", "lvm4cf": "LVM4CF", "mlp": "MLP"}
NAMES |= {f"{key}-{side}": f"{name}, {side.upper()}" for side in ("ds", "ss") for key, name in NETWORKS.items()}
NAMES |= {f"{key}-ds-full_batch": f"{name}, DS, all words per step" for key, name in NETWORKS.items()}
PLACES = {"uma28": "UMa 28 GHz", "rma3g5": "RMa 3.5 GHz", "munich3g5": "site"}


def codebook_table(results: Path) -> pd.DataFrame:
    """Cosine and sum rate at 20 dB of every code of 128 ports, by environment and bits."""
    table = pd.read_csv(results / "codebooks.csv")
    table = pd.concat([table[table.environment == place].sort_values("bits", kind="stable") for place in PLACES])
    case = [f"{PLACES[row.environment]}, {row.bits} bits" for row in table.itertuples()]
    return grid(table.assign(case=case), "code", "case", "{cosine:.3f}, {sum_rate_20db:.1f}", NAMES, "code")


def medium_table(results: Path) -> pd.DataFrame:
    """Test cosine of networks less that of LBG with the same seed, one number a seed; the mean of LBG itself."""
    table = pd.read_csv(results / "medium_so_far.csv")
    keys = ["environment", "bits", "seed"]
    lbg = table[table.code == "lbg"].set_index(keys).cosine_test.to_frame("lbg")
    nets = table[table.code != "lbg"].join(lbg, on=keys)
    rows = []
    for (place, bits, steps), part in nets.groupby(["environment", "bits", "update_interval"], sort=False):
        less = {code: rows_.cosine_test - rows_.lbg for code, rows_ in part.groupby("code")}
        cells = {
            NETWORKS[key]: ", ".join(f"{x:+.3f}" for x in less.get(f"{key}-ds", ())) for key in ("fc", "mlp", "lvm4cf")
        }
        means = f"{part.drop_duplicates('seed').lbg.mean():.3f}"
        rows.append(
            {"environment": TITLES[place], "bits": bits, "steps an update": f"{steps:.0f}", "LBG": means} | cells
        )
    return pd.DataFrame(rows)


README = {"codebooks": codebook_table, "medium": medium_table}
