"""Tutorials in the percent format, executed: text, code, printed text, last value and figures of every cell."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import re
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

FOLDER = Path(__file__).resolve().parent / "tutorials"
CACHE = Path(__file__).resolve().parents[1] / "build" / "tutorials"
_ABOUT = (
    "*This page is `docs/tutorials/{name}`, executed. Editors that know `# %%` cells (VS Code, PyCharm, Spyder) and "
    "Jupyter with jupytext open the file as a notebook.*"
)


def page(path: Path, *, fresh: bool = False) -> Path:
    """Executed page of a tutorial, ``page.md`` in a folder with its figures; kept by the content of the tutorial.

    Args:
        path: of the tutorial.
        fresh: execute it again.
    """
    content = path.read_bytes() + Path(__file__).read_bytes()
    folder = CACHE / f"{path.stem}-{hashlib.sha256(content).hexdigest()[:12]}"
    if fresh or not (folder / "page.md").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as made:
            text = execute(path, Path(made)).replace(made, os.path.relpath(folder, path.parent))
            for picture in Path(made).iterdir():
                picture.replace(folder / picture.name)
            (Path(made) / "page.md").write_text(text)
            (Path(made) / "page.md").replace(folder / "page.md")
    return folder / "page.md"


def cells(text: str) -> list[tuple[int, bool, str]]:
    """Number of the first line, whether it is prose, and text of every cell."""
    marks = list(re.finditer(r"^# %%(.*)\n", text, flags=re.M))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    found = []
    for mark, end in zip(marks, ends, strict=True):
        prose, body = "[markdown]" in mark[1], text[mark.end() : end].rstrip()
        body = re.sub(r"^# ?", "", body, flags=re.M) if prose else body
        found.append((text[: mark.end()].count("\n"), prose, body))
    return found


def execute(path: Path, folder: Path) -> str:
    """Markdown of a tutorial whose cells ran in one namespace, in an empty folder; figures go to ``folder``."""
    names: dict[str, Any] = {"__name__": "__main__"}
    parts: list[str] = []
    with tempfile.TemporaryDirectory() as place, chdir(place):
        plt.close("all")
        try:
            for line, prose, body in cells(path.read_text()):
                parts.append(body if prose else f"```python\n{body}\n```")
                parts += [] if prose else _outputs(line, body, path, folder, names)
        except SystemExit as stop:  # of a tutorial that lacks something and says so
            parts.append(f"*The tutorial ends here: {stop}*")
    parts.insert(1, _ABOUT.format(name=path.name))
    return "\n\n".join(parts) + "\n"


def _outputs(line: int, body: str, path: Path, folder: Path, names: dict[str, Any]) -> list[str]:
    """What a cell shows: printed text, value of its last line, figures."""
    tree = ast.parse("\n" * line + body, str(path))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with redirect_stdout(printed):
        exec(compile(tree, str(path), "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), str(path), "eval"), names)
    value = None if plt.get_fignums() else value  # the figure is what the cell shows
    table = value.to_html(border=0).replace(' class="dataframe"', "") if hasattr(value, "to_html") else ""
    text = printed.getvalue() + ("" if value is None or table else repr(value))
    shown = [f"```{{ .text .output }}\n{text.rstrip()}\n```"] if text.strip() else []
    shown += [table] if table else []
    for number in plt.get_fignums():
        figure = plt.figure(number)
        picture = folder / f"{path.stem}-{len(list(folder.glob('*.png'))) + 1}.png"
        figure.savefig(picture, dpi=110, bbox_inches="tight")
        shown.append(f"![{figure.axes[0].get_title() or path.stem}]({picture})")
    plt.close("all")
    return shown
