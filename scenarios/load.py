"""YAML files to plain dictionaries, with `a.b=c` overrides. Numbers like `3.5e9` are numbers (YAML 1.2)."""

from __future__ import annotations

import re
from collections.abc import Hashable
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from simulator.core.errors import ConfigError
from simulator.core.paths import is_file

MAX_OCTETS = 256 << 10  # of one file; the longest shipped one has 3 KiB
MAX_NODES = 20_000  # values, keys, lists and mappings, those that an alias repeats included
MAX_DEPTH = 40  # lists and mappings in each other
MAX_ALIASES = 200
MAX_DIGITS = 100  # characters of one number or date


class _Loader(yaml.SafeLoader):
    """Safe loader that reads `3.5e9` as a float, refuses duplicate keys, and stops at the limits above."""

    def __init__(self, text: str):
        super().__init__(text)
        self._depth = self._nodes = self._aliases = 0
        self._sizes: dict[int, int] = {}  # nodes below a node, and itself

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        alias = self.check_event(yaml.AliasEvent)
        before = self._nodes
        self._depth, self._aliases = self._depth + 1, self._aliases + alias
        _within(line, "levels of lists and mappings (recursion)", self._depth, MAX_DEPTH)
        _within(line, "aliases", self._aliases, MAX_ALIASES)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if alias and id(node) not in self._sizes:
            raise ConfigError(f"line {line}", "an alias inside its own anchor (recursion)", "one YAML document")
        self._nodes += self._sizes[id(node)] if alias else 1
        self._sizes[id(node)] = self._nodes - before
        _within(line, "values", self._nodes, MAX_NODES)
        if isinstance(node, yaml.ScalarNode):
            _check_text(line, node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # refused below
            if key in keys:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"line {line}, field {key}", "a second value", "one value per field")
            keys.add(key)
        return super().construct_mapping(node, deep)


def _within(line: int, what: str, number: int, most: int) -> None:
    if number > most:
        raise ConfigError(f"line {line}", f"more than {most} {what}", f"one YAML document of at most {most}")


def _check_text(line: int, node: yaml.ScalarNode) -> None:
    """Refuse characters that no file, table or figure can hold, and numbers whose digits take long to read."""
    if _UNPRINTABLE.search(node.value):
        raise ConfigError(f"line {line}", node.value, "text without control characters and surrogates")
    if node.tag.rpartition(":")[2] in ("int", "float", "timestamp") and len(node.value) > MAX_DIGITS:
        raise ConfigError(f"line {line}", node.value, f"a number of at most {MAX_DIGITS} characters")


_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_FLOAT = re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")
_Loader.yaml_implicit_resolvers = {
    key: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:float"]
    for key, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def parse_yaml(text: str, source: str) -> Any:
    """Plain Python data of one YAML document.

    Raises:
        ConfigError: with line and column when it is no YAML; larger than 256 KiB, 20,000 values (with those that
            aliases repeat), 40 levels or 200 aliases; control characters or lone surrogates in a text.
    """
    if len(text) > MAX_OCTETS:
        raise ConfigError(source, f"{len(text)} characters", f"at most {MAX_OCTETS}")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join((getattr(error, "problem", None) or str(error)).split())
        raise ConfigError(
            f"{source}{where}", problem, "one YAML document", f"{problem}; allowed: one YAML document"
        ) from None
    except ConfigError as error:
        raise ConfigError(f"{source} {error.field}", error.received, error.allowed) from None
    except (ValueError, RecursionError) as error:  # a date or number that does not exist; brackets without end
        raise ConfigError(source, str(error), "one YAML document") from None


def find_file(name: str | Path, folder: str = "presets", room: str = "scenarios") -> Path:
    """A YAML file by path, or a shipped one by name (``quickstart`` or ``scenarios/presets/quickstart.yaml``)."""
    path = Path(name)
    if is_file(path):
        return path
    shipped = Path(str(files(room))) / folder
    candidate = shipped / f"{path.stem}.yaml"
    near = path.parent == Path() or path.parent.name == shipped.name
    if is_file(candidate) and path.suffix in ("", ".yaml") and near:
        return candidate
    known = ", ".join(sorted(p.stem for p in shipped.glob("*.yaml")))
    raise ConfigError("file", str(name), f"an existing YAML file, or one of {known}")


def load_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read(MAX_OCTETS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), str(error), "a readable UTF-8 file") from None
    data = parse_yaml(text, path.name)
    if not isinstance(data, dict):
        received = "nothing" if data is None else f"a {type(data).__name__}"
        raise ConfigError(str(path), received, "a mapping of fields")
    for key in data:
        if not isinstance(key, str):
            raise ConfigError(str(path), key, "names of fields")
    return data


def apply_override(data: dict[str, Any], assignment: str) -> None:
    """Set one dotted field in place, ``a.b=c`` with ``c`` in YAML; list items by index or by scheme name."""
    path, equals, text = assignment.partition("=")
    if not equals or not path.strip():
        raise ConfigError("--set", assignment, "FIELD=VALUE, e.g. ue.num_users=2")
    set_field(data, path.strip(), parse_yaml(text, path))


def set_field(data: dict[str, Any], path: str, value: Any) -> None:
    """Set ``data[a][b] = value`` for the dotted ``path`` a.b, in place."""
    _assign(data, path.split("."), value, path)


def _assign(node: Any, parts: list[str], value: Any, path: str) -> None:
    if not isinstance(node, dict | list):
        raise ConfigError(path, parts[0], "a path of existing sections")
    keys: list[Any] = [*_items(node, parts[0], path)] if isinstance(node, list) else [parts[0]]
    for key in keys:
        if len(parts) == 1:
            node[key] = value
        else:
            if isinstance(node, dict) and node.get(key) is None:
                node[key] = {}
            _assign(node[key], parts[1:], value, path)


def _items(entries: list[Any], part: str, path: str) -> list[int]:
    """Indices of the entries that ``part`` means: one index, or all of a scheme, label or model of that name."""
    if part.isdecimal() and int(part) < len(entries):
        return [int(part)]
    names = [(e.get("scheme"), e.get("label"), e.get("model")) if isinstance(e, dict) else () for e in entries]
    found = [index for index, known in enumerate(names) if part in known]
    if not found:
        legal = ", ".join(str(e.get("scheme", i)) if isinstance(e, dict) else str(i) for i, e in enumerate(entries))
        raise ConfigError(path, part, f"an index below {len(entries)} or one of {legal}")
    return found
