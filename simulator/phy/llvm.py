"""The LLVM library that the ray tracer compiles with: found on the system and tried in a child process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from simulator.core.errors import StoreError

_PLACES = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/lib/llvm-*/lib", "/opt/homebrew/opt/llvm*/lib")
_PROBE = """
import sionna.rt as rt
scene = rt.load_scene(rt.scene.simple_reflector)
scene.tx_array = scene.rx_array = rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="V")
scene.add(rt.Transmitter("tx", position=[-30, 0, 20]))
scene.add(rt.Receiver("rx", position=[30, 0, 20]))
paths = rt.PathSolver()(scene, max_depth=1, samples_per_src=1000, seed=1)
print("paths", paths.tau.shape[-1])
"""


def candidates() -> list[str]:
    """Paths of installed libLLVM, the newest version first; ``DRJIT_LIBLLVM_PATH`` before all others."""
    if chosen := os.environ.get("DRJIT_LIBLLVM_PATH"):
        return [chosen]
    found: dict[int, str] = {}
    for place in _PLACES:
        for path in Path("/").glob(f"{place[1:]}/libLLVM*"):
            version = re.fullmatch(r"libLLVM(?:-(\d+)\.so.*|\.so\.(\d+).*|-(\d+)\.dylib)", path.name)
            if version:
                found.setdefault(int(next(filter(None, version.groups()))), str(path))
    return [found[version] for version in sorted(found, reverse=True)]


@cache
def working_llvm() -> str:
    """Path of the first libLLVM with which the ray tracer finds the paths of a tiny scene, in a child process.

    Some versions are refused by Dr.Jit and some crash the process, which only a child can show.

    Raises:
        StoreError: none works; the message names what was tried and the Debian package to install.
    """
    tried = []
    for path in candidates():
        environment = {**os.environ, "DRJIT_LIBLLVM_PATH": path}
        try:
            child = subprocess.run(
                [sys.executable, "-c", _PROBE],
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        except subprocess.TimeoutExpired:
            tried.append(f"{path} (no answer in 120 s)")
            continue
        if child.returncode == 0 and child.stdout.startswith("paths"):
            return path
        why = f"killed by signal {-child.returncode}" if child.returncode < 0 else "refused"
        tried.append(f"{path} ({why})")
    raise StoreError(
        f"ray tracing needs libLLVM; tried: {', '.join(tried) or 'none found'}; install one, on Debian "
        "`apt-get install libllvm19`, or name it in DRJIT_LIBLLVM_PATH"
    )
