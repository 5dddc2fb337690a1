"""Empty batches for schemes that are written for at least one drop and one user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass, replace
from functools import wraps
from typing import Any

import numpy as np

from simulator.core.types import CsiEstimate, CsiReport


def also_empty(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A method of a scheme that takes estimates or reports ``[batch, user, ...]``, for empty ones too."""

    @wraps(method)
    def wrapper(self: Any, given: Any) -> Any:
        is_report = isinstance(given, CsiReport)
        batch, users = np.shape(given.num_bits if is_report else given.h_hat)[:2]
        if batch and users:
            return method(self, given)
        c, lead = self.config, (max(batch, 1), max(users, 1))
        zeros = np.zeros((*lead, c.num_rx_ant, c.panel.num_ports, c.num_subcarriers), np.complex64)
        one: Any = CsiEstimate(zeros, np.zeros(lead, np.float32))
        return _first(method(self, self.report(one) if is_report else one), batch, users)

    return wrapper


def _first(found: Any, batch: int, users: int) -> Any:
    """The first drops and users of an array, of all arrays of a data class, or None of None."""
    if is_dataclass(found) and not isinstance(found, type):
        return replace(found, **{key: _first(value, batch, users) for key, value in vars(found).items()})
    return None if found is None else np.asarray(found)[:batch, :users]
