# %% [markdown]
# # 8. Two vendors
#
# The encoder runs in a phone of vendor A, the decoder in a base station of vendor B. Neither shows the other its
# network. What they have in common is the bits. This page exports A's encoder, runs it as a phone would, and lets B
# train a decoder from pairs of bits and channels (TR 38.843 calls it training of type 3, UE first).

# %% [markdown]
# **Vendor A exports its encoder**: graph, description of the bits, and golden vectors. The command then runs the graph
# in a process that cannot import csilink, and compares every bit. In a terminal: `csilink export evt-80 --side ue
# --out from-a`.

# %%
import json
from pathlib import Path

import csilink

csilink.command("export", "evt-80", "--side", "ue", "--out", "from-a")
codec = json.loads(Path("from-a/codec.json").read_text())
print("files:", *sorted(path.name for path in Path("from-a").iterdir()))
print("graph:", codec["graph"])
print("latent:", {key: codec["latent"][key] for key in ("quantizer", "bits")}, "coder:", codec["coder"])

# %% [markdown]
# **The phone** has Keras and this folder, and writes its own quantiser from the description: 40 numbers in [-1, 1],
# four cells each, two bits for the number of the cell. The golden bits say whether it got that right. (A program
# without csilink imports `csilink_layers.py` of the folder before it loads the graph, as the command has just done.)

# %%
import keras
import numpy as np

encoder = keras.models.load_model("from-a/model.keras")
golden = np.load("from-a/golden.npz")
cell = np.clip(np.floor((np.asarray(encoder(golden["image"])) + 1) * 2), 0, 3).astype(int)
bits = np.stack([cell >> 1, cell & 1], axis=-1).reshape(len(cell), -1)
print("bits of a report:", bits.shape[1], "- equal to the golden ones:", np.array_equal(bits, golden["bits"]))

# %% [markdown]
# **What A gives to B**: reports, and the directions they stand for. For one antenna at the user that is, for every
# subband of four resource blocks, the precoder that receives most power.

# %%
link = csilink.channel("umi", panel=(8, 2, 2), num_users=2, num_rb=52)
vendor_a = csilink.feedback("eigenvector", link, weights="evt-80")


def directions(h):
    """Best precoder of every subband, complex [user, subband, port]."""
    a = np.swapaxes(h[:, :, 0].reshape(-1, 32, 13, 4), 1, 2).swapaxes(2, 3)  # user, subband, resource block, port
    _, u = np.linalg.eigh(a @ np.conj(np.swapaxes(a, 2, 3)))
    w = np.conj(np.swapaxes(a, 2, 3)) @ u[..., -1:]
    return (w / np.linalg.norm(w, axis=2, keepdims=True))[..., 0]


h = link.sample(1000, seed=100)
reports, wanted = vendor_a.report(h).bits.reshape(-1, 80).astype(np.float32), directions(h)
print("pairs:", reports.shape, wanted.shape)

# %% [markdown]
# **Vendor B trains a decoder** of its own kind, two dense layers from 80 bits to 13 directions. The loss is 1 - SGCS,
# the squared cosine between direction and decoded direction, which ignores the phase.


# %%
def decode(network, bits):
    """Directions of reports, complex [user, subband, port], unit norm."""
    x = np.asarray(network(2 * bits - 1))
    w = x[..., 0] + 1j * x[..., 1]
    return w / np.linalg.norm(w, axis=-1, keepdims=True)


def loss(w, x):
    """1 - SGCS of real and imaginary parts [user, subband, port, 2]."""
    ops = keras.ops
    real = ops.sum(w * x, axis=(-2, -1))
    imag = ops.sum(w[..., 0] * x[..., 1] - w[..., 1] * x[..., 0], axis=-1)
    return 1 - ops.mean((real**2 + imag**2) / ops.sum(x**2, axis=(-2, -1)), axis=-1)


