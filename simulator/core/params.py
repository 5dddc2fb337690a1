"""Parameter types used by the scenario schema and by constructors alike, so that each limit is written once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

import pydantic
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError, validate_call

from simulator.core.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")


def _number(value: Any) -> Any:
    """Refuse text and truth values, which would be converted silently; 4.0 and 1e4 stand for integers too."""
    if isinstance(value, bool | str):
        raise ValueError("a number")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _printable(value: str) -> str:
    """Refuse control characters, surrogates and separators of lines, which no table, figure or page can show."""
    if not value.isprintable():
        raise ValueError("printable characters of one line")
    return value


Integer = Annotated[int, BeforeValidator(_number)]
Real = Annotated[float, BeforeValidator(_number)]
Count = Annotated[Integer, Field(ge=1)]
Probability = Annotated[Real, Field(ge=0, le=1)]
PositiveFloat = Annotated[Real, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[Real, Field(ge=0, allow_inf_nan=False)]
Profile = Literal["A", "B", "C", "D", "E"]
DelaySpread = Annotated[Real, Field(gt=0, le=1e-5, allow_inf_nan=False)]
AzimuthRange = Annotated[Real, Field(ge=0, le=180)]
ZenithRange = Annotated[Real, Field(ge=0, le=45)]
AngleSpread = Annotated[Real, Field(gt=0, le=15)]
Speed = Annotated[Real, Field(ge=0, le=300)]
Label = Annotated[str, Field(min_length=1, max_length=120), AfterValidator(_printable)]  # text of a table or figure
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
SnrDb = Annotated[Real, Field(ge=-100, le=200, allow_inf_nan=False)]

# Strict, so that a constructor takes no text or truth value for a number either.
_call = validate_call(config=ConfigDict(arbitrary_types_allowed=True, strict=True))
# Plain words where pydantic's own speak of Python types.
_RULES = {
    "extra_forbidden": "no such field here",
    "unexpected_keyword_argument": "no such parameter",
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
                raise config_error(error, prefix) from None

        return wrapper

    return decorate


def config_error(error: pydantic.ValidationError, prefix: str = "") -> ConfigError:
    """The first problem of a pydantic error as a ConfigError that names field, value and rule."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if not str(part).startswith("function-")]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):  # it names its field, down from the section that it was raised for
        return ConfigError(".".join((*where[:-1], cause.field)), cause.received, cause.allowed)
    path = ".".join(part for part in (prefix, *where) if part) or "document"
    if first["type"] == "missing":
        return ConfigError(path, "nothing", "a value is required")
    rule = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] in _RULES:
        rule = _RULES[first["type"]].format(**first.get("ctx", {}))
    return ConfigError(path, first.get("input"), rule)
