"""Measurements of Tiny-WiFo's tables, each as a data frame."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from benchmarks.papers.tiny_wifo.data import UNSEEN
from simulator.core.units import db_to_lin, lin_to_db
from simulator.data.store import ChannelStore

TASKS = ("time", "frequency")
# Groups of data sets in the paper's tables.
GROUPS = ("D1-D16", *UNSEEN)
NOISE_SNR_DB = 20.0


def networks(plan: dict[str, Any], stores: dict[str, ChannelStore], out: Path) -> pd.DataFrame:
    """Every network that is trained, on every data set: ``network, parameters, set, task, nmse_db, ci95``."""
    keys = {store.name: key for key, store in stores.items()}
    rows = []
    for path, card in cards(out):
        for name, tasks in card["test"]["by_data_set"].items():
            for task in [task for task in TASKS if task in tasks]:
                entry = tasks[task]
                row = {"network": path.parent.name, "parameters": card["parameters"], "set": keys[name], "task": task}
                rows.append({**row, "nmse_db": entry["nmse_db"], "ci95": entry["ci95"]})
    return pd.DataFrame(rows)


def cards(out: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Model cards of the finished trainings, with their paths."""
    return [(path, json.loads(path.read_text())) for path in sorted(out.glob("*/card.json"))]


def feedback(stores: dict[str, ChannelStore], out: Path) -> pd.DataFrame:
    """WiFo-CF on test samples: ``network, parameters, group, uplink, nmse_db, bits``, mean ratio over D1 .. D16.

    ``uplink``: "bits", a quantised report of ``bits`` on average; "analog", unquantised values in noise of 10 dB.
    """
    keys, rows = {store.name: key for key, store in stores.items()}, []
    for path, card in cards(out):
        for name, entry in card["test"]["by_data_set"].items():
            for uplink in [uplink for uplink in ("bits", "analog") if uplink in entry]:
                group = keys[name] if keys[name] in UNSEEN else GROUPS[0]
                row = {"network": path.parent.name, "parameters": card["parameters"], "group": group, "uplink": uplink}
                rows.append({**row, "ratio": db_to_lin(entry[uplink]["nmse_db"]), "bits": entry["report_bits"]})
    frame = pd.DataFrame(rows, columns=["network", "parameters", "group", "uplink", "ratio", "bits"])
    mean = frame.groupby(["network", "parameters", "group", "uplink"], as_index=False)[["ratio", "bits"]].mean()
    return mean.assign(nmse_db=lin_to_db(mean.ratio)).drop(columns="ratio")


def equal_epochs(out: Path) -> pd.DataFrame:
    """Validation NMSE [dB] of every training, finished or not, by epoch; for comparisons at equal epochs."""
    found = {}
    for path in sorted(out.glob("*/history.json")):
        epochs = json.loads(path.read_text())["epochs"]
        found[path.parent.name] = {i: lin_to_db(e["val_loss"]) for i, e in enumerate(epochs, 1) if "val_loss" in e}
    return pd.DataFrame(found).sort_index().T.rename_axis("network")


def classical(stores: dict[str, ChannelStore], snr_db: float | None = None) -> pd.DataFrame:
    """Predictors without training on the test samples, all future slots: columns as :func:`networks`.

    With ``snr_db`` the history is noisy.
    """
    from receivers.training.stores import split_samples

    samples = {key: split_samples(store, "test") for key, store in stores.items()}
    return pd.concat([_classical(key, x, snr_db) for key, x in samples.items()], ignore_index=True)


def _classical(key: str, x: np.ndarray, snr_db: float | None) -> pd.DataFrame:
    from benchmarks.train import score
    from receivers.models.history import from_history
    from receivers.prediction.ar import ArPredictor
    from receivers.prediction.repeat import RepeatPredictor
    from receivers.prediction.wiener_doppler import WienerDopplerPredictor
    from receivers.training.task import Samples
    from receivers.training.tasks.prediction import halves
    from simulator.core.types import Panel, RadioGeometry

    geometry = RadioGeometry(1e9, Panel(1), 1, 1, 1, 1.0)  # not used by any of them
    contenders = {
        "repeat": RepeatPredictor(geometry),
        "ar": ArPredictor(geometry, order=4),
        "wiener": WienerDopplerPredictor(geometry),
    }
    seen, future = halves(noisy(x, snr_db), 0)[0], halves(x, 0)[1]
    history, future = (from_history(part, (len(x), 1, 1)) for part in (seen, future))
    rows = []
    for name, predictor in contenders.items():
        ahead = range(1, future.shape[4] + 1)
        predicted = np.stack([predictor.predict(history, step) for step in ahead], axis=4)
        error, power = (np.sum(np.abs(y) ** 2, axis=(1, 2, 3, 4, 5)) for y in (predicted - future, future))
        rows.append(
            {"network": name, "parameters": 0, "set": key, "task": "time", **_cell(score(Samples(error / power)))}
        )
    return pd.DataFrame(rows)


