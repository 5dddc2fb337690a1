# %% [markdown]
# # 6. A scheme in your own Sionna link
#
# You have a link in Sionna: bits, LDPC, QAM, OFDM, a channel. It precodes with perfect CSI, as examples do.
# `scheme.block()` puts the feedback between channel and precoder: a `sionna.phy.Block` that takes the channel at the
# users and returns the channel at the gNB, through bits.

# %% [markdown]
# **A Sionna link.** Two users in an urban street, 16 antennas at the gNB, 48 subcarriers, 16-QAM, rate 1/2. After the
# import of csilink everything is Sionna's. The SNR is that of a stream.

# %%
import csilink

print("csilink", csilink.__version__)  # import it before TensorFlow, as it chooses kernels that compute right

# %%
import numpy as np
import sionna
import tensorflow as tf
from sionna.phy.channel import ApplyOFDMChannel, GenerateOFDMChannel, gen_single_sector_topology
from sionna.phy.channel.tr38901 import Antenna, AntennaArray, UMi
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import BinarySource, Demapper, Mapper
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEEqualizer, LSChannelEstimator, ResourceGrid, ResourceGridMapper, RZFPrecoder

CARRIER_HZ, USERS = 3.5e9, 2
sionna.phy.config.seed = 1

ue = Antenna(polarization="single", polarization_type="V", antenna_pattern="omni", carrier_frequency=CARRIER_HZ)
gnb = AntennaArray(2, 4, "dual", "cross", "38.901", CARRIER_HZ)  # 2 rows, 4 columns
umi = UMi(CARRIER_HZ, "low", ue, gnb, "downlink", enable_pathloss=False, enable_shadow_fading=False)
grid = ResourceGrid(
    14, 48, 30e3, num_streams_per_tx=USERS, pilot_pattern="kronecker", pilot_ofdm_symbol_indices=[2, 11]
)
streams = StreamManagement(np.ones((USERS, 1)), USERS)
channel = GenerateOFDMChannel(umi, grid, normalize_channel=True)

num_bits = 4 * int(grid.num_data_symbols)
source, encoder = BinarySource(), LDPC5GEncoder(num_bits // 2, num_bits)
mapper, place = Mapper("qam", 4), ResourceGridMapper(grid)
precoder, transmit = RZFPrecoder(grid, streams, return_effective_channel=True), ApplyOFDMChannel()
estimator, equalizer = LSChannelEstimator(grid, interpolation_type="lin"), LMMSEEqualizer(grid, streams)
demapper, decoder = Demapper("app", "qam", 4), LDPC5GDecoder(encoder, num_iter=8)


def drops(batch):
    """Channels of new users [batch, rx, rx_ant, tx, tx_ant, symbol, subcarrier]."""
    umi.set_topology(*gen_single_sector_topology(batch, USERS, "umi"))
    return channel(batch)


# %% [markdown]
# **The link with a gap.** `h_hat` is what the gNB knows. Users estimate the precoded channel from pilots, so they need
# no knowledge of the precoder.


# %%
@tf.function
def blocks_in_error(h, h_hat, no):
    """Whether the transport block of each user was lost, [batch, user]."""
    bits = source([len(h), 1, USERS, num_bits // 2])
    x, _ = precoder(place(mapper(encoder(bits))), h_hat, alpha=no)
    y = transmit(x, h, no)
    estimate, error = estimator(y, no)
    symbols, no_eff = equalizer(y, estimate, error, no)
    found = decoder(demapper(symbols, no_eff))
    return tf.reduce_any(found != bits, axis=-1)[:, 0]


# %% [markdown]
# **The block.** Sizes must be those of the link: panel, 4 resource blocks of 12 subcarriers, a frequency sample for
# each. Axes, and the order of antennas, are Sionna's.

# %%
h = drops(4)
etype2 = csilink.feedback(
    "etype2-r16", panel=(4, 2, 2), num_rb=4, granularity="subcarrier", subband_rb=12, combination=1
)
h_hat, bits = etype2.block()(h)
print("channel at the users", h.shape, "and at the gNB", h_hat.shape)
print("bits of each report:", np.unique(bits))

# %% [markdown]
# **Block errors.** The same drops for every scheme and SNR. With 120 blocks for a point, an interval is needed;
# Wilson's is right near 0 and 1, too.


# %%
def wilson(errors):
    """Block error rate and its 95 % interval."""
    errors, z = np.asarray(errors), 1.96
    n, p = errors.size, errors.mean()
    centre, half = (
        (p + z**2 / (2 * n)) / (1 + z**2 / n),
        z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)),
    )
    return p, max(centre - half, 0), min(centre + half, 1)


link = {"panel": (4, 2, 2), "num_rb": 4, "granularity": "subcarrier", "subband_rb": 12}
schemes = {
    "perfect CSI": csilink.feedback("perfect", **link),
    "beamdelay": csilink.feedback("beamdelay", **link, bits=48),
    "enhanced Type II": csilink.feedback("etype2-r16", **link, combination=6),
    "Type I": csilink.feedback("type1", **link),
}
snrs_db = np.arange(0, 15, 4)
h = drops(60)
rates, lengths = {}, {}
for name, scheme in schemes.items():
    h_hat, bits = scheme.block()(h)
    lengths[name] = np.mean(bits)
    rates[name] = [wilson(blocks_in_error(h, h_hat, tf.constant(10 ** (-snr / 10), tf.float32))) for snr in snrs_db]

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots()
for name, points in rates.items():
    p, low, high = np.array(points).T
    label = name if name == "perfect CSI" else f"{name}, {lengths[name]:.0f} bits"
    axes.errorbar(snrs_db, p, [p - low, high - p], marker="o", capsize=3, label=label)
axes.set(xlabel="SNR [dB]", ylabel="block error rate", ylim=(-0.02, 1.02))
axes.set_title("Two users, 16-QAM, rate 1/2: Sionna link with feedback")
axes.grid(alpha=0.3)
axes.legend()

# %% [markdown]
# With 9 bits the curve falls slowly, and stays far above the others: the users disturb each other, and more power makes
# both louder.
#
# The block runs eagerly and inside `tf.function`, not under XLA, and no gradient flows through it: reports are bits.
#
# ## What next
#
# - What the block does with axes, antennas and resource blocks is in the docstring of `Feedback.block`
#   ([Python](../../README.md#from-python)).
# - csilink's own link has link adaptation and transport blocks: [throughput](../throughput.md).
# - Next tutorial: [site-specific codebooks](site_codebooks.py).
