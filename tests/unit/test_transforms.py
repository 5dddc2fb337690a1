"""Angular-delay domain: unitary, with known images of plane waves and delays."""

import numpy as np
import pytest
from tolerances import FLOAT32, assert_close

from simulator.core.types import Panel
from simulator.maths.transforms import (
    from_angular_delay,
    from_mimo_image,
    to_angular_delay,
    to_complex,
    to_mimo_image,
    to_real,
    unit_power,
)

PANELS = [Panel(8, 2, 2), Panel(4, 4, 1), Panel(1, 1, 1), Panel(3, 1, 2), Panel(1, 5, 1)]


def channel(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j]).astype(np.complex64)


@pytest.mark.parametrize("panel", PANELS, ids=str)
@pytest.mark.parametrize("num_subcarriers", [1, 12, 13])
def test_unitary_round_trip(rng, panel, num_subcarriers):
    h = channel(rng, 3, 2, panel.num_ports, num_subcarriers)
    x = to_angular_delay(h, panel, num_subcarriers)
    assert x.shape == (3, 2, num_subcarriers, panel.num_ports) and x.dtype == np.complex64
    energies = [np.sum(np.abs(v) ** 2, axis=(2, 3)) for v in (x, h)]
    np.testing.assert_allclose(*energies, rtol=FLOAT32)
    back = from_angular_delay(x, panel, num_subcarriers)
    assert back.dtype == np.complex64
    assert_close(back, h, FLOAT32)


def test_against_the_sum(rng):
    """Element by element: the definition of the 2-D DFT over the panel and the inverse DFT over frequency."""
    panel, n = Panel(3, 2, 2), 5
    h = channel(rng, panel.num_ports, n)
    x = to_angular_delay(h, panel, n)
    grid = h.reshape(2, 3, 2, n)
    for pol, k1, k2, tap in np.ndindex(2, 3, 2, n):
        total = 0j
        for n1, n2, f in np.ndindex(3, 2, n):
            total += grid[pol, n1, n2, f] * np.exp(2j * np.pi * (f * tap / n - k1 * n1 / 3 - k2 * n2 / 2))
        assert abs(total / np.sqrt(3 * 2 * n) - x[tap, (pol * 3 + k1) * 2 + k2]) < FLOAT32 * np.abs(x).max()


@pytest.mark.parametrize(("pol", "beam1", "beam2", "tap"), [(0, 0, 0, 0), (0, 3, 1, 5), (1, 7, 0, 11), (1, 5, 1, 2)])
def test_a_plane_wave_with_a_delay_is_one_pixel(pol, beam1, beam2, tap):
    """Phase 2 pi k1 n1 / N1 along columns, k2 n2 / N2 along rows; a delay of ``tap / (N df)`` turns the band."""
    panel, n, spacing_hz = Panel(8, 2, 2), 20, 30e3
    n1, n2 = np.arange(8)[:, None], np.arange(2)
    wave = np.exp(2j * np.pi * (beam1 * n1 / 8 + beam2 * n2 / 2))
    delay_s = tap / (n * spacing_hz)
    band = np.exp(-2j * np.pi * np.arange(n) * spacing_hz * delay_s)
    h = np.zeros((2, 8, 2, n), np.complex64)
    h[pol] = wave[:, :, None] * band
    x = to_angular_delay(h.reshape(32, n), panel, 12)
    expected = np.zeros((12, 2, 8, 2))
    expected[tap, pol, beam1, beam2] = np.sqrt(16 * n)
    assert_close(np.abs(x.reshape(12, 2, 8, 2)), expected, FLOAT32)


def test_only_truncation_loses_energy(rng):
    panel, n = Panel(4, 2, 2), 24
    h = channel(rng, 6, panel.num_ports, n)
    full = to_angular_delay(h, panel, n)
    x = to_angular_delay(h, panel, 7)
    np.testing.assert_array_equal(x, full[:, :7])
    back = from_angular_delay(x, panel, n)
    lost = np.sum(np.abs(back - h) ** 2, axis=(1, 2))
    np.testing.assert_allclose(lost, np.sum(np.abs(full[:, 7:]) ** 2, axis=(1, 2)), rtol=FLOAT32)


def test_real_view(rng):
    h = channel(rng, 3, 4)
    x = to_real(h)
    assert x.dtype == np.float32 and x.shape == (3, 4, 2)
    np.testing.assert_array_equal(x[..., 0], h.real)
    np.testing.assert_array_equal(x[..., 1], h.imag)
    np.testing.assert_array_equal(to_complex(x), h)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6])
def test_unit_power(rng, scale):
    h = channel(rng, 4, 2, 3, 5) * rng.uniform(0.1, 9, (4, 2, 1, 1)).astype(np.float32) * np.float32(scale)
    x = unit_power(h, num_lead=2)
    assert x.dtype == np.complex64
    for index in np.ndindex(4, 2):
        assert np.mean(np.abs(x[index].astype(np.complex128)) ** 2) == pytest.approx(1, rel=FLOAT32)
        ratio = x[index] / h[index]
        assert_close(ratio, np.full_like(ratio, ratio.flat[0].real), FLOAT32)


def test_unit_power_of_nothing_is_nothing():
    assert (unit_power(np.zeros((2, 3), np.complex64), num_lead=1) == 0).all()


# All antennas of a UE in one image


def test_columns_of_a_mimo_image_are_the_ports_of_one_antenna_after_the_other(rng):
    panel, n, taps = Panel(3, 2, 2), 5, 4
    h = channel(rng, 2, 3, panel.num_ports, n)
    frequency, delay = (to_complex(to_mimo_image(h, panel, rows)) for rows in (None, taps))
    assert frequency.shape == (2, n, 36) and delay.shape == (2, taps, 36)
    for sample, rx in np.ndindex(2, 3):
        beams = to_angular_delay(h[sample, rx], panel, taps)
        for port in range(12):
            np.testing.assert_array_equal(frequency[sample, :, rx * 12 + port], h[sample, rx, port])
            assert_close(delay[sample, :, rx * 12 + port], np.sqrt(taps / n) * beams[:, port], FLOAT32)


@pytest.mark.parametrize("taps", [None, 12])
def test_mimo_images_are_inverted(rng, taps):
    panel = Panel(4, 2, 2)
    h = channel(rng, 3, 2, 2, panel.num_ports, 12)
    back = from_mimo_image(to_mimo_image(h, panel, taps), panel, taps, 12)
    assert back.dtype == np.complex64
    assert_close(back, h, FLOAT32)


def test_a_truncated_mimo_image_keeps_power_and_loses_only_late_taps(rng):
    """Power per entry is that of the channel where all delays are kept, although the image has fewer rows."""
    panel, n, taps = Panel(4, 2, 2), 24, 7
    late = np.fft.ifft(channel(rng, 5, 2, panel.num_ports, n), axis=-1)
    early = late.copy()
    early[..., taps:] = 0
    late[..., :taps] = 0
    h_early, h_late = (np.fft.fft(x, axis=-1) for x in (early, late))
    power = np.mean(np.abs(h_early) ** 2, axis=(1, 2, 3))
    image = to_mimo_image((h_early + h_late).astype(np.complex64), panel, taps)
    np.testing.assert_allclose(2 * np.mean(image.astype(float) ** 2, axis=(1, 2, 3)), power, rtol=FLOAT32)
    assert_close(from_mimo_image(image, panel, taps, n), h_early, FLOAT32)
