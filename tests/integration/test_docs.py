"""Links of README and docs lead somewhere, every page can be reached, and the reference is that of the schemas."""

import inspect
import re
import runpy
from pathlib import Path
from urllib.parse import unquote

import pytest
from pydantic import BaseModel

from simulator.core import registry

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAPERS = sorted((ROOT / "benchmarks" / "papers").glob("*/README.md"))


def links(page):
    """``(file, anchor)`` of every relative link or picture of a page; code blocks have none."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    text = re.sub(r"`[^`\n]*`(?!\])", "", text)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            file, _, anchor = unquote(target).partition("#")
            yield (page.parent / file).resolve() if file else page, anchor


def anchors(page):
    """What links may name after ``#``: headings as GitHub spells them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *PAPERS], ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for file, anchor in links(page):
        assert file.exists(), f"{page.name}: no {file}"
        assert file.is_relative_to(ROOT), f"{page.name}: {file} is outside the project"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page.name}: {file.name} has no heading for #{anchor}"


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        waiting += [file for file, _ in links(page) if file.suffix == ".md" and file.exists()]
    missing = {page.relative_to(ROOT) for page in [*PAGES, *PAPERS]} - {p.relative_to(ROOT) for p in reached}
    assert not missing


def test_every_picture_of_the_docs_is_shown():
    shown = {file for page in PAGES for file, _ in links(page)}
    assert set((ROOT / "docs").glob("*.png")) <= shown


def test_the_readme_keeps_two_screens():
    text = (ROOT / "README.md").read_text()
    assert len(re.sub(r"^```.*?^```", "", text, flags=re.S | re.M).splitlines()) < 100
    assert text.count("![") == 1, "one picture"
    headings = re.findall(r"^## .*", text, flags=re.M)
    assert len(set(headings)) == len(headings)


@pytest.fixture(scope="module")
def maker():
    return runpy.run_path(str(ROOT / "docs" / "make_reference.py"))


def test_the_reference_is_that_of_the_schemas(maker):
    assert (ROOT / "docs" / "reference.md").read_text() == maker["reference"](), "call `make reference`"


def test_the_reference_has_every_schema(maker):
    """All models of scenarios and receivers, but for the bases of others."""
    documented = {m for _, _, top, more in maker["DOCUMENTS"] for m in maker["sections"](top, more)}
    waiting, leaves = [BaseModel], set()
    while waiting:
        for model in waiting.pop().__subclasses__():
            waiting.append(model)
            if model.__module__.split(".")[0] in ("scenarios", "receivers") and not model.__subclasses__():
                leaves.add(model)
    assert leaves and leaves <= documented, leaves - documented


@pytest.mark.parametrize(
    "row",
    [
        "| `num_rb` | integer or null | `null` | ≥ 1, ≤ 275 |",
        "| `carrier_hz` | number | `3.5e9` | ≥ 1e8, ≤ 1e11 |",
        "| `feedback` | list of [section](#feedback) |  | at least 1 entry |",
        "| `gammas` | list of number | `[0.9, 0.95]` | each > 0, ≤ 1 |",
        "| `on_loss` | `last`, `none` | `last` |  |",
        "| `name` | text |  | at least 1 character; at most 120 characters |",
        "| `bits` | list of integer | `[2, 4, 6]` | at least 1 entry; each ≥ 1, ≤ 16 |",
        "| `combination` | integer | `6` | ≥ 1, ≤ 8 |",
        "| `rank` | integer or `auto` | `auto` | ≥ 1, ≤ 4 |",
        "| `period_slots` | integer | `1` | ≥ 1, ≤ 640 |",
    ],
)
def test_rows_of_the_reference(row):
    """Types, defaults and limits as the schemas have them, copied by hand."""
    assert row in (ROOT / "docs" / "reference.md").read_text()


def test_the_reference_has_every_plug_in_with_parameters():
    """Counted by another way: every parameter of every constructor stands in the section of its plug-in."""
    page = (ROOT / "docs" / "reference.md").read_text()
    for kind in ("feedback", "estimators", "predictors", "precoders", "importers"):
        for name in registry.names(kind):
            parameters = inspect.signature(registry.load(kind, name)).parameters.values()
            own = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD} - {
                "config",
                "geometry",
                "seed",
                "csi_rs",
            }
            text = page.partition(f"### {name} ({kind})\n")[2].partition("\n### ")[0]
            assert own <= set(re.findall(r"^\| `(\w+)` \|", text, flags=re.M)), f"{kind} {name}"
