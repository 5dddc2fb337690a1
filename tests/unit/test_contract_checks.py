"""Every check of csilink.testing finds a plug-in that is wrong in just this way, and lets the right one pass.

Those of feedback schemes, precoders, channels and models have theirs in test_face.py.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops

from csilink import testing
from csilink.testing import coding, estimator, importer, metric, prediction_model, predictor, refiner, report_refiner
from receivers.coding.fixed import FixedLengthCoder
from receivers.coding.huffman import HuffmanCoder
from receivers.models.autoencoder import arguments
from receivers.models.beam_transformer import BeamTransformer
from receivers.models.codeword_refiner import CodewordRefiner
from receivers.models.sequence_predictor import SequencePredictor
from receivers.quantization.uniform import UniformQuantizer
from simulator.core.errors import StoreError
from simulator.core.interfaces import Estimator, Metric, Predictor
from simulator.core.types import CsiEstimate, Panel
from simulator.data.importer import Importer
from simulator.data.layout import ChannelLayout

# Predictors ----------------------------------------------------------------------------------------------------------


class Hold(Predictor):
    num_history = 1

    def __init__(self, geometry):
        self.calls = 0

    def predict(self, history, num_slots):
        self.check(history.shape[4], num_slots)
        return self.change(history[..., -1, :].copy(), history)

    def change(self, last, history):
        return last


class Wide(Hold):
    change = lambda self, last, history: last.astype(complex)  # noqa: E731


class Counts(Hold):
    def change(self, last, history):
        self.calls += 1
        return last * np.float32(self.calls)


class Clipped(Hold):
    change = lambda self, last, history: last / (1 + np.abs(last))  # noqa: E731


class RealPart(Hold):
    change = lambda self, last, history: last.real.astype(np.complex64)  # noqa: E731


class MeanOfBatch(Hold):
    change = lambda self, last, history: last + last.mean(axis=0)  # noqa: E731


class Divides(Hold):
    def change(self, last, history):
        power = np.mean(np.abs(history) ** 2, axis=(2, 3, 4, 5), keepdims=True)[..., 0]
        with np.errstate(all="ignore"):
            return last * (power / power)


class NoShape(Hold):
    change = lambda self, last, history: last if len(last) else last.ravel()  # noqa: E731


class Careless(Hold):
    check = lambda self, history_slots, num_slots: None  # noqa: E731

    def change(self, last, history):
        return last


# Estimators ----------------------------------------------------------------------------------------------------------


class Noisy(Estimator):
    def __init__(self, geometry):
        self.geometry = geometry

    def estimate(self, h, *, seed):
        rng = np.random.default_rng(self.seed(seed))
        noise = (rng.standard_normal((*h.shape, 2)) @ [1, 1j] * np.sqrt(0.05)).astype(np.complex64)
        return CsiEstimate(self.seen(h) + noise, self.declared(np.full((*h.shape[:2], h.shape[4]), 0.1, np.float32)))

    seed = staticmethod(lambda seed: seed)
    seen = staticmethod(lambda h: h)
    declared = staticmethod(lambda error_var: error_var)


class Optimistic(Noisy):
    declared = staticmethod(lambda error_var: error_var / 2)


class NoShapeOfError(Noisy):
    declared = staticmethod(lambda error_var: error_var if len(error_var) else error_var.ravel())


class Leaks(Noisy):
    seen = staticmethod(lambda h: h + h.mean(axis=0) / 100)


class OneSeed(Noisy):
    seed = staticmethod(lambda seed: 1)


class LooksAhead(Noisy):
    seen = staticmethod(lambda h: h + h.mean(axis=4, keepdims=True) / 100)


# Quantisers and coders -----------------------------------------------------------------------------------------------


class DoubleLevels(UniformQuantizer):
    def dequantize(self, index):
        return super().dequantize(index).astype(float)


class SwappedLevels(UniformQuantizer):
    def dequantize(self, index):
        return -super().dequantize(index)


class NoCellForNan(UniformQuantizer):
    def quantize(self, x):
        return np.where(np.isnan(x), -1, super().quantize(x))


class SoftIsIdentity(UniformQuantizer):
    soft = lambda self, x: x  # noqa: E731


class NoGradient(UniformQuantizer):
    soft = lambda self, x: ops.stop_gradient(UniformQuantizer.soft(self, x))  # noqa: E731


class WideCells(UniformQuantizer):
    cell = lambda self, x: tuple(1.5 * end for end in UniformQuantizer.cell(self, x))  # noqa: E731


class FitsWorse(UniformQuantizer):
    @classmethod
    def fit(cls, samples, bits):
        return {"bits": 1}


class NoShapeOfIndex(UniformQuantizer):
    def dequantize(self, index):
        levels = super().dequantize(index)
        return levels if len(levels) else levels.ravel()


class Saturates(FixedLengthCoder):
    def encode(self, symbols):
        return super().encode(np.minimum(symbols, self.num_symbols // 2))


class TablesUpsideDown(HuffmanCoder):
    @classmethod
    def fit(cls, counts):
        return HuffmanCoder.fit(counts.max() - counts + 1 if counts.ndim == 2 else counts)


class Flatters(FixedLengthCoder):
    def encode(self, symbols):
        bits, num_bits = super().encode(symbols)
        return bits, num_bits // 2


class OneReport(FixedLengthCoder):
    def encode(self, symbols):
        bits, num_bits = super().encode(symbols)
        return bits, num_bits if len(symbols) else np.zeros(1, np.int64)


class Outside(FixedLengthCoder):
    def decode(self, bits, num_bits, num_symbols):
        symbols, valid = super().decode(bits, num_bits, num_symbols)
        return np.where(valid[:, None], symbols, self.num_symbols), valid


# Metrics -------------------------------------------------------------------------------------------------------------


class MeanRate(Metric):
    unit, better, scope, bounds = "bit/s/Hz", "higher", "link", (0.0, 100.0)

    def evaluate(self, outcome):
        return {"mean_rate": np.mean(outcome.rate, axis=(2, 3), dtype=np.float64)}


class Best(MeanRate):
    better = "best"


class Single(MeanRate):
    evaluate = lambda self, outcome: {"mean_rate": np.mean(outcome.rate, axis=(2, 3))}  # noqa: E731


class OutOfBounds(MeanRate):
    bounds = (0.0, 1.0)


class OfNoDrop(MeanRate):
    def evaluate(self, outcome):
        return {"mean_rate": np.array([np.mean(outcome.rate, axis=(1, 2, 3), dtype=np.float64)]).T}


class LowerRate(MeanRate):
    better = "lower"


class Error(Metric):
    unit, better, scope = "1", "lower", "csi"

    def evaluate(self, outcome):
        h_hat = np.nan if outcome.h_hat is None else outcome.h_hat
        error = np.abs(outcome.h - h_hat) ** 2
        return {"error": np.mean(error, axis=tuple(range(1, error.ndim)), dtype=np.float64)}


# Importers -----------------------------------------------------------------------------------------------------------


class Plain(Importer):
    def __init__(self, path):
        if not path.is_file():
            raise StoreError(f"{path}: no such file")
        self.files, self.splits, self.layout = (path,), ("all",), ChannelLayout(Panel(4), 5, 15e3)
        self.h = self.read(path)

    def read(self, path):
        try:
            h = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise StoreError(f"{path}: {error}") from None
        return h

    def blocks(self, split):
        for start in (0, 4):
            yield self.block(self.h[start : start + 4, None, :, None]), {"user": np.arange(start, start + 4)}

    block = staticmethod(lambda h: h)


class WithoutFiles(Plain):
    def __init__(self, path):
        super().__init__(path)
        self.files = ()


class DoubleBlocks(Plain):
    block = staticmethod(lambda h: h.astype(complex))


class NewNoise(Plain):
    block = staticmethod(lambda h: h + np.random.default_rng().random(h.shape).astype(np.float32))


class Invents(Plain):
    def __init__(self, path):
        if path.is_file():
            super().__init__(path)
            return
        self.h, self.splits, self.layout = np.ones((8, 4, 5), np.complex64), ("all",), ChannelLayout(Panel(4), 5, 15e3)


class Repairs(Plain):
    def read(self, path):
        try:
            return super().read(path)
        except StoreError:
            return np.ones((8, 4, 5), np.complex64)


# Networks ------------------------------------------------------------------------------------------------------------


class Denoiser(keras.Model):
    def __init__(self, width: int = 3, **kwargs):
        super().__init__(**kwargs)
        self._config = {"width": width}
        self.hidden, self.gain = layers.Dense(width, activation="silu"), layers.Dense(1)
        self.hidden.build((None, 1))
        self.gain.build((None, width))
        self.built = True

    def call(self, estimate, removed, training=False):
        power = ops.sum(estimate**2 + removed**2, axis=-1, keepdims=True)
        return estimate * self.gain(self.hidden(ops.log(power + 1)))

    def get_config(self):
        return dict(self._config)


class OneDelayLess(Denoiser):
    call = lambda self, estimate, removed, training=False: Denoiser.call(self, estimate, removed)[:, :, :, :, 1:]  # noqa: E731


class ChangeOfBatch(Denoiser):
    def call(self, estimate, removed, training=False):
        change = super().call(estimate, removed)
        return change + ops.mean(change, axis=0)


class LateWeights(Denoiser):
    def __init__(self, width: int = 3, **kwargs):
        super().__init__(width, **kwargs)
        self.late = layers.Dense(2)

    call = lambda self, estimate, removed, training=False: self.late(Denoiser.call(self, estimate, removed))  # noqa: E731


class OtherWidth(Denoiser):
    get_config = lambda self: {"width": self._config["width"] + 2}  # noqa: E731


class Steps(SequencePredictor):
    def __init__(self, group: int = 4, **kwargs):
        config = arguments(locals())
        super().__init__(group, config, **kwargs)
        self.step = layers.Dense(2 * group)
        self.step.build((None, 2 * group))
        self.built = True

    def call(self, history, num_future, training=False):
        last = self.step(self.latest(history))
        return ops.repeat(last[:, None], num_future, axis=1)

    latest = staticmethod(lambda history: history[:, -1])


class OneSlot(Steps):
    forecast = lambda self, history, count, axis=0: Steps.forecast(self, history, count, axis)[:, :1]  # noqa: E731


class Together(Steps):
    latest = staticmethod(lambda history: history[:, -1] + ops.mean(history[:, -1], axis=0))


class FirstSlot(Steps):
    latest = staticmethod(lambda history: history[:, 0])


class OtherGroup(Steps):
    get_config = lambda self: {"group": 2}  # noqa: E731


class Linear(CodewordRefiner):
    def __init__(self, num_ports: int, num_pol: int = 2, **kwargs):
        config = arguments(locals())
        tokens = keras.Input((num_pol, 2 * num_ports // num_pol))
        super().__init__(keras.Model(tokens, layers.Dense(tokens.shape[-1])(tokens)), config, **kwargs)


class NoDefault(Linear):
    def __init__(self, num_ports: int, num_pol: int, width: int, **kwargs):
        super().__init__(num_ports, num_pol, **kwargs)


class Shorter(Linear):
    call = lambda self, x, training=False: CodewordRefiner.call(self, x)[..., :-1]  # noqa: E731


class MeanWord(Linear):
    def call(self, x, training=False):
        refined = super().call(x)
        return refined + ops.mean(refined, axis=0)


class OtherPorts(Linear):
    get_config = lambda self: {"num_ports": 8, "num_pol": 2}  # noqa: E731


# Refiners of reports --------------------------------------------------------------------------------------------------


class SmallTransformer(BeamTransformer):
    def __init__(self, dim: int = 8, num_layers: int = 1, num_heads: int = 1, hidden: int = 8, **kwargs):
        super().__init__(dim, num_layers, num_heads, hidden, **kwargs)


class Doubled(SmallTransformer):
    call = lambda self, tokens, training=False: 2 * super().call(tokens)  # noqa: E731


class SixBeams(SmallTransformer):
    def call(self, tokens, training=False):
        return super().call(tokens)[:, :6]


class MeanLayer(SmallTransformer):
    def call(self, tokens, training=False):
        refined = super().call(tokens)
        return refined + 0.1 * ops.mean(self.head(ops.zeros_like(tokens[..., :8])) + refined, axis=0)


class Large(SmallTransformer):
    def __init__(self, dim: int = 8, **kwargs):
        super().__init__(dim, hidden=70000, **kwargs)


class OtherWidthOfTokens(SmallTransformer):
    get_config = lambda self: {"dim": 16}  # noqa: E731


# Kind: a right plug-in with the arguments of its constructor, and the wrong ones that a check must find.
RIGHT = {
    "predictors": (Hold, (predictor.GEOMETRY,), {}),
    "estimators": (Noisy, (estimator.GEOMETRY,), {}),
    "quantizers": (UniformQuantizer, (), {"bits": 3}),
    "coders": (FixedLengthCoder, (16,), {}),
    "metrics": (MeanRate, (), {}),
    "importers": (Plain, ("a file",), {}),
    "estimation_models": (Denoiser, (), {}),
    "prediction_models": (Steps, (), {}),
    "refiners": (Linear, (12, 2), {}),
    "report_refiners": (SmallTransformer, (), {}),
}
WRONG = {
    ("predictors", predictor.future): [Wide],
    ("predictors", predictor.no_memory): [Counts],
    ("predictors", predictor.scale): [Clipped],
    ("predictors", predictor.common_phase): [RealPart],
    ("predictors", predictor.own_history_alone): [MeanOfBatch],
    ("predictors", predictor.no_csi): [Divides],
    ("predictors", predictor.no_drops): [NoShape],
    ("predictors", predictor.limits): [Careless],
    ("estimators", estimator.declared_error): [Optimistic],
    ("estimators", estimator.no_drops): [NoShapeOfError],
    ("estimators", estimator.own_channel_alone): [Leaks],
    ("estimators", estimator.seeds): [OneSeed],
    ("estimators", estimator.no_future): [LooksAhead],
    ("quantizers", coding.levels): [DoubleLevels, SwappedLevels],
    ("quantizers", coding.cells): [NoCellForNan],
    ("quantizers", coding.soft_is_hard): [SoftIsIdentity, NoGradient],
    ("quantizers", coding.ends_of_cells): [WideCells],
    ("quantizers", coding.fitted): [FitsWorse],
    ("quantizers", coding.no_latents): [NoShapeOfIndex],
    ("coders", coding.round_trip): [Saturates],
    ("coders", coding.table_of_every_position): [TablesUpsideDown, Saturates],
    ("coders", coding.entropy_bound): [Flatters],
    ("coders", coding.no_reports): [OneReport],
    ("coders", coding.random_bits): [Outside],
    ("metrics", metric.declaration): [Best],
    ("metrics", metric.values): [Single, OutOfBounds],
    ("metrics", metric.no_drops): [OfNoDrop],
    ("metrics", metric.perfect_is_better): [LowerRate],
    ("metrics", metric.implicit_schemes): [Error],
    ("importers", importer.attributes): [WithoutFiles],
    ("importers", importer.blocks): [DoubleBlocks],
    ("importers", importer.repeatable): [NewNoise],
    ("importers", importer.missing): [Invents],
    ("importers", importer.damaged): [Repairs],
    ("estimation_models", estimator.change_of_bins): [OneDelayLess],
    ("estimation_models", estimator.own_user_alone): [ChangeOfBatch],
    ("estimation_models", estimator.survives_its_card): [LateWeights, OtherWidth],
    ("prediction_models", prediction_model.future_slots): [OneSlot],
    ("prediction_models", prediction_model.own_channel_alone): [Together],
    ("prediction_models", prediction_model.latest_slot_counts): [FirstSlot],
    ("prediction_models", prediction_model.survives_its_card): [OtherGroup],
    ("refiners", refiner.constructor): [NoDefault],
    ("refiners", refiner.tokens_in_and_out): [Shorter],
    ("refiners", refiner.own_word_alone): [MeanWord],
    ("refiners", refiner.survives_its_card): [OtherPorts],
    ("report_refiners", report_refiner.identity_before_training): [Doubled],
    ("report_refiners", report_refiner.any_panel): [SixBeams],
    ("report_refiners", report_refiner.own_layer_alone): [MeanLayer],
    ("report_refiners", report_refiner.size): [Large],
    ("report_refiners", report_refiner.survives_its_card): [OtherWidthOfTokens],
}
CHECKS = {
    "predictors": testing.PREDICTOR_CHECKS,
    "estimators": testing.ESTIMATOR_CHECKS,
    "quantizers": testing.QUANTIZER_CHECKS,
    "coders": testing.CODER_CHECKS,
    "metrics": testing.METRIC_CHECKS,
    "importers": testing.IMPORTER_CHECKS,
    "estimation_models": testing.ESTIMATION_MODEL_CHECKS,
    "prediction_models": testing.PREDICTION_MODEL_CHECKS,
    "refiners": testing.REFINER_CHECKS,
    "report_refiners": testing.REPORT_REFINER_CHECKS,
}


def part(kind, cls, tmp_path, rng):
    _, args, params = RIGHT[kind]
    if kind == "importers":
        args = (tmp_path / "h.npy",)
        np.save(args[0], testing.common.noise(rng, 8, 4, 5))
    return testing.Part(kind, cls, *args, **params)


def test_every_check_has_a_wrong_plug_in():
    assert set(WRONG) == {(kind, check) for kind, checks in CHECKS.items() for check in checks}


@pytest.mark.parametrize("kind", RIGHT)
def test_the_right_one_passes(kind, tmp_path, rng):
    testing.common.run(CHECKS[kind], part(kind, RIGHT[kind][0], tmp_path, rng))


@pytest.mark.parametrize(
    ("kind", "check", "cls"),
    [pytest.param(*key, cls, id=f"{key[0]}-{key[1].__name__}-{cls.__name__}") for key in WRONG for cls in WRONG[key]],
)
def test_a_wrong_one_is_found(kind, check, cls, tmp_path, rng):
    with pytest.raises(AssertionError):
        check(part(kind, cls, tmp_path, rng), rng)
