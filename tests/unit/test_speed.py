"""What the speed table claims to be equal is equal, at small sizes; times are not tested."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from eager import eagerly
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEPostEqualizationSINR, ResourceGrid

from benchmarks.speed import huffman, ofdm, precoding, rvq, snr_sweep, stores, suite, throughput, training


def without_graphs(measure, **sizes):
    """Rows of a measurement whose functions XLA takes seconds to compile."""
    with eagerly():
        return measure(**sizes)


@pytest.mark.long
@pytest.mark.parametrize(
    ("measure", "bound"),
    [
        (lambda: without_graphs(ofdm.measure, batch=2, rounds=1, num_subcarriers=64), 1e-5),
        (lambda: rvq.measure(bits=8, num_ports=16, num_reports=40, rounds=1), 0),
        (lambda: without_graphs(precoding.measure, batch=2, rounds=1)[1:], 1e-4),
        (lambda: snr_sweep.measure(batch=2, rounds=1), 1e-5),
        (lambda: huffman.measure(num_reports=64, num_symbols=32, rounds=1), 0),
        (lambda: stores.measure(samples=400, rounds=1), 1e-7),
        pytest.param(
            lambda: throughput.measure(batch=16, rounds=1, num_rb=1, level_db=-1.0, loss_db=2.5),
            0.2,
            marks=pytest.mark.long,
        ),
    ],
    ids=["ofdm", "rvq", "precoding", "snr_sweep", "huffman", "stores", "throughput"],
)
def test_ours_equals_the_peer(measure, bound):
    frame = pd.DataFrame(measure())
    assert (frame.equal_to <= bound).all(), frame
    assert (frame.ours > 0).all() and (frame.peer > 0).all()


@pytest.mark.parametrize(("whitening", "counted"), [(True, 2), (False, 1)])
def test_sionna_counts_whitened_interference_twice(rng, whitening, counted):
    """One antenna per user: SINR = S / (I + noise); Sionna's default gives S / (2 I + noise)."""
    users, noise_var = 3, 0.2
    e = rng.standard_normal((2, 5, users, users)) + 1j * rng.standard_normal((2, 5, users, users))
    power = np.abs(e) ** 2  # [batch, subcarrier, user, stream]
    signal = np.einsum("bnuu->bnu", power)
    expected = signal / (counted * (power.sum(axis=-1) - signal) + noise_var)
    sinr = LMMSEPostEqualizationSINR(
        ResourceGrid(1, 5, 30e3, num_tx=1, num_streams_per_tx=users), StreamManagement(np.ones((users, 1)), users)
    )
    effective = tf.constant(e.transpose(0, 2, 3, 1)[:, :, None, None, :, None].astype(np.complex64))
    theirs = sinr(effective, tf.constant(noise_var), interference_whitening=whitening).numpy()
    np.testing.assert_allclose(theirs[:, 0, :, :, 0], expected, rtol=1e-4)


def test_every_measurement_can_be_called():
    folder = Path(suite.__file__).parent
    assert {path.stem for path in folder.glob("*.py") if "\ndef measure(" in path.read_text()} == set(suite.ITEMS)


def test_suite_writes_what_it_returns(tmp_path, monkeypatch, capsys):
    small = huffman.measure(num_reports=8, num_symbols=4, rounds=1)
    monkeypatch.setattr(huffman, "measure", lambda: small)
    frame = suite.run_suite(tmp_path / "speed", ("huffman",))
    assert [path.name for path in (tmp_path / "speed").iterdir()] == ["speed.csv"]
    stored = pd.read_csv(tmp_path / "speed" / "speed.csv")
    assert list(stored) == "item ours peer unit ratio target met equal_to note".split()
    pd.testing.assert_frame_equal(stored, frame, check_exact=False, rtol=1e-5, check_dtype=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("model", list(training.MODELS))
def test_plain_torch_has_the_layers_of_the_network(model):
    """As many weights; the same operations of a batch are counted by their shapes."""
    torch = pytest.importorskip("torch")
    from benchmarks.speed.plain_torch import plain_network

    net, network = plain_network(model), training._network(model)
    ours = sum(int(np.prod(w.shape)) for w in network.trainable_weights)
    assert sum(p.numel() for p in net.parameters()) == ours
    x = torch.from_numpy(training._samples(model, 3))
    x = x if model == "evt" else x.reshape(3, 48, 128) if model == "wifo" else x.permute(0, 3, 1, 2)
    assert net(x).shape == x.shape


@pytest.mark.long
def test_macs_of_a_step_are_those_of_the_layers():
    """evt: embedding, five layers of four projections, two products and two dense layers, codeword twice, head."""
    layer = 13 * (4 * 128 * 128 + 2 * 13 * 128 + 2 * 128 * 256)
    assert training._macs("evt") == 5 * layer + 2 * 13 * 64 * 128 + 2 * 60 * 13 * 128


@pytest.mark.long
def test_training_rows_without_torch(monkeypatch):
    rates = {"tensorflow": 150.0, "onednn": 200.0, "jax": 100.0}
    monkeypatch.setattr(training, "installed", lambda *names: names[0] in rates)
    monkeypatch.setattr(training, "_run", lambda model, backend, *sizes: rates[backend])
    monkeypatch.setattr(training, "sgemm_rate", lambda: 6e9)
    (found,) = training.measure(("evt",))
    assert found["ours"] == 200 and found["peer"] == 100 and "PyTorch, not installed" in found["note"]
    share = training._macs("evt") * 200 * 6 / 6e9
    assert f"{100 * share:.0f} % of sgemm" in found["note"]
