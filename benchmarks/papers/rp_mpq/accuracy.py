"""RP-MPQ's tables of networks: accuracy, cost, uniform widths, what compression takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.intervals import half_width_of
from benchmarks.papers.kit.run import Run
from benchmarks.papers.rp_mpq.networks import first, networks
from benchmarks.papers.rp_mpq.structure import decay, information_floor, tail_energy, tail_influence
from benchmarks.precision import Calibration, calibration, measure
from receivers.models.cost import count_cost
from receivers.models.mixed_precision import MixedPrecisionEncoder
from receivers.quantization.weight_bits import WIDTHS
from receivers.training.pca import fit_pca, pca_nmse
from receivers.weights.folder import TrainedModel
from simulator.core.units import lin_to_db
from simulator.data.store import ChannelStore


def structure(run: Run, data: str) -> pd.DataFrame:
    """Tables II, III and VI: NMSE on the test split, cost counted in three ways, with the linear code."""
    plan, store, out = run.plan, run.stores[data], run.out
    rows = []
    for model, ratio, name in networks(plan, data):
        trained = TrainedModel.shared(str(out / data / name))
        encoder, decoder = count_cost(trained.model.encoder), count_cost(trained.model.decoder)
        test, coded = trained.card["test"], trained.card["test"]["codecs"]["uniform-b8-fixed-latent"]
        ranged = trained.card["test"]["codecs"]["uniform-b8-range-latent"]
        row = {
            "network": model,
            "compression": ratio,
            "nmse_db": test["unquantized"]["nmse_db"],
            "ci95": test["unquantized"]["ci95"],
            "nmse_8bit_db": coded["nmse_db"],
            "bits_fixed": coded["bits_mean"],
            "bits_range": ranged["bits_mean"],
            "encoder_published_M": encoder.macs_published / 1e6,
            "encoder_thop_M": encoder.macs_thop / 1e6,
            "encoder_all_M": encoder.macs / 1e6,
            "total_thop_M": (encoder + decoder).macs_thop / 1e6,
            "total_all_M": (encoder + decoder).macs / 1e6,
            "encoder_MB": 4 * encoder.params / 1e6,
        }
        row |= {f"nmse_{part}_db": entry["nmse_db"] for part, entry in ranged["by_channel"].items()}
        rows.append(row)
    train, test = (_images(store, split, plan) for split in ("train", "test"))
    for ratio in dict.fromkeys(ratio for _, ratio, _ in networks(plan, data)):
        error = pca_nmse(test, fit_pca(train, plan["latents"][ratio])[0])
        half = 10 / np.log(10) * half_width_of(error) / error.mean()
        macs = plan["latents"][ratio] * test[0].size / 1e6
        costs = dict.fromkeys(("encoder_published_M", "encoder_thop_M", "encoder_all_M"), macs)
        rows.append(
            {
                "network": "linear code (PCA)",
                "compression": ratio,
                "nmse_db": 10 * np.log10(error.mean()),
                "ci95": half,
                **costs,
                "total_thop_M": 2 * macs,
                "total_all_M": 2 * macs,
                "encoder_MB": 4 * macs,
            }
        )
    return pd.DataFrame(rows)


def _images(store: ChannelStore, split: str, plan: dict[str, Any]) -> np.ndarray:
    from receivers.training.data.images import ImageView, load_images

    return load_images(store, split, ImageView(store.layout, plan["num_delays"]))[0]


def test_data(plan: dict[str, Any], store: ChannelStore, trained: TrainedModel) -> Calibration:
    """Test samples with their channels."""
    return calibration(store, "test", trained, plan["test"]["samples"], plan["test"]["frequencies"])


def uniform(run: Run) -> pd.DataFrame:
    """Table IV: NMSE and BOPs of all networks at 1/4 with equal widths everywhere, and with float weights."""
    plan, rows = run.plan, []
    data, store, _ = first(run)
    for model, ratio, name in networks(plan, data):
        if ratio != "1/4":
            continue
        trained = TrainedModel(str(run.out / data / name))
        known = test_data(plan, store, trained)
        inputs = trained.network_images(known.images)
        thop = count_cost(trained.model.encoder).macs_thop
        for clip, options in plan["clips"].items():
            encoder = MixedPrecisionEncoder(trained.model.encoder, **options)
            policies = [(bits,) * len(encoder.blocks) for bits in WIDTHS]
            latents = [encoder.encode(inputs, policy) for policy in policies]
            if clip == next(iter(plan["clips"])):
                latents, policies = [trained.encode(known.images), *latents], [None, *policies]
            outcome = measure(trained, latents, known, [10.0], store.layout.num_subcarriers, f"widths, {name}")
            for policy, nmse in zip(policies, outcome.nmse, strict=True):
                bits = 32 if policy is None else policy[0]
                rows.append(
                    {
                        "network": model,
                        "rounding": "float" if policy is None else clip,
                        "weight_bits": bits,
                        **_decibel(nmse),
                        "thop_a16_MBOPs": thop * bits * 16 / 1e6,
                        "thop_a8_MBOPs": thop * bits * 8 / 1e6,
                        "all_MBOPs": trained.encoder_macs * 1024 / 1e6
                        if policy is None
                        else encoder.bops(policy) / 1e6,
                    }
                )
    return pd.DataFrame(rows)


def _decibel(ratio: np.ndarray) -> dict[str, float]:
    mean, half = ratio.mean(), half_width_of(ratio)
    return {"nmse_db": lin_to_db(mean), "ci95": 10 / np.log(10) * half / mean}


def floors(run: Run) -> pd.DataFrame:
    """Eq. 10 of every network at 1/4: error, bound of the information floor, what a better decoder can win at least."""
    plan, rows = run.plan, []
    data, store, _ = first(run)
    images = {split: _images(store, split, plan) for split in ("train", "test")}
    for model, ratio, name in networks(plan, data):
        if ratio == "1/4":
            trained = TrainedModel(str(run.out / data / name))
            sets = []
            for x in images.values():
                latent = trained.encode(x)
                sets.append((x, latent, trained.decode(latent)))
            rows.append({"network": model, **information_floor(sets[0], sets[1], plan["structure"]["ridge"])})
    return pd.DataFrame(rows)


def tails(run: Run) -> pd.DataFrame:
    """Eqs. 11 to 15: energy of test channels beyond a distance in angle, influence in every encoder at 1/4 beyond it.

    Columns ``of, distance, share`` and the fits of :func:`decay`, the same in every row of one tail.
    """
    plan = run.plan
    data, store, _ = first(run)
    x = _images(store, "test", plan)[: plan["structure"]["samples"]]
    found = {"channel": tail_energy(x[..., 0] + 1j * x[..., 1])}
    for model, ratio, name in networks(plan, data):
        if ratio == "1/4":
            trained = TrainedModel(str(run.out / data / name))
            found[model] = tail_influence(encoder_maps(trained.model), trained.network_images(x))
    parts = [pd.DataFrame({"of": of, "distance": range(len(tail)), "share": tail}) for of, tail in found.items()]
    return pd.concat([part.assign(**decay(part.share.to_numpy())) for part in parts], ignore_index=True)


def encoder_maps(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Images to what the dense codeword layer of an autoencoder sees, in the places of the image, float32 like it."""
    import keras

    # Axes of the image in the order in which the layer has them, of a copy: the method overwrites weights.
    order = np.array(type(model)(**model.get_config()).pass_images()[0])
    network = keras.Model(model.encoder.input, model.find("codeword").input)

    def maps(x: np.ndarray) -> np.ndarray:
        blocks = [keras.ops.convert_to_numpy(network(x[i : i + 250], training=False)) for i in range(0, len(x), 250)]
        seen = np.concatenate(blocks).reshape(len(x), *np.take(x.shape, order))
        return np.transpose(seen, (0, *(1 + np.argsort(order))))

    return maps
