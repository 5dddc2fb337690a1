"""Programs that need TensorFlow and nothing of csilink, forked from one process that has imported it: 6 s of a core."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

SERVER = """
import json, os, runpy, sys, traceback
import tensorflow
for line in sys.stdin:
    argv, said = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
        code, sys.argv = 0, argv
        try:
            runpy.run_path(argv[0], run_name="__main__")
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stderr.flush()
        os._exit(code)
    print("ended:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def forked(folder):
    """An object with a ``run`` like that of ``subprocess`` for programs of ``python -IB``.

    Args:
        folder: for what the programs say.
    """
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command, pipe = [sys.executable, "-IBc", SERVER], subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, env=environment) as server:

        def run(command, **options):
            assert command[:2] == [sys.executable, "-IB"]
            said = Path(folder) / "said"
            said.unlink(missing_ok=True)
            server.stdin.write(json.dumps([command[2:], str(said)]) + "\n")
            server.stdin.flush()
            answer = next(line for line in server.stdout if line.startswith("ended: "))
            return subprocess.CompletedProcess(command, int(answer.removeprefix("ended: ")), "", said.read_text())

        yield SimpleNamespace(run=run)
        server.stdin.close()
