"""The shipped recipe that makes a missing folder of weights or codebooks."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path


def how_to_make(folder: str) -> str:
    """The commands that make ``checkpoints/<name of a shipped recipe>[-<variant>]``, in words for a message."""
    best: tuple[int, str] = (0, "`csilink train RECIPE` makes one")
    for path in sorted((Path(str(files("receivers"))) / "training" / "recipes").glob("*.yaml")):
        with path.open(encoding="utf-8") as file:
            fields = dict(re.findall(r"^(name|datasets?|environments): *(.+)$", file.read(), re.MULTILINE))
        name = fields["name"].strip()
        if re.fullmatch(rf"{re.escape(name)}(-.+)?", Path(folder).name) and len(name) > best[0]:
            source = fields.get("dataset") or fields.get("datasets") or fields.get("environments", "")
            stores = re.findall(r"\w+(?=\s*(?:[,\]}]|$))", source)
            commands = [*(f"`csilink dataset {store}`" for store in stores), f"`csilink train {path.stem}`"]
            best = len(name), f"{' and then '.join(commands)} makes it"
    return best[1]
