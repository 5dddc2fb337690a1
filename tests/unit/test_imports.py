"""Imports inside functions name what exists: a moved definition is found here, not where the line runs."""

import ast
import runpy
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulator.core.extras import EXTRAS

ROOT = Path(__file__).parents[2]
ROOMS = ("simulator", "receivers", "scenarios", "benchmarks", "csilink")


@cache
def names(module):
    """Names that a module of this checkout defines or imports, its submodules too; None: no such module."""
    place = ROOT / module.replace(".", "/")
    file = next((f for f in (place.with_suffix(".py"), place / "__init__.py") if f.exists()), None)
    if file is None:
        return None
    found = {entry.stem for entry in place.iterdir()} if place.is_dir() else set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def missing(text):
    """What a source imports from the rooms and is not there."""
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.module]
    own = [node for node in imports if node.module.split(".")[0] in ROOMS]
    return [(n.lineno, n.module, a.name) for n in own for a in n.names if a.name not in (names(n.module) or ())]


def test_every_import_names_what_exists():
    files = [file for folder in (*ROOMS, "tests", "docs", ".ci") for file in sorted((ROOT / folder).rglob("*.py"))]
    found = {str(file.relative_to(ROOT)): missing(file.read_text()) for file in files}
    assert len(files) > 400 and {file: lines for file, lines in found.items() if lines} == {}


def test_a_stale_import_is_found():
    assert missing("def f():\n    from simulator.core.errors import ConfigError, Gone\n") == [
        (2, "simulator.core.errors", "Gone")
    ]
    assert missing("from benchmarks.gone import x") == [(1, "benchmarks.gone", "x")]


SURFACE = runpy.run_path(str(ROOT / ".ci/surface.py"))  # what a bare machine is asked for


def needed(text):
    """Packages of extras that a module imports when it is imported."""
    body = [n for n in ast.parse(text).body if isinstance(n, ast.Import | ast.ImportFrom)]
    found = [n.module or "" if isinstance(n, ast.ImportFrom) else a.name for n in body for a in n.names]
    return {name.split(".")[0] for name in found} & set(EXTRAS)


@pytest.mark.long
def test_no_module_needs_an_extra_but_those_listed():
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    found = {".".join(f.relative_to(ROOT).with_suffix("").parts): needed(f.read_text()) for f in files}
    assert {module: packages for module, packages in found.items() if packages} == {
        module: {package} for module, package in SURFACE["NEEDS"].items()
    }
    assert needed("import numpy\nfrom torch import nn\n\ndef f():\n    import jax\n") == {"torch"}


@pytest.mark.long
def test_list_of_a_kind_says_every_name():
    from benchmarks.cli import app

    def said(*words):
        return CliRunner().invoke(app, ["list", *words], env={"COLUMNS": "200"}).output

    lists = dict(line.split(": ", 1) for line in said().splitlines())
    assert "zoo" in lists
    for kind, entries in lists.items():
        listed = said(kind)
        assert [name for name in entries.split(", ") if name not in listed] == [], kind
