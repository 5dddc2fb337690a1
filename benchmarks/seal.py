"""Checksum and identity in a chunk's file, which distinguish it from a damaged file and from that of another chunk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Signature of the record that ends a zip file; 22 octets, the last two the length of the comment that follows.
_END, _SIZE = b"PK\x05\x06", 22


@dataclass(frozen=True)
class Identity:
    """Which chunk a file holds.

    Args:
        point: key of the point.
        first: number of its first drop.
        drops: its drops.
    """

    point: str
    first: int
    drops: int


def sealed(data: bytes, identity: Identity) -> bytes:
    """An ``.npz`` file with identity and SHA-256 of the file before, as the comment of the archive.

    Args:
        data: the file; its archive has no comment yet.
        identity: the chunk and its run.
    """
    comment = json.dumps({**asdict(identity), "sha256": hashlib.sha256(data).hexdigest()}).encode()
    return data[:-2] + len(comment).to_bytes(2, "little") + comment


def seal_fault(path: Path, identity: Identity) -> str | None:
    """What is wrong with a sealed file, in words; None if it is whole and holds this chunk."""
    try:
        content = path.read_bytes()
        end = content.rindex(_END) + _SIZE
        stored: dict[str, Any] = json.loads(content[end:])
        digest = hashlib.sha256(content[: end - 2] + b"\0\0").hexdigest()
        if stored.pop("sha256") != digest or len(content) - end != int.from_bytes(content[end - 2 : end], "little"):
            return "damaged: SHA-256 differs"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "damaged: no checksum"
    return None if stored == asdict(identity) else f"holds another chunk: {stored}"
