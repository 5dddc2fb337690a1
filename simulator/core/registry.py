"""Names to objects through Python entry points ``csilink.<kind>``; built-ins use the same door as guests."""

from __future__ import annotations

import inspect
import traceback
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from simulator.core import interfaces
from simulator.core.content import note_plugin
from simulator.core.errors import ConfigError, CsilinkError, joined, required, unknown

KINDS = (
    "channels",
    "estimators",
    "estimation_models",
    "feedback",
    "quantizers",
    "refiners",
    "report_refiners",
    "coders",
    "models",
    "prediction_models",
    "precoders",
    "metrics",
    "predictors",
    "importers",
    "tasks",
)
# Base class of a kind; classes of other kinds are used as in their authors' trainings.
INTERFACES = {
    "channels": interfaces.ChannelSource,
    "coders": interfaces.EntropyCoder,
    "estimators": interfaces.Estimator,
    "feedback": interfaces.FeedbackScheme,
    "metrics": interfaces.Metric,
    "precoders": interfaces.Precoder,
    "predictors": interfaces.Predictor,
    "quantizers": interfaces.Quantizer,
}
# Where the parameters of a plug-in stand in a file; of other kinds ``<kind>.<name>``.
_FIELDS = {
    "channels": "channel",
    "estimators": "estimation",
    "importers": "import",
    "precoders": "precoding.{}",
    "predictors": "predict",
}
# What a scenario or a recipe may name by a dotted path ``package.module:Class`` too. Not what cards of weights name:
# those may come from strangers.
_DOTTED = ("channels", "estimators", "feedback", "metrics", "precoders", "predictors", "tasks")
_registered: dict[tuple[str, str], tuple[EntryPoint, type]] = {}  # classes of this process
_OWN = ("benchmarks", "receivers", "scenarios", "simulator")


@cache
def _points(kind: str) -> dict[str, EntryPoint]:
    if kind not in KINDS:
        raise ConfigError("kind", kind, ", ".join(KINDS))
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"csilink.{kind}"):
        known = found.get(point.name)
        if known is not None and known.value != point.value:
            raise ConfigError(
                f"entry point csilink.{kind}",
                point.name,
                f"one plug-in per name; both {known.value} and {point.value}",
            )
        found[point.name] = point
    return dict(sorted(found.items()))


def names(kind: str) -> list[str]:
    """Known names of a kind, sorted; nothing is imported."""
    return sorted({*_points(kind), *(name for of, name in _registered if of == kind)})


def is_known(kind: str, name: str) -> bool:
    """Whether a name can be asked for: a known one, or a dotted path ``package.module:Class`` where a kind takes it."""
    return name in names(kind) or _is_dotted(kind, name)


def register(kind: str, name: str, cls: type) -> type:
    """Give a class of this process a name, as an entry point gives it to one of an installed package.

    Such a name lives as long as the process; registering it again replaces the class. While there are such classes,
    :func:`csilink.run` computes in this process.

    Args:
        kind: kind of plug-in, e.g. "feedback", "precoders", "channels".
        name: the name that scenarios and :func:`csilink.feedback` use.
        cls: class derived from the interface of its kind in ``simulator.core.interfaces``.

    Returns:
        ``cls``.

    Raises:
        ConfigError: unknown kind, the name of an installed plug-in, or no class of this kind.

    Example:
        >>> import csilink
        >>> from simulator.precoding.linear import Mrt
        >>> class Mine(Mrt):
        ...     "Maximum ratio transmission under another name."
        >>> csilink.register("precoders", "mine", Mine)
        <class '...Mine'>
        >>> csilink.precoder("mine").name
        'mine'
    """
    if name in _points(kind) or ":" in name:
        raise ConfigError("name", name, f"a name without a colon that is none of {', '.join(_points(kind))}")
    value = f"{checked(kind, cls).__module__}:{cls.__qualname__}"
    _registered[kind, name] = EntryPoint(name, value, f"csilink.{kind}"), cls
    return cls


def checked(kind: str, cls: Any) -> Any:
    """A class that was given as such; ConfigError unless it is one of its kind."""
    fault = _unfit(kind, cls)
    if fault is not None:
        raise ConfigError(kind, _Text(fault[0]), fault[1])
    return cls


def has_registered() -> bool:
    """Whether classes were registered that other processes do not know."""
    return bool(_registered)


def target(kind: str, name: str) -> str:
    """Where a plug-in lives, ``package.module:Class``; nothing is imported."""
    return _point(kind, name).value


def load(kind: str, name: str) -> Any:
    """The class of a name.

    Raises:
        ConfigError: unknown name (lists the known ones), or a plug-in that cannot be imported or is no class of its
            kind (names plug-in, entry point, file and line).
    """
    point = _point(kind, name)
    try:
        found = _registered[kind, name][1] if (kind, name) in _registered else point.load()
    except (Exception, SystemExit) as error:
        raise _broken(kind, point, error, "a module that can be imported") from error
    fault = _unfit(kind, found)
    if fault is not None:
        raise _broken(kind, point, *fault, at=found)
    return found


