"""Decoded reports in the frame in which a refiner sees them: origin at the strongest coefficient, phases of a path."""

from __future__ import annotations

import numpy as np

from receivers.codebooks.beam_delay import BeamDelayReport

TAPS = 13  # of the window around the origin
FAR = (4, 2)  # offsets along n1 and n2 from which on all are alike to a refiner
DESCRIPTORS = 6
FEATURES = 2 * TAPS * 3 + (2 * FAR[0] + 1) + (2 * FAR[1] + 1) + DESCRIPTORS
GAIN = 6.0  # of a coefficient at the input: most are small


class ReportFrame:
    r"""Roll and rotation of decoded coefficients so that one network serves all directions, delays and phases.

    The strongest coefficient comes to the first polarisation and offset 0 of both beam axes and of delay, real and
    positive; a layer has unit energy. Phases refer to the centre of the panel and of the band: coefficients of one
    path :math:`\propto \sin(N \delta / 2) / \sin(\delta / 2)` are then real up to a common phase. Taps beyond a window
    of 13 around the origin are left as decoded.

    Args:
        size: (number of polarisations, N2, N1).
        num_units: N_3.
    """

    def __init__(self, size: tuple[int, int, int], num_units: int):
        self.size, self.num_units = size, num_units
        _, n2, n1 = size
        low = min(num_units // 2, TAPS // 2)
        taps = np.arange(-low, low + (1 if num_units > 2 * low else 0))
        self._offsets = _offsets(n2), _offsets(n1)
        self._start = TAPS // 2 - low
        self._taps = taps
        turns = [np.exp(1j * np.pi * (n - 1) * d / n) for n, d in ((n2, self._offsets[0]), (n1, self._offsets[1]))]
        self.beam_phase = np.kron(*turns).astype(np.complex64)  # [beam], n1 fastest
        self.tap_phase = np.exp(1j * np.pi * (num_units - 1) * taps / num_units).astype(np.complex64)

    @property
    def num_beams(self) -> int:
        """Beams of one polarisation: tokens of a layer."""
        return self.size[1] * self.size[2]

    def kernel(self) -> np.ndarray:
        r"""Float32 ``[2 * 13, 2 * unit]``: real map from coefficients of a row in this frame to its spectrum."""
        turn = np.exp(2j * np.pi / self.num_units * np.outer(self._taps, np.arange(self.num_units)))
        full = np.zeros((TAPS, self.num_units), np.complex128)
        full[self._start : self._start + len(self._taps)] = turn * self.tap_phase.conj()[:, None]
        rows = np.stack([np.stack([full.real, full.imag], -1), np.stack([-full.imag, full.real], -1)], 1)
        return rows.reshape(2 * TAPS, -1).astype(np.float32)

    def origin(self, x: np.ndarray) -> np.ndarray:
        """Flat place int ``[layer]`` of the strongest coefficient of ``x`` complex ``[layer, row, tap]``."""
        return np.abs(x).reshape(len(x), -1).argmax(axis=1)

    def rows(self, origin: np.ndarray) -> np.ndarray:
        """Rows int ``[layer, polarisation, beam]`` of a report, in the order of the frame."""
        pol, n2, n1 = self.size
        own, start2, start1 = np.unravel_index(origin // self.num_units, self.size)
        p = (own[:, None] + np.arange(pol)) % pol
        second = (start2[:, None] + self._offsets[0]) % n2
        first = (start1[:, None] + self._offsets[1]) % n1
        beam = (second[:, :, None] * n1 + first[:, None, :]).reshape(len(origin), 1, -1)
        return p[:, :, None] * (n2 * n1) + beam

    def _places(self, origin: np.ndarray) -> np.ndarray:
        """Flat places int ``[layer, polarisation, beam, tap]``."""
        taps = (origin[:, None] % self.num_units + self._taps) % self.num_units
        return self.rows(origin)[..., None] * self.num_units + taps[:, None, None]

    def tokens(self, report: BeamDelayReport) -> np.ndarray:
        """Input float32 ``[report * layer, beam, FEATURES]`` of a refiner."""
        x = report.x.reshape(-1, *report.x.shape[2:])
        flat, origin = x.reshape(len(x), -1), self.origin(x)
        top = np.take_along_axis(flat, origin[:, None], axis=1)[:, 0]
        norm = np.maximum(np.sqrt(np.sum(np.square(np.abs(flat)), axis=1)), 1e-30)
        turn = top.conj() / np.maximum(np.abs(top), 1e-30) * (GAIN / norm)
        places = self._places(origin)
        n, pol = places.shape[:2]
        out = np.zeros((n, self.num_beams, FEATURES), np.float32)
        body = out[..., : 6 * TAPS].reshape(n, self.num_beams, 2, TAPS, 3)
        window = slice(self._start, self._start + len(self._taps))
        value = np.take_along_axis(flat, places.reshape(n, -1), axis=1).reshape(places.shape)
        value = value * (self.beam_phase[:, None] * self.tap_phase) * turn[:, None, None, None].astype(np.complex64)
        sent = np.take_along_axis(report.sent.reshape(n, -1), places.reshape(n, -1), axis=1).reshape(places.shape)
        body[:, :, :pol, window, 0] = np.swapaxes(value.real, 1, 2)
        body[:, :, :pol, window, 1] = np.swapaxes(value.imag, 1, 2)
        body[:, :, :pol, window, 2] = np.swapaxes(sent, 1, 2)
        at = 6 * TAPS
        grid = np.meshgrid(*self._offsets, indexing="ij")
        for offsets, far in zip(reversed(grid), FAR, strict=True):
            out[:, np.arange(self.num_beams), at + np.clip(offsets.ravel(), -far, far) + far] = 1
            at += 2 * far + 1
        count = np.count_nonzero(flat, axis=1)
        threshold = report.threshold.reshape(-1) / norm
        strength = np.abs(top) / norm
        described = report.sent.reshape(n, *report.x.shape[2:])
        descriptors = [
            np.full(n, float(report.logarithmic)),
            np.log2(np.maximum(threshold, 1e-4)) / 4 + 0.75,
            np.log2(np.maximum(count, 1)) / 4 - 1,
            described.any(axis=2).sum(axis=1) / 16,
            described.any(axis=1).sum(axis=1) / TAPS,
            strength,
        ]
        out[..., at:] = np.stack(descriptors, axis=1)[:, None]
        return out

    def coefficients(self, y: np.ndarray, report: BeamDelayReport) -> np.ndarray:
        """Refined coefficients complex64, shape of ``report.x``, from outputs ``[report * layer, beam, 2, 13, 2]``."""
        return self._put(y, report, report.x.copy(), 1 / GAIN)

    def gradient(self, g: np.ndarray, report: BeamDelayReport) -> np.ndarray:
        """Gradient of a loss in the coefficients, complex64 of the shape of ``report.x``, 0 beyond the window.

        Args:
            g: gradient in the coefficients of the tokens ``[report * layer, beam, 2 * 13 * 2]``, norms of layers and
                phases of their strongest coefficients being constant.
            report: of which the tokens are.
        """
        energy = np.sum(np.square(np.abs(report.x)), axis=(2, 3), keepdims=True)
        return self._put(g, report, np.zeros_like(report.x), GAIN) / np.maximum(energy, 1e-30)

    def _put(self, y: np.ndarray, report: BeamDelayReport, out: np.ndarray, gain: float) -> np.ndarray:
        """``out`` with values at the tokens' places, turned back, times ``gain`` and the norm of their layer."""
        x = report.x.reshape(-1, *report.x.shape[2:])
        flat, origin = x.reshape(len(x), -1), self.origin(x)
        top = np.take_along_axis(flat, origin[:, None], axis=1)[:, 0]
        norm = np.sqrt(np.sum(np.square(np.abs(flat)), axis=1))
        turn = (top / np.maximum(np.abs(top), 1e-30) * (norm * gain))[:, None, None, None].astype(np.complex64)
        flat, places = out.reshape(len(x), -1), self._places(origin)
        n, pol = places.shape[:2]
        value = np.ascontiguousarray(y, np.float32).reshape(n, self.num_beams, 2, TAPS, 2).view(np.complex64)[..., 0]
        value = np.swapaxes(value, 1, 2)[:, :pol, :, self._start : self._start + len(self._taps)]
        value = value * (self.beam_phase[:, None] * self.tap_phase).conj() * turn
        np.put_along_axis(flat, places.reshape(n, -1), value.reshape(n, -1), axis=1)
        return flat.reshape(report.x.shape)

    def target(self, v: np.ndarray, origin: np.ndarray) -> np.ndarray:
        """Directions to learn, float32 ``[layer, beam, 2, unit, 2]``, of beams complex ``[layer, row, unit]``."""
        rows = self.rows(origin)
        n, pol, beams = rows.shape
        c = np.take_along_axis(v, rows.reshape(n, -1, 1), axis=1).reshape(n, pol, beams, -1) * self.beam_phase[:, None]
        out = np.zeros((n, beams, 2, c.shape[-1], 2), np.float32)
        out[:, :, :pol, :, 0], out[:, :, :pol, :, 1] = np.swapaxes(c.real, 1, 2), np.swapaxes(c.imag, 1, 2)
        return out


def decoded(tokens: np.ndarray) -> np.ndarray:
    """Coefficients as decoded, float32 ``[layer, beam, 52]``, of tokens."""
    body = tokens[..., : 6 * TAPS].reshape(*tokens.shape[:2], 2 * TAPS, 3)[..., :2]
    return np.ascontiguousarray(body).reshape(*tokens.shape[:2], 4 * TAPS)


def conjugated(tokens: np.ndarray) -> np.ndarray:
    """Tokens of the conjugate coefficients: paths with conjugate gains, since those of a path are real but for it."""
    found = tokens.copy()
    found[..., 1 : 6 * TAPS : 3] *= -1
    return found


def _offsets(n: int) -> np.ndarray:
    """Signed offsets of n orthogonal beams around the first."""
    return np.arange(n) - n // 2
