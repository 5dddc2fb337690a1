# %% [markdown]
# # 4. Which codebook at 100 bits?
#
# A report may have about 100 bits. Which scheme uses them best? We take every scheme at its size nearest to 94 bits,
# those of an enhanced Type II report, give all of them the same channels, and compare them drop by drop.

# %% [markdown]
# **Channels.** UMi at 3.5 GHz, 32 ports (8 columns, 2 rows, 2 polarisations), 52 resource blocks, four users, zero
# forcing at 20 dB. 32 drops are few: enough to see large differences, and to see that small ones drown.

# %%
import csilink

link = csilink.channel("umi", panel=(8, 2, 2), num_users=4, num_rb=52)
h = link.sample(32, seed=3)

# %% [markdown]
# **Candidates.** Codebooks of 3GPP have fixed sizes, transform codes take any, networks have those of their training.
# All learned ones are shipped with csilink and were trained on UMi channels among others: here they are at home.

# %%
candidates = {
    "DFT beam": ("dft", {}),
    "Type I": ("type1", {}),
    "enhanced Type II": ("etype2-r16", {"combination": 2}),
    "sparse": ("sparse", {"bits": 94}),
    "KLT": ("klt", {"weights": "klt-mixed", "bits": 80}),
    "TransNet": ("autoencoder", {"weights": "transnet-100"}),
    "eigenvector network": ("eigenvector", {"weights": "evt-80"}),
    "beamdelay": ("beamdelay", {"bits": 94}),
    "ntc": ("ntc", {"bits": 94}),
}

rates, bits, longest = {}, {}, {}
for name, (scheme, params) in candidates.items():
    feedback = csilink.feedback(scheme, link, **params)
    report = feedback.report(h)
    bits[name], longest[name] = report.num_bits.mean(), report.num_bits.max()
    w = csilink.precoder("zf")(feedback.reconstruct(report))
    rates[name] = csilink.rate(h, w, snr_db=20).sum(axis=1)

# %% [markdown]
# **Bits first.** Some reports have a fixed length, entropy-coded ones vary. A mean above 94 bits is an advantage over
# the codebook; keep it in mind.

# %%
import numpy as np
import pandas as pd


def interval(x):
    """Mean with its 95 % half-width."""
    return f"{x.mean():.2f} ± {1.96 * x.std(ddof=1) / np.sqrt(len(x)):.2f}"


order = sorted(rates, key=lambda name: rates[name].mean())
reference = rates["enhanced Type II"]
pd.DataFrame(
    {
        "mean bits": [round(float(bits[name])) for name in order],
        "longest report": [int(longest[name]) for name in order],
        "sum rate [bit/s/Hz]": [interval(rates[name]) for name in order],
        "less enhanced Type II": [interval(rates[name] - reference) for name in order],
    },
    index=order,
)

# %% [markdown]
# **Two kinds of intervals.** On the left every mean has its own interval: how far it may be from the mean over all
# channels. On the right is the difference to enhanced Type II *on the same drops*. Its intervals are shorter, for a
# drop that is good for one scheme is good for all, and they answer the question asked.

# %%
import matplotlib.pyplot as plt

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
for axes, values in ((left, rates), (right, {name: rates[name] - reference for name in order})):
    means = [values[name].mean() for name in order]
    half_widths = [1.96 * values[name].std(ddof=1) / np.sqrt(len(h)) for name in order]
    axes.errorbar(means, order, xerr=half_widths, fmt="o", capsize=3)
    axes.grid(alpha=0.3)
left.set(title="Sum rate of four users at 20 dB", xlabel="sum rate [bit/s/Hz]", xlim=(0, None))
right.set(title="less that of enhanced Type II, same drops", xlabel="difference [bit/s/Hz]")
right.axvline(0, color="0.4", linestyle="--")
left.set_yticks(range(len(order)), [f"{name}, {bits[name]:.0f} bits" for name in order])
figure.tight_layout()

# %% [markdown]
# An interval on the right that holds 0 says: these drops do not tell. More drops would; the half-width falls with
# their square root.
#
# The answer is for UMi, four users, zero forcing. With one user and maximum ratio transmission all come closer; on
# channels unlike their training the networks lose more than codebooks do.
#
# ## What next
#
# - The same comparison as a scenario, with more drops, resumable: `csilink run beat_etype2`; the tables:
#   [codebooks](../codebooks.md), [beamdelay](../beamdelay.md), [ntc](../ntc.md).
# - What networks lose elsewhere: [models](../models.md#outside-their-training-evt).
# - Next tutorial: [moving users](moving_users.py).
