"""Parameter types used by the scenario schema and by constructors alike, so that each limit is written once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, get_args

import pydantic
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    validate_call,
)

from simulator.core.errors import ConfigError, joined, required, unknown

P = ParamSpec("P")
R = TypeVar("R")
Model = TypeVar("Model", bound=BaseModel)


_EXPONENT = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$", re.ASCII)  # numbers that YAML 1.1 takes for text


def _number(value: Any) -> Any:
    """Refuse text and truth values, which would be converted silently; 4.0 and 1e4 stand for integers too.

    ``3.5e9`` is a number in YAML 1.2 and text for parsers of YAML 1.1 (``yaml.safe_load``): it is read as the number.
    """
    if isinstance(value, str) and _EXPONENT.match(value):
        value = float(value)
    if isinstance(value, bool | str):
        raise ValueError("a number")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _printable(value: str) -> str:
    """Refuse control characters, surrogates and separators of lines, which no table, figure or page can show."""
    if not value.isprintable():
        raise ValueError("printable characters of one line")
    return value


def _listed(value: Any) -> Any:
    """One point as a list of one."""
    return (
        (value,) if isinstance(value, list | tuple) and not any(isinstance(x, list | tuple) for x in value) else value
    )


Integer = Annotated[int, BeforeValidator(_number)]
Real = Annotated[float, BeforeValidator(_number)]
Count = Annotated[Integer, Field(ge=1)]
Point = tuple[Real, Real, Real]
# A point, or several; one alone stands without a list of its own.
Points = Annotated[
    tuple[Point, ...],
    BeforeValidator(_listed),
    PlainSerializer(lambda points: points[0] if len(points) == 1 else points),
]
Probability = Annotated[Real, Field(ge=0, le=1)]
PositiveFloat = Annotated[Real, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[Real, Field(ge=0, allow_inf_nan=False)]
Profile = Literal["A", "B", "C", "D", "E"]
DelaySpread = Annotated[Real, Field(gt=0, le=1e-5, allow_inf_nan=False)]
AzimuthRange = Annotated[Real, Field(ge=0, le=180)]
ZenithRange = Annotated[Real, Field(ge=0, le=45)]
# Corrections of Sionna's TR 38.901 channels (clauses of TR 38.901).
SystemCorrection = Literal[
    "ray-offsets",  # Table 7.5-3: -1.1481, not -0.1481
    "indoor-distance",  # 7.4.3.1: d_2D-in is the smaller of two draws, one value per UE; d_2D-out >= 0
    "effective-height",  # Table 7.4.1-1, note 1 (UMa): h_E from {12, 15, ..., h_UT - 1.5} m, not continuous
    "los-zenith",  # 7.5 step 1: ZOA = 180 degrees - ZOD, not ZOD - 180 degrees, which mirrors the path
    "indoor-los",  # 7.4.2, 7.4.3.1: an indoor UE has the LOS state of its outdoor part (d_2D-out) in PL_b
    "distance-3d",  # Table 7.4.1-1: path loss over d_3D, not d_2D
    "rma-zod-offset",  # Table 7.5-9: offset in degrees, not radians
    "weak-clusters",  # 7.5 step 6: clusters 25 dB below the strongest are removed, powers not scaled again
    "link-rays",  # 7.5 steps 7 and 8: signs and couplings of every link its own, not one for all UEs of a drop
    "sub-clusters",  # 7.5 step 8: rays of the two strongest clusters are coupled within their sub-cluster
]
CdlCorrection = Literal["los-phase"]  # 7.7.1 with (7.5-29): the specular path of D and E has a phase of its own
AngleSpread = Annotated[Real, Field(gt=0, le=15)]
TargetBler = Annotated[Real, Field(ge=1e-5, le=0.5)]
Overhead = Annotated[Real, Field(ge=0, le=0.9)]  # share of resource elements without data
Speed = Annotated[Real, Field(ge=0, le=300)]
Label = Annotated[str, Field(min_length=1, max_length=120), AfterValidator(_printable)]  # text of a table or figure
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
SnrDb = Annotated[Real, Field(ge=-100, le=200, allow_inf_nan=False)]

# Strict, so that a constructor takes no text or truth value for a number either.
_call = validate_call(config=ConfigDict(arbitrary_types_allowed=True, strict=True))
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
# Plain words where pydantic's own speak of Python types.
_RULES = {
    "invalid_key": "names of fields",
    "tuple_type": "a list",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "model_type": "a mapping of fields",
    "dict_type": "a mapping of fields",
    "string_type": "text",
    "string_pattern_mismatch": "text that matches {pattern}",
    "bool_type": "true or false",
}


def check_value(field: str, kind: Any, value: object) -> None:
    """ConfigError unless the value of a field is of one of the types above."""
    try:
        _adapter(kind).validate_python(value)
    except ValidationError as error:
        raise config_error(error, field) from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def validated(prefix: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: check a constructor's annotated parameters; a violation becomes a ConfigError under ``prefix``."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        import functools

        checked = _call(function)

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return checked(*args, **kwargs)
            except ValidationError as error:
                raise config_error(error, prefix, known=_parameters(type(args[0]))) from None

        return wrapper

    return decorate


def _parameters(cls: type) -> list[str]:
    """Names that a user may give a constructor; ``**options`` are those of the class below."""
    from inspect import signature

    names: dict[str, None] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base):
            taken = list(signature(vars(base)["__init__"]).parameters.values())[1:]
            names |= dict.fromkeys(p.name for p in taken if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
            if not any(p.kind is p.VAR_KEYWORD for p in taken):
                break
    return [name for name in names if name not in ("config", "seed", "geometry")]


def parsed(model: type[Model], data: object, prefix: str = "") -> Model:
    """Plain data to a validated section; everything that is wrong in one ConfigError that names the fields."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise config_error(error, prefix, model) from None


