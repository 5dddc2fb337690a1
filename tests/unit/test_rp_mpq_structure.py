"""What compression and what low precision take, against closed forms and loops."""

import keras
import numpy as np
import pytest

from benchmarks.papers.rp_mpq.accuracy import encoder_maps
from benchmarks.papers.rp_mpq.structure import decay, information_floor, outage_split, tail_energy, tail_influence
from simulator.core import registry


def test_outage_by_cause_by_hand():
    floor = np.array([True, True, False, False])
    found = outage_split(floor, np.array([[True, False, True, False], [True, True, True, False]]))
    assert found == {"floor": 0.5, "operational": 0.25, "rescued": 0.125, "outage": 0.625}


def test_information_floor_of_a_linear_encoder(rng):
    """Gaussian x in R^4, z = two of its entries: the floor is the power of the others given z."""
    mix = rng.standard_normal((4, 4))
    covariance = mix @ mix.T

    def drawn(samples):
        x = rng.standard_normal((samples, 4)) @ mix.T
        return x, x[:, :2], 0.5 * x @ np.diag([1, 1, 0, 0])

    found = information_floor(drawn(20000), drawn(20000), 1e-9)
    left = covariance[2:, 2:] - covariance[2:, :2] @ np.linalg.solve(covariance[:2, :2], covariance[:2, 2:])
    power = np.trace(covariance)
    explained = np.concatenate([0.5 * np.eye(2), covariance[2:, :2] @ np.linalg.inv(covariance[:2, :2])])
    decoder = np.trace(explained @ covariance[:2, :2] @ explained.T)
    assert found["floor"] == pytest.approx(np.trace(left) / power, rel=0.05)
    assert found["decoder"] == pytest.approx(decoder / power, rel=0.05)
    assert found["error"] == pytest.approx(found["floor"] + found["decoder"], rel=0.02)  # Eq. 10


def test_tail_of_a_channel_against_a_loop(rng):
    x = rng.standard_normal((3, 2, 7)) + 1j * rng.standard_normal((3, 2, 7))
    beyond = np.zeros(4)
    for row in x.reshape(-1, 7):
        strongest = int(np.argmax(abs(row)))
        for angle, value in enumerate(row):
            distance = min((angle - strongest) % 7, (strongest - angle) % 7)
            beyond[:distance] += abs(value) ** 2
    np.testing.assert_allclose(tail_energy(x), beyond / np.sum(abs(x) ** 2), atol=1e-12)


def test_fits_of_tails_with_known_decay():
    distance = np.arange(1, 40)
    law = decay(np.concatenate([[1.0], 0.3 * distance**-1.5]))
    assert law["power"] == pytest.approx(1.5) and law["power_misfit_db"] < 1e-9 < law["rate_misfit_db"]
    exponential = decay(np.concatenate([[1.0], 0.3 * np.exp(-0.25 * distance), [0.0]]))
    assert exponential["rate"] == pytest.approx(0.25) and exponential["rate_misfit_db"] < 1e-9
    assert all(np.isnan(value) for value in decay(np.array([0.5, 0.1, 0.0])).values())


def test_influence_of_a_linear_state_space_model(rng):
    """s' = .6 s + x along angles: of the squared response .36^t, the share beyond L is .36^(L + 1) but for the ends."""
    x = rng.standard_normal((20, 4, 32, 2)).astype(np.float32)
    response = np.where(np.tri(32), 0.6 ** np.maximum(np.arange(32)[:, None] - np.arange(32), 0), 0)
    tail = tail_influence(lambda images: np.einsum("ab,ndbm->ndam", response, images), x)
    np.testing.assert_allclose(tail[:10], 0.36 ** np.arange(1, 11), rtol=0.02, atol=1e-6)
    assert decay(tail[:10])["rate"] == pytest.approx(-np.log(0.36), rel=0.02)


@pytest.mark.long
@pytest.mark.parametrize(("name", "reach"), [("csinet", 1), ("csinet_plus", 6)])
def test_influence_in_convolutions_ends_at_their_reach(name, reach, rng):
    """CsiNet's encoder has one convolution of 3 x 3, that of CsiNet+ two of 7 x 7 and another order of the axes."""
    keras.utils.set_random_seed(1)
    linear = {"image_activation": "linear", **({"head_activation": "linear"} if name == "csinet_plus" else {})}
    model = registry.build("models", name, height=16, width=16, num_latents=4, **linear)
    x = rng.standard_normal((3, 16, 16, 2)).astype(np.float32)
    weights = model.get_weights()
    tail = tail_influence(encoder_maps(model), x)
    assert tail[reach - 1] > 1e-6 and (tail[reach:] < 1e-12).all()
    assert all((a == b).all() for a, b in zip(weights, model.get_weights(), strict=True))
