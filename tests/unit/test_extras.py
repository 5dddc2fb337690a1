"""Optional packages: each belongs to an extra, is imported late, and its absence names the extra."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from benchmarks import cli
from simulator.core import extras
from simulator.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("simulator", "receivers", "scenarios", "benchmarks")
# Keras has loaded its backend long before the first asks it something; the second runs alone, its caller asks before.
GUARDED_ELSEWHERE = {
    "receivers/training/checkpoint.py",
    "benchmarks/export_runtime.py",
    "benchmarks/speed/plain_torch.py",
}
PACKAGE_OF = {"faiss-cpu": "faiss", "ai-edge-litert": "ai_edge_litert"}


def imports(tree):
    """Optional packages that a tree imports, with the line."""
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        yield from ((name.partition(".")[0], node.lineno) for name in names if name.partition(".")[0] in extras.EXTRAS)


def guards(tree):
    """Packages that `need` and `installed` name as literals, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("need", "installed"):
            yield from ((a.value, node.lineno) for a in node.args if isinstance(a, ast.Constant))


def unguarded(source):
    """Lines that import an optional package outside of a function, or in one that did not ask for it before."""
    tree = ast.parse(source)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    guarded = {
        (name, line)
        for function in functions
        for name, line in imports(function)
        if any(name == asked and before < line for asked, before in guards(function))
    }
    return sorted({line for name, line in imports(tree) if (name, line) not in guarded})


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import ray", [1]),
        ("def f():\n    import torch.nn", [2]),
        ("def f():\n    from onnxruntime.quantization import x\n    need('f', 'onnxruntime')", [2]),
        ("def f():\n    need('f', 'tf2onnx', 'onnxruntime')\n    import onnxruntime", []),
        ("def f():\n    if installed('faiss'):\n        import faiss", []),
    ],
)
def test_the_search_finds_bare_imports(source, lines):
    assert unguarded(source) == lines


@pytest.mark.long
def test_every_import_of_an_optional_package_is_guarded():
    files = [
        p for room in ROOMS for p in (ROOT / room).rglob("*.py") if str(p.relative_to(ROOT)) not in GUARDED_ELSEWHERE
    ]
    assert len(files) > 200
    assert {str(p): lines for p in files if (lines := unguarded(p.read_text()))} == {}


def test_extras_are_those_of_the_project():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {
        PACKAGE_OF.get(name, name): extra
        for extra, requirements in declared.items()
        if extra != "dev"
        for name in (r.partition(">")[0] for r in requirements)
    }
    assert names == extras.EXTRAS


@pytest.mark.long
def test_names_of_packages_are_those_that_install_them():
    known = packages_distributions()
    for package in filter(extras.installed, extras.EXTRAS):
        distribution = next((d for d, p in PACKAGE_OF.items() if p == package), package)
        assert distribution in known[package]


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("ray", ["run", "quickstart", "--engine", "ray", "--out", "out"]),
        ("tf2onnx", ["export", "csinet-100", "--format", "onnx"]),
        ("onnxruntime", ["export", "csinet-100", "--format", "onnx"]),
        ("ai_edge_litert", ["export", "csinet-100", "--format", "litert"]),
        ("torch", ["train", "csinet_100", "--backend", "torch"]),
        ("torch", ["import-torch", "crnet", "x.pth", "--store", "s", "--out", "o"]),
        ("jax", ["train", "csinet_100", "--backend", "jax"]),
        ("huggingface_hub", ["export", f"hf://user/name@{'0' * 40}"]),
    ],
)
def test_a_missing_package_is_one_message_that_names_the_extra(package, arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extras, "installed", lambda *names: package not in names)
    monkeypatch.setattr(sys, "argv", ["csilink", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert f"{package} is not installed" in said and f"pip install 'csilink[{extras.EXTRAS[package]}]'" in said
    assert not list(tmp_path.iterdir())


def test_a_missing_package_that_somebody_else_imports_names_the_extra(monkeypatch, capsys):
    def fail(**_):
        raise ModuleNotFoundError("No module named 'torch'", name="torch.nn")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2 and "csilink[torch]" in capsys.readouterr().err


def test_need_is_silent_when_all_is_there():
    assert extras.need("field", "numpy", "json") is None
    with pytest.raises(ConfigError, match="ray is not installed"):
        raise extras.missing("--engine", "ray")