def recorded(folder: Path, out: Path, names: list[str], max_entries: int) -> pd.DataFrame:
    """Networks and predictors without training on recorded sets in WiFo's file layout, ``folder/D*/X_test.mat``.

    Every n-th subcarrier is taken, so that a slot has at most ``max_entries`` entries (at least 8 subcarriers), as in
    training; samples are scaled to unit power.
    """
    from benchmarks.train import score
    from receivers.models.history import to_history
    from receivers.training.task import Samples
    from receivers.training.tasks.prediction import prediction_nmse
    from receivers.weights.folder import TrainedPredictor
    from simulator.data.arrays import ArrayFile
    from simulator.data.wifo import WiFo
    from simulator.maths.transforms import unit_power

    frames = []
    for path in sorted(folder.glob("D*/X_test.mat")):
        antennas = next(iter(ArrayFile(path).shapes.values()))[3]
        importer = WiFo(path, n1=antennas, spacing_hz=1.0, slot_s=1.0)
        h = np.concatenate([block for block, _ in importer.blocks("test")])
        step = 1
        while h.shape[-1] // (2 * step) >= 8 and h.shape[-1] // step * antennas > max_entries:
            step *= 2
        x, key = to_history(unit_power(h[..., ::step], num_lead=1)), f"{path.parent.name} (recorded)"
        frames.append(_classical(key, x, None))
        for name in names:
            network = TrainedPredictor(str(out / name)).model
            cell = _cell(score(Samples(prediction_nmse(network, x, "time"))))
            row = {"network": name, "parameters": network.count_params(), "set": key, "task": "time", **cell}
            frames.append(pd.DataFrame([row]))
    return pd.concat(frames, ignore_index=True)


def noisy_networks(stores: dict[str, ChannelStore], out: Path, names: list[str], snr_db: float) -> pd.DataFrame:
    """Trained networks on noisy histories, prediction in time: columns as :func:`networks`."""
    from benchmarks.train import score
    from receivers.training.stores import split_samples
    from receivers.training.task import Samples
    from receivers.training.tasks.prediction import prediction_nmse
    from receivers.weights.folder import TrainedPredictor

    rows = []
    for name in names:
        network = TrainedPredictor(str(out / name)).model
        for key, store in stores.items():
            x = split_samples(store, "test")
            scored = score(Samples(prediction_nmse(network, x, "time", noisy(x, snr_db))))
            row = {"network": name, "parameters": network.count_params(), "set": key, "task": "time"}
            rows.append({**row, **_cell(scored)})
    return pd.DataFrame(rows)


def noisy(x: np.ndarray, snr_db: float | None, seed: int = 17) -> np.ndarray:
    """Samples of unit power per complex entry with white noise; None: as they are."""
    if snr_db is None:
        return x
    noise = np.random.default_rng(seed).standard_normal(x.shape, np.float32)
    return x + noise * np.float32((float(db_to_lin(-snr_db)) / 2) ** 0.5)


def _cell(scored: dict[str, float]) -> dict[str, float]:
    return {key: scored[key] for key in ("nmse_db", "ci95")}


