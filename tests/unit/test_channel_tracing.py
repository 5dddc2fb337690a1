"""Channel sources are traced as they stand: AutoGraph would convert all of Sionna's Python, which takes seconds."""

import tensorflow as tf

from simulator.core.types import Panel, RadioGeometry
from simulator.phy.source import SionnaSource


class _Watched(SionnaSource):
    def paths(self, batch_size):
        """One path of gain 1; notes whether AutoGraph converts it."""
        self.status = tf.__internal__.autograph.control_status_ctx().status.name
        return tf.ones([batch_size, 1, 1, 1, 2, 1, 1], tf.complex64), tf.zeros([batch_size, 1, 1, 1])


def test_sources_are_not_converted_by_autograph():
    """Nor does a source need it: no state of the conversion is enabled while its graph is traced."""
    source = _Watched(RadioGeometry(3.5e9, Panel(2, 1, 1), 1, 1, 4, 30e3), xla=False)
    assert source.sample(2, seed=1).shape == (2, 1, 1, 2, 1, 4)
    assert source.status != "ENABLED"
