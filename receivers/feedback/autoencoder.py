"""Learned compression: encoder, quantiser and entropy coder at the UE; the inverse at the gNB."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from receivers.models.weights import TrainedModel
from simulator.core import bitfield, registry
from simulator.core.errors import ConfigError
from simulator.core.interfaces import EntropyCoder, FeedbackScheme, Quantizer
from simulator.core.params import validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport
from simulator.transforms import from_angular_delay, to_angular_delay, to_complex, to_real

# Range of the optional amplitude field [dB].
_SCALE_DB = (-60.0, 40.0)


class AutoencoderFeedback(FeedbackScheme):
    r"""Angular-delay image -> encoder -> quantiser -> entropy coder -> bits, and back.

    .. code-block:: text

        h_hat -> 2-D DFT per polarisation, IDFT -> first taps -> unit power -> encoder -> cells -> coder -> bits
        h     <- DFT                             <- taps       <- decoder <- cell levels  <- coder <-

    Every receive antenna is an image of its own. The image has unit power; the amplitude is sent only with
    ``scale_bits`` > 0 (it is known where the scenario normalises every sample).

    Args:
        config: public configuration; panel and band must be those of the weights.
        weights: name in the zoo, or folder with ``card.json``.
        quantizer: scalar quantiser by name.
        bits: bits of one latent before entropy coding, 1..16.
        coder: entropy coder by name; its table ships with the weights.
        levels: "centroid" reconstructs a cell by the mean of the training latents in it (shipped table), "nominal" by
            the quantiser's own level.
        scale_bits: bits of the amplitude of one image, uniform in dB; 0 sends none.
        seed: not used.

    Payload: amplitudes of all receive antennas (``scale_bits`` each), then the latents of all, entropy coded.
    """

    @validated("feedback.autoencoder")
    def __init__(
        self,
        config: CsiConfig,
        *,
        weights: str,
        quantizer: str = "mu_law",
        bits: Annotated[int, Field(ge=1, le=16)],
        coder: str = "huffman",
        levels: Literal["centroid", "nominal"] = "centroid",
        scale_bits: Annotated[int, Field(ge=0, le=16)] = 0,
        seed: int = 0,
    ):
        self.config, self.bits, self.scale_bits = config, bits, scale_bits
        self._trained = TrainedModel(weights)
        self._check_geometry()
        self._num_delays = int(self._trained.input["num_delays"])
        self._num_latents = int(self._trained.input["num_latents"])
        self._quantizer: Quantizer = registry.build("quantizers", quantizer, bits=bits)
        table = self._trained.tables.get(f"{quantizer}-b{bits}", {})
        self._levels = self._quantizer.dequantize(np.arange(2**bits))
        if levels == "centroid" and "levels" in table:
            self._levels = np.asarray(table["levels"], np.float32)
        parameters = table.get("coders", {}).get(coder, {})
        if coder not in table.get("coders", {}) and coder != "fixed":
            known = ", ".join(sorted(k for k, t in self._trained.tables.items() if coder in t.get("coders", {})))
            raise ConfigError(
                "feedback.autoencoder.coder",
                f"{coder} with {quantizer} at {bits} bits",
                f"fixed, or a combination with a shipped table: {known or 'none for this coder'}",
            )
        self._coder: EntropyCoder = registry.build("coders", coder, num_symbols=2**bits, **parameters)
        self._label = f"{self._trained.name}-{quantizer}-b{bits}-{coder}"
        if levels == "nominal":
            self._label += "-nominal"
        if scale_bits:
            self._label += f"-s{scale_bits}"

    def _check_geometry(self) -> None:
        panel, trained = self.config.panel, self._trained.input
        received = {
            "bs.n1": panel.n1,
            "bs.n2": panel.n2,
            "bs.num_pol": panel.num_pol,
            "carrier (frequency samples)": self.config.num_subcarriers,
            "carrier (sample spacing in Hz)": float(self.config.spacing_hz),
        }
        for (field, value), key in zip(
            received.items(), ("n1", "n2", "num_pol", "num_subcarriers", "spacing_hz"), strict=True
        ):
            if value != trained[key]:
                raise ConfigError(
                    field, value, f"{trained[key]}, what the weights {self._trained.name} were trained for"
                )

    @property
    def label(self) -> str:
        """``<weights>-<quantizer>-b<bits>-<coder>``, e.g. ``csinet-cr16-mu_law-b4-huffman``."""
        return self._label

    @property
    def max_bits(self) -> int:
        """Longest possible report."""
        return self.config.num_rx_ant * (self.scale_bits + self._num_latents * self._coder.max_length)

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Compress the estimate of every UE."""
        batch, users, rx, ports, subcarriers = csi.h_hat.shape
        x = to_real(to_angular_delay(csi.h_hat.reshape(-1, ports, subcarriers), self.config.panel, self._num_delays))
        power = 2 * np.mean(np.square(x, dtype=np.float64), axis=(1, 2, 3))
        scale = np.sqrt(np.maximum(power, 1e-30))
        latent = self._trained.encode((x / scale[:, None, None, None]).astype(np.float32))
        cells = self._quantizer.quantize(latent).reshape(batch * users, rx * self._num_latents)
        coded, lengths = self._coder.encode(cells)
        head = bitfield.pack(self._scale_index(scale).reshape(batch * users, rx), self.scale_bits)
        bits = np.concatenate([head, coded], axis=1)
        return CsiReport(bits.reshape(batch, users, -1), (lengths + head.shape[1]).reshape(batch, users))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Decode and decompress; reports that are no codeword sequence are marked invalid."""
        batch, users, width = report.bits.shape
        rx, panel = self.config.num_rx_ant, self.config.panel
        bits, num_bits = report.bits.reshape(batch * users, width), np.asarray(report.num_bits, np.int64).reshape(-1)
        head = rx * self.scale_bits
        body = np.maximum(num_bits - head, 0)
        symbols, valid = self._coder.decode(bits[:, head:], body, rx * self._num_latents)
        valid &= num_bits >= head
        x = to_complex(self._trained.decode(self._levels[symbols.reshape(-1, self._num_latents)]))
        if self.scale_bits and width >= head:
            amplitude = self._scale(bitfield.unpack(bits[:, :head], self.scale_bits)).reshape(-1)
        else:  # unit power per entry of the channel; the image has it over num_delays taps
            amplitude = np.full(len(x), np.sqrt(self._unit_gain), np.float32)
        h = from_angular_delay(x * amplitude[:, None, None], panel, self.config.num_subcarriers)
        h = h.reshape(batch, users, rx, panel.num_ports, -1)
        valid = valid.reshape(batch, users)
        return CsiReconstruction(h=np.where(valid[:, :, None, None, None], h, np.complex64(0)), valid=valid)

    @property
    def _unit_gain(self) -> float:
        """Power per image entry of a channel with unit power per frequency sample."""
        return self.config.num_subcarriers / self._num_delays

    def _scale_index(self, scale: np.ndarray) -> np.ndarray:
        low, high = _SCALE_DB
        steps = 2**self.scale_bits - 1
        position = (20 * np.log10(scale) - low) / (high - low) * steps
        return np.clip(np.round(position), 0, steps).astype(np.int64)

    def _scale(self, index: np.ndarray) -> np.ndarray:
        low, high = _SCALE_DB
        return (10 ** ((low + index * (high - low) / (2**self.scale_bits - 1)) / 20)).astype(np.float32)
