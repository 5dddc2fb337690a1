"""What a weight set of the zoo makes of its stored batch of channels: distortion of each sample, and bits."""

import json
from functools import cache
from pathlib import Path

import numpy as np
from keras import ops

from receivers.beamdelay.codebook import MOST_BITS
from receivers.beamdelay.learned import LearnedCodebook
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.feedback.latents import LatentCodec
from receivers.models.concrete import MASKED
from receivers.models.klt import Klt
from receivers.training.data.reports import ReportSet
from receivers.training.recipe import parse_training
from receivers.training.tasks.estimator import EstimatorTask
from receivers.training.tasks.refinement import refined_sgcs
from receivers.weights.folder import (
    TrainedEstimator,
    TrainedModel,
    TrainedPredictor,
    TrainedRefiner,
    TransformWeights,
    zoo_folder,
    zoo_names,
)
from scenarios.load import find_file, load_mapping
from simulator.core.types import Panel
from simulator.maths.transforms import from_eigenvector_image

GOLDEN = Path(__file__).parent / "golden"
# Of networks and transforms; tests/unit/test_beamdelay*.py and test_recoding.py pin what tables of range codes make.
TABLES = {name for task in ("beamdelay", "beamdelay-temporal", "etype2_recoding") for name in zoo_names(task)}
NAMES = sorted({path.parent.name for path in zoo_folder().glob("*/card.json")} - TABLES)
loaded = cache(TrainedModel)
BITS = (8, 32, 256)  # reports of networks of bits that are scored


def batch(name):
    """Stored batch of the data set that the card of a weight set names: float32, by key."""
    with np.load(GOLDEN / f"zoo-{dataset(name)}.npz") as file:
        return {key: file[key].astype(np.float32) for key in file.files}


def card(name):
    return json.loads((zoo_folder() / name / "card.json").read_text())


def dataset(name):
    facts = card(name)
    if facts.get("task") == "estimation":
        return "pilots"
    return facts["datasets"][0]["name"] if "datasets" in facts else facts["dataset"]["name"]


@cache
def estimator_task():
    """Task of the shipped recipe of an estimator."""
    return EstimatorTask(
        parse_training(load_mapping(find_file("csirs_delay_beam", "training/recipes", room="receivers")))
    )


def nmse(x, x_hat):
    """Energy of the error over that of the sample, float64 ``[sample]``."""
    axes = tuple(range(1, x.ndim))
    return np.sum(np.square(x - x_hat, dtype=np.float64), axes) / np.sum(np.square(x, dtype=np.float64), axes)


def sgcs(x, x_hat):
    """Squared cosine of two vectors, mean over the subbands, float64 ``[sample]`` of ``[sample, subband, port, 2]``."""
    a, b = (v[..., 0].astype(np.float64) + 1j * v[..., 1] for v in (x, x_hat))
    inner = np.abs(np.einsum("ntp,ntp->nt", a.conj(), b)) ** 2
    return np.mean(inner / np.sum(np.abs(a) ** 2, -1) / np.sum(np.abs(b) ** 2, -1), axis=-1)


def _same(model):
    pass


def samples(name, change=None):
    """``{quantity: value of each sample}`` of a weight set on its batch.

    Args:
        name: in the zoo.
        change: called with a network of its own before it runs.
    """
    load, change = (loaded, _same) if change is None else (TrainedModel, change)
    task, data = card(name).get("task", "feedback"), batch(name)
    if task == "prediction":
        trained = TrainedPredictor(name)
        change(trained.model)
        x = data["history"]
        past, future = np.split(x, 2, axis=1)
        return {"time": nmse(future, ops.convert_to_numpy(trained.model.forecast(past, future.shape[1])))}
    if task == "estimation":
        network = TrainedEstimator(name).model
        change(network)
        task, found = estimator_task(), {}
        for channel, h in data.items():
            h = np.ascontiguousarray(h).view(np.complex64)[..., 0]
            for snr_db in (-5, 15):
                for (n1, n2), errors in zip(task.recipe.panels, task.residuals(network, h, snr_db)[0], strict=True):
                    found[f"{channel}, {n1}x{n2}, {snr_db} dB"] = errors
        return found
    if task == "refinement":
        network = TrainedRefiner(name).model
        change(network)
        panel = Panel(8, 2, 2)
        v = from_eigenvector_image(data["images"], panel)
        h, found = np.swapaxes(v.conj(), 1, 2)[:, None], {}
        for combination in (1, 4):
            book = EnhancedTypeTwoCodebook(panel, v.shape[1], 1, 1, combination)
            found[f"etype2-pc{combination}-rank1"] = refined_sgcs(network, ReportSet(book, v[:, None], h))[1]
        return found
    if task == "ntc":
        trained, panel = TransformWeights(name), Panel(8, 2, 2)
        change(trained.model)
        v = from_eigenvector_image(data["images"], panel)
        h, found = np.swapaxes(v.conj(), 1, 2)[:, None], {}
        for step, passes in ((0.2, 0), (0.085, 0), (0.2, 12)):
            book = LearnedCodebook(
                trained.model, panel, v.shape[1], 1, 1, trained.tables, step, MOST_BITS, passes=passes
            )
            part1, part2, length = book.pack(book.select(h))
            w = book.precoder(book.unpack(part1, part2, length)[0])[:, :, 0]
            values = np.mean(np.abs(np.einsum("ntp,npt->nt", v.conj(), w)) ** 2, axis=1, dtype=np.float64)
            label = f"s{step:g}" + (" searched" if passes else "")
            found |= {label: values, f"{label} bits": length.astype(np.float64)}
        return found
    trained, x = load(name), data["images"]
    if card(name)["model"]["name"] == "klt":
        klt = Klt.load(trained.folder / "klt.npz")
        change(klt)
        z = klt.coefficients(x)
        kept = klt.images(np.where(np.arange(z.shape[1]) < 64, z, 0), *x.shape[1:3])
        step = klt.step_for(100, 127)
        coded = klt.images(klt.values(klt.cells(z, step, 127), step, 127), *x.shape[1:3])
        return {"64 components": nmse(x, kept), "100 bits": nmse(x, coded)}
    change(trained.model)
    latent = trained.encode(x)
    if trained.codec is None:
        bits = np.where(latent > 0, np.float32(1), np.float32(0))
        cut = {n: np.where(np.arange(bits.shape[1]) < n, bits, np.float32(MASKED)) for n in BITS}
        return {f"{n} bits": nmse(x, trained.decode(sent)) for n, sent in cut.items()}
    score = sgcs if trained.input.target == "eigenvector" else nmse
    codec = LatentCodec(trained, trained.codec.quantizer, trained.codec.bits, "range", "latent", "shipped", 1)
    coded, num_bits = codec.encode(latent)
    received, valid = codec.decode(coded, num_bits)
    assert valid.all()
    return {
        "unquantized": score(x, trained.decode(latent)),
        "coded": score(x, trained.decode(received)),
        "bits": num_bits.astype(np.float64).reshape(len(x)),
    }
