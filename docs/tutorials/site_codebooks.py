# %% [markdown]
# # 7. A codebook for one site
#
# A codebook of a standard serves every street of the world. A base station serves one, and always sees the same walls.
# How much does a codebook gain that was learned from the channels of its own site? We trace one street, learn
# codebooks with the generalised Lloyd algorithm (LBG), and test them at points that they have not seen.

# %% [markdown]
# **A traced site.** `simple_street_canyon` is the smallest scene of Sionna RT: six houses along a street. The rays
# from the gNB to 400 points of the street are traced once and kept. The tracer needs the library libLLVM (on Debian
# `apt-get install libllvm19`); without it this page ends here.

# %%
import csilink

site = {
    "model": "site",
    "scene": "simple_street_canyon",
    "bs_position_m": [-35, 0, 25],
    "look_at_m": [20, 5, 1.5],
    "area_center_m": [10, 0],
    "area_size_m": [70, 20],
    "num_points": 400,
    "num_rays": 20000,
    "max_depth": 3,
}
radio = {"panel": (8, 1, 2), "num_rb": 24}
try:
    street = csilink.channel(site["model"], **{k: v for k, v in site.items() if k != "model"}, **radio)
except ValueError as error:
    raise SystemExit(str(error)) from None

# %% [markdown]
# **Two data sets**, of the street and of UMi channels in general. Points of the street are split before anything is
# learned, so that no point is in training and test.

# %%
from pathlib import Path

import yaml


def recipe(name, channel, samples):
    """Recipe of a data set: 16 ports, 24 resource blocks."""
    return {
        "name": name,
        "seed": 7,
        "carrier": {"num_rb": 24, "granularity": "rb"},
        "bs": {"n1": 8, "n2": 1, "num_pol": 2},
        "parts": [{"channel": channel}],
        "splits": samples,
        "shard_samples": 1000,
    }


Path("street.yaml").write_text(yaml.safe_dump(recipe("street", site, {"all": 1200})))
Path("general.yaml").write_text(
    yaml.safe_dump(recipe("general", {"model": "umi"}, {"train": 1200, "val": 400, "test": 400}))
)
csilink.command("dataset", "generate", "street.yaml")
csilink.command("dataset", "generate", "general.yaml")
csilink.command(
    *("dataset", "split", "datasets/street", "--by", "user", "--out", "datasets/street_by_point"),
    *("--share", "train=6", "--share", "val=1", "--share", "test=3"),
)

# %% [markdown]
# **Codebooks.** One beam for the whole band from 2^B beams, B = 2, 4 and 6, learned from each data set.

# %%
SIZES = (2, 4, 6)
for name, store in (("street", "street_by_point"), ("general", "general")):
    for bits in SIZES:
        book = {
            "task": "codebook",
            "name": f"{name}-{bits}",
            "seed": 1,
            "environments": {name: store},
            "bits": bits,
            "method": "lbg",
        }
        Path("book.yaml").write_text(yaml.safe_dump(book))
        csilink.command("train", "book.yaml")

# %% [markdown]
# **At unseen points of the street**, one user, precoded with the reported beam (maximum ratio transmission). Score:
# the received power against that of the best beam for each resource block, in dB.

# %%
import numpy as np

unseen = csilink.channel("recorded", store="datasets/street_by_point", split="test", **radio)
h = unseen.sample(300, seed=1)


def loss_db(name, points=120, **params):
    """Bits, and received power in dB below that of a beam for each resource block: mean and 95 % half-width."""
    scheme = csilink.feedback(name, unseen, **params)
    report = scheme.report(h)
    w = csilink.precoder("mrt")(scheme.reconstruct(report))
    row = h[:, 0, 0]  # drop, port, resource block
    power = np.abs(np.einsum("bps,bsp->bs", row, w[..., 0])) ** 2
    num = 1 / (1 / len(h) + 1 / points)  # drops that repeat the same points count for less
    loss = 10 * np.log10(np.sum(np.abs(row) ** 2, axis=(1, 2)) / power.sum(axis=1))
    return report.num_bits.mean(), loss.mean(), 1.96 * loss.std(ddof=1) / np.sqrt(num)


curves = {
    "learned from this street": [loss_db("codebook", path=f"checkpoints/street-{bits}") for bits in SIZES],
    "learned from UMi": [loss_db("codebook", path=f"checkpoints/general-{bits}") for bits in SIZES],
    "random (RVQ)": [loss_db("rvq", bits=bits) for bits in SIZES],
    "DFT beams": [loss_db("dft")],
}

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots()
for name, points in curves.items():
    bits, loss, half_widths = zip(*points)
    axes.errorbar(bits, loss, half_widths, marker="o", capsize=3, label=name)
axes.set(xlabel="bits per report", ylabel="loss of received power [dB]", ylim=(0, None), xlim=(0, None))
axes.set_title("One beam for the band, unseen points of the street")
axes.grid(alpha=0.3)
axes.legend()

# %% [markdown]
# **The other way round**: the codebook of the street on general UMi channels.

# %%
h, unseen = csilink.channel("umi", **radio).sample(300, seed=1), csilink.channel("umi", **radio)
for name in ("street", "general"):
    bits, loss, half = loss_db("codebook", points=np.inf, path=f"checkpoints/{name}-4")
    print(f"codebook of {name}, {bits:.0f} bits, on UMi: {loss:.2f} ± {half:.2f} dB")

# %% [markdown]
# The street's codebook does not waste words on directions where nobody stands. On other channels it has none for them.
#
# The points of this test are few and near to those of the training: 120 of one street. The intervals count the 300
# drops as drops from 120 points; they say nothing about other streets.
#
# ## What next
#
# - Larger scenes: `csilink run site_munich` ([channels](../channels.md#a-traced-site)). Learned codebooks with several
#   environments, refined by networks: [codebooks](../codebooks.md#from-files).
# - Your own traced or measured channels: [recorded](../recorded.md).
# - Next tutorial: [two vendors](two_vendors.py).
