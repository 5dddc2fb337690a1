"""Tables and figures of the LVM4CF experiments: cosine, sum rate, transfer between environments, cost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from benchmarks import run
from benchmarks.report.figures import PALETTE, RC
from benchmarks.saved import save_figure, save_table
from receivers.codebooks.lbg import lbg_codebook
from receivers.codebooks.search import best_codeword
from receivers.codebooks.stored import StoredCodebook
from receivers.training.refine import directions, mean_cosine
from receivers.training.tasks.codebook import center_rows
from simulator.core.durable import write_bytes
from simulator.core.seeding import derive
from simulator.data.store import ChannelStore

Made = dict[tuple[str, int, str], StoredCodebook]
TITLES = {
    "uma28": "UMa, 28 GHz, 128 ports",
    "uma3g5": "UMa, 3.5 GHz, 128 ports",
    "rma3g5": "RMa, 3.5 GHz, 128 ports",
    "uma28_32": "UMa, 28 GHz, 32 ports",
    "munich3g5": "one site, 3.5 GHz, 128 ports",
}
COLORS = dict(zip(("rvq", "coloured", "lbg", "fc", "transformer", "gpt2", "lvm4cf", "mlp"), PALETTE, strict=True))
STANDARD = "3GPP Type I, eType II"


def report(plan: dict[str, Any], stores: dict[str, ChannelStore], made: Made, out: Path) -> None:
    """Everything below, as CSV and PNG in ``out``."""
    links = {environment: _link(plan, environment, made, out) for environment in stores}
    table = _codebooks(links, made, stores)
    transfer = _transfer(plan, stores, made)
    for name, frame in {"codebooks": table, "transfer": transfer, "link": _standard(plan, links)}.items():
        save_table(frame, out / f"{name}.csv", index=False, float_format="%.5g")
        print(frame.to_string(index=False))
    with mpl.rc_context(RC):
        save_figure(cosine_figure(plan, table, links), out / "cosine_vs_bits.png")
        save_figure(sum_rate_figure(plan, links, most=max(plan["bits"])), out / "sum_rate_vs_snr.png")
        save_figure(cost_figure(table, plan), out / "cost.png")
    print(f"figures and tables: {out}")


def _link(plan: dict[str, Any], environment: str, made: Made, out: Path) -> pd.DataFrame:
    """Results of the link on the test split: all codebooks, and 3GPP's where they exist."""
    folder = out / environment
    paths = [str(book.folder) for (where, _, _), book in made.items() if where == environment]
    schemes: list[dict[str, Any]] = [{"scheme": "perfect"}, {"scheme": "codebook", "path": paths}]
    if environment == plan["standard"]:
        schemes += [{"scheme": "type1", "mode": [1, 2]}, {"scheme": "etype2-r16", "combination": [1, 2, 4, 6, 8]}]
    dataset, section = plan["datasets"][environment], plan["link"]
    scenario = {
        "name": f"lvm4cf_{environment}",
        "seed": plan["seed"],
        "carrier": dataset["carrier"],
        "bs": dataset["bs"],
        "ue": {"num_users": section["num_users"], "num_rx_ant": 1},
        "channel": {"model": "recorded", "store": str(out / "stores" / environment), "split": "test"},
        "normalization": "per_sample",
        "feedback": schemes,
        "precoding": {"precoders": ["zf"]},
        "snr_db": section["snr_db"],
        "metrics": ["cosine", "sgcs", "pmi_bits", "bits_mean", "bits_max", "sum_rate_bpshz"],
        "run": {"drops": section["drops"], "chunk_drops": 250},
    }
    path = folder / "link.yaml"
    write_bytes(path, yaml.safe_dump(scenario, sort_keys=False).encode())
    return run(path, out=folder / "link", workers=1, resume=True)


def _codebooks(links: dict[str, pd.DataFrame], made: Made, stores: dict[str, ChannelStore]) -> pd.DataFrame:
    """One row for each codebook: accuracy, rate at 20 dB, parameters, time to make, time to search."""
    rows = []
    for (environment, bits, code), book in made.items():
        entry, frame = book.card.made_by["environments"][environment], links[environment]
        frame = frame[frame.scheme == book_label(code, bits)]
        cosine = frame[frame.metric == "cosine"].iloc[0]
        rate = frame[(frame.metric == "sum_rate_bpshz") & (frame.snr_db == 20)].iloc[0]
        rows.append(
            {
                "environment": environment,
                "code": code,
                "bits": bits,
                "cosine": cosine.value,
                "cosine_ci95": cosine.ci95,
                "sum_rate_20db": rate.value,
                "sum_rate_ci95": rate.ci95,
                "parameters": entry.get("parameters", 0),
                "make_s": entry["seconds"],
                "report_us": _search_us(book, environment, stores[environment]),
                "weights": entry.get("pretrained", "-"),
            }
        )
    return pd.DataFrame(rows)


def book_label(code: str, bits: int) -> str:
    """Scheme label of a codebook."""
    return f"{code}-b{bits}"


def _search_us(book: StoredCodebook, environment: str, store: ChannelStore) -> float:
    """Time of one report (search at the UE, words read at the gNB), median of five batches of 256."""
    h, words, used = center_rows(store, "test", 256)[:, None], book.searched(environment), book.codebook(environment)
    words = np.array(words)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        np.take(used, best_codeword(h, words), axis=0)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) / len(h) * 1e6


