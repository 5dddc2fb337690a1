"""Many users: the cost of precoders grows as documented, and long runs say so before they begin."""

import numpy as np
import pytest
from keras import ops

from benchmarks import duration
from benchmarks.build import check_parts
from scenarios.schema import parse_scenario
from simulator.core import registry
from simulator.core.types import PrecodingContext
from simulator.precoding import linear


def hermitian(rng, size):
    x = rng.standard_normal((3, size, 2 * size, 2)) @ [1, 1j]
    return x @ x.conj().transpose(0, 2, 1) / (2 * size)


@pytest.mark.parametrize("size", [16, 17, 40])
def test_systems_of_any_size_are_solved(rng, size):
    a, b = hermitian(rng, size), rng.standard_normal((3, size, 5, 2)) @ [1, 1j]
    found = ops.convert_to_numpy(linear.hermitian_solve(ops.cast(a, "complex64"), ops.cast(b, "complex64")))
    np.testing.assert_allclose(found, np.linalg.solve(a, b), atol=1e-3)


def test_both_forms_raise_small_pivots(rng):
    a = np.zeros((1, 20, 20), np.complex64)
    b = np.ones((1, 20, 1), np.complex64)
    assert ops.convert_to_numpy(linear.hermitian_solve(a, b, floor=0.5)) == pytest.approx(2 * b)


@pytest.mark.long
def test_operations_grow_with_streams_not_their_square(monkeypatch, rng):
    """Of 64 streams: two concatenations in 64 steps, not 64 ** 2 operations."""
    calls = []
    concatenate = linear.ops.concatenate
    monkeypatch.setattr(linear.ops, "concatenate", lambda *a, **k: calls.append(1) or concatenate(*a, **k))
    for size in (32, 64):
        calls.clear()
        linear.hermitian_solve(ops.cast(hermitian(rng, size), "complex64"), ops.ones((3, size, 1), "complex64"))
        assert len(calls) == size + 1


@pytest.mark.parametrize("name", ["zf", "bd", "slnr", "rzf_robust", "wmmse"])
def test_64_users_are_served(rng, name):
    """Total power 1, nobody left out; ZF and BD leave no interference."""
    params = {"num_iterations": 1} if name == "wmmse" else {}
    precoder = registry.build("precoders", name, **params).for_link(PrecodingContext(64))
    g = (rng.standard_normal((1, 64, 72, 2)) @ [1, 1j]).astype(np.complex64)
    w = ops.convert_to_numpy(precoder.weights(g, 0.01))
    np.testing.assert_allclose(np.sum(np.abs(w) ** 2), 1, rtol=1e-4)
    assert (np.sum(np.abs(w) ** 2, axis=1) > 1e-6).all()
    if name in ("zf", "bd"):
        received = np.abs(g[0] @ w[0]) ** 2
        assert (received * (1 - np.eye(64))).max() < 1e-3 * np.diag(received).min()


def scenario(users, drops=2, **changes):
    return parse_scenario(
        {
            "name": "many",
            "carrier": {"num_rb": 10},
            "bs": {"n1": 16, "n2": 2, "num_pol": 2},
            "ue": {"num_users": users},
            "channel": {"model": "rayleigh"},
            "feedback": [{"scheme": "perfect"}],
            "precoding": {"precoders": [{"name": "wmmse", "num_iterations": 9}, "zf"]},
            "snr_db": [0, 10],
            **changes,
        }
    )


def test_the_estimate_counts_what_is_computed():
    def seconds(users, **changes):
        chosen = scenario(users, **changes)
        return duration.precoding_seconds(chosen, check_parts(chosen))

    # 10 frequencies, perfect CSI twice, WMMSE 10 systems at two SNRs, ZF one: 10 * 2 * 21 * 64 ** 2 * 128 / 4e7.
    assert seconds(64) == pytest.approx(420 * 64**2 * 128 / 4e7)
    assert seconds(64) / seconds(32) == pytest.approx(4 * 128 / 96)
    assert seconds(64, snr_db=[0]) / seconds(64) == pytest.approx(11 / 21)
    assert seconds(64, scheduling={"name": "semi_orthogonal", "num_selected": 16}) == pytest.approx(seconds(16))


def test_a_long_run_says_so(capsys):
    duration.say_if_long(29)
    assert not capsys.readouterr().err
    duration.say_if_long(90)
    duration.say_if_long(7200)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("precoding: about 1.5 min of one core; less with fewer users") and "about 120 min" in second
