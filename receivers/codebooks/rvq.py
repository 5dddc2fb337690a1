"""Random vector quantisation codebooks."""

from __future__ import annotations

import numpy as np


def rvq_codebook(num_ports: int, bits: int, seed: int) -> np.ndarray:
    """Isotropic unit-norm codewords, complex64 ``[2**bits, port]``: normalised CN(0, I) draws.

    Source: Au-Yeung, Love, IEEE Trans. Wireless Commun. 6(2), 2007, Sec. III.
    """
    rng = np.random.default_rng(seed)
    words = rng.standard_normal((2**bits, num_ports, 2), np.float32).view(np.complex64)[..., 0]
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    return words


def coloured_rvq_codebook(covariance: np.ndarray, bits: int, seed: int) -> np.ndarray:
    r"""Codewords :math:`R^{1/2} g / \|R^{1/2} g\|` of CN(0, I) draws g, complex64 ``[2**bits, port]``.

    Args:
        covariance: R, complex ``[port, port]``, positive semidefinite, of the directions :math:`h^H` to be quantised.
        bits: B.
        seed: public seed.

    Source: Love, Heath, IEEE Trans. Veh. Technol. 55(2), 2006, Sec. III.
    """
    power, vectors = np.linalg.eigh(np.asarray(covariance, np.complex128))
    root = (vectors * np.sqrt(np.maximum(power, 0))).astype(np.complex64)
    words = rvq_codebook(len(root), bits, seed)
    for start in range(0, len(words), 1 << 14):
        block = words[start : start + (1 << 14)]
        block[:] = block @ root.T
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return words


def rvq_mean_cos2(num_ports: int, bits: int) -> float:
    r"""Mean squared cosine of RVQ on an isotropic channel, :math:`1 - 2^B \, \mathrm{Beta}(2^B, M / (M - 1))`.

    Source: Au-Yeung, Love, IEEE Trans. Wireless Commun. 6(2), 2007, Eq. (11).
    """
    from scipy.special import betaln

    return float(1.0 - np.exp(bits * np.log(2.0) + betaln(2.0**bits, num_ports / (num_ports - 1))))
