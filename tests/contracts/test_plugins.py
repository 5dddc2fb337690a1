"""Every registered plug-in keeps the contract of its interface; a new one is tested without writing a test.

A plug-in that is built without parameters needs nothing here. Others have their parameters in ``PARAMS``.
"""

import dataclasses
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tolerances import assert_close

from csilink import testing
from receivers.codebooks.rvq import rvq_codebook
from receivers.codebooks.stored import write_codebook
from receivers.weights.folder import TrainedModel, zoo_names
from simulator.core import registry
from simulator.core.errors import ConfigError, PayloadError, StoreError
from simulator.core.interfaces import (
    ChannelSource,
    EntropyCoder,
    Estimator,
    FeedbackScheme,
    Metric,
    Precoder,
    Predictor,
    Quantizer,
)
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel
from simulator.data.layout import ChannelLayout
from simulator.data.writer import StoreWriter
from simulator.phy.llvm import working_llvm

ARCHITECTURES = ("csinet", "evt", "klt", "transnet-250", "vb-")
WEIGHTS = {name: next(iter(n for n in zoo_names() if n.startswith(name)), None) for name in ARCHITECTURES}
PANEL = Panel(3, 2, 2)


# Files that parts are built from, made when the first test asks for them ---------------------------------------------


class Made(str):
    """Name of such a file in the place of its path in ``PARAMS``."""


def codebook(path):
    write_codebook(path, "one", PANEL, {"uma": rvq_codebook(12, 5, 1)})


def codebooks(path):
    books = {e: rvq_codebook(12, 6, i) for i, e in enumerate(("uma", "rma", "umi"))}
    write_codebook(path, "two", PANEL, books, side="ss", base=9)


def wifo_cf(path):
    """A folder of weights whose codewords differ from channel to channel, as those of trained weights do."""
    from keras import ops

    from receivers.models.wifo_cf import WiFoCf
    from receivers.training.tasks.wifo_cf import write_weights

    random = np.random.default_rng(1)
    model = WiFoCf(dim=16, depth=1, decoder_depth=1, num_heads=2, patch_dim=16, num_experts=4, top_k=2, conv_dim=4)
    for weight in model.trainable_weights:
        weight.assign(random.standard_normal(weight.shape) / np.prod(weight.shape[:-1], dtype=int) ** 0.5)
    last = model.compressor.last_norm
    last.gamma.assign([1.0])
    z = ops.convert_to_numpy(model.encode(random.standard_normal((1, 50, 8, 16, 2)).astype(np.float32), 8))
    z = np.log(z / (1 - z))
    last.gamma.assign([1 / z.std()])
    last.beta.assign((ops.convert_to_numpy(last.beta) - z.mean()) / z.std())
    write_weights(path, "wifo-cf", model, CsiConfig(Panel(4, 1, 2), 2, 16, 360e3, subband_size=4))


def klt_mixture(path):
    """Two classes of random clusters."""
    from receivers.models.klt_mixture import KltMixture
    from receivers.training.data.clusters import random_clusters
    from receivers.weights.card import file_entry, write_card
    from simulator.maths.transforms import subband_eigenvectors, to_eigenvector_image

    path.mkdir()
    panel = Panel(4, 1, 2)
    h = random_clusters(np.random.default_rng(1), 200, panel, 8, 360e3)[:, None]
    images = to_eigenvector_image(subband_eigenvectors(h, 4, 1)[:, 0], panel)
    KltMixture.fit(images, 2, 12, 100, 30.0, 2).save(path / "klt.npz")
    sizes = {"n1": 4, "n2": 1, "num_pol": 2, "num_subcarriers": 8, "spacing_hz": 360e3, "subband_size": 4}
    card = {
        "name": "mixture",
        "model": {"name": "klt_mixture", "params": {}},
        "weights": file_entry(path / "klt.npz"),
        "input": {**sizes, "num_delays": 8, "num_latents": 24, "target": "eigenvector"},
    }
    write_card(path, card)


