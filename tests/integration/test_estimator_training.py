"""Training of the pilot denoiser from beginning to end, tiny: the folder serves the estimator."""

import json

import numpy as np
import pytest

from benchmarks import train_estimator
from receivers.weights.folder import TrainedEstimator


@pytest.mark.long
def test_a_trained_folder_serves_the_estimator(tmp_path, monkeypatch, rng):
    shape = train_estimator.GEOMETRY
    size = (shape.num_users, shape.num_rx_ant, shape.panel.num_ports, 1, shape.num_subcarriers)

    def draw(split):
        h = rng.standard_normal((8, *size, 2)).astype(np.float32).view(np.complex64)[..., 0]
        return {"a": (h / np.sqrt(2)).astype(np.complex64)}

    monkeypatch.setattr(train_estimator, "draw", draw)
    monkeypatch.setattr(train_estimator, "corrections", lambda: ["ray-offsets"])
    monkeypatch.setattr(train_estimator, "BATCH", 4)
    monkeypatch.setattr(train_estimator, "EPOCHS", 2)
    lines = []
    card = train_estimator.train(tmp_path / "w", lines.append)
    assert len(lines) == 2 and json.loads(json.dumps(card)) == json.loads((tmp_path / "w" / "card.json").read_text())
    facts = card["training"]
    assert facts["epochs"] == 2 and [set(e) for e in facts["curve"]] == 2 * [{"loss", "val_loss", "seconds"}]
    assert set(card["test"]["by_channel"]["a"]) == {"-5 dB", "5 dB", "15 dB", "25 dB"}
    assert TrainedEstimator(str(tmp_path / "w")).model.count_params() == card["parameters"]
