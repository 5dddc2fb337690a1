"""Reporting of several schemes over one uplink, for tests that build a link by hand."""

from simulator.reporting.prediction import Prediction
from simulator.reporting.reporting import Reporting
from simulator.reporting.uplink import UplinkModel


def over(schemes, uplink=None, predictions=None):
    """``{label: Reporting}`` of ``{label: scheme}``; predictions are ``{label: (predictor, side)}``."""
    ahead = {label: Prediction(*pair) for label, pair in (predictions or {}).items()}
    return {label: Reporting(s, uplink or UplinkModel(), ahead.get(label)) for label, s in schemes.items()}
