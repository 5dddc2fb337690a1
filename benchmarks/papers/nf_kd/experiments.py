"""NF-KD's trainings and tables: the link, Tables 3 and 4, effect of scale, curves over bits, divergence, pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from benchmarks.papers.kit.run import Run
from benchmarks.papers.kit.seeds import paired, seeded
from benchmarks.papers.kit.training import Training
from receivers.models.concrete import MASKED
from receivers.training.data.images import ImageView, load_images
from receivers.weights.folder import TrainedModel
from simulator.core.units import lin_to_db
from simulator.data.store import ChannelStore

# Of Tables 3 and 4, and what they lack.
METRICS = (
    *("nmse_db", "rho", "rho_bf_gain_loss_db", "rho_se_bpshz"),
    *("nmse_scaled_db", "energy_ratio", "sum_rate_bpshz", "outage_gamma_0.5"),
)
SCALE = ("nmse_db", "nmse_scaled_db", "energy_ratio", "sum_rate_bpshz", "sum_rate_bpshz, zf_water_filling")
TEMPERATURE = 5.0


def trainings(run: Run) -> Iterator[Training]:
    """Teacher and students on every data set."""
    for data in run.stores:
        for recipe in recipes(run.plan, data, run.stores.data_set(data), str(run.out / data / "teacher")):
            yield Training(f"{data}/{recipe['name']}", recipe, {recipe["dataset"]: data})


def recipes(plan: dict[str, Any], data: str, dataset: str, teacher: str) -> list[dict[str, Any]]:
    """Training recipes on one data set as plain data, the teacher's first, then all methods seed by seed."""
    common = {"dataset": dataset, "model": plan["model"], "scaling": _scaling(plan, data), **plan["common"]}
    found = [{**common, "name": "teacher", "concrete": {"variable": False}, **plan["teacher"]}]
    for method, seed, name in students(plan, data)[1:]:
        student = {**common, "name": name, "seed": seed, "concrete": {"variable": True}, **plan["student"]}
        if plan["methods"][method]:
            student["distill"] = {"teacher": teacher, **plan["methods"][method]}
        found.append(student)
    return found


def _scaling(plan: dict[str, Any], data: str) -> str:
    """Normalisation of samples: that of the data, or none where they keep their path gain."""
    return "per_sample" if plan["data"][data].get("normalization", "per_sample") == "per_sample" else "none"


def students(plan: dict[str, Any], data: str) -> list[tuple[str, int, str]]:
    """Method, seed and name of every student; the teacher (seed of its own) first."""
    found = [("teacher", plan["teacher"]["seed"], "teacher")]
    return found + [(m, s, seeded(m, s)) for s in plan["seeds"][data] for m in plan["methods_of"][data]]


def link(run: Run) -> pd.DataFrame:
    """Results of the links, with data, method and seed; metrics under `zf_water_filling` carry its name."""
    return pd.concat([_link(run, data).assign(data=data) for data in run.stores], ignore_index=True)


def _link(run: Run, data: str) -> pd.DataFrame:
    """Rows of the link on the test split: all students, eType II, perfect CSI."""
    plan, store, section, own = run.plan, run.stores[data], run.plan["link"], run.plan["data"][data]
    teacher, *weights = [str(run.out / data / name) for _, _, name in students(plan, data)]
    schemes: list[dict[str, Any]] = [
        {"scheme": "perfect"},
        {"scheme": "variable-bit", "weights": teacher},
        {"scheme": "variable-bit", "weights": weights, "bits": plan["bits"]},
    ]
    if section.get("combinations"):
        schemes.append({"scheme": "etype2-r16", "combination": section["combinations"]})
    scenario = {
        "seed": section["seed"],
        **{key: own[key] for key in ("carrier", "bs", "time") if key in own},
        "ue": {**own.get("ue", {}), "num_users": section["num_users"], "num_rx_ant": store.layout.num_rx_ant},
        "normalization": _scaling(plan, data),  # stored channels have the scale that the networks were trained for
        "feedback": schemes,
        "precoding": {"precoders": ["zf", "zf_water_filling"]},
        "snr_db": section["snr_db"],
        "outage": {"gammas": [0.5, 0.9], "rates_bpshz": [1.0]},
        "run": {"drops": section["drops"], "chunk_drops": section["chunk_drops"]},
    }
    names = {name: (method, seed) for method, seed, name in students(plan, data)}
    rows = []
    for row in run.link(data, scenario).itertuples():
        name, _, bits = str(row.scheme).rpartition("-b")
        method, seed = names.get(name, (row.scheme, 0))
        metric = row.metric + (f", {row.precoder}" if row.precoder == "zf_water_filling" else "")
        size = float(bits) if name in names else row.bits_mean
        tidy = {"method": method, "seed": seed, "bits": size, "snr_db": row.snr_db, "metric": metric}
        rows.append({**tidy, "value": row.value, "ci95": row.ci95})
    return pd.DataFrame(rows)


def at_table_snr(run: Run) -> pd.DataFrame:
    """Rows of the links at the SNR of the paper's tables, and those without SNR."""
    frame = run.table("link")
    return frame[frame.snr_db.isna() | (frame.snr_db == run.plan["link"]["table_snr_db"])]


def table_3_4(run: Run) -> pd.DataFrame:
    """Mean and standard deviation over the seeds of the first data set, by method and bits."""
    frame = at_table_snr(run)
    return _over_seeds(frame[frame.data == next(iter(run.stores))], ["method", "bits"], METRICS)


