"""Backend of Keras, and one seeded generator per test."""

import os
import zlib

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

import simulator  # noqa: F401  (before Keras: right products under TensorFlow)


@pytest.fixture
def rng(request):
    """Random generator seeded by the name of the test: the same numbers in every run and on every worker."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))
