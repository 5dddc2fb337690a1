"""The web site: a page for everything, links that move with their pages, a check that finds broken ones."""

import html
import importlib
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.leaderboard.entry import FAMILIES, chosen
from benchmarks.leaderboard.table import results
from benchmarks.leaderboard.track import tracks
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
    page.write_text(f"[see](../other.md#two) [docs/other.md](../other.md) ![p](p.png) [c](code.py) {end}")
    other.write_text("# The `other`\n")
    places = {page: "deep/page.md", other: "other.md"}
    moved = make_site.moved(page, places, tmp_path / "site")
    (name,) = (path.relative_to(tmp_path / "site") for path in (tmp_path / "site").rglob("*.png"))
    assert moved == f"[see](../other.md#two) [The other](../other.md) ![p](../{name}) c (code.py) {end}"


def test_headings_have_the_ids_of_github(part):
    text = "# A `b`: 3GPP's\n1 ± 2\n```\n# no heading, 1 ± 2\n```\n"
    wanted = "# A `b`: 3GPP's { #a-b-3gpps }\n1\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}2\n```\n# no heading, 1 ± 2\n```\n"
    assert part("make_site").anchored(text) == wanted


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


@pytest.mark.long
def test_labels_of_curves_keep_their_distance(part):
    """Against a search over a fine grid of all feasible levels."""
    spread = part("site_svg").spread
    levels = [50.0, 51.0, 20.0, 52.0, 90.0]
    found = spread(levels, 0, 100, 10)
    np.testing.assert_allclose(found, [41, 51, 20, 61, 90])
    rng = np.random.default_rng(1)
    for _ in range(20):
        three = rng.uniform(0, 40, 3)
        best = min(
            (
                (a, b, c)
                for a in np.arange(0, 41, 0.5)
                for b in np.arange(a + 10, 41, 0.5)
                for c in np.arange(b + 10, 41, 0.5)
            ),
            key=lambda each: sum((x - y) ** 2 for x, y in zip(each, sorted(three), strict=True)),
        )
        np.testing.assert_allclose(sorted(spread(list(three), 0, 40, 10)), best, atol=0.5)
    crowded = spread([5.0] * 4, 0, 20, 10)
    assert np.all(np.diff(crowded) == 10), "no room: the distance is kept"


@pytest.mark.parametrize(("scale", "value"), [("linear", 1.0), ("log", 10.0), ("loss", 0.9)])
def test_axes(part, scale, value):
    """Half-way between 0.01 and 100, between -98 and 100, and between losses 1 and 0.01."""
    low, high = {"linear": (-98.0, 100.0), "log": (1.0, 100.0), "loss": (0.0, 0.99)}[scale]
    axis = part("site_svg").Axis("x", low, high, scale)
    assert axis.share(low) == 0 and axis.share(high) == 1 and axis.share(value) == pytest.approx(0.5)
    assert 3 <= len(axis.ticks()) <= 10 and all(low <= tick <= high for tick in axis.ticks())
    around = part("site_svg").Axis.around("x", [low, high], scale)
    assert around.low < low and around.high > high


def test_pictures_are_text_and_themes_colour_them(part):
    """Well-formed, no colour of their own, a circle where a point is."""
    svg = part("site_svg")
    curves = [
        svg.Curve("<a>", [(1, 0, "first"), (100, 1, "last")], "3gpp"),
        svg.Curve("b", [(10, 0.5, "it")], "network"),
    ]
    text = svg.picture(curves, svg.Axis("bits", 1, 100, "log"), svg.Axis("score", 0, 1), "A & B")
    root = ElementTree.fromstring(text)
    assert not re.search(r"#[0-9a-f]{3}|fill=|stroke=|https?:", text) and root.get("aria-label") == "A & B"
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter("circle")]
    (left, low), (right, high), middle = circles
    assert left < right and low > high and middle == pytest.approx(((left + right) / 2, (low + high) / 2), abs=0.1)
    assert [t.text for t in root.iter("title")] == ["first", "last", "it"]
    style = (ROOT / "docs" / "site.css").read_text()
    assert all(style.count(f"--curve-{family}:") == 2 for family in FAMILIES), "a colour for light and one for dark"


@pytest.mark.long
def test_the_leaderboard_of_the_site_has_every_number(part):
    """Cells of the tables of docs/leaderboard.md, and every operating point."""
    text = (ROOT / "docs" / "leaderboard.md").read_text()
    site = part("site_leaderboard").leaderboard(text)
    plain = html.unescape(re.sub(r"</?(small|strong|code|a)\b[^>]*>", "", site)).replace("\N{MINUS SIGN}", "-")
    rows = re.findall(r"^\| (`[\w-]+`.*≈?) \|$", text.partition("## Results")[2], flags=re.M)
    assert len(rows) > 100
    for row in rows:
        _, *cells = row.replace("*", "").split(" | ")
        assert all(f">{cell.strip()}</td>" in plain for cell in cells if cell.strip()), row
    sections = dict(
        re.findall(r'<div class="track" data-track="([\w-]+)"(.*?)(?=<div class="track"|## Rules)', site, flags=re.S)
    )
    for each in tracks():
        section = sections[each.name]
        found = results(chosen(None), each)
        count = sum(len(result.head.lines) for _, result in found)
        assert section.count("data-classes") == count and section.count("<svg") == 2 * bool(found)
    assert site.index("## Results") < site.index("## Rules") and "<!-- table: umi" not in site


def test_the_script_names_what_the_pages_have(part):
    site = part("site_leaderboard").leaderboard((ROOT / "docs" / "leaderboard.md").read_text())
    script = (ROOT / "docs" / "site.js").read_text()
    for name in set(re.findall(r"dataset\.(\w+)", script)) | {"sortable"}:
        assert f"data-{name}" in site, name
    assert all(f'name="{name}"' in site for name in ("track", "class", "family", "bits"))
    assert "https:" not in script and "http:" not in script


@pytest.mark.long
def test_pages_of_schemes(part):
    """Every scheme says how its bits are laid out; those of the leaderboard have their scores, costs and curves."""
    pages = part("site_pages").scheme_pages()
    entered = {line["scheme"] for _, each in chosen(None) for lines in each.tracks.values() for line in lines}
    found = [{entry.name for entry, _ in results(chosen(None), track)} for track in tracks()]
    for name in registry.names("feedback"):
        page = pages[f"schemes/{name}.md"]
        assert re.search(r"## Bits of a report\n\n\S", page), name
        assert (name in entered) or "## Scores" not in page
    page = pages["schemes/etype2-r16.md"]
    own = set(re.findall(r'<th scope="row" data-value="([\w-]+)"', page))
    lines = {each.name: [line for part in each.tracks.values() for line in part] for _, each in chosen(None)}
    named = {name for name in lines if any(line["scheme"] == "etype2-r16" for line in lines[name])}
    assert own == named & set().union(*found)
    first, faint = found[0], found[0] - own  # the track of the pictures
    assert page.count('<g class="curve') == 2 * len(first) and page.count(" faint") == 2 * len(faint)
    assert "i<sub>1,1</sub>" in page and "i_{" not in page


def test_pages_of_weights(part):
    page = part("site_pages").weight_page("csinet-100", part("site_pages").card("csinet-100"))
    assert "Wen, Shih, Jin" in page and "| latents of a report | 256, quantiser `mid_tread` of 5 bits |" in page
    assert 'data-value="csinet-100"' in page and 'data-value="csinet-250"' not in page
