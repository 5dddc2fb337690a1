"""Trainings from one file, one after another or several at a time, each in a process of its own pinned to cores."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from receivers.training.recipe import parse_training
from scenarios.load import apply_override, find_file, load_mapping
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.lock import held
from simulator.core.onednn import switch_on_onednn
from simulator.core.params import Count, FileName, Integer, parsed
from simulator.core.readers import read_json
from simulator.data.store import write_json

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.2
_TAIL = 4096  # octets of a log in which its last line is looked for


class Training(BaseModel):
    """One training of a queue.

    Args:
        recipe: YAML file, or the name of a shipped one.
        name: of the weights; none: the recipe's.
        seed: in place of the recipe's.
        set: overrides ``a.b=c`` of fields of the recipe.
        backend: of Keras; none: ``KERAS_BACKEND``, or tensorflow.
        store: channel store, or the folder of several.
        out: folder of checkpoints, weights and card; none: ``checkpoints/NAME``.
        double: doubling test: train with twice the samples seen, too.
        onednn: TensorFlow's oneDNN kernels, with networks of csilink.
        half: with ``double``, folder of the plain training; none: ``half`` in ``out``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    recipe: str
    name: FileName | None = None
    seed: Annotated[Integer, Field(ge=0, lt=2**31)] | None = None
    set: tuple[str, ...] = ()
    backend: Literal["tensorflow", "jax", "torch"] | None = None
    store: str | None = None
    out: str | None = None
    double: bool = False
    onednn: bool = False
    half: str | None = None

    @property
    def overrides(self) -> list[str]:
        """All of ``set``, then name and seed."""
        own = {"name": self.name, "seed": self.seed}
        return [*self.set, *(f"{key}={value}" for key, value in own.items() if value is not None)]

    def parsed(self) -> Any:
        """The validated recipe.

        Raises:
            ConfigError: no such recipe, or fields that it does not have.
        """
        data = load_mapping(find_file(self.recipe, "training/recipes", room="receivers"))
        for assignment in self.overrides:
            apply_override(data, assignment)
        recipe = parse_training(data)
        if self.half is not None and not self.double:
            raise ConfigError("half", self.half, "with double: true")
        if self.double:
            recipe.doubled()
        if self.onednn:
            check_onednn("onednn", recipe, self.backend)
        return recipe


def check_onednn(field: str, recipe: Any, backend: str | None) -> None:
    """ConfigError unless oneDNN is safe: under TensorFlow, with a network whose products are tested (see the module).

    Those of csilink are, in ``tests/unit/test_products.py``: none has the form that oneDNN corrupts.
    """
    active = backend or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if active != "tensorflow":
        raise ConfigError(field, f"under {active}", "with backend tensorflow")
    name = getattr(getattr(recipe, "model", None), "name", None)
    kind = next((k for k in ("models", "prediction_models", "estimation_models") if name in registry.names(k)), None)
    if kind is None or not registry.target(kind, name).startswith("receivers."):
        raise ConfigError(field, f"with the network {name}", "networks of csilink, whose products were checked")


def use_onednn(field: str, recipe: Any, backend: str | None) -> None:
    """Turn oneDNN on in this process for the training of a recipe; ConfigError as :func:`check_onednn`."""
    check_onednn(field, recipe, backend)
    switch_on_onednn(field)


