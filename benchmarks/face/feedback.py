"""A feedback scheme on plain channels: report at the UE, reconstruction at the gNB."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.build import build_scheme
from benchmarks.face.axes import by_slot, check_unit_power, checked_channels
from benchmarks.face.channel import Channel
from benchmarks.face.link import LINK_ARGUMENTS, link_of
from simulator.core.errors import ConfigError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport

if TYPE_CHECKING:
    from benchmarks.face.block import FeedbackBlock


@dataclass(frozen=True)
class Reconstruction(CsiReconstruction):
    """What the gNB knows, with the public configuration that tells precoders its subbands and layers."""

    config: CsiConfig = field(kw_only=True)


class Feedback:
    """One scheme at both ends of the link: two objects that share ``config`` and bits; made by :func:`feedback`.

    Args:
        scheme: the scheme at the UE.
    """

    def __init__(self, scheme: FeedbackScheme):
        self._ue, self._gnb = scheme, scheme.twin()

    @property
    def label(self) -> str:
        """Name with parameters, as in the column ``scheme`` of results."""
        return self._ue.label

    @property
    def max_bits(self) -> int:
        """Largest length of one report [bit]."""
        return self._ue.max_bits

    @property
    def explicit(self) -> bool:
        """Whether a report describes the channel ``h``; directions ``w`` otherwise."""
        return self._ue.explicit

    @property
    def config(self) -> CsiConfig:
        """What UE and gNB both know."""
        return self._ue.config

    def report(self, h: Any, *, error_var: Any = 0.0) -> CsiReport:
        """The report of every UE, from its own channel.

        Args:
            h: what the UE knows of its channel, complex ``[batch, user, rx_ant, port, subcarrier]``, linear amplitude;
                with a slot axis before the last one a report for every slot.
            error_var: variance of its error per entry, broadcast against ``[batch, user]``; 0 when perfect.

        Returns:
            ``bits`` uint8 ``[batch, user, max_bits]`` and ``num_bits`` ``[batch, user]``, the measured lengths. With
            slots the first axis is ``batch * slot``, slots running faster.

        Raises:
            ConfigError: axes or sizes that are not those of ``config``; NaN; explicit schemes also: a mean power other
                than 1 where the report does not carry the amplitude.
        """
        h = checked_channels(h, self.config)
        error = np.broadcast_to(np.asarray(error_var, np.float32), h.shape[:2])
        if self._ue.explicit and self.config.amplitude_range_db is None:
            check_unit_power(h, error)
        if h.ndim == 6:
            error = np.repeat(error, h.shape[4], axis=0)
        return self._ue.report(CsiEstimate(by_slot(h), np.ascontiguousarray(error)))

    def reconstruct(self, report: CsiReport) -> Reconstruction:
        """CSI at the gNB from the bits alone.

        Args:
            report: of :meth:`report`.

        Returns:
            ``h`` complex64 ``[batch, user, rx_ant, port, subcarrier]`` of explicit schemes, or ``w`` complex64
            ``[batch, user, port, layer, subband]`` of implicit ones; ``valid`` bool ``[batch, user]`` or None.

        Raises:
            PayloadError: for a malformed report.
        """
        known = self._gnb.reconstruct(report)
        return Reconstruction(h=known.h, w=known.w, valid=known.valid, config=self.config)

    def block(self, symbol: int = 0) -> FeedbackBlock:
        """The scheme as a ``sionna.phy.Block`` for a Sionna link of one's own, with Sionna's axes and antenna order.

        Args:
            symbol: OFDM symbol whose channel is reported.
        """
        from benchmarks.face.block import FeedbackBlock

        return FeedbackBlock(self, symbol)

    def __repr__(self) -> str:
        return f"<feedback {self.label}: at most {self.max_bits} bits, {self.config}>"


def feedback(scheme: str | type[FeedbackScheme], link: Channel | None = None, **params: Any) -> Feedback:
    """A feedback scheme by name.

    Args:
        scheme: plug-in of `csilink list feedback`, e.g. "etype2-r16", "rvq", "autoencoder"; a dotted path
            ``package.module:Class``; or a class derived from ``FeedbackScheme``.
        link: channel (of :func:`channel`) whose antennas and frequency samples it is for. Without it, keywords of
            :func:`channel` say what they are: ``panel``, ``num_rx_ant``, ``num_rb``, ``num_subcarriers``,
            ``subcarrier_spacing_hz``, ``granularity``, ``subband_rb``, ``num_layers``, ``normalization``, ``seed``
            (public, of random codebooks).
        **params: of the scheme, e.g. ``combination=4``, ``bits=6``, ``weights="transnet-250"``.

    Returns:
        :class:`Feedback` with ``report(h)``, ``reconstruct(report)``, ``label`` and ``max_bits``.

    Raises:
        ConfigError: an unknown scheme or parameter, or weights for other antennas or another band.

    Source: of every scheme: its class, docs/codebooks.md, docs/models.md.

    Example:
        >>> import csilink
        >>> rayleigh = csilink.channel("rayleigh", panel=(4, 2, 2), num_users=2, num_rb=26)
        >>> etype2 = csilink.feedback("etype2-r16", rayleigh, combination=4)
        >>> report = etype2.report(rayleigh.sample(3, seed=7))
        >>> int(report.num_bits.max()) <= etype2.max_bits
        True
        >>> etype2.reconstruct(report).w.shape  # [batch, user, port, layer, subband]
        (3, 2, 16, 1, 7)
    """
    own = {key: params.pop(key) for key in LINK_ARGUMENTS if key in params}
    if link is not None and own:
        raise ConfigError("feedback", sorted(own), "the link given, which says these, or keywords alone")
    scenario = link_of({"model": "rayleigh"}, **own) if link is None else link.scenario
    return Feedback(build_scheme(scenario, scheme, params))
