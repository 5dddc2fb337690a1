"""Parameters of tests that `make test` runs for some of them alone."""

from collections.abc import Iterable

import pytest


def long_but(values: Iterable, *quick) -> list:
    """``values``; all but the ``quick`` ones are marked long."""
    found = list(values)
    assert set(quick) <= {v if isinstance(v, str | int) else v[0] for v in found}, f"{quick} among {found}"
    return [
        v if key in quick else pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=pytest.mark.long)
        for v in found
        for key in [v if isinstance(v, str | int) else v[0]]
    ]
