"""Tracks: what entries are compared on. Frozen: a change of the content needs another version."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from scenarios.load import load_mapping
from scenarios.sections import Section
from scenarios.sweep import Point, content_hash, expand
from simulator.core.errors import ConfigError, CsilinkError, StoreError
from simulator.core.params import FileName, PositiveFloat, parsed
from simulator.core.readers import read_json

FOLDER = Path(__file__).with_name("tracks")
FROZEN = FOLDER / "frozen.json"
NONE = "none"  # side information of an entry that has none


class Track(Section):
    """One comparison: channels, payload classes, scores.

    Args:
        name: of the track and its file.
        version: of the rules.
        description: in one sentence.
        scores: metrics by which entries are ranked, the most important first.
        bits: metric that the limits of the payload classes are about.
        limits: name of a payload class, PMI bits of enhanced Type II per layer at 32 ports, to the largest number of
            bits in it: the whole report of enhanced Type II with that paramCombination here, everything counted.
        scenario: fields of a scenario without ``name``, ``feedback`` and ``metrics``; one SNR, one precoder.
        side_information: what an entry may know in addition, by name, and the fields of the scenario that give it.
        needs: files or programs that csilink does not bring; empty: none.
    """

    name: FileName
    version: FileName
    description: str
    scores: Annotated[tuple[str, ...], Field(min_length=1)]
    bits: Literal["bits_mean", "bits_per_slot"] = "bits_mean"
    limits: dict[int, PositiveFloat]
    scenario: dict[str, Any]
    side_information: dict[str, dict[str, Any]] = {}
    needs: str = ""

    @property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the content."""
        return content_hash(self.model_dump(mode="json"))

    @property
    def drops(self) -> int:
        """Drops that are scored."""
        return int(self.scenario["run"]["drops"])

    @property
    def seed(self) -> int:
        """Root seed of the test channels, which no training data may have."""
        return int(self.scenario["seed"])

    def metrics(self) -> list[str]:
        """Metrics that a run computes."""
        return [*self.scores, *dict.fromkeys((self.bits, "bits_mean", "bits_max", "bits_p95")), "ue_gbops"]

    def scenario_of(self, lines: list[dict[str, Any]], side_information: str = NONE) -> dict[str, Any]:
        """Scenario of lines of ``feedback`` as plain data.

        Raises:
            ConfigError: side information that the track does not give.
        """
        if side_information not in (NONE, *self.side_information):
            allowed = f"{', '.join((NONE, *self.side_information))} in track {self.name}"
            raise ConfigError("side_information", side_information, allowed)
        data = copy.deepcopy(self.scenario) | copy.deepcopy(self.side_information.get(side_information, {}))
        data |= {"name": self.name, "feedback": copy.deepcopy(lines), "metrics": self.metrics()}
        data["run"] = {**data.get("run", {}), "keep_drops": True}
        return data

    def point(self, lines: list[dict[str, Any]], side_information: str = NONE) -> Point:
        """The one point of these lines."""
        return expand(self.scenario_of(lines, side_information))[0]

    def missing(self) -> str:
        """Why the track cannot run on this machine, in words; empty where it can."""
        from benchmarks.build import check_source

        scenario = self.point([{"scheme": "dft"}]).scenario
        try:
            check_source(scenario.channel, scenario.geometry)
        except CsilinkError as error:
            return f"needs {self.needs or 'what is missing here'} ({error.line})"
        return ""


@cache
def frozen() -> dict[str, Any]:
    """Version and hashes of the tracks of this version."""
    try:
        return dict(read_json(FROZEN))
    except OSError as error:
        raise StoreError(f"{FROZEN}: cannot be read ({error.strerror})") from None


def read_track(path: Path) -> Track:
    """A track from its file, frozen or not."""
    return parsed(Track, load_mapping(path), path.stem)


@cache
def track(name: str) -> Track:
    """A track by name.

    Raises:
        ConfigError: no such track, or one that is no longer what was frozen.
    """
    known = frozen()["tracks"]
    if name not in known:
        raise ConfigError("--track", name, ", ".join(known))
    found = read_track(FOLDER / f"{name}.yaml")
    if found.hash != known[name] or found.name != name:
        allowed = f"{known[name]}: tracks of version {frozen()['version']} are frozen, a change needs a new version"
        raise ConfigError(f"track {name}", f"content {found.hash}", allowed)
    return found


def tracks() -> list[Track]:
    """All tracks, in the order in which they were frozen."""
    return [track(name) for name in frozen()["tracks"]]
