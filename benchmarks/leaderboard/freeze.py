"""Freezes the tracks: writes their hashes and the fingerprints of their test channels.

python -m benchmarks.leaderboard.freeze

Only for a new version: results of frozen tracks that change are refused.
"""

from __future__ import annotations

import io
import json

import numpy as np

from benchmarks.build import ChannelDraw
from benchmarks.leaderboard.overlap import FILE, fingerprints
from benchmarks.leaderboard.track import FOLDER, FROZEN, Track, read_track
from benchmarks.memory import block_drops
from benchmarks.progress import track as progress
from simulator.core.content import sha256
from simulator.core.durable import write_bytes
from simulator.core.errors import ConfigError


def drawn(track: Track, first: int = 0, drops: int | None = None) -> np.ndarray:
    """Fingerprints of the first users of the drops of a track, complex64 ``[drop, 16]``; whole blocks are drawn."""
    point = track.point([{"scheme": "dft"}])
    draw, size, drops = ChannelDraw(point), block_drops(point.scenario.geometry), drops or track.drops
    blocks = [fingerprints(draw.block(start, size)[:, 0]) for start in range(first, first + drops, size)]
    return np.concatenate(blocks)[:drops]


def main() -> None:
    """Write ``frozen.json`` and ``test_channels.npz``."""
    found = [read_track(path) for path in sorted(FOLDER.glob("*.yaml"))]
    versions = {each.version for each in found}
    if len(versions) != 1 or len({each.seed for each in found}) < len(found):
        raise ConfigError("tracks", sorted(versions), "one version, and a seed of its own for each track")
    prints = {}
    for each in progress(found, "test channels", unit="track"):
        if each.scenario["channel"]["model"] != "recorded":
            x = drawn(each)
            prints[each.name] = np.stack([x.real, x.imag], axis=-1).astype(np.float16)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **prints)
    write_bytes(FILE, buffer.getvalue())
    order = sorted(found, key=lambda each: each.seed)
    data = {
        "version": versions.pop(),
        "tracks": {each.name: each.hash for each in order},
        "test_channels": sha256(FILE),
    }
    write_bytes(FROZEN, (json.dumps(data, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
