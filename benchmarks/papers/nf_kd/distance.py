"""Is the divergence of NF-KD more than a mean squared error? Measured between teacher and students."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from benchmarks.papers.nf_kd.curves import decode_prefix, test_images
from receivers.weights.folder import TrainedModel
from simulator.data.store import ChannelStore

TEMPERATURE = 5.0


def kl_share(plan: dict[str, Any], stores: dict[str, ChannelStore], out: Path) -> pd.DataFrame:
    r"""Tau^2 KL of NF-KD, and half the variance of the difference to the teacher, mean over 500 test images.

    Also their correlation over the images: 1 means that both losses order and weight all images alike.
    """
    rows = []
    for data, store in stores.items():
        teacher = TrainedModel(str(out / data / "teacher"))
        x = test_images(teacher, store, 500)
        target = decode_prefix(teacher, (teacher.encode(x) > 0).astype(np.float32), teacher.input.num_latents)
        student = TrainedModel(str(out / data / f"nf_kd_0.3-s{plan['seeds'][data][0]}"))
        bits = (student.encode(x) > 0).astype(np.float32)
        for num_bits in plan["bits"]:
            t, s = (v.reshape(len(x), -1).astype(np.float64) for v in (target, decode_prefix(student, bits, num_bits)))
            log_t, log_s = log_softmax(t / TEMPERATURE, axis=1), log_softmax(s / TEMPERATURE, axis=1)
            kl = TEMPERATURE**2 * np.sum(np.exp(log_t) * (log_t - log_s), axis=1)
            half = 0.5 * np.var(t - s, axis=1)
            row = {"data": data, "bits": num_bits, "kl": kl.mean(), "half_variance": half.mean()}
            rows.append({**row, "ratio": kl.mean() / half.mean(), "correlation": np.corrcoef(kl, half)[0, 1]})
    return pd.DataFrame(rows)
