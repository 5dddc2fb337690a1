"""Code that serves all plug-ins asks what they can do, not what they are called or which class they have."""

import ast
from pathlib import Path

import pytest

import simulator
from simulator.core import registry

ROOT = Path(simulator.__file__).parents[1]
SHARED = (
    "scenarios/schema.py",
    "scenarios/transmission.py",
    "benchmarks/build.py",
    "benchmarks/chunk.py",
    "benchmarks/cli.py",
    "benchmarks/export.py",
    "benchmarks/memory.py",
    *(f"benchmarks/papers/{name}.py" for name in ("stores", "kit/run", "kit/training", "kit/seeds", "kit/latency")),
    *(f"benchmarks/papers/kit/{name}.py" for name in ("figures", "readme")),
    "benchmarks/precision.py",
    "benchmarks/runner.py",
    "benchmarks/train.py",
    "receivers/training/loop.py",
    "receivers/training/task.py",
    "simulator/link.py",
    "simulator/reporting/reporting.py",
)
# Sections of built-in channels are part of the schema, so that their names are. Values of fields that are also names.
CHANNELS = "channels"
# Defaults of fields, what every run computes, keys of cards, and what networks learn (a target of that name).
ALLOWED = {
    "scenarios/schema.py": {"perfect", "sum_rate_bpshz"},
    "scenarios/transmission.py": {"zf"},
    "benchmarks/chunk.py": {"bits_mean", "bits_max"},
    "benchmarks/cli.py": {"bits_mean"},
    "benchmarks/precision.py": {"policies"},
    "receivers/training/task.py": {"nmse_db"},
    "benchmarks/export.py": {"eigenvector", "huffman"},
    "benchmarks/papers/kit/seeds.py": {"nmse_db"},
}
FIELDS = {"range", "fixed", "uniform"}  # coders and quantisers called like other things


def plugins():
    """Names and classes of all plug-ins but channels."""
    kinds = [kind for kind in registry.KINDS if kind != CHANNELS]
    found = {name: registry.target(kind, name).rpartition(":")[2] for kind in kinds for name in registry.names(kind)}
    assert {"svd", "klt", "bler", "etype2-r16"} <= set(found)
    return set(found) - FIELDS, set(found.values())


def faults(source, names, classes):
    """Lines that name a plug-in or ask for its class."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names:
            yield f"line {node.lineno}: {node.value!r}"
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            asked = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
            if asked & (classes | {"PmiFeedback", "FeedbackScheme", "Precoder", "Metric"}):
                yield f"line {node.lineno}: isinstance of {asked}"


@pytest.mark.parametrize("path", SHARED)
def test_no_names_and_no_classes(path):
    names, classes = plugins()
    assert list(faults((ROOT / path).read_text(), names - ALLOWED.get(path, set()), classes)) == []


def test_the_search_finds_what_it_looks_for():
    source = "if name in ('svd', 'x'):\n    pass\nisinstance(scheme, (int, PmiFeedback))\n"
    assert len(list(faults(source, *plugins()))) == 2
