"""Base of schemes with an encoder and a decoder of one's own; images, quantiser, bits and amplitude are given."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from receivers.feedback.amplitude import AmplitudeField
from receivers.feedback.images import from_unit_images, to_unit_images
from simulator.core import bitfield, registry
from simulator.core.errors import ConfigError
from simulator.core.interfaces import FeedbackScheme, Quantizer
from simulator.core.params import validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport


class NetworkFeedback(FeedbackScheme):
    r"""A network of one's own in the link: derive from this class, give it sizes, ``encode`` and ``decode``.

    .. code-block:: text

        h_hat -> 2-D DFT per polarisation, IDFT -> first taps -> unit power -> encode -> quantiser -> bits
        h     <- DFT                            <- taps       <- decode     <- levels    <-

    Every receive antenna is an image of its own. Networks may be of Keras, PyTorch, JAX or NumPy; what they return is
    converted. They are called with NumPy arrays, at any batch size, and must be deterministic (inference mode).

    A subclass sets, as class attributes or in its constructor:
        name: of the scheme, in labels and results.
        num_delays: delay taps of an image.
        num_latents: reals that the encoder gives for an image.
        bits: of one latent, 1..16, sent without entropy coding.

    Args:
        config: public configuration.
        quantizer: scalar quantiser on [-1, 1] by name; latents outside go to the outer cells.
        scale_bits: bits of the amplitude of an image, uniform in dB; None: 0 where all have unit power, else 8.
        seed: not used.

    Payload: amplitudes of all receive antennas (``scale_bits`` each), then the indices of all latents (``bits`` each).

    Raises:
        ConfigError: sizes missing or out of range; an encoder or decoder whose output has another shape.

    Source: the chain of CsiNet: Wen, Shih, Jin, IEEE Wireless Commun. Lett. 7(5), 2018.

    Example:
        >>> import csilink, numpy as np
        >>> class Corner(csilink.NetworkFeedback):
        ...     "Sends the first two delays of the first four beams."
        ...     name, num_delays, num_latents, bits = "corner", 8, 16, 6
        ...     def encode(self, images):
        ...         return images[:, :2, :4].reshape(-1, 16) / 8
        ...     def decode(self, latents):
        ...         images = np.zeros((len(latents), 8, 8, 2), np.float32)
        ...         images[:, :2, :4] = 8 * latents.reshape(-1, 2, 4, 2)
        ...         return images
        >>> link = csilink.channel("rayleigh", panel=(4, 1, 2), num_rb=13)
        >>> scheme = csilink.feedback(Corner, link)
        >>> scheme.label, scheme.max_bits
        ('corner-b6', 96)
        >>> scheme.reconstruct(scheme.report(link.sample(3))).h.shape
        (3, 1, 1, 8, 13)
    """

    name: ClassVar[str]
    num_delays: int
    num_latents: int
    bits: int

    @validated("feedback.network")
    def __init__(
        self,
        config: CsiConfig,
        *,
        quantizer: str = "uniform",
        scale_bits: Annotated[int, Field(ge=0, le=16)] | None = None,
        seed: int = 0,
    ):
        for field, most in (("num_delays", config.num_subcarriers), ("num_latents", 1 << 20), ("bits", 16)):
            value = getattr(self, field, None)
            if not isinstance(value, int) or not 1 <= value <= most:
                raise ConfigError(f"{type(self).__name__}.{field}", value, f"1..{most}, an attribute of the class")
        self.config = config
        self._amplitude = AmplitudeField(config, self.name, scale_bits)
        self._quantizer: Quantizer = registry.build("quantizers", quantizer, bits=self.bits)
        self._label = f"{self.name}-b{self.bits}" + ("" if quantizer == "uniform" else f"-{quantizer}")

    @abstractmethod
    def encode(self, images: NDArray[np.float32]) -> Any:
        """Latents ``[sample, num_latents]`` in [-1, 1] of images float32 ``[sample, num_delays, port, 2]``.

        Images have unit mean power per complex entry; the last axis is real and imaginary part. Ports are beams, in the
        order ``pol, n1, n2``.
        """

    @abstractmethod
    def decode(self, latents: NDArray[np.float32]) -> Any:
        """Images ``[sample, num_delays, port, 2]`` of quantised latents float32 ``[sample, num_latents]``."""

    def images(self, h: NDArray[np.complexfloating]) -> NDArray[np.float32]:
        """What :meth:`encode` gets for channels complex ``[batch, user, rx_ant, port, subcarrier]``: to train on.

        Returns:
            float32 ``[batch * user * rx_ant, num_delays, port, 2]``, unit mean power per complex entry.
        """
        return to_unit_images(np.asarray(h), self.config, self.num_delays)[0]

    @property
    def label(self) -> str:
        """``<name>-b<bits>``."""
        return self._label + self._amplitude.suffix

    @property
    def max_bits(self) -> int:
        """Bits of every report."""
        return self.config.num_rx_ant * (self._amplitude.bits + self.num_latents * self.bits)

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Encode and quantise the estimate of every UE."""
        batch, users, rx = csi.h_hat.shape[:3]
        images, amplitude = to_unit_images(csi.h_hat, self.config, self.num_delays)
        latents = _array(self.encode(images), (len(images), self.num_latents), f"{type(self).__name__}.encode")
        index = self._quantizer.quantize(latents).reshape(batch, users, -1)
        head = self._amplitude.pack(amplitude.reshape(batch, users, rx))
        bits = np.concatenate([head, bitfield.pack(index, self.bits)], axis=2)
        return CsiReport(bits, np.full((batch, users), self.max_bits))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Levels of the latents, decoded; every report of the right length is one."""
        bits = report.expect_length(self.max_bits)
        head = self.config.num_rx_ant * self._amplitude.bits
        amplitude = self._amplitude.unpack(bits[..., :head])
        latents = self._quantizer.dequantize(bitfield.unpack(bits[..., head:], self.bits)).reshape(-1, self.num_latents)
        shape = (len(latents), self.num_delays, self.config.panel.num_ports, 2)
        images = _array(self.decode(latents), shape, f"{type(self).__name__}.decode")
        return from_unit_images(images, np.ones(bits.shape[:2], bool), self.config, amplitude)


def _array(x: Any, shape: tuple[int, ...], field: str) -> NDArray[np.float32]:
    """Output of a network of any framework as float32; ConfigError for another shape or entries that are not finite."""
    found = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, np.float32)
    if found.shape != shape:
        raise ConfigError(field, f"an output of shape {found.shape}", f"{shape}")
    if not np.isfinite(found).all():
        raise ConfigError(field, "an output with NaN or infinity", "finite numbers")
    return found
