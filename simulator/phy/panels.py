"""Sionna panel arrays and the one mapping from their elements to CSI-RS ports."""

from __future__ import annotations

import numpy as np
from sionna.phy.channel.tr38901 import PanelArray

from simulator.core.types import Panel, RadioGeometry


def port_order(panel: Panel) -> np.ndarray:
    """Element index of every port of one station (antenna of a UE), int ``[port]``.

    Ports of a channel are ``h[..., port_order(panel)]`` of its elements.

    Sionna numbers the elements of a panel by polarisation, then column (y ascending), then row (z descending, fastest).
    CSI-RS ports are ``pol, n1, n2`` (TS 38.214, 5.2.2.2.1) with both n1 and n2 counted along the positive axis, so
    only the rows are reversed.
    """
    elements = np.arange(panel.of_trp.num_ports).reshape(panel.num_pol, panel.n1, panel.n2)
    return elements[:, :, ::-1].reshape(-1)


def bs_array(geometry: RadioGeometry) -> PanelArray:
    """gNB panel: ``n2`` rows and ``n1`` columns, half a wavelength apart, +-45 degrees when dual-polarised."""
    dual = geometry.panel.num_pol == 2
    return PanelArray(
        num_rows_per_panel=geometry.panel.n2,
        num_cols_per_panel=geometry.panel.n1,
        polarization="dual" if dual else "single",
        polarization_type="cross" if dual else "V",
        antenna_pattern=geometry.antenna_pattern,
        carrier_frequency=geometry.carrier_hz,
    )


def ue_array(geometry: RadioGeometry) -> PanelArray:
    """UE array: omnidirectional elements half a wavelength apart, V-polarised or VH pairs.

    Raises:
        ConfigError: ``ue.num_rx_ant`` does not fill the rows.
    """
    panel = geometry.ue_panel
    dual = panel.num_pol == 2
    return PanelArray(
        num_rows_per_panel=panel.n2,
        num_cols_per_panel=panel.n1,
        polarization="dual" if dual else "single",
        polarization_type="VH" if dual else "V",
        antenna_pattern="omni",
        carrier_frequency=geometry.carrier_hz,
    )
