# %% [markdown]
# # 1. A first link
#
# Two users, one base station, and a channel that only the users can measure. Each user describes its channel in a
# report of a few dozen bits; the base station (gNB) precodes with what the reports say. This page builds that link in
# five steps and then asks: how many bits does it take?

# %% [markdown]
# **The channel.** An urban street (UMi of TR 38.901) with 16 antenna ports at the gNB (4 columns, 2 rows, 2
# polarisations), 26 resource blocks, two users with one antenna each. `sample` draws *drops*: independent positions
# and channels of all users.

# %%
import csilink

link = csilink.channel("umi", panel=(4, 2, 2), num_users=2, num_rb=26)
h = link.sample(64, seed=1)
h.shape  # drop, user, user antenna, port, resource block

# %% [markdown]
# **The scheme.** The enhanced Type II codebook of 5G (TS 38.214) names a few beams, a few delays, and their amplitudes
# and phases. `report` returns bits, and nothing else reaches the gNB.

# %%
scheme = csilink.feedback("etype2-r16", link, combination=1)
report = scheme.report(h)
print(f"{scheme.label}: {report.num_bits.mean():.0f} bits, the first of them", report.bits[0, 0, :16])

# %% [markdown]
# **The gNB.** It turns bits into one direction per subband and user, and precodes such that neither user hears the
# other (zero forcing).

# %%
known = scheme.reconstruct(report)
w = csilink.precoder("zf")(known)
known.w.shape, w.shape  # drop, user, port, layer, subband; drop, resource block, port, stream

# %% [markdown]
# **The rate.** Scored on the true channel: what the reports got wrong is interference. The mean over 64 drops has a
# half-width, here that of a 95 % interval.

# %%
import numpy as np


def sum_rate(w):
    """Mean sum rate of the users at 15 dB and its 95 % half-width, in bit/s/Hz."""
    rate = csilink.rate(h, w, snr_db=15).sum(axis=1)
    return rate.mean(), 1.96 * rate.std(ddof=1) / np.sqrt(len(rate))


perfect = sum_rate(csilink.precoder("zf", link)(h))
print("reports of {:.0f} bits: {:.1f} ± {:.1f} bit/s/Hz".format(report.num_bits.mean(), *sum_rate(w)))
print("perfect CSI:        {:.1f} ± {:.1f} bit/s/Hz".format(*perfect))

# %% [markdown]
# **More bits.** The codebook has eight standard sizes (`paramCombination`), of which six are used here; `beamdelay`,
# csilink's own transform code, takes any number of bits. Both see the same 64 drops. Bits are counted from the
# reports, never computed from a formula.

# %%
sizes = {
    "etype2-r16": [{"combination": n} for n in range(1, 7)],
    "beamdelay": [{"bits": n} for n in (30, 60, 90, 150, 250)],
}
curves = {}
for name, settings in sizes.items():
    for params in settings:
        scheme = csilink.feedback(name, link, **params)
        report = scheme.report(h)
        rate, half_width = sum_rate(csilink.precoder("zf")(scheme.reconstruct(report)))
        curves.setdefault(name, []).append((report.num_bits.mean(), rate, half_width))

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots()
for name, points in curves.items():
    bits, rates, half_widths = zip(*points)
    axes.errorbar(bits, rates, half_widths, marker="o", capsize=3, label=name)
axes.axhline(perfect[0], color="0.4", linestyle="--", label="perfect CSI")
axes.set(xlabel="bits per report", ylabel="sum rate of two users [bit/s/Hz]", ylim=(0, None), xlim=(0, None))
axes.set_title("Sum rate over feedback bits, zero forcing at 15 dB")
axes.grid(alpha=0.3)
axes.legend()

# %% [markdown]
# The bars say how sure each mean is over *channels*. Two schemes on the same drops differ less than their bars
# suggest, because a good drop is good for both. The interval of the difference, drop by drop and at equal bits, tells
# more:

# %%
rates = []
for name, params in (("beamdelay", {"bits": 33}), ("etype2-r16", {"combination": 1})):
    scheme = csilink.feedback(name, link, **params)
    report = scheme.report(h)
    rates.append(csilink.rate(h, csilink.precoder("zf")(scheme.reconstruct(report)), snr_db=15).sum(axis=1))
    print(f"{scheme.label}: {report.num_bits.mean():.0f} bits")
gain = rates[0] - rates[1]
print(f"difference: {gain.mean():.2f} ± {1.96 * gain.std(ddof=1) / np.sqrt(len(gain)):.2f} bit/s/Hz")

# %% [markdown]
# ## What next
#
# - The same as a scenario file with reports, figures and resuming: [README](../../README.md#your-own-scenario), and
#   how to read results: [results](../results.md).
# - All schemes: [labels](../schemes.md), [codebooks](../codebooks.md). The transform code:
#   [beamdelay](../beamdelay.md).
# - Next tutorial: [your own autoencoder](own_autoencoder.py).
