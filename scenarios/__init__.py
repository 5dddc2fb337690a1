import simulator  # noqa: F401  (before Keras: right products under TensorFlow)
