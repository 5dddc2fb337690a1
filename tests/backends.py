"""Keras under its other backends: one process for each, which runs the code of one test after the other."""

import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest


def execute(code, argv):
    """What a script prints, run here with these arguments; ``MODULES_BEFORE`` are those that others loaded."""
    before, sys.argv = sys.argv, ["script", *argv]
    try:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(code, {"__name__": "script", "MODULES_BEFORE": set(sys.modules)})
    finally:
        sys.argv = before
    return said.getvalue()


def serve():
    """Answer every line of JSON ``[code, argv]`` with ``[output, error]``."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print do not speak in between
    for line in sys.stdin:
        try:
            answer = [execute(*json.loads(line)), None]
        except BaseException:
            answer = [None, traceback.format_exc()]
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class Backends:
    """Processes by backend, started on first use."""

    def __init__(self):
        self._processes = {}

    def run(self, backend, code, *argv):
        """What ``code`` prints under a backend; that of the tests runs it in this process. Skips if not installed."""
        import keras

        if backend == keras.backend.backend():
            return execute(code, [str(a) for a in argv])
        if importlib.util.find_spec(backend) is None:
            pytest.skip(f"{backend} is not installed")
        process = self._process(backend)
        process.stdin.write(json.dumps([code, [str(a) for a in argv]]) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, f"the process of {backend} died with code {process.wait()}"
        said, error = json.loads(answer)
        assert error is None, error
        return said

    def _process(self, backend):
        if backend not in self._processes:
            root, tests = Path(__file__).parents[1], Path(__file__).parent
            environment = {
                **os.environ,
                "KERAS_BACKEND": backend,
                "JAX_PLATFORMS": "cpu",
                "CUDA_VISIBLE_DEVICES": "",
                "PYTHONPATH": os.pathsep.join((str(tests), os.environ.get("PYTHONPATH", ""))).rstrip(os.pathsep),
                "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiles in half the time
            }
            self._processes[backend] = subprocess.Popen(
                [sys.executable, "-c", "from backends import serve; serve()"],
                cwd=root,
                env=environment,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        return self._processes[backend]

    def close(self):
        """End the processes."""
        for process in self._processes.values():
            process.stdin.close()
            process.wait(timeout=60)
