"""Pages of tutorials show text, code, output and figures of every cell; `make docs ARGS=--fresh` executes them all."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("tutorial_pages")


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_have_a_title_and_say_what_is_next(path, pages):
    parts = pages.cells(path.read_text())
    assert all(prose for _, prose, _ in (parts[0], parts[-1]))
    assert re.match(r"# \d\. \w", parts[0][2]) and re.search(
        r"(?:^|\n)## What next\n\n- .*\]\(", parts[-1][2], flags=re.S
    )
    make_site = importlib.import_module("make_site")
    assert f"docs/tutorials/{path.name}" in make_site.PARTS["Tutorials"]
    assert f"(docs/tutorials/{path.name})" in (ROOT / "README.md").read_text()


TUTORIAL = """# %% [markdown]
# # Title
#
# Text, `code`.

# %%
import matplotlib.pyplot as plt
import pandas as pd

x = 2
print("printed")
x + 1

# %%
plt.plot([x, 3])
plt.title("a line")

# %%
pd.DataFrame({"a": [x]})
"""


def test_a_page_shows_what_every_cell_shows(pages, tmp_path):
    (tmp_path / "small.py").write_text(TUTORIAL)
    text = pages.execute(tmp_path / "small.py", tmp_path)
    assert text.startswith("# Title\n\nText, `code`.\n\n*This page is `docs/tutorials/small.py`")
    assert "x + 1\n```\n\n```{ .text .output }\nprinted\n3\n```\n" in text
    assert f'plt.title("a line")\n```\n\n![a line]({tmp_path / "small-1.png"})\n' in text
    assert (tmp_path / "small-1.png").read_bytes().startswith(b"\x89PNG")
    assert re.search(r"```\n\n<table>.*<td>2</td>", text, flags=re.S)


def test_pages_are_kept_until_the_tutorial_changes(pages, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "CACHE", tmp_path / "cache")
    path = tmp_path / "small.py"
    path.write_text(TUTORIAL)
    page, calls = pages.page(path), []
    assert (path.parent / re.search(r"!\[a line\]\((.*)\)", page.read_text())[1]).exists()
    monkeypatch.setattr(pages, "execute", lambda *_: calls.append(1) or "made")
    assert pages.page(path) == page and not calls
    assert pages.page(path, fresh=True).read_text() == "made"
    path.write_text(TUTORIAL + "\nx\n")
    assert pages.page(path) != page and len(calls) == 2


def test_an_error_names_the_line_of_the_tutorial(pages, tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text("# %% [markdown]\n# # Title\n\n# %%\nx = 1\n\n# %%\ny = 2\nx / 0\n")
    with pytest.raises(ZeroDivisionError) as error:
        pages.execute(path, tmp_path)
    assert (error.traceback[-1].path, error.traceback[-1].lineno + 1) == (path, 9)


def test_a_tutorial_may_stop_and_say_why(pages, tmp_path):
    path = tmp_path / "stops.py"
    path.write_text('# %% [markdown]\n# # Title\n\n# %%\nraise SystemExit("no LLVM")\n\n# %%\nx / 0\n')
    text = pages.execute(path, tmp_path)
    assert text.endswith("*The tutorial ends here: no LLVM*\n") and "x / 0" not in text
