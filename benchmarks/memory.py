"""Memory of a block, estimated before anything is allocated, and how many drops are computed together."""

from __future__ import annotations

from collections.abc import Iterable

from scenarios.schema import Scenario
from scenarios.transmission import Pilots
from simulator.core.errors import ConfigError
from simulator.core.types import RadioGeometry

# Clusters times rays of TR 38.901 (at most 24 x 20).
_RAYS = 480
_COMPLEX = 8
_LARGEST_BLOCK = 32  # drops
_BLOCK_BYTES = 2**29  # of the channels of a block along the link, whatever else is computed from them


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

    Rounding of products, and what a gNB learns from many drops, depend on what is computed together. So this depends on
    nothing that others may add to a scenario, and the last block of a run is computed as a whole.
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
    need = block * _bytes_per_drop(scenario, max_bits) / 2**30
    if need > scenario.run.memory_gib:
        allowed = f"at least {need:.3g} for the {block} drops that are computed together"
        raise ConfigError("run.memory_gib", scenario.run.memory_gib, allowed)
    return -(-scenario.run.chunk_drops // block) * block


def _entries(g: RadioGeometry) -> int:
    return g.num_users * g.num_rx_ant * g.panel.num_ports * g.num_slots * g.num_subcarriers


def _bytes_per_drop(scenario: Scenario, max_bits: Iterable[int]) -> float:
    g, entries = scenario.geometry, _entries(scenario.geometry)
    # Copies of the channel along the link, and the field of every oversampled beam in the `dft` search.
    # Copies per slot of a history; predictors hold it twice more, and in double precision.
    copies = 6 if any(entry.predict is not None for entry in scenario.feedback) else 2
    link = (50 + copies * (scenario.time.history_slots - 1)) * _COMPLEX * entries
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
