"""Memory of a chunk, estimated before anything is allocated."""

from __future__ import annotations

from collections.abc import Iterable

from scenarios.schema import Scenario
from scenarios.transmission import Pilots
from simulator.core.errors import ConfigError
from simulator.core.types import RadioGeometry

# Clusters times rays of TR 38.901 (at most 24 x 20).
_RAYS = 480
_COMPLEX = 8


def bytes_per_drop(geometry: RadioGeometry) -> int:
    """Upper estimate of the memory for generating one drop [byte].

    Coefficient generation of TR 38.901 holds ``[tx, rx, cluster, ray, rx_ant, tx_ant, time]`` about three times in
    complex64, and per ray and antenna pair the field vectors.
    """
    g = geometry
    pairs = g.num_users * g.num_rx_ant * g.panel.num_ports
    return _COMPLEX * pairs * (_RAYS * (3 * g.num_slots + 3) + 3 * g.num_slots * g.num_subcarriers)


def chunk_drops(scenario: Scenario, max_bits: Iterable[int]) -> int:
    """Drops of one chunk: ``run.chunk_drops``, or fewer so that it fits into ``run.memory_gib``.

    Args:
        scenario: one point.
        max_bits: longest report of every scheme [bit].

    Raises:
        ConfigError: not even one drop fits.
    """
    g = scenario.geometry
    entries = g.num_users * g.num_rx_ant * g.panel.num_ports * g.num_slots * g.num_subcarriers
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
    per_drop = bytes_per_drop(g) + link + rates
    budget = scenario.run.memory_gib * 2**30
    if per_drop > budget:
        raise ConfigError(
            "run.memory_gib",
            scenario.run.memory_gib,
            f"at least {per_drop / 2**30:.3g} for one drop of this scenario",
        )
    return int(min(scenario.run.chunk_drops, budget // per_drop))
