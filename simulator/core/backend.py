"""``keras.ops``, imported at first use: building objects needs no Keras, so that checks stay fast."""

from __future__ import annotations

from importlib import import_module
from typing import Any

Tensor = Any  # a tensor of Keras' backend, or a NumPy array; Keras has no common type of them
Shape = tuple[int | None, ...]


class _Ops:
    """Attributes of ``keras.ops``, kept once found."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by inspection and copies, not part of Keras
            raise AttributeError(name)
        value = getattr(import_module("keras.ops"), name)
        setattr(self, name, value)
        return value


ops: Any = _Ops()
