"""Where the CQI stands in a report, and that uplinks and budgets see it."""

import numpy as np
import pytest

from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.feedback.rvq import RvqFeedback
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, Panel
from simulator.reporting.coded_uplink import CodedUplink
from simulator.reporting.cqi_field import CQI_BITS, CqiField
from simulator.reporting.uplink import UplinkModel

CONFIG = CsiConfig(Panel(4, 2, 2), 2, 16, 360e3, 4, num_layers=2)


def estimates(rng, config=CONFIG, batch=12):
    h = rng.standard_normal((batch, 2, config.num_rx_ant, 16, 16, 2)).astype(np.float32).view(np.complex64)[..., 0]
    return CsiEstimate(h, np.zeros((batch, 2), np.float32))


@pytest.fixture(params=["etype2", "rvq"])
def scheme(request):
    if request.param == "etype2":
        return EnhancedTypeTwoFeedback(CONFIG, combination=2)
    return RvqFeedback(CsiConfig(Panel(4, 2, 2), 2, 16, 360e3, 4), bits=6)


def test_round_trip_and_position(scheme, rng):
    """RI, CQI, then the rest (TS 38.212, Table 6.3.1.1.2-7); most significant bit first."""
    field, report = CqiField(scheme), scheme.report(estimates(rng))
    cqi = rng.integers(0, 16, (12, 2))
    framed = field.insert(report, cqi)
    at = 1 if scheme.part1_bits else 0  # ranks 1 and 2 take one bit
    assert scheme.cqi_position == at
    np.testing.assert_array_equal(framed.bits[..., at : at + 4] @ [8, 4, 2, 1], cqi)
    np.testing.assert_array_equal(framed.num_bits, report.num_bits + CQI_BITS)
    own, back = field.extract(framed)
    np.testing.assert_array_equal(back, cqi)
    np.testing.assert_array_equal(own.bits, report.bits)
    np.testing.assert_array_equal(own.num_bits, report.num_bits)
    assert field.max_bits == scheme.max_bits + 4 and field.min_bits == scheme.min_bits + 4
    assert field.part1_bits == (scheme.part1_bits + 4 if scheme.part1_bits else 0)


def test_omission_keeps_the_cqi(rng):
    scheme = EnhancedTypeTwoFeedback(CONFIG, combination=6)
    field, report = CqiField(scheme), scheme.report(estimates(rng))
    framed = field.insert(report, np.full((12, 2), 11))
    budget = int(framed.num_bits.max()) - 1
    cut = field.omit(framed, budget)
    assert cut.num_bits.max() <= budget < framed.num_bits.max()
    own, cqi = field.extract(cut)
    assert (cqi == 11).all()
    np.testing.assert_array_equal(own.bits, scheme.omit(report, budget - 4).bits)


@pytest.mark.parametrize("kind", ["budget", "coded"])
def test_budgets_count_the_cqi(scheme, kind):
    """A budget that just holds the report alone refuses it with its CQI."""

    def uplink(bits):
        return UplinkModel(max_bits=bits) if kind == "budget" else CodedUplink(snr_db=0, num_re=800, max_bits=bits)

    assert uplink(scheme.max_bits).for_scheme(scheme, "s").slots_per_report == 1
    with pytest.raises(ConfigError, match=f"room for {scheme.max_bits + 4} bits"):
        uplink(scheme.max_bits).for_scheme(CqiField(scheme), "s")
    assert uplink(scheme.max_bits + 4).for_scheme(CqiField(scheme), "s").slots_per_report == 1
