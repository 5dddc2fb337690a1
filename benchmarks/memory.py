"""Memory of a block and of a worker, estimated before anything is allocated; how many drops are computed together."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from scenarios.schema import Scenario
from scenarios.transmission import Pilots
from simulator.core.errors import ConfigError
from simulator.core.types import RadioGeometry

# Clusters times rays of TR 38.901 (at most 24 x 20).
_RAYS = 480
_COMPLEX = 8
_GIB = 2**30
WORKER_BYTES = int(0.8 * _GIB)  # of a worker that holds TensorFlow, Sionna and no channel
MOST_WORKERS = 8  # where the number is left open
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container
_LARGEST_BLOCK = 32  # drops
_BLOCK_BYTES = 2**29  # of the channels of a block along the link, without quantities derived from them


def bytes_per_drop(geometry: RadioGeometry) -> int:
    """Upper estimate of the memory for generating one drop [byte].

    Coefficient generation of TR 38.901 holds ``[tx, rx, cluster, ray, rx_ant, tx_ant, time]`` about three times in
    complex64, and per ray and antenna pair the field vectors.
    """
    g = geometry
    pairs = g.num_users * g.num_rx_ant * g.panel.num_ports
    return _COMPLEX * pairs * (_RAYS * (3 * g.num_slots + 3) + 3 * g.num_slots * g.num_subcarriers)


def block_drops(geometry: RadioGeometry) -> int:
    """Drops that are computed together: a power of two up to 32, by the geometry alone.

    Rounding of products, and long-term statistics at the gNB, depend on which drops are computed together. So this
    depends on nothing that others may add to a scenario, and the last block of a run is computed as a whole.
    """
    per_drop = bytes_per_drop(geometry) + 50 * _COMPLEX * _entries(geometry)
    return 1 << min(_LARGEST_BLOCK.bit_length() - 1, max(_BLOCK_BYTES // per_drop, 1).bit_length() - 1)


def chunk_drops(scenario: Scenario, max_bits: Iterable[int]) -> int:
    """Drops of one chunk: whole blocks, ``run.chunk_drops`` rounded up; one block at a time is in memory.

    Args:
        scenario: one point.
        max_bits: longest report of every scheme [bit].

    Raises:
        ConfigError: a block does not fit into ``run.memory_gib``.
    """
    block = block_drops(scenario.geometry)
    need = block * drop_bytes(scenario, max_bits) / 2**30
    if need > scenario.run.memory_gib:
        allowed = f"at least {need:.3g} for the {block} drops that are computed together"
        raise ConfigError("run.memory_gib", scenario.run.memory_gib, allowed)
    return -(-scenario.run.chunk_drops // block) * block


def _entries(g: RadioGeometry) -> int:
    return g.num_users * g.num_rx_ant * g.panel.num_ports * g.num_slots * g.num_subcarriers


def drop_bytes(scenario: Scenario, max_bits: Iterable[int]) -> float:
    """Upper estimate of the memory for generating one drop and passing it through the link [byte]."""
    g, entries = scenario.geometry, _entries(scenario.geometry)
    # Copies of the channel along the link, and the field of every oversampled beam in the `dft` search.
    # Copies per slot of a history; predictors hold it twice more, and in double precision.
    copies = 6 if any(entry.predict is not None for entry in scenario.feedback) else 2
    link = (50 + copies * (scenario.time.history_slots - 1)) * _COMPLEX * entries
    if scenario.sounding is not None:  # the uplink, its beams and delays, and the ports
        link += 20 * _COMPLEX * entries
    link += 4 * g.num_users * g.num_slots * max(max_bits)
    rates = 12 * 4 * len(scenario.snr_db) * g.num_users**2 * g.num_slots * g.num_subcarriers
    if scenario.detection.channel == "dmrs":  # received pilots of one SNR
        dmrs, users = (scenario.detection.dmrs or Pilots()).dmrs, scenario.served_users
        streams = users * scenario.precoding.layers_per_user
        pilots = dmrs.num_symbols * 12 / scenario.carrier.samples_per_rb * g.num_slots * g.num_subcarriers
        link += _COMPLEX * pilots * users * (6 * g.num_rx_ant + (3 * streams if streams > len(dmrs.ports) else 0))
    if scenario.throughput is not None:  # SINRs as they are, as expected and of users alone; rows as a CQI scales them
        layers = g.num_users * scenario.precoding.layers_per_user * g.num_slots * g.num_subcarriers
        link += (16 * 4 * len(scenario.snr_db) + 3 * _COMPLEX * g.panel.num_ports) * layers
    return bytes_per_drop(g) + link + rates


def machine_bytes() -> float:
    """Memory of this machine, or the limit of its container [byte]; infinite where neither is known."""
    found = []
    with suppress(OSError, ValueError, AttributeError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in _LIMITS:
        with suppress(OSError, ValueError):  # "max": no limit
            found.append(int(Path(limit).read_bytes()))
    return min(found, default=float("inf"))


def fitting_workers(workers: int | None, chunks: int, block_bytes: float) -> int:
    """Worker processes that this machine has memory for.

    Each takes ``WORKER_BYTES`` and a block.

    Args:
        workers: requested; None takes all CPUs, at most 8, fewer, with a note on standard error, for want of memory.
        chunks: to be computed; more workers are not started.
        block_bytes: upper estimate of the largest block.

    Raises:
        ConfigError: the workers asked for, or a single one, do not fit.
    """
    each, machine = WORKER_BYTES + block_bytes, machine_bytes()
    wanted = min(os.cpu_count() or 1, MOST_WORKERS, max(chunks, 1)) if workers is None else workers
    fit = int(min(machine // each, wanted))
    why = (
        f"each takes {WORKER_BYTES / _GIB:.1f} GiB for TensorFlow and Sionna and up to "
        f"{block_bytes / _GIB:.2g} GiB for a block, of the {machine / _GIB:.3g} GiB of this machine"
    )
    if fit < 1:
        raise ConfigError("--workers", wanted, f"a machine or a link in which one worker fits: {why}")
    if fit < wanted and workers is None:
        print(f"{fit} workers, not {wanted}: {why}", file=sys.stderr)
    elif machine // each < min(wanted, max(chunks, 1)):
        raise ConfigError("--workers", workers, f"1..{fit}: {why}")
    return fit if workers is None else workers
