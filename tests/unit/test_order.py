"""What a test draws from global generators is the same in every run, whatever ran before."""

import random

import numpy as np
import pytest
import tensorflow as tf
from conftest import seed_everything


def draws():
    return random.random(), np.random.random(), float(tf.random.uniform(()))  # noqa: NPY002


@pytest.fixture(scope="module")
def shared():
    return draws()


@pytest.mark.parametrize("turn", [0, 1])
def test_draws_follow_from_the_name_of_a_test_or_of_what_tests_share(turn, shared, request):
    own = draws()
    for name, drawn in ((request.node.name, own), (f"{request.node.parent.nodeid}::shared", shared)):
        seed_everything(name)
        assert draws() == drawn


def test_what_tests_share_is_prepared_once(monkeypatch):
    """Kernels are dropped after a test that drew from them, and after no other."""
    dropped = []
    monkeypatch.setattr(tf.random, "set_seed", dropped.append)
    seed_everything("one")
    seed_everything("two")
    assert not dropped
    tf.random.uniform(())
    seed_everything("three")
    assert len(dropped) == 1
