"""Exceptions that name the parameter, what was received and what is allowed."""

from __future__ import annotations


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
        super().__init__(f"{field}: got {received!r}; allowed: {allowed}")


class StoreError(CsilinkError):
    """A file of a data store, weight folder or results folder is missing, damaged or cannot be written."""


class PayloadError(CsilinkError):
    """A CSI report cannot be a report of this scheme (wrong shape, dtype, length or value)."""
