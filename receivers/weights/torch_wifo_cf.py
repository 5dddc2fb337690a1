"""Published PyTorch checkpoints of WiFo-CF into the same network in Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from receivers.models.wifo_cf import RELEASED
from receivers.weights.torch import Tensor, assign_all, by_name, layer_pairs, same, without_prefix
from simulator.core.errors import StoreError

Pairs = Iterator[tuple[str, Any, Callable[[Tensor], Tensor]]]
# Experts of a token in the published networks by their number of experts: no tensor shows it.
_TOP_K = {31: 3, 16: 2}


def wifo_cf_params(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of the network that a checkpoint belongs to, with the conventions of the released code.

    The checkpoint shows all sizes but the number of heads (8 as published) and of the experts of a token (3 of 31, 2 of
    16; otherwise to be given).

    Args:
        state: tensors by their torch names; a prefix ``module.`` is ignored.

    Raises:
        StoreError: no checkpoint of WiFo-CF.
    """
    shapes = {key: np.shape(value) for key, value in without_prefix(state).items()}

    def count(start: str) -> int:
        rest = (key.removeprefix(start).split(".")[0] for key in shapes if key.startswith(start))
        return len({part for part in rest if part.isdigit()})

    try:
        experts, (hidden, dim) = (
            count("encoder.layer.0.moe.experts."),
            shapes["encoder.layer.0.moe.experts.0.w1.weight"],
        )
        shared = shapes.get("decoder.layer.0.moe.shared_experts.w1.weight", (0, 0))[0]
        patches = [shapes[f"csi_2d_patch_{i}.weight"][2:] for i in (1, 2, 3) if f"csi_2d_patch_{i}.weight" in shapes]
        sizes = {
            "dim": dim,
            "depth": count("encoder.layer."),
            "decoder_depth": count("decoder.layer."),
            "patch_dim": shapes["proj_output_encoder.weight"][0],
            "num_experts": experts,
            "decoder_shared": shared // hidden,
            "expert_dim": hidden,
            "conv_dim": shapes["cnn_compression.0.weight"][0],
            "patches": tuple(patches),
        }
    except (KeyError, ValueError) as error:
        names = ", ".join(list(shapes)[:4])
        raise StoreError(f"checkpoint is no wifo_cf of this kind (no {error}; first names: {names})") from None
    top_k = {"top_k": _TOP_K[experts]} if experts in _TOP_K else {}
    return {**sizes, **top_k, **RELEASED}


def load_wifo_cf(model: Any, state: Mapping[str, Tensor]) -> None:
    """Set the variables of a :class:`~receivers.models.wifo_cf.WiFoCf` from a checkpoint.

    Order of entries: the released output layers have (re/im, row, column) of a patch, ours (row, column, re/im).

    Args:
        model: network of the same size, see :func:`wifo_cf_params`.
        state: tensors by their torch names; a prefix ``module.`` is ignored.

    Raises:
        StoreError: a tensor without a variable, a variable without a tensor, or shapes that differ; names are listed.
    """
    assign_all("wifo_cf", model, _pairs(model), by_name(state))


def _pairs(model: Any) -> Pairs:
    """Torch name, Keras variable and conversion of every tensor."""
    patches = model.get_config()["patches"]
    for index, (tokeniser, head, patch) in enumerate(zip(model.tokenisers, model.heads, patches, strict=True), 1):
        key = f"csi_2d_patch_{index}"
        yield f"{key}.weight", tokeniser.kernel, lambda w: w.transpose(2, 3, 1, 0).reshape(-1, w.shape[0])
        yield f"{key}.bias", tokeniser.bias, same
        yield f"embed_proj_bs_{index}.weight", head.kernel, lambda w, patch=patch: _entries_last(w, patch).T
        yield f"embed_proj_bs_{index}.bias", head.bias, lambda w, patch=patch: _entries_last(w, patch)
    named = {
        "proj_embed_encoder": model.embed,
        "proj_output_encoder": model.bridge,
        "proj_embed_decoder": model.restore,
    }
    for key, layer in named.items():
        yield from layer_pairs(layer, key)
    for side, blocks, norm in (
        ("encoder", model.encoder, model.norm),
        ("decoder", model.decoder, model.decoder_norm),
    ):
        for index, block in enumerate(blocks):
            yield from _expert_layer(block, f"{side}.layer.{index}")
        yield f"{side}.norm.weight", norm.scale, same
    for key, convolutions in (("cnn_compression", model.compressor), ("cnn_expansion", model.expander)):
        parts = zip(convolutions.wide, convolutions.norms, convolutions.narrow, strict=True)
        for index, (wide, norm, narrow) in enumerate(parts):
            yield from layer_pairs(wide, f"{key}.{4 * index}")
            yield from layer_pairs(norm, f"{key}.{4 * index + 1}")
            yield from layer_pairs(narrow, f"{key}.{4 * index + 3}.conv")
        yield from layer_pairs(convolutions.last, f"{key}.12")
        yield from layer_pairs(convolutions.last_norm, f"{key}.13")


def _expert_layer(block: Any, module: str) -> Pairs:
    for attention, name in zip(block.attentions, ("self_attn", "multihead_attn"), strict=False):
        yield from layer_pairs(attention, f"{module}.{name}")
    for index, norm in enumerate(block.norms, 1):
        yield f"{module}.norm{index}.weight", norm.scale, same
    experts, gate = block.experts, f"{module}.moe"
    yield f"{gate}.gate.weight", experts.gate, np.transpose
    # Ours keep the kernels of all experts in one variable, theirs each its own: `by_name` has stacked them.
    for part, variables in (("experts", experts.routed), ("shared_experts", experts.shared)):
        for name, (kernel, bias) in zip(("w1", "w3", "w2"), zip(*[iter(variables)] * 2, strict=True), strict=False):
            count = kernel.shape[0]
            if part == "experts":
                yield f"{gate}.experts.{name}.weight", kernel, lambda w: w.transpose(0, 2, 1)
                yield f"{gate}.experts.{name}.bias", bias, lambda w: w[:, None]
            elif name == "w2":  # one network as wide as all shared experts together; its bias counts once
                yield f"{gate}.{part}.w2.weight", kernel, lambda w, n=count: w.T.reshape(n, -1, w.shape[0])
                yield f"{gate}.{part}.w2.bias", bias, lambda w, n=count: np.stack([w / n] * n)[:, None]
            else:
                yield (
                    f"{gate}.{part}.{name}.weight",
                    kernel,
                    lambda w, n=count: w.reshape(n, -1, w.shape[1]).transpose(0, 2, 1),
                )
                yield f"{gate}.{part}.{name}.bias", bias, lambda w, n=count: w.reshape(n, 1, -1)


def _entries_last(w: Tensor, patch: tuple[int, int]) -> Tensor:
    """Rows (re/im, row, column) in the order (row, column, re/im)."""
    return np.moveaxis(w.reshape(2, *patch, *w.shape[1:]), 0, 2).reshape(w.shape)
