"""Registry, seeding, bit fields, types, units and parameter checks."""

from importlib.metadata import EntryPoint

import numpy as np
import pytest

from simulator.core import bitfield, registry
from simulator.core.errors import ConfigError, CsilinkError, PayloadError
from simulator.core.seeding import by_drop, derive, derive_wide
from simulator.core.types import CsiConfig, CsiReconstruction, CsiReport, Panel, RadioGeometry
from simulator.core.units import db_to_lin, lin_to_db
from simulator.precoding.linear import Rzf

PANEL = Panel(4, 2, 2)


class TestBitfield:
    @pytest.mark.parametrize("width", [1, 2, 7, 8, 20, 62])
    def test_bits_are_those_of_format(self, width, rng):
        values = rng.integers(0, 2**width, (3, 5))
        bits = bitfield.pack(values, width)
        assert bits.dtype == np.uint8 and bits.shape == (3, 5 * width)
        for row, numbers in zip(bits, values, strict=True):
            assert "".join(map(str, row)) == "".join(f"{number:0{width}b}" for number in numbers)

    @pytest.mark.parametrize("width", [1, 2, 7, 8, 20, 62])
    def test_unpack_reads_base_two(self, width, rng):
        text = ["".join(map(str, rng.integers(0, 2, width))) for _ in range(6)]
        bits = np.array([int(c) for c in "".join(text)], np.uint8).reshape(2, 3 * width)
        assert bitfield.unpack(bits, width).tolist() == [[int(t, 2) for t in text[:3]], [int(t, 2) for t in text[3:]]]

    def test_most_significant_bit_first(self):
        assert bitfield.pack(np.array([6, 1]), 3).tolist() == [1, 1, 0, 0, 0, 1]

    def test_zero_width_has_no_bits(self):
        assert bitfield.pack(np.zeros((2, 3), int), 0).shape == (2, 0)


@pytest.fixture
def entry_points(monkeypatch):
    """Function that installs entry points ``(name, target)`` for the kind ``precoders``."""

    def install(*points):
        found = [EntryPoint(name, value, "csilink.precoders") for name, value in points]
        monkeypatch.setattr(registry, "entry_points", lambda group: found if group == "csilink.precoders" else [])
        registry._points.cache_clear()

    yield install
    monkeypatch.undo()
    registry._points.cache_clear()


class TestRegistry:
    def test_unknown_name_lists_the_known_ones(self):
        with pytest.raises(ConfigError) as caught:
            registry.load("precoders", "zff")
        assert caught.value.received == "zff"
        for name in ("mrt", "zf", "rzf", "svd"):
            assert name in caught.value.allowed.split(", ")

    def test_unknown_kind_lists_the_kinds(self):
        with pytest.raises(ConfigError, match="feedback"):
            registry.names("feedbacks")

    def test_no_plug_in_at_all(self, entry_points):
        entry_points()
        assert registry.names("precoders") == []
        with pytest.raises(ConfigError, match="none installed"):
            registry.load("precoders", "zf")

    def test_names_are_sorted_and_guests_are_equal(self, entry_points):
        entry_points(("zf", "simulator.precoding.linear:Zf"), ("guest", "simulator.precoding.linear:Mrt"))
        assert registry.names("precoders") == ["guest", "zf"]
        assert type(registry.build("precoders", "guest")).__name__ == "Mrt"
        assert registry.target("precoders", "guest") == "simulator.precoding.linear:Mrt"

    def test_two_targets_of_one_name_are_an_error(self, entry_points):
        entry_points(("zf", "simulator.precoding.linear:Zf"), ("zf", "other.package:Zf"))
        with pytest.raises(ConfigError) as caught:
            registry.names("precoders")
        assert "simulator.precoding.linear:Zf" in str(caught.value) and "other.package:Zf" in str(caught.value)

    def test_the_same_target_twice_is_one_plug_in(self, entry_points):
        entry_points(("zf", "simulator.precoding.linear:Zf"), ("zf", "simulator.precoding.linear:Zf"))
        assert registry.names("precoders") == ["zf"]

    def test_loading_is_lazy(self, entry_points):
        entry_points(("broken", "no.such.package:Thing"))
        assert registry.names("precoders") == ["broken"]
        assert registry.target("precoders", "broken") == "no.such.package:Thing"

    def test_unknown_parameter_lists_the_legal_ones(self):
        with pytest.raises(ConfigError) as caught:
            registry.build("feedback", "rvq", _config(), seed=1, bitz=4)
        assert caught.value.field == "feedback.rvq" and "bitz" in str(caught.value)
        assert caught.value.allowed.startswith("bits, frequency, codebooks")

    def test_missing_parameter(self):
        with pytest.raises(ConfigError, match=r"feedback\.rvq.*bits"):
            registry.build("feedback", "rvq", _config(), seed=1)

    def test_illegal_value_names_the_parameter(self):
        with pytest.raises(ConfigError) as caught:
            registry.build("feedback", "rvq", _config(), seed=1, bits=21)
        assert caught.value.field == "feedback.rvq.bits" and caught.value.received == 21
        assert "20" in caught.value.allowed