def scale(run: Run) -> pd.DataFrame:
    """What depends on the scale of the report, of all data sets."""
    return _over_seeds(at_table_snr(run), ["data", "method", "bits"], SCALE)


def _over_seeds(frame: pd.DataFrame, by: list[str], metrics: tuple[str, ...]) -> pd.DataFrame:
    here = frame[frame.metric.isin(metrics)]
    wide = here.groupby([*by, "metric"], sort=False).value.agg(["mean", "std"]).unstack("metric")
    columns = [(stat, metric) for metric in metrics for stat in ("mean", "std") if ("mean", metric) in wide.columns]
    wide = wide[columns]
    wide.columns = [metric if stat == "mean" else f"{metric} std" for stat, metric in columns]
    order = {method: index for index, method in enumerate(dict.fromkeys(here.method))}
    return wide.reset_index().sort_values(
        by, key=lambda c: c.map(order) if c.name == "method" else c, ignore_index=True
    )


def pairs(run: Run) -> pd.DataFrame:
    """Methods against the first one with the same seed, at the SNR of the paper's tables."""
    return paired_methods(at_table_snr(run), list(run.plan["methods"]))


def paired_methods(frame: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    """Differences of the metrics of Tables 3 and 4 in rows of ``link``."""
    return paired(frame[frame.metric.isin(METRICS)], methods, ["data", "bits", "metric"], "value")


def test_images(trained: TrainedModel, store: ChannelStore, most: int) -> np.ndarray:
    """Images of the test split as the weights see them, float32 ``[image, row, rx_ant * port, 2]``."""
    known = trained.input
    view = ImageView(store.layout, known.num_delays, known.subband_size, known.target, known.domain, known.scaling)
    return load_images(store, "test", view, most)[0]


def encoded(trained: TrainedModel, images: np.ndarray) -> np.ndarray:
    """Bits of images, float32 0, 1 ``[image, bit]``."""
    return (trained.encode(images) > 0).astype(np.float32)


def decode_prefix(trained: TrainedModel, bits: np.ndarray, num_bits: int) -> np.ndarray:
    """Images from the first ``num_bits`` of ``bits [image, bit]`` in 0, 1."""
    return trained.decode(np.where(np.arange(bits.shape[1]) < num_bits, bits, np.float32(MASKED)))


def curves(run: Run) -> pd.DataFrame:
    """One row for each student and length: ``nmse_db`` (mean of ratios) and ``rho`` (NF-KD, Eq. 9, with modulus)."""
    plan, rows = run.plan, []
    for data, store in run.stores.items():
        for method, seed, name in students(plan, data):
            trained = TrainedModel.shared(str(run.out / data / name))
            x = test_images(trained, store, plan["curve_images"])
            bits = encoded(trained, x)
            for num_bits in plan["curve_bits"] if method != "teacher" else [bits.shape[1]]:
                nmse, rho = scores(x, decode_prefix(trained, bits, num_bits))
                row = {"method": method, "seed": seed, "bits": num_bits, "nmse_db": lin_to_db(nmse), "rho": rho}
                rows.append({**row, "data": data})
    return pd.DataFrame(rows)


def scores(x: np.ndarray, x_hat: np.ndarray) -> tuple[float, float]:
    """Mean of the per-image NMSE (linear), and mean over images and rows of the cosine over antennas."""
    h, h_hat = (
        np.ascontiguousarray(v, np.float32).view(np.complex64)[..., 0].astype(np.complex128) for v in (x, x_hat)
    )
    error = np.sum(np.abs(h - h_hat) ** 2, axis=(1, 2)) / np.sum(np.abs(h) ** 2, axis=(1, 2))
    inner = np.abs(np.sum(h.conj() * h_hat, axis=2))
    norm = np.linalg.norm(h, axis=2) * np.linalg.norm(h_hat, axis=2)
    return float(error.mean()), float(np.mean(inner / np.maximum(norm, 1e-30)))


def kl_share(run: Run) -> pd.DataFrame:
    r"""Tau^2 KL of NF-KD, and half the variance of the difference to the teacher, mean over 500 test images.

    Also their correlation over the images: 1 means that both losses order and weight all images alike.
    """
    rows = []
    for data, store in run.stores.items():
        teacher = TrainedModel.shared(str(run.out / data / "teacher"))
        x = test_images(teacher, store, 500)
        target = decode_prefix(teacher, encoded(teacher, x), teacher.input.num_latents)
        student = TrainedModel.shared(str(run.out / data / seeded("nf_kd_0.3", run.plan["seeds"][data][0])))
        bits = encoded(student, x)
        for num_bits in run.plan["bits"]:
            t, s = (v.reshape(len(x), -1).astype(np.float64) for v in (target, decode_prefix(student, bits, num_bits)))
            log_t, log_s = log_softmax(t / TEMPERATURE, axis=1), log_softmax(s / TEMPERATURE, axis=1)
            kl = TEMPERATURE**2 * np.sum(np.exp(log_t) * (log_t - log_s), axis=1)
            half = 0.5 * np.var(t - s, axis=1)
            row = {"data": data, "bits": num_bits, "kl": kl.mean(), "half_variance": half.mean()}
            rows.append({**row, "ratio": kl.mean() / half.mean(), "correlation": np.corrcoef(kl, half)[0, 1]})
    return pd.DataFrame(rows)


TABLES = {"link": link, "table_3_4": table_3_4, "scale": scale, "paired": pairs, "curves": curves, "kl": kl_share}