FILES = {"ds": codebook, "ss": codebooks, "wifo-cf": wifo_cf, "klt-mixture": klt_mixture}


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Parameters with paths in the place of the names of :class:`Made`."""
    folder, made = tmp_path_factory.mktemp("made"), {}

    def path(name):
        if name not in made:
            FILES[name](folder / name)
            made[name] = str(folder / name)
        return made[name]

    return lambda params: {key: path(value) if isinstance(value, Made) else value for key, value in params.items()}


@pytest.fixture
def params(given, files):
    """Parameters of the part under test."""
    return files(given)


CONFIG = CsiConfig(PANEL, num_rx_ant=2, num_subcarriers=7, spacing_hz=360e3, subband_size=3)
SEED = 77

# One object per entry. A plug-in without an entry is built without parameters.
PARAMS = {
    "channels": {
        "tdl": [{"profile": "A"}],
        "cdl": [{"profile": "C"}],
        "recorded": [{"store": "made by the test"}],
        "site": [
            {
                "scene": "simple_street_canyon",
                "bs_position_m": (-35.0, 0.0, 25.0),
                "look_at_m": (20.0, 5.0, 1.5),
                "area_center_m": (10.0, 0.0),
                "area_size_m": (60.0, 16.0),
                "num_points": 100,
                "num_rays": 20_000,
                "max_depth": 2,
            }
        ],
    },
    "estimators": {
        "noisy": [{"snr_db": -3.0}, {"snr_db": 25.0}],
        "csi_rs_ls": [{"snr_db": -3.0}, {"snr_db": 25.0, "inr_db": 3.0, "row": 9}],
        "csi_rs_lmmse": [{"snr_db": 10.0}, {"snr_db": 5.0, "covariance": "profile", "delay_spread_s": 1e-7}],
        "csi_rs_denoise": [{"snr_db": 0.0}, {"snr_db": 20.0, "max_delay_s": 1e-6}],
        "csi_rs_learned": [{"snr_db": 10.0}],
    },
    "feedback": {
        "dft": [{}, {"cophasing": "subband"}],
        "rvq": [{"bits": 5}, {"bits": 3, "frequency": "subband", "codebooks": 2}],
        "sparse": [{"bits": 60, "num_delays": 7}, {"bits": 400, "num_delays": 5}],
        "codebook": [
            {"path": Made("ds"), "frequency": "subband"},
            {"path": Made("ss"), "environment": "rma"},
        ],
        "type1": [{}, {"mode": 2, "rank": 1}, {"rank_restriction": "00000001"}],
        "type2-r15": [
            {"beams": 3, "psk": 4},
            {"subband_amplitude": True},
            {"subset_restriction": "0" * 11 + "11" * 12 + "0110" * 6, "rank_restriction": "01"},
        ],
        "etype2-r16": [
            {"combination": 3},
            {"combination": 5, "rank": 1},
            {"combination": 2, "refine": "refine-urban"},
            {"combination": 4, "recode": True},
            {"combination": 6, "slope": 0.001},
            {"combination": 5, "slope": 0.001, "recode": True},
            {"combination": 2, "subset_restriction": "0" * 11 + "11" * 12 + "0110" * 6},
        ],
        "type2-ps-r15": [{}, {"beams": 3, "psk": 4, "sampling": 2, "subband_amplitude": True}],
        "etype2-ps-r16": [{"combination": 3}, {"combination": 5, "sampling": 3, "rank": 1}],
        "fetype2-ps-r17": [{}, {"combination": 5}, {"combination": 8, "rank": 1}, {"combination": 2}],
        "etype2-doppler-r18": [
            {"combination": 2},
            {"combination": 5, "rank": 1, "intervals": 8, "unit_slots": 2},
            {"combination": 7, "intervals": 2},
            {"combination": 3, "intervals": 1},
        ],
        "fetype2-cjt-ps-r18": [{"alpha": 3, "combination": 3}, {"alpha": 1, "combination": 4, "mode": 2, "rank": 1}],
        "etype2-cjt-r18": [{"beams": 2, "combination": 5}, {"beams": 1, "combination": 3, "mode": 2, "rank": 1}],
        "trp-selection": [{"of": "etype2-r16", "combination": 3}, {"of": "rvq", "bits": 5}],
        "klt-mixture": [
            {"weights": Made("klt-mixture"), "bits": 50},
            {"weights": Made("klt-mixture"), "bits": 30, "coding": "fixed"},
        ],
        "beamdelay": [
            {"bits": 70},
            {"step": 0.2, "bits": 70},
            {"bits": 70, "refine": "refine-urban"},
            {"step": 0.2, "bits": 70, "refine": "refine-urban", "synthesis": 1},
            {"bits": 70, "explicit": True},
        ],
        "ntc": [{"bits": 70, "passes": 2}, {"step": 0.2, "bits": 70, "passes": 2}],
        "beamdelay-temporal": [{"bits": 70}, {"step": 0.2, "bits": 70}],
        "klt": [{"weights": WEIGHTS["klt"], "bits": 1500}, {"weights": WEIGHTS["klt"], "bits": 90, "coding": "fixed"}],
        "eigenvector": [
            {"weights": WEIGHTS["evt"]},
            {"weights": WEIGHTS["evt"], "coder": "huffman", "prior": "pooled"},
        ],
        "rp-mpq": [
            {"weights": WEIGHTS["transnet-250"], "budget": 0.4, "coder": "range"},
            {"weights": WEIGHTS["transnet-250"], "controller": "static", "budget": 0.3},
            {"weights": WEIGHTS["transnet-250"], "controller": "ilp", "budget": 0.3},
            {"weights": WEIGHTS["transnet-250"], "controller": "random", "budget": 0.4},
        ],
        "variable-bit": [
            {"weights": WEIGHTS["vb-"]},
            {"weights": WEIGHTS["vb-"], "bits": 19},
            {"weights": WEIGHTS["vb-"], "noisy": True},
        ],
        "wifo-cf": [
            {"weights": Made("wifo-cf"), "bits": 7},
            {"weights": Made("wifo-cf"), "user_bits": [9, 8], "scale_bits": 5},
            {"weights": Made("wifo-cf"), "users": "single", "bits": 8},
            {"weights": Made("wifo-cf"), "uplink_snr_db": 10.0},
        ],
        "autoencoder": [
            {"weights": WEIGHTS["csinet"]},
            {"weights": WEIGHTS["csinet"], "coder": "huffman", "prior": "learned"},
            {"weights": WEIGHTS["csinet"], "coder": "huffman", "prior": "pooled", "scale_bits": 8},
            {
                "weights": WEIGHTS["csinet"],
                "bits": 3,
                "quantizer": "uniform",
                "coder": "fixed",
                "levels": "nominal",
                "scale_bits": 6,
            },
        ],
    },
    "quantizers": {
        **{name: [{"bits": 1}, {"bits": 3}, {"bits": 8}] for name in ("uniform", "mu_law", "mid_tread", "lloyd_max")},
        "vector": [{"bits": 1}, {"bits": 5}, {"bits": 6, "dim": 3}],
    },
    "coders": {name: [{"alphabet": size} for size in (2, 16, 100)] for name in registry.names("coders")},
    "precoders": {"rzf": [{}, {"loading": 0.1}], "wmmse": [{"num_iterations": 3}]},
    # Networks of few weights.
    "estimation_models": {"delay_beam_denoiser": [{"width": 6, "num_blocks": 1}, {"width": 4, "kernel": [1, 3]}]},
    "prediction_models": {
        "wifo": [{"size": 16, "depth": 1, "decoder_depth": 1, "num_heads": 2, "patch": [2, 2, 2], "pad": True}],
        "lstm": [{"group": 4, "width": 8}],
        "transformer": [{"group": 4, "d_model": 8, "num_heads": 2, "num_layers": 1, "hidden": 16}],
        "delay_beam": [
            {
                "num_history": 5,
                "num_future": 2,
                "num_subcarriers": 8,
                "panel": [2, 2, 1],
                "num_tokens": 6,
                "orders": [2, 1],
            }
            | {"dim": 8, "num_heads": 2, "num_layers": 1, "hidden": 8}
        ],
        "llm4cp": [
            {"group": 4, "num_history": 8, "num_future": 2, "patch": 2, "width": 8, "num_blocks": 1, "d_model": 12}
            | {"num_heads": 2, "num_layers": 1, "num_positions": 16}
        ],
    },
    "refiners": {
        "lvm4cf": [{"d_model": 8, "hidden": 12, "num_heads": 2, "num_layers": 1}],
        "fc": [{"width": 16}],
        "transformer": [{"d_model": 8, "num_heads": 2, "num_layers": 1}],
        "gpt2": [{"d_model": 12, "num_heads": 2, "num_layers": 1}],
        "mlp": [{"budget": 2000}],
    },
    "report_refiners": {"beam_transformer": [{"dim": 16, "num_layers": 1, "num_heads": 2, "hidden": 16}, {}]},
    "predictors": {
        "ar": [{}, {"order": 1}, {"order": 5, "loading": 1e-3}],
        "network": [{"weights": "wifo-mobility", "pad": True}, {"weights": "lstm-mobility"}],
        "wiener_doppler": [{}, {"snr_db": 10.0}, {"speed_mps": 10.0, "snr_db": 20.0}],
    },
}

INTERFACES = {
    "channels": ChannelSource,
    "coders": EntropyCoder,
    "estimators": Estimator,
    "feedback": FeedbackScheme,
    "metrics": Metric,
    "precoders": Precoder,
    "predictors": Predictor,
    "quantizers": Quantizer,
}


def cases(kind):
    """``(name, params)`` of every registered plug-in of a kind; those whose weights are not shipped are skipped.

    Further variants of a feedback scheme are long tests, and so is what takes seconds to compile.
    """

    def marks(name, number, params):
        if params.get("weights", "") is None:
            return [pytest.mark.skip("weights are not shipped")]
        slow = (kind == "feedback" and number) or name in (
            "cdl",
            "umi",
            "uma",
            "rma",
            "site",
            "wmmse",
            "klt",
            "rp-mpq",
            "ntc",
        )
        return [pytest.mark.long] if slow else []

    return [
        pytest.param(
            *(name, params),
            id="-".join([name, *(Path(str(value)).name for value in params.values())]),
            marks=marks(name, number, params),
        )
        for name in registry.names(kind)
        for number, params in enumerate(PARAMS.get(kind, {}).get(name, [{}]))
    ]


def made(kind, name, *args, **params):
    """The plug-in, or a failure that says what to do."""
    try:
        return registry.build(kind, name, *args, **params)
    except ConfigError as error:
        if name in PARAMS.get(kind, {}):
            raise
        pytest.fail(f"{kind} plug-in {name!r} cannot be built without parameters: give it an entry in PARAMS ({error})")


@pytest.mark.parametrize("kind", registry.KINDS)
def test_names_load_and_fit_their_interface(kind):
    for name in registry.names(kind):
        cls = registry.load(kind, name)
        assert issubclass(cls, INTERFACES.get(kind, object)), f"{kind}.{name} is no {INTERFACES[kind].__name__}"
        assert cls.__doc__, f"{kind}.{name} has no docstring"


def test_a_plug_in_without_an_entry_fails_clearly(monkeypatch):
    monkeypatch.delitem(PARAMS["feedback"], "rvq")
    with pytest.raises(pytest.fail.Exception, match=r"'rvq'.*entry in PARAMS"):
        made("feedback", "rvq", CONFIG, seed=SEED)
    assert made("feedback", "perfect", CONFIG, seed=SEED).label == "perfect"


def noise(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


# Feedback ------------------------------------------------------------------------------------------------------------

CHILD = """
import json, sys, traceback
import numpy as np
from simulator.core import registry
from simulator.core.types import CsiConfig, CsiReport, Panel


