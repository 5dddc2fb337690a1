"""Plans of the reproduced papers are legal, and a tiny one runs from channels to figures."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.papers.kit.run import load_plan, run_paper
from benchmarks.papers.kit.seeds import by_seed, paired
from benchmarks.papers.nf_kd import experiments as nf_kd
from benchmarks.papers.rp_mpq import networks as rp_mpq
from benchmarks.papers.stqenet import experiments as stqenet
from benchmarks.papers.stqenet import figures
from benchmarks.papers.tiny_wifo import experiments as tiny_wifo
from benchmarks.papers.tiny_wifo.experiments import UNSEEN
from receivers.precision.offline import parse_precision
from receivers.training.recipe import parse_training
from scenarios.dataset import parse_recipe


@pytest.mark.parametrize("size", ["small", "full"])
def test_nf_kd_compares_every_method_with_every_seed(size, tmp_path):
    plan = load_plan("nf_kd", size)
    for data, section in plan["data"].items():
        recipe = parse_recipe({k: v for k, v in section.items() if k not in ("split_by", "shares")})
        made = [parse_training(r) for r in nf_kd.recipes(plan, data, recipe.name, str(tmp_path / data / "teacher"))]
        teacher, *students = made
        assert teacher.concrete.variable is False and teacher.distill is None
        assert len({r.name for r in made}) == len(made)
        assert len(students) == len(plan["seeds"][data]) * len(plan["methods_of"][data])
        for student in students:
            assert student.concrete.variable and student.scaling == teacher.scaling
            assert student.model == teacher.model
            assert (student.distill is None) == student.name.startswith("baseline")
            assert student.distill is None or student.distill.teacher == str(tmp_path / data / "teacher")
        weights = {r.name: (r.distill.loss, r.distill.alpha) for r in students if r.distill is not None}
        assert weights["nf_kd_0.3-s1"] == ("nf_kd", 0.3) and weights["mse_control-s1"] == ("mse", 0.3)
    assert plan["data"]["gain"]["normalization"] == "per_dataset"


@pytest.mark.slow
def test_nf_kd_from_channels_to_figures(tmp_path, eager, run_here, undrawn):
    plan = load_plan("nf_kd")
    tiny = {"parts": [{"channel": {"model": "rayleigh"}}], "splits": {"train": 128, "val": 64, "test": 64}}
    for section in plan["data"].values():
        section.update(tiny, shard_samples=128)
        del section["split_by"], section["shares"], section["time"]
    small = {"num_latents": 64, "features": 16, "bit_features": 32, "dim": 32, "hidden": 32}
    plan["model"]["params"] |= small
    plan["teacher"]["epochs"] = plan["student"]["epochs"] = 1
    plan["seeds"] = {"scaled": [1, 2], "gain": [1]}
    plan["methods_of"] = {"scaled": ["baseline", "nf_kd_0.3"], "gain": ["nf_kd_0.3"]}
    plan["bits"], plan["curve_bits"], plan["curve_images"] = [16, 64], [16, 64], 32
    plan["link"].update(drops=8, chunk_drops=4, combinations=[1])
    run = run_paper("nf_kd", plan, tmp_path)
    out = run.out
    table = pd.read_csv(out / "table_3_4.csv")
    assert {"baseline", "nf_kd_0.3", "teacher", "perfect", "etype2-pc1"} <= set(table.method)
    assert (table[table.method == "baseline"].bits == [16, 64]).all()
    assert table[table.method == "baseline"]["nmse_db std"].notna().all()
    figures_of = ("fig2_3_bits", "fig2_3_paired", "link", "scale", "convergence")
    assert all((out / f"{name}.png").exists() for name in figures_of)
    assert {"kl", "half_variance", "ratio"} <= set(pd.read_csv(out / "kl.csv"))
    pairs = pd.read_csv(out / "paired.csv").set_index(["data", "bits", "metric"]).loc[("scaled", 64, "nmse_db")]
    rows = run.table("link")
    rows = rows[(rows.data == "scaled") & (rows.bits == 64) & (rows.metric == "nmse_db")].set_index(["method", "seed"])
    difference = [rows.value["nf_kd_0.3", seed] - rows.value["baseline", seed] for seed in (1, 2)]
    assert pairs.method == "nf_kd_0.3" and pairs.difference == pytest.approx(np.mean(difference), abs=1e-4)
    assert pairs.ci95 == pytest.approx(12.7062 * abs(difference[0] - difference[1]) / 2, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize("size", ["small", "full"])
def test_rp_mpq_plans_are_legal(size):
    plan = load_plan("rp_mpq", size)
    assert len(parse_precision(plan["precision"]).budgets) == 41  # 75 .. 95 % in steps of 0.5
    for data, section in plan["data"].items():
        made = [parse_training(r) for r in rp_mpq.recipes(plan, data, parse_recipe(section).name)]
        assert len({r.name for r in made}) == len(made)
        assert {r.quantizer.bits for r in made} == {(8,)}
        assert all(r.model.params["num_latents"] == 2048 // int(r.name.rpartition("-")[2]) for r in made)
    assert plan["scheduled"] in {r["name"] for r in rp_mpq.recipes(plan, "outdoor", "x")}


@pytest.mark.slow
def test_rp_mpq_from_channels_to_figures(tmp_path, eager, run_here, undrawn):
    plan = load_plan("rp_mpq")
    for section in plan["data"].values():
        section["carrier"]["num_subcarriers"] = 64
        section["bs"]["n1"] = 4
        section.update(splits={"train": 200, "val": 80, "test": 60}, shard_samples=200)
    plan |= {"num_delays": 4, "latents": {"1/4": 8, "1/8": 4}, "scheduled": "mamba_transformer-4"}
    small = {"norm": "pre", "state": 2, "maps": 16, "dim": 16, "hidden": 32}
    plan["models"]["mamba_transformer"] |= {"params": small, "epochs": 1}
    plan["models"]["csinet"]["epochs"] = 1
    plan["runs"] = {
        "outdoor": {"csinet": {"1/4": {}, "1/8": {}}, "mamba_transformer": {"1/4": {}}},
        "tdl": {"csinet": {"1/4": {}}},
    }
    plan["common"]["batch_size"] = 50
    plan["precision"] = {
        "samples": 60,
        "kl_samples": 40,
        "hessian_samples": 40,
        "rank": 8,
        "probes": 2,
        "candidates": 2,
        "bins": 3,
    }
    plan["precision"]["savings"] = [75, 95, 5]
    plan["test"] = {"samples": 50, "frequencies": 16}
    plan["structure"] = {"ridge": 1e-4, "samples": 20}
    out = run_paper("rp_mpq", plan, tmp_path).out
    online = pd.read_csv(out / "fig2_table5.csv")
    assert {"online", "oracle (upper bound)", "random", "static (offline only)"} <= set(online.controller)
    assert (online[online.controller != "random"].kappa <= online.budget.max()).all()
    better = online.pivot_table(index=["gamma", "snr_db", "budget"], columns="controller", values="violation")
    assert (better["oracle (upper bound)"] <= better["online"] + 0.05).all()
    figures = ("fig1_ranking", "fig2_outage", "table4_widths", "convergence", "policies")
    assert all((out / f"{name}.png").exists() for name in figures)
    assert len(pd.read_csv(out / "table_7.csv")) == 5
    split = pd.read_csv(out / "outage_split.csv")
    np.testing.assert_allclose(split.outage, split.floor + split.operational - split.rescued, atol=1e-6)
    assert set(pd.read_csv(out / "eq_10.csv").network) == {"csinet", "mamba_transformer"}
    tails = pd.read_csv(out / "eq_11_15.csv")
    assert set(tails.of) == {"channel", "csinet", "mamba_transformer"}
    assert (tails[(tails.of == "csinet") & (tails.distance > 1)].share < 1e-9).all()  # one convolution of 3 x 3
    assert (pd.read_csv(out / "sensitivity.csv").probes == 2).all()


@pytest.mark.parametrize("size", ["small", "full"])
def test_stqenet_plans_are_legal(size):
    """Every rate-trained network but the first starts at the one of the weight before."""
    plan = load_plan("stqenet", size)
    found = [parse_training(r) for r in [stqenet.klt_recipe(plan, "x"), *stqenet.recipes(plan, "x")]]
    names = [recipe.name for recipe in found]
    assert len(set(names)) == len(names)
    for code, run in plan["runs"].items():
        own = [recipe for recipe in found if recipe.name.rpartition("-l")[0] == code and recipe.rate is not None]
        assert [recipe.rate.weight for recipe in own] == [
            (weight,) for weight in plan["rate_weights"] if run["kind"] != "fixed"
        ]
        assert [recipe.init for recipe in own[1:]] == [recipe.name for recipe in own[:-1]]
    assert min(plan["rate_weights"]) == 1e-5 and len(figures.COLORS) == len(figures.FAMILIES)


@pytest.mark.parametrize(("size", "num_recipes"), [("small", 35), ("medium", 37), ("full", 34)])
def test_recipes_of_tiny_wifo(size, num_recipes):
    """Every training of the plan is a valid recipe, on the sixteen data sets that are seen."""
    plan = load_plan("tiny_wifo", size)
    sets = tiny_wifo.sections(plan)
    assert list(sets) == [f"D{i}" for i in range(1, 19)]
    for recipe in sets.values():
        parse_recipe(recipe)
    seen = tuple(recipe["name"] for key, recipe in sets.items() if key not in UNSEEN)
    found = [parse_training(r) for r in tiny_wifo.recipes(plan, list(seen), Path("out"))]
    found += [parse_training(r) for r in tiny_wifo.feedback_recipes(plan, list(seen), Path("out"))]
    names = [recipe.name for recipe in found]
    assert len(set(names)) == len(names) == num_recipes
    assert all(recipe.datasets == seen and len(seen) == 16 for recipe in found)
    by_name = dict(zip(names, found, strict=True))
    assert by_name["mcakd-s2"].distill.teacher == "out/teacher" and by_name["none-s2"].distill is None
    assert by_name["mcakd-s2"].seed == by_name["none-s2"].seed == 2
    assert by_name["mcakd-s2"].distill.switch == "progress" and by_name["al-pl-cycle"].distill.switch == "cycle"
    chosen = {(r.distill.scope, r.distill.order) for r in found if r.distill is not None}
    assert chosen == {(s, o) for s in ("sample", "batch") for o in ("importance", "index")} or size == "full"
    assert by_name["no-al-pl"].distill.autonomous == 0 and by_name["cf-mcakd-s3"].distill.teacher == "out/cf-teacher"


def test_tables_of_tiny_wifo_by_hand():
    """Means over data sets are of ratios, spreads over seeds of dB; what a predictor wins back of what ageing took."""
    rows = [("a-s1", "D1", -10.0), ("a-s1", "D2", 0.0), ("a-s1", "D17", -3.0)]
    rows += [("a-s2", "D1", -20.0), ("a-s2", "D2", -20.0)]
    frame = pd.DataFrame(rows, columns=["network", "set", "nmse_db"]).assign(parameters=1, task="time")
    grouped = tiny_wifo.grouped(frame)
    table = tiny_wifo.over_seeds(grouped, ["a"], [1, 2]).set_index("group")
    first = 10 * np.log10(0.55)
    assert table.loc["D1-D16", "nmse_db"] == pytest.approx((first - 20) / 2)
    assert table.loc["D1-D16", "std"] == pytest.approx(np.std([first, -20.0], ddof=1))
    assert table.loc["D17", "nmse_db"] == pytest.approx(-3.0) and np.isnan(table.loc["D17", "std"])
    frame = pd.DataFrame([("a-s1", -1.0), ("a-s2", -2.0), ("a-s3", -7.0), ("b-s1", -1.5), ("b-s2", -3.5)])
    frame = frame.set_axis(["network", "nmse_db"], axis=1).assign(group="D17", task="time")
    methods = ["a", "b", "c"]
    row = paired(by_seed(frame, methods, [1, 2, 3]), methods, ["group", "task"]).iloc[0]
    assert (row.method, row.seeds, row.difference) == ("b", 2, -1.0)
    assert row.ci95 == pytest.approx(12.7062 * 0.5, rel=1e-4)  # t of one degree of freedom, standard error 1 / 2
    rates = {("aged", 0): 1.0, ("aged", 4): 0.6, ("AR", 0): 1.0, ("AR", 4): 0.9}
    rates |= {("160 bit, aged", 0): 0.8, ("160 bit, aged", 4): 0.5, ("160 bit, AR", 0): 0.8, ("160 bit, AR", 4): 0.4}
    rows = [{"scheme": scheme, "uplink.delay_slots": delay, "value": rate} for (scheme, delay), rate in rates.items()]
    results = pd.DataFrame(rows).assign(**{"ue.speed_mps": 8.3, "snr_db": 15, "metric": "relative_rate"})
    won = tiny_wifo.recovered(results).set_index(["scheme", "delay_slots"]).recovered
    assert (
        won["AR", 4] == pytest.approx(0.75) and won["160 bit, AR", 4] == pytest.approx(-1 / 3) and won["aged", 4] == 0
    )
    assert won["aged", 4] == 0 and np.isnan(won["AR", 0])
