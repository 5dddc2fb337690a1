"""Base of all Sionna channel sources: compile once, draw by drop, order ports, hand over NumPy."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import tensorflow as tf

from simulator.core.interfaces import ChannelSource
from simulator.core.types import RadioGeometry
from simulator.phy.drop_draws import drawn, fed, numbers_of
from simulator.phy.ofdm import cir_to_ofdm
from simulator.phy.panels import port_order


class SionnaSource(ChannelSource):
    """A channel source on Sionna path coefficients.

    Args:
        geometry: carrier, antennas, users, time.
        xla: compile with XLA. Costs seconds at the first drop and pays for many; rounding differs between the two
            forms, so the choice belongs to the source, never to the run.
    """

    power_drops = 1024
    power_of_one_element = True  # phases of antennas, slots and subcarriers turn paths of independent phases

    def __init__(self, geometry: RadioGeometry, *, xla: bool):
        self.geometry = geometry
        self._order, self._ue_order = port_order(geometry.panel), port_order(geometry.ue_panel)
        self._function = tf.function(self._response, jit_compile=xla, autograph=False)
        self._plans: dict[int, list] = {}  # by batch size

    @abstractmethod
    def paths(self, batch_size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Path coefficients ``[batch, user, rx_ant, trp, tx_ant, path, time]``, delays ``[batch, user, trp, path]``."""

    def _response(self, batch_size: int, numbers: tf.Tensor) -> tf.Tensor:
        with fed(numbers) as draws:
            h = self._channels(batch_size)
        self._plans[batch_size] = draws.plan
        return h

    def _channels(self, batch_size: int) -> tf.Tensor:
        a, tau = self.paths(batch_size)
        # Ports and antennas are put in order on the paths, which are fewer than the subcarriers.
        a = tf.gather(a, self._order, axis=4)
        if self.geometry.ue_num_rows > 1:  # one row is in order
            a = tf.gather(a, self._ue_order, axis=2)
        n, spacing_hz = self.geometry.num_subcarriers, self.geometry.spacing_hz
        stations = [cir_to_ofdm(a[:, :, :, b : b + 1], tau[:, :, b : b + 1], n, spacing_hz) for b in range(a.shape[3])]
        return stations[0] if len(stations) == 1 else tf.concat(stations, axis=3)

    def sample(self, batch_size: int, *, seed: int, first: int = 0) -> np.ndarray:
        """Channels (see the base class)."""
        batch_size, g = int(batch_size), self.geometry
        if not batch_size:
            shape = (0, g.num_users, g.num_rx_ant, g.panel.num_ports, g.num_slots, g.num_subcarriers)
            return np.empty(shape, np.complex64)
        if tf.config.functions_run_eagerly():
            with drawn(batch_size, seed=seed, first=first):
                return self._channels(batch_size).numpy()
        spec = tf.TensorSpec([batch_size, None], tf.float32)
        function = self._function.get_concrete_function(batch_size, spec)
        return function(tf.constant(numbers_of(self._plans[batch_size], batch_size, seed, first))).numpy()

    @property
    def sampling_hz(self) -> float:
        """Time samples per second, one per slot [Hz]."""
        return 1.0 / self.geometry.slot_s
