"""TensorFlow without graphs: the same draws and trainings, where tracing costs more than a few calls."""

from contextlib import contextmanager
from unittest import mock


@contextmanager
def eagerly(on=True):
    """Sources draw operation by operation; a system-level source takes 4 s to trace for every new batch size.

    Args:
        on: False: with graphs again, for part of a test.
    """
    import keras
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(on)
    try:
        if on and keras.backend.backend() == "tensorflow":
            fused = {"_backend_update_step": fused_adam, "_apply_weight_decay": decay_at_one_rate}
            with mock.patch.multiple(keras.optimizers.Adam, **fused):
                yield
        else:
            yield
    finally:
        tf.config.run_functions_eagerly(before)


def fused_adam(self, grads, variables, learning_rate):
    """Update of all variables by TensorFlow's operation: Adam's own of Keras takes a dozen calls for each of them."""
    import keras
    import tensorflow as tf

    adam = keras.optimizers.Adam
    if not tf.executing_eagerly() or self.amsgrad or type(self).update_step is not adam.update_step:
        return super(adam, self)._backend_update_step(grads, variables, learning_rate)
    steps = tf.cast(self.iterations.value + 1, tf.float32)
    shared = {"beta1": self.beta_1, "beta2": self.beta_2, "epsilon": self.epsilon, "lr": learning_rate}
    shared = {name: tf.cast(value, tf.float32) for name, value in shared.items()}
    shared |= {f"{name}_power": shared[name] ** steps for name in ("beta1", "beta2")}
    for grad, variable in zip(grads, variables, strict=True):
        index = self._get_variable_index(variable)
        states = {"var": variable, "m": self._momentums[index], "v": self._velocities[index]}
        handles = {name: state.value.handle for name, state in states.items()}
        tf.raw_ops.ResourceApplyAdam(**handles, **shared, grad=tf.convert_to_tensor(grad))
    return None


def decay_at_one_rate(self, variables):
    """Weight decay with a learning rate that is computed once: Keras asks its schedule for every variable."""
    import tensorflow as tf

    if self.weight_decay:
        rate = tf.cast(self.learning_rate, tf.float32)
        for value in filter(self._use_weight_decay, (variable.value for variable in variables)):
            value.assign_sub(value * self.weight_decay * rate)
