"""The axes of an array in a file, as its owner declares them, and their rearrangement to the order of a store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np

from simulator.core.errors import ConfigError
from simulator.data.port_order import PORT_AXES

# The order of a store: port = pol, n1, n2. A store has either subcarrier or delay.
STORE_AXES = ("sample", "rx_ant", "pol", "n1", "n2", "slot", "subcarrier", "delay")
_FIELD = "import.axes"


@dataclass
class StoredAxes:
    """Axes of a file, each joined from one or more factors (slowest first).

    Attributes:
        tokens: for every axis of the array its factors, without the signs of direction.
        down: factors that count downwards.
        joined: axis of the store to the factors it is made of.
        size: length of every factor, after :meth:`measure`.
    """

    text: str
    tokens: list[list[str]]
    down: set[str]
    joined: dict[str, list[str]]
    size: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, complex_axis: str = "none") -> StoredAxes:
        """Axes such as ``speed sample pol*n2-*n1 sample=speed*sample``; ConfigError that names the fault."""
        words = re.split(r"[\s,]+", re.sub(r"\s*([*=])\s*", r"\1", text.strip()))
        stored = [word for word in words if "=" not in word]
        stored = {"none": stored, "first": ["reim", *stored], "last": [*stored, "reim"]}[complex_axis]
        joined = {}
        for word in words:
            name, equals, made_of = word.partition("=")
            if equals:
                joined[name] = [] if made_of == "1" else made_of.split("*")
        tokens = [[f for part in word.split("*") for f in cls._expand(part)] for word in stored]
        down = {f.removesuffix("-") for token in tokens for f in token if f.endswith("-")}
        axes = cls(text, [[f.removesuffix("-") for f in token] for token in tokens], down, joined)
        axes._check_names()
        return axes

    @staticmethod
    def _expand(part: str) -> list[str]:
        return list(PORT_AXES) if part == "port" else [part]

    def _check_names(self) -> None:
        there = [f for token in self.tokens for f in token]
        used = {f for factors in self.joined.values() for f in factors}
        known = {*STORE_AXES, "reim", *used}
        wrong = sorted({f for f in there if f not in known} | {a for a in self.joined if a not in STORE_AXES})
        lone = "sample" in there and "sample" not in used and "sample" in self.joined
        if wrong or len(set(there)) < len(there) or lone:
            fault = f": {', '.join(wrong)}" if wrong else ""
            raise ConfigError(
                _FIELD, f"{self.text}{fault}", f"each once, of {', '.join((*STORE_AXES, 'reim'))}, port (= pol*n1*n2), "
                "or names joined as in sample=speed*sample",
            )  # fmt: skip
        missing = [f for f in used if f not in there]
        if missing:
            raise ConfigError(_FIELD, f"{self.text}: no {', '.join(missing)}", "definitions of axes that are there")
        if "sample" not in there and "sample" not in self.joined:
            raise ConfigError(_FIELD, self.text, "sample among them, or sample=1 for a single sample")
        if {"subcarrier", "delay"} <= {*there, *self.joined}:
            raise ConfigError(_FIELD, self.text, "subcarrier or delay")
        for axis in STORE_AXES:
            self.joined.setdefault(axis, [axis] if axis in there and axis not in used else [])

    def measure(self, shape: tuple[int, ...], known: Mapping[str, int | None], where: str) -> None:
        """Length of every factor of an array of ``shape``; ConfigError when an axis does not divide that way.

        Args:
            shape: of the array.
            known: lengths that are given, needed where an axis has several factors; one in an axis may be missing.
            where: file and key for the message.
        """
        for length, token in zip(shape, self.tokens, strict=True):
            given = {f: 2 if f == "reim" else known.get(f) for f in token} if len(token) > 1 else {token[0]: length}
            open_ = [f for f in token if given[f] is None]
            rest = prod(n for n in given.values() if n is not None)
            panel = {"n1"} == set(open_) & {*PORT_AXES} and set(token) & {"pol", "n2"}
            if len(open_) == 1 and length % rest == 0 and not panel:
                given[open_[0]] = length // rest
            elif open_ or rest != length or (token == ["reim"] and length != 2):
                name = "n1" if set(token) & {*PORT_AXES} else "sizes"
                factors = ", ".join(f"{'num_pol' if f == 'pol' else f} {n}" for f, n in given.items())
                total = f"{length} ports" if set(token) <= {*PORT_AXES} else f"{length}"
                raise ConfigError(
                    f"import.{name}", factors, f"a panel of {total}" if "ports" in total else
                    f"factors of {length}, the axis {'*'.join(token)} of {where} (at most one left out)",
                )  # fmt: skip
            self.size |= {f: int(n or 0) for f, n in given.items()}

    @property
    def lengths(self) -> dict[str, int]:
        """Length of every axis of the store."""
        return {axis: prod(self.size[f] for f in factors) for axis, factors in self.joined.items()}

    def rows_of_samples(self) -> tuple[int, int]:
        """Samples in one row of the array, and its rows, where rows are runs of samples; (0, 0) where they are not."""
        sample, first = self.joined["sample"], self.tokens[0]
        if not sample or first != sample[: len(first)] or self.down & {*first}:
            return 0, 0
        return prod(self.size[f] for f in sample[len(first) :]), prod(self.size[f] for f in first)

    def sample_labels(self) -> dict[str, np.ndarray]:
        """Index along every factor of a joined sample axis, ``[sample]``."""
        factors = self.joined["sample"]
        if len(factors) < 2:
            return {}
        index = np.indices([self.size[f] for f in factors], dtype=np.int32).reshape(len(factors), -1)
        return dict(zip(factors, index, strict=True))

    def joined_ports(self) -> tuple[str, ...]:
        """Those of ``pol, n1, n2`` that one axis of the array joins, neighbours in it, slowest first; or none."""
        for token in self.tokens:
            at = [i for i, f in enumerate(token) if f in PORT_AXES]
            if len(at) > 1 and at[-1] - at[0] == len(at) - 1 and sum(self.size[token[i]] > 1 for i in at) > 1:
                return tuple(token[i] for i in at)
        return ()

    def arrange(self, value: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Array (or rows of its first axis) to ``[sample, rx_ant, pol, n1, n2, slot, subcarrier or delay]``.

        Returns:
            the values, and None; or, where there is an axis ``reim``, real and imaginary parts. Views where possible.
        """
        factors = [f for token in self.tokens for f in token]
        shape = [self.size[f] for f in factors]
        lead = len(self.tokens[0])
        if len(value) != prod(shape[:lead]):  # part of the rows: the slowest factor is cut, or the axis has one factor
            shape[:lead] = [len(value)] + [1] * (lead - 1)
        value = value.reshape(shape)
        value = value[tuple(slice(None, None, -1) if f in self.down else slice(None) for f in factors)]
        parts = [value]
        if "reim" in factors:
            at = factors.index("reim")
            parts = [np.take(value, i, axis=at) for i in (0, 1)]
            factors = factors[:at] + factors[at + 1 :]
        order = [factors.index(f) for axis in STORE_AXES for f in self.joined[axis]]
        lengths = self.lengths
        axes = [axis for axis in STORE_AXES if axis != ("subcarrier" if self.joined["delay"] else "delay")]
        target = [-1, *(lengths[axis] for axis in axes[1:])]
        parts = [part.transpose(order).reshape(target) for part in parts]
        return parts[0], parts[1] if len(parts) > 1 else None
