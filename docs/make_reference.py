"""Write docs/reference.md from the schemas: ``python docs/make_reference.py`` (or ``make reference``)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter

from receivers.codebooks import stored
from receivers.precision.offline import PrecisionRecipe
from receivers.training.recipe import task_of
from receivers.weights.card import EstimationCard, FeedbackCard, PredictionCard, RefinementCard, TransformCard
from scenarios import channels
from scenarios.dataset import DatasetRecipe
from scenarios.schema import Scenario
from simulator.core import registry

PAGE = Path(__file__).with_name("reference.md")
HEAD = """# Reference of all fields

Written by `make reference` from the schemas that check the files; a test compares the two. A field without a default is
required. Unknown fields are errors, except in sections whose plug-in has parameters of its own: those stand next to its
name, and its constructor checks them (`csilink list KIND` names the plug-ins of a kind).
"""
# Heading, what it is of, top schema, and sections that no annotation names.
DOCUMENTS: list[tuple[str, str, type[BaseModel], tuple[type[BaseModel], ...]]] = [
    (
        "Scenario",
        "`csilink run FILE`, `csilink check FILE`; `--set FIELD=VALUE` overrides a dotted field.",
        Scenario,
        (*dict.fromkeys(channels._CHANNELS.values()), channels.GuestChannel),
    ),
    ("Data set recipe", "`csilink dataset FILE`. Channels are those of a scenario.", DatasetRecipe, ()),
    *(
        (f"Recipe of task {name}", f"`csilink train FILE`, with `task: {name}`.", task_of(name).schema, ())
        for name in registry.names("tasks")
        if registry.target("tasks", name).startswith(("receivers.", "benchmarks."))
    ),
    ("Options of policies", "`csilink policies WEIGHTS --store STORE --set FIELD=VALUE`.", PrecisionRecipe, ()),
    (
        "Card of a feedback network",
        "`card.json` in a folder of weights. Further fields (recipe, data, training, costs, scores) are for readers.",
        FeedbackCard,
        (),
    ),
    ("Card of a prediction network", "`card.json` with `task: prediction`.", PredictionCard, ()),
    ("Card of an estimation network", "`card.json` with `task: estimation`.", EstimationCard, ()),
    ("Card of a network that refines reports", "`card.json` with `task: refinement`.", RefinementCard, ()),
    ("Card of a transform codec", "`card.json` with `task: ntc`.", TransformCard, ()),
    ("Card of a codebook", "`card.json` in a folder of a codebook.", stored._Card, ()),
]
_SIGNS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}"}
_LIMITS = (*_SIGNS, "pattern", "min_length", "max_length")
_TABLE = ("| field | type | default | limits | meaning |", "|---|---|---|---|---|")
_EMPTY = inspect.Parameter.empty
_GIVEN = ("config", "geometry", "seed")  # arguments of ours, see simulator.core.registry
_TYPES = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


def reference() -> str:
    """The page."""
    parts = [HEAD]
    seen: set[type[BaseModel]] = set()
    for title, text, top, more in DOCUMENTS:
        parts.append(f"## {title}\n\n{text}")
        for model in sections(top, more):
            if model not in seen:
                seen.add(model)
                parts.append(section(model, None if model is top else heading(model)))
    parts.append(
        "## Parameters of plug-ins\n\nOf the built-in ones that have any, next to `scheme`, `name` or `--set`."
    )
    for kind in ("feedback", "estimators", "predictors", "precoders", "importers"):
        ours = (n for n in registry.names(kind) if registry.target(kind, n).startswith(("receivers.", "simulator.")))
        parts += filter(None, (plug_in(kind, name) for name in ours))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def plug_in(kind: str, name: str) -> str:
    """Parameters of a built-in plug-in as a table; nothing where there are none."""
    cls = registry.load(kind, name)
    rows = [
        f"| `{key}` | {words(TypeAdapter(hint).json_schema(), {})} | {'' if value is _EMPTY else f'`{_plain(value)}`'} "
        f"| {'; '.join(limits(hint))} | {meaning(cls, key)} |"
        for key, (hint, value) in parameters(cls).items()
    ]
    return f"### {name} ({kind})\n\n" + "\n".join([*_TABLE, *rows]) if rows else ""


def parameters(cls: type) -> dict[str, tuple[Any, Any]]:
    """Annotation and default of what a user may give a constructor; ``**options`` are those of the class below."""
    found: dict[str, tuple[Any, Any]] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base) and base is not object:
            named = inspect.signature(base.__init__).parameters.values()
            hints = get_type_hints(base.__init__, include_extras=True)
            for p in named:
                if p.kind is not p.VAR_KEYWORD and p.name not in ("self", *_GIVEN):
                    found.setdefault(p.name, (hints[p.name], p.default))
            if not any(p.kind is p.VAR_KEYWORD for p in named):
                break
    return found


def sections(top: type[BaseModel], more: tuple[type[BaseModel], ...] = ()) -> list[type[BaseModel]]:
    """``top``, the models that its fields name, those that theirs name, and so on; then ``more``."""
    found = [top]
    for model in found:
        found += [inner for f in model.model_fields.values() for inner in models_in(f.annotation) if inner not in found]
    return [*found, *more]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models within an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from models_in(inner)


def heading(model: type[BaseModel]) -> str:
    """Name of a section, of the models of one file each its own."""
    name = model.__name__.lstrip("_")
    module = model.__module__.rpartition(".")[2]
    twice = {"File", "NetworkSection", "Network"}
    return f"{name} ({module})" if name in twice else name


def section(model: type[BaseModel], title: str | None) -> str:
    """Heading, what the class says of itself, table of its fields."""
    schema = model.model_json_schema()
    rows = [
        f"| `{name}` | {words(schema['properties'][name], schema, field.annotation)} | {default(field)} "
        f"| {'; '.join(limits(field.annotation, field.metadata))} | {meaning(model, name)} |"
        for name, field in model.model_fields.items()
    ]
    table = "\n".join([*_TABLE, *rows])
    return "\n\n".join([*([f"### {title}"] if title else []), *([text] if (text := about(model)) else []), table])


def about(model: type[BaseModel]) -> str:
    """Docstring without its Args, as Markdown; only the model's own."""
    text = inspect.cleandoc(vars(model).get("__doc__") or "").partition("\nArgs:")[0]
    return _markdown(text.rstrip())


