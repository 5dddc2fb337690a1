"""CSI-RS against the text of TS 38.211, element by element, and against Sionna's Gold sequence."""

import itertools
from functools import cache

import numpy as np
import pytest
from sionna.phy.nr.utils import generate_prng_seq
from tolerances import FLOAT32, assert_close

from simulator.core.errors import ConfigError
from simulator.core.types import Panel, RadioGeometry
from simulator.nr.csi_rs import PORTS, ROWS, CsiRs, csi_rs_sequence
from simulator.nr.csi_rs_signal import CsiRsSignal
from simulator.nr.gold import gold_sequence

# Table 7.4.1.5.3-1 as printed: row, ports, densities, cdm-Type, (k-bar, l-bar), index j of the CDM group.
PRINTED = """
1  | 1  | 3      | noCDM        | k0,l0 k0+4,l0 k0+8,l0                                                | 0 0 0
2  | 1  | 1 0.5  | noCDM        | k0,l0                                                                | 0
3  | 2  | 1 0.5  | fd-CDM2      | k0,l0                                                                | 0
4  | 4  | 1      | fd-CDM2      | k0,l0 k0+2,l0                                                        | 0 1
5  | 4  | 1      | fd-CDM2      | k0,l0 k0,l0+1                                                        | 0 1
6  | 8  | 1      | fd-CDM2      | k0,l0 k1,l0 k2,l0 k3,l0                                              | 0 1 2 3
7  | 8  | 1      | fd-CDM2      | k0,l0 k1,l0 k0,l0+1 k1,l0+1                                          | 0 1 2 3
8  | 8  | 1      | cdm4-FD2-TD2 | k0,l0 k1,l0                                                          | 0 1
9  | 12 | 1      | fd-CDM2      | k0,l0 k1,l0 k2,l0 k3,l0 k4,l0 k5,l0                                  | 0 1 2 3 4 5
10 | 12 | 1      | cdm4-FD2-TD2 | k0,l0 k1,l0 k2,l0                                                    | 0 1 2
11 | 16 | 1 0.5  | fd-CDM2      | k0,l0 k1,l0 k2,l0 k3,l0 k0,l0+1 k1,l0+1 k2,l0+1 k3,l0+1              | 0 1 2 3 4 5 6 7
12 | 16 | 1 0.5  | cdm4-FD2-TD2 | k0,l0 k1,l0 k2,l0 k3,l0                                              | 0 1 2 3
13 | 24 | 1 0.5  | fd-CDM2      | k0,l0 k1,l0 k2,l0 k0,l0+1 k1,l0+1 k2,l0+1 k0,l1 k1,l1 k2,l1 k0,l1+1 k1,l1+1 k2,l1+1 | 0 1 2 3 4 5 6 7 8 9 10 11
14 | 24 | 1 0.5  | cdm4-FD2-TD2 | k0,l0 k1,l0 k2,l0 k0,l1 k1,l1 k2,l1                                  | 0 1 2 3 4 5
15 | 24 | 1 0.5  | cdm8-FD2-TD4 | k0,l0 k1,l0 k2,l0                                                    | 0 1 2
16 | 32 | 1 0.5  | fd-CDM2      | k0,l0 k1,l0 k2,l0 k3,l0 k0,l0+1 k1,l0+1 k2,l0+1 k3,l0+1 k0,l1 k1,l1 k2,l1 k3,l1 k0,l1+1 k1,l1+1 k2,l1+1 k3,l1+1 | 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
17 | 32 | 1 0.5  | cdm4-FD2-TD2 | k0,l0 k1,l0 k2,l0 k3,l0 k0,l1 k1,l1 k2,l1 k3,l1                      | 0 1 2 3 4 5 6 7
18 | 32 | 1 0.5  | cdm8-FD2-TD4 | k0,l0 k1,l0 k2,l0 k3,l0                                              | 0 1 2 3
"""  # noqa: E501
# Tables 7.4.1.5.3-2 to -5 as printed: w_f and w_t of every index s.
CODES = {
    "noCDM": [([1], [1])],
    "fd-CDM2": [([1, 1], [1]), ([1, -1], [1])],
    "cdm4-FD2-TD2": [([1, 1], [1, 1]), ([1, -1], [1, 1]), ([1, 1], [1, -1]), ([1, -1], [1, -1])],
    "cdm8-FD2-TD4": [
        ([1, 1], [1, 1, 1, 1]),
        ([1, -1], [1, 1, 1, 1]),
        ([1, 1], [1, -1, 1, -1]),
        ([1, -1], [1, -1, 1, -1]),
        ([1, 1], [1, 1, -1, -1]),
        ([1, -1], [1, 1, -1, -1]),
        ([1, 1], [1, -1, -1, 1]),
        ([1, -1], [1, -1, -1, 1]),
    ],
}
TABLE = [[part.strip() for part in line.split("|")] for line in PRINTED.strip().splitlines()]
CASES = [(int(line[0]), float(density)) for line in TABLE for density in line[2].split()]
PANELS = {1: Panel(1), 2: Panel(1, 1, 2), **{n: Panel(n // 2, 1, 2) for n in (4, 8, 12, 16, 24, 32)}}


@cache
def gold(c_init):
    return generate_prng_seq(200, c_init)


def printed_grid(row, density, k, l, n_id, slot, num_rb):  # noqa: E741
    """a_{k, l} of every port, float64, one element at a time, as 7.4.1.5.2 and 7.4.1.5.3 say."""
    _, ports, _, cdm, places, groups = TABLE[row - 1]
    names = {f"k{i}": value for i, value in enumerate(k)} | {f"l{i}": value for i, value in enumerate(l)}
    grid = np.zeros((int(ports), 14, 12 * num_rb), complex)
    alpha = density if ports == "1" else 2 * density
    for place, j in zip(places.split(), groups.split(), strict=True):
        k_bar, l_bar = (
            sum(names[term] if term in names else int(term) for term in part.split("+")) for part in place.split(",")
        )
        for s, (w_f, w_t) in enumerate(CODES[cdm]):
            port = s + int(j) * len(CODES[cdm])
            for n, k_prime, l_prime in itertools.product(range(num_rb), range(len(w_f)), range(len(w_t))):
                if density == 0.5 and n % 2:
                    continue
                m = int(n * alpha) + k_prime + int(k_bar * density / 12)
                symbol = l_bar + l_prime
                c_init = (2**10 * (14 * slot + symbol + 1) * (2 * n_id + 1) + n_id) % 2**31
                c = gold(c_init)
                r = ((1 - 2 * c[2 * m]) + 1j * (1 - 2 * c[2 * m + 1])) / np.sqrt(2)
                grid[port, symbol, 12 * n + k_bar + k_prime] += w_f[k_prime] * w_t[l_prime] * r
    return grid


class TestSequence:
    @pytest.mark.parametrize("c_init", [0, 1, 8191, 1234567890, 2**31 - 1])
    def test_gold_sequence_is_sionnas(self, c_init):
        np.testing.assert_array_equal(gold_sequence(c_init, 1000), generate_prng_seq(1000, c_init))

    def test_many_at_once(self):
        both = gold_sequence([[5, 77]], 61)
        assert both.shape == (1, 2, 61) and both.dtype == np.uint8
        np.testing.assert_array_equal(both[0, 1], generate_prng_seq(61, 77))

    def test_c_init_wraps_at_31_bits(self):
        """Slot 159 of a frame and n_ID = 1023: the product exceeds 2^31."""
        c = generate_prng_seq(20, (2**10 * (14 * 159 + 13 + 1) * 2047 + 1023) % 2**31)
        expected = (1 - 2 * c[::2] + 1j * (1 - 2 * c[1::2])) / np.sqrt(2)
        np.testing.assert_allclose(csi_rs_sequence(10, 13, 159, 1023), expected, rtol=1e-6)


class TestMapping:
    @pytest.mark.parametrize(("row", "density"), CASES)
    def test_every_row_against_the_printed_table(self, row, density):
        count = ROWS[row].num_k
        k = {1: [2], 2: [7], 4: [4]}.get(row, [0, 2, 6, 10] if count == 4 else list(range(0, 12, 2))[-count:])
        l = [3, 9]  # noqa: E741
        resource = CsiRs(ROWS[row].num_ports, row=row, density=density, k=k, l=l, scrambling_id=500)
        found = resource.grid(36, slot=7)
        np.testing.assert_allclose(found, printed_grid(row, density, k, l, 500, 7, 3), atol=1e-6)

    @pytest.mark.parametrize(("row", "density"), CASES)
    def test_ports_meet_only_where_codes_separate_them(self, row, density):
        resource = CsiRs(ROWS[row].num_ports, row=row, density=density)
        grid = resource.grid(24)
        size = resource.num_cdm
        per_block = 2 if density == 0.5 else 1
        for one, two in itertools.combinations(range(resource.num_ports), 2):
            meet = (grid[one] != 0) & (grid[two] != 0)
            assert meet.any() == (one // size == two // size)
            for block in range(0, 2, per_block):
                part = slice(12 * block, 12 * block + 12)
                assert abs(np.vdot(grid[one][:, part], grid[two][:, part])) < 1e-5
        elements = (grid != 0).sum(axis=(1, 2))
        assert (elements == 2 * density * size).all()  # rho elements per port and resource block, times its share L

    def test_defaults_serve_all_numbers_of_ports(self):
        assert PORTS == (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 128)
        assert [CsiRs(n).row for n in PORTS] == [2, 3, 4, 8, 10, 12, 15, 18, 15, 18, 18]
        assert CsiRs(1, density=3).row == 1 and CsiRs(1, row=1).density == 3

    @pytest.mark.parametrize(
        ("ports", "options", "message"),
        [
            (6, {}, "got 6; allowed: 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 128"),
            (96, {}, "got 96"),
            (64, {"row": 18, "l": (8,)}, "14 symbols"),
            (8, {"density": 0.5}, "csi_rs.density: got 0.5; allowed: 1"),
            (16, {"density": 3}, "csi_rs.density: got 3; allowed: 0.5, 1"),
            (16, {"row": 18}, "csi_rs.row: got 18; allowed: 11, 12"),
            (16, {"k": (0, 2, 2, 4)}, "csi_rs.k: got"),
            (16, {"k": (0, 1, 2, 4)}, "4 of 0, 2, 4, 6, 8, 10, increasing"),
            (16, {"k": (0, 2)}, "4 of 0, 2"),
            (4, {"k": (2,)}, "1 of 0, 4, 8"),
            (32, {"row": 17, "l": (4, 5)}, "do not overlap"),
            (32, {"row": 17, "l": (4,)}, "l_0 and l_1"),
            (32, {"row": 18, "l": (12,)}, "14 symbols"),
            (4, {"scrambling_id": 1024}, "0..1023"),
        ],
    )
    def test_bad_resources(self, ports, options, message):
        with pytest.raises(ConfigError) as error:
            CsiRs(ports, **options)
        assert message in str(error.value)


class TestAggregation:
    """48, 64 and 128 ports: resources of 24 or 32 ports, two in a slot."""

    @pytest.mark.parametrize(("ports", "row", "count"), [(48, 15, 2), (64, 18, 2), (128, 18, 4)])
    def test_each_resource_against_the_printed_table(self, ports, row, count):
        resource, each = CsiRs(ports, scrambling_id=7), ports // count
        found = resource.grid(24, slot=3)
        assert found.shape == (ports, 14 * (count // 2), 24)
        k = range(0, 2 * ROWS[row].num_k, 2)
        for i in range(count):
            slot, second = divmod(i, 2)
            part = found[each * i : each * (i + 1), 14 * slot : 14 * slot + 14]
            np.testing.assert_allclose(part, printed_grid(row, 1, k, [8 if second else 4], 7, 3 + slot, 2), atol=1e-6)
        assert (found != 0).sum() == 2 * count * (printed_grid(row, 1, k, [4], 7, 3, 1) != 0).sum()

    def test_the_slot_after_the_last_of_a_frame_is_slot_0(self):
        blocks = np.arange(3)
        last, first = CsiRs(128).symbols(blocks, 19, 20), CsiRs(64).symbols(blocks, 0, 20)
        np.testing.assert_array_equal(last[8:], first)
        np.testing.assert_array_equal(last[:8], CsiRs(64).symbols(blocks, 19, 20))

    @pytest.mark.parametrize("ports", [48, 64, 128])
    def test_despreading_separates_the_ports(self, rng, ports):
        panel = Panel(ports // 4, 2, 2)
        signal = CsiRsSignal(CsiRs(ports), RadioGeometry(3.5e9, panel, 1, 1, 4, 360e3, subcarriers_per_sample=12))
        h = (rng.standard_normal((1, 1, 1, ports, 2, 4, 2)) @ [1, 1j]).astype(np.complex64)
        slots = np.array([0, 19])  # at 30 kHz the second one ends the frame
        z = signal.despread(signal.receive(h, slots), slots)
        assert_close(z, h[..., signal.positions[0].astype(int)], FLOAT32)


def geometry(ports, samples, width, **fields):
    return RadioGeometry(
        3.5e9, PANELS[ports], 2, 2, samples, 30e3 * width, num_slots=2, subcarriers_per_sample=width, **fields
    )


@pytest.mark.parametrize(("width", "samples"), [(12, 5), (1, 50)])
@pytest.mark.parametrize(("row", "density"), CASES)
class TestSignal:
    def channel(self, rng, ports, samples):
        return (rng.standard_normal((2, 2, 2, ports, 2, samples, 2)) @ [1, 1j]).astype(np.complex64)

    def test_received_elements_are_those_of_the_grid(self, rng, row, density, width, samples):
        """Sum over ports of channel times symbol on the full grid; the ports of a CDM group share unit power."""
        ports = ROWS[row].num_ports
        resource = CsiRs(ports, row=row, density=density)
        signal = CsiRsSignal(resource, geometry(ports, samples, width))
        h, slots = self.channel(rng, ports, samples), np.array([3, 24])  # slot 24 is slot 4 of the second frame
        y = signal.receive(h, slots)
        blocks = resource.resource_blocks(samples * width)
        for t, slot in enumerate((3, 4)):
            sent = resource.grid(samples * width, slot) / np.sqrt(resource.num_cdm)
            np.testing.assert_allclose((np.abs(sent) ** 2).sum(axis=0).max(), 1, rtol=1e-5)
            full = np.einsum("burpk,plk->burlk", np.repeat(h[..., t, :], width, axis=-1).astype(complex), sent)
            for i, (k, l) in enumerate(zip(resource.k_bar, resource.l_bar, strict=True)):  # noqa: E741
                for f, d in np.ndindex(resource.cdm):
                    seen = y[:, :, :, i, f * resource.cdm[1] + d, t]
                    assert_close(seen, full[..., l + d, 12 * blocks + k + f], FLOAT32)
            if width == 1:
                found = signal.elements(full[:, :, :, None])
                assert_close(found[..., 0, :], y[..., t, :], FLOAT32)

    def test_despreading_separates_the_ports(self, rng, row, density, width, samples):
        """Exact where the channel is flat over a CDM group; between subcarriers it is their mean and the rest leaks."""
        ports = ROWS[row].num_ports
        signal = CsiRsSignal(CsiRs(ports, row=row, density=density), geometry(ports, samples, width))
        h = self.channel(rng, ports, samples)
        if width == 1:
            h = np.repeat(h[..., :1], samples, axis=-1)
        z = signal.despread(signal.receive(h, np.arange(2)), np.arange(2))
        assert z.shape == (2, 2, 2, ports, 2, signal.positions.shape[1])
        assert_close(z, h[..., signal.positions[0].astype(int)], FLOAT32)


def test_positions_are_true_subcarriers():
    signal = CsiRsSignal(CsiRs(4, k=[4]), geometry(4, 30, 1))
    assert signal.positions.tolist() == [[4.5, 16.5], [6.5, 18.5]]  # 28..31 would not fit into 30 subcarriers
    assert CsiRsSignal(CsiRs(1, density=3), geometry(1, 24, 1)).positions.tolist() == [[0, 4, 8, 12, 16, 20]]
    assert CsiRsSignal(CsiRs(2, density=0.5), geometry(2, 5, 12)).positions.tolist() == [[0, 2, 4]]


def test_narrow_band_is_an_error():
    with pytest.raises(ConfigError, match="at least 8"):
        CsiRsSignal(CsiRs(32), geometry(32, 7, 1))
