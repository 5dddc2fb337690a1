"""Results from formulas, as a run leaves them: for tests of what reads results."""

import json
import re

import numpy as np
import pandas as pd

SNR_DEFINITION = "SYNTHETIC: total transmit power / noise power per subcarrier, E|h|^2 = 1 per antenna pair."
SCHEMES = {  # label: mean bits, largest report, SGCS, NMSE in dB where the channel is rebuilt
    "perfect": (106496, 106496, 1.0, -np.inf),
    "dft": (8, 8, 0.42, None),
    "rvq-b6": (6, 6, 0.31, None),
    "rvq-b12": (12, 12, 0.46, None),
    "csinet-cr16-mu_law-b2-huffman": (214.3, 241, 0.66, -2.9),
    "csinet-cr16-mu_law-b4-huffman": (431.7, 468, 0.78, -5.8),
    "csinet-cr16-mu_law-b6-huffman": (668.2, 712, 0.81, -6.6),
}
MORE = {
    "csinet-cr32-mu_law-b2-huffman": (108.1, 124, 0.58, -2.1),
    "csinet-cr32-mu_law-b4-huffman": (216.9, 240, 0.70, -4.0),
    "csinet-cr32-mu_law-b6-huffman": (335.0, 371, 0.72, -4.4),
    "etype2-pc2": (98, 98, 0.72, None),
    "etype2-pc4": (165, 165, 0.79, None),
}
SNRS_DB = (-5, 0, 5, 10, 15, 20, 25)


def synthetic(schemes=SCHEMES, precoders=("mrt", "zf"), axes=None, name="synthetic", seed=7):
    """Tidy rows and CDF rows of one combination of swept axes."""
    rng, axes, rows, cdf = np.random.default_rng(seed), axes or {}, [], []
    for scheme, (bits_mean, bits_max, sgcs, nmse_db) in schemes.items():
        base = dict(scenario=name, channel="umi", scheme=scheme, bits_mean=bits_mean, bits_max=bits_max)
        size = dict(num_ports=axes.get("bs.n1", 8) * 4, num_users=4)

        def add(metric, value, ci95, unit, precoder=None, snr_db=np.nan, base=base, size=size):
            drawn = dict(metric=metric, value=value, ci95=ci95, unit=unit, num_samples=4000, seed=1)
            rows.append({**base, "precoder": precoder, **size, "snr_db": snr_db, **axes, **drawn})

        quality = sgcs * axes.get("quality", 1.0)
        add("sgcs", quality, 0.004, "1")
        add("cosine", quality**0.5, 0.003, "1")
        if nmse_db is not None:
            add("nmse_db", nmse_db, 0.08, "dB")
        add("bits_mean", bits_mean, 0.9 if bits_mean != bits_max else 0.0, "bit")
        add("bits_max", bits_max, np.nan, "bit")
        for snr_db in SNRS_DB:
            add("rho2_se_bpshz", np.log2(1 + 10 ** (snr_db / 10) * quality), 0.02, "bit/s/Hz", None, snr_db)
            for precoder in precoders:
                leak = 4.0 if precoder == "mrt" else 0.6 + 3.0 * (1 - quality)
                snr = 2.0 * 10 ** (snr_db / 10)
                rate = np.log2(1 + snr * quality / (1 + snr * leak * (1 - 0.9 * quality) / 4))
                rate *= 1 + 0.01 * rng.standard_normal()
                add("user_rate_bpshz", rate, 0.02 * rate, "bit/s/Hz", precoder, snr_db)
                add("sum_rate_bpshz", 4 * rate, 0.06 * rate, "bit/s/Hz", precoder, snr_db)
                for gamma in (0.9, 0.95):
                    outage = round((1 - quality) ** 1.5 * gamma**2 * (1 + 0.02 * snr_db), 4)
                    add(f"outage_gamma_{gamma}", outage, 0.2 * outage, "1", precoder, snr_db)
                outage = round(float(np.exp(-2.2 * rate)), 3)
                add("outage_rate_1", outage, 0.1 * outage, "1", precoder, snr_db)
                if snr_db in (0, 20):
                    levels = np.linspace(0, 1, 101)
                    rates = rate * (0.4 + 1.2 * levels**0.8)
                    point = dict(scheme=scheme, precoder=precoder, snr_db=snr_db)
                    cdf += [{**axes, **point, "rate_bpshz": r, "cdf": c} for r, c in zip(rates, levels, strict=True)]
    return pd.DataFrame(rows), pd.DataFrame(cdf)


def write(folder, frame, cdf, name="synthetic", **manifest):
    """A results folder as the runner leaves it."""
    folder.mkdir(exist_ok=True)
    frame.to_csv(folder / "results.csv", index=False)
    if cdf is not None:
        cdf.to_csv(folder / "user_rate_cdf.csv", index=False)
    whole = {
        "name": name,
        "scenario": {"name": name, "channel": {"model": "umi"}, "snr_db": list(SNRS_DB)},
        "versions": {"python": "3.11", "sionna": "1.2.2"},
        "hashes": {"point-0": "ab12"},
        "commit": "0123abc",
        "seed": 1,
        "wall_time_s": 61.25,
        "num_drops": 4000,
        "started": "2026-01-01T00:00:00Z",
        "snr_definition": SNR_DEFINITION,
        "normalization": "per_dataset",
        "notes": ["Synthetic numbers from a formula: nothing was simulated."],
    }
    (folder / "manifest.json").write_text(json.dumps({**whole, **manifest}))
    return folder


def words(page):
    """Text of a page without its script and its tags."""
    return " ".join(re.sub("<[^>]*>", " ", page.partition('<script type="application/json"')[0]).split())
