"""Published PyTorch checkpoints into the same networks in Keras: CRNet, CLNet, TransNet, STNet, WiFo."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import StoreError

Tensor = NDArray[np.floating[Any]]
# Left in checkpoints by profilers and batch normalisation, and the dense layer that STNet's decoder never uses.
_IGNORED = re.compile(r"(^|\.)(total_ops|total_params|num_batches_tracked)$|^decoder\.fc\.(weight|bias)$")

_EXPERT = re.compile(r"(.*\.experts)\.(\d+)(\..*)")

# Tables of positions that WiFo's checkpoints hold and the network with fixed positions does not read.
_WIFO_TABLES = re.compile(r"^(decoder_)?pos_embed_(spatial|temporal|fre|antenna)$")

# Keras layer name to torch module; all other layers have their module's name with dashes for dots.
_NAMES = {
    "crnet": {"codeword": "encoder_fc", "expand": "decoder_fc"},
    "clnet": {"codeword": "encoder.replace_efc", "expand": "decoder.replace_dfc"},
    "transnet": {
        "codeword": "fc_encoder",
        "expand": "fc_decoder",
        "encoder-layer0": "encoder.layer",
        "decoder-layer0": "decoder.layer",
    },
    "stnet": {
        "codeword": "encoder.fc",
        "expand": "decoder.dense_layers.0",
        "encoder-block": "encoder.blocks.0",
        "decoder-block": "decoder.blocks.0",
    },
}
ARCHITECTURES = tuple(_NAMES)


def load_torch_weights(name: str, network: Any, state: Mapping[str, Tensor]) -> None:
    """Set the variables of a network from a checkpoint.

    Args:
        name: "crnet", "clnet", "transnet" or "stnet".
        network: that network, any size.
        state: tensors by their torch names; a prefix ``module.`` is ignored.

    Raises:
        StoreError: a tensor without a variable, a variable without a tensor, or shapes that differ; names are listed.
    """
    assign_all(name, network, _pairs(name, network), without_prefix(state))


def load_wifo(model: Any, state: Mapping[str, Tensor]) -> None:
    """Set the variables of a :class:`~receivers.models.wifo.WiFo` from a checkpoint.

    Tensors of unused position tables are ignored: only fixed positions (``SinCos_3D``) are those of the network.

    Args:
        model: network of the same size; with ``encoder_position="released"``, as published weights were trained.
        state: tensors by their torch names; a prefix ``module.`` is ignored.

    Raises:
        StoreError: a tensor without a variable, a variable without a tensor, or shapes that differ; names are listed.
    """
    tensors = {key: value for key, value in without_prefix(state).items() if not _WIFO_TABLES.search(key)}
    assign_all("wifo", model, _wifo_pairs(model), tensors)


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays by their names without the prefix ``module.``, and without entries that belong to no network."""
    tensors = {key.removeprefix("module."): np.asarray(value) for key, value in state.items()}
    return {key: value for key, value in tensors.items() if not _IGNORED.search(key)}


