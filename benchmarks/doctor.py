"""Facts about this installation and machine, and whether what csilink promises works here."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.doctor_checks import CHECKS, Check
from benchmarks.progress import track
from benchmarks.provenance import commit, machine
from simulator.core.extras import EXTRAS, installed
from simulator.core.onednn import VARIABLE

PACKAGES = ("csilink", "sionna", "sionna-rt", "tensorflow", "keras", "numpy", "scipy", "pandas", "h5py", "matplotlib")
_OPTIONAL = (
    *("ai-edge-litert", "constriction", "faiss-cpu", "huggingface_hub", "jax", "onnx", "onnxruntime", "ray"),
    *("tf2onnx", "torch"),
)
_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve")
_LIMIT_S = 180


@dataclass(frozen=True)
class Finding:
    """Outcome of a check.

    Args:
        name: of the check.
        state: "works", "fails" or "not installed".
        detail: what was seen, or how to install it.
        promised: the run requirements promise it.
    """

    name: str
    state: str
    detail: str
    promised: bool

    @property
    def sick(self) -> bool:
        """Something promised that does not work."""
        return self.promised and self.state != "works"


def facts() -> Iterator[tuple[str, str]]:
    """Names and values: versions, processor, memory, linear algebra, oneDNN, libLLVM."""
    from simulator.phy.llvm import candidates

    here, code = machine(), commit()
    yield "Python", f"{platform.python_version()} ({sys.executable})"
    for package in (*PACKAGES, *_OPTIONAL):
        if found := _version(package):
            yield package, found
    if code["commit"]:
        yield "commit", code["commit"][:12] + (", changed" if code["dirty"] else "")
    yield "system", here["system"]
    yield "processor", f"{here['cpu']}, {here['cpus']} cores, {usable_cores()} of them for this process"
    yield "vector units", ", ".join(cpu_flags()) or "unknown"
    yield "memory", f"{here['memory_gib']} GiB, {available_gib():.1f} available"
    yield "BLAS of NumPy", here["blas"]
    chosen = f" ({VARIABLE}={os.environ.get(VARIABLE, '')})"
    yield "oneDNN", ("on: some float32 products are wrong" if here["onednn"] else "off, as it should be") + chosen
    yield "libLLVM", ", ".join(candidates()) or "none found"
    yield "Keras backend", os.environ.get("KERAS_BACKEND", "tensorflow (KERAS_BACKEND is not set)")


def findings(names: list[str] | None = None) -> Iterator[Finding]:
    """Outcomes of the checks in their order, each in a process of its own, two at a time.

    Args:
        names: keys of ``CHECKS``; None: all.
    """
    chosen = {name: CHECKS[name] for name in names or CHECKS}
    there = {name: check for name, check in chosen.items() if installed(*check.packages)}
    done: dict[str, Finding] = {}
    with ThreadPoolExecutor(min(2, usable_cores())) as pool:
        running = [pool.submit(_finding, name, check) for name, check in there.items()]
        for future in track(as_completed(running), "checking", unit="check", total=len(running)):
            done[future.result().name] = future.result()
    for name, check in chosen.items():
        missing = Finding(name, "not installed", f"pip install 'csilink[{check.extra}]'", not check.extra)
        yield done.get(name, missing)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_gib() -> float:
    """Memory that programs can still get [GiB], NaN where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_bytes().decode().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 2**20
    except OSError:
        pass
    return float("nan")


def cpu_flags() -> list[str]:
    """Instruction sets that matter for products, of those that this processor has."""
    try:
        text = Path("/proc/cpuinfo").read_bytes().decode()
    except OSError:
        return []
    has = {
        word for line in text.splitlines() if line.lower().startswith(("flags", "features")) for word in line.split()
    }
    return [flag for flag in _FLAGS if flag in has]


def _finding(name: str, check: Check) -> Finding:
    command = [sys.executable, "-P", "-m", "benchmarks.doctor_checks", name]
    paths = os.pathsep.join(dict.fromkeys([*filter(None, sys.path), str(Path(__file__).parents[1])]))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": paths, **check.environment}
    if "KERAS_BACKEND" not in check.environment:
        environment["KERAS_BACKEND"] = "tensorflow"
    try:
        child = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(name, "fails", f"no answer in {_LIMIT_S} s", not check.extra)
    lines = child.stdout.strip().splitlines() or child.stderr.strip().splitlines() or ["no answer"]
    if child.returncode < 0:
        lines = [f"killed by signal {-child.returncode}"]
    return Finding(name, "fails" if child.returncode else "works", lines[-1], not check.extra)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def extras() -> Iterator[tuple[str, str]]:
    """Extras of csilink, and which of their packages are there."""
    for extra in dict.fromkeys(EXTRAS.values()):
        packages = [package for package, owner in EXTRAS.items() if owner == extra]
        absent = [package for package in packages if not installed(package)]
        yield extra, f"not installed: {', '.join(absent)}" if absent else "installed"
