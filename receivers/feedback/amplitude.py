"""The amplitude field of explicit reports: the power of a channel, where the gNB cannot know it."""

from __future__ import annotations

import numpy as np

from receivers.quantization.scale import HIGH_DB, LOW_DB, scale_index, scale_of
from simulator.core import bitfield
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig

USUAL_BITS = 8
_NOTHING = 1e-14  # an amplitude below this means no channel


class AmplitudeField:
    """Root mean square amplitudes, uniform in dB over the public range, a field of fixed width for each image.

    Args:
        config: public configuration; without ``amplitude_range_db`` all channels have unit power.
        scheme: name, for messages.
        bits: of one amplitude; None: 0 where channels have unit power, else 8.

    Raises:
        ConfigError: 0 bits where channels differ in power.
    """

    def __init__(self, config: CsiConfig, scheme: str, bits: int | None):
        needed = config.amplitude_range_db is not None
        if needed and bits == 0:
            allowed = "1..16, or null for 8; or normalization: per_sample, where powers are known"
            raise ConfigError(f"feedback.{scheme}.scale_bits", bits, allowed)
        self.bits = (USUAL_BITS if needed else 0) if bits is None else bits
        self._range, self._scheme, self._strict = config.amplitude_range_db or (LOW_DB, HIGH_DB), scheme, needed

    @property
    def suffix(self) -> str:
        """Suffix for the label of a scheme."""
        return f"-s{self.bits}" if self.bits else ""

    def pack(self, amplitude: np.ndarray) -> np.ndarray:
        """Fields uint8 ``[..., image * bits]`` of amplitudes ``[..., image]``.

        Raises:
            ConfigError: an amplitude out of the public range, which is no channel of this scenario.
        """
        db = 20 * np.log10(np.maximum(amplitude, _NOTHING))
        low, high = self._range
        outside = (amplitude > _NOTHING) & ((db < low - 1) | (db > high + 1))
        if self._strict and outside.any():
            allowed = f"rms amplitudes of {low:g}..{high:g} dB; scale the channels, or take another normalization"
            raise ConfigError(f"feedback.{self._scheme}", f"{db[outside][0]:.1f} dB", allowed)
        return bitfield.pack(scale_index(amplitude, self.bits, self._range), self.bits)

    def unpack(self, bits: np.ndarray) -> np.ndarray | None:
        """Amplitudes float32 ``[..., image]`` of fields; None without bits."""
        return scale_of(bitfield.unpack(bits, self.bits), self.bits, self._range) if self.bits else None
