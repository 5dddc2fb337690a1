"""Parameter types used by the scenario schema and by constructors alike, so that each limit is written once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

import pydantic
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError, validate_call

from simulator.core.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")


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
