"""Parameter types used by the scenario schema and by constructors alike, so that each limit is written once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

import pydantic
from pydantic import ConfigDict, Field, ValidationError, validate_call

from simulator.core.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")

Count = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Profile = Literal["A", "B", "C", "D", "E"]
DelaySpread = Annotated[float, Field(gt=0, le=1e-5, allow_inf_nan=False)]
AzimuthRange = Annotated[float, Field(ge=0, le=180)]
ZenithRange = Annotated[float, Field(ge=0, le=45)]
AngleSpread = Annotated[float, Field(gt=0, le=15)]
SnrDb = Annotated[float, Field(ge=-100, le=200, allow_inf_nan=False)]

_call = validate_call(config=ConfigDict(arbitrary_types_allowed=True))


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
    path = ".".join(
        str(part) for part in (prefix, *first["loc"]) if str(part) and not str(part).startswith("function-")
    )
    received: Any = first.get("input")
    if first["type"] == "missing":
        return ConfigError(path, "nothing", "a value is required")
    if first["type"] == "extra_forbidden":
        return ConfigError(path, received, "no such field here")
    if first["type"] == "unexpected_keyword_argument":
        return ConfigError(path, received, "no such parameter")
    rule = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ConfigError(path or "document", received, rule)
