"""Pictures of curves as SVG within a page: text stays text, colours follow the theme (docs/site.css)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 178, 26, 46  # margins of the plot: labels of the curves are at the right
_LINE = 13.0  # distance of two of them
Scale = Literal["linear", "log", "loss"]
_SCALES: dict[Scale, Callable[[float], float]] = {
    "linear": lambda v: v,
    "log": math.log,
    "loss": lambda v: -math.log1p(-v),
}
_INVERSES: dict[Scale, Callable[[float], float]] = {
    "linear": lambda u: u,
    "log": math.exp,
    "loss": lambda u: -math.expm1(-u),
}


@dataclass(frozen=True)
class Curve:
    """One curve.

    Args:
        name: shown at its end.
        points: x, y and what a point says when it is pointed at.
        family: colour, class ``curve-<family>`` of docs/site.css.
        faint: whether it is only there to compare with.
    """

    name: str
    points: Sequence[tuple[float, float, str]]
    family: str
    faint: bool = False


@dataclass(frozen=True)
class Axis:
    """One axis.

    Args:
        title: with the unit.
        low: first value shown.
        high: last value shown.
        scale: what is equally far apart: equal differences ("linear"), ratios ("log"), or ratios of the distances from
            1 ("loss", for values below 1).
    """

    title: str
    low: float
    high: float
    scale: Scale = "linear"

    @classmethod
    def around(cls, title: str, values: Sequence[float], scale: Scale = "linear") -> Axis:
        """An axis on which all values are within, a little off the ends."""
        low, high = _SCALES[scale](min(values)), _SCALES[scale](max(values))
        room = 0.04 * (high - low) or 0.04
        return cls(title, _INVERSES[scale](low - room), _INVERSES[scale](high + room), scale)

    def share(self, value: float) -> float:
        """Where a value is, 0 at the first and 1 at the last one."""
        low, high, at = (_SCALES[self.scale](v) for v in (self.low, self.high, value))
        return (at - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values within, five or so."""
        if self.scale == "loss":
            return [v for v in (0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99) if self.low <= v <= self.high]
        if self.scale == "log":
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            every = [round(m * 10.0**e, 12) for e in range(first, last + 1) for m in (1, 2, 5)]
            inside = [v for v in every if self.low <= v <= self.high]
            return inside if len(inside) <= 9 else [v for v in inside if math.log10(v) % 1 == 0]
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(m for m in (1, 2, 5, 10) if (self.high - self.low) / (m * step) <= 7)
        return [round(n * step, 12) for n in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def picture(
    curves: Sequence[Curve],
    x: Axis,
    y: Axis,
    title: str,
    *,
    marks: Sequence[tuple[float, str]] = (),
    height: int = 440,
) -> str:
    """SVG of curves, each with its name at the right; for pages whose style is docs/site.css.

    Args:
        curves: at least one.
        x: horizontal axis.
        y: vertical axis.
        title: for readers who do not see it.
        marks: values of x with a dashed line each, and its name above.
        height: of the picture; it is 760 wide.
    """
    width, right, bottom = 760, 760 - _RIGHT, height - _BOTTOM

    def at(px: float, py: float) -> tuple[float, float]:
        return _LEFT + x.share(px) * (right - _LEFT), bottom - y.share(py) * (bottom - _TOP)

    parts = [f'<svg class="curves" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">']
    for value in y.ticks():
        v = at(x.low, value)[1]
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{v:.1f}" y2="{v:.1f}"/>')
        parts.append(_text(_LEFT - 8, v, f"{value:g}", "end"))
    for value in x.ticks():
        h = at(value, y.low)[0]
        parts.append(f'<line class="grid" x1="{h:.1f}" x2="{h:.1f}" y1="{bottom}" y2="{bottom + 5}"/>')
        parts.append(_text(h, bottom + 16, f"{value:g}", "middle"))
    for value, name in marks:
        h = at(value, y.low)[0]
        parts.append(f'<line class="mark" x1="{h:.1f}" x2="{h:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(_text(h, _TOP - 10, name, "middle"))
    parts.append(_text((_LEFT + right) / 2, height - 8, x.title, "middle"))
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text transform="translate(14 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(y.title)}</text>'
    )
    ends = [at(*curve.points[-1][:2]) for curve in curves]
    for curve, end, level in zip(curves, ends, spread([e[1] for e in ends], _TOP, bottom), strict=True):
        places = [at(px, py) for px, py, _ in curve.points]
        parts.append(f'<g class="curve curve-{curve.family}{" faint" * curve.faint}" data-family="{curve.family}">')
        parts.append(f'<polyline points="{" ".join(f"{h:.1f},{v:.1f}" for h, v in places)}"/>')
        for (h, v), (*_, says) in zip(places, curve.points, strict=True):
            parts.append(f'<circle cx="{h:.1f}" cy="{v:.1f}" r="3"><title>{escape(says)}</title></circle>')
        parts.append(f'<path class="lead" d="M{end[0] + 4:.1f} {end[1]:.1f}L{right + 6} {level:.1f}h4"/>')
        parts.append(_text(right + 14, level, curve.name, "start") + "</g>")
    return "".join([*parts, "</svg>"])


def wide(title: str, content: str, attributes: str = "") -> str:
    """A block that scrolls sideways on narrow screens, by keys, too."""
    label = escape(title)
    return f'<div class="wide" tabindex="0" role="region" aria-label="{label}" {attributes}>\n{content}\n</div>'


def spread(levels: Sequence[float], low: float, high: float, gap: float = _LINE) -> list[float]:
    """Levels close to the given ones, in their order and at least ``gap`` apart, within the bounds if there is room.

    The least-squares answer: neighbours that would be too close form a block around their mean.
    """
    order = sorted(range(len(levels)), key=lambda i: levels[i])
    blocks: list[tuple[float, int]] = []  # mean of (level - number * gap), number of labels
    for number, i in enumerate(order):
        mean, count = levels[i] - number * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, more = blocks.pop()
            mean, count = (mean * count + before * more) / (count + more), count + more
        blocks.append((mean, count))
    last = high - (len(levels) - 1) * gap
    free = [min(max(mean, low), max(last, low)) for mean, count in blocks for _ in range(count)]
    found = [0.0] * len(levels)
    for number, i in enumerate(order):
        found[i] = free[number] + number * gap
    return found


def _text(h: float, v: float, text: str, anchor: str) -> str:
    return f'<text x="{h:.1f}" y="{v:.1f}" text-anchor="{anchor}" dominant-baseline="central">{escape(text)}</text>'
