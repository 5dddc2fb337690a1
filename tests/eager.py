"""TensorFlow without graphs: the same draws, where tracing costs more than a few calls."""

from contextlib import contextmanager


@contextmanager
def eagerly():
    """Sources draw operation by operation; a system-level source takes 4 s to trace for every new batch size."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)
