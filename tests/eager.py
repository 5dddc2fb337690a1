"""TensorFlow without graphs: the same draws and trainings, where tracing costs more than a few calls."""

from contextlib import contextmanager


@contextmanager
def eagerly(on=True):
    """Sources draw operation by operation; a system-level source takes 4 s to trace for every new batch size.

    Args:
        on: False: with graphs again, for part of a test.
    """
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(on)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)
