"""Fast mode of the throughput: EESM, and waterfalls of code blocks from tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from simulator.core.units import lin_to_db
from simulator.nr.mcs import block_size

_MAX_RATE = 0.95  # at a higher code rate a block is not decoded


@dataclass(frozen=True)
class Waterfall:
    r"""Block error rate of transport blocks over the effective SINR, :math:`1 - \Phi((s - \mu) / \sigma)^C`.

    Args:
        mean_db: :math:`\mu` float64 ``[...]``, SINR at which half of the code blocks are lost [dB]; infinite where no
            block is decoded.
        std_db: :math:`\sigma` float64 ``[...]`` [dB].
        num_cb: C int64 ``[...]``, code blocks of a transport block.
    """

    mean_db: NDArray[np.float64]
    std_db: NDArray[np.float64]
    num_cb: NDArray[np.int64]

    def bler(self, effective_db: ArrayLike) -> NDArray[np.float64]:
        """Block error rate at effective SINRs [dB] that broadcast to ``[...]``."""
        received = ndtr((np.asarray(effective_db, np.float64) - self.mean_db) / self.std_db)
        return np.asarray(1 - received**self.num_cb)

    def threshold_db(self, target_bler: float) -> NDArray[np.float64]:
        """Effective SINR at the target block error rate [dB], float64 ``[...]``."""
        return np.asarray(self.mean_db + self.std_db * ndtri((1 - target_bler) ** (1 / self.num_cb)))

    def __getitem__(self, index: Any) -> Waterfall:
        return Waterfall(self.mean_db[index], self.std_db[index], self.num_cb[index])


class EesmBler:
    r"""Exponential effective SINR mapping, and block error rates in AWGN at the effective SINR.

    .. math:: \mathrm{SINR}_{eff} = -\beta \ln \frac{1}{N} \sum_i e^{-\mathrm{SINR}_i / \beta}

    over all resource elements and layers of the codeword. :math:`\beta` are those of Sionna's ``EESM``, interpolated
    over the rate within a modulation. The waterfalls were measured with the exact mode (``bler_table.json``, made by
    :mod:`benchmarks.bler_table`), because Sionna's own tables have steps of 1.6 dB and more, no rates under 0.19 and no
    code blocks over 2000 bits. Between curves, the gap to :math:`2^{Q_m R} - 1` is interpolated over the rate that was
    coded, CRCs included, then over one over the root of the code block.

    Source: 3GPP R1-030999 (EESM); Polyanskiy, Poor, Verdu, IEEE Trans. Inf. Theory 56(5), 2010 (the root).
    """

    def __init__(self) -> None:
        here = files("simulator.phy") / "bler_table.json"
        self._curves = {int(order): by_size for order, by_size in json.loads(here.read_text()).items()}
        self._betas = _betas()

    def beta(self, modulation_order: ArrayLike, rate: ArrayLike) -> NDArray[np.float64]:
        """Beta of every modulation and target rate, float64 of the shape that they broadcast to."""
        order, rate = np.broadcast_arrays(modulation_order, np.asarray(rate, np.float64))
        beta = np.zeros(rate.shape)
        for q, (rates, values) in self._betas.items():
            beta = np.where(order == q, np.interp(rate, rates, values), beta)
        return beta

    def effective_sinr_db(self, sinr: NDArray[np.float32], beta: ArrayLike) -> NDArray[np.float64]:
        """Effective SINR [dB] of one codeword, float64 ``[...]``.

        Args:
            sinr: linear ``[..., sample, layer]``; layers with 0 everywhere are not used. No layer: minus infinity.
            beta: of :meth:`beta`, broadcast to ``[...]``.
        """
        used = np.any(sinr > 0, axis=-2, keepdims=True)
        least = np.min(np.where(used, sinr, np.inf), axis=(-2, -1), keepdims=True)
        any_used = np.isfinite(least)
        least = np.where(any_used, least, 0)
        scale = (1 / np.asarray(beta, sinr.dtype))[..., None, None]
        terms = np.where(used, np.exp(np.minimum((least - sinr) * scale, 0)), 0)
        count = np.maximum(np.sum(used, axis=(-2, -1)) * sinr.shape[-2], 1)
        mean = np.maximum(np.sum(terms, axis=(-2, -1), dtype=np.float64) / count, 1e-30)
        effective = np.maximum(least[..., 0, 0] - np.asarray(beta) * np.log(mean), 0)
        return lin_to_db(np.where(any_used[..., 0, 0], effective, 0))

    def waterfall(self, num_re: ArrayLike, num_layers: ArrayLike, order: ArrayLike, rate: ArrayLike) -> Waterfall:
        """Waterfalls of transport blocks, see :func:`simulator.nr.mcs.block_size` for the arguments."""
        sizes = block_size(num_re, num_layers, order, rate)
        num_coded = np.asarray(num_re) * num_layers * order
        one = self.code_block(order, sizes.num_cb * sizes.cb_size / num_coded, sizes.cb_size)
        return Waterfall(one.mean_db, one.std_db, np.broadcast_to(sizes.num_cb, one.mean_db.shape))

    def code_block(self, order: ArrayLike, coded_rate: ArrayLike, cb_size: ArrayLike) -> Waterfall:
        """Waterfalls of single code blocks: ``cb_size`` bits, CRCs included, over all coded bits sent for them."""
        order, coded_rate, cb_size = np.broadcast_arrays(order, coded_rate, cb_size)
        mean_db, std_db = np.full(cb_size.shape, np.inf), np.ones(cb_size.shape)
        for q, by_size in self._curves.items():
            here = (order == q) & (coded_rate <= _MAX_RATE)
            mean_db[here], std_db[here] = _interpolated(by_size, q, coded_rate[here], cb_size[here])
        return Waterfall(mean_db, std_db, np.ones(cb_size.shape, int))


def _interpolated(by_size: dict[str, list[dict[str, float]]], order: int, rate: np.ndarray, cb_size: np.ndarray) -> Any:
    """Mean and standard deviation of one modulation at coded rates and code block sizes ``[block]``."""
    by_block = []  # by size: [2, block]
    for curves in by_size.values():
        rates, means, stds = np.array(sorted((c["rate"], c["mean_db"], c["std_db"]) for c in curves)).T
        gaps = means - _shannon_db(order * rates)
        # Codes of lower rate repeat the lowest one.
        floor = np.maximum(rate, rates[0])
        mean = np.interp(floor, rates, gaps) + _shannon_db(order * floor) + lin_to_db(rate / floor)
        by_block.append((mean, np.interp(floor, rates, stds)))
    sizes = np.array([int(s) + (16 if int(s) <= 3824 else 24) for s in by_size])
    x, nodes = np.clip(cb_size, sizes[0], sizes[-1]) ** -0.5, sizes**-0.5
    upper = np.clip(np.searchsorted(sizes, cb_size), 1, len(sizes) - 1)
    weight = (x - nodes[upper - 1]) / (nodes[upper] - nodes[upper - 1])
    values, block = np.array(by_block), np.arange(len(rate))
    below, above = values[upper - 1, :, block], values[upper, :, block]
    return ((1 - weight)[:, None] * below + weight[:, None] * above).T


def _shannon_db(efficiency: np.ndarray) -> np.ndarray:
    return lin_to_db(2**efficiency - 1)


def _betas() -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Rates and betas of Sionna's calibration by modulation order."""
    from simulator.nr.mcs import mcs_table

    stored = json.loads((files("sionna") / "sys/esm_params/eesm_beta_table.json").read_text())["index"]
    points: dict[int, dict[float, float]] = {}
    for number in (1, 2):
        table = mcs_table(number)
        for order, rate, beta in zip(table.modulation_order, table.rate, stored[str(number)], strict=True):
            points.setdefault(int(order), {})[float(rate)] = beta
    return {order: tuple(np.array(sorted(p.items())).T) for order, p in points.items()}
