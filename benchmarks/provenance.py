"""Code and machine of a run."""

from __future__ import annotations

import os
import platform
import subprocess
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.onednn import VARIABLE

_ROOT = Path(__file__).resolve().parents[1]
_ROOMS = ("benchmarks", "receivers", "scenarios", "simulator", "pyproject.toml")


def commit(root: Path = _ROOT) -> dict[str, Any]:
    """Commit of csilink's own checkout, and whether its code differs from it.

    Args:
        root: folder that holds the packages.

    Returns:
        ``commit`` and ``dirty``; both None where the packages are installed elsewhere, also in a repository of others.
    """
    with suppress(OSError, ValueError, KeyError, subprocess.SubprocessError):
        own = tomllib.loads((root / "pyproject.toml").read_bytes().decode())["project"]["name"] == "csilink"
        if own and Path(_git(root, "rev-parse", "--show-toplevel")).resolve() == root.resolve():
            changed = _git(root, "status", "--porcelain", "--untracked-files=all", "--", *_ROOMS)
            return {"commit": _git(root, "rev-parse", "HEAD"), "dirty": bool(changed)}
    return {"commit": None, "dirty": None}


def machine() -> dict[str, Any]:
    """Processor, memory, linear algebra and threads of this machine, as the workers of a run use them."""
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    onednn = os.environ.get(VARIABLE, "").lower() not in ("0", "false")
    return {
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "blas": " ".join(str(blas.get(key, "")) for key in ("name", "version")).strip() or "unknown",
        "onednn": onednn,
        "threads_per_worker": 1,
    }


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_bytes().decode().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
