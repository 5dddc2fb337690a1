"""Exceptions that name the parameter, what was received and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import copy
from difflib import get_close_matches
from typing import Self

_LONGEST = 400  # characters of a received value in a message
_NAMES = re.compile(r"(?:^|, |; |: | of |or )'?([\w.-]+)'?(?=$|,|;|\)| or)")  # names listed in words


class CsilinkError(ValueError):
    """Base of every error that a user can cause; the command line prints it and exits with code 2.

    Attributes:
        others: further errors of the same input, so that all can be mended at once; its text has a line for each.
    """

    others: tuple[CsilinkError, ...] = ()

    @property
    def all(self) -> tuple[CsilinkError, ...]:
        """This error and the others."""
        return self, *self.others

    @property
    def text(self) -> str:
        """This error alone."""
        return ValueError.__str__(self)

    @property
    def line(self) -> str:
        """All errors in one line."""
        return "; ".join(error.text for error in self.all)

    def __str__(self) -> str:
        return "\n".join(error.text for error in self.all)


class ConfigError(CsilinkError):
    """A parameter of a scenario, recipe or constructor is wrong.

    Args:
        field: dotted path of the parameter, e.g. ``feedback.rvq.bits``.
        received: the value that came.
        allowed: what would have been accepted, in words.
        problem: the message after the field, where it is not ``got ...; allowed: ...``.
    """

    meant: str | None = None  # text of the error that an unknown field explains

    def __init__(self, field: str, received: object, allowed: str, problem: str | None = None) -> None:
        self.field, self.received, self.allowed = field, received, allowed
        self.problem = (
            problem or f"got {_shown(received)}{_meant(received, _NAMES.findall(allowed))}; allowed: {allowed}"
        )
        super().__init__(field, received, allowed, problem)

    @property
    def text(self) -> str:
        """Field and problem."""
        return f"{self.field}: {self.problem}" if self.field else self.problem

    def under(self, *sections: str) -> Self:
        """This error, and the others, in a section: ``bits`` becomes ``feedback.rvq.bits``."""
        moved = copy(self)
        moved.field = ".".join(part for part in (*sections, self.field) if part)
        moved.others = tuple(e.under(*sections) if isinstance(e, ConfigError) else e for e in self.others)
        return moved


class WeightsError(ConfigError):
    """A file of public weights is malformed; the message names file, tensor and fault."""


class StoreError(CsilinkError):
    """A file of a data store, weight folder or results folder is missing, damaged or cannot be written."""


class PayloadError(CsilinkError):
    """A CSI report cannot be a report of this scheme (wrong shape, dtype, length or value)."""


class Faults:
    """Gathers the errors of several checks: ``with faults: check()``, then :meth:`throw`."""

    def __init__(self) -> None:
        self._found: list[CsilinkError] = []

    def __enter__(self) -> Faults:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, CsilinkError):
            return False
        self.add(error)
        return True

    def add(self, error: CsilinkError) -> None:
        """Gather an error."""
        self._found += error.all

    def throw(self) -> None:
        """Raise the first error with all others; nothing where there is none."""
        if self._found:
            raise joined(self._found) from None


def joined(errors: Iterable[CsilinkError]) -> CsilinkError:
    """The first error, with the others; equal ones once, and none for a missing field whose name is misspelt."""
    by_text: dict[str, CsilinkError] = {}
    for error in errors:
        by_text.setdefault(error.text, error)
    meant = {getattr(error, "meant", None) for error in by_text.values()} - {None}
    first, *others = (e for text, e in by_text.items() if text not in meant)
    first.others = tuple(others)
    for error in others:
        error.others = ()
    return first


def unknown(field: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a parameter of a section or plug-in that it does not have."""
    known = list(known)
    allowed, near = ", ".join(known) or "no parameters", _nearest(name, known)
    error = ConfigError(field, name, allowed, f"unknown: {name}{_meant(name, known)}; allowed: {allowed}")
    error.meant = near and required(f"{field}.{near}" if field else near).text
    return error


def required(field: str, why: str = "") -> ConfigError:
    """The error for a parameter without a value; ``why`` it needs one."""
    return ConfigError(field, None, "a value", f"required {why}".rstrip())


def _meant(received: object, known: Iterable[str]) -> str:
    """The known name that looks most like what came, in words."""
    near = _nearest(received, known)
    return f" (did you mean {near}?)" if near else ""


def _nearest(received: object, known: Iterable[str]) -> str | None:
    by_case = {name.lower(): name for name in known}
    if not isinstance(received, str) or received in by_case.values():
        return None
    near = get_close_matches(received[:100].lower(), by_case, 1)
    return by_case[near[0]] if near else None


def _shown(received: object) -> str:
    """The value as text, cut where it is long; an integer beyond Python's limit of digits has none."""
    try:
        text = repr(received)
    except (ValueError, RecursionError):
        text = f"a {type(received).__name__} that is too large to print"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