def train(pairs):
    """Decoder from the first pairs, always 400 steps."""
    keras.utils.set_random_seed(1)
    layers = [keras.Input((80,)), keras.layers.Dense(256, "gelu"), keras.layers.Dropout(0.1)]
    network = keras.Sequential([*layers, keras.layers.Dense(13 * 32 * 2), keras.layers.Reshape((13, 32, 2))])
    network.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, 400)), loss)
    w = np.stack([wanted.real, wanted.imag], axis=-1)[:pairs]
    network.fit(2 * reports[:pairs] - 1, w, batch_size=100, epochs=400 * 100 // pairs, verbose=0)
    return network


PAIRS = (250, 1000, 2000)
decoders = {pairs: train(pairs) for pairs in PAIRS}

# %% [markdown]
# **Through the link.** The reports of new users, decoded by A's own decoder and by B's; and two sizes of the codebook,
# which needs no agreement beyond the standard. To hand B's directions to a precoder, they are put into
# `CsiReconstruction`, what every scheme returns; that type is one floor below `csilink`.

# %%
from simulator.core.types import CsiReconstruction

h = link.sample(64, seed=1)
report, truth = vendor_a.report(h), directions(h)


def score(w):
    """SGCS of every drop, and sum rate at 15 dB of every drop; w [user of a drop, subband, port]."""
    sgcs = np.abs(np.sum(np.conj(w) * truth, axis=-1)) ** 2
    known = CsiReconstruction(w=np.moveaxis(w.reshape(64, 2, 1, 13, 32), -1, 2).astype(np.complex64))
    rate = csilink.rate(h, csilink.precoder("zf", link)(known), snr_db=15).sum(axis=1)
    return sgcs.mean(axis=1).reshape(64, 2).mean(axis=1), rate


def of_scheme(scheme):
    """Directions that a scheme of csilink decodes."""
    return np.moveaxis(scheme.reconstruct(scheme.report(h)).w[..., 0, :], 2, -1).reshape(-1, 13, 32)


scores = {
    f"B, {pairs} pairs": score(decode(decoders[pairs], report.bits.reshape(-1, 80).astype(np.float32)))
    for pairs in PAIRS
}
scores["A's own decoder, 80 bits"] = score(of_scheme(vendor_a))
for n, bits in ((1, 64), (2, 94)):
    scores[f"enhanced Type II, {bits} bits"] = score(of_scheme(csilink.feedback("etype2-r16", link, combination=n)))

# %%
import matplotlib.pyplot as plt


def half_width(x):
    """95 % half-width of a mean."""
    return 1.96 * x.std(ddof=1) / np.sqrt(len(x))


figure, panels = plt.subplots(1, 2, figsize=(9, 3.8))
for axes, which, label in zip(panels, (0, 1), ("SGCS", "sum rate of two users [bit/s/Hz]")):
    own = [scores[f"B, {pairs} pairs"][which] for pairs in PAIRS]
    axes.errorbar(
        PAIRS,
        [x.mean() for x in own],
        [half_width(x) for x in own],
        marker="o",
        capsize=3,
        label="B's decoder, 80 bits",
    )
    for number, name in enumerate(list(scores)[len(PAIRS) :]):
        mean, half = scores[name][which].mean(), half_width(scores[name][which])
        axes.axhline(mean, color=f"C{number + 1}", linestyle="--", label=name)
        axes.axhspan(mean - half, mean + half, color=f"C{number + 1}", alpha=0.12, linewidth=0)
    axes.set(xlabel="pairs that B got from A", ylabel=label, ylim=(0, None), xlim=(0, None))
    axes.grid(alpha=0.3)
panels[0].set_title("Encoder of A, decoder of B")
panels[1].set_title("zero forcing at 15 dB")
panels[0].legend(fontsize=8)
figure.tight_layout()

# %% [markdown]
# B against A's own decoder, on the same drops:

# %%
gap = scores[f"B, {PAIRS[-1]} pairs"][0] - scores["A's own decoder, 80 bits"][0]
print(f"SGCS, B with {PAIRS[-1]} pairs less A: {gap.mean():+.3f} ± {half_width(gap):.3f}")

# %% [markdown]
# With 250 pairs B learns the pairs by heart, and little about others. A's decoder was trained jointly with its encoder
# on 90,000 channels. B saw 2,000 pairs and trained for seconds, and knows nothing of A's network but the meaning of
# the bits.
#
# ## What next
#
# - Formats for a phone (ONNX, LiteRT, eight bits), `--side gnb`, and how an export is checked:
#   [models](../models.md#taking-a-model-elsewhere).
# - What the encoder costs: [UE cost](../ue_cost.md).
# - A codebook that a network only reads, so that vendors share the standard's bits: [refinement](../refinement.md).
# - Back to the start: [README](../../README.md).
