"""``README.md`` of a folder of weights, with the metadata that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from receivers.precision.policy_set import FILE as POLICIES
from receivers.precision.policy_set import PolicySet
from receivers.weights.card import CARD, NETWORK, file_entry, write_card
from receivers.weights.folder import WeightFolder, weights
from receivers.weights.network_file import to_tensors
from receivers.weights.tensor_file import TENSORS
from simulator.core.content import sha256
from simulator.core.durable import write_bytes
from simulator.core.errors import ConfigError

README = "README.md"
_METRICS = {"nmse_db": "NMSE (dB)", "sgcs": "SGCS", "sgcs_subband": "SGCS by subband"}


def publish(folder: Path, repo: str, license_: str | None = None, *, as_tensors: bool = False) -> str:
    """Write ``README.md`` of a verified folder of weights; nothing is sent.

    Args:
        folder: with ``card.json``.
        repo: ``user/name`` on the hub.
        license_: identifier of the hub, e.g. ``apache-2.0``; None: the page has none.
        as_tensors: put the weights of the network into a safetensors file first, see :func:`use_tensors`.

    Returns:
        the pinned name, without its revision: ``hf://user/name@REVISION#SHA-256 of the card``.

    Raises:
        ConfigError: no weights there, or no name of a repository.
        StoreError: damaged weights.
    """
    if len(parts := repo.split("/")) != 2 or not all(parts):
        raise ConfigError("--repo", repo, "user/name")
    opened = weights(str(folder.resolve()))
    if as_tensors:
        use_tensors(opened)
        opened = weights(str(folder.resolve()))
    card, name = opened.card, f"hf://{repo}@REVISION#{sha256(folder / CARD)}"
    write_bytes(folder / README, page(card, name, license_).encode())
    return name


def use_tensors(opened: WeightFolder) -> None:
    """Put a safetensors file in the place of ``*.weights.h5``; the card, and policies of these weights, name it.

    Raises:
        ConfigError: not the weights of a network.
    """
    if not opened.is_network:
        raise ConfigError("--safetensors", opened.file.name, "weights of a network")
    old, folder = opened.file, opened.folder
    if old.name.endswith(TENSORS):
        return
    new = folder / f"{old.name.removesuffix(NETWORK)}{TENSORS}"
    to_tensors(old, new)
    entry = file_entry(new)
    if (path := folder / POLICIES).exists():
        policies = PolicySet.load(path)
        if policies.meta["weights_sha256"] == opened.card["weights"]["sha256"]:
            replace(policies, meta={**policies.meta, "weights_sha256": entry["sha256"]}).save(path)
    write_card(folder, {**opened.card, "weights": entry})
    old.unlink()


def page(card: Mapping[str, Any], name: str, license_: str | None) -> str:
    """Metadata in YAML, then what the weights are, how to use them and how they score."""
    scores = list(_scores(card.get("test", {})))
    dataset = str(card.get("dataset", {}).get("name", "unknown"))
    metrics = [{"type": metric, "name": f"{_METRICS[metric]}, {of}", "value": value} for of, metric, value in scores]
    task = {"type": "other", "name": "CSI feedback"}
    result = {"task": task, "dataset": {"type": "other", "name": dataset}, "metrics": metrics}
    front = {
        **({"license": license_} if license_ else {}),
        "library_name": "csilink",
        "tags": ["csilink", "csi-feedback", "massive-mimo", "wireless", str(card["model"]["name"])],
        **({"model-index": [{"name": card["name"], "results": [result]}]} if metrics else {}),
    }
    lines = [f"| {of} | {_METRICS[metric]} | {value:g} |" for of, metric, value in scores]
    table = ["", "| | metric | test |", "|---|---|---|", *lines] if lines else []
    body = [
        f"# {card['name']}",
        "",
        str(card.get("description") or "Weights of csilink."),
        "",
        f"Network `{card['model']['name']}`, trained on `{dataset}`. `card.json` has the recipe, costs, all scores,",
        "and the SHA-256 of every file; csilink checks them before use.",
        "",
        "```yaml",
        f"weights: {name}  # REVISION: a commit or a tag of this repository",
        "```",
        *table,
        "",
    ]
    return "---\n" + yaml.safe_dump(front, sort_keys=False, allow_unicode=True) + "---\n\n" + "\n".join(body)


def _scores(test: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """What was scored, metric, value: of the network, and of its codecs or other lines one level down."""
    groups = {"network": test}
    for key, value in test.items():
        if isinstance(value, Mapping):
            groups[key] = value
            groups.update({inner: each for inner, each in value.items() if isinstance(each, Mapping)})
    for of, group in groups.items():
        for metric in _METRICS:
            if isinstance(group.get(metric), int | float):
                yield of, metric, float(group[metric])
