"""Weights on the Hugging Face hub, ``hf://user/name@revision``: fetched once, kept, verified like any folder."""

from __future__ import annotations

import re
import shutil
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

from receivers.weights.card import CARD, NETWORK
from receivers.weights.tensor_file import TENSORS
from simulator.core.cache import cache_folder
from simulator.core.content import sha256
from simulator.core.durable import make_folder
from simulator.core.errors import ConfigError, StoreError
from simulator.core.extras import need
from simulator.core.paths import is_file
from simulator.core.readers import reason

PREFIX = "hf://"
PATTERNS = (
    CARD,
    f"*{NETWORK}",
    f"*{TENSORS}",
    "*.npz",
)  # what a folder of weights holds; nothing else is fetched, no pickle
_NAME = re.compile(r"hf://(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)@(?P<revision>\w[\w.-]*)(?:#(?P<pin>[0-9a-f]{64}))?")
_ALLOWED = (
    "hf://user/name@COMMIT with its 40 hexadecimal digits, or hf://user/name@TAG#SHA with the SHA-256 of card.json "
    "(64 hexadecimal digits); a tag alone may change"
)


def hub_folder(name: str) -> Path:
    """Folder of weights of the hub, in the cache folder of csilink; fetched where it is not there yet.

    The card holds the SHA-256 of all files, which every use checks; a pin is that of the card. A commit cannot change.
    What is in the cache needs no network, and no ``huggingface_hub``.

    Args:
        name: ``hf://user/name@revision``, with ``#`` and the SHA-256 of ``card.json`` as a pin.

    Raises:
        ConfigError: another form, or the extra ``hub`` is not installed.
        StoreError: it cannot be fetched, has no card, or another one than the pin says.
    """
    found = _NAME.fullmatch(name)
    pin = found and found["pin"]
    if not found or not (pin or re.fullmatch("[0-9a-f]{40}", found["revision"])):
        raise ConfigError("weights", name, _ALLOWED)
    folder = cache_folder() / "hub" / found["repo"].replace("/", "--") / (pin or found["revision"])
    if not is_file(folder / CARD):
        _fetch(name, found["repo"], found["revision"], pin, folder)
    elif pin:
        _check_pin(name, folder, pin)
    return folder


def _fetch(name: str, repo: str, revision: str, pin: str | None, folder: Path) -> None:
    """Fetch to a temporary folder, and move what is allowed and whole into place."""
    need("weights", "huggingface_hub")
    import huggingface_hub

    make_folder(folder.parent)
    with TemporaryDirectory(dir=folder.parent) as place:
        fetched, kept = Path(place) / "fetched", Path(place) / "kept"
        try:
            huggingface_hub.snapshot_download(
                repo, revision=revision, allow_patterns=list(PATTERNS), local_dir=str(fetched)
            )
        except Exception as error:  # of its HTTP library, of the hub, of the disk
            raise StoreError(f"{name}: cannot be fetched ({reason(error)})") from None
        kept.mkdir()
        for path in fetched.iterdir():
            if path.is_file() and not path.is_symlink() and any(fnmatchcase(path.name, each) for each in PATTERNS):
                shutil.move(path, kept / path.name)
        if not is_file(kept / CARD):
            raise StoreError(f"{name}: no weights of csilink there, {CARD} is missing")
        if pin:
            _check_pin(name, kept, pin)
        if not folder.exists():  # another process was faster
            kept.replace(folder)


def _check_pin(name: str, folder: Path, pin: str) -> None:
    if (digest := sha256(folder / CARD)) != pin:
        raise StoreError(f"{name}: SHA-256 of {folder / CARD} is {digest[:12]}..., not the pinned {pin[:12]}...")
