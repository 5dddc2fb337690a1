"""What csilink asks of quantisers and entropy coders."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from csilink.testing.common import Part, array, gradient, run
from simulator.core.backend import ops
from simulator.core.interfaces import EntropyCoder, Quantizer, ScalarQuantizer


def check_quantizer(quantizer: str | type[Quantizer], *, bits: int = 3, **params: Any) -> None:
    """All checks of a quantiser: :data:`QUANTIZER_CHECKS`.

    Args:
        quantizer: class, or name of a plug-in.
        bits: of an index.
        **params: further ones of the constructor; ``dim`` must divide 6.

    Raises:
        AssertionError: what the quantiser does and must not.
        ConfigError: it cannot be constructed.

    Example:
        >>> from csilink.testing import check_quantizer
        >>> check_quantizer("mu_law", bits=4)
    """
    run(QUANTIZER_CHECKS, Part("quantizers", quantizer, bits=bits, **params))


def levels(part: Part, rng: np.random.Generator) -> None:
    """``2**bits`` different levels float32 in [-1, 1], increasing for a scalar; a level lies in its own cell."""
    quantizer = part.one
    index = np.arange(2**quantizer.bits)[:, None]
    found = quantizer.dequantize(index)
    shape = len(index), quantizer.dim
    assert found.dtype == np.float32 and found.shape == shape, f"levels {found.dtype} {found.shape}, not {shape}"
    assert (np.abs(found) <= 1).all(), "levels outside [-1, 1]"
    assert len(np.unique(found, axis=0)) == len(found), "two indices have one level"
    assert quantizer.dim > 1 or (np.diff(found[:, 0]) > 0).all(), "levels do not increase"
    assert np.array_equal(quantizer.quantize(found), index), "a level lies in another cell"


def cells(part: Part, rng: np.random.Generator) -> None:
    """Every value has a cell, NaN and infinity too; cells of a scalar are intervals in order; twice is as once."""
    quantizer = part.one
    last = 2**quantizer.bits - 1
    x = np.sort(rng.uniform(-1.5, 1.5, (60, 40)).astype(np.float32), axis=None).reshape(-1, 6)
    index = quantizer.quantize(x)
    shape = len(x), 6 // quantizer.dim
    assert index.dtype == np.int64 and index.shape == shape, f"indices {index.dtype} {index.shape}, not int64 {shape}"
    if quantizer.dim == 1:
        assert (np.diff(index.ravel()) >= 0).all(), "cells are not in order"
        assert index.min() == 0 and index.max() == last, f"indices {index.min()}..{index.max()} of 0..{last}"
    odd = quantizer.quantize(np.array([np.nan, np.inf, -np.inf, 1e30, 0.0, -1e-40]))
    assert odd.min() >= 0 and odd.max() <= last, "NaN or infinity have no cell"
    once = quantizer.dequantize(index)
    assert once.shape == x.shape, f"values of shape {once.shape}, not {x.shape}"
    assert np.array_equal(quantizer.dequantize(quantizer.quantize(once)), once), "quantising twice changes a value"


def soft_is_hard(part: Part, rng: np.random.Generator) -> None:
    """The soft path gives the values of the hard one, with the gradient of the identity."""
    quantizer = part.one
    x = rng.uniform(-0.99, 0.99, (7, 300)).astype(np.float32)
    soft = array(quantizer.soft(ops.convert_to_tensor(x)))
    assert np.array_equal(soft, quantizer.dequantize(quantizer.quantize(x))), "they differ"
    slope = gradient(quantizer.soft, x[:2, :60])
    assert np.allclose(slope, 1, atol=1e-5), f"gradients {slope.min():.3g}..{slope.max():.3g}, not 1"


def ends_of_cells(part: Part, rng: np.random.Generator) -> None:
    """Of a scalar: ``cell`` gives the borders around a value, outer ones -/+ 1e9, with the gradient of the identity."""
    quantizer = part.one
    if not isinstance(quantizer, ScalarQuantizer):
        return
    x = rng.uniform(-0.99, 0.99, (5, 60)).astype(np.float32)
    index = quantizer.quantize(x)
    ends = np.concatenate([[-1e9], quantizer.borders, [1e9]]).astype(np.float32)
    for found, wanted in zip(quantizer.cell(ops.convert_to_tensor(x)), (ends[index], ends[index + 1]), strict=True):
        assert np.array_equal(array(found), wanted), "cell() and borders differ"
    slope = gradient(lambda value: quantizer.cell(value)[0] + quantizer.cell(value)[1], x) / 2
    assert np.allclose(slope, 1, atol=1e-5), f"gradients {slope.min():.3g}..{slope.max():.3g}, not 1"
    middle = np.float32((quantizer.borders[:-1] + quantizer.borders[1:]) / 2)
    assert np.array_equal(quantizer.quantize(middle), np.arange(1, 2**quantizer.bits - 1)), "borders are elsewhere"


def fitted(part: Part, rng: np.random.Generator) -> None:
    """What ``fit`` returns are JSON arguments of the constructor, not worse on the data that it was fitted to."""
    x = np.tanh(0.3 * rng.standard_normal((4000, 6))).astype(np.float32)  # some hundred samples a cell at 8 bits
    known = {key: value for key, value in part.params.items() if key != "bits"}
    found = json.loads(json.dumps(part.cls.fit(x, part.params["bits"], **known)))
    error, before = (np.mean((q.dequantize(q.quantize(x)) - x) ** 2) for q in (part.new(**found), part.one))
    assert error <= before * 1.001, f"mean squared error {error:.3g} after the fit, {before:.3g} before"


def no_latents(part: Part, rng: np.random.Generator) -> None:
    """An empty batch has empty indices and values."""
    quantizer = part.one
    index = quantizer.quantize(np.zeros((0, 6), np.float32))
    assert index.shape == (0, 6 // quantizer.dim) and index.dtype == np.int64, f"indices {index.dtype} {index.shape}"
    none = ops.zeros((0, 6))
    assert quantizer.dequantize(index).shape == tuple(quantizer.soft(none).shape) == (0, 6), "values of another shape"
    if isinstance(quantizer, ScalarQuantizer):
        assert [tuple(end.shape) for end in quantizer.cell(none)] == [(0, 6)] * 2, "cell() has another shape"


QUANTIZER_CHECKS = (levels, cells, soft_is_hard, ends_of_cells, fitted, no_latents)


# Coders --------------------------------------------------------------------------------------------------------------


def check_coder(coder: str | type[EntropyCoder], *, alphabet: int = 16, **params: Any) -> None:
    """All checks of an entropy coder: :data:`CODER_CHECKS`.

    Args:
        coder: class, or name of a plug-in.
        alphabet: number of different symbols.
        **params: of the constructor, in place of what ``fit`` finds.

    Raises:
        AssertionError: what the coder does and must not.
        ConfigError: it cannot be constructed.

    Example:
        >>> from csilink.testing import check_coder
        >>> check_coder("huffman", alphabet=5)
    """
    run(CODER_CHECKS, Part("coders", coder, alphabet, **params))


def _symbols(part: Part, rng: np.random.Generator) -> np.ndarray:
    """Geometric ones, ``[30, 64]``."""
    return np.minimum(rng.geometric(0.2, (30, 64)) - 1, part.args[0] - 1)


def _fitted(part: Part, counts: np.ndarray) -> EntropyCoder:
    """The coder with the tables for these counts."""
    return part.new(**{**json.loads(json.dumps(part.cls.fit(counts))), **part.params})


def _for(part: Part, symbols: np.ndarray) -> EntropyCoder:
    return _fitted(part, np.bincount(symbols.ravel(), minlength=part.args[0]))


def round_trip(part: Part, rng: np.random.Generator) -> None:
    """Symbols come back from bits of 0 and 1, zero after the length, at most ``max_bits``."""
    symbols = _symbols(part, rng)
    coder = _for(part, symbols)
    assert coder.num_symbols == part.args[0], f"num_symbols is {coder.num_symbols}"
    bits, num_bits = coder.encode(symbols)
    assert bits.dtype == np.uint8 and bits.max() <= 1 and len(bits) == 30, f"bits {bits.dtype} {bits.shape}"
    most = min(bits.shape[1], coder.max_bits(64))
    assert num_bits.shape == (30,) and num_bits.max() <= most, f"{num_bits.max()} bits, at most {most}"
    assert not bits[np.arange(bits.shape[1]) >= num_bits[:, None]].any(), "padding is not zero"
    decoded, valid = coder.decode(bits, num_bits, 64)
    assert valid.dtype == bool and valid.all(), "its own reports are invalid"
    assert np.array_equal(decoded, symbols), "other symbols come back"


def table_of_every_position(part: Part, rng: np.random.Generator) -> None:
    """Tables for counts ``[table, symbol]`` cost no more than one for all; symbols that never occurred can be sent."""
    alphabet = part.args[0]
    shift = rng.integers(0, alphabet, 64)
    symbols = (np.minimum(rng.geometric(0.5, (60, 64)) - 1, alphabet - 1) + shift) % alphabet
    counts = np.stack([np.bincount(column, minlength=alphabet) for column in symbols.T])
    coder, pooled = _fitted(part, counts), _fitted(part, counts.sum(axis=0))
    unseen = rng.integers(0, alphabet, (60, 64))
    for sent in (symbols, unseen, np.tile(symbols, 2)):
        bits, num_bits = coder.encode(sent)
        decoded, valid = coder.decode(bits, num_bits, sent.shape[1])
        assert valid.all() and np.array_equal(decoded, sent), "other symbols come back"
        assert num_bits.max() <= coder.max_bits(sent.shape[1]), "a report is longer than max_bits"
    mean, of_one = (c.encode(symbols)[1].mean() for c in (coder, pooled))
    assert mean <= of_one + 1, f"{mean:.1f} bits with a table for every position, {of_one:.1f} with one"


def entropy_bound(part: Part, rng: np.random.Generator) -> None:
    """The mean length is not below the entropy of the symbols."""
    symbols = _symbols(part, rng)
    _, num_bits = _for(part, symbols).encode(symbols)
    share = np.bincount(symbols.ravel()) / symbols.size
    entropy = -np.sum(share[share > 0] * np.log2(share[share > 0]))
    assert num_bits.mean() / 64 >= entropy - 1e-9, f"{num_bits.mean() / 64:.4f} bits a symbol, entropy {entropy:.4f}"


def no_reports(part: Part, rng: np.random.Generator) -> None:
    """An empty batch has no bits and no symbols."""
    coder = _for(part, _symbols(part, rng))
    bits, num_bits = coder.encode(np.zeros((0, 64), np.int64))
    assert len(bits) == 0 and num_bits.shape == (0,), f"bits of shape {bits.shape}"
    for sent in (bits, bits[:, :0]):
        decoded, valid = coder.decode(sent, num_bits, 64)
        assert decoded.shape == (0, 64) and valid.shape == (0,), f"symbols of shape {decoded.shape}"


def random_bits(part: Part, rng: np.random.Generator) -> None:
    """300 random reports of any length give symbols of the alphabet, valid where exactly all bits were used."""
    coder = _for(part, _symbols(part, rng))
    bits = rng.integers(0, 2, (300, coder.max_bits(64)), dtype=np.uint8)
    num_bits = rng.integers(0, bits.shape[1] + 1, 300)
    decoded, valid = coder.decode(bits, num_bits, 64)
    assert decoded.shape == (300, 64) and valid.shape == (300,), f"symbols of shape {decoded.shape}"
    assert decoded.min() >= 0 and decoded.max() < coder.num_symbols, "symbols outside the alphabet"
    num_bits[0] = 0
    assert not coder.decode(bits, num_bits, 64)[1][0], "a report without bits is valid"


CODER_CHECKS = (round_trip, table_of_every_position, entropy_bound, no_reports, random_bits)
