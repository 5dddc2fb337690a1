"""Best codeword of a large codebook for many channels: blocked real matrix products with a running maximum."""

from __future__ import annotations

import numpy as np

_ROWS = 1 << 9  # rows of one product
_BLOCK = 1 << 23  # products kept at a time (32 MiB): few large products keep all BLAS threads busy
_PIECE = 1 << 17  # products reduced at a time (1 MiB): they stay in the cache


def best_codeword(h: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    r"""Index :math:`\arg\max_i \sum_v |h_v c_i|^2`, the codeword with the largest received energy.

    Args:
        h: complex64 ``[report, vector, port]``; energies of the vectors (antennas, subcarriers) add up.
        codebook: complex64 ``[codeword, port]``.

    Returns:
        int64 ``[report]``, the lowest index among equals; memory is bounded for any codebook.
    """
    if h.shape[1] > h.shape[2]:  # the R factor has the same energies in fewer rows
        h = np.linalg.qr(h, mode="r")
    num_reports, num_vectors, num_ports = h.shape
    # Read as pairs (re, im), codewords times conj(h) give Re(h c), times j conj(h) they give Im(h c).
    words = np.ascontiguousarray(codebook, np.complex64).view(np.float32)
    rows = np.ascontiguousarray(np.concatenate([h.conj(), 1j * h.conj()], axis=1), np.complex64).view(np.float32)
    step = max(1, min(num_reports, _ROWS // (2 * num_vectors)))
    width = min(len(words), max(64, _BLOCK // (2 * step * num_vectors)))
    products = np.empty(2 * step * num_vectors * width, np.float32)
    best_gain = np.full(num_reports, -1.0, np.float32)
    best = np.zeros(num_reports, np.int64)
    for start in range(0, num_reports, step):
        reports = slice(start, start + step)
        left = rows[reports].reshape(-1, 2 * num_ports)
        for low in range(0, len(words), width):
            right = words[low : low + width].T
            product = products[: len(left) * right.shape[1]].reshape(len(left), -1)
            np.matmul(left, right, out=product)
            parts = product.reshape(-1, 2 * num_vectors, right.shape[1])
            _keep_best(parts, low, best_gain[reports], best[reports])
    return best


def _keep_best(parts: np.ndarray, low: int, best_gain: np.ndarray, best: np.ndarray) -> None:
    """Merge the products ``[report, part, codeword]`` (overwritten) of the codewords from ``low`` on into the best."""
    step = max(1, _PIECE // parts[0].size)
    for start in range(0, len(parts), step):
        piece, known, best_index = (x[start : start + step] for x in (parts, best_gain, best))
        np.square(piece, out=piece)
        gain = piece[:, 0]
        for part in range(1, piece.shape[1]):  # few; faster than a sum over the axis
            gain += piece[:, part]
        index = gain.argmax(axis=1)
        value = np.take_along_axis(gain, index[:, None], axis=1)[:, 0]
        better = value > known
        best_index[better] = low + index[better]
        known[better] = value[better]
