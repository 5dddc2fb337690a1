"""Every registered plug-in keeps the contract of its interface; a new one is tested without writing a test.

A plug-in that is built without parameters needs nothing here. Others have their parameters in ``PARAMS``.
"""

import atexit
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from keras import ops
from tolerances import assert_close

from benchmarks.percentiles import percentile
from csilink import testing
from receivers.codebooks.rvq import rvq_codebook
from receivers.codebooks.stored import write_codebook
from receivers.models.wifo_cf import WiFoCf
from receivers.training.wifo_cf import write_weights
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
    ScalarQuantizer,
)
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel, RadioGeometry
from simulator.data.layout import ChannelLayout
from simulator.data.writer import StoreWriter
from simulator.outcomes import CsiOutcome, LinkOutcome
from simulator.phy.llvm import working_llvm
from simulator.throughput.blocks import ThroughputOutcome

ARCHITECTURES = ("csinet", "evt", "klt", "transnet-250", "vb-")
WEIGHTS = {name: next(iter(n for n in zoo_names() if n.startswith(name)), None) for name in ARCHITECTURES}
PANEL = Panel(3, 2, 2)
CODEBOOKS = Path(mkdtemp(prefix="csilink-codebooks-"))
atexit.register(shutil.rmtree, CODEBOOKS, ignore_errors=True)
write_codebook(CODEBOOKS / "ds", "one", PANEL, {"uma": rvq_codebook(12, 5, 1)})
write_codebook(
    CODEBOOKS / "ss",
    "two",
    PANEL,
    {e: rvq_codebook(12, 6, i) for i, e in enumerate(("uma", "rma", "umi"))},
    side="ss",
    base=9,
)


def untrained_wifo_cf(path):
    """A folder of weights whose codewords differ from channel to channel, as those of trained weights do."""
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
    return str(path)


WIFO_CF = untrained_wifo_cf(CODEBOOKS / "wifo-cf")
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
            {"path": str(CODEBOOKS / "ds"), "frequency": "subband"},
            {"path": str(CODEBOOKS / "ss"), "environment": "rma"},
        ],
        "type1": [{}, {"mode": 2, "rank": 1}],
        "type2-r15": [{"beams": 3, "psk": 4}, {"subband_amplitude": True}],
        "etype2-r16": [{"combination": 3}, {"combination": 5, "rank": 1}],
        "beamdelay": [{"bits": 70}, {"step": 0.2, "bits": 70}],
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
            {"weights": WIFO_CF, "bits": 7},
            {"weights": WIFO_CF, "user_bits": [9, 8], "scale_bits": 5},
            {"weights": WIFO_CF, "users": "single", "bits": 8},
            {"weights": WIFO_CF, "uplink_snr_db": 10.0},
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
    "precoders": {"rzf": [{}, {"loading": 0.1}]},
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
        slow = (kind == "feedback" and number) or name in ("umi", "uma", "rma", "site", "wmmse", "klt", "rp-mpq")
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


@pytest.mark.parametrize(("name", "params"), cases("feedback"))
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

    @pytest.mark.parametrize("check", [c for c in testing.FEEDBACK_CHECKS if c is not testing.wrong_length])
    def test_contract(self, name, params, check, rng):
        check(scheme_of(name, params), rng)

    def test_labels_tell_variants_apart(self, name, params):
        labels = [scheme_of(name, other).label for other in PARAMS["feedback"].get(name, [{}])]
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
            testing.empty_batch(scheme_of(name, params), rng, (3, 0))

    @pytest.mark.parametrize("change", ["shorter", "longer", "empty", "without columns"])
    def test_a_wrong_length_is_refused(self, name, params, change, rng):
        testing.wrong_length(scheme_of(name, params), rng, (change,))

    def test_every_prefix_of_a_nested_report_is_a_report(self, name, params, rng):
        """As are the longest reports that a scheme of this kind sends; longer ones are refused."""
        scheme = scheme_of(name, params)
        if not scheme.nested:
            pytest.skip("reports are not nested")
        longest = max(
            (scheme_of(name, other) for other in PARAMS["feedback"].get(name, [{}])), key=lambda s: s.max_bits
        )
        report = longest.report(csi(longest, rng, longest.max_bits, 1))
        lengths = np.minimum(report.num_bits, 1 + np.arange(longest.max_bits)[:, None])
        known = scheme.reconstruct(CsiReport(report.bits, lengths))
        assert testing.checked_reconstruction(scheme, known, longest.max_bits, 1).all()
        beyond = longest.max_bits + 1
        with pytest.raises(PayloadError):
            scheme.reconstruct(CsiReport(np.zeros((1, 1, beyond), np.uint8), np.full((1, 1), beyond)))


