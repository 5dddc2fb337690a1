"""A paper from its plan to figures: data, trainings, tables, figures; each step resumes where it was interrupted.

A paper is a folder ``benchmarks/papers/<key>`` with a plan for each size (``small.yaml``, ...) and two modules:

- ``experiments``: ``trainings(run)``, all :class:`Training`, in order; ``TABLES``, a function of the run for each
  table; optionally ``sections(plan)``, the sections of its data by name, ``plan["data"]`` without it.
- ``figures``: ``FIGURES``, a function of the run for each figure; ``README``, a function of the folder ``results`` for
  each table of the README (:mod:`benchmarks.papers.kit.readme`).
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from benchmarks.papers.kit.training import Training, train
from benchmarks.papers.stores import PaperStores
from benchmarks.saved import save_figure, save_table
from scenarios.load import apply_override, load_mapping
from simulator.core.content import own_version, sha256
from simulator.core.durable import write_bytes
from simulator.core.errors import ConfigError
from simulator.core.readers import read_json
from simulator.data.store import write_json

if TYPE_CHECKING:
    import pandas as pd

PAPERS = Path(__file__).resolve().parents[1]
_KEPT, _PRINTED = "kept.json", 60  # file of the cache's keys; rows of the longest table that is printed
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """One run of a paper.

    Args:
        key: folder of the paper.
        plan: as in its file.
        out: results folder.
        stores: channels by name of their section.
    """

    key: str
    plan: dict[str, Any]
    out: Path
    stores: PaperStores

    def table(self, name: str) -> pd.DataFrame:
        """A table of the paper, from ``out/<name>.csv`` if that is of this plan and code."""
        import pandas as pd

        def make(path: Path) -> None:
            save_table(_part(self.key, "experiments").TABLES[name](self), path, index=False, float_format="%.8g")

        return self.kept(f"{name}.csv", make, pd.read_csv)

    def kept(self, name: str, make: Callable[[Path], Any], read: Callable[[Path], T]) -> T:
        """What ``read`` finds in the file ``out/<name>``, which ``make`` writes if it is missing or of other inputs.

        Inputs are the plan, the data, the cards of the trainings, csilink's version, and the source text of paper and
        kit without that of figures.
        """
        path, index = self.out / name, self.out / _KEPT
        known = read_json(index) if index.exists() else {}
        if not path.exists() or known.get(name) != self._inputs:
            make(path)
            known = read_json(index) if index.exists() else {}  # `make` may have kept others
            write_json(index, {**known, name: self._inputs})
        return read(path)

    def link(self, data: str, scenario: Mapping[str, Any]) -> pd.DataFrame:
        """Rows of results.csv of a link whose channels are the test split of ``data``; resumes."""
        from benchmarks.runner import run

        folder = self.out / data
        common = {
            "name": f"{self.key}_{data}",
            "channel": {"model": "recorded", "store": str(self.stores[data].folder), "split": "test"},
            "normalization": "per_sample",
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / "link.yaml", yaml.safe_dump({**common, **scenario}, sort_keys=False).encode())
        return run(folder / "link.yaml", out=folder / "link", workers=1, resume=True)

    @property
    def _inputs(self) -> str:
        files = [path for place in (self.key, "kit") for path in sorted((PAPERS / place).glob("*.py"))]
        sources = [path.read_text() for path in files if path.stem not in ("figures", "readme")]
        stores = {name: store.hash for name, store in self.stores.items()}
        cards = [self.out / training.folder / "card.json" for training in trainings(self)]
        trained = [sha256(card) for card in cards if card.exists()]
        what = json.dumps([own_version(), self.plan, stores, trained, sources], sort_keys=True)
        return hashlib.sha256(what.encode()).hexdigest()


def papers() -> list[str]:
    """Keys of all papers."""
    return sorted(path.parent.name for path in PAPERS.glob("*/experiments.py"))


def sizes(key: str) -> list[str]:
    """Sizes of a paper that have a plan, e.g. small and full; ConfigError for an unknown paper."""
    if key not in papers():
        raise ConfigError("paper", key, ", ".join(papers()))
    return sorted(path.stem for path in (PAPERS / key).glob("*.yaml") if path.stem in ("small", "medium", "full"))


def load_plan(key: str, size: str = "small", overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The plan of a size with ``a.b=c`` overrides; data ``like`` other data inherit the fields that they leave out."""
    if size not in sizes(key):
        raise ConfigError("--size", size, ", ".join(sizes(key)))
    plan = load_mapping(PAPERS / key / f"{size}.yaml")
    for assignment in overrides:
        apply_override(plan, assignment)
    for name, section in plan["data"].items():
        if isinstance(section, dict) and "like" in section:
            plan["data"][name] = {**plan["data"][section.pop("like")], **section}
    return plan


def prepare(key: str, plan: dict[str, Any], out: Path) -> Run:
    """A run; its channels are drawn on first use."""
    sections = getattr(_part(key, "experiments"), "sections", lambda plan: plan["data"])(plan)
    return Run(key, plan, out, PaperStores(sections, out / "stores"))


def trainings(run: Run, only: Sequence[str] = ()) -> Iterator[Training]:
    """The paper's trainings, or those whose folder matches one of the patterns ``only``, in order."""
    for training in _part(run.key, "experiments").trainings(run):
        if not only or any(fnmatch.fnmatchcase(training.folder, pattern) for pattern in only):
            yield training


def run_paper(
    key: str,
    plan: dict[str, Any],
    out: Path,
    only: Sequence[str] = (),
    train_only: bool = False,
    progress: Callable[[str], Any] = print,
) -> Run:
    """Draw channels, train, measure, draw figures, all into ``out``.

    Args:
        key: of the paper.
        plan: see :func:`load_plan`.
        out: results folder.
        only: patterns of folders of trainings (``*`` for any text): train these and stop.
        train_only: stop after the trainings.
        progress: receives lines.

    Raises:
        StoreError: data or trainings in ``out`` are of another plan.
        ConfigError: no training matches ``only``.
    """
    run = prepare(key, plan, out)
    wanted = list(trainings(run, only))
    if not wanted:
        raise ConfigError("--only", " ".join(only), ", ".join(t.folder for t in trainings(run)))
    for training in wanted:
        train(training, run.stores, out, progress)
    if only or train_only:
        return run
    for name in _part(key, "experiments").TABLES:
        frame = run.table(name)
        progress(f"\n{name}\n{frame.to_string(index=False) if len(frame) <= _PRINTED else f'{len(frame)} rows'}")
    _draw(run)
    progress(f"figures and tables: {out}")
    return run


def _draw(run: Run) -> None:
    import matplotlib as mpl

    from benchmarks.report.figures import RC

    with mpl.rc_context(RC):
        for name, figure in _part(run.key, "figures").FIGURES.items():
            save_figure(figure(run), run.out / f"{name}.png")


def _part(key: str, module: str) -> Any:
    return import_module(f"benchmarks.papers.{key}.{module}")
