"""Rays of TR 38.901, 7.5 steps 5 to 9: Sionna's, with our corrections of angles and couplings."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from sionna.phy import config
from sionna.phy.channel.tr38901 import LSP, Rays, RaysGenerator

# Table 7.5-3, in the order of Sionna: ray 2k + 1 and ray 2k + 2 at plus and minus one angle.
RAY_OFFSETS = np.outer(
    [0.0447, 0.1413, 0.2492, 0.3715, 0.5129, 0.6797, 0.8844, 1.1481, 1.5195, 2.1551], [1, -1]
).reshape(-1)
# Table 7.5-5: sub-cluster of every ray.
SUB_CLUSTER = np.array([0] * 8 + [1] * 4 + [2] * 4 + [1] * 2 + [0] * 2)
_PLACE = np.argsort(np.argsort(SUB_CLUSTER, kind="stable"))
_LINK_TENSORS = {"los", "los_aod", "los_aoa", "los_zod", "los_zoa", "zod_offset", "lsp_log_mean"}


class CorrectedRays(RaysGenerator):
    """Rays of all links of a scenario; the corrections are those of the scenario."""

    def __init__(self, scenario: Any):
        self._links, corrections = scenario, scenario.corrections
        super().__init__(_LinksAsBatch(scenario) if "link-rays" in corrections else scenario)
        if "ray-offsets" in corrections:
            self._ray_offsets = tf.constant(RAY_OFFSETS, self.rdtype)
        self._without_weak = "weak-clusters" in corrections
        self._by_sub_cluster = "sub-clusters" in corrections

    def __call__(self, lsp: LSP) -> Rays:
        """Rays, every tensor ``[batch, bs, ue, cluster(, ray)]``."""
        if self._scenario is self._links:
            return super().__call__(lsp)
        shape = tf.shape(lsp.ds)
        rays = super().__call__(LSP(**{key: _fold(getattr(lsp, key)) for key in _LSP_FIELDS}))
        for key in ("delays", "powers", "aoa", "aod", "zoa", "zod", "xpr"):
            x = getattr(rays, key)
            setattr(rays, key, tf.reshape(x, tf.concat([shape, tf.shape(x)[3:]], 0)))
        return rays

    def _cluster_powers(self, *args: Any) -> tuple[tf.Tensor, tf.Tensor]:
        powers, for_angles = super()._cluster_powers(*args)
        if self._without_weak:  # by the powers of (7.5-6), those of the coefficients
            powers = tf.where(powers < 10**-2.5 * tf.reduce_max(powers, axis=-1, keepdims=True), 0.0, powers)
        self._strongest = powers >= tf.math.top_k(powers, 2).values[..., -1:]
        return powers, for_angles

    def _shuffle_angles(self, angles: tf.Tensor) -> tf.Tensor:
        """A random order of the rays of every cluster; in the two strongest within each sub-cluster (step 8)."""
        if not self._by_sub_cluster:
            return super()._shuffle_angles(angles)
        key = config.tf_rng.uniform(tf.shape(angles), dtype=tf.float32, name="coupling")
        key += tf.where(self._strongest[..., None], tf.constant(SUB_CLUSTER, tf.float32), 0.0)
        return tf.gather(angles, tf.gather(tf.argsort(key), _PLACE, axis=-1), batch_dims=4)


_LSP_FIELDS = ("ds", "asd", "asa", "sf", "k_factor", "zsa", "zsd")


def _fold(x: tf.Tensor) -> tf.Tensor:
    """``[batch, bs, ue, ...]`` to ``[batch * bs * ue, 1, 1, ...]``."""
    return tf.reshape(x, tf.concat([[-1, 1, 1], tf.shape(x)[3:]], 0))


class _LinksAsBatch:
    """A scenario as Sionna's ray generator reads it, with every link a batch entry of one gNB and one UE."""

    batch_size: Any
    num_bs = num_ut = 1

    def __init__(self, scenario: Any):
        self._scenario = scenario

    def __getattr__(self, name: str) -> Any:
        scenario = self._scenario
        if name == "batch_size":
            return scenario.batch_size * scenario.num_bs * scenario.num_ut
        if name == "indoor":
            return _fold(tf.broadcast_to(scenario.indoor[:, None], tf.shape(scenario.los)))[:, 0]
        value = getattr(scenario, name)
        return _fold(value) if name in _LINK_TENSORS else value

    def get_param(self, name: str) -> tf.Tensor:
        """Parameter of every link."""
        return _fold(self._scenario.get_param(name))