def meaning(model: type, name: str) -> str:
    """Description of a field in the Args of the class that declares it, or of one below.

    Raises:
        KeyError: nothing describes it.
    """
    for base in model.__mro__:
        args = inspect.cleandoc(vars(base).get("__doc__") or "").partition("\nArgs:\n")[2]
        if found := re.search(
            rf"^    (?:[\w, ]+, )?{name}(?:, [\w, ]+)?: (.*?)(?=^    \S|^\S|\Z)", args, flags=re.S | re.M
        ):
            return re.sub(r"\bNone\b", "null", _markdown(" ".join(found[1].split()))).replace("|", "\\|")
    raise KeyError(f"{model.__module__}.{model.__name__}: no Args line of {name}")


def words(part: dict[str, Any], schema: dict[str, Any], annotation: Any = None) -> str:
    """Type of a field in words."""
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(words(p, schema, annotation) for p in part["anyOf"]))
    if "allOf" in part:
        return words(part["allOf"][0], schema, annotation)
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2].rpartition("__")[2]
        (model,) = {m for m in models_in(annotation) if m.__name__ == name}
        return f"[section](#{_anchor(heading(model))})"
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if part.get("type") == "array":
        if "prefixItems" in part:
            kinds = list(dict.fromkeys(words(p, schema, annotation) for p in part["prefixItems"]))
            return f"{len(part['prefixItems'])} of {', '.join(kinds)}"
        return f"list of {words(part['items'], schema, annotation)}"
    if part.get("type") == "object":
        values = part.get("additionalProperties") or next(iter(part.get("patternProperties", {}).values()), None)
        kind = words(values, schema, annotation) if isinstance(values, dict) and values else "any value"
        return f"mapping of name to {kind}"
    return _TYPES.get(part.get("type", ""), "any value")


def default(field: Any) -> str:
    """Default of a field; empty: required."""
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True)
        return "its defaults" if value in ({}, None) else f"`{value}`"
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_plain(v.model_dump() if isinstance(v, BaseModel) else v) for v in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _number(value) if isinstance(value, float) else str(value) or '""'


def _number(value: float) -> str:
    short = f"{value:.3g}"
    text = short if float(short) == value else f"{value:.10g}"
    return re.sub(r"e\+?(-?)0*", r"e\1", text)


def limits(annotation: Any, metadata: Iterable[Any] = ()) -> list[str]:
    """Limits of a field and of its entries, in words."""
    if get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        metadata = [*metadata, *(m for each in inner for m in getattr(each, "metadata", [each]))]
    found = list(_limits_of(metadata, "character" if annotation is str else "entry"))
    if (origin := get_origin(annotation)) in (Union, UnionType):
        found += [text for each in get_args(annotation) for text in limits(each)]
    elif origin in (tuple, list, dict):
        entries = get_args(annotation)[1:] if origin is dict else get_args(annotation)
        found += [f"each {text}" for each in entries for text in limits(each)]
    return list(dict.fromkeys(found))


def _limits_of(metadata: Iterable[Any], unit: str) -> Iterator[str]:
    values = {key: value for each in metadata for key in _LIMITS if (value := getattr(each, key, None)) is not None}
    if numbers := [sign.format(_number(values[key])) for key, sign in _SIGNS.items() if key in values]:
        yield ", ".join(numbers)
    if "pattern" in values:
        yield f"matches `{values['pattern']}`".replace("|", "\\|")
    plural = unit.replace("entry", "entrie") + "s"
    for key, text in (("min_length", "at least"), ("max_length", "at most")):
        if key in values:
            yield f"{text} {values[key]} {unit if values[key] == 1 else plural}"


def _markdown(text: str) -> str:
    """Docstring markup to Markdown: double quotes of code, references to classes."""
    text = re.sub(r":math:`([^`]*)`", r"$\1$", text)
    text = re.sub(r":\w+:`~?([^`<]*\.)?([\w]+)`", r"`\2`", text)
    return re.sub(r"``([^`]*)``", r"`\1`", text)


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(reference())