def grouped(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean ratio over D1 .. D16, and the unseen sets, by network: ``network, task, group, nmse_db``."""
    frame = frame.assign(
        group=np.where(frame["set"].isin(UNSEEN), frame["set"], GROUPS[0]), ratio=db_to_lin(frame.nmse_db)
    )
    mean = frame.groupby(["network", "parameters", "group", "task"], as_index=False).ratio.mean()
    return mean.assign(nmse_db=lin_to_db(mean.ratio))


def over_seeds(frame: pd.DataFrame, methods: list[str], seeds: list[int], by: str = "task") -> pd.DataFrame:
    """Mean and standard deviation of the dB values over the seeds that are trained, by method, group and ``by``."""
    rows = []
    for method in methods:
        part = frame[frame.network.isin([f"{method}-s{seed}" for seed in seeds])]
        for (group, case), cell in part.groupby(["group", by]):
            spread = cell.nmse_db.std(ddof=1) if len(cell) > 1 else np.nan
            row = {"method": method, "group": group, by: case, "nmse_db": cell.nmse_db.mean(), "std": spread}
            rows.append({**row, "seeds": len(cell), "parameters": cell.parameters.iloc[0]})
    return pd.DataFrame(rows)


def paired(frame: pd.DataFrame, methods: list[str], seeds: list[int], by: str = "task") -> pd.DataFrame:
    """Effect of a method: dB values minus those of the first method with the same seed, by group and ``by``.

    Mean and 95 % half-width by Student's t. A seed fixes the initial weights and the order of the data, so that much of
    the spread over seeds is common to all methods.
    """
    names = {f"{method}-s{seed}": (method, seed) for method in methods for seed in seeds}
    part = frame[frame.network.isin(list(names))]
    part = part.assign(method=[names[n][0] for n in part.network], seed=[names[n][1] for n in part.network])
    wide = part.pivot_table(index=["group", by, "seed"], columns="method", values="nmse_db")
    rows = []
    for method in [method for method in methods[1:] if method in wide]:
        for (group, case), cell in (wide[method] - wide[methods[0]]).dropna().groupby(["group", by]):
            n = len(cell)
            half = t.ppf(0.975, n - 1) * cell.std(ddof=1) / n**0.5 if n > 1 else np.nan
            row = {"method": method, "group": group, by: case, "difference_db": cell.mean(), "ci95": half}
            rows.append({**row, "seeds": n})
    return pd.DataFrame(rows, columns=["method", "group", by, "difference_db", "ci95", "seeds"])


def retention(table: pd.DataFrame) -> pd.DataFrame:
    """Students relative to the teacher: ratio of the dB values, and of the explained power 1 - NMSE, in percent."""
    teacher = table[table.method == "teacher"].set_index(["group", "task"]).nmse_db
    students = table[table.method.isin(["none", "mcakd", "lmkd"])]
    base = np.array([teacher.loc[key] for key in zip(students.group, students.task, strict=True)])
    explained = [1 - db_to_lin(x) for x in (students.nmse_db.to_numpy(), base)]
    return students.assign(
        teacher_db=base, percent_of_db=100 * students.nmse_db / base, percent_of_power=100 * explained[0] / explained[1]
    )


def latency(plan: dict[str, Any], stores: dict[str, ChannelStore], out: Path) -> pd.DataFrame:
    """Table IV, in a process of its own: exports need TensorFlow."""
    layout = stores["D1"].layout
    sizes = [str(n) for n in (layout.num_slots, layout.num_subcarriers, layout.panel.num_ports)]
    names = ("teacher", "none-s1", "mcakd-s1", "lstm-time", "transformer-time", "llm4cp-time")
    names = [n for n in names if (out / n / "card.json").exists()]
    command = [sys.executable, "-m", "benchmarks.papers.tiny_wifo.latency", str(out / "latency.csv"), *sizes]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([*command, *(str(out / name) for name in names)], env=environment, check=True, timeout=3600)
    return pd.read_csv(out / "latency.csv")


def mobility(out: Path) -> pd.DataFrame:
    """Results of the preset ``mobility``, which has the shipped weights."""
    from benchmarks.runner import run

    return run("mobility", out=out / "mobility", resume=(out / "mobility").exists())


def recovered(results: pd.DataFrame) -> pd.DataFrame:
    """Share of the ageing loss that a predictor recovers, by speed and delay.

    :math:`(r_p - r_a) / (r_0 - r_a)` of mean relative rates: with prediction, aged, and without delay.
    """
    rows = results[results.metric == "relative_rate"]
    table = rows.pivot_table(index=["ue.speed_mps", "uplink.delay_slots", "snr_db"], columns="scheme", values="value")
    found = []
    for scheme in table.columns:
        base = "160 bit, aged" if scheme.startswith("160 bit") else "aged"
        for (speed, delay, snr_db), rate in table[scheme].items():
            fresh, aged = table[base].loc[(speed, 0, snr_db)], table[base].loc[(speed, delay, snr_db)]
            share = (rate - aged) / (fresh - aged) if delay and fresh - aged > 0.01 else np.nan
            found.append(
                {"scheme": scheme, "speed_mps": speed, "delay_slots": delay, "relative_rate": rate, "recovered": share}
            )
    return pd.DataFrame(found)
