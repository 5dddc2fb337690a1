"""Best codeword of a large codebook for many channels: blocked real matrix products with a running maximum."""

from __future__ import annotations

import numpy as np

# Rows of one product, and products kept at a time (16 MiB): large enough that all BLAS threads stay busy.
_ROWS = 1 << 9
_BLOCK = 1 << 22


def best_codeword(h: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    r"""Index :math:`\arg\max_i \sum_v |h_v c_i|^2`, the codeword through which most energy arrives.

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
            block = words[low : low + width]
            product = np.matmul(left, block.T, out=products[: len(left) * len(block)].reshape(len(left), -1))
            parts = product.reshape(-1, 2 * num_vectors, len(block))
            gain = np.einsum("rpc,rpc->rc", parts, parts)
            index = gain.argmax(axis=1)
            value = np.take_along_axis(gain, index[:, None], axis=1)[:, 0]
            better = value > best_gain[reports]
            best[reports] = np.where(better, low + index, best[reports])
            best_gain[reports] = np.where(better, value, best_gain[reports])
    return best