def _transfer(plan: dict[str, Any], stores: dict[str, ChannelStore], made: Made) -> pd.DataFrame:
    """Test cosine of codebooks in other environments, and of one for all, at the most bits that all have."""
    ports = [stores[environment].layout.panel.num_ports for environment in stores]
    same = [environment for environment, n in zip(stores, ports, strict=True) if n == max(ports)]
    bits = max(b for b in plan["bits"] if all((environment, b, "lvm4cf-ds") in made for environment in same))
    tests = {environment: directions(center_rows(stores[environment], "test")) for environment in same}
    books = {
        (code, environment): np.array(made[environment, bits, code].codebook(environment))
        for code in ("lbg", "lvm4cf-ds")
        for environment in same
    }
    train = np.concatenate([center_rows(stores[environment], "train") for environment in same])
    books["lbg", "all of these"] = lbg_codebook(train, bits, derive(plan["seed"], "pooled"))
    rows = [
        {"code": code, "bits": bits, "made_for": home, **{e: mean_cosine(v, book, book) for e, v in tests.items()}}
        for (code, home), book in books.items()
    ]
    return pd.DataFrame(rows)


def _standard(plan: dict[str, Any], links: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """All schemes where 3GPP's codebooks exist: bits, cosine, sum rate at 20 dB."""
    frame = links[plan["standard"]]
    rates = frame[(frame.metric == "sum_rate_bpshz") & (frame.snr_db == 20)].set_index("scheme")
    cosine = frame[frame.metric == "cosine"].set_index("scheme")
    columns = {
        "bits_mean": cosine.bits_mean,
        "cosine": cosine.value,
        "cosine_ci95": cosine.ci95,
        "sum_rate_20db": rates.value,
        "sum_rate_ci95": rates.ci95,
    }
    return pd.DataFrame(columns).reset_index()


def cosine_figure(plan: dict[str, Any], table: pd.DataFrame, links: dict[str, pd.DataFrame]) -> Figure:
    """Cosine against bits, one panel for each environment (the paper's Figs. 5 and 6)."""
    environments = list(links)
    figure = Figure(figsize=(3.6 * len(environments), 4.2), layout="constrained")
    for axis, environment in zip(figure.subplots(1, len(environments), squeeze=False)[0], environments, strict=True):
        here = table[table.environment == environment]
        for code, part in here.groupby("code", sort=False):
            axis.errorbar(part.bits, part.cosine, part.cosine_ci95, label=code, **_style(str(code)))
        if environment == plan["standard"]:
            frame = links[environment]
            standard = frame[frame.scheme.str.startswith(("type1", "etype2")) & (frame.metric == "cosine")]
            axis.plot(standard.bits_mean, standard.value, "k^", label=STANDARD)
            axis.set_xscale("log", base=2)
            axis.set_xticks([4, 8, 16, 32, 64, 128, 256], ["4", "8", "16", "32", "64", "128", "256"])
        else:
            axis.set_xticks(sorted(here.bits.unique()))
        axis.set(title=TITLES.get(environment, environment), xlabel="bits per report", ylabel="cosine")
    _legend(figure)
    return figure


def sum_rate_figure(plan: dict[str, Any], links: dict[str, pd.DataFrame], most: int) -> Figure:
    """ZF sum rate against SNR (the paper's Fig. 9); the longest codebooks of each environment, and ``most`` bits."""
    panels = [(environment, most) for environment in links]
    panels += [(extra["environment"], extra["bits"]) for extra in plan["extra"]]
    figure = Figure(figsize=(3.4 * len(panels), 4.2), layout="constrained")
    for axis, (environment, bits) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        frame = links[environment]
        rates = frame[frame.metric == "sum_rate_bpshz"].sort_values("snr_db")
        for scheme, part in rates.groupby("scheme", sort=False):
            code, _, size = str(scheme).rpartition("-b")
            if size == str(bits):
                axis.plot(part.snr_db, part.value, label=code, **_style(code))
            elif scheme in ("type1-mode1", "etype2-pc1", "etype2-pc8"):
                line = {"type1-mode1": ":", "etype2-pc1": "-.", "etype2-pc8": (0, (6, 2))}[str(scheme)]
                axis.plot(part.snr_db, part.value, ls=line, color="k", label=f"{scheme} ({part.bits_mean.iloc[0]:.0f})")
        title = f"{TITLES.get(environment, environment)}\n{bits} bits"
        axis.set(title=title, xlabel="SNR (dB)", ylabel=f"sum rate of {plan['link']['num_users']} users (bit/s/Hz)")
    _legend(figure)
    return figure


def cost_figure(table: pd.DataFrame, plan: dict[str, Any]) -> Figure:
    """Parameters, time of a report and sum rate at 20 dB of dual-side codebooks (the paper's Fig. 8)."""
    here = table[(table.environment == next(iter(plan["datasets"]))) & ~table.code.str.endswith("-ss")]
    here = here[here.bits == max(plan["bits"])]
    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    colors = [COLORS[code.partition("-")[0]] for code in here.code]
    columns = {
        "parameters": "parameters (thousands)",
        "report_us": "time of a report (µs)",
        "sum_rate_20db": "sum rate (bit/s/Hz)",
    }
    for axis, (column, label) in zip(figure.subplots(1, 3), columns.items(), strict=True):
        axis.barh(here.code, here[column] / (1e3 if column == "parameters" else 1), color=colors)
        axis.invert_yaxis()
        axis.set(xlabel=label)
    figure.suptitle(f"{TITLES.get(here.environment.iloc[0])}, {max(plan['bits'])} bits")
    return figure


def _style(code: str) -> dict[str, Any]:
    """Colour by method; dashes and open markers for a codebook at the gNB alone."""
    color, single = COLORS[code.partition("-")[0]], code.endswith("-ss")
    shape = {"marker": "o" if "-" in code else "s", "ms": 3.5, "lw": 1.2}
    return {"color": color, "ls": "--" if single else "-", "mfc": "none" if single else color, **shape}


def _legend(figure: Figure) -> None:
    """One legend for all panels."""
    handles = {
        label: handle for axis in figure.axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncol=8)
