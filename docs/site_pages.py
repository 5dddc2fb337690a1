"""Pages of the site that are written from code, cards and presets."""

from __future__ import annotations

import html
import inspect
import json
import re
import textwrap
from collections.abc import Iterable
from importlib import import_module
from importlib.resources import files
from typing import Any

import typer
import yaml
from latex2mathml.converter import convert

# isort: split
from make_reference import plug_in
from site_leaderboard import scheme_results, weight_results
from site_svg import Axis, Curve, picture, wide

import csilink
from benchmarks.cli import app
from receivers.weights.folder import TrainedEstimator, TrainedModel, TrainedPredictor, TrainedRefiner, zoo_folder
from simulator.core import registry
from simulator.core.units import lin_to_db

_ENDS = ("Args", "Call arguments", "Returns", "Raises", "Source", "Example", "Attributes", "Payload")


def scheme_pages() -> dict[str, str]:
    """One page for every feedback scheme: what it is, source, bits, parameters, presets, scores, costs, curves."""
    presets = {name: preset(name) for name in preset_names()}
    pages = {}
    for name in registry.names("feedback"):
        cls = registry.load("feedback", name)
        about, parts = docstring(cls)
        table = plug_in("feedback", name).partition("\n\n")[2]
        bits = next((found for base in cls.__mro__ if (found := docstring(base)[1].get("Payload"))), "")
        using = [key for key, text in presets.items() if re.search(rf"scheme: {re.escape(name)}[,}}\s]", text)]
        pages[f"schemes/{name}.md"] = "\n\n".join(
            [
                f"# {name}",
                about,
                *([f"**Source**: {parts['Source']}"] if "Source" in parts else []),
                *(["## Bits of a report", bits] if bits else []),
                "## In a scenario",
                f"```yaml\nfeedback:\n  - {{scheme: {name}}}\n```",
                *(["## Parameters", table] if table else []),
                *(["## Presets with it", listed(f"[{key}](../presets.md#{key})" for key in using)] if using else []),
                *filter(None, [scheme_results(name)]),
            ]
        )
    return pages


def weight_pages() -> dict[str, str]:
    """One page for every set of weights of the zoo: data, training, scores, curve."""
    return {f"weights/{name}.md": weight_page(name, card(name)) for name in zoo()}


def weight_page(name: str, card: dict[str, Any]) -> str:
    """What the card of a set of weights says."""
    training, converged = card.get("training") or {}, card.get("converged")
    stores = [d["name"] for d in card.get("datasets", [card.get("dataset")]) if d]
    facts = {
        "latents of a report": _latents(card),
        "data sets": ", ".join(f"`{s}`" for s in stores),
        "channels": card.get("channels", ""),
        "samples seen": f"{training['samples']:,}" if training.get("samples") else "",
        "training": f"{training['seconds'] / 60:.0f} min, {training.get('machine', '')}"
        if "seconds" in training
        else "",
        "doubling test": _doubled(converged) if converged else "none: not tested at this size",
        "cost of encoder": _cost(card, "encoder"),
        "cost of decoder": _cost(card, "decoder"),
    }
    curve = training_curve(training.get("curve") or [])
    return "\n\n".join(
        [
            f"# {name}",
            card.get("description", ""),
            *_network(card),
            "| | |\n|---|---|\n" + "\n".join(f"| {key} | {value} |" for key, value in facts.items() if value),
            *(["## Scores on test channels", *_scores(card["test"])] if card.get("test") else []),
            *(["## Yardsticks", *_scores(card["yardsticks"])] if card.get("yardsticks") else []),
            *(["## Other channels", *_scores(card["out_of_distribution"])] if card.get("out_of_distribution") else []),
            *(["## Other data sets", *_scores(card["other_data"])] if card.get("other_data") else []),
            *(["## Training", curve] if curve else []),
            *filter(None, [weight_results(name)]),
            "## Use",
            f'```python\nimport csilink\n\nweights = csilink.weights("{name}")\n```',
        ]
    )


def card(name: str) -> dict[str, Any]:
    """Card of a set of weights of the zoo."""
    return json.loads((zoo_folder() / name / "card.json").read_text())


def zoo() -> list[str]:
    """Names of all sets of weights."""
    return sorted(path.parent.name for path in zoo_folder().glob("*/card.json"))


