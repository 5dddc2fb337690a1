"""The web site: a page for everything, links that move with their pages, a check that finds broken ones."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from simulator.core import registry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def part(monkeypatch):
    """A module of docs/."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module


def test_every_page_of_the_docs_has_its_place(part):
    pages = {page for pages in part("make_site").PARTS.values() for page in pages}
    wanted = [*(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks" / "papers").glob("*/README.md")]
    assert {str(path.relative_to(ROOT)) for path in wanted} <= pages


def test_links_move_with_their_pages(part, tmp_path):
    make_site = part("make_site")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "code.py").write_text("")
    picture = tmp_path / "a" / "p.png"
    picture.write_bytes(b"picture")
    page, other = tmp_path / "a" / "page.md", tmp_path / "other.md"
    end = "[w](https://x.org) `[no](code)`\n```\n[x](../other.md)\n```\n"
    page.write_text(f"[see](../other.md#two) ![p](p.png) [c](code.py) {end}")
    places = {page: "deep/page.md", other: "other.md"}
    moved = make_site.moved(page, places, tmp_path / "site")
    (name,) = (path.relative_to(tmp_path / "site") for path in (tmp_path / "site").rglob("*.png"))
    assert moved == f"[see](../other.md#two) ![p](../{name}) c (code.py) {end}"


def test_headings_have_the_ids_of_github(part):
    text = "# A `b`: 3GPP's\n```\n# no heading\n```\n"
    assert part("make_site").anchored(text) == "# A `b`: 3GPP's { #a-b-3gpps }\n```\n# no heading\n```\n"


def test_broken_links_are_found(part, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="b/">1</a><a href="b/index.html#here">2</a><a href="#no">3</a><img src="x.png"><a href="https://x.org">4</a>'
        '<a href="b/index.html#gone">5</a>'
    )
    (tmp_path / "b" / "index.html").write_text('<p id="here"><a href="../index.html">6</a></p>')
    broken = part("site_links").broken_links(tmp_path)
    assert broken == ["index.html: #no", "index.html: x.png", "index.html: b/index.html#gone"]


def test_docstrings_become_markdown(part):
    def function():
        r"""Sum of ``a``: :math:`s_1 * 2`.

        .. math:: \sum_i a_i

        Args:
            a: terms,
                all of them.

        Source: :class:`~x.y.Z`, Eq. (1).
        """

    about, sections = part("site_pages").docstring(function)
    assert (
        about.startswith("Sum of `a`: <math")
        and '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in about
    )
    assert not set("*_") & set(re.sub(r"<[^>]*>|&#\d+;|`[^`]*`", "", about))  # nothing that Markdown would read
    assert sections == {"Args": "- `a`: terms, all of them.", "Source": "`Z`, Eq. (1)."}


@pytest.mark.long
def test_the_site_is_built_and_has_everything(part, tmp_path, monkeypatch):
    """Tutorials with a figure in the place of what their cells show; `make docs` executes them."""
    tutorials = part("tutorial_pages")
    picture = ROOT / "docs" / "quickstart_sum_rate_vs_bits.png"

    def outputs(line, body, path, folder, names):
        shown = folder / f"{path.stem}-1.png"
        shown.write_bytes(picture.read_bytes())
        return [f"![{path.stem}]({shown})"]

    monkeypatch.setattr(tutorials, "_outputs", outputs)
    monkeypatch.setattr(tutorials, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(sys, "argv", ["make_site.py", str(tmp_path / "site")])
    part("make_site").main()
    pages = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*.html")}
    for path in (ROOT / "docs" / "tutorials").glob("*.py"):
        assert f"/{path.stem}-1.png" in (tmp_path / "site" / "tutorials" / f"{path.stem}.html").read_text()
    assert {f"schemes/{name}.html" for name in registry.names("feedback")} <= pages
    assert {f"weights/{path.parent.name}.html" for path in (ROOT / "receivers" / "zoo").glob("*/card.json")} <= pages
    for path in (tmp_path / "site").rglob("*.html"):  # nothing is loaded from elsewhere
        assert not re.search(r'<(?:link|script|img)[^>]*(?:href|src)="(?:https?:)?//', path.read_text()), path