class TestSeeding:
    def test_pinned_values(self):
        """A change of these numbers changes every result ever stored."""
        assert derive(7, "channel", "abc", 0) == 2025635398
        assert derive(0, "uplink") == 920432730
        assert derive(1, "rvq", 32, 12, 3) == 1232781995
        assert derive_wide(7, "link", 0) == 6228816303210762298
        draw = by_drop(1, 3, 1, lambda rng: rng.integers(0, 2**63, 2).tolist(), "motion")
        assert draw == [[6291230104696696553, 83632887794790290]]

    def test_the_generator_of_drops_is_philox(self):
        """Philox4x64-10 of counter and key 0, as its authors publish it; NumPy counts before it draws."""
        words = np.random.Philox(key=0, counter=2**256 - 1).random_raw(4).tolist()
        assert words == [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
        assert by_drop(1, 0, 1, lambda rng: type(rng.bit_generator)) == [np.random.Philox]

    def test_a_drop_has_its_own_stream_whoever_is_drawn_with_it(self):
        """Numbers that are left over, or half used, do not reach the next drop."""

        def draw(rng):
            return [rng.random(dtype=np.float32), *rng.standard_normal(3), rng.integers(0, 9, dtype=np.int32)]

        together = by_drop(5, 2, 6, draw)
        assert together == [by_drop(5, drop, 1, draw)[0] for drop in range(2, 8)]
        others = [by_drop(6, 2, 6, draw), by_drop(5, 8, 6, draw), by_drop(5, 2, 6, draw, "role")]
        assert len({x[1] for drawn in (together, *others) for x in drawn}) == 24

    def test_all_coordinates_matter(self):
        coordinates = [(1, "channel", 0), (2, "channel", 0), (1, "uplink", 0), (1, "channel", 1), (1, "channel", "0")]
        coordinates += [(1, "channel"), (1, "channel", 0, 0), (1, "channel", [0, 1]), (1, "channel", 0, 1)]
        seeds = [derive(*c) for c in coordinates]
        assert len(set(seeds)) == len(seeds)

    def test_range(self):
        seeds = np.array([derive(root, "range") for root in range(4000)])
        assert seeds.min() >= 0 and seeds.max() < 2**31
        assert len(np.unique(seeds)) == 4000
        assert np.bincount(seeds >> 29, minlength=4).min() > 800  # uniform: 1000 +- 27 in each quarter


def _config(**changes):
    return CsiConfig(
        **{**dict(panel=PANEL, num_rx_ant=2, num_subcarriers=10, spacing_hz=360e3, subband_size=4), **changes}
    )


class TestTypes:
    def test_panel_counts_ports(self):
        assert [Panel(8, 2, 2).num_ports, Panel(4).num_ports, Panel(3, 5, 1).num_ports] == [32, 4, 15]

    def test_frequencies_are_centred(self):
        geometry = RadioGeometry(3.5e9, PANEL, 1, 1, 4, 10.0)
        assert geometry.frequencies_hz.tolist() == [-15.0, -5.0, 5.0, 15.0]

    def test_subbands(self):
        config = _config()
        assert config.num_subbands == 3
        assert config.subband_starts.tolist() == [0, 4, 8]
        assert config.subband_of.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]

    @pytest.mark.parametrize(("layers", "rx", "panel"), [(3, 2, PANEL), (0, 2, PANEL), (3, 4, Panel(2))])
    def test_impossible_layers(self, layers, rx, panel):
        with pytest.raises(ConfigError) as caught:
            _config(num_layers=layers, num_rx_ant=rx, panel=panel)
        assert caught.value.field == "precoding.layers_per_user" and "1..2" in caught.value.allowed

    @pytest.mark.parametrize(
        ("bits", "num_bits", "word"),
        [
            (np.zeros((2, 3, 4), np.int64), np.zeros((2, 3), int), "uint8"),
            (np.zeros((6, 4), np.uint8), np.zeros((2, 3), int), "uint8"),
            (np.full((2, 3, 4), 2, np.uint8), np.zeros((2, 3), int), "0 or 1"),
            (np.zeros((2, 3, 4), np.uint8), np.zeros((3, 2), int), r"\(2, 3\)"),
            (np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3)), "float64"),
            (np.zeros((2, 3, 4), np.uint8), np.full((2, 3), 5), r"0\.\.4"),
            (np.zeros((2, 3, 4), np.uint8), np.full((2, 3), -1), r"0\.\.4"),
        ],
    )
    def test_malformed_reports(self, bits, num_bits, word):
        with pytest.raises(PayloadError, match=word):
            CsiReport(bits, num_bits)

    def test_expect_length(self):
        report = CsiReport(np.ones((1, 2, 6), np.uint8), np.array([[5, 5]]))
        assert report.expect_length(5).shape == (1, 2, 5)
        with pytest.raises(PayloadError, match="exactly 6"):
            report.expect_length(6)
        with pytest.raises(PayloadError, match="got 4"):
            CsiReport(np.ones((1, 2, 6), np.uint8), np.array([[5, 4]])).expect_length(5)

    def test_report_as_bytes(self):
        bits = np.array([[[1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1]]], np.uint8)
        assert CsiReport(bits, np.array([[10]])).to_bytes(0, 0) == bytes([0b10100001, 0b11000000])

    def test_reconstruction_is_explicit_or_implicit(self):
        h, w = np.zeros((1, 1, 1, 4, 2), np.complex64), np.zeros((1, 1, 4, 1, 1), np.complex64)
        for wrong in ({}, {"h": h, "w": w}):
            with pytest.raises(ConfigError):
                CsiReconstruction(**wrong)
        assert CsiReconstruction(h=h).w is None and CsiReconstruction(w=w).h is None


class TestUnitsAndParameters:
    def test_decibel(self):
        np.testing.assert_allclose(db_to_lin([-10, 0, 3, 20]), [0.1, 1, 10**0.3, 100], rtol=1e-15)
        np.testing.assert_allclose(lin_to_db([0.1, 1, 100]), [-10, 0, 20], atol=1e-12)
        assert lin_to_db(0.0) == -np.inf

    @pytest.mark.parametrize("loading", [-1.0, 0.0, float("inf"), float("nan"), "a lot"])
    def test_constructor_checks_its_annotations(self, loading):
        with pytest.raises(ConfigError) as caught:
            Rzf(loading=loading)
        assert caught.value.field == "precoding.rzf.loading"

    def test_config_error_names_field_value_and_rule(self):
        error = ConfigError("a.b", 3, "1..2")
        assert str(error) == "a.b: got 3; allowed: 1..2"
        assert isinstance(error, CsilinkError) and isinstance(error, ValueError)
        assert issubclass(PayloadError, CsilinkError)