# Quantisers and coders -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "params"), cases("quantizers"))
class TestQuantizers:
    def test_levels_and_idempotence(self, name, params):
        quantizer = made("quantizers", name, **params)
        index = np.arange(2**quantizer.bits)[:, None]
        levels = quantizer.dequantize(index)
        assert levels.dtype == np.float32 and levels.shape == (len(index), quantizer.dim)
        assert (np.abs(levels) <= 1).all() and len(np.unique(levels, axis=0)) == len(levels)
        assert quantizer.dim > 1 or (np.diff(levels[:, 0]) > 0).all()
        np.testing.assert_array_equal(quantizer.quantize(levels), index)

    def test_empty_batch(self, name, params):
        quantizer = made("quantizers", name, **params)
        index = quantizer.quantize(np.zeros((0, 6), np.float32))
        assert index.shape == (0, 6 // quantizer.dim) and index.dtype == np.int64
        assert quantizer.dequantize(index).shape == tuple(quantizer.soft(ops.zeros((0, 6))).shape) == (0, 6)
        if isinstance(quantizer, ScalarQuantizer):
            assert [tuple(edge.shape) for edge in quantizer.cell(ops.zeros((0, 6)))] == [(0, 6)] * 2

    def test_every_value_has_a_cell(self, name, params, rng):
        quantizer = made("quantizers", name, **params)
        x = np.sort(rng.uniform(-1.5, 1.5, (60, 40)).astype(np.float32), axis=None).reshape(-1, 3 * 2)
        index = quantizer.quantize(x)
        assert index.dtype == np.int64 and index.shape == (len(x), 6 // quantizer.dim)
        if quantizer.dim == 1:  # cells are intervals
            assert (np.diff(index.ravel()) >= 0).all()
            assert index.min() == 0 and index.max() == 2**quantizer.bits - 1
        odd = quantizer.quantize(np.array([np.nan, np.inf, -np.inf, 1e30, 0.0, -1e-40]))
        assert odd.min() >= 0 and odd.max() < 2**quantizer.bits
        once = quantizer.dequantize(index)
        assert once.shape == x.shape
        np.testing.assert_array_equal(quantizer.dequantize(quantizer.quantize(once)), once)

    def test_soft_path_is_the_hard_path(self, name, params, rng):
        quantizer = made("quantizers", name, **params)
        x = rng.uniform(-1.2, 1.2, (7, 300)).astype(np.float32)
        soft = np.asarray(ops.convert_to_numpy(quantizer.soft(ops.convert_to_tensor(x))))
        np.testing.assert_array_equal(soft, quantizer.dequantize(quantizer.quantize(x)))

    def test_ends_of_the_cells(self, name, params, rng):
        """Of scalar quantisers, for the integral of a prior: true borders, gradient of the identity."""
        quantizer = made("quantizers", name, **params)
        if not isinstance(quantizer, ScalarQuantizer):
            return
        import tensorflow as tf

        x = tf.constant(rng.uniform(-1.2, 1.2, (5, 60)).astype(np.float32))
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            lower, upper = quantizer.cell(x)
        index = quantizer.quantize(x.numpy())
        ends = np.concatenate([[-1e9], quantizer.borders, [1e9]]).astype(np.float32)
        np.testing.assert_array_equal(lower, ends[index])
        np.testing.assert_array_equal(upper, ends[index + 1])
        for end in (lower, upper):
            np.testing.assert_array_equal(tape.gradient(end, x), np.ones(x.shape))
        middle = np.float32((quantizer.borders[:-1] + quantizer.borders[1:]) / 2)
        np.testing.assert_array_equal(quantizer.quantize(middle), np.arange(1, 2**quantizer.bits - 1))

    def test_fitted_parameters_build_it(self, name, params, rng):
        """What ``fit`` returns is a constructor's argument and not worse on its data."""
        x = np.tanh(0.3 * rng.standard_normal((400, 6))).astype(np.float32)
        known = {k: v for k, v in params.items() if k != "bits"}
        fitted = registry.load("quantizers", name).fit(x, params["bits"], **known)
        better = made("quantizers", name, **{**params, **json.loads(json.dumps(fitted))})
        plain = made("quantizers", name, **params)
        error, before = (np.mean((q.dequantize(q.quantize(x)) - x) ** 2) for q in (better, plain))
        assert error <= before * 1.001


@pytest.mark.parametrize(("name", "params"), cases("coders"))
@pytest.mark.parametrize("alphabet", [2, 16, 100])
class TestCoders:
    def build(self, name, params, symbols, alphabet):
        fitted = registry.load("coders", name).fit(np.bincount(symbols.ravel(), minlength=alphabet))
        return made("coders", name, alphabet, **{**json.loads(json.dumps(fitted)), **params})

    def symbols(self, rng, alphabet):
        return np.minimum(rng.geometric(0.2, (30, 64)) - 1, alphabet - 1)

    def test_exact_round_trip(self, name, params, alphabet, rng):
        symbols = self.symbols(rng, alphabet)
        coder = self.build(name, params, symbols, alphabet)
        bits, num_bits = coder.encode(symbols)
        assert coder.num_symbols == alphabet
        assert bits.dtype == np.uint8 and bits.max() <= 1 and bits.shape[0] == 30
        assert num_bits.shape == (30,) and num_bits.max() <= min(bits.shape[1], coder.max_bits(64))
        assert not bits[np.arange(bits.shape[1]) >= num_bits[:, None]].any()
        decoded, valid = coder.decode(bits, num_bits, 64)
        assert valid.dtype == bool and valid.all()
        np.testing.assert_array_equal(decoded, symbols)

    def test_a_table_for_every_position(self, name, params, alphabet, rng):
        """Fitted to counts ``[table, symbol]``; symbols that never occurred can be sent all the same."""
        shift = rng.integers(0, alphabet, 64)
        symbols = (np.minimum(rng.geometric(0.5, (60, 64)) - 1, alphabet - 1) + shift) % alphabet
        counts = np.stack([np.bincount(column, minlength=alphabet) for column in symbols.T])
        fit = registry.load("coders", name).fit
        coder = made("coders", name, alphabet, **{**json.loads(json.dumps(fit(counts))), **params})
        pooled = made("coders", name, alphabet, **{**fit(counts.sum(axis=0)), **params})
        unseen = rng.integers(0, alphabet, (60, 64))
        for sent in (symbols, unseen, np.tile(symbols, 2)):
            bits, num_bits = coder.encode(sent)
            decoded, valid = coder.decode(bits, num_bits, sent.shape[1])
            assert valid.all() and num_bits.max() <= coder.max_bits(sent.shape[1])
            np.testing.assert_array_equal(decoded, sent)
        assert coder.encode(symbols)[1].mean() <= pooled.encode(symbols)[1].mean() + 1

    def test_never_below_the_entropy(self, name, params, alphabet, rng):
        symbols = self.symbols(rng, alphabet)
        _, num_bits = self.build(name, params, symbols, alphabet).encode(symbols)
        share = np.bincount(symbols.ravel()) / symbols.size
        entropy = -np.sum(share[share > 0] * np.log2(share[share > 0]))
        assert num_bits.mean() / 64 >= entropy - 1e-9

    def test_empty_batch(self, name, params, alphabet, rng):
        coder = self.build(name, params, self.symbols(rng, alphabet), alphabet)
        bits, num_bits = coder.encode(np.zeros((0, 64), np.int64))
        assert len(bits) == 0 and num_bits.shape == (0,)
        for sent in (bits, bits[:, :0]):
            decoded, valid = coder.decode(sent, num_bits, 64)
            assert decoded.shape == (0, 64) and valid.shape == (0,)

    def test_random_bits_never_raise(self, name, params, alphabet, rng):
        symbols = self.symbols(rng, alphabet)
        coder = self.build(name, params, symbols, alphabet)
        bits = rng.integers(0, 2, (300, coder.max_bits(64)), dtype=np.uint8)
        decoded, valid = coder.decode(bits, rng.integers(0, bits.shape[1] + 1, 300), 64)
        assert decoded.shape == (300, 64) and valid.shape == (300,)
        assert decoded.min() >= 0 and decoded.max() < alphabet


# Precoders and estimators --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "params"), cases("precoders"))
@pytest.mark.parametrize("check", testing.PRECODER_CHECKS)
def test_precoders(name, params, check, rng):
    check(made("precoders", name, **params), rng)


@pytest.mark.parametrize(("name", "params"), cases("estimators"))
class TestEstimators:
    GEOMETRY = RadioGeometry(3.5e9, PANEL, 2, 2, 24, 360e3, num_slots=2, subcarriers_per_sample=12)

    def channels(self, rng, batch):
        """Exponential delay profile of 100 ns; one UE is 26 dB stronger than the other."""
        delays = rng.exponential(100e-9, (batch, 2, 1, 1, 1, 40, 1)) * 360e3
        waves = np.exp(-2j * np.pi * delays * np.arange(24))
        h = (noise(rng, batch, 2, 2, 12, 2, 1, 40) @ waves)[..., 0, :] / np.sqrt(40)
        return (h * np.float32([1, 20])[:, None, None, None, None]).astype(np.complex64)

    def test_error_is_as_declared(self, name, params, rng):
        estimator = made("estimators", name, self.GEOMETRY, **params)
        h = self.channels(rng, 60)
        before = h.copy()
        estimate = estimator.estimate(h, seed=3)
        np.testing.assert_array_equal(h, before)
        assert estimate.h_hat.shape == h.shape and estimate.h_hat.dtype == np.complex64
        assert estimate.error_var.shape == (60, 2, 2) and estimate.error_var.dtype == np.float32
        assert np.isfinite(estimate.h_hat).all() and (estimate.error_var >= 0).all()
        error = np.mean(np.abs(estimate.h_hat - h) ** 2, axis=(2, 3, 5), dtype=np.float64)
        exact = estimate.error_var == 0
        assert (error[exact] == 0).all()
        if not exact.all():
            np.testing.assert_allclose(error.mean(axis=(0, 2)), estimate.error_var.mean(axis=(0, 2)), rtol=0.1)

    def test_empty_batch(self, name, params):
        estimator = made("estimators", name, self.GEOMETRY, **params)
        estimate = estimator.estimate(np.zeros((0, 2, 2, 12, 2, 24), np.complex64), seed=3)
        assert estimate.h_hat.shape == (0, 2, 2, 12, 2, 24) and estimate.error_var.shape == (0, 2, 2)

    def test_an_estimate_depends_on_the_channel_of_its_ue_alone(self, name, params, rng):
        estimator = made("estimators", name, self.GEOMETRY, **params)
        h = self.channels(rng, 3)
        changed = h.copy()
        changed[1, 1] = 5 * h[0, 0]
        one, two = (estimator.estimate(x, seed=3) for x in (h, changed))
        same = np.ones((3, 2), bool)
        same[1, 1] = False
        if not getattr(estimator, "inr_db", None):  # interference of other cells is drawn for the batch
            np.testing.assert_array_equal(one.h_hat[same], two.h_hat[same])
            np.testing.assert_array_equal(one.error_var[same], two.error_var[same])

    def test_seeds(self, name, params, rng):
        estimator = made("estimators", name, self.GEOMETRY, **params)
        h = self.channels(rng, 4)
        one, again, other = (estimator.estimate(h, seed=s) for s in (3, 3, 4))
        np.testing.assert_array_equal(one.h_hat, again.h_hat)
        assert (one.h_hat != other.h_hat).any() or not one.error_var.any()

    def test_the_future_is_not_used(self, name, params, rng):
        estimator = made("estimators", name, self.GEOMETRY, **params)
        h = self.channels(rng, 4)
        changed = h.copy()
        changed[..., 1, :] = 0
        np.testing.assert_array_equal(
            *(estimator.estimate(x, seed=3).h_hat[..., 0, :] for x in (h, changed)),
        )


# Predictors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "params"), cases("predictors"))
class TestPredictors:
    GEOMETRY = RadioGeometry(3.5e9, PANEL, 2, 2, 7, 360e3, num_slots=20, slot_s=1e-3, speed_mps=3.0)

    def history(self, predictor, rng):
        """Three rays per UE with a Doppler shift of their own, on all antennas and subcarriers, in some noise."""
        slots = predictor.num_history + 3
        phases = np.exp(2j * np.pi * 0.2 * rng.uniform(-1, 1, (3, 2, 1, 1, 1, 3)) * np.arange(slots)[:, None])
        h = phases @ noise(rng, 3, 2, 2, 12, 3, 7) + 0.1 * noise(rng, 3, 2, 2, 12, slots, 7)
        return h.astype(np.complex64)

    def test_prediction(self, name, params, rng):
        """Shape, dtype, a future that depends on how far it is, and no changes of the history."""
        predictor = made("predictors", name, self.GEOMETRY, **params)
        history = self.history(predictor, rng)
        before = history.copy()
        for ahead in (0, 1, 2 if predictor.horizon is None else min(2, predictor.horizon)):
            out = predictor.predict(history, ahead)
            assert isinstance(out, np.ndarray) and out.dtype == np.complex64 and out.shape == (3, 2, 2, 12, 7)
            assert np.isfinite(out).all()
        np.testing.assert_array_equal(history, before)
        np.testing.assert_array_equal(predictor.predict(history, 0), history[..., -1, :])

    def test_deterministic_and_without_memory(self, name, params, rng):
        predictor = made("predictors", name, self.GEOMETRY, **params)
        fresh = made("predictors", name, self.GEOMETRY, **params)
        history = self.history(predictor, rng)
        out = predictor.predict(history, 1)
        predictor.predict(self.history(predictor, rng), 1)
        for again in (predictor, fresh):
            np.testing.assert_array_equal(again.predict(history, 1), out)

    def test_the_common_phase_and_the_scale_do_not_matter(self, name, params, rng):
        """Networks learn the phase from channels turned at random, not exactly."""
        predictor = made("predictors", name, self.GEOMETRY, **params)
        history = self.history(predictor, rng)
        factor = np.complex64(8 if name == "network" else 8 * np.exp(0.7j))
        assert_close(predictor.predict(factor * history, 1), factor * predictor.predict(history, 1), 1e-4)

    def test_empty_batch(self, name, params):
        predictor = made("predictors", name, self.GEOMETRY, **params)
        history = np.zeros((0, 2, 2, 12, predictor.num_history + 2, 7), np.complex64)
        for ahead in (0, 1):
            assert predictor.predict(history, ahead).shape == (0, 2, 2, 12, 7)

    def test_a_prediction_depends_on_the_channel_of_its_ue_alone(self, name, params, rng):
        predictor = made("predictors", name, self.GEOMETRY, **params)
        history = self.history(predictor, rng)
        changed = history.copy()
        changed[1, 1] = 3 * history[0, 0]
        one, two = (predictor.predict(x, 1) for x in (history, changed))
        same = np.ones((3, 2), bool)
        same[1, 1] = False
        np.testing.assert_array_equal(one[same], two[same])

    def test_zeros_and_slots_of_zeros(self, name, params, rng):
        """Of which the gNB knows nothing: finite values."""
        predictor = made("predictors", name, self.GEOMETRY, **params)
        history = self.history(predictor, rng)
        for start in (1, history.shape[4] // 2, history.shape[4]):
            history[..., :start, :] = 0
            assert np.isfinite(predictor.predict(history, 1)).all()

    def test_limits(self, name, params, rng):
        """Of history and horizon, in words of the scenario."""
        predictor = made("predictors", name, self.GEOMETRY, **params)
        need = predictor.num_history
        history = self.history(predictor, rng)
        assert 1 <= need and predictor.predict(history[..., -need:, :], 1).shape == (3, 2, 2, 12, 7)
        with pytest.raises(ConfigError, match=rf"^time\.history_slots: got {need - 1}"):
            predictor.predict(history[..., : need - 1, :], 1)
        with pytest.raises(ConfigError, match=r"^uplink\.delay_slots: got -1"):
            predictor.predict(history, -1)
        if predictor.horizon is not None:
            with pytest.raises(ConfigError, match=r"^uplink\.delay_slots"):
                predictor.predict(history, predictor.horizon + 1)


# Channels ------------------------------------------------------------------------------------------------------------


def models():
    """Networks that compress images, with what they need beside the number of latents; klt is fitted, not trained."""
    special = {"stnet": {"shape": (32, 32), "num_latents": 16}, "learned_transform": {}}
    slow = ("attention_csinet", "stqenet", "evt", "stnet")
    return [
        pytest.param(name, special.get(name, {"num_latents": 16}), marks=[pytest.mark.long] if name in slow else [])
        for name in registry.names("models")
        if name != "klt"
    ]


@pytest.mark.parametrize(("name", "params"), models())
def test_models(name, params):
    testing.check_model(name, **{"shape": (16, 16), **params})


@pytest.mark.parametrize(("name", "params"), cases("channels"))
def test_channels(name, params, tmp_path, monkeypatch, rng):
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


# Metrics -------------------------------------------------------------------------------------------------------------


def outcomes(rng):
    """A perfect and a poor outcome of each scope."""
    h = noise(rng, 6, 3, 2, 4, 2, 5)
    c2 = rng.uniform(0.2, 0.6, (6, 3, 2, 2, 5)).astype(np.float32)
    v = np.moveaxis(np.linalg.qr(noise(rng, 12, 3, 3, 4, 2))[0], -1, 2)  # two layers, three subbands
    num_bits, snr_db = rng.integers(5, 60, (6, 3, 2)), (0.0, 10.0)
    rate = rng.uniform(1, 6, (2, 6, 3, 2)).astype(np.float32)
    targets, odd = ((0.9, 0.95), (1.0, 2.0)), (num_bits % 2 == 1, num_bits % 4 == 2)
    uneven = np.array([0.1, 0.4, 0.4], np.float32)[:, None]  # of the users

    def blocks(share, mcs):
        """Transport blocks of which ``share`` arrives."""
        index = np.full(rate.shape, mcs)
        index[..., 0, 0] = -1
        bler = np.where(index >= 0, 1 - share, 0).astype(np.float32)
        goodput = share * rate * (index >= 0)
        return ThroughputOutcome(index >= 0, bler, index, np.where(index >= 0, 1, 0), goodput, 6.0)

    return {
        "csi": (
            CsiOutcome(
                *(h, h, np.ones_like(c2), num_bits, snr_db, 0, 1e9 * num_bits, num_bits < 0, num_bits < 0),
                directions=lambda: (v, v),
            ),
            CsiOutcome(
                *(h, h + noise(rng, *h.shape), c2, num_bits + 1, snr_db, 0, 1e9 * num_bits + 1e9, *odd),
                directions=lambda: (v, noise(np.random.default_rng(1), *v.shape)),
            ),
        ),
        "link": (
            LinkOutcome(rate, rate, *targets, rank=np.full(rate.shape, 2), max_rank=2, throughput=blocks(0.95, 12)),
            LinkOutcome(
                uneven * rate, rate, *targets, rank=np.ones(rate.shape, int), max_rank=2, throughput=blocks(0.5, 3)
            ),
        ),
    }


@pytest.mark.parametrize(("name", "params"), cases("metrics"))
class TestMetrics:
    def test_declares_itself(self, name, params):
        metric = made("metrics", name, **params)
        assert metric.unit and metric.better in ("higher", "lower", "one")
        assert metric.scope in ("csi", "link")
        assert metric.reduce in ("mean", "max") or 0 < percentile(metric.reduce) < 1

    def test_values_per_drop(self, name, params, rng):
        metric = made("metrics", name, **params)
        for outcome in outcomes(rng)[metric.scope]:
            values = metric.evaluate(outcome)
            assert values and all(key.startswith(name) for key in values)
            for drops in values.values():
                assert drops.dtype == np.float64 and np.isfinite(drops).all()
                if percentile(metric.reduce) is not None:
                    assert drops.shape[-1] == 6  # reports of a drop
                    drops = drops[..., 0]
                assert drops.shape in ([(6,), (2, 6)] if metric.scope == "csi" else [(2, 6)])
                assert np.isfinite(metric.finalize(drops.mean(axis=-1), 10.0)).all()
                low, high = metric.bounds_of(outcome) or (-np.inf, np.inf)
                assert low <= drops.min() and drops.max() <= high

    def test_empty_batch(self, name, params, rng):
        """Of no drop, a value of no drop."""
        metric = made("metrics", name, **params)
        outcome = outcomes(rng)[metric.scope][0]
        axis = 0 if metric.scope == "csi" else 1

        def none(thing):
            arrays = {k: v for k, v in vars(thing).items() if isinstance(v, np.ndarray)}
            return dataclasses.replace(thing, **{k: np.take(v, [], axis=axis) for k, v in arrays.items()})

        empty = none(outcome)
        if metric.scope == "csi":
            empty = dataclasses.replace(empty, directions=lambda: tuple(x[:0] for x in outcome.directions()))
        else:
            empty = dataclasses.replace(empty, throughput=none(outcome.throughput))
        for full, drops in zip(metric.evaluate(outcome).values(), metric.evaluate(empty).values(), strict=True):
            assert drops.size == 0 and drops.ndim == full.ndim

    def test_perfect_is_better_than_poor(self, name, params, rng):
        metric = made("metrics", name, **params)
        perfect, poor = (metric.evaluate(outcome) for outcome in outcomes(rng)[metric.scope])
        assert set(perfect) == set(poor)
        for key in perfect:
            tail = 1 if percentile(metric.reduce) is None else 2
            good, bad = (
                metric.finalize(v[key].mean(axis=tuple(range(v[key].ndim - tail, v[key].ndim))), 10.0)
                for v in (perfect, poor)
            )
            distance = {"higher": lambda x: -x, "lower": lambda x: x, "one": lambda x: abs(x - 1)}[metric.better]
            assert (distance(good) < distance(bad)).all()

    def test_implicit_schemes(self, name, params, rng):
        """Without a channel at the gNB a metric is left out or computed from directions."""
        metric = made("metrics", name, **params)
        if metric.scope == "csi":
            implicit = dataclasses.replace(outcomes(rng)["csi"][0], h_hat=None)
            assert all(np.isfinite(v).all() for v in metric.evaluate(implicit).values())
