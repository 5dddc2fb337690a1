# %% [markdown]
# # 3. From COST 2100 to sum rate
#
# Many papers on CSI feedback compare NMSE on the COST 2100 files of CsiNet. This page takes files of that layout to
# what an operator cares about: the sum rate after precoding, over measured bits.
#
# **The files here are made up**: 240 random channels in the layout of the real ones, so that the page runs anywhere.
# *Their numbers mean nothing.* The [last section](#the-real-files) says how to use the real files; nothing else
# changes.

# %% [markdown]
# **The layout.** A row of `HT` in `DATA_Htrainout.mat` is one channel of 32 antennas: an image of 32 angles by 32
# delays, all real parts before all imaginary parts, squeezed to 0..1 with 0.5 for zero. We draw a few paths per
# channel, each in its own angle and delay.

# %%
from pathlib import Path

import numpy as np
import scipy.io

rng = np.random.default_rng(1)
Path("cost2100").mkdir()


def images(count):
    """Complex images [sample, angle, delay] of six paths each, weaker with delay."""
    x = np.zeros((count, 32, 32), complex)
    for _ in range(6):
        angle, delay = rng.integers(32, size=count), np.minimum(rng.exponential(4, count), 31).astype(int)
        gain = (rng.standard_normal((count, 2)) @ [1, 1j]) * np.exp(-delay / 8)
        np.add.at(x, (np.arange(count), angle, delay), gain)
    return 0.4 * x / np.abs(x).max(axis=(1, 2), keepdims=True)


for split, count in (("train", 120), ("val", 40), ("test", 80)):
    x = images(count).reshape(count, -1)
    rows = np.concatenate([x.real, x.imag], axis=1) + 0.5
    scipy.io.savemat(f"cost2100/DATA_H{split}out.mat", {"HT": rows})

# %% [markdown]
# **Import.** The importer checks sizes and values, notes the SHA-256 of every file, and writes a store. In a terminal
# the same command is `csilink dataset import cost2100 --format cost2100 --set environment=outdoor --out
# datasets/outdoor`.

# %%
import csilink

csilink.command(
    *("dataset", "import", "cost2100", "--format", "cost2100"),
    *("--set", "environment=outdoor", "--out", "datasets/outdoor"),
)

# %% [markdown]
# **Look before you use it.** `csilink dataset info` knows what truncated images are, and says so.

# %%
csilink.command("dataset", "info", "datasets/outdoor", "--split", "test", "--out", "example.png")

# %% [markdown]
# **Into the link.** A channel of two users is two different samples of the test split. The images are expanded to 32
# antennas and to the band of 20 MHz, here on 128 subcarriers in place of 1024, which keeps the bandwidth.

# %%
link = csilink.channel(
    "recorded",
    store="datasets/outdoor",
    split="test",
    panel=(32, 1, 1),
    num_users=2,
    num_subcarriers=128,
    subcarrier_spacing_hz=20e6 / 128,
    carrier_hz=300e6,
)
h = link.sample(40, seed=1)
h.shape  # drop, user, user antenna, port, subcarrier

# %% [markdown]
# **NMSE and rate, over bits.** Of every scheme we measure both: the error of the channel, which most papers report,
# and the sum rate after zero forcing at 20 dB, which the error is meant to stand for.


# %%
def half_width(x):
    """95 % half-width of a mean."""
    return 1.96 * x.std(ddof=1) / np.sqrt(len(x))


def score(name, **params):
    """Bits of a report, NMSE [dB], sum rate and its half-width [bit/s/Hz]."""
    scheme = csilink.feedback(name, link, **params)
    report = scheme.report(h)
    known = scheme.reconstruct(report)
    rate = csilink.rate(h, csilink.precoder("zf")(known), snr_db=20).sum(axis=1)
    error = np.nan if known.h is None else 10 * np.log10(np.mean(np.abs(known.h - h) ** 2))
    return report.num_bits.mean(), error, rate.mean(), half_width(rate)


curves = {
    "sparse": [score("sparse", bits=bits, num_delays=32) for bits in (25, 50, 100, 150, 200)],
    "beamdelay": [score("beamdelay", bits=bits, explicit=True) for bits in (25, 50, 100, 150, 200)],
    "one DFT beam": [score("dft")],
}
perfect = csilink.rate(h, csilink.precoder("zf", link)(h), snr_db=20).sum(axis=1).mean()

# %%
import matplotlib.pyplot as plt

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8))
for name, points in curves.items():
    bits, errors, rates, half_widths = zip(*points)
    right.errorbar(bits, rates, half_widths, marker="o", capsize=3, label=name)
    if not np.isnan(errors[0]):
        left.plot(bits, errors, marker="o", label=name)
right.axhline(perfect, color="0.4", linestyle="--", label="perfect CSI")
left.set(title="Made-up channels: error of the channel", xlabel="bits per report", ylabel="NMSE [dB]", xlim=(0, None))
right.set(
    title="Sum rate of two users at 20 dB",
    xlabel="bits per report",
    ylabel="sum rate [bit/s/Hz]",
    xlim=(0, None),
    ylim=(0, None),
)
for axes in (left, right):
    axes.grid(alpha=0.3)
    axes.legend()
figure.tight_layout()

# %% [markdown]
# The bars count drops as if channels never repeated. Forty drops of two users from 80 samples do repeat; `csilink.run`
# widens its intervals for that ([recorded channels](../recorded.md)).
#
# ## The real files
#
# 1. Get `DATA_Htrainout.mat`, `DATA_Hvalout.mat`, `DATA_Htestout.mat` (or `...in.mat`), which the authors of CsiNet
#    share: about 100,000, 30,000 and 20,000 channels. With `DATA_HtestFout_all.mat` next to them the import also
#    prints what the truncation to 32 delays loses.
# 2. Import the folder as above, with `environment=indoor` or `outdoor`.
# 3. Raise the drops: `h = link.sample(1000, seed=1)`, or run the scenario of 1024 subcarriers: `csilink run
#    cost2100_outdoor`.
# 4. Put published networks next to the schemes: `csilink import-torch crnet CHECKPOINT --store datasets/outdoor --out
#    crnet`, then, in a link of all 1024 subcarriers, `csilink.feedback("autoencoder", link, weights="crnet")`
#    ([released networks](../models.md#released-networks)).
#
# ## What next
#
# - Other formats (DeepMIMO, QuaDRiGa, any array): [recorded channels](../recorded.md).
# - Why NMSE is not the last word: [results](../results.md), [models](../models.md#does-training-through-the-link-pay).
# - Next tutorial: [which codebook at 100 bits](hundred_bits.py).
