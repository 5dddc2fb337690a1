"""Lines that ``csilink train`` prints of a card."""

import pytest

from benchmarks.cli_train import score_lines


@pytest.mark.parametrize(
    ("test", "line"),
    [
        ({"bits_mean": 80.5, "nmse_db": -9.1, "ci95": 0.1}, "pc1: 80.5 bit, nmse -9.1 dB"),
        ({"bits_mean": 47.25, "ci95": 0.3}, "pc1: 47.25 bit, bits_mean 47.25"),  # bits are all that was scored
    ],
)
def test_a_line_names_the_score_and_else_the_bits(test, line):
    assert score_lines(test, "pc1") == [line]
