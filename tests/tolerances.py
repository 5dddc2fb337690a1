"""Tolerances of the tests, each with its reason. References are float64 unless a test says otherwise."""

import numpy as np
from scipy import stats

# complex64 sums of up to some hundred terms: one rounding is 6e-8, growing with the square root of the length.
FLOAT32 = 1e-5

# OFDM response: a delay of 1 us at 15 MHz is 15 turns; float32 knows them to 1e-6 turns, that is 6e-6 in phase.
OFDM = 1e-5

# Rates through a float32 inverse of a Gram matrix with a condition number of a few hundred.
RATE = 2e-4

# Matrix inverse in float32, relative to the largest entry, for condition numbers up to 100.
INVERSE = 1e-4

# The same for singular matrices, loaded by 1e-5 of their diagonal: the last pivot is 2e-5, known to a few 1e-7.
SINGULAR = 4e-2

# Eigenvectors of small float32 matrices: rounding of the matrix over the distance of its eigenvalues.
EIGENVECTOR = 1e-3

# Five WMMSE iterations in float32, each through an inverse; powers of streams that are being shut off drift most.
WMMSE_LOOP = 1e-3

# Amplitudes after water-filling in float32: a power known to 1e-6 of the total is an amplitude known to 1e-3.
WATER_FILLING = 1e-3

# LMMSE SINR in float32: the covariance has a condition number of about the SNR, each unit of which costs a rounding
# of 6e-8, some ten times in a row. Relative to the SINR; at least 1e-5.
SINR_PER_SNR = 1e-6

# Divergence of softmaxes over some hundred entries in float32: log-probabilities near -6 are known to 5e-7, times
# tau^2 = 25, against values of 0.1 to 10.
KL = 2e-4

# The divergence against half a variance: the next term is of the order of an entry's skewness over the temperature, and
# of the noise of a third moment over some thousand entries.
SECOND_ORDER = 2e-2

# Printed values are rounded to the last digit shown: half a unit of it. Where the printed input is rounded too, its
# half unit counts as well (mean cosine .9817 in NF-KD, Table 4).
TABLE_3 = 0.7e-3
TABLE_5 = 0.5e-5

# Exact linear prediction: weights of some tens on samples that are known to 6e-8, through normal equations of such.
PREDICTION = 1e-4

# Monte Carlo means: five standard errors. A correct program fails one test in 1.7 million.
SIGMAS = 5.0

# Kolmogorov-Smirnov tests: the same probability as five standard errors.
KS_PVALUE = 5.7e-7


def assert_mean(samples, expected, sigmas=SIGMAS):
    """The mean of independent samples lies within ``sigmas`` standard errors of ``expected``."""
    samples = np.asarray(samples, np.float64).ravel()
    error = samples.std(ddof=1) / np.sqrt(samples.size)
    deviation = (samples.mean() - expected) / error
    assert abs(deviation) < sigmas, f"mean {samples.mean():.6g}, expected {expected:.6g}: {deviation:+.1f} sigma"


def assert_close(actual, expected, tolerance):
    """Largest deviation at most ``tolerance`` times the largest magnitude expected."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    deviation = np.max(np.abs(actual - expected))
    assert deviation <= tolerance * np.max(np.abs(expected)), f"deviation {deviation:.3g}"


def assert_independent(values):
    """Real values ``[seed, draw]``: correlation of all pairs at all shifts, and spread of the means over the seeds.

    Of ranks, whose correlation of n draws is normal with variance 1 / n whatever the values.
    """
    x = stats.rankdata(values).reshape(np.shape(values))
    x = (x - x.mean()) / x.std()
    count, n = x.shape
    spectrum = np.fft.fft(x, axis=1)
    largest = max(
        np.abs(np.fft.ifft(spectrum[i].conj() * spectrum[i + 1 :], axis=1).real).max() / n for i in range(count - 1)
    )
    tests = count * (count - 1) / 2 * n
    bound = stats.norm.isf(stats.norm.sf(SIGMAS) / tests) / np.sqrt(n)
    assert largest < bound, f"correlation {largest:.3f} of two seeds, at most {bound:.3f} by chance"
    spread = x.mean(axis=1).std(ddof=1) * np.sqrt(n)
    assert abs(spread - 1) < SIGMAS / np.sqrt(2 * (count - 1)), f"means spread by {spread:.3f} of what they should"
