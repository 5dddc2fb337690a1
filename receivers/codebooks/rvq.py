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


def rvq_mean_cos2(num_ports: int, bits: int) -> float:
    r"""Mean squared cosine of RVQ on an isotropic channel, :math:`1 - 2^B \, \mathrm{Beta}(2^B, M / (M - 1))`.

    Source: Au-Yeung, Love, IEEE Trans. Wireless Commun. 6(2), 2007, Eq. (11).
    """
    from scipy.special import betaln

    return float(1.0 - np.exp(bits * np.log(2.0) + betaln(2.0**bits, num_ports / (num_ports - 1))))
