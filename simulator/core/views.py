"""Axes of the channel from the source to the scores: every change of their order is here.

=========  ====================================================  =======================================
view       channel                                               who takes it
=========  ====================================================  =======================================
by drop    ``[batch, user, rx_ant, port, slot, subcarrier]``     sources, estimators, outcomes and scores
by slot    ``[batch * slot, user, rx_ant, port, subcarrier]``    schemes, predictors, reporting
by sample  ``[batch * slot, subcarrier, user, rx_ant, port]``    precoding, scheduling, detection
=========  ====================================================  =======================================

What has no antennas goes along: a number of bits is ``[batch, user, slot]`` by drop, ``[batch * slot, user]`` by slot.
``[batch, slot, user, ...]`` is by slot too, as the same memory. An axis of SNRs, where there is one, comes first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def by_slot(x: NDArray[Any], slot: int, lead: int = 0) -> NDArray[Any]:
    """By drop to by slot: every slot of every drop on its own.

    Args:
        x: ``[*lead, batch, ..., slot, ...]``.
        slot: position of the slots.
        lead: axes before the batch.

    Returns:
        ``[*lead, batch * slot, ...]``: a contiguous copy; where the slots follow the batch already, ``x`` in its own
        memory order, on which the last bits of products depend.
    """
    if slot != lead + 1:
        x = np.ascontiguousarray(np.moveaxis(x, slot, lead + 1))
    return x.reshape(*x.shape[:lead], x.shape[lead] * x.shape[lead + 1], *x.shape[lead + 2 :])


def by_drop(x: NDArray[Any], batch: int, slot: int, lead: int = 0) -> NDArray[Any]:
    """By slot to by drop.

    Args:
        x: ``[*lead, batch * slot, ...]``.
        batch: drops, at least 1.
        slot: position of the slots in the result.
        lead: axes before the batch.

    Returns:
        ``[*lead, batch, ..., slot, ...]``, a view.
    """
    x = x.reshape(*x.shape[:lead], batch, x.shape[lead] // batch, *x.shape[lead + 1 :])
    return np.moveaxis(x, lead + 1, slot)


def by_interval(x: NDArray[Any]) -> NDArray[Any]:
    """CSI of several intervals ``[batch * slot, user, ..., interval, n]`` with them after the user, a view."""
    return np.moveaxis(x, -2, 2)


def by_sample(h: NDArray[Any]) -> NDArray[Any]:
    """By slot to by sample, contiguous: one matrix for every frequency sample."""
    return np.ascontiguousarray(np.moveaxis(h, -1, -4))


def band_last(x: NDArray[Any]) -> NDArray[Any]:
    """By sample to by slot, of layers: ``[..., subcarrier, user, layer]`` to ``[..., user, layer, subcarrier]``."""
    return np.moveaxis(x, -3, -1)


def by_user(sinr: NDArray[Any]) -> NDArray[Any]:
    """The SINRs of one block together: ``[..., subcarrier, user, layer]`` to ``[..., user, subcarrier, layer]``.

    Its own inverse.
    """
    return np.swapaxes(sinr, -3, -2)


def layer_rows(w: NDArray[Any]) -> NDArray[Any]:
    """Precoders ``[..., user, port, layer, n]`` with layers as antennas ``[..., user, layer, port, n]``."""
    return np.swapaxes(w, -3, -2)
