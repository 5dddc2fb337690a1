"""Best codeword of a large codebook for many channels: chunked real matrix products with a running maximum."""

from __future__ import annotations

import numpy as np

# Products kept at a time: small enough for the second-level cache.
_BLOCK = 1 << 17


def best_codeword(h: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    r"""Index :math:`\arg\max_i \sum_v |h_v c_i|^2`, the codeword through which most energy arrives.

    Args:
        h: complex64 ``[report, vector, port]``; energies of the vectors (antennas, subcarriers) add up.
        codebook: complex64 ``[codeword, port]``.

    Returns:
        int64 ``[report]``; memory is bounded for any codebook.
    """
    if h.shape[1] > h.shape[2]:  # the R factor has the same energies in fewer rows
        h = np.linalg.qr(h, mode="r")
    num_reports, num_vectors, num_ports = h.shape
    # Re and Im of h c as two real products: rows (Re c, Im c) against (Re h, -Im h) and (Im h, Re h).
    real_c = np.concatenate([codebook.real, codebook.imag], axis=1).astype(np.float32)
    re = np.concatenate([h.real, -h.imag], axis=2).astype(np.float32)
    im = np.concatenate([h.imag, h.real], axis=2).astype(np.float32)
    best_gain = np.full(num_reports, -1.0, np.float32)
    best = np.zeros(num_reports, np.int64)
    reports_step = max(1, min(num_reports, 256 // num_vectors))
    code_step = max(64, _BLOCK // (2 * reports_step * num_vectors))
    for start in range(0, num_reports, reports_step):
        stop = min(start + reports_step, num_reports)
        right_re = re[start:stop].reshape(-1, 2 * num_ports).T
        right_im = im[start:stop].reshape(-1, 2 * num_ports).T
        columns = np.arange(stop - start)
        for low in range(0, len(codebook), code_step):
            left = real_c[low : low + code_step]
            gain = left @ right_re
            np.multiply(gain, gain, out=gain)
            other = left @ right_im
            np.multiply(other, other, out=other)
            gain += other
            if num_vectors > 1:
                gain = gain.reshape(len(left), -1, num_vectors).sum(axis=2)
            index = gain.argmax(axis=0)
            value = gain[index, columns]
            better = value > best_gain[start:stop]
            best[start:stop] = np.where(better, low + index, best[start:stop])
            best_gain[start:stop] = np.where(better, value, best_gain[start:stop])
    return best