def config_error(
    error: pydantic.ValidationError, prefix: str = "", model: type[BaseModel] | None = None, known: Iterable[str] = ()
) -> ConfigError:
    """A pydantic error, of a ``model`` or of ``known`` parameters, as a ConfigError with all others.

    Each names field, value and rule.
    """
    found: dict[str, ConfigError] = {}
    entries = error.errors()
    for entry in entries:
        # Pydantic counts the valid items of a list alone; the errors of the others say enough.
        inside = (other["loc"][: len(entry["loc"])] == entry["loc"] for other in entries if other is not entry)
        if entry["type"] == "too_short" and any(inside):
            continue
        where = [str(part) for part in entry["loc"] if not str(part).startswith("function-")]
        # Of the branches of a union, the first one.
        fields = known if model is None else _fields(model, where)
        found.setdefault(".".join(where), _config_error(entry, [prefix, *where], fields))
    return joined(each for first in found.values() for each in first.all)  # type: ignore[return-value]


def _config_error(entry: Any, where: list[str], fields: Iterable[str]) -> ConfigError:
    """One entry of a pydantic error; ``fields`` of the section in which it lies."""
    cause = entry.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):  # it names its field, down from the section that it was raised for
        return cause.under(*where[1:-1])
    path = ".".join(part for part in where if part) or "document"
    if entry["type"] in _MISSING:
        return required(path)
    if entry["type"] in _UNKNOWN:
        return unknown(".".join(part for part in where[:-1] if part), where[-1], fields)
    rule = entry["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if entry["type"] in _RULES:
        rule = _RULES[entry["type"]].format(**entry.get("ctx", {}))
    return ConfigError(path, entry.get("input"), rule)


def _fields(model: type[BaseModel], where: list[str]) -> list[str]:
    """Fields of the section of a model in which ``where`` lies."""
    models = [model]
    for part in where[:-1]:  # indices and keys of mappings lead to the section below
        for section in models:
            if part in section.model_fields:
                models = _models(section.model_fields[part].annotation)
                break
    return list(dict.fromkeys(name for section in models for name in section.model_fields))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Sections in an annotation such as ``tuple[Part, ...] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
