"""Networks built from parameters that a user wrote."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.params import config_error

Built = TypeVar("Built")


def build_checked(field: str, make: Callable[..., Built], params: Mapping[str, Any], *args: Any, **known: Any) -> Built:
    """``make(*args, **known, **params)`` with every fault of ``params`` as a ConfigError that names its field.

    Args:
        field: section of the parameters, e.g. ``model.params``.
        make: constructor with annotated parameters.
        params: parameters from the user.
        args: further arguments of ours.
        known: the same by name.

    Raises:
        ConfigError: a name that ``make`` does not have, a value of another type (null where a number is needed, text
            or true for a number), or one that it refuses.
    """
    for name, hint in _hints(make).items():
        if name in params:
            _check(f"{field}.{name}", hint, params[name])
    try:
        return make(*args, **known, **params)
    except ConfigError as error:
        raise error.under(field) from None
    except (TypeError, ValueError, ArithmeticError, AttributeError, IndexError) as error:
        raise ConfigError(field, dict(params), f"what {make.__qualname__} takes ({error})") from None


def autoencoder_class(name: str) -> Any:
    """The network of a name in ``csilink.models``.

    Raises:
        ConfigError: unknown, or not derived from :class:`receivers.models.autoencoder.Autoencoder`.
    """
    from receivers.models.autoencoder import Autoencoder

    found = registry.load("models", name)
    if not issubclass(found, Autoencoder):
        allowed = (
            "a class derived from receivers.models.autoencoder.Autoencoder, whose encoder and decoder are models of "
            "their own; a network of any other form, trained elsewhere, goes into a subclass of csilink.NetworkFeedback"
        )
        raise ConfigError("model.name", f"{name} ({found.__module__}.{found.__qualname__})", allowed)
    return found


@cache
def _hints(make: Any) -> dict[str, Any]:
    function = make.__init__ if inspect.isclass(make) else make
    named = inspect.signature(function).parameters.values()
    hints = get_type_hints(function)
    return {p.name: hints[p.name] for p in named if p.name in hints and p.kind is p.POSITIONAL_OR_KEYWORD}


def _check(field: str, hint: Any, value: Any) -> None:
    try:
        validated = TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        fault = config_error(error, field)
        raise ConfigError(field, value, fault.allowed) from None
    if isinstance(validated, int | float) and not isinstance(validated, bool) and isinstance(value, bool | str):
        raise ConfigError(field, value, "a number")
