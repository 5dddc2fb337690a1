"""MCS and CQI tables and transport block sizes, against printed values and Sionna."""

import numpy as np
import pytest
from sionna.phy.nr.utils import calculate_tb_size, decode_mcs_index

from simulator.core.errors import ConfigError
from simulator.nr.mcs import block_size, cqi_table, mcs_table


@pytest.mark.parametrize(
    ("number", "index", "order", "rate", "efficiency"),
    [
        # TS 38.214, Table 5.1.3.1-1
        (1, 0, 2, 120, 0.2344),
        (1, 9, 2, 679, 1.3262),
        (1, 10, 4, 340, 1.3281),
        (1, 16, 4, 658, 2.5703),
        (1, 17, 6, 438, 2.5664),
        (1, 28, 6, 948, 5.5547),
        # Table 5.1.3.1-2
        (2, 4, 2, 602, 1.1758),
        (2, 5, 4, 378, 1.4766),
        (2, 19, 6, 873, 5.1152),
        (2, 20, 8, 682.5, 5.3320),
        (2, 26, 8, 916.5, 7.1602),
        (2, 27, 8, 948, 7.4063),
        # Table 5.1.3.1-3
        (3, 0, 2, 30, 0.0586),
        (3, 5, 2, 99, 0.1934),
        (3, 14, 2, 602, 1.1758),
        (3, 15, 4, 340, 1.3281),
        (3, 21, 6, 438, 2.5664),
        (3, 28, 6, 772, 4.5234),
    ],
)
def test_mcs_rows_as_printed(number, index, order, rate, efficiency):
    table = mcs_table(number)
    row = table.row(index)
    assert (table.modulation_order[row], table.rate[row] * 1024) == (order, rate)
    assert table.efficiency[row] == pytest.approx(efficiency, abs=6e-5)


@pytest.mark.parametrize(
    ("number", "efficiency"),
    [
        # TS 38.214, Tables 5.2.2.1-2, -3 and -4, CQI 1 to 15
        (1, "0.1523 0.2344 0.3770 0.6016 0.8770 1.1758 1.4766 1.9141 2.4063 2.7305 3.3223 3.9023 4.5234 5.1152 5.5547"),
        (2, "0.1523 0.3770 0.8770 1.4766 1.9141 2.4063 2.7305 3.3223 3.9023 4.5234 5.1152 5.5547 6.2266 6.9141 7.4063"),
        (3, "0.0586 0.0977 0.1523 0.2344 0.3770 0.6016 0.8770 1.1758 1.4766 1.9141 2.4063 2.7305 3.3223 3.9023 4.5234"),
    ],
)
def test_cqi_efficiencies_as_printed(number, efficiency):
    table = cqi_table(number)
    np.testing.assert_allclose(table.efficiency, np.array(efficiency.split(), float), atol=6e-5)
    assert table.row(1) == 0 and table.row(15) == 14


@pytest.mark.parametrize("number", [1, 2, 3])
def test_tables_are_those_of_sionna(number):
    table = mcs_table(number)
    order, rate = decode_mcs_index(np.arange(len(table.rate)), table_index=number, is_pusch=False)
    np.testing.assert_array_equal(table.modulation_order, order)
    np.testing.assert_allclose(table.rate, rate, rtol=1e-6)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_transport_block_sizes_are_those_of_sionna(number):
    """All rows, 1 to 4 layers, from one resource block to 275 of them."""
    table, rows = mcs_table(number), len(mcs_table(number).rate)
    for num_re in (120, 156, 500, 1234, 5000, 12345, 275 * 156):
        for layers in (1, 2, 3, 4):
            sizes = block_size(num_re, layers, table.modulation_order, table.rate)
            peer = calculate_tb_size(
                table.modulation_order,
                table.rate,
                num_coded_bits=num_re * layers * table.modulation_order,
                num_layers=np.full(rows, layers),
                return_cw_length=False,
                precision="double",
            )
            for ours, theirs in zip((sizes.tb_size, sizes.cb_size, sizes.num_cb), peer, strict=False):
                np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("num_re", "layers", "order", "rate", "expected"),
    [
        (100, 1, 2, 0.25, (48, 64, 1)),  # N_info = 50; 8 * floor(50 / 8) = 48, listed
        (1000, 2, 4, 0.5, (3968, 3992, 1)),  # 4000; 64 * round(62.1) = 3968 = 8 * ceil(499.0) - 24
        (10000, 1, 4, 0.5, (19968, 6688, 3)),  # 20000; 512 * round(39.02) = 19968, C = ceil(2.4), (19968 + 24) / 3 + 24
    ],
)
def test_transport_block_size_by_hand(num_re, layers, order, rate, expected):
    """Steps 2 to 4 of TS 38.214, 5.1.3.2."""
    sizes = block_size(num_re, layers, order, rate)
    assert (sizes.tb_size, sizes.cb_size, sizes.num_cb) == expected


def test_ties_are_rounded_up():
    """N_info - 24 = 62.5 * 64: the standard breaks ties towards the next integer, 63 * 64 = 4032, not the even one."""
    assert block_size(4024, 1, 2, 0.5).tb_size == 4032


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mcs_table(4), "throughput.mcs_table: got 4; allowed: 1, 2, 3"),
        (lambda: cqi_table(0), "throughput.cqi_table: got 0; allowed: 1, 2, 3"),
        (lambda: mcs_table(1).row([3, 29]), "throughput.mcs: got 29; allowed: 0..28"),
        (lambda: mcs_table(2).row(28), "throughput.mcs: got 28; allowed: 0..27"),
        (lambda: mcs_table(1).row(-1), "throughput.mcs: got -1; allowed: 0..28"),
        (lambda: cqi_table(1).row(0), "throughput.cqi: got 0; allowed: 1..15"),
        (lambda: block_size(100, 5, 2, 0.5), "num_layers: got 5; allowed: 1..4"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
