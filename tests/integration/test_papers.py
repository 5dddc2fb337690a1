"""Plans of the reproduced papers are legal, and a tiny one runs from channels to figures."""

import copy

import pandas as pd
import pytest
import yaml

from benchmarks.papers.nf_kd import run as nf_kd
from receivers.training.recipe import parse_training
from scenarios.dataset import parse_recipe


@pytest.mark.parametrize("size", ["small", "full"])
def test_nf_kd_compares_every_method_with_every_seed(size, tmp_path):
    plan = nf_kd.load_plan(size)
    for data, section in plan["data"].items():
        recipe = parse_recipe({k: v for k, v in section.items() if k not in ("split_by", "shares")})
        made = [parse_training(r) for r in nf_kd.recipes(plan, data, recipe.name, tmp_path)]
        teacher, *students = made
        assert teacher.concrete.variable is False and teacher.distill is None
        assert len({r.name for r in made}) == len(made)
        assert len(students) == len(plan["seeds"][data]) * len(plan["methods_of"][data])
        for student in students:
            assert student.concrete.variable and student.scaling == teacher.scaling
            assert student.model_copy(update={"concrete": None}).model == teacher.model
            assert (student.distill is None) == student.name.startswith("baseline")
            assert student.distill is None or student.distill.teacher == str(tmp_path / data / "teacher")
        weights = {r.name: (r.distill.loss, r.distill.alpha) for r in students if r.distill is not None}
        assert weights["nf_kd_0.3-s1"] == ("nf_kd", 0.3) and weights["mse_control-s1"] == ("mse", 0.3)
    assert nf_kd.load_plan(size)["data"]["gain"]["normalization"] == "per_dataset"


@pytest.mark.slow
def test_nf_kd_from_channels_to_figures(tmp_path, monkeypatch):
    plan = nf_kd.load_plan("small")
    scaled = plan["data"]["scaled"]
    rayleigh = {"channel": {"model": "rayleigh"}}
    tiny = {"parts": [rayleigh], "splits": {"train": 256, "val": 64, "test": 64}, "shard_samples": 256}
    for section in (scaled, plan["data"]["gain"]):
        section.update(copy.deepcopy(tiny))
        section.pop("split_by"), section.pop("shares"), section.pop("time")
    plan["teacher"]["epochs"] = plan["student"]["epochs"] = 1
    plan["seeds"] = {"scaled": [1, 2], "gain": [1]}
    plan["methods_of"] = {key: ["baseline", "nf_kd_0.3"] for key in plan["methods_of"]}
    plan["link"].update(drops=8, chunk_drops=4, combinations=[1])
    plan["curve_bits"], plan["curve_images"] = [32, 256], 32
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(plan))
    monkeypatch.setattr(nf_kd, "HERE", tmp_path)
    monkeypatch.setattr("sys.argv", ["run", "--size", "small", "--out", str(tmp_path / "out")])
    nf_kd.main()
    out = tmp_path / "out"
    table = pd.read_csv(out / "table_3_4.csv")
    assert {"baseline", "nf_kd_0.3", "teacher", "perfect", "etype2-pc1"} <= set(table.method)
    assert (table[table.method == "baseline"].bits == [32, 64, 128, 256]).all()
    assert table[table.method == "baseline"]["nmse_db std"].notna().all()
    assert all((out / f"{name}.png").exists() for name in ("fig2_3_bits", "link", "scale", "convergence"))
    assert {"kl", "half_variance", "ratio"} <= set(pd.read_csv(out / "kl.csv"))
