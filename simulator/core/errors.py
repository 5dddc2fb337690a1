"""Exceptions that name the parameter, what was received and what is allowed."""

from __future__ import annotations

_LONGEST = 400  # characters of a received value in a message


class CsilinkError(ValueError):
    """Base of every error that a user can cause; the command line prints it and exits with code 2."""


class ConfigError(CsilinkError):
    """A parameter of a scenario, recipe or constructor is wrong.

    Args:
        field: dotted path of the parameter, e.g. ``feedback.rvq.bits``.
        received: the value that came.
        allowed: what would have been accepted, in words.
    """

    def __init__(self, field: str, received: object, allowed: str) -> None:
        self.field, self.received, self.allowed = field, received, allowed
        super().__init__(f"{field}: got {_shown(received)}; allowed: {allowed}")


class WeightsError(ConfigError):
    """A file of public weights is malformed; the message names file, tensor and fault."""


class StoreError(CsilinkError):
    """A file of a data store, weight folder or results folder is missing, damaged or cannot be written."""


class PayloadError(CsilinkError):
    """A CSI report cannot be a report of this scheme (wrong shape, dtype, length or value)."""


def _shown(received: object) -> str:
    """The value as text, cut where it is long; an integer beyond Python's limit of digits has none."""
    try:
        text = repr(received)
    except (ValueError, RecursionError):
        text = f"a {type(received).__name__} that is too large to print"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
