"""Engines that compute chunks: processes of this machine, or a Ray cluster. Both write the same files."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from benchmarks.store import Unit
from simulator.core import registry
from simulator.core.errors import ConfigError, CsilinkError
from simulator.core.extras import need
from simulator.core.onednn import VARIABLE

# A chunk whose worker died is given to another one this often.
_RETRIES = 2
MAX_WORKERS = 1024


class WorkerError(RuntimeError):
    """A worker failed in a way that is not the user's; the trace is the message."""


class Engine(Protocol):
    """Computes units. ``submit`` never blocks; ``results`` yields finished units in any order."""

    slots: int

    def submit(self, unit: Unit) -> None:
        """Queue a unit."""

    def next_done(self) -> Unit:
        """Wait for the next finished unit; its file is in place."""

    def close(self) -> None:
        """Stop everything; unfinished units leave nothing."""


class LocalEngine:
    """Worker processes of this machine; a worker that dies is replaced and its chunk retried.

    Args:
        workers: number of processes.
    """

    def __init__(self, workers: int):
        self.slots = workers
        self._jobs: queue.SimpleQueue[Unit | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Unit | Exception] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._threads = [threading.Thread(target=self._serve, args=(i,), daemon=True) for i in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, unit: Unit) -> None:
        """Queue a unit."""
        self._jobs.put(unit)

    def next_done(self) -> Unit:
        """Wait for the next finished unit; its file is in place."""
        while True:
            try:
                # A short wait keeps Ctrl-C responsive.
                item = self._done.get(timeout=0.2)
            except queue.Empty:
                continue
            if isinstance(item, Exception):
                raise item
            return item

    def close(self) -> None:
        """Stop all workers."""
        self._closing.set()
        for process in list(self._processes.values()):
            process.kill()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout=10)

    def _start(self, number: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": "0", "KERAS_BACKEND": "tensorflow", "PYTHONPATH": _path()},
        )
        self._processes[number] = process
        return process

    def _serve(self, number: int) -> None:
        try:
            self._work(number)
        except Exception as error:  # no process can be started; without this the run would wait for ever
            self._done.put(WorkerError(f"a worker process cannot be started ({error})"))

    def _work(self, number: int) -> None:
        process: subprocess.Popen[str] | None = None
        while (unit := self._jobs.get()) is not None and not self._closing.is_set():
            answer: dict[str, str] | None = None
            for _ in range(1 + _RETRIES):
                if process is None or process.poll() is not None:
                    process = self._start(number)
                answer = _ask(process, unit)
                if answer is not None or self._closing.is_set():
                    break
                process = None
            if self._closing.is_set():
                break
            self._done.put(_judge(answer, unit))
        if process is not None:
            process.kill()
            process.wait()


def _path() -> str:
    """Where this process finds modules, so that workers find the same: those of dotted paths, and csilink's own."""
    places = [*sys.path, str(Path(__file__).parents[1])]
    return os.pathsep.join(dict.fromkeys(map(os.path.abspath, places)))


