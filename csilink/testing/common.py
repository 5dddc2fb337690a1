"""What all checks share: the part under test, the run of its checks, seeded arrays, gradients on any backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import numpy as np

import simulator  # noqa: F401  (before Keras: right products under TensorFlow)
from simulator.core import registry
from simulator.core.backend import ops


class Part:
    """A plug-in and what constructs it.

    Args:
        kind: of plug-in, e.g. "predictors".
        plugin: class, name, or dotted path where the kind takes one.
        *args: first arguments of the constructor.
        **params: further ones.
    """

    def __init__(self, kind: str, plugin: str | type, *args: Any, **params: Any):
        self.kind, self.plugin, self.args, self.params = kind, plugin, args, params

    @cached_property
    def cls(self) -> Any:
        """The class; ConfigError if it is none of its kind."""
        load = registry.load if isinstance(self.plugin, str) else registry.checked
        return load(self.kind, self.plugin)

    def new(self, *args: Any, **changed: Any) -> Any:
        """A new object, with some parameters changed."""
        args, params = (*self.args, *args), {**self.params, **changed}
        if isinstance(self.plugin, str):
            return registry.build(self.kind, self.plugin, *args, **params)
        return self.cls(*args, **params)

    @cached_property
    def one(self) -> Any:
        """The object that the checks share: parts keep nothing from one call to the next."""
        return self.new()


def run(checks: Iterable[Callable[..., None]], subject: Any) -> None:
    """All checks, each with a generator of its own; AssertionError names the class and what was checked."""
    who = subject.cls if isinstance(subject, Part) else type(subject)
    for check in checks:
        try:
            check(subject, np.random.default_rng(1))
        except AssertionError as error:
            raise AssertionError(f"{who.__qualname__}, {check.__doc__.splitlines()[0]} {error}") from error


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Complex Gaussian of variance 1, complex64."""
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def array(x: Any) -> np.ndarray:
    """A tensor as NumPy array."""
    return np.asarray(ops.convert_to_numpy(x))


def refused(error: type[Exception], words: str, call: Callable[[], Any]) -> None:
    """AssertionError unless the call raises this error, and its message begins with ``words``."""
    try:
        call()
    except error as found:
        assert str(found).startswith(words), f"{error.__name__} says {str(found)!r}, not {words!r} first"
        return
    except Exception as other:
        raise AssertionError(
            f"{type(other).__name__} in the place of a {error.__name__} of {words}: {other}"
        ) from other
    raise AssertionError(f"no {error.__name__} of {words}")


def gradient(function: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    """Gradient of the sum of ``function(x)``: one step of gradient descent at rate 1, which Keras has everywhere."""
    import keras

    class Inner(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.x = self.add_weight(shape=x.shape, initializer="zeros", name="x")
            self.x.assign(x)
            self.built = True

        def call(self, _: Any) -> Any:
            return function(ops.convert_to_tensor(self.x))

        def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any, **__: Any) -> Any:
            return ops.sum(y_pred)

    model = Inner()
    model.compile(optimizer=keras.optimizers.SGD(1.0), auto_scale_loss=False, jit_compile=False)
    try:
        model.train_on_batch(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
    except ValueError as error:  # of Keras under TensorFlow
        assert "No gradients" in str(error), str(error)
    return x - array(model.x)


# Networks ------------------------------------------------------------------------------------------------------------


def shaken(network: Any, rng: np.random.Generator) -> Any:
    """The network with random weights: those that start at zero hide what they multiply."""
    for weight in network.trainable_weights:
        scale = np.sqrt(np.prod(weight.shape[:-1], dtype=int)) if len(weight.shape) > 1 else 3
        weight.assign(array(weight) + (rng.standard_normal(weight.shape) / scale).astype(np.float32))
    return network


def configured(part: Part, network: Any, answer: Callable[[Any], np.ndarray]) -> None:
    """AssertionError unless ``get_config()`` builds a network of the same weights that gives the same answer."""
    import json

    config = network.get_config()
    try:
        config = json.loads(json.dumps(config))
    except TypeError as error:
        raise AssertionError(f"get_config() is no JSON, which cards are made of: {error}") from None
    assert network.weights, "no weights after construction: files of weights need them"
    again = part.cls(**config)
    shapes = [[tuple(w.shape) for w in n.weights] for n in (again, network)]
    assert shapes[0] == shapes[1], f"get_config() builds another network: {shapes[0]}, {shapes[1]}"
    again.set_weights(network.get_weights())
    assert len(again.weights) == len(network.weights), "weights that come with the first call"
    same = np.allclose(answer(again), answer(network), rtol=1e-5, atol=1e-6)
    assert same, "the network of get_config() computes something else"
