"""One file with the layers of an exported Keras graph that are not Keras's own, cut out of our sources."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from simulator.core.errors import StoreError

_HEAD = '''"""Layers of the Keras model next to this file, which are not Keras's own.

    import csilink_layers, keras
    model = keras.models.load_model("model.keras")

Needs Keras and NumPy; written by `csilink export` from csilink's sources (Apache-2.0).
"""
'''


def registration(graph: Any, rooms: set[str]) -> str | None:
    """Source of the file for a model, or None where Keras's own layers are enough.

    It holds only the definitions that the layers' classes use, each before its first use.

    Args:
        graph: a Keras model.
        rooms: packages whose sources are taken along.

    Raises:
        StoreError: two things of one name, or an import in a function: one file cannot hold them.
    """
    classes = {type(layer) for layer in _layers(graph) if type(layer).__module__.partition(".")[0] in rooms}
    if not classes:
        return None
    cut = _Cut(rooms)
    for kind in sorted(classes, key=lambda kind: (kind.__module__, kind.__qualname__)):
        cut.add(kind.__module__, kind.__qualname__)
    imports = sorted(cut.imports, key=lambda line: (not line.startswith("from __future__"), line))
    return "\n".join((_HEAD, *imports, "", "", "\n\n\n".join(cut.parts.values()))) + "\n"


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers(layer)


class _Cut:
    """Definitions by name, each after those that it uses."""

    def __init__(self, rooms: set[str]):
        self.rooms, self.imports, self.parts = rooms, {"from __future__ import annotations"}, {}
        self._from: dict[str, str] = {}
        self._sources: dict[str, tuple[str, dict[str, ast.stmt]]] = {}

    def add(self, module: str, name: str) -> None:
        """A top-level name of a module, with all that it uses."""
        source, known = self._read(module)
        node = known.get(name)
        if node is None:  # a builtin, or a name of a function
            return
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node, name)
            return
        if name in self._from:
            if self._from[name] != module:
                raise StoreError(f"{name}: of {module} and of {self._from[name]}; one file cannot hold both")
            return
        self._from[name] = module
        for used in _names(node):
            if used != name:
                self.add(module, used)
        first = min((d.lineno for d in getattr(node, "decorator_list", ())), default=node.lineno)
        self.parts[name] = "\n".join(source.splitlines()[first - 1 : node.end_lineno])

    def _import(self, node: ast.Import | ast.ImportFrom, name: str) -> None:
        alias = next(a for a in node.names if (a.asname or a.name.partition(".")[0]) == name)
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in self.rooms:
            if alias.asname:
                raise StoreError(f"{node.module}.{alias.name}: imported as {name}; one file has no place for that")
            self.add(str(node.module), name)
            return
        what = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
        self.imports.add(f"from {node.module} import {what}" if isinstance(node, ast.ImportFrom) else f"import {what}")

    def _read(self, module: str) -> tuple[str, dict[str, ast.stmt]]:
        if module not in self._sources:
            source = inspect.getsource(importlib.import_module(module))
            self._sources[module] = source, _defined(ast.parse(source))
        return self._sources[module]


def _defined(tree: ast.Module) -> dict[str, ast.stmt]:
    """Statement that gives each top-level name."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {a.asname or a.name.partition(".")[0]: node for a in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {n.id: node for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return found


def _names(node: ast.AST) -> list[str]:
    """Names that a definition reads, in order; annotations are never evaluated."""
    if isinstance(node, ast.Name):
        return [node.id]
    skipped = {"annotation", "returns"}
    parts: list[str] = []
    for field, value in ast.iter_fields(node):
        if field not in skipped:
            for child in value if isinstance(value, list) else [value]:
                parts += _names(child) if isinstance(child, ast.AST) else []
    return parts