def build(kind: str, name: str, *args: Any, **params: Any) -> Any:
    """Object of a plug-in; unknown and missing parameters are one ConfigError with the legal list.

    An exception in the constructor of a guest is a ConfigError that names the plug-in, as in :func:`load`.
    """
    cls = load(kind, name)
    if faults := _misfits(_FIELDS.get(kind, f"{kind}.{{}}").format(name), inspect.signature(cls), len(args), params):
        raise joined(faults)
    try:
        return cls(*args, **params)
    except (CsilinkError, MemoryError):
        raise
    except Exception as error:
        point = _point(kind, name)
        if _package(point) in _OWN:
            raise
        raise _broken(kind, point, error, "a constructor that raises ConfigError for parameters") from error


def _misfits(field: str, signature: inspect.Signature, num_args: int, params: dict[str, Any]) -> list[ConfigError]:
    """Parameters that a constructor does not have, or that are missing, after ``num_args`` arguments of ours."""
    taken = list(signature.parameters.values())[num_args:]
    if any(p.kind is p.VAR_KEYWORD for p in taken):
        return []
    theirs = [p for p in taken if p.name not in ("config", "seed", "geometry") and p.kind is not p.VAR_POSITIONAL]
    legal = [p.name for p in theirs]
    return [
        *(unknown(field, name, legal) for name in params if name not in {p.name for p in taken}),
        *(required(f"{field}.{p.name}") for p in theirs if p.default is p.empty and p.name not in params),
    ]


def _point(kind: str, name: str) -> EntryPoint:
    if (kind, name) in _registered:
        point, cls = _registered[kind, name]
        note_plugin(kind, point, cls)
        return point
    points = _points(kind)
    if name not in points:
        if not _is_dotted(kind, name):
            raise ConfigError(kind, name, ", ".join(names(kind)) or "none installed")
        points = {name: EntryPoint(name, name, f"csilink.{kind}")}
    note_plugin(kind, points[name])
    return points[name]


def _is_dotted(kind: str, name: str) -> bool:
    module, colon, attribute = name.partition(":")
    parts = (*module.split("."), *attribute.split("."))
    return kind in _DOTTED and bool(colon) and all(part.isidentifier() for part in parts)


def _unfit(kind: str, found: Any) -> tuple[str, str] | None:
    """Fault of the object that an entry point names, and the allowed form."""
    base = INTERFACES.get(kind)
    allowed = "a class" if base is None else f"a class derived from {base.__module__}.{base.__name__}"
    if not isinstance(found, type):
        return f"a {type(found).__name__}", allowed
    if base is not None and not issubclass(found, base):
        return f"class {found.__qualname__}", allowed
    declared = [] if base is None else [n for n, a in base.__annotations__.items() if str(a).startswith("ClassVar")]
    missing = [*getattr(found, "__abstractmethods__", ()), *(n for n in declared if not hasattr(found, n))]
    if missing := sorted(missing):
        return f"class {found.__qualname__} without {', '.join(missing)}", f"{allowed} that has them"
    return None


def _broken(kind: str, point: EntryPoint, fault: object, allowed: str, at: Any = None) -> ConfigError:
    """The error that says which plug-in is broken, of which package, and in which file and line."""
    if isinstance(fault, BaseException):
        place, fault = _raised_at(fault, _package(point)), " ".join(f"{type(fault).__name__}: {fault}".split())
    else:
        place = _defined_at(at)
    owner = "" if point.dist is None else f" of package {point.dist.name} {point.dist.version}"
    where = f"plug-in {point.name!r} (entry point csilink.{kind}: {point.value}{owner}){place}"
    return ConfigError(where, _Text(fault), f"{allowed}; mend it, or uninstall its package")


class _Text(str):
    """Text that messages print without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _package(point: EntryPoint) -> str:
    return point.value.partition(":")[0].partition(".")[0].strip()


def _raised_at(error: BaseException, package: str) -> str:
    """File and line: of the text that is no Python, or of the last step inside the plug-in's package, or at all."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" in {error.filename}, line {error.lineno}"
    steps = [
        (frame.f_globals.get("__name__") or "", frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    steps = [step for step in steps if step[0] != __name__ and "importlib" not in step[1]]
    own = [step for step in steps if step[0].partition(".")[0] == package]
    for _, file, line in reversed(own or steps):
        return f" in {file}, line {line}"
    if isinstance(error, AttributeError) and (file := getattr(error.obj, "__file__", None)):  # no such class there
        return f" in {file}, line 1"
    return ""


def _defined_at(thing: Any) -> str:
    try:
        return f" in {Path(inspect.getfile(thing))}, line {inspect.getsourcelines(thing)[1]}"
    except (TypeError, OSError):
        return ""
