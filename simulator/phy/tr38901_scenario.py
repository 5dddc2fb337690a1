"""UMi, UMa and RMa scenarios of TR 38.901: Sionna's, with our corrections of distances, states and path loss."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
from sionna.phy import SPEED_OF_LIGHT, config
from sionna.phy.channel.tr38901 import RMaScenario, UMaScenario, UMiScenario

from simulator.phy.tr38901_corrections import SYSTEM


def _log10(x: tf.Tensor) -> tf.Tensor:
    return tf.math.log(x) / math.log(10.0)


def _uniform(shape: list[Any], name: str) -> tf.Tensor:
    return config.tf_rng.uniform(shape, dtype=tf.float32, name=name)


class _Corrected:
    """Mixin over a Sionna scenario; each correction is on only if it is named (see :mod:`tr38901_corrections`)."""

    def __init__(self, *args: Any, corrections: tuple[str, ...] = SYSTEM, **kwargs: Any):
        self.corrections = frozenset(corrections)
        super().__init__(*args, **kwargs)

    @property
    def distance_3d(self) -> tf.Tensor:
        """Distance of gNB and UE in space [m], ``[batch, bs, ue]``."""
        return self._distance_3d if "distance-3d" in self.corrections else super().distance_3d

    def _compute_distance_2d_3d_and_angles(self) -> None:
        super()._compute_distance_2d_3d_and_angles()
        if "los-zenith" in self.corrections:
            self._los_zoa = 180.0 - self._los_zod

    def _sample_indoor_distance(self) -> None:
        if "indoor-distance" not in self.corrections:
            return super()._sample_indoor_distance()
        low, high = self.min_2d_in, self.max_2d_in
        shape = [self.batch_size, 1, self.num_ut]
        inside = low + (high - low) * tf.minimum(_uniform(shape, "indoor distance"), _uniform(shape, "indoor distance"))
        inside *= tf.cast(self.indoor[:, None], tf.float32)
        self._distance_2d_in = tf.broadcast_to(inside, tf.shape(self.distance_2d))
        # The indoor distance drawn for a UE near the mast may exceed its distance to the mast.
        self._distance_2d_out = tf.maximum(self.distance_2d - inside, 0.0)
        self._distance_3d_out = self.distance_3d * self._distance_2d_out / self.distance_2d
        self._distance_3d_in = self.distance_3d - self._distance_3d_out
        return None

    def _sample_los(self) -> None:
        if "indoor-los" not in self.corrections:
            return super()._sample_los()
        indoor = self.indoor[:, None]
        drawn = _uniform(list(tf.unstack(tf.shape(self.distance_2d))), "los") < self.los_probability
        forced = self._requested_los
        # A forced state is that of outdoor UEs.
        self._outdoor_los = drawn if forced is None else tf.where(indoor, drawn, forced)
        # Fast fading of all indoor UEs has the parameters "O2I" of Table 7.5-6.
        self._los = self._outdoor_los & ~indoor
        return None

    def _compute_pathloss_basic(self) -> None:
        los = self._los
        if "indoor-los" in self.corrections:
            self._los = self._outdoor_los
        self._basic_pathloss()
        self._los = los

    def _basic_pathloss(self) -> None:
        super()._compute_pathloss_basic()


class CorrectedUMi(_Corrected, UMiScenario):
    """Urban micro cell, street canyon."""

    def clip_carrier_frequency_lsp(self, fc: tf.Tensor) -> tf.Tensor:
        """Carrier frequency [GHz] of Table 7.5-6, note 6."""
        return tf.maximum(fc, 2.0)


class CorrectedRMa(_Corrected, RMaScenario):
    """Rural macro cell."""

    def _compute_lsp_log_mean_std(self) -> None:
        super()._compute_lsp_log_mean_std()
        if "rma-zod-offset" in self.corrections:
            d = self.distance_2d
            offset = (tf.atan((35 - 3.5) / d) - tf.atan((35 - 1.5) / d)) * (180 / math.pi)
            self._zod_offset = tf.where(self.los, 0.0, offset)


class CorrectedUMa(_Corrected, UMaScenario):
    """Urban macro cell."""

    def clip_carrier_frequency_lsp(self, fc: tf.Tensor) -> tf.Tensor:
        """Carrier frequency [GHz] of Table 7.5-6, note 6."""
        return tf.maximum(fc, 6.0)

    def _compute_lsp_log_mean_std(self) -> None:
        # Sionna compares the carrier frequency, a tensor of the graph, in Python.
        tf.autograph.to_graph(UMaScenario._compute_lsp_log_mean_std, recursive=False)(self)

    def _basic_pathloss(self) -> None:
        """Table 7.4.1-1, UMa, with the effective environment height of its note 1."""
        if "effective-height" not in self.corrections:
            return super()._basic_pathloss()
        d2, d3 = self.distance_2d, self.distance_3d
        h_bs, h_ut = self.h_bs[:, :, None], self.h_ut[:, None]
        fc_hz = self.carrier_frequency
        h_e = self.effective_height(d2, h_ut)
        breakpoint = 4 * (h_bs - h_e) * (h_ut - h_e) * fc_hz / SPEED_OF_LIGHT
        frequency = 20 * _log10(fc_hz / 1e9)
        near = 28.0 + 22 * _log10(d3) + frequency
        far = 28.0 + 40 * _log10(d3) + frequency - 9 * _log10(breakpoint**2 + (h_bs - h_ut) ** 2)
        los = tf.where(d2 < breakpoint, near, far)
        nlos = tf.maximum(los, 13.54 + 39.08 * _log10(d3) + frequency - 0.6 * (h_ut - 1.5))
        self._pl_b = tf.where(self.los, los, nlos)
        return None

    @staticmethod
    def effective_height(d_2d: tf.Tensor, h_ut: tf.Tensor) -> tf.Tensor:
        r"""Effective environment height :math:`h_E` [m] of every link.

        1 m with probability :math:`1/(1 + C(d_\mathrm{2D}, h_\mathrm{UT}))`, else uniform over
        :math:`\{12, 15, \dots, h_\mathrm{UT} - 1.5\}`.

        Args:
            d_2d: horizontal distance [m], ``[batch, bs, ue]``.
            h_ut: UE height [m], broadcasts to ``d_2d``.
        """
        g = tf.where(d_2d <= 18.0, 0.0, 1.25 * (d_2d / 100) ** 3 * tf.exp(-d_2d / 150))
        c = g * (tf.maximum(h_ut - 13.0, 0.0) / 10) ** 1.5
        steps = tf.maximum(tf.floor((h_ut - 13.5) / 3), 0.0)
        shape = list(tf.unstack(tf.shape(d_2d)))
        step = tf.minimum(tf.floor(_uniform(shape, "height step") * (steps + 1)), steps)
        return tf.where(_uniform(shape, "height") < 1 / (1 + c), 1.0, 12.0 + 3 * step)
