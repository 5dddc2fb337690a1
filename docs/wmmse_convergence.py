"""Draw docs/wmmse_convergence.png: mean sum rate over WMMSE iterations, on i.i.d. Rayleigh channels of unit power."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from simulator.precoding.wmmse import wmmse_convergence

DROPS, USERS, PORTS, ITERATIONS = 200, 8, 8, 30


def main() -> None:
    """Eight users with one antenna on eight ports, where zero forcing is worst."""
    rng = np.random.default_rng(1)
    g = (rng.standard_normal((DROPS, USERS, PORTS, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for snr_db in (0, 10, 20, 30):
        rate = wmmse_convergence(g, 10 ** (-snr_db / 10), num_iterations=ITERATIONS)
        axes.plot(np.asarray(rate).mean(axis=0), ".-", label=f"{snr_db} dB")
    axes.set(xlabel="WMMSE iteration (0: RZF)", ylabel="Mean sum rate [bit/s/Hz]", ylim=(0, 70))
    axes.grid(alpha=0.3)
    axes.legend(title="SNR", ncols=4, loc="upper center")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
