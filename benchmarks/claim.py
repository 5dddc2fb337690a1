"""A folder belongs to the inputs that it was made from: other inputs, or a second process, are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from receivers.weights.folder import note_weights
from simulator.core import registry
from simulator.core.content import note, noting, own_version, sha256
from simulator.core.durable import sweep
from simulator.core.errors import StoreError
from simulator.core.lock import held
from simulator.core.readers import read_json
from simulator.data.store import ChannelStore, write_json

FILE = "inputs.json"
_MOST = 5  # differences that a message names


@contextmanager
def claimed(folder: Path, inputs: Mapping[str, Any], finished: str = "card.json") -> Iterator[None]:
    """Hold a folder for the result of these inputs (recipe, stores, files), kept in ``inputs.json``.

    Args:
        folder: where it is made, or was.
        inputs: plain data; csilink's version is added.
        finished: file that shows, where no inputs are stored, that an earlier csilink worked here.

    Raises:
        StoreError: the folder was made from other inputs (the message lists them), or another process writes here.
    """
    wanted = {"csilink": own_version(), **inputs}
    with held(folder):
        sweep(folder)
        path = folder / FILE
        if path.exists():
            require_equal(folder, read_json(path), wanted)
        elif (folder / finished).exists():
            raise StoreError(f"{folder}: made from inputs that were not noted; choose another --out or delete it")
        before = set(folder.iterdir())
        if not path.exists():
            write_json(path, wanted)
        try:
            yield
        except BaseException:
            if path not in before and set(folder.iterdir()) == before | {path}:  # nothing was made
                path.unlink()
            raise


def training_inputs(recipe: Any, stores: Mapping[str, ChannelStore]) -> dict[str, Any]:
    """Recipe, hashes of the stores, and hashes of the weights that the recipe starts at or learns from.

    Args:
        recipe: of any task.
        stores: by the names of ``recipe.data``.
    """
    distill, network = getattr(recipe, "distill", None), getattr(recipe, "network", None)
    with noting() as reads:
        for name in (getattr(recipe, "init", "random"), distill and distill.teacher, getattr(recipe, "weights", None)):
            if name not in (None, "random", "pca"):
                note_weights(name)
        if network is not None and network.pretrained is not None:
            for file in sorted(Path(network.pretrained).glob("*.safetensors")):
                note(file, sha256(file))
        registry.target("tasks", recipe.task)
        kinds = {"models": "model", "prediction_models": "model", "estimation_models": "model", "refiners": "network"}
        for kind, section in kinds.items():
            if (plugin := getattr(getattr(recipe, section, None), "name", None)) in registry.names(kind):
                registry.target(kind, plugin)  # noted if it is of another package
    hashes = {name: store.hash for name, store in stores.items()}
    return {"recipe": recipe.model_dump(mode="json"), "stores": hashes, "reads": dict(reads)}


def require_equal(folder: Path, old: Any, new: Any) -> None:
    """StoreError that names what differs between the inputs of a folder and other ones."""
    if found := differences(old, new):
        raise StoreError(
            f"{folder}: made with another recipe or inputs ({summary(found)}); choose another --out or delete it"
        )


def differences(old: Any, new: Any) -> list[str]:
    """``field: old -> new`` of all fields that differ between plain data; digests as "other content"."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return [
        f"{key}: {_text(before.get(key, _NOTHING), after.get(key, _NOTHING))}"
        for key in dict.fromkeys((*before, *after))
        if before.get(key, _NOTHING) != after.get(key, _NOTHING)
    ]


def summary(found: list[str]) -> str:
    """The first differences in one line."""
    rest = len(found) - _MOST
    return "; ".join(found[:_MOST]) + (f"; and {rest} more" if rest > 0 else "")


_NOTHING = object()


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(each, Mapping | list | tuple) for each in value):
        for index, each in enumerate(value):
            yield from _leaves(each, f"{path}.{index}")
    else:
        yield path, list(value) if isinstance(value, tuple) else value


def _text(old: Any, new: Any) -> str:
    if _is_digest(old) and _is_digest(new):
        return "other content"
    return " -> ".join("nothing" if value is _NOTHING else _short(value) for value in (old, new))


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _short(value: Any) -> str:
    text = "a file" if _is_digest(value) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