class Queue(BaseModel):
    """File of ``csilink train --queue``.

    Args:
        trainings: in order.
        workers: trainings at a time; the cores of this process are divided evenly among them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    trainings: Annotated[tuple[Training, ...], Field(min_length=1)]
    workers: Count = 1


def load_queue(path: Path) -> tuple[Queue, dict[str, Training]]:
    """A queue and its trainings by name; all recipes are read and checked.

    Raises:
        ConfigError: the field, what it is and what it may be; two trainings of one name or folder.
    """
    queue = parsed(Queue, load_mapping(path))
    found: dict[str, Training] = {}
    for index, each in enumerate(queue.trainings):
        try:
            name = each.parsed().name
        except ConfigError as error:
            raise ConfigError(f"trainings.{index}: {error.field}", error.received, error.allowed) from None
        if name in found:
            raise ConfigError(f"trainings.{index}.name", name, "a name that no other training of the queue has")
        out = str(Path(each.out or Path("checkpoints") / name))
        if out in (entry.out for entry in found.values()):
            raise ConfigError(f"trainings.{index}.out", out, "a folder that no other training of the queue has")
        found[name] = each.model_copy(update={"out": out})
    return queue, found


def state_folder(path: Path) -> Path:
    """Where the states and logs of a queue are: ``FILE.state``."""
    return path.with_name(path.name + ".state")


def run_queue(path: Path, progress: Any = print) -> bool:
    """Run what is not done; True if all trainings are done at the end.

    The state of each training is one atomically written file, its output a log. A training ends with this process,
    and goes on from its last checkpoint when the same queue is run again; failed ones are tried again then.

    Raises:
        ConfigError: the file is no queue.
        StoreError: another process runs this queue.
    """
    queue, trainings = load_queue(path)
    folder = state_folder(path)
    with held(folder):
        return _Runner(queue, trainings, folder, progress).to_the_end()


class _Runner:
    def __init__(self, queue: Queue, trainings: dict[str, Training], folder: Path, progress: Any):
        self.trainings, self.folder, self.progress = trainings, folder, progress
        cores = sorted(os.sched_getaffinity(0))
        share = max(len(cores) // queue.workers, 1)
        self.free = [[cores[(w * share + i) % len(cores)] for i in range(share)] for w in range(queue.workers)]
        self.running: dict[str, tuple[subprocess.Popen[bytes], list[int]]] = {}

    def to_the_end(self) -> bool:
        waiting = [name for name in self.trainings if _state(self.folder, name).get("state") != "done"]
        try:
            while waiting or self.running:
                while waiting and self.free:
                    self._start(waiting.pop(0), self.free.pop(0))
                time.sleep(_POLL_S)
                for name in [n for n, (process, _) in self.running.items() if process.poll() is not None]:
                    process, cores = self.running.pop(name)
                    self.free.append(cores)
                    self._ended(name, process.returncode)
        finally:
            for name, (process, _) in self.running.items():
                process.kill()
                process.wait()
                self._write(name, "waiting")
        return all(_state(self.folder, name).get("state") == "done" for name in self.trainings)

    def _start(self, name: str, cores: list[int]) -> None:
        each = self.trainings[name]
        command = [sys.executable, "-m", "csilink", "train", each.recipe, "--out", str(each.out)]
        command += [part for text in each.overrides for part in ("--set", text)]
        command += ["--backend", each.backend] if each.backend else []
        command += ["--store", each.store] if each.store else []
        command += ["--double"] if each.double else []
        command += ["--onednn"] if each.onednn else []
        command += ["--half", each.half] if each.half else []
        parent = os.getpid()
        with ExitStack() as stack:
            log = stack.enter_context((self.folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=lambda: _bound(parent, cores)
            )
        self.running[name] = process, cores
        self._write(name, "running", pid=process.pid, cores=cores)
        self.progress(f"{name}: started on cores {', '.join(map(str, cores))}, log {self.folder / f'{name}.log'}")

    def _ended(self, name: str, code: int) -> None:
        with (self.folder / f"{name}.log").open("rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - _TAIL, 0))
            lines = log.read().decode(errors="replace").strip().splitlines()
        if code == 0:
            self._write(name, "done")
            self.progress(f"{name}: done, {self.trainings[name].out}")
        else:
            error = (lines or ["no output"])[-1] if code > 0 else f"killed by signal {-code}"
            self._write(name, "failed", error=error)
            self.progress(f"{name}: failed, {error}")

    def _write(self, name: str, state: str, **facts: Any) -> None:
        write_json(self.folder / f"{name}.json", {"state": state, "out": self.trainings[name].out, **facts})


def _bound(parent: int, cores: list[int]) -> None:
    """In the child: its cores, and its end with the parent, even by kill -9."""
    os.sched_setaffinity(0, cores)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _state(folder: Path, name: str) -> dict[str, Any]:
    path = folder / f"{name}.json"
    return read_json(path) if path.exists() else {}


def status(path: Path) -> list[dict[str, str]]:
    """One row per training of a queue, from files alone.

    Returns:
        ``name``, ``state`` (waiting, running, paused: its process is gone, failed, done), ``epoch``, ``samples``
        seen, ``loss``, ``val``, ``samples/s``, ``ETA``, ``saved``: age of the last checkpoint, ``error``.
    """
    _, trainings = load_queue(path)
    return [_row(name, each, _state(state_folder(path), name)) for name, each in trainings.items()]


def _alive(pid: int, out: str) -> bool:
    """Whether the process is still the training of this folder, and not a later one of the same number."""
    try:
        return out.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _row(name: str, each: Training, state: dict[str, Any]) -> dict[str, str]:
    said = state.get("state", "waiting")
    if said == "running" and not _alive(state["pid"], str(each.out)):
        said = "paused"
    row = {"name": name, "state": said, "error": state.get("error", "")}
    files = sorted(Path(str(each.out)).rglob("history.json"), key=lambda file: file.stat().st_mtime)
    if not files:
        return row
    history = read_json(files[-1])
    epochs, part = history["epochs"], history.get("part") or {}
    plan = [epoch for stage in history.get("plan", ()) for epoch in stage]
    steps = [count for count, _ in plan]
    total, made = len(steps), sum(steps[: len(epochs)]) + part.get("steps", 0)
    here = steps[len(epochs)] if len(epochs) < total else 1
    seconds = sum(e["seconds"] for e in epochs) + part.get("seconds", 0.0)
    done = len(epochs) + part.get("steps", 0) / here
    last = part or (epochs[-1] if epochs else {})
    scores = [e["val_loss"] for e in epochs if "val_loss" in e]
    row |= {"epoch": f"{done:.2f}/{total}", "saved": _time(time.time() - files[-1].stat().st_mtime)}
    row |= {"loss": f"{last['loss']:.4f}"} if last else {}
    row |= {"val": f"{scores[-1]:.4f}"} if scores else {}
    if steps:
        now = plan[len(epochs)][1] * part.get("steps", 0) / here if len(epochs) < total else 0
        seen = sum(samples for _, samples in plan[: len(epochs)]) + now
        row |= {"samples": f"{seen:.0f}", "samples/s": f"{seen / seconds:.0f}" if seconds else ""}
    if said == "running" and made and seconds:
        row["ETA"] = _time(seconds / made * (sum(steps) - made))
    return row


def _time(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 3600
        else f"{seconds / 60:.0f} min"
        if seconds >= 60
        else f"{seconds:.0f} s"
    )


COLUMNS = ("name", "state", "epoch", "samples", "loss", "val", "samples/s", "ETA", "saved", "error")


def table(rows: list[dict[str, str]]) -> str:
    """Rows of :func:`status` as aligned text."""
    cells = [list(COLUMNS), *([row.get(key) or "-" for key in COLUMNS] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)
