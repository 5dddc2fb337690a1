"""What csilink answers with the run requirements alone: help, lists, presets, imports, papers, messages of the extras.

Run it with the Python of the installation to check, from any folder: `python .ci/surface.py`. The first fault ends it.
"""

import os
import pkgutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

# Presets that need what is not shipped, and the command that their message must name.
NOT_SHIPPED = {"cost2100_outdoor": "csilink dataset import", "rate_aware": "csilink train csinet_100_nmse"}
# Modules that are imported where their extra is, and nowhere else: they define subclasses of it.
NEEDS = {"benchmarks.speed.plain_torch": "torch"}
# What needs an extra, with the package that it misses first.
GUARDED = [
    ("ray", "run quickstart --engine ray --out out"),
    ("tf2onnx", "export transnet-250 --format onnx"),
    ("ai_edge_litert", "export transnet-250 --format litert"),
    ("torch", "train csinet_100 --backend torch"),
    ("torch", "import-torch crnet x.pth --store store --out out"),
    ("jax", "train csinet_100 --backend jax"),
    ("huggingface_hub", f"export hf://user/name@{'0' * 40}"),
]
ROOMS = ("simulator", "receivers", "scenarios", "benchmarks", "csilink")


def call(*command, code=0):
    """Standard output and error of a command, which must end with this exit code and without a traceback."""
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL
    )
    said = done.stdout + done.stderr
    if done.returncode != code or "Traceback" in said:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}, expected {code}\n{said}")
    return said


def csilink(*arguments, code=0):
    """The command line, as `csilink` starts it."""
    return call(sys.executable, "-m", "benchmarks.cli", *arguments, code=code)


def expect(text, said, where):
    """End unless the text is in what was said."""
    if text not in said:
        sys.exit(f"{where}: {text!r} is missing in\n{said}")


def walk(command, path=()):
    """All commands and subcommands of the app with their words."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from walk(child, (*path, name))


def help_of(entry):
    """`--help` of one command names all its options."""
    path, command = entry
    said = csilink(*path, "--help")
    for option in (name for p in command.params for name in p.opts if name.startswith("--")):
        expect(option, said, f"csilink {' '.join(path)} --help")


def names_of(entry):
    """`csilink list KIND` says every name that `csilink list` says of the kind."""
    kind, names = entry
    said = csilink("list", kind)
    for name in names.split(", "):
        expect(name, said, f"csilink list {kind}")


def preset(name):
    """`csilink check` of one preset."""
    if name not in NOT_SHIPPED:
        expect("bits per report", csilink("check", name), f"csilink check {name}")
        return
    said = csilink("check", name, code=2)
    expect(NOT_SHIPPED[name], said, f"csilink check {name}")


def guarded(entry):
    """A command without its extra: one line that names the extra, nothing written."""
    package, command = entry
    said = csilink(*command.split(), code=2)
    if len(said.splitlines()) != 1 or os.listdir():
        sys.exit(f"csilink {command}: one line and no files expected; files {os.listdir()}\n{said}")
    expect(f"pip install 'csilink[{EXTRAS[package]}]'", said, f"csilink {command}")


def paper(key):
    """The plans of a paper, and a wrong size by name."""
    from benchmarks.papers.kit.run import load_plan, sizes

    for size in sizes(key):
        load_plan(key, size)
    expect("small", csilink("paper", key, "--size", "none", code=2), f"csilink paper {key}")


def all_of(what, function, entries):
    """Call the function on all entries, two at a time, and say so."""
    start, entries = time.time(), list(entries)
    if not entries:
        sys.exit(f"{what}: none found")
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(function, entry) for entry in entries]:
            future.result()
    print(f"{what}: {len(entries)} in {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    sys.path[:] = sys.path[1:]  # the installation, not the folder of this script
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        from typer.main import get_command

        from benchmarks.cli import app
        from simulator.core.extras import EXTRAS, installed

        print("csilink from", Path(import_module("benchmarks").__file__).parent.parent, flush=True)
        all_of("help", help_of, walk(get_command(app)))
        lists = dict(line.split(": ", 1) for line in csilink("list").splitlines())
        all_of("lists", names_of, lists.items())
        all_of("presets", preset, lists["presets"].split(", "))
        if absent := [entry for entry in GUARDED if not installed(entry[0])]:
            all_of("messages of missing extras", guarded, absent)
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        modules = [m.name for room in ROOMS for m in pkgutil.walk_packages(import_module(room).__path__, f"{room}.")]
        absent = {module for module, package in NEEDS.items() if not installed(package)}
        lines = "\n".join(f"import {m}" for m in modules if not m.endswith("__main__") and m not in absent)
        all_of("imports in one process", lambda code: call(sys.executable, "-c", code), [lines])
        print(f"  of {len(modules)} modules, without {len(absent)} that need an extra")
        from benchmarks.papers.kit.run import papers

        all_of("papers", paper, papers())
