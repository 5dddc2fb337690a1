"""Published PyTorch checkpoints of the Mamba block, and of the Mamba-Transformer autoencoder, into Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from receivers.weights.torch import Tensor, assign_all, layer_pairs, same, without_prefix
from simulator.core.errors import StoreError

Pairs = Iterator[tuple[str, Any, Callable[[Tensor], Tensor]]]
# Options of the released autoencoder that differ from our defaults.
RELEASED = {"attention_axis": "batch", "cross_attention": "target", "chunk": 8}


def load_mamba(block: Any, state: Mapping[str, Tensor]) -> None:
    """Set the variables of a built :class:`~receivers.models.mamba.Mamba` from the released block's (version 1).

    Raises:
        StoreError: a tensor without a variable, a variable without a tensor, or shapes that differ; names are listed.
    """
    assign_all("mamba", block, _block_pairs(block), without_prefix(state))


def mamba_transformer_params(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of the autoencoder that a checkpoint belongs to, with the conventions of the released code.

    Args:
        state: tensors by their torch names; a prefix ``module.`` is ignored.

    Raises:
        StoreError: no checkpoint of the Mamba-Transformer autoencoder.
    """
    shapes = {key: np.shape(value) for key, value in without_prefix(state).items()}

    def count(start: str) -> int:
        return len({key.removeprefix(start).split(".")[0] for key in shapes if key.startswith(start)})

    try:
        maps = shapes["encoder.stem.0.weight"][0]
        return {
            "num_latents": shapes["encoder.fc.weight"][0],
            "maps": maps,
            "num_blocks": count("encoder.layers."),
            "state": shapes["encoder.layers.0.vss.1.A_logs"][1],
            "expand": shapes["encoder.layers.0.vss.1.in_proj.weight"][0] // (2 * maps),
            "dim": shapes["decoder.decoder.layers.0.norm1.weight"][0],
            "hidden": shapes["decoder.decoder.layers.0.linear1.weight"][0],
            "num_layers": count("decoder.decoder.layers."),
            **RELEASED,
        }
    except KeyError as error:
        names = ", ".join(list(shapes)[:4])
        raise StoreError(f"checkpoint is no mamba_transformer (no {error}; first names: {names})") from None


def load_mamba_transformer(network: Any, state: Mapping[str, Tensor]) -> None:
    """Set the variables of a :class:`~receivers.models.mamba_transformer.MambaTransformer` from a checkpoint.

    Order of pixels: the released encoder flattens its 8 maps as they are, ours first puts them in their places.

    Args:
        network: of the same size, see :func:`mamba_transformer_params`.
        state: tensors by their torch names; a prefix ``module.`` is ignored.

    Raises:
        StoreError: a tensor without a variable, a variable without a tensor, or shapes that differ; names are listed.
    """
    assign_all("mamba_transformer", network, _pairs(network), without_prefix(state))


def _pairs(network: Any) -> Pairs:
    config = network.get_config()
    rows, columns = config["height"] // 2, config["width"] // 2

    def placed(w: Tensor) -> Tensor:  # [latent, (row, column, component) of a map, height, width]
        w = w.reshape(len(w), 2, 2, 2, rows, columns)
        return w.transpose(0, 3, 4, 1, 5, 2).reshape(len(w), -1).T

    yield from layer_pairs(network.find("stem"), "encoder.stem.0")
    yield from layer_pairs(network.find("stem-norm"), "encoder.stem.1")
    for index in range(config["num_blocks"]):
        layer, module = network.find(f"mamba{index}"), f"encoder.layers.{index}"
        yield f"{module}.norm.gamma", layer.norm.gamma, same
        yield f"{module}.norm.beta", layer.norm.beta, same
        yield f"{module}.alpha", layer.gain, lambda w: w.reshape(1)
        yield from _image_pairs(layer.mamba, f"{module}.vss.1")
    yield from layer_pairs(network.find("project"), "encoder.proj_conv")
    yield "encoder.fc.weight", network.find("codeword").kernel, placed
    yield "encoder.fc.bias", network.find("codeword").bias, same
    yield from layer_pairs(network.find("expand"), "decoder.fc_decoder")
    for index in range(config["num_layers"]):
        yield from layer_pairs(network.find(f"decoder-layer{index}"), f"decoder.decoder.layers.{index}")


def _image_pairs(layer: Any, module: str) -> Pairs:
    """The block with four directions: one tensor for all of them, two with directions and channels in one axis."""
    yield from layer_pairs(layer.in_proj, f"{module}.in_proj")
    yield f"{module}.conv2d.weight", layer.conv.kernel, lambda w: w.transpose(2, 3, 0, 1)
    yield f"{module}.conv2d.bias", layer.conv.bias, same
    scan = layer.scan
    yield f"{module}.x_proj_weight", scan.x_proj, lambda w: w.transpose(0, 2, 1)
    yield f"{module}.dt_projs_weight", scan.dt_proj, lambda w: w.transpose(0, 2, 1)
    yield f"{module}.dt_projs_bias", scan.dt_bias, same
    yield f"{module}.A_logs", scan.a_log, lambda w: w.reshape(4, -1, w.shape[1])
    yield f"{module}.Ds", scan.skip, lambda w: w.reshape(4, -1)
    yield from layer_pairs(layer.norm, f"{module}.out_norm")
    yield from layer_pairs(layer.out_proj, f"{module}.out_proj")


def _block_pairs(block: Any) -> Pairs:
    yield from layer_pairs(block.in_proj, "in_proj")
    yield "conv1d.weight", block.conv.kernel, lambda w: w.transpose(2, 0, 1)
    if block.conv_bias:
        yield "conv1d.bias", block.conv.bias, same
    scan = block.scan
    yield "x_proj.weight", scan.x_proj, lambda w: w.T[None]
    yield "dt_proj.weight", scan.dt_proj, lambda w: w.T[None]
    yield "dt_proj.bias", scan.dt_bias, lambda w: w[None]
    yield "A_log", scan.a_log, lambda w: w[None]
    yield "D", scan.skip, lambda w: w[None]
    yield from layer_pairs(block.out_proj, "out_proj")
