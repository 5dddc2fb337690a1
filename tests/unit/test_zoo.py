"""Shipped weights: intact, small, honest cards; CsiNet has the published number of parameters."""

import json

import numpy as np
import pytest

from receivers.coding.huffman import HuffmanCoder
from receivers.models.csinet import CsiNet
from receivers.models.weights import TrainedModel, zoo_folder, zoo_names
from receivers.quantization.mu_law import MuLawQuantizer


# Wen, Shih, Jin 2018: biased convolutions, batch normalisation per channel; compression 1/4, 1/16, 1/32, 1/64.
@pytest.mark.parametrize(
    ("num_latents", "parameters"), [(512, 2_103_116), (128, 529_868), (64, 267_660), (32, 136_556)]
)
def test_csinet_has_the_published_number_of_parameters(num_latents, parameters):
    model = CsiNet(32, 32, num_latents)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == parameters


def test_csinet_fits_other_images_and_treats_samples_alone():
    model = CsiNet(8, 12, 10)
    x = np.random.default_rng(0).standard_normal((5, 8, 12, 2)).astype(np.float32)
    together = np.asarray(model(x))
    assert together.shape == x.shape
    np.testing.assert_allclose(np.asarray(model(x[2:3])), together[2:3], atol=1e-5)


@pytest.mark.parametrize("name", zoo_names())
class TestZoo:
    def test_is_small_and_intact(self, name):
        trained = TrainedModel(name)  # compares the SHA-256
        assert (trained.folder / trained.card["weights"]["file"]).stat().st_size < 5e6
        assert trained.model.count_params() == trained.card["num_params"]

    def test_tables_are_codes_and_levels_lie_in_their_cells(self, name):
        tables = TrainedModel(name).tables
        for bits in range(1, 9):
            table = tables[f"mu_law-b{bits}"]
            assert HuffmanCoder(2**bits, **table["coders"]["huffman"]).max_length <= 20
            cells = MuLawQuantizer(bits).quantize(np.array(table["levels"], np.float32))
            assert cells.tolist() == list(range(2**bits))

    def test_card_reports_zero_predictor_and_pca_and_where_pca_wins(self, name):
        scores = json.loads((zoo_folder() / name / "card.json").read_text())["test"]
        assert scores["zero_predictor"] == 0.0 and scores["num_samples"] >= 5000
        pairs = {"unquantized": scores["unquantized"], **scores["quantized"]}
        behind = [k for k, s in pairs.items() if s["model"]["nmse_db"] >= s["pca"]["nmse_db"]]
        assert sorted(behind) == sorted(scores["not_better_than_pca"])
        for bits in (1, 2, 3, 4):
            assert f"mu_law-b{bits}" not in behind
        assert all(s["model"]["nmse_db"] < -1 for s in pairs.values())
