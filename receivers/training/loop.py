"""The one training loop: stages, epochs, checkpoints, resume, early stop, TensorBoard, progress, limit of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np

from receivers.training.averages import averaged
from receivers.training.checkpoint import flush_denormals, load_variables, machine, read_history, save_variables
from receivers.training.task import Task
from receivers.training.tensorboard import TensorBoard
from simulator.core.errors import StoreError
from simulator.core.units import lin_to_db
from simulator.data.store import write_json

# Longest work [s] that a kill loses.
CHECKPOINT_S = 600.0


class PausedError(Exception):
    """The limit of wall time was reached; a checkpoint is written, and the same call goes on from there."""


def run(
    task: Task,
    folder: Path,
    progress: Callable[[str], None] = print,
    *,
    seconds: float = math.inf,
    checkpoint_s: float = CHECKPOINT_S,
) -> tuple[Any, dict[str, Any]]:
    """Train to the end, from the last checkpoint if ``folder`` has one.

    A checkpoint has all variables of model and optimiser, after every epoch and every ``checkpoint_s``; batches
    depend on seed and epoch only, so that a killed run goes on as one that was never stopped. In each stage the epoch
    with the lowest ``task.objective`` gives the weights that the next stage starts at. A task without stages is built
    in one go, with nothing to resume.

    Args:
        task: model, batches, scores.
        folder: checkpoints, ``history.json`` and TensorBoard log.
        progress: receives one line per epoch.
        seconds: wall time of this call, at most [s].
        checkpoint_s: time between two checkpoints, at most [s].

    Returns:
        the model with its best weights, and the history: ``recipe``, ``machine``, ``epochs`` with ``stage``, ``loss``,
        scores and ``seconds`` each.

    Raises:
        StoreError: the folder belongs to another recipe or cannot be written, or training diverged.
        PausedError: after ``seconds``.
    """
    if not task.stages:
        return task.build(folder, progress), {}
    return _Run(task, folder, progress, seconds, checkpoint_s).to_the_end()


class _Run:
    def __init__(self, task: Task, folder: Path, progress: Any, seconds: float, checkpoint_s: float):
        flush_denormals()
        self.task, self.folder, self.progress, self.every = task, folder, progress, checkpoint_s
        self.deadline, self.saved = time.monotonic() + seconds, time.monotonic()
        self.state = read_history(folder / "history.json", task.described, ("stage", "loss"))
        self.state.setdefault("machine", machine())
        self.epochs, self.files = self.state["epochs"], self.state["files"]
        self.model = task.build(folder, progress)
        self.state["plan"] = task.plan
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{folder}: cannot be written ({error.strerror})") from None
        self.log = TensorBoard(folder / "tensorboard")

    def to_the_end(self) -> tuple[Any, dict[str, Any]]:
        """All stages from where they are."""
        first = 0
        for number, epochs in enumerate(self.task.plan):
            part = self.state.get("part")
            reached = max([e["stage"] for e in self.epochs] + ([part["stage"]] if part else []), default=0)
            if number >= reached:
                self._stage(number, first)
            first += len(epochs)
        self._load(f"best-{len(self.task.plan) - 1}.npz", weights_only=True)
        return self.model, self.state

    def _stage(self, number: int, first: int) -> None:
        """One stage; ``first`` epochs belong to those before."""
        task, stage, part = self.task, self.task.stages[number], self.state.get("part")
        plan = task.plan[number]
        done = [e for e in self.epochs if e["stage"] == number]
        if number and not done and part is None:
            self._load(f"best-{number - 1}.npz", weights_only=True)
        task.compile(self.model, stage)
        if part is not None:
            self._load(part["file"])
        elif done:
            self._load(_name(first + len(done)))
        while len(done) < len(plan) and not _stalled(done, task.patience):
            epoch = first + len(done)
            entry = {"stage": number, **self._epoch(number, epoch, plan[len(done)].steps)}
            if task.due([e["loss"] for e in (*done, entry)], len(plan)):
                started = time.monotonic()
                with averaged(self.model, partial(task.batches, epoch)):
                    entry |= task.validate(self.model)
                    scored = [task.objective(e) for e in (*done, entry) if "val_loss" in e]
                    if scored[-1] <= min(scored):
                        self._save(f"best-{number}.npz")
                entry["seconds"] = round(entry.pop("seconds") + time.monotonic() - started, 1)
            if not all(math.isfinite(value) for value in entry.values()):
                raise StoreError(f"{self.folder}: training diverged in epoch {epoch + 1}; lower learning_rate")
            done.append(entry)
            self.epochs.append(entry)
            name = _name(epoch + 1)
            self._save(name)
            self._write(None, name)
            values = {k: v for k, v in entry.items() if k not in ("seconds", "stage")}
            self.log.scalars(epoch + 1, **values)
            said = ", ".join(f"{key} {self._text(key, value)}" for key, value in values.items())
            self.progress(f"epoch {epoch + 1}/{sum(map(len, task.plan))}: {said}, {entry['seconds']} s")

    def _epoch(self, number: int, epoch: int, total: int) -> dict[str, float]:
        """Steps of an epoch of ``total`` that are left; the mean loss of all, and their time."""
        part = self.state.get("part") or {"steps": 0, "loss": 0.0, "seconds": 0.0}
        done, started = part["steps"], time.monotonic()
        self.task.set_phase(self.model, [e["loss"] for e in self.epochs])
        if not done:  # otherwise the checkpoint has what this sets
            self.task.start_epoch(self.model, epoch)

        def mean(loss: float, steps: int) -> float:
            """Of all steps, from that of the last ones."""
            return float((done * part["loss"] + steps * loss) / (done + steps))

        def after(steps: int, loss: Callable[[], float]) -> None:
            """Called after each step, with the number of steps and their mean loss: checkpoint, limit of time."""
            now = time.monotonic()
            if now - self.saved <= self.every and now <= self.deadline:
                return
            name = f"part-{epoch:04d}-{done + steps:07d}.npz"
            self._save(name)
            entry = {"steps": done + steps, "loss": mean(loss(), steps), "seconds": part["seconds"] + now - started}
            self._write({"stage": number, "file": name, **entry}, name)
            if now > self.deadline:
                raise PausedError(f"{self.folder}: paused in epoch {epoch + 1} after {done + steps} steps")

        left = total - done
        batches = (batch for batch in islice(self.task.batches(epoch), done, total))  # Keras takes a generator alone
        loss = part["loss"]
        if left:
            steps = self._by_batch if self.task.by_batch else self._by_fit
            loss = mean(steps(batches, done, left, epoch, after), left)
        return {"loss": loss, "seconds": round(part["seconds"] + time.monotonic() - started, 1)}

    def _by_fit(self, batches: Iterator[Any], done: int, left: int, epoch: int, after: Any) -> float:
        """One compiled step for all batches, which are made while others run."""
        watch = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda step, logs: after(step + 1, lambda: _loss(logs))
        )
        history = self.model.fit(batches, steps_per_epoch=left, verbose=0, shuffle=False, callbacks=[watch]).history
        return float(_loss(history)[0])

    def _by_batch(self, batches: Iterator[Any], done: int, left: int, epoch: int, after: Any) -> float:
        """Compiled steps for each shape; a model with ``set_step`` hears what comes."""
        announce, losses = getattr(self.model, "set_step", None), []
        for step, batch in enumerate(batches, done):
            if announce is not None:
                announce(epoch, step, np.shape(batch[0]))
            losses.append(float(_loss(self.model.train_on_batch(*batch, return_dict=True))))
            after(len(losses), lambda: float(np.mean(losses)))
        return float(np.mean(losses))

    def _save(self, name: str) -> None:
        if sync := getattr(self.model, "jax_state_sync", None):  # inside `fit` under JAX the variables are behind
            sync()
        self.files[name] = save_variables(self.model, self.folder / name)
        self.saved = time.monotonic()

    def _load(self, name: str, weights_only: bool = False) -> None:
        load_variables(self.model, self.folder / name, weights_only, known=self.files)

    def _write(self, part: dict[str, Any] | None, kept: str) -> None:
        """The history; then all checkpoints but ``kept`` and the best go. A kill in between leaves one too many."""
        self.state["part"] = part
        for name in [name for name in self.files if not name.startswith("best") and name != kept]:
            del self.files[name]
        write_json(self.folder / "history.json", self.state)
        for path in [*self.folder.glob("epoch-*.npz"), *self.folder.glob("part-*.npz")]:
            if path.name != kept:
                path.unlink(missing_ok=True)

    def _text(self, key: str, value: float) -> str:
        if key.endswith("bits"):
            return f"{value:.1f}"
        return f"{lin_to_db(value):.3f} dB" if self.task.decibel(key) and value > 0 else f"{value:.4f}"


def _name(epochs: int) -> str:
    return f"epoch-{epochs:04d}.npz"


def _loss(logs: Any) -> Any:
    """What the history shows as loss: the distortion alone, where a model has it."""
    return logs.get("distortion", logs.get("loss"))


def _stalled(epochs: list[dict[str, float]], patience: float) -> bool:
    """No better validation loss within the last ``patience`` scores."""
    losses = [e["val_loss"] for e in epochs if "val_loss" in e]
    if len(losses) <= patience:
        return False
    return min(losses[-int(patience) :]) > min(losses[: -int(patience)])
