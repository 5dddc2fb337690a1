"""Sionna's global seed: the only place that writes it."""

from __future__ import annotations

import hashlib

import numpy as np
from sionna.phy import config

from simulator.core.seeding import derive


def set_seed(seed: int) -> None:
    """Seed Sionna's TensorFlow, NumPy and Python generators, each from a hash of ``seed`` and its name.

    TensorFlow's generator is Philox, ``[counter, counter, key]`` (words of 64 bits), and takes a plain seed as its
    counter: seeds k and k + 1 would give one stream, shifted by one. All three words are hashed here; a hashed counter
    alone would leave streams of one key, which overlap as soon as there are many of them.

    Sionna replaces its NumPy generator on this call, so no reference to ``config.np_rng`` may be kept.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    config.seed = derive(seed, "sionna")
    digest = hashlib.sha256(f"philox {int(seed)}".encode()).digest()
    config.tf_rng.reset(np.frombuffer(digest, "<i8", 3))
