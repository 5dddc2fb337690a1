"""New channels of a data set's recipe for every epoch, drawn by a process of their own while a network trains."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from simulator.core.errors import ConfigError, StoreError
from simulator.core.onednn import VARIABLE
from simulator.data.store import ChannelStore

BLOCK = 500  # samples drawn at a time


class FreshChannels:
    """Channels of the epochs of a training; use it as a context, whose end stops the process.

    They are those of the recipe of a data set, from seeds of (seed of the training, epoch, block), which no split has.
    The process draws ahead by one block, and what reads it by a few: memory does not grow with the epoch.

    Args:
        store: data set that was drawn from a recipe.
        seed: of the training.
        samples: of an epoch.

    Raises:
        ConfigError: a data set without a recipe, or of recorded channels.
    """

    def __init__(self, store: ChannelStore, seed: int, samples: int):
        origin = store.origin
        parts = origin.get("recipe", {}).get("parts", [])
        if not parts or any(part["channel"]["model"] == "recorded" for part in parts):
            found = "recorded channels" if parts else "no recipe"
            raise ConfigError("fresh_samples", f"{samples} ({store.name}: {found})", "a data set of drawn channels")
        self._samples, self._shape = samples, store.layout.entry_shape
        self._order = {"origin": origin, "seed": seed, "samples": samples}
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._next = -1

    def __enter__(self) -> FreshChannels:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def __call__(self, epoch: int) -> Iterator[np.ndarray]:
        """Channels complex64 ``[sample, *layout.entry_shape]`` of an epoch, block by block.

        Raises:
            StoreError: the process failed; the message ends with its last line.
        """
        if epoch != self._next:
            self.close()
            self._start(epoch)
        self._next = -1  # until all of it was read
        for first in range(0, self._samples, BLOCK):
            yield self._read(min(BLOCK, self._samples - first))
        self._next = epoch + 1

    def close(self) -> None:
        """Stop the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        if self._errors is not None:
            self._errors.close()
        self._process, self._errors, self._next = None, None, -1

    def _start(self, epoch: int) -> None:
        self._errors = tempfile.TemporaryFile()
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", VARIABLE: "0"}  # Sionna's products were not checked
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fresh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )
        self._process.stdin.write(json.dumps({**self._order, "epoch": epoch}).encode())
        self._process.stdin.close()
        self._process.stdin = None

    def _read(self, count: int) -> np.ndarray:
        process = self._process
        if process is None or process.stdout is None or self._errors is None:
            raise RuntimeError("read before an epoch was ordered")
        size = np.dtype(np.complex64).itemsize * math.prod(self._shape)
        data = process.stdout.read(count * size)
        if len(data) < count * size:
            process.wait()
            self._errors.seek(0)
            last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise StoreError(f"fresh channels: the process that draws them ended ({' '.join(last) or 'killed'})")
        return np.frombuffer(data, np.complex64).reshape(count, *self._shape)


def blocks(origin: dict[str, Any], seed: int, samples: int, epoch: int) -> Iterator[np.ndarray]:
    """Blocks of an epoch, drawn in this process; arguments as in :class:`FreshChannels`, ``origin`` of the store.

    Raises:
        StoreError: today's channel sources have other corrections than those that the data set was drawn from.
    """
    from benchmarks.build import build_source, channel_name
    from benchmarks.dataset import draw_shard
    from scenarios.dataset import parse_recipe

    recipe = parse_recipe(origin["recipe"])
    sources = {number: build_source(part.channel, recipe.geometry) for number, part in enumerate(recipe.parts)}
    for number, part in enumerate(recipe.parts):
        name, now = channel_name(part.channel), list(sources[number].corrections)
        if now != origin.get("corrections", {}).get(name, []):
            raise StoreError(f"data set {recipe.name}: drawn from {name} with other corrections; draw it again")
    for index, first in enumerate(range(0, samples, BLOCK)):
        split = f"fresh/{seed}/{epoch}"  # no split has a slash in its name
        yield draw_shard(recipe, sources, origin.get("scale"), split, index, min(BLOCK, samples - first))[0]


def main() -> None:
    """Draw one epoch after the other to standard output, until it is closed; the order comes from standard input."""
    order = json.loads(sys.stdin.read())
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print
    while True:
        for h in blocks(**order):
            out.write(np.ascontiguousarray(h, np.complex64).tobytes())
            out.flush()
        order["epoch"] += 1


if __name__ == "__main__":
    main()
