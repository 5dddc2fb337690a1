"""Codeword refiners: counts of the paper, independent NumPy forwards, public weight files written by hand."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import erf

from receivers.models.attention import TransformerLayer
from receivers.models.codeword_refiner import WholeCodebook, from_tokens, to_tokens
from receivers.models.llama import LlamaLayer
from receivers.models.lvm4cf import Lvm4cf
from receivers.models.refiners import FcRefiner, Gpt2Refiner, MlpRefiner, TransformerRefiner
from receivers.weights.safetensors import SafetensorsFolder, load_backbone
from simulator.core.errors import ConfigError

KINDS = [Lvm4cf, FcRefiner, TransformerRefiner, MlpRefiner, lambda n, p: Gpt2Refiner(n, p, 48, 4, 2)]


def value(x):
    return np.asarray(ops.convert_to_numpy(x))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def llama_by_hand(x, w, norms, heads, causal):
    """One sample float64 ``[token, dim]``, head by head and pair by pair."""

    def norm(x, scale):
        return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6) * scale

    tokens, dim = x.shape
    depth = dim // heads
    y = norm(x, norms[0])
    out = np.zeros_like(x)
    for head in range(heads):
        part = slice(head * depth, (head + 1) * depth)
        q, k, v = (y @ w[n][:, part] for n in "qkv")
        for array in (q, k):
            for t in range(tokens):
                for i in range(depth // 2):
                    angle = t * 10000.0 ** (-2 * i / depth)
                    a, b = array[t, i], array[t, i + depth // 2]
                    array[t, i] = a * np.cos(angle) - b * np.sin(angle)
                    array[t, i + depth // 2] = b * np.cos(angle) + a * np.sin(angle)
        products = q @ k.T / np.sqrt(depth)
        if causal:
            products[np.triu_indices(tokens, 1)] = -np.inf
        out[:, part] = softmax(products) @ v
    x = x + out @ w["o"]
    y = norm(x, norms[1])
    gate = y @ w["gate"]
    return x + (gate / (1 + np.exp(-gate)) * (y @ w["up"])) @ w["down"]


@pytest.mark.parametrize("causal", [False, True])
def test_llama_layer_is_the_published_one(causal, rng):
    layer = LlamaLayer(3, 20, causal)
    x = rng.standard_normal((4, 5, 24)).astype(np.float32)
    layer(x)
    for norm in layer.norms:
        norm.scale.assign(rng.uniform(0.5, 2, 24))
    w = {name: value(kernel).astype(np.float64) for name, kernel in layer.kernels.items()}
    norms = [value(norm.scale).astype(np.float64) for norm in layer.norms]
    expected = [llama_by_hand(sample.astype(np.float64), w, norms, 3, causal) for sample in x]
    np.testing.assert_allclose(value(layer(x)), expected, atol=1e-5)


def test_gpt2_block_is_the_published_one(rng):
    layer = TransformerLayer(3, 96, norm="pre", activation="gelu_tanh")
    x = rng.standard_normal((2, 4, 24)).astype(np.float32)
    layer(x)
    for weight in layer.weights:
        weight.assign(rng.standard_normal(weight.shape) * 0.3)
    a, w = layer.self_attn, {}
    for name, variable in {
        "ln1": layer.norms[0].gamma, "b1": layer.norms[0].beta, "ln2": layer.norms[1].gamma, "b2": layer.norms[1].beta,
        "qkv": a.in_kernel, "qkvb": a.in_bias, "o": a.out_kernel, "ob": a.out_bias, "up": layer.up.kernel,
        "upb": layer.up.bias, "down": layer.down.kernel, "downb": layer.down.bias,
    }.items():  # fmt: skip
        w[name] = value(variable).astype(np.float64)

    def norm(x, gamma, beta):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * gamma + beta

    y = x.astype(np.float64)
    q, k, v = np.split(norm(y, w["ln1"], w["b1"]) @ w["qkv"] + w["qkvb"], 3, axis=-1)
    heads = [
        softmax(q[..., s] @ np.swapaxes(k[..., s], 1, 2) / np.sqrt(8)) @ v[..., s]
        for s in (slice(8 * i, 8 * i + 8) for i in range(3))
    ]
    y = y + np.concatenate(heads, axis=-1) @ w["o"] + w["ob"]
    u = norm(y, w["ln2"], w["b2"]) @ w["up"] + w["upb"]
    u = 0.5 * u * (1 + np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3)))  # gelu_new
    np.testing.assert_allclose(value(layer(x)), y + u @ w["down"] + w["downb"], atol=2e-5)


def test_embedding_and_head_of_lvm4cf(rng):
    """Without layers: W2 GELU(LN(W1 x + b1)) + b2, then tanh(W3 x + b3), Eqs. (18), (21)."""
    model = Lvm4cf(8, 2, d_model=12, num_layers=0)
    x = rng.standard_normal((3, 2, 8)).astype(np.float32)
    w1, b1, gamma, beta, w2, b2, w3, b3 = (value(w).astype(np.float64) for w in model.network.weights)
    y = x @ w1 + b1
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5) * gamma + beta
    y = 0.5 * y * (1 + erf(y / np.sqrt(2)))
    np.testing.assert_allclose(value(model(x)), np.tanh((y @ w2 + b2) @ w3 + b3), atol=1e-5)


@pytest.mark.long
def test_parameters_of_the_paper():
    assert Lvm4cf.num_params(128, 2, 4096, 11008, 2) == 413_952_128
    for sizes in ((16, 2, 24, 50, 3), (12, 1, 16, 8, 1)):
        ports, pol, d_model, hidden, depth = sizes
        model = Lvm4cf(ports, pol, d_model, hidden, 2, depth)
        assert model.count_params() == Lvm4cf.num_params(*sizes)


@pytest.mark.slow
def test_the_size_of_the_paper_can_be_built(monkeypatch):
    """1.7 GB, of zeros."""
    monkeypatch.setattr(
        keras.initializers.VarianceScaling, "__call__", lambda self, shape, dtype: ops.zeros(shape, dtype)
    )
    model = Lvm4cf(128, 2, 4096, 11008, 32, 2)
    assert model.count_params() == 413_952_128
    model.freeze_backbone()
    assert sum(int(np.prod(w.shape)) for w in model.trainable_variables) == 9_201_792


@pytest.mark.long
def test_freezing_leaves_embedding_head_and_norms():
    model = Lvm4cf(16, 2, 24, 50, 2, 3)
    model.freeze_backbone()
    count = sum(int(np.prod(w.shape)) for w in model.trainable_variables)
    assert count == Lvm4cf.num_params(16, 2, 24, 50, 3) - 3 * (4 * 24**2 + 3 * 24 * 50)
    gpt = Gpt2Refiner(16, 2, 24, 2, 2)
    before = gpt.count_params()
    gpt.freeze_backbone()
    block = 24 * 72 + 72 + 24 * 24 + 24 + 24 * 96 + 96 + 96 * 24 + 24
    assert sum(int(np.prod(w.shape)) for w in gpt.trainable_variables) == before - 2 * block


@pytest.mark.parametrize("budget", [50_000, 428_992, 3_000_000])
def test_the_control_has_its_budget(budget):
    assert 0.98 * budget < MlpRefiner(64, 2, budget).count_params() <= budget


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_pol", [1, 2])
def test_refiners_keep_shapes_and_configurations(kind, num_pol, rng):
    model = kind(16, num_pol)
    x = rng.standard_normal((3, num_pol, 32 // num_pol)).astype(np.float32)
    assert value(model(x)).shape == x.shape
    twin = type(model).from_config(model.get_config())
    twin.set_weights(model.get_weights())
    np.testing.assert_array_equal(value(twin(x)), value(model(x)))


def test_tokens_hold_one_polarisation_each(rng):
    words = rng.standard_normal((5, 6)) + 1j * rng.standard_normal((5, 6))
    tokens = to_tokens(words, 2)
    np.testing.assert_allclose(tokens[2, 1], np.concatenate([words[2, 3:].real, words[2, 3:].imag]), rtol=1e-6)
    back = from_tokens(3 * tokens)
    np.testing.assert_allclose(back, words / np.linalg.norm(words, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("shape", [(7,), (7, 1)])
def test_a_whole_codebook_is_refined_as_its_words_are(shape, rng):
    model = FcRefiner(16, 2)
    words = rng.standard_normal((5, 2, 16)).astype(np.float32)
    index = rng.integers(0, 5, shape).astype(np.int32)
    expected = value(model(words[index.ravel()]))
    np.testing.assert_allclose(value(WholeCodebook(model, words)(index)), expected, atol=1e-6)


# Public weights ------------------------------------------------------------------------------------------------------


def write_safetensors(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (kind, array) in tensors.items():
        raw = array.tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def bfloat16(x):
    return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def test_number_formats(tmp_path, rng):
    x = rng.standard_normal((3, 4)).astype(np.float32)
    write_safetensors(
        tmp_path / "a.safetensors", {"f": ("F32", x), "h": ("F16", x.astype(np.float16)), "b": ("BF16", bfloat16(x))}
    )
    source = SafetensorsFolder(tmp_path)
    np.testing.assert_array_equal(source.tensor("f", (3, 4)), x)
    np.testing.assert_array_equal(source.tensor("h", (3, 4)), x.astype(np.float16))
    truncated = (bfloat16(x).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(source.tensor("b", (3, 4)), truncated)
    assert np.abs(truncated / x - 1).max() < 2**-7


def llama_files(folder, rng, dim=8, hidden=12, layers=2):
    names = {"self_attn.q_proj": (dim, dim), "self_attn.k_proj": (dim, dim), "self_attn.v_proj": (dim, dim)}
    names |= {"self_attn.o_proj": (dim, dim), "mlp.gate_proj": (hidden, dim), "mlp.up_proj": (hidden, dim)}
    names |= {"mlp.down_proj": (dim, hidden), "input_layernorm": (dim,), "post_attention_layernorm": (dim,)}
    for layer in range(layers):
        tensors = {
            f"model.layers.{layer}.{name}.weight": ("F32", rng.standard_normal(shape).astype(np.float32))
            for name, shape in names.items()
        }
        write_safetensors(folder / f"model-{layer}.safetensors", tensors)


def test_llama_weights_reach_their_places(tmp_path, rng):
    llama_files(tmp_path, rng, layers=3)
    model = Lvm4cf(8, 2, 8, 12, 2, 2)
    note = load_backbone(model, tmp_path)
    assert note["layers"] == 2 and len(note["sha256"]) == 64
    source = SafetensorsFolder(tmp_path)
    w = {
        name: source.tensor(f"model.layers.1.{theirs}.weight", shape).T.astype(np.float64)
        for name, theirs, shape in (
            ("q", "self_attn.q_proj", (8, 8)), ("k", "self_attn.k_proj", (8, 8)), ("v", "self_attn.v_proj", (8, 8)),
            ("o", "self_attn.o_proj", (8, 8)), ("gate", "mlp.gate_proj", (12, 8)), ("up", "mlp.up_proj", (12, 8)),
            ("down", "mlp.down_proj", (8, 12)),
        )
    }  # fmt: skip
    norms = [source.tensor(f"model.layers.1.{n}.weight", (8,)) for n in ("input_layernorm", "post_attention_layernorm")]
    x = rng.standard_normal((1, 2, 8)).astype(np.float32)
    expected = llama_by_hand(x[0].astype(np.float64), w, norms, 2, False)
    np.testing.assert_allclose(value(model.backbone[1](x))[0], expected, rtol=1e-4, atol=1e-4)


def test_gpt2_weights_reach_their_places(tmp_path, rng):
    model = Gpt2Refiner(8, 2, 12, 2, 1)
    shapes = {
        "ln_1.weight": (12,), "ln_1.bias": (12,), "attn.c_attn.weight": (12, 36), "attn.c_attn.bias": (36,),
        "attn.c_proj.weight": (12, 12), "attn.c_proj.bias": (12,), "ln_2.weight": (12,), "ln_2.bias": (12,),
        "mlp.c_fc.weight": (12, 48), "mlp.c_fc.bias": (48,), "mlp.c_proj.weight": (48, 12), "mlp.c_proj.bias": (12,),
    }  # fmt: skip
    tensors = {f"h.0.{n}": ("F32", rng.standard_normal(s).astype(np.float32)) for n, s in shapes.items()}
    write_safetensors(tmp_path / "model.safetensors", tensors)
    load_backbone(model, tmp_path)
    layer = model.backbone[0]
    np.testing.assert_array_equal(value(layer.self_attn.in_kernel), tensors["h.0.attn.c_attn.weight"][1])
    np.testing.assert_array_equal(value(layer.down.kernel), tensors["h.0.mlp.c_proj.weight"][1])
    np.testing.assert_array_equal(value(layer.norms[1].beta), tensors["h.0.ln_2.bias"][1])


@pytest.mark.long
def test_wrong_weight_files(tmp_path, rng):
    with pytest.raises(ConfigError, match=r"pretrained.*safetensors"):
        SafetensorsFolder(tmp_path)
    llama_files(tmp_path, rng, layers=1)
    with pytest.raises(ConfigError, match=r"model\.layers\.1\.self_attn\.q_proj"):
        load_backbone(Lvm4cf(8, 2, 8, 12, 2, 2), tmp_path)
    with pytest.raises(ConfigError, match=r"gate_proj.*\(12, 8\).*\(16, 8\)"):
        load_backbone(Lvm4cf(8, 2, 8, 16, 2, 1), tmp_path)
    with pytest.raises(ConfigError, match="backbone"):
        load_backbone(FcRefiner(8), tmp_path)
    path = tmp_path / "model-0.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ConfigError, match=r"octets"):
        load_backbone(Lvm4cf(8, 2, 8, 12, 2, 1), tmp_path)
    path.write_bytes(b"\xff" * 30)
    with pytest.raises(ConfigError, match="header"):
        SafetensorsFolder(tmp_path)


@pytest.mark.long
def test_gradients_reach_every_weight(rng):
    for kind in KINDS:
        model = kind(8, 2)
        model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse", jit_compile=False)
        before = model.get_weights()
        x = rng.standard_normal((8, *model.network.input_shape[1:])).astype(np.float32)
        model.train_on_batch(x, x)
        assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
