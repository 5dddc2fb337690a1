"""Where the fields of the link stand in a report, and that uplinks and budgets see them."""

import numpy as np
import pytest

from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.feedback.rvq import RvqFeedback
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, Panel
from simulator.reporting.coded_uplink import CodedUplink
from simulator.reporting.report_fields import ReportFields
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
    field, report = ReportFields(scheme, (4,)), scheme.report(estimates(rng))
    cqi = rng.integers(0, 16, (12, 2))
    framed = field.insert(report, cqi[..., None])
    at = 1 if scheme.part1_bits else 0  # ranks 1 and 2 take one bit
    assert scheme.cqi_position == at
    np.testing.assert_array_equal(framed.bits[..., at : at + 4] @ [8, 4, 2, 1], cqi)
    np.testing.assert_array_equal(framed.num_bits, report.num_bits + 4)
    own, back = field.extract(framed)
    np.testing.assert_array_equal(back[..., 0], cqi)
    np.testing.assert_array_equal(own.bits, report.bits)
    np.testing.assert_array_equal(own.num_bits, report.num_bits)
    assert field.max_bits == scheme.max_bits + 4 and field.min_bits == scheme.min_bits + 4
    assert field.part1_bits == (scheme.part1_bits + 4 if scheme.part1_bits else 0)


def test_fields_of_several_widths(scheme, rng):
    fields, report = ReportFields(scheme, (4, 2, 1, 3)), scheme.report(estimates(rng))
    values = np.stack([rng.integers(0, 2**width, (12, 2)) for width in fields.widths], axis=-1)
    framed, at = fields.insert(report, values), scheme.cqi_position
    for user in np.ndindex(12, 2):
        wanted = "".join(f"{value:0{width}b}" for value, width in zip(values[user], fields.widths, strict=True))
        assert "".join(map(str, framed.bits[(*user, slice(at, at + 10))])) == wanted
    own, back = fields.extract(framed)
    np.testing.assert_array_equal(back, values)
    np.testing.assert_array_equal(own.bits, report.bits)
    assert fields.max_bits == scheme.max_bits + 10


def test_omission_keeps_the_cqi(rng):
    scheme = EnhancedTypeTwoFeedback(CONFIG, combination=6)
    field, report = ReportFields(scheme, (4,)), scheme.report(estimates(rng))
    framed = field.insert(report, np.full((12, 2, 1), 11))
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
        uplink(scheme.max_bits).for_scheme(ReportFields(scheme, (4,)), "s")
    assert uplink(scheme.max_bits + 4).for_scheme(ReportFields(scheme, (4,)), "s").slots_per_report == 1