def answer(spec, path):
    config = CsiConfig(**{**spec["config"], "panel": Panel(**spec["config"]["panel"])})
    scheme = registry.build("feedback", spec["name"], config, seed=spec["seed"], **spec["params"])
    num_bits = np.array(spec["num_bits"])
    bits = np.zeros((*num_bits.shape, num_bits.max()), np.uint8)
    for b, u in np.ndindex(num_bits.shape):
        payload = np.frombuffer(bytes.fromhex(spec["payloads"][b][u]), np.uint8)
        bits[b, u, : num_bits[b, u]] = np.unpackbits(payload)[: num_bits[b, u]]
    known = scheme.reconstruct(CsiReport(bits, num_bits))
    valid = np.ones(num_bits.shape, bool) if known.valid is None else known.valid
    np.savez(path, value=known.h if known.w is None else known.w, valid=valid)


for line in sys.stdin:
    try:
        answer(*json.loads(line))
        print("answered: done", flush=True)
    except Exception:
        print("answered: " + repr(traceback.format_exc()), flush=True)
"""


@pytest.fixture(scope="module")
def gnb():
    """Asks a process that has never seen a channel for the CSI of reports; ``ask(spec, path)`` writes it to a file."""
    command = [sys.executable, "-c", CHILD]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:

        def ask(spec, path):
            child.stdin.write(json.dumps([spec, str(path)]) + "\n")
            child.stdin.flush()
            answer = next(line for line in child.stdout if line.startswith("answered: "))
            assert answer == "answered: done\n", answer

        yield ask
        child.stdin.close()


@cache
def public_config(name, weights):
    """Configuration of the link that a scheme is tested in; weights fix their own."""
    if weights is None:
        return CONFIG
    trained = TrainedModel(weights).input
    panel = Panel(trained.n1, trained.n2, trained.num_pol)
    antennas = trained.num_rx_ant if trained.target == "mimo" else 2
    return CsiConfig(panel, antennas, trained.num_subcarriers, trained.spacing_hz, subband_size=4)


def new_scheme(name, params):
    return made("feedback", name, public_config(name, params.get("weights")), seed=SEED, **params)


SCHEMES = {}


def scheme_of(name, params):
    """The same object in all tests: schemes keep nothing from one report to the next."""
    key = json.dumps([name, params], sort_keys=True)
    if key not in SCHEMES:
        SCHEMES[key] = new_scheme(name, params)
    return SCHEMES[key]


def csi(scheme, rng, batch=3, users=2):
    return testing.plane_waves(scheme.config, rng, batch, users)


def value(known):
    return known.h if known.w is None else known.w


@pytest.mark.parametrize(("name", "given"), cases("feedback"))
class TestFeedback:
    def test_channels_that_differ_in_power(self, name, params, rng):
        """Reconstructed at -120 and at -60 dB alike, the amplitude sent and counted; or refused with the reason."""
        config = public_config(name, params.get("weights"))
        ranged = dataclasses.replace(config, amplitude_range_db=(-200.0, 40.0))
        try:
            scheme = registry.build("feedback", name, ranged, seed=SEED, **params)
        except ConfigError as error:
            assert error.field.startswith(f"feedback.{name}.") and "normalization" in str(error)
            return
        if not scheme.explicit:
            return
        h = csi(scheme_of(name, params), rng).h_hat[:, :1]
        h = (h / np.sqrt(np.mean(np.abs(h) ** 2, axis=(2, 3, 4), keepdims=True)) * [[[[[1e-6]]], [[[1e-3]]]]]).astype(
            "c8"
        )
        report = scheme.report(CsiEstimate(h, np.zeros(h.shape[:2], np.float32)))
        known = scheme.reconstruct(report)
        assert known.valid is None or known.valid.all()
        energy = [np.sum(np.abs(x.astype(complex)) ** 2, axis=(3, 4)) for x in (known.h, h)]
        ratio_db = 10 * np.log10(energy[0] / energy[1])  # [drop, user, rx_ant]
        step_db = 240 / (2 ** params.get("scale_bits", 8) - 1)
        assert np.abs(ratio_db[:, 0] - ratio_db[:, 1]).max() < step_db + 3
        assert np.abs(np.median(ratio_db)) < step_db + 15, "the scale is lost"

    # What "bits_alone" finds between two objects is found between two processes.
    @pytest.mark.parametrize("check", [c for c in testing.FEEDBACK_CHECKS if c is not testing.feedback.bits_alone])
    def test_contract(self, name, params, check, rng):
        check(scheme_of(name, params), rng)

    def test_labels_tell_variants_apart(self, name, params, files):
        labels = [scheme_of(name, files(other)).label for other in PARAMS["feedback"].get(name, [{}])]
        assert len(set(labels)) == len(labels)

    def test_bits_alone_in_another_process(self, name, params, rng, gnb, tmp_path):
        """What crosses the uplink are bytes and a length; the gNB is a process that has never seen the channel."""
        scheme = scheme_of(name, params)
        report = scheme.report(csi(scheme, rng))
        spec = {
            "name": name,
            "params": params,
            "seed": SEED,
            "config": dataclasses.asdict(scheme.config),
            "num_bits": report.num_bits.tolist(),
            "payloads": [[report.to_bytes(b, u).hex() for u in range(2)] for b in range(3)],
        }
        gnb(spec, tmp_path / "known.npz")
        here = scheme.reconstruct(report)
        with np.load(tmp_path / "known.npz") as there:
            assert there["valid"].all()
            assert_close(there["value"], value(here), 1e-6)

    def test_no_users(self, name, params, rng):
        if "user_bits" not in params:  # the number of users is fixed
            testing.feedback.empty_batch(scheme_of(name, params), rng, (3, 0))

    def test_every_prefix_of_a_nested_report_is_a_report(self, name, params, rng, files):
        """As are the longest reports that a scheme of this kind sends; longer ones are refused."""
        scheme = scheme_of(name, params)
        if not scheme.nested:
            pytest.skip("reports are not nested")
        longest = max(
            (scheme_of(name, files(other)) for other in PARAMS["feedback"].get(name, [{}])), key=lambda s: s.max_bits
        )
        report = longest.report(csi(longest, rng, longest.max_bits, 1))
        lengths = np.minimum(report.num_bits, 1 + np.arange(longest.max_bits)[:, None])
        known = scheme.reconstruct(CsiReport(report.bits, lengths))
        assert testing.feedback.checked_reconstruction(scheme, known, longest.max_bits, 1).all()
        beyond = longest.max_bits + 1
        with pytest.raises(PayloadError):
            scheme.reconstruct(CsiReport(np.zeros((1, 1, beyond), np.uint8), np.full((1, 1), beyond)))


# Precoders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "given"), cases("precoders"))
@pytest.mark.parametrize("check", testing.PRECODER_CHECKS)
def test_precoders(name, params, check, rng):
    check(made("precoders", name, **params), rng)


# Kinds whose checks take what constructs a part -----------------------------------------------------------------------

# Kind: checks, and the first arguments of its constructors.
CHECKS = {
    "coders": (testing.CODER_CHECKS, ()),
    "estimation_models": (testing.ESTIMATION_MODEL_CHECKS, ()),
    "estimators": (testing.ESTIMATOR_CHECKS, (testing.estimator.GEOMETRY,)),
    "metrics": (testing.METRIC_CHECKS, ()),
    "prediction_models": (testing.PREDICTION_MODEL_CHECKS, ()),
    "predictors": (testing.PREDICTOR_CHECKS, (testing.predictor.GEOMETRY,)),
    "quantizers": (testing.QUANTIZER_CHECKS, ()),
    "refiners": (testing.REFINER_CHECKS, (12, 2)),
    "report_refiners": (testing.REPORT_REFINER_CHECKS, ()),
}


@pytest.fixture(scope="module")
def part_of():
    """The same object in all tests: parts keep nothing from one call to the next."""
    parts = {}

    def find(kind, name, params):
        key = json.dumps([kind, name, params], sort_keys=True)
        if key not in parts:
            params, args = dict(params), list(CHECKS[kind][1])
            if kind == "coders":  # the first argument of coders is no parameter
                args.append(params.pop("alphabet"))
            parts[key] = testing.Part(kind, name, *args, **params)
            if kind != "coders":  # they are built from what fit() finds
                parts[key].__dict__["one"] = made(kind, name, *args, **params)
        return parts[key]

    return find


@pytest.mark.parametrize(
    ("kind", "check", "name", "given"),
    [
        pytest.param(kind, check, *case.values, id=f"{kind}-{check.__name__}-{case.id}", marks=case.marks)
        for kind, (checks, _) in CHECKS.items()
        for case in cases(kind)
        for check in checks
        # Networks learn the phase from channels turned at random, not exactly.
        if not (check is testing.predictor.common_phase and case.values[0] == "network")
    ],
)
def test_contract(kind, check, name, params, part_of, rng):
    check(part_of(kind, name, params), rng)


def test_every_kind_has_its_checks():
    """Importers have theirs in tests/unit/test_importers.py, with files of each format, tasks in test_tasks.py."""
    others = {"channels", "feedback", "importers", "models", "precoders", "tasks"}
    assert set(CHECKS) | others == set(registry.KINDS)


# Channels ------------------------------------------------------------------------------------------------------------


def models():
    """Networks that compress images, with what they need next to the number of latents; klt is fitted, not trained."""
    special = {"stnet": {"shape": (32, 32), "num_latents": 16}, "learned_transform": {}}
    slow = ("attention_csinet", "stqenet", "evt", "stnet")
    return [
        pytest.param(name, special.get(name, {"num_latents": 16}), marks=[pytest.mark.long] if name in slow else [])
        for name in registry.names("models")
        if name != "klt"
    ]


@pytest.mark.long
@pytest.mark.parametrize(("name", "params"), models())
def test_models(name, params):
    testing.check_model(name, **{"shape": (16, 16), **params})


@pytest.mark.parametrize(("name", "given"), cases("channels"))
def test_channels(name, params, tmp_path, monkeypatch, rng, eager):
    if name == "site":
        try:
            working_llvm()
        except StoreError as error:
            pytest.skip(str(error))
        monkeypatch.setenv("CSILINK_CACHE", str(tmp_path))
    if name == "recorded":
        layout = ChannelLayout.of(testing.GEOMETRY)
        with StoreWriter(tmp_path / "s", layout, name="s") as writer:
            writer.add("test", noise(rng, 200, *layout.entry_shape).astype(np.complex64))
            writer.finish({})
        params = {**params, "store": str(tmp_path / "s")}
    made("channels", name, testing.GEOMETRY, **params)
    testing.check_channel(name, **params)
