"""Optional packages, and the extra of csilink that installs each."""

from __future__ import annotations

from importlib.util import find_spec

from simulator.core.errors import ConfigError

# Importable name: extra of pyproject.toml.
EXTRAS = {
    "ray": "ray",
    "tf2onnx": "onnx",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "ai_edge_litert": "litert",
    "torch": "torch",
    "jax": "jax",
    "faiss": "bench",
    "constriction": "bench",
    "huggingface_hub": "hub",
}


def installed(*packages: str) -> bool:
    """Whether all of these packages can be imported."""
    return all(find_spec(package) for package in packages)


def need(field: str, *packages: str) -> None:
    """Check that optional packages are installed, right before they are imported.

    Args:
        field: what asks for them, e.g. ``--format``.
        packages: importable names, keys of ``EXTRAS``.

    Raises:
        ConfigError: one is missing; the message names the extra.
    """
    for package in packages:
        if not installed(package):
            raise missing(field, package)


def missing(field: str, package: str) -> ConfigError:
    """The error that names the extra of a package that is not installed."""
    extra = f"pip install 'csilink[{EXTRAS[package]}]'"
    return ConfigError(field, f"{package} is not installed", f"an environment with it: {extra}")