def by_name(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same with the tensors ``X.experts.0.Y``, ``X.experts.1.Y``, ... stacked as ``X.experts.Y``.

    Raises:
        StoreError: experts of one layer that differ in size, or one that is missing.
    """
    tensors, experts = {}, {}
    for key, value in without_prefix(state).items():
        if match := _EXPERT.fullmatch(key):
            experts.setdefault(match[1] + match[3], {})[int(match[2])] = value
        else:
            tensors[key] = value
    for key, parts in experts.items():
        try:
            tensors[key] = np.stack([parts[i] for i in range(len(parts))])
        except (KeyError, ValueError):
            raise StoreError(f"{key}: experts of one layer must be numbered from 0 and have one shape") from None
    return tensors


def assign_all(
    name: str,
    network: Any,
    pairs: Iterator[tuple[str, Any, Callable[[Tensor], Tensor]]],
    tensors: dict[str, Tensor],
) -> None:
    """Every tensor to its variable; nothing may be left on either side.

    Args:
        name: of the network, for messages.
        network: with variables.
        pairs: torch name, variable and conversion of every tensor.
        tensors: by torch name; emptied.

    Raises:
        StoreError: something is left, or shapes differ; names are listed.
    """
    assigned: dict[int, str] = {}
    missing = []
    for key, variable, convert in pairs:
        if key not in tensors:
            missing.append(key)
            continue
        tensor = tensors.pop(key)
        try:
            value = convert(tensor)
            fits = value.shape == tuple(variable.shape)
        except ValueError:
            fits = False
        if not fits:
            raise StoreError(
                f"{key}: shape {tensor.shape} does not make {tuple(variable.shape)} (another size of {name}?)"
            )
        variable.assign(value)
        assigned[id(variable)] = key
    forgotten = [v.path for v in network.variables if id(v) not in assigned and "seed" not in v.path]
    if missing or tensors or forgotten:
        parts = {"missing tensors": missing, "tensors without a place": sorted(tensors), "variables left": forgotten}
        found = "; ".join(f"{what}: {', '.join(names[:5])}" for what, names in parts.items() if names)
        raise StoreError(f"checkpoint is no {name} of this kind ({found})")


def _pairs(name: str, network: Any) -> Iterator[tuple[str, Any, Callable[[Tensor], Tensor]]]:
    """Torch name, Keras variable and conversion of every tensor."""
    names, seen = _NAMES[name], set()
    for side in (network.encoder, network.decoder):
        for layer in side.layers:
            if layer.weights and id(layer) not in seen:
                seen.add(id(layer))
                module = names.get(layer.name, layer.name.replace("-", "."))
                if name == "stnet" and module.startswith("decoder_feature"):
                    module = f"decoder.{module}"
                yield from layer_pairs(layer, module)


def layer_pairs(layer: Any, module: str) -> Iterator[tuple[str, Any, Callable[[Tensor], Tensor]]]:
    """Torch name, Keras variable and conversion of every tensor of one layer."""
    kind = type(layer).__name__
    if kind == "Conv2D":
        yield f"{module}.weight", layer.kernel, lambda w: w.transpose(2, 3, 1, 0)
        yield from _bias(layer, module)
    elif kind == "Conv2DTranspose":
        yield f"{module}.weight", layer.kernel, lambda w: w.transpose(2, 3, 1, 0)
        yield from _bias(layer, module)
    elif kind == "Dense":  # CLNet's are convolutions of length one, its second one transposed
        flip = module.endswith("replace_dfc")
        yield f"{module}.weight", layer.kernel, lambda w: w.reshape(w.shape[:2]) if flip else w.reshape(w.shape[:2]).T
        yield from _bias(layer, module)
    elif kind == "BatchNormalization":
        for suffix, variable in (
            ("weight", layer.gamma),
            ("bias", layer.beta),
            ("running_mean", layer.moving_mean),
            ("running_var", layer.moving_variance),
        ):
            yield f"{module}.{suffix}", variable, same
    elif kind == "LayerNormalization":
        yield f"{module}.weight", layer.gamma, same
        yield f"{module}.bias", layer.beta, same
    elif kind == "RowNormalization":
        yield from layer_pairs(layer.norm, module)
    elif kind == "MultiHeadAttention":
        yield f"{module}.in_proj_weight", layer.in_kernel, np.transpose
        yield f"{module}.in_proj_bias", layer.in_bias, same
        yield f"{module}.out_proj.weight", layer.out_kernel, np.transpose
        yield f"{module}.out_proj.bias", layer.out_bias, same
    elif kind == "TransformerLayer":
        yield from layer_pairs(layer.self_attn, f"{module}.self_attn")
        if layer.cross_attn is not None:
            yield from layer_pairs(layer.cross_attn, f"{module}.multihead_attn")
        yield from layer_pairs(layer.up, f"{module}.linear1")
        yield from layer_pairs(layer.down, f"{module}.linear2")
        for index, norm in enumerate(layer.norms, 1):
            yield from layer_pairs(norm, f"{module}.norm{index}")
    elif kind == "SeparableBlock":
        local, far = layer.local_attn, layer.global_attn
        parts = {
            "attn1.qkv": local.qkv,
            "attn1.proj": local.proj,
            "attn2.q": far.q,
            "attn2.kv": far.kv,
            "attn2.proj": far.proj,
            "attn2.sr": far.reduce,
            "attn2.norm": far.norm,
            **{f"norm{i + 1}": norm for i, norm in enumerate(layer.norms)},
            **{f"mlp{i + 1}.cc{j + 1}": layer.mlps[i][j] for i in range(2) for j in range(2)},
        }
        for suffix, part in parts.items():
            yield from layer_pairs(part, f"{module}.{suffix}")
    else:
        raise TypeError(f"no conversion for {kind}")


def _wifo_pairs(model: Any) -> Iterator[tuple[str, Any, Callable[[Tensor], Tensor]]]:
    """As :func:`_pairs`; a patch is flattened with real and imaginary part last."""
    embed = "Embedding.value_embedding.tokenConv"
    yield f"{embed}.weight", model.embed.kernel, lambda w: w.transpose(2, 3, 4, 1, 0).reshape(-1, w.shape[0])
    yield f"{embed}.bias", model.embed.bias, same
    yield "mask_token", model.mask_token, lambda w: w.reshape(w.shape[-1:])
    parts = {
        "norm1": lambda block: block.norms[0],
        "attn.q": lambda block: block.query,
        "attn.k": lambda block: block.key,
        "attn.v": lambda block: block.value,
        "attn.proj": lambda block: block.out,
        "norm2": lambda block: block.norms[1],
        "mlp.fc1": lambda block: block.up,
        "mlp.fc2": lambda block: block.down,
    }
    modules = {
        f"{side}.{index}.{suffix}": find(block)
        for side, blocks in (("blocks", model.encoder), ("decoder_blocks", model.decoder))
        for index, block in enumerate(blocks)
        for suffix, find in parts.items()
    }
    modules |= {"norm": model.norm, "decoder_embed": model.bridge}
    modules |= {"decoder_norm": model.decoder_norm, "decoder_pred": model.head}
    yield from chain.from_iterable(layer_pairs(layer, module) for module, layer in modules.items())


def _bias(layer: Any, module: str) -> Iterator[tuple[str, Any, Callable[[Tensor], Tensor]]]:
    if layer.use_bias:
        yield f"{module}.bias", layer.bias, same


def same(value: Tensor) -> Tensor:
    """The tensor as it is."""
    return value