def _doubled(converged: dict[str, Any]) -> str:
    result = "passed" if converged["passed"] else "not passed"
    return f"twice the samples gain {converged['gain']} (interval {converged['ci']}): {result}"


def _network(card: dict[str, Any]) -> list[str]:
    """What the network or code is, and its source."""
    kinds = {cls.task: cls.kind for cls in (TrainedModel, TrainedPredictor, TrainedEstimator, TrainedRefiner)}
    kind, name = kinds.get(card.get("task", "feedback"), "feedback"), card["model"]["name"]
    if kind == "feedback":
        return [f"Of scheme [`{name}`](../schemes/{name}.md)."]
    about, parts = docstring(registry.load(kind, name))
    return [f"**`{name}`**: {about}", *([f"**Source**: {parts['Source']}"] if "Source" in parts else [])]


def _latents(card: dict[str, Any]) -> str:
    codec = card.get("codec")
    if not codec:
        return ""
    return f"{card['input']['num_latents']}, quantiser `{codec['quantizer']}` of {codec['bits']} bits"


def _cost(card: dict[str, Any], side: str) -> str:
    cost = (card.get("cost") or {}).get(side)
    return f"{cost['macs'] / 1e6:.2f} M multiply-accumulates, {cost['params']:,} parameters" if cost else ""


