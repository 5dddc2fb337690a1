"""First layers of public LLaMA and GPT-2 weights from a local folder of safetensors files; nothing is downloaded."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from receivers.models.codeword_refiner import CodewordRefiner
from receivers.models.gpt2 import Gpt2Body
from receivers.models.llama import LlamaLayer
from receivers.weights.tensor_file import TENSORS, TYPES, read_header
from simulator.core.errors import ConfigError, WeightsError
from simulator.core.paths import inside

# Ours <- theirs, per layer; kernels of torch.nn.Linear are transposed, those of GPT-2's Conv1D are not.
_LLAMA = {
    "q": "self_attn.q_proj.weight",
    "k": "self_attn.k_proj.weight",
    "v": "self_attn.v_proj.weight",
    "o": "self_attn.o_proj.weight",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
}
_LLAMA_NORMS = ("input_layernorm.weight", "post_attention_layernorm.weight")


class SafetensorsFolder:
    """Tensors of all ``*.safetensors`` files of a folder, read one by one from the mapped files.

    bfloat16 is widened here, which the NumPy door of the package `safetensors` refuses.

    Args:
        folder: local folder.
    Raises:
        ConfigError: no such files.
        WeightsError: a malformed header, or a tensor in two files.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._entries: dict[str, tuple[Path, int, dict[str, Any]]] = {}
        self._digest = hashlib.sha256()
        files = [inside(self.folder, path.name) for path in sorted(self.folder.glob(f"*{TENSORS}"))]
        if not files:
            raise ConfigError("pretrained", str(folder), "a folder with *.safetensors files")
        for path in files:
            try:
                start, header = read_header(path)
            except ValueError as error:
                allowed = "a safetensors file with a complete header"
                raise WeightsError("pretrained", f"{path}: {error}", allowed) from None
            for name, entry in header.items():
                if name in self._entries:
                    raise WeightsError("pretrained", f"{path}: {name} a second time", "every tensor in one file")
                self._entries[name] = (path, start, entry)

    def tensor(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Tensor float32 of a name; its octets enter :attr:`sha256`.

        Raises:
            ConfigError: for a missing tensor, another shape, or a type that is not F32, F16 or BF16.
        """
        if name not in self._entries:
            near = [known for known in sorted(self._entries) if known.split(".")[-1] == name.split(".")[-1]][:5]
            raise ConfigError("pretrained", name, f"a tensor in {self.folder} (there are {', '.join(near) or 'none'})")
        path, start, entry = self._entries[name]
        kind, found = entry["dtype"], tuple(entry["shape"])
        if kind not in TYPES or found != shape:
            raise ConfigError(f"pretrained: {name}", f"{kind} {found}", f"{', '.join(TYPES)} {shape}")
        raw = np.fromfile(path, TYPES[kind], math.prod(shape), offset=start + entry["data_offsets"][0]).reshape(shape)
        self._digest.update(raw.tobytes())
        if kind == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32)

    @property
    def sha256(self) -> str:
        """Hash of all tensors read so far, in order."""
        return self._digest.hexdigest()


def load_backbone(refiner: CodewordRefiner, folder: str | Path) -> dict[str, Any]:
    """Fill the backbone of a refiner with the first layers of a LLaMA or GPT-2 model.

    Returns:
        what goes on the card: ``{"folder", "layers", "sha256"}``.

    Raises:
        ConfigError: a tensor that is missing or of another shape, with its name; nothing is changed then.
    """
    source = SafetensorsFolder(folder)
    if not refiner.backbone:
        raise ConfigError("pretrained", type(refiner).__name__, "lvm4cf or gpt2, which have a backbone")
    found = []
    for number, layer in enumerate(refiner.backbone):
        pairs = _llama(layer, number, source) if isinstance(layer, LlamaLayer) else _gpt2(layer, number, source)
        found += list(pairs)
    for variable, value in found:
        variable.assign(value)
    return {"folder": Path(folder).name, "layers": len(refiner.backbone), "sha256": source.sha256}


def load_gpt2(body: Gpt2Body, folder: str | Path) -> dict[str, Any]:
    """Fill a body with the first layers, the positions and the final norm of a GPT-2 model.

    Returns:
        as :func:`load_backbone`.

    Raises:
        ConfigError: a tensor that is missing or of another shape, with its name; nothing is changed then.
    """
    source = SafetensorsFolder(folder)
    found = [pair for number, layer in enumerate(body.blocks) for pair in _gpt2(layer, number, source)]
    prefix = "" if "wpe.weight" in source._entries else "transformer."
    rest = {"wpe.weight": body.table, "ln_f.weight": body.norm.gamma, "ln_f.bias": body.norm.beta}
    found += [(variable, source.tensor(prefix + name, tuple(variable.shape))) for name, variable in rest.items()]
    for variable, value in found:
        variable.assign(value)
    return {"folder": Path(folder).name, "layers": len(body.blocks), "sha256": source.sha256}


def _llama(layer: LlamaLayer, number: int, source: SafetensorsFolder) -> Iterator[tuple[Any, np.ndarray]]:
    for own, theirs in _LLAMA.items():
        variable = layer.kernels[own]
        yield variable, source.tensor(f"model.layers.{number}.{theirs}", tuple(variable.shape)[::-1]).T
    for norm, theirs in zip(layer.norms, _LLAMA_NORMS, strict=True):
        yield norm.scale, source.tensor(f"model.layers.{number}.{theirs}", tuple(norm.scale.shape))


def _gpt2(layer: Any, number: int, source: SafetensorsFolder) -> Iterator[tuple[Any, np.ndarray]]:
    attention = layer.self_attn
    variables = {
        "ln_1.weight": layer.norms[0].gamma,
        "ln_1.bias": layer.norms[0].beta,
        "attn.c_attn.weight": attention.in_kernel,
        "attn.c_attn.bias": attention.in_bias,
        "attn.c_proj.weight": attention.out_kernel,
        "attn.c_proj.bias": attention.out_bias,
        "ln_2.weight": layer.norms[1].gamma,
        "ln_2.bias": layer.norms[1].beta,
        "mlp.c_fc.weight": layer.up.kernel,
        "mlp.c_fc.bias": layer.up.bias,
        "mlp.c_proj.weight": layer.down.kernel,
        "mlp.c_proj.bias": layer.down.bias,
    }
    prefix = f"h.{number}." if f"h.{number}.ln_1.weight" in source._entries else f"transformer.h.{number}."
    for theirs, variable in variables.items():
        yield variable, source.tensor(prefix + theirs, tuple(variable.shape))