def _ask(process: subprocess.Popen[str], unit: Unit) -> dict[str, str] | None:
    """Answer of a worker, or None when it died."""
    job = {"scenario": unit.scenario_text, "first": unit.first, "drops": unit.drops, "path": str(unit.path)}
    job |= {"point": unit.point.key, "content": dict(unit.point.content)}
    try:
        process.stdin.write(json.dumps(job) + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        line = process.stdout.readline()  # type: ignore[union-attr]
        return json.loads(line) if line else None
    except (BrokenPipeError, OSError, ValueError):
        return None


def _judge(answer: dict[str, str] | None, unit: Unit) -> Unit | Exception:
    if answer is None:
        return WorkerError(
            f"the worker died {1 + _RETRIES} times on drops {unit.first} to {unit.first + unit.drops - 1} "
            "(out of memory?); resume with fewer --workers"
        )
    if "error" in answer:
        return CsilinkError(answer["error"]) if answer["user"] else WorkerError(answer["trace"])
    return unit


class HereEngine:
    """This process, for classes that no other one knows (:func:`simulator.core.registry.register`)."""

    slots = 1

    def __init__(self) -> None:
        self._waiting: list[Unit] = []

    def submit(self, unit: Unit) -> None:
        """Queue a unit."""
        self._waiting.append(unit)

    def next_done(self) -> Unit:
        """Compute the next unit and store it."""
        from benchmarks.worker import compute

        unit = self._waiting.pop(0)
        unit.write(compute(unit.scenario_text, unit.first, unit.drops, unit.point.content))
        return unit

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.clear()


class RayEngine:
    """Tasks on a Ray cluster; results come back as bytes and are written here, so no file system is shared.

    Args:
        workers: tasks in flight; None takes the CPUs of the cluster.
        address: of a running cluster, None for `RAY_ADDRESS` or a local one.
    """

    def __init__(self, workers: int | None, address: str | None = None):
        need("--engine", "ray")
        import ray

        self._ray = ray
        self._own = not ray.is_initialized()
        if self._own:
            address = address or os.environ.get("RAY_ADDRESS")
            size = {} if address else {"num_cpus": workers, "include_dashboard": False}
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **size)
        self.slots = workers or int(ray.cluster_resources().get("CPU", 1))
        self._pending: dict[object, Unit] = {}
        threads = {f"{n}_NUM_THREADS": "1" for n in ("OMP", "OPENBLAS", "MKL")}
        threads |= {
            "TF_NUM_INTRAOP_THREADS": "1",
            "TF_NUM_INTEROP_THREADS": "1",
            "KERAS_BACKEND": "tensorflow",
            VARIABLE: os.environ[VARIABLE],
        }
        self._task = ray.remote(max_retries=_RETRIES, num_cpus=1, runtime_env={"env_vars": threads})(_remote_chunk)

    def submit(self, unit: Unit) -> None:
        """Queue a unit."""
        self._pending[self._task.remote(unit.scenario_text, unit.first, unit.drops, dict(unit.point.content))] = unit

    def next_done(self) -> Unit:
        """Wait for the next finished unit; its file is in place."""
        ready, _ = self._ray.wait(list(self._pending), num_returns=1)
        unit = self._pending.pop(ready[0])
        try:
            result = self._ray.get(ready[0])
        except self._ray.exceptions.RayError as error:
            raise WorkerError(str(error)) from None
        if isinstance(result, str):
            raise CsilinkError(result)
        unit.write(result)
        return unit

    def close(self) -> None:
        """Cancel running tasks; leave a cluster that was not started here alone."""
        for task in self._pending:
            self._ray.cancel(task, force=True)
        if self._own:
            self._ray.shutdown()


def _remote_chunk(scenario_text: str, first: int, drops: int, content: dict[str, str]) -> bytes | str:
    """The chunk, or the message of an error that the user can correct."""
    from benchmarks.worker import compute

    try:
        return compute(scenario_text, first, drops, content)
    except CsilinkError as error:
        return error.line


def check_engine(name: str, workers: int | None) -> None:
    """ConfigError unless this engine can be made; starts nothing."""
    if workers is not None and not 1 <= workers <= MAX_WORKERS:
        raise ConfigError("--workers", workers, f"1..{MAX_WORKERS}")
    if name not in ("local", "ray"):
        raise ConfigError("--engine", name, "local, ray")
    if name == "ray":
        need("--engine", "ray")
    if registry.has_registered() and (name, workers or 1) != ("local", 1):
        allowed = "local with 1 worker: registered classes are known to this process alone (or a dotted path to each)"
        raise ConfigError("--engine", f"{name}, {workers} workers", allowed)


def make_engine(name: str, workers: int | None) -> Engine:
    """Engine by name: "local" or "ray"."""
    check_engine(name, workers)
    if registry.has_registered():
        return HereEngine()
    return RayEngine(workers) if name == "ray" else LocalEngine(workers or min(os.cpu_count() or 1, 8))


def run_units(engine: Engine, units: Iterator[Unit]) -> Iterator[Unit]:
    """Compute units with as many in flight as the engine has slots, and one waiting for each."""
    waiting = 0
    for unit in units:
        engine.submit(unit)
        waiting += 1
        if waiting >= 2 * engine.slots:
            yield engine.next_done()
            waiting -= 1
    for _ in range(waiting):
        yield engine.next_done()
