"""What csilink asks of networks that refine codewords."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from csilink.testing.common import Part, array, configured, noise, run, shaken


def check_refiner(refiner: str | type, *, num_ports: int = 12, num_pol: int = 2, **params: Any) -> None:
    """All checks of a refiner of codewords: :data:`REFINER_CHECKS`.

    Args:
        refiner: class derived from ``receivers.models.codeword_refiner.CodewordRefiner``, or name of a plug-in.
        num_ports: ports of the panel.
        num_pol: its polarisations, one token each.
        **params: further ones of the constructor.

    Raises:
        AssertionError: what the network does and must not.
        ConfigError: it cannot be constructed.

    Example:
        >>> from csilink.testing import check_refiner
        >>> check_refiner("fc", width=8)
    """
    run(REFINER_CHECKS, Part("refiners", refiner, num_ports, num_pol, **params))


def _tokens(part: Part, rng: np.random.Generator, count: int) -> np.ndarray:
    """Tokens of random codewords of norm 1."""
    from receivers.models.codeword_refiner import to_tokens

    words = noise(rng, max(count, 1), part.args[0])
    return to_tokens(words / np.linalg.norm(words, axis=1, keepdims=True), part.args[1])[:count]


def constructor(part: Part, rng: np.random.Generator) -> None:
    """``num_ports`` and ``num_pol`` come first; others have annotations and defaults, for ``network.params``."""
    from receivers.models.codeword_refiner import CodewordRefiner

    assert issubclass(part.cls, CodewordRefiner), f"it is not derived from {CodewordRefiner.__qualname__}"
    named = [p for p in inspect.signature(part.cls).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    first = [p.name for p in named[:2]]
    assert first == ["num_ports", "num_pol"], f"first arguments {first}"
    bare = [p.name for p in named[2:] if p.annotation is p.empty or p.default is p.empty]
    assert not bare, f"without annotation or default: {', '.join(bare)}"


def tokens_in_and_out(part: Part, rng: np.random.Generator) -> None:
    """Finite float32 of the shape of the input, for one word, several and none."""
    for count in (1, 5, 0):
        x = _tokens(part, rng, count)
        out = array(part.one(x))
        assert out.shape == x.shape and out.dtype == np.float32, f"{out.dtype} {out.shape}, not {x.shape}"
        assert np.isfinite(out).all(), "NaN or infinity"


def own_word_alone(part: Part, rng: np.random.Generator) -> None:
    """A refined word depends on its own word and on nothing else of the codebook."""
    network, x = shaken(part.new(), rng), _tokens(part, rng, 6)
    together, alone = array(network(x)), array(network(x[2:3]))[0]
    assert np.allclose(together[2], alone, rtol=1e-4, atol=1e-5), "other words change it"
    assert np.ptp(together, axis=0).max() > 0, "it does not depend on the word"


def survives_its_card(part: Part, rng: np.random.Generator) -> None:
    """All weights exist after construction, and ``get_config()`` builds the same network."""
    x = _tokens(part, rng, 4)
    configured(part, shaken(part.new(), rng), lambda network: array(network(x)))


REFINER_CHECKS = (constructor, tokens_in_and_out, own_word_alone, survives_its_card)
