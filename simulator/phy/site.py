"""Ray-traced channels of one site: built-in scenes of Sionna RT, one or several stations, UEs with coverage."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from typing import Annotated, Literal

import numpy as np
import tensorflow as tf
from pydantic import Field

from simulator.core.interfaces import ChannelSource
from simulator.core.params import Count, Integer, Points, PositiveFloat, Real, validated
from simulator.core.seeding import by_drop, derive
from simulator.core.types import RadioGeometry
from simulator.phy.ofdm import cir_to_ofdm
from simulator.phy.site_trace import site_paths, site_request

_SPEED_OF_LIGHT = 299_792_458.0
_BLOCK = 64  # UEs at once for the mean power


class TracedSite(ChannelSource):
    r"""Users of a drop are different points of one traced site; the rays are traced once and kept in a file.

    Rays are traced between single (dual-polarised) elements. Both panels follow by the phases of a plane wave,
    :math:`e^{j 2\pi d \cdot k / \lambda}` for an element at :math:`d`, so any panel works on the same rays. A UE that
    moves with velocity :math:`v` (random heading, horizontal) has the Doppler shift :math:`v \cdot k_r / \lambda` on
    each path; angles and delays stay, which holds for some wavelengths of motion.

    Several stations (``panel.num_trps``) are traced together. Their ports follow each other, with the gains, phases and
    delays of their own paths: they send at the same time. UEs are where a station is the strongest, as many for each.

    Args:
        geometry: carrier, antennas, users, time.
        scene: built-in scene.
        bs_position_m, look_at_m: one position for each station; the point that all panels face, or one for each [m].
        area_center_m, area_size_m: rectangle in which UEs are placed [m].
        ue_height_m: height of the UEs [m].
        num_points: UEs of the site.
        max_depth: interactions of a path, at most.
        max_paths: strongest paths of a link kept.
        diffuse: with diffuse reflection.
        diffraction: with diffraction.
        num_rays: rays launched.
        site_seed: seed of positions and rays.

    Source: Hoydis et al., "Sionna RT: Technical Report", 2025, for the tracer.
    """

    @validated("channel")
    def __init__(
        self,
        geometry: RadioGeometry,
        *,
        scene: Literal["munich", "etoile", "florence", "san_francisco", "simple_street_canyon"],
        bs_position_m: Points,
        look_at_m: Points,
        area_center_m: tuple[Real, Real],
        area_size_m: tuple[PositiveFloat, PositiveFloat],
        ue_height_m: Real = 1.5,
        num_points: Count = 1000,
        max_depth: Annotated[Integer, Field(ge=0, le=20)] = 4,
        max_paths: Annotated[Integer, Field(ge=1, le=1000)] = 64,
        diffuse: bool = False,
        diffraction: bool = False,
        num_rays: Annotated[Integer, Field(ge=1000, le=10_000_000)] = 200_000,
        site_seed: Annotated[Integer, Field(ge=0, lt=2**31)] = 1,
    ):
        self._ue_panel, self._geometry, self._points = geometry.ue_panel, geometry, num_points
        self._site = site_paths(
            site_request(
                geometry,
                scene=scene,
                bs_position_m=bs_position_m,
                look_at_m=look_at_m,
                area_center_m=area_center_m,
                area_size_m=area_size_m,
                ue_height_m=ue_height_m,
                num_points=num_points,
                max_depth=max_depth,
                max_paths=max_paths,
                diffuse=diffuse,
                diffraction=diffraction,
                num_rays=num_rays,
                site_seed=site_seed,
            )
        )
        self._function = tf.function(self._response, jit_compile=False, autograph=False)

    def _picks(self, batch_size: int, seed: int, first: int = 0) -> np.ndarray:
        """Points of every drop, int ``[batch, user]``, without repetition in a drop."""
        users = self._geometry.num_users
        picks = by_drop(seed, first, batch_size, lambda rng: rng.choice(self._points, users, replace=False), "points")
        return np.array(picks, np.int64).reshape(batch_size, users)

    def labels(self, batch_size: int, *, seed: int, first: int = 0) -> dict[str, np.ndarray]:
        """``user`` (point of the site), ``position_m`` and ``los`` (to any station) of the UEs of ``sample``."""
        picks = self._picks(batch_size, seed, first)
        return {"user": picks, "position_m": self._site["position_m"][picks], "los": self._site["los"][picks]}

    def sample(self, batch_size: int, *, seed: int, first: int = 0) -> np.ndarray:
        """Channels (see the base class)."""
        users = self._geometry.num_users
        motion = by_drop(seed, first, batch_size, lambda rng: rng.random((2, users)), "motion")
        return self._channels(
            self._picks(batch_size, seed, first), *np.array(motion).reshape(batch_size, 2, users).swapaxes(0, 1)
        )

    @property
    def num_distinct(self) -> int:
        """UEs of the site."""
        return self._points

    def mean_power(self) -> float | None:
        """Mean over all UEs of the site at rest; a random heading changes the sums of paths over time."""
        still = self._geometry.num_slots == 1 or self._geometry.speed_range_mps[1] == 0
        return next(self.power_estimates()) if still else None

    def power_estimates(self) -> Iterator[float]:
        """Estimates over all UEs of the site, with new headings and speeds in each (see the base class)."""
        for number in count():
            rng, total = np.random.default_rng(derive(0, "mean power", number)), 0.0
            for part in np.split(np.arange(self._points), range(_BLOCK, self._points, _BLOCK)):
                power = np.square(np.abs(self._channels(part[:, None], *rng.random((2, len(part), 1)))))
                total += len(part) * float(np.mean(power, dtype=np.float64))
            yield total / self._points

    def _channels(self, picks: np.ndarray, heading: np.ndarray, speed: np.ndarray) -> np.ndarray:
        """Channels of points ``[batch, user]``, with headings and speeds as shares of their ranges."""
        g = self._geometry
        site = {key: self._site[key][picks] for key in ("a", "tau", "k_t", "k_r")}
        heading, (low, high) = 2 * math.pi * heading, g.speed_range_mps
        speed = (low + (high - low) * speed)[..., None]
        velocity = speed * np.stack([np.cos(heading), np.sin(heading), np.zeros_like(heading)], axis=-1)
        wavelength = _SPEED_OF_LIGHT / g.carrier_hz
        doppler = np.einsum("bujpx,bux->bujp", site["k_r"].astype(float), velocity) / wavelength  # [Hz]
        tx = self._site["rotation"] @ _panel_offsets(g.panel.n1, g.panel.n2)  # [trp, 3, n1 * n2], wavelengths
        rx = _panel_offsets(self._ue_panel.n1, self._ue_panel.n2)
        args = (site["a"], site["tau"], site["k_t"] @ tx, site["k_r"] @ rx, doppler)
        return self._function(
            *(tf.constant(np.asarray(x, x.dtype if x.dtype == np.complex64 else np.float32)) for x in args)
        ).numpy()

    def _response(self, *rays: tf.Tensor) -> tf.Tensor:
        stations = zip(*(tf.unstack(each, axis=2) for each in rays), strict=True)
        return tf.concat([self._response_of(*station) for station in stations], axis=3)

    def _response_of(self, a: tf.Tensor, tau: tf.Tensor, tx: tf.Tensor, rx: tf.Tensor, doppler: tf.Tensor) -> tf.Tensor:
        """Channels of one station."""
        g = self._geometry
        time = tf.range(g.num_slots, dtype=tf.float32) * g.slot_s
        # a [b, u, ue_pol, bs_pol, path] -> [b, u, (ue_pol, column, row), 1, (bs_pol, n1, n2), path, time]
        full = tf.einsum("buqpl,bulr,bulm,bult->buqrpmlt", a, _turns(rx), _turns(tx), _turns(doppler[..., None] * time))
        batch, users, paths = a.shape[0], a.shape[1], a.shape[4]
        full = tf.reshape(full, [batch, users, g.num_rx_ant, 1, g.panel.of_trp.num_ports, paths, g.num_slots])
        return cir_to_ofdm(full, tau[:, :, None], g.num_subcarriers, g.spacing_hz)


def _turns(x: tf.Tensor) -> tf.Tensor:
    angle = 2 * math.pi * (x - tf.round(x))
    return tf.complex(tf.cos(angle), tf.sin(angle))


def _panel_offsets(columns: int, rows: int) -> np.ndarray:
    """Element positions in the panel's own coordinates [wavelength], ``[3, n1 * n2]``: y over n1, z over n2."""
    y, z = np.meshgrid(
        (np.arange(columns) - (columns - 1) / 2) / 2, (np.arange(rows) - (rows - 1) / 2) / 2, indexing="ij"
    )
    return np.stack([np.zeros(columns * rows), y.reshape(-1), z.reshape(-1)])
