# %% [markdown]
# # 2. Your own autoencoder
#
# A network compresses the channel at the user, another one rebuilds it at the gNB. You write these two networks;
# csilink does the rest: quantiser, bits, link, and the codes to compare with. Here is all of it, trained in less than
# a minute.

# %% [markdown]
# **The scheme.** Derive from `csilink.NetworkFeedback`, give three sizes, `encode` and `decode`. The networks see
# *images*: delay taps by beams, real and imaginary part, unit power. 24 latents of 3 bits are a report of 72 bits.

# %%
import csilink

print("csilink", csilink.__version__)  # import it before Keras, as it chooses kernels of TensorFlow that compute right

# %%
import keras
import numpy as np

keras.utils.set_random_seed(1)
DELAYS, PORTS, LATENTS = 8, 8, 24

encoder = keras.Sequential(
    [
        keras.Input((DELAYS, PORTS, 2)),
        keras.layers.Flatten(),
        keras.layers.Dense(LATENTS, "tanh"),
    ]
)
decoder = keras.Sequential(
    [
        keras.Input((LATENTS,)),
        keras.layers.Dense(256, "gelu"),
        keras.layers.Dense(DELAYS * PORTS * 2),
        keras.layers.Reshape((DELAYS, PORTS, 2)),
    ]
)


class Mine(csilink.NetworkFeedback):
    """One dense layer in the phone, two at the gNB."""

    name, num_delays, num_latents, bits = "mine", DELAYS, LATENTS, 3

    def encode(self, images):
        return encoder(images)

    def decode(self, latents):
        return decoder(latents)


# %% [markdown]
# **Training channels.** A store of 3,200 channels of an urban street, 8 ports at the gNB. It is a recipe and a
# command; in a terminal `csilink dataset generate street.yaml`. We draw 50 drops of 64 users from it; `images` turns
# them into what `encode` will get.

# %%
from pathlib import Path

import yaml

store = {
    "name": "street",
    "seed": 100,
    "carrier": {"num_rb": 24, "granularity": "rb"},
    "bs": {"n1": 4, "n2": 1, "num_pol": 2},
    "parts": [{"channel": {"model": "umi"}}],
    "splits": {"train": 3200, "val": 400, "test": 400},
    "shard_samples": 3200,
}
Path("street.yaml").write_text(yaml.safe_dump(store))
csilink.command("dataset", "generate", "street.yaml")
radio = {"panel": (4, 1, 2), "num_rb": 24}
seen = csilink.channel("recorded", store="datasets/street", split="train", num_users=64, **radio)
train = Mine(seen.config).images(seen.sample(50, seed=1))
train.shape  # image, delay, port, real and imaginary part

# %% [markdown]
# **Training.** The quantiser has 8 cells on [-1, 1]. Rounding has no gradient, so the training adds noise as wide as a
# cell in its place.

# %%
cells = keras.Sequential([encoder, keras.layers.GaussianNoise(2 / 2**3 / np.sqrt(12)), decoder])
steps = 40 * len(train) // 100
rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
cells.compile(keras.optimizers.Adam(rate), "mse")
history = cells.fit(train, train, batch_size=100, epochs=40, verbose=0)

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6.4, 3.2))
axes.plot(10 * np.log10(2 * np.array(history.history["loss"])))  # images have power 1/2 per real number
axes.set(xlabel="epoch", ylabel="NMSE on training images [dB]", title="Training with noise in place of rounding")
axes.grid(alpha=0.3)

# %% [markdown]
# **In the link.** The class is a scheme like any other. Test channels have another seed. Two users, zero forcing at 15
# dB.

# %%
link = csilink.channel("umi", num_users=2, **radio)
h = link.sample(100, seed=1)


def score(name, **params):
    """Mean bits of a report, and the sum rate of every drop in bit/s/Hz."""
    scheme = csilink.feedback(name, link, **params)
    report = scheme.report(h)
    w = csilink.precoder("zf")(scheme.reconstruct(report))
    return report.num_bits.mean(), csilink.rate(h, w, snr_db=15).sum(axis=1)


own_bits, own_rate = score(Mine)
print(f"{own_bits:.0f} bits, {own_rate.mean():.2f} bit/s/Hz")

# %% [markdown]
# **What to compare with.** A network is worth its cost if it beats codes without one, at equal bits: the best linear
# code (Karhunen-Loève transform, KLT), the largest coefficients (`sparse`), and the codebook of 5G (`etype2-r16`). The
# KLT is fitted to the same 3,200 channels.

# %%
recipe = {
    "task": "klt",
    "name": "klt-street",
    "dataset": "street",
    "num_delays": DELAYS,
    "model": {"name": "klt", "params": {"num_components": 64, "num_samples": 1000}},
}
Path("klt.yaml").write_text(yaml.safe_dump(recipe))
csilink.command("train", "klt.yaml")

# %%
others = {
    "KLT": [("klt", {"weights": "checkpoints/klt-street", "bits": bits}) for bits in (40, 72, 100)],
    "sparse": [("sparse", {"bits": bits, "num_delays": DELAYS}) for bits in (40, 72, 100)],
    "enhanced Type II": [("etype2-r16", {"combination": n}) for n in (1, 2, 4)],
    "perfect": [("perfect", {})],
}
curves = {name: [score(scheme, **params) for scheme, params in settings] for name, settings in others.items()}


# %%
def half_width(x):
    """95 % half-width of a mean."""
    return 1.96 * x.std(ddof=1) / np.sqrt(len(x))


figure, axes = plt.subplots()
perfect = curves.pop("perfect")[0][1]
for name, points in {**curves, "mine": [(own_bits, own_rate)]}.items():
    bits, rates = [point[0] for point in points], [point[1] for point in points]
    axes.errorbar(bits, [r.mean() for r in rates], [half_width(r) for r in rates], marker="o", capsize=3, label=name)
axes.axhline(perfect.mean(), color="0.4", linestyle="--", label="perfect CSI")
axes.set(xlabel="mean bits per report", ylabel="sum rate of two users [bit/s/Hz]", ylim=(0, None), xlim=(0, None))
axes.set_title("Your network in the link, zero forcing at 15 dB")
axes.grid(alpha=0.3)
axes.legend()

# %% [markdown]
# At 72 bits, drop by drop on the same channels:

# %%
for name in ("KLT", "sparse"):
    bits, rate = curves[name][1]
    gain = own_rate - rate
    print(
        f"mine ({own_bits:.0f} bits) - {name} ({bits:.0f} bits): {gain.mean():+.2f} ± {half_width(gain):.2f} bit/s/Hz"
    )

# %% [markdown]
# Here the network loses to both: seconds of training on 3,200 channels are not enough. Try more epochs, more channels,
# a hidden layer in the encoder.
#
# Read a result of your own with care, too. One training with one seed says little about the spread of trainings;
# whether twice the training would help says the [doubling test](../training.md#doubling-test). And a network knows the
# channels of its training: elsewhere it may fail where a codebook does not.
#
# ## What next
#
# - Entropy coding, learned quantisers, resumable trainings: [models](../models.md), [training](../training.md).
# - A scheme with other inputs or payloads: [extending](../extending.md#feedback).
#   `csilink.testing.check_feedback_scheme(Mine)` says what is wrong with one.
# - Next tutorial: [from COST 2100 to sum rate](cost2100_to_rate.py).