def _scores(test: Any) -> list[str]:
    """Nested scores as one table: a row for every set of figures."""
    rows: list[tuple[str, dict[str, Any]]] = []

    def walk(part: Any, name: list[str]) -> None:
        if isinstance(part, dict):
            figures = {k: v for k, v in part.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
            if figures:
                rows.append((", ".join(name), figures))
            for key, value in part.items():
                walk(value, [*name, str(key)])

    walk(test, [])
    keys = list(dict.fromkeys(key for _, figures in rows for key in figures))
    if len(keys) > 8:
        return [f"```yaml\n{yaml.safe_dump(test, sort_keys=False, allow_unicode=True)}```"]
    lines = [f"| | {' | '.join(keys)} |", "|---" * (len(keys) + 1) + "|"]
    return (
        ["\n".join([*lines, *(f"| {n} | {' | '.join(str(f.get(k, '')) for k in keys)} |" for n, f in rows)])]
        if rows
        else []
    )


def training_curve(curve: list[dict[str, Any]]) -> str:
    """Loss of training and validation by epoch as SVG; empty without two epochs."""
    names = {"loss": "training", "val_loss": "validation"}
    series = {key: [(i + 1, float(e[key])) for i, e in enumerate(curve) if e.get(key)] for key in names}
    curves = [
        Curve(
            names[key], [(x, float(lin_to_db(v)), f"epoch {x}: {lin_to_db(v):.2f} dB") for x, v in points], names[key]
        )
        for key, points in series.items()
        if len(points) > 1 and all(v > 0 for _, v in points)
    ]
    if not curves:
        return ""
    y = Axis.around("loss [dB]", [v for each in curves for _, v, _ in each.points])
    return wide("Loss by epoch", picture(curves, Axis("epoch", 1, len(curve)), y, "Loss by epoch", height=260))


def preset_page() -> str:
    """All presets with their text."""
    parts = [
        "# Presets",
        "`csilink run NAME` runs one, `--set FIELD=VALUE` changes a field. All fields: [reference](reference.md).",
    ]
    for name in preset_names():
        text = preset(name)
        parts += [f"## {name}", yaml.safe_load(text).get("description", ""), f"```yaml\n{text.rstrip()}\n```"]
    return "\n\n".join(parts)


def preset_names() -> list[str]:
    """Presets by name."""
    return sorted(
        p.name.removesuffix(".yaml")
        for p in files("scenarios").joinpath("presets").iterdir()
        if p.name.endswith(".yaml")
    )


def preset(name: str) -> str:
    """Text of a preset."""
    return files("scenarios").joinpath("presets", f"{name}.yaml").read_text()


def command_page() -> str:
    """Every command of the terminal with its arguments."""
    parts = ["# Commands", "`csilink COMMAND --help` says the same."]

    def add(name: str, command: Any, level: int) -> None:
        parts.append(f"{'#' * level} {name}")
        parts.append(inspect.cleandoc(command.help or ""))
        rows = [
            f"| {' '.join(f'`{o}`' for o in (p.opts if p.param_type_name == 'option' else [p.name.upper()]))} "
            f"| {(getattr(p, 'help', None) or '').replace('|', chr(92) + '|')} |"
            for p in command.params
            if p.name not in ("help", "install_completion", "show_completion")
        ]
        if rows:
            parts.append("\n".join(["| | |", "|---|---|", *rows]))
        for key, inner in sorted(getattr(command, "commands", {}).items()):
            add(f"{name} {key}", inner, level + 1)

    for key, command in sorted(typer.main.get_command(app).commands.items()):
        add(f"csilink {key}", command, 2)
    return "\n\n".join(parts)


def api_page() -> str:
    """Public names of csilink with signatures and docstrings."""
    parts = ["# Python", *docstring(csilink)[:1]]
    for module in ("csilink", "csilink.testing"):
        names = import_module(module)
        parts.append(f"## {module}")
        for name in names.__all__:
            value = getattr(names, name)
            if not callable(value):
                continue
            about, sections = docstring(value)
            parts += [f"### {module}.{name}", f"```python\n{signature(name, value)}\n```", about]
            parts += [f"**{key}**\n\n{text}" for key, text in sections.items()]
    return "\n\n".join(parts)


def signature(name: str, value: Any) -> str:
    """Call of a function or class, an argument a line where it is long."""
    found = inspect.signature(value)
    text = f"{name}{found}"
    if len(text) > 90:
        text = f"{name}(\n" + "".join(f"    {p},\n" for p in found.parameters.values()) + ")"
    return text.replace("'", "")


def docstring(value: Any) -> tuple[str, dict[str, str]]:
    """Docstring as Markdown: prose, and its sections by name."""
    pieces = re.split(rf"^({'|'.join(_ENDS)}):", inspect.getdoc(value) or "", flags=re.M)
    sections = {}
    for key, text in zip(pieces[1::2], pieces[2::2], strict=True):
        body = textwrap.dedent(text.strip("\n")).strip()
        if key == "Example":
            sections[key] = f"```python\n{body}\n```"
        elif key in ("Source", "Payload"):
            sections[key] = markdown(" ".join(body.split()))
        else:
            entries = re.findall(r"^(\*{0,2}[\w, *]+): (.*?)(?=^\*{0,2}[\w, *]+: |\Z)", body, flags=re.S | re.M)
            sections[key] = (
                listed(f"`{n}`: {markdown(' '.join(t.split()))}" for n, t in entries) if entries else markdown(body)
            )
    return markdown(pieces[0].strip()), sections


def markdown(text: str) -> str:
    """reStructuredText of docstrings to Markdown; formulas to MathML."""

    def block(match: re.Match[str]) -> str:
        return f"\n{formula(' '.join(match[1].split()), 'block')}\n"

    text = re.sub(r"^\.\. code-block:: \w+\n|::$", "", text, flags=re.M)
    text = re.sub(
        r"^ {4}>>>(.*?)(?=^\S|\Z)",
        lambda m: f"```pycon\n{textwrap.dedent(m[0]).rstrip()}\n```\n\n",
        text,
        flags=re.S | re.M,
    )
    text = re.sub(r"^\.\. math::(.*?)(?=^\S|\Z)", block, text, flags=re.S | re.M)
    text = re.sub(r":math:`([^`]*)`", lambda m: formula(m[1], "inline"), text)
    text = re.sub(r"\bi_\{([\d,]+)\}", r"i<sub>\1</sub>", text)
    text = re.sub(r":\w+:`~?([^`<]*\.)?([\w]+)`", r"`\2`", text)
    return re.sub(r"``([^`]*)``", r"`\1`", text)


def formula(tex: str, display: str) -> str:
    """MathML that Markdown leaves alone."""
    text = convert(tex, display=display)
    return re.sub(
        r">([^<]*)<",
        lambda m: f">{html.escape(html.unescape(m[1])).replace('*', '&#42;').replace('_', '&#95;')}<",
        text,
    )


def listed(items: Iterable[str]) -> str:
    """Bullets."""
    return "\n".join(f"- {item}" for item in items)
