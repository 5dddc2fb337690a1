"""The LOS path from the positions of gNB and UE to the coefficients: panel phases and Doppler shift."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.channels.reference import LIGHT_MPS
from benchmarks.channels.rows import exact, geometry, seeded
from simulator.core import registry
from simulator.core.types import Panel

_SLOT_S, _SPEED_MPS = 1e-4, 10.0


def check_line_of_sight(
    kind: str, drops: int, carrier_hz: float = 3.5e9, corrections: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    r"""Coefficients of drops with nothing but the LOS path (K of 100 dB), (7.5-29).

    Neighbouring columns and rows of the panel differ in phase by :math:`\pi\, e \cdot r_t`, with e the panel's axis
    turned by bearing and downtilt and r_t the direction to the UE; a slot by
    :math:`2\pi\, v \cdot r_r\, T / \lambda`, with r_r the direction from the UE to the gNB.

    Args:
        kind: "umi", "uma" or "rma".
        drops: independent drops.
        carrier_hz: carrier frequency [Hz].
        corrections: of the channel source; None: all that Sionna needs.
    """
    from simulator.phy.panels import port_order

    radio = replace(geometry(Panel(2, 2, 1), carrier_hz), num_slots=2, slot_s=_SLOT_S, speed_mps=_SPEED_MPS)
    source = registry.build(
        "channels", kind, radio, los=True, indoor_probability=0.0, pathloss=False,
        corrections=None if corrections is None else tuple(corrections),
    )  # fmt: skip
    seeded("line of sight", kind)
    source.drop(drops)
    model, s = source._model, source._model._scenario
    model._lsp.k_factor = model._lsp.k_factor * 0 + np.float32(1e10)
    a = model(2, source.sampling_hz)[0].numpy()[:, 0, 0, 0, :, 0].astype(complex)[:, port_order(radio.panel)]
    ue, bs, v = (x.numpy()[:, 0].astype(float) for x in (s.ut_loc, s.bs_loc, s.ut_velocities))
    away = (ue - bs) / np.linalg.norm(ue - bs, axis=1, keepdims=True)
    bearing, tilt, _ = s.bs_orientations.numpy()[:, 0].astype(float).T
    column = np.stack([-np.sin(bearing), np.cos(bearing), 0 * bearing], axis=-1)
    up = np.stack([np.cos(bearing) * np.sin(tilt), np.sin(bearing) * np.sin(tilt), np.cos(tilt)], axis=-1)
    item, half = f"{kind}-los {carrier_hz / 1e9:g} GHz", np.pi
    turn = 2 * np.pi * _SLOT_S * carrier_hz / LIGHT_MPS
    return [
        exact(item, f"LOS path: {name} (largest error)", np.angle(product * np.exp(-1j * expected)), 0.02, "rad")
        for name, product, expected in (
            ("phase of columns", a[:, 2, 0] * a[:, 0, 0].conj(), half * np.sum(column * away, axis=1)),
            ("phase of rows", a[:, 1, 0] * a[:, 0, 0].conj(), half * np.sum(up * away, axis=1)),
            ("phase of a slot in motion", a[:, 0, 1] * a[:, 0, 0].conj(), turn * np.sum(-away * v, axis=1)),
        )
    ]
