"""WiFo-CF in the link: every UE reports a codeword at its own width, the gNB decodes all of them together."""

from __future__ import annotations

import zlib
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from receivers.feedback.amplitude import AmplitudeField
from receivers.feedback.autoencoder import check_geometry
from receivers.feedback.images import from_unit_images, to_unit_images
from receivers.quantization.unit_interval import LAWS, MAX_BITS, UnitQuantizer
from receivers.weights.folder import TrainedModel
from simulator.core import bitfield
from simulator.core.errors import ConfigError, StoreError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.params import SnrDb, validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport
from simulator.core.units import db_to_lin
from simulator.maths.transforms import to_complex, to_real

Width = Annotated[int, Field(ge=1, le=MAX_BITS)]
BLOCK = 256  # images in one run of a network


class WiFoCfFeedback(FeedbackScheme):
    r"""Channel -> encoder -> codeword -> b bits for each value; the gNB restores the channels of all UEs of a drop.

    Every receive antenna is an image of its own (antennas and subcarriers, or beams and delays where the weights are
    for those) of unit power. The amplitude is sent where the scenario does not normalise every sample. The decoder sees
    the images of one receive antenna of all UEs; a report that is not valid is left out, as if that UE were absent.

    With ``uplink_snr_db`` codewords are analog: values on the quantiser's levels (16 bits wide by default: as good as
    continuous) arrive with white noise at this SNR over the mean square of each codeword. A report cannot hold real
    numbers, so it has the indices of the levels, and ``reconstruct`` adds the noise, drawn from the public seed and
    the report itself. ``bits_mean`` is then not comparable with that of other schemes: a report takes half as many
    complex channel uses as the codeword has values. Amplitudes stay bits.

    Args:
        config: public configuration; panel and band must be those of the weights.
        weights: name in the zoo, or folder with ``card.json``. Those with attention over the batch, as in the released
            code, run in batches of one: over more, a report would depend on other UEs.
        bits: b of all UEs; None: that of the weights (16 for an analog uplink).
        user_bits: b of UE 0, 1, ..., repeated cyclically for more UEs; instead of ``bits``.
        users: "joint", or "single": every UE is decoded by itself.
        scale_bits: bits of the amplitude of an image, uniform in dB; None: 0 where all have unit power, else 8.
        uplink_snr_db: SNR of an analog uplink [dB]; None: bits.
        seed: of the noise.

    Payload: amplitudes of all receive antennas, then the indices of the first one's codeword, of the second's, ...,
    all of fixed width. L/8 * 8 * b bits for each antenna with L tokens of ``patch_dim`` 64.

    Source: WiFo-CF (arXiv:2508.04068).
    """

    @validated("feedback.wifo-cf")
    def __init__(
        self,
        config: CsiConfig,
        *,
        weights: str,
        bits: Width | None = None,
        user_bits: Annotated[list[Width], Field(min_length=1)] | None = None,
        users: Literal["joint", "single"] = "joint",
        scale_bits: Annotated[int, Field(ge=0, le=16)] | None = None,
        uplink_snr_db: SnrDb | None = None,
        seed: int = 0,
    ):
        if bits is not None and user_bits is not None:
            raise ConfigError("feedback.wifo-cf.user_bits", user_bits, "no widths of UEs together with bits")
        self._trained = TrainedModel.shared(weights)
        network, codec = self._trained.card["model"], self._trained.codec
        if network["name"] != "wifo_cf" or codec is None or codec.quantizer not in LAWS:
            raise ConfigError("feedback.wifo-cf.weights", weights, "weights of a network wifo_cf")
        check_geometry(config, self._trained, "channel")
        self._amplitude = AmplitudeField(config, "wifo-cf", scale_bits)
        self.config, self.scale_bits, self._users, self._seed = config, self._amplitude.bits, users, seed
        self._snr_db = uplink_snr_db
        self._quantizer = UnitQuantizer(codec.quantizer, level=network["params"].get("level", "middle"))
        usual = codec.bits if uplink_snr_db is None else MAX_BITS
        self._widths = np.array(user_bits or [bits or usual], np.int64)
        self._latents = self._trained.input.num_latents
        self._label = f"{self._trained.name}-b{'.'.join(map(str, self._widths))}"
        self._label += "-single" * (users == "single") + self._amplitude.suffix
        self._label += "" if uplink_snr_db is None else f"-analog{uplink_snr_db:g}dB"

    @cached_property
    def _model(self) -> Any:
        """The network with its weights, which must have the codeword that the card states."""
        from receivers.models.wifo_cf import WiFoCf

        params = self._trained.card["model"]["params"]
        if params.get("attention") == "batch":
            params = {**params, "attention": "alone"}
        try:
            model = WiFoCf(**params)
        except ConfigError:
            raise
        except (TypeError, ValueError) as error:  # an argument that Keras or the network does not know
            raise StoreError(f"{self._trained.folder}: model.params are none of wifo_cf ({error})") from None
        self._trained.load(model)
        if model.num_latents(*self._sizes) != self._latents:
            allowed = f"{model.num_latents(*self._sizes)}, the network's codeword for images {self._sizes}"
            raise ConfigError(f"{self._trained.folder}: input.num_latents", self._latents, allowed)
        return model

    @property
    def _sizes(self) -> tuple[int, int]:
        """Sides of an image."""
        return self.config.panel.num_ports, self._trained.input.num_delays

    @property
    def label(self) -> str:
        """``<weights>-b<bits>``, with the widths of the UEs if they differ, and the other options."""
        return self._label

    @property
    def max_bits(self) -> int:
        """Longest report of a UE."""
        return int(self._lengths(len(self._widths)).max())

    def _bits_of(self, num_users: int) -> np.ndarray:
        """Widths int64 ``[user]``."""
        return np.resize(self._widths, num_users)

    def _lengths(self, num_users: int) -> np.ndarray:
        """Bits of every UE's report, int64 ``[user]``."""
        return self.config.num_rx_ant * (self.scale_bits + self._latents * self._bits_of(num_users))

    def _images(self, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit-power images float32 ``[image, row, column, 2]``, amplitudes ``[image]``."""
        if self._trained.input.domain == "angular_delay":
            x, scale = to_unit_images(h, self.config, self._trained.input.num_delays)
            return np.swapaxes(x, 1, 2), scale
        x = to_real(h.reshape(-1, *h.shape[3:]))
        scale = np.sqrt(np.maximum(2 * np.mean(np.square(x, dtype=np.float64), axis=(1, 2, 3)), 1e-30))
        return (x / scale[:, None, None, None]).astype(np.float32), scale

    def _channels(self, x: np.ndarray, valid: np.ndarray, amplitude: np.ndarray | None) -> CsiReconstruction:
        """Inverse of :meth:`_images`; zeros where a report is not valid."""
        if self._trained.input.domain == "angular_delay":
            return from_unit_images(np.swapaxes(x, 1, 2), valid, self.config, amplitude)
        h = to_complex(x) if amplitude is None else to_complex(x) * np.reshape(amplitude, (-1, 1, 1))
        h = h.reshape(*valid.shape, self.config.num_rx_ant, *self._sizes).astype(np.complex64)
        return CsiReconstruction(h=np.where(valid[..., None, None, None], h, np.complex64(0)), valid=valid)

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Codeword of every UE at its width."""
        from keras import ops

        batch, users, rx = csi.h_hat.shape[:3]
        images, scale = self._images(csi.h_hat)
        x = np.swapaxes(images.reshape(batch, users, rx, *images.shape[1:]), 1, 2)
        x = np.ascontiguousarray(x).reshape(batch * rx, users, *images.shape[1:])
        widths, step = self._bits_of(users), max(1, BLOCK // users)
        codeword = [ops.convert_to_numpy(self._model.encode(x[i : i + step], widths)) for i in range(0, len(x), step)]
        z = np.swapaxes(np.concatenate(codeword).reshape(batch, rx, users, -1), 1, 2)  # [batch, user, rx, latent]
        index = self._quantizer.quantize(z, widths[:, None, None]).reshape(batch, users, -1)
        scales = self._amplitude.pack(scale.reshape(batch, users, rx))
        lengths, head = self._lengths(users), scales.shape[-1]
        bits = np.zeros((batch, users, int(lengths.max())), np.uint8)
        bits[..., :head] = scales
        for user in range(users):
            bits[:, user, head : lengths[user]] = bitfield.pack(index[:, user], int(widths[user]))
        return CsiReport(bits, np.broadcast_to(lengths, (batch, users)).copy())

    def ue_bops(self, csi: CsiEstimate) -> np.ndarray:
        """Bit operations of the encoder in floating point, whatever the width; of the experts those chosen."""
        return np.full(csi.h_hat.shape[:2], self.config.num_rx_ant * self._encoder_macs * 32.0 * 32.0)

    @cached_property
    def _encoder_macs(self) -> int:
        from receivers.models.cost import work_of

        work = work_of(lambda: self._model.encode(np.zeros((1, 1, *self._sizes, 2), np.float32), 1))
        return sum(item.macs for item in work if item.kind != "norm")

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Restore channels; reports of another length than their UE's are marked invalid."""
        batch, users, width = report.bits.shape
        rx, lengths, widths = self.config.num_rx_ant, self._lengths(users), self._bits_of(users)
        valid = np.asarray(report.num_bits) == lengths
        bits = np.pad(report.bits, ((0, 0), (0, 0), (0, max(0, int(lengths.max()) - width))))
        head = rx * self.scale_bits
        z = np.zeros((batch, users, rx, self._latents), np.float32)
        for user in range(users):
            fields = bitfield.unpack(bits[:, user, head : lengths[user]], int(widths[user]))
            z[:, user] = self._quantizer.dequantize(fields, widths[user]).reshape(batch, rx, -1)
        if self._snr_db is not None:
            z += self._noise(z, bits, lengths, self._snr_db)
        amplitude = self._amplitude.unpack(bits[..., :head])
        images = np.zeros((batch, users, rx, *self._sizes, 2), np.float32)
        for heard in np.unique(valid, axis=0):  # one decoding for each set of UEs with valid reports
            groups = [np.flatnonzero(heard)] if self._users == "joint" else np.flatnonzero(heard)[:, None]
            drops = np.flatnonzero((valid == heard).all(axis=1))
            for group in groups:
                if len(group):
                    at = np.ix_(drops, group)
                    images[at] = self._decode(z[at], widths[group])
        return self._channels(images.reshape(-1, *images.shape[3:]), valid, amplitude)

    def _decode(self, z: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Images float32 ``[drop, user, rx, row, column, 2]`` of codewords ``[drop, user, rx, latent]``."""
        from keras import ops

        drops, users, rx, latents = z.shape
        z = np.ascontiguousarray(np.swapaxes(z, 1, 2)).reshape(drops * rx, users, latents)
        step = max(1, BLOCK // users)
        images = [
            ops.convert_to_numpy(self._model.decode(z[i : i + step], widths, self._sizes))
            for i in range(0, len(z), step)
        ]
        return np.swapaxes(np.concatenate(images).reshape(drops, rx, users, *self._sizes, 2), 1, 2)

    def _noise(self, z: np.ndarray, bits: np.ndarray, lengths: np.ndarray, snr_db: float) -> np.ndarray:
        """White noise of an analog uplink, float32 ``[batch, user, rx, latent]``, drawn by public seed and report."""
        noise = np.empty_like(z)
        for drop, user in np.ndindex(z.shape[:2]):
            content = zlib.crc32(np.packbits(bits[drop, user, : lengths[user]]).tobytes())
            noise[drop, user] = np.random.default_rng([self._seed, content]).standard_normal(z.shape[2:])
        power = np.mean(np.square(z, dtype=np.float64), axis=-1, keepdims=True)
        return (noise * np.sqrt(power * db_to_lin(-snr_db))).astype(np.float32)
