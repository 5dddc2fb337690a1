"""Table of the cost of every model."""

from __future__ import annotations

import sys

import pandas as pd

from receivers.models.cost import count_cost
from simulator.core import registry
from simulator.core.errors import ConfigError

# Latents of 32 x 32 images at compression 1/4 .. 1/64.
LATENTS = (512, 256, 128, 64, 32)


def cost_table() -> pd.DataFrame:
    """Parameters and multiply-accumulates of one sample of 32 x 32 (``evt``: 13 subbands x 32 ports).

    ``macs_published`` counts convolution and dense layers as the papers do, ``macs_thop`` normalisations as well;
    ``macs`` counts attention, scans and GDN too.
    """
    rows = []
    for name in registry.names("models"):
        if name == "klt":
            continue
        for latents in LATENTS if name not in ("learned_transform", "evt") else (None,):
            try:
                model = registry.build("models", name, **({} if latents is None else {"num_latents": latents}))
            except ConfigError as error:  # a broken guest, or one with other parameters
                print(f"left out: {error}", file=sys.stderr)
                break
            encoder, decoder = count_cost(model.encoder), count_cost(model.decoder)
            total = encoder + decoder
            rows.append(
                {
                    "model": name,
                    "latents": model.num_latents,
                    "params": total.params,
                    "macs_published": total.macs_published,
                    "macs_thop": total.macs_thop,
                    "macs": total.macs,
                    "encoder_params": encoder.params,
                    "encoder_published": encoder.macs_published,
                    "encoder_thop": encoder.macs_thop,
                    "encoder_macs": encoder.macs,
                }
            )
    return pd.DataFrame(rows)
