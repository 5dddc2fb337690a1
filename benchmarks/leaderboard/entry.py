"""Entries: a folder with ``entry.yaml`` and a result for every track, of csilink or of anybody."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from benchmarks.leaderboard.track import NONE, Track, frozen
from scenarios.load import load_mapping
from scenarios.schema import Scenario
from scenarios.sections import Section
from scenarios.sweep import content_hash
from simulator.core.content import noting
from simulator.core.durable import write_bytes
from simulator.core.errors import ConfigError, StoreError
from simulator.core.params import FileName, parsed
from simulator.core.paths import is_file

ENTRIES = Path(__file__).with_name("entries")
FILE = "entry.yaml"
Family = Literal["3gpp", "codebook", "transform", "network"]
FAMILIES: dict[Family, str] = {
    "3gpp": "3GPP codebook",
    "codebook": "other codebook",
    "transform": "transform code",
    "network": "neural network",
}


class Entry(Section):
    """One scheme with its operating points.

    Args:
        name: of the entry.
        description: of the scheme, with its source.
        family: kind of scheme: a codebook of TS 38.214 (its report maybe recoded), another codebook, a transform code
            without a neural network, or one with a network at the UE or at the gNB.
        tracks: track to its lines of ``feedback``, as in a scenario.
        side_information: what the scheme knows besides its channel estimate, by the name that the track gives it.
        training: data that its parameters were made from.
        ue_cost: what the UE computes for a report.
        weights: path or name of every weights card or table that is read, to its SHA-256 (``csilink leaderboard add``
            writes them).
    """

    name: FileName
    description: str
    family: Family
    tracks: Annotated[dict[str, list[dict[str, Any]]], Field(min_length=1)]
    side_information: str = NONE
    training: str
    ue_cost: str
    weights: dict[str, str] = {}

    def lines(self, track: Track) -> list[dict[str, Any]]:
        """Lines of ``feedback`` on a track."""
        if track.name not in self.tracks:
            raise ConfigError(f"{self.name}.tracks", track.name, ", ".join(self.tracks))
        return self.tracks[track.name]

    def hash(self, track: Track) -> str:
        """Hash of what a result on this track depends on: lines, side information, weights."""
        return content_hash([self.lines(track), self.side_information, self.weights])

    def labelled(self, track: Track) -> dict[str, dict[str, Any]]:
        """The lines of :meth:`prepared`."""
        return self.prepared(track)[0]

    def prepared(self, track: Track) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """One line of ``feedback`` for each operating point, by its label; and what they read.

        Raises:
            ConfigError: a scheme that cannot be built, or weights that are not those of the entry.
        """
        scenario = track.point(self.lines(track), self.side_information).scenario
        labels, found = built(scenario)
        for name, what in weights_of(found).items():
            if what != self.weights.get(name):
                allowed = f"{what}, the SHA-256 of what is read now"
                raise ConfigError(f"{self.name}.weights.{name}", self.weights.get(name), allowed)
        lines = [
            {**line, **variant}
            for line, section in zip(self.lines(track), scenario.feedback, strict=True)
            for variant in section.variants()
        ]
        named = {label: {**line, "label": f"{self.name}/{label}"} for label, line in zip(labels, lines, strict=True)}
        return named, found


def built(scenario: Scenario) -> tuple[list[str], dict[str, str]]:
    """Labels of the schemes, and the content of everything that is read, by path or plug-in; nothing is computed."""
    from benchmarks.build import check_parts
    from benchmarks.reads import note_parts

    with noting() as found:
        link = check_parts(scenario)
        note_parts(scenario)
    return list(link.reporting), dict(found)


def weights_of(content: dict[str, str]) -> dict[str, str]:
    """The cards of weights, by the folder that has them."""
    cards = {label: what for label, what in content.items() if Path(label).name == "card.json"}
    return {Path(label).parent.name: what for label, what in cards.items()}


def entry(name: str | Path) -> tuple[Path, Entry]:
    """Folder and content of an entry, by the name of a shipped one or by path.

    Raises:
        ConfigError: no such entry, or a wrong one.
    """
    folder = Path(name)
    if not is_file(folder / FILE):
        folder = ENTRIES / name
    if not is_file(folder / FILE) or len(Path(name).parts) == 0:
        allowed = f"a folder with {FILE}, or one of {', '.join(shipped())}"
        raise ConfigError("entry", str(name), allowed)
    found = parsed(Entry, load_mapping(folder / FILE), folder.name)
    if found.name != folder.absolute().name:
        raise ConfigError(f"{folder / FILE}: name", found.name, f"{folder.absolute().name}, the name of its folder")
    for each in found.tracks:
        if each not in frozen()["tracks"]:
            raise ConfigError(f"{folder / FILE}: tracks", each, ", ".join(frozen()["tracks"]))
    return folder, found


def shipped() -> list[str]:
    """Names of the entries of csilink."""
    return sorted(path.parent.name for path in ENTRIES.glob(f"*/{FILE}"))


def chosen(names: list[str] | None) -> list[tuple[Path, Entry]]:
    """Entries by name or path; all shipped ones where none is named."""
    return [entry(name) for name in names or shipped()]


def new_entry(
    folder: Path,
    *,
    tracks: Sequence[Track],
    lines: list[dict[str, Any]],
    description: str,
    family: str,
    training: str,
    ue_cost: str,
    side_information: str = NONE,
) -> Path:
    """Write ``entry.yaml`` of an entry that has the same lines on all of its tracks.

    Args:
        folder: new; a name without a folder is that of an entry of csilink.
        tracks: tracks.
        lines: of ``feedback``.
        description: see :class:`Entry`.
        family: the same.
        training: the same.
        ue_cost: the same.
        side_information: the same.

    Raises:
        ConfigError: a line that does not fit a track; nothing was written then.
        StoreError: there is an entry.
    """
    place = ENTRIES / folder if len(folder.parts) == 1 and not folder.is_absolute() else folder
    if (place / FILE).exists():
        raise StoreError(f"{place / FILE}: exists; edit it, or remove it first")
    weights: dict[str, str] = {}
    for track in tracks:
        weights |= weights_of(built(track.point(lines, side_information).scenario)[1])
    data = {
        "name": place.absolute().name, "description": description, "family": family,
        "side_information": side_information, "training": training, "ue_cost": ue_cost,
        "tracks": {track.name: lines for track in tracks}, "weights": weights,
    }  # fmt: skip
    parsed(Entry, data, place.name)
    write_bytes(place / FILE, yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120).encode())
    return place


def renewed(folder: Path, entry: Entry) -> Entry:
    """The entry with the hashes of the weights that are read now, written into its ``entry.yaml``.

    Raises:
        ConfigError: weights that the file does not name yet.
    """
    from benchmarks.leaderboard.track import track

    path = folder / FILE
    text = path.read_text(encoding="utf-8")
    for name, lines in entry.tracks.items():
        where = track(name)
        if where.missing():
            continue
        for weights, what in weights_of(built(where.point(lines, entry.side_information).scenario)[1]).items():
            if weights not in entry.weights:
                raise ConfigError(f"{entry.name}.weights", list(entry.weights), f"with {weights}: {what}")
            text = text.replace(entry.weights[weights], what)
    write_bytes(path, text.encode())
    return parsed(Entry, load_mapping(path), folder.name)
