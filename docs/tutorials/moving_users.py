# %% [markdown]
# # 5. Moving users
#
# A report is old when it is used: the user measures, reports, waits for its slot, and the gNB computes. A user at 30
# km/h has another channel by then. This page shows what the delay costs, and what prediction gives back, at the user
# or at the gNB.

# %% [markdown]
# **The scenario** is one mapping, as in a YAML file. Two users outdoors in UMa at 3.5 GHz, 8 ports, a report in every
# slot of 0.5 ms, used four slots later. `history_slots` is the past that a predictor sees.

# %%
scenario = {
    "name": "moving",
    "seed": 5,
    "carrier": {"num_subcarriers": 16, "subcarrier_spacing_hz": 720e3, "granularity": "subcarrier"},
    "bs": {"n1": 4, "n2": 2, "num_pol": 1},
    "ue": {"num_users": 2},
    "time": {"num_slots": 18, "history_slots": 12, "slot_s": 5e-4},
    "channel": {"model": "uma", "indoor_probability": 0, "pathloss": False},
    "uplink": {"delay_slots": 4},
    "precoding": {"precoders": ["zf"]},
    "snr_db": [15],
    "metrics": ["sum_rate_bpshz", "relative_rate", "bits_mean"],
    "sweep": {"ue.speed_mps": [0.8, 8.3, 16.7, 33.3]},
    "run": {"drops": 12, "chunk_drops": 12},
}

# %% [markdown]
# **Three ways to use the same 160 bits.** As they come; predicted by the user, which then reports the channel of four
# slots later; or predicted by the gNB from the last 12 reports. The predictor `ar` fits a linear recursion to the past
# and needs no training. The two lines without quantisation (`perfect`) show how much of the loss is age alone.

# %%
code = {"scheme": "beamdelay", "bits": 160, "explicit": True}
scenario["feedback"] = [
    {"scheme": "perfect", "label": "no quantisation, aged"},
    {"scheme": "perfect", "label": "no quantisation, predicted", "predict": {"at": "ue", "name": "ar", "order": 4}},
    {**code, "label": "160 bits, aged"},
    {**code, "label": "160 bits, predicted at the UE", "predict": {"at": "ue", "name": "ar", "order": 4}},
    {**code, "label": "160 bits, predicted at the gNB", "predict": {"at": "gnb", "name": "ar", "order": 4}},
]

# %% [markdown]
# **Run.** All lines see the same drops and are scored on the same slots. The table has one row for each point and
# metric.

# %%
import csilink

frame = csilink.run(scenario, out="moving", workers=1, report=False)
rate = frame[(frame.metric == "relative_rate") & (frame.precoder == "zf")]
table = rate.pivot(index="scheme", columns="ue.speed_mps", values="value").round(2).rename_axis(None)
table.set_axis([f"{3.6 * speed:.0f} km/h" for speed in table.columns], axis=1)

# %% [markdown]
# `relative_rate` is the sum rate over that with perfect CSI of the slot in which it is used.

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots()
styles = {"no": "--", "160": "-"}
for name, part in rate.groupby("scheme", sort=False):
    axes.errorbar(
        part["ue.speed_mps"] * 3.6,
        part.value,
        part.ci95,
        linestyle=styles[name.split()[0]],
        marker="o",
        capsize=3,
        label=name,
    )
axes.set(xlabel="speed [km/h]", ylabel="share of the sum rate with perfect CSI", ylim=(0, 1.05), xlim=(0, None))
axes.set_title("Reports that are used 2 ms later")
axes.grid(alpha=0.3)
axes.legend(fontsize=8)

# %% [markdown]
# - The user predicts from clean estimates, the gNB from what quantisation left of them. Where errors of quantisation
#   are as large as what happens between slots, a recursion follows the errors.
# - At 120 km/h a user moves 0.8 wavelengths in the delay alone, and prediction by so short a past helps little.
# - `csilink.run` gives intervals of each mean. All lines share their drops, so that differences are surer than the
#   bars say.
#
# ## What next
#
# - Trained predictors (WiFo, LSTM, delay and beam), monitoring, several intervals in one report:
#   [prediction](../prediction.md). The whole sweep: `csilink run mobility`.
# - Reports that are lost, or come every few slots: [uplink](../uplink.md).
# - Next tutorial: [a scheme in your own Sionna link](sionna_link.py).
