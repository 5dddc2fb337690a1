"""Build the web site: ``python docs/make_site.py [FOLDER] [--fresh]`` (``make docs``: build/site); it needs no network.

Pages are README, docs/*.md, the papers, the tutorials as they ran (:mod:`tutorial_pages`), and what :mod:`site_pages`
writes from code, cards and presets. Links between them are rewritten to where the pages are, every link of the finished
pages is checked.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

# isort: split
from site_leaderboard import leaderboard
from site_links import broken_links
from site_pages import api_page, command_page, preset_page, scheme_pages, weight_pages
from tutorial_pages import page as executed

ROOT = Path(__file__).resolve().parents[1]
# Title of a part of the site: pages of the repository in their order.
PARTS: dict[str, list[str]] = {
    "Start": [
        *("README.md", "docs/results.md", "docs/leaderboard.md", "docs/terminal.md", "docs/glossary.md"),
    ],
    "Tutorials": [
        *("docs/tutorials/first_link.py", "docs/tutorials/own_autoencoder.py", "docs/tutorials/cost2100_to_rate.py"),
        *("docs/tutorials/hundred_bits.py", "docs/tutorials/moving_users.py", "docs/tutorials/sionna_link.py"),
        *("docs/tutorials/site_codebooks.py", "docs/tutorials/two_vendors.py"),
    ],
    "Guides": [
        "docs/extending.md",
        "docs/recorded.md",
        "docs/training.md",
        "docs/models.md",
        "docs/ue_cost.md",
        "docs/speed.md",
    ],
    "Link": [
        *("docs/channels.md", "docs/estimation.md", "docs/uplink.md", "docs/prediction.md", "docs/downlink.md"),
        "docs/throughput.md",
    ],
    "Codes": [
        *("docs/schemes.md", "docs/codebooks.md", "docs/beamdelay.md", "docs/ntc.md", "docs/refinement.md"),
        *("schemes", "weights"),
    ],
    "Papers": [
        "docs/papers.md",
        *(f"benchmarks/papers/{k}/README.md" for k in ("stqenet", "rp_mpq", "nf_kd", "lvm4cf", "tiny_wifo")),
    ],
    "Reference": ["docs/reference.md", "cli.md", "api.md", "presets.md"],
    "Project": ["docs/architecture.md", "CONTRIBUTING.md", "CHANGELOG.md"],
}


def main() -> None:
    """Write sources, build, check."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "site")
    parser.add_argument("--fresh", action="store_true", help="execute tutorials again that have not changed")
    given = parser.parse_args()
    target = given.folder
    for page in PARTS["Tutorials"]:
        executed(ROOT / page, fresh=given.fresh)
    source = target.parent / f"{target.name}-source"
    shutil.rmtree(source, ignore_errors=True)
    written = write_sources(source / "docs")
    for name in ("site.css", "site.js"):
        shutil.copy(ROOT / "docs" / name, source / "docs")
    (source / "zensical.toml").write_text(nav(written) + (ROOT / "docs" / "zensical.toml").read_text())
    subprocess.run([sys.executable, "-m", "zensical", "build", "--clean"], cwd=source, check=True)
    if broken := broken_links(source / "site"):
        sys.exit("\n".join(["links that lead nowhere:", *broken]))
    shutil.rmtree(target, ignore_errors=True)
    (source / "site").rename(target)
    print(f"open {os.path.relpath(target / 'index.html')}")


def write_sources(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Write all pages as Markdown; title and file of the pages of every part."""
    made = {
        "schemes": scheme_pages(),
        "weights": weight_pages(),
        "cli.md": {"cli.md": command_page()},
        "api.md": {"api.md": api_page()},
        "presets.md": {"presets.md": preset_page()},
    }
    places = {ROOT / page: place(page) for pages in PARTS.values() for page in pages if page not in made}
    found: dict[str, list[tuple[str, str]]] = {}
    for part, pages in PARTS.items():
        found[part] = []
        for page in pages:
            if page in made:
                texts = made[page]
            else:
                text = moved(ROOT / page, places, folder)
                texts = {place(page): leaderboard(text) if page == "docs/leaderboard.md" else text}
            for name, text in texts.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(anchored(text))
                found[part].append((title(text), name))
    return found


def place(page: str) -> str:
    """Where a page of the repository goes: the README is the home page."""
    if page == "README.md":
        return "index.md"
    path = Path(page)
    if path.suffix == ".py":
        return f"tutorials/{path.stem}.md"
    return f"papers/{path.parent.name}.md" if path.name == "README.md" else path.name.lower()


def moved(page: Path, places: dict[Path, str], folder: Path) -> str:
    """Text of a page (a tutorial as it ran) with links to the places of other pages; pictures are copied next to it."""
    here = Path(places[page])

    def link(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        if "://" in target or target.startswith("#"):
            return match[0]
        file, _, anchor = unquote(target).partition("#")
        path = (page.parent / file).resolve()
        if path in places:
            if re.fullmatch(r"\[[\w/]+\.md", text):  # a file's name says where it is in the repository
                text = f"[{title(path.read_text())}"
            to = os.path.relpath(places[path], here.parent)
            return f"{text}]({to}{'#' + anchor if anchor else ''})"
        if path.suffix == ".png":
            name = (
                f"pictures/{path.parent.parent.name}-{path.name}"
                if path.parent.name == "results"
                else f"pictures/{path.name}"
            )
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)
            return f"{text}]({os.path.relpath(name, here.parent)})"
        label = text.rpartition("[")
        return (
            f"{label[0]}{label[2]} ({file})" if path.exists() else match[0]
        )  # a file of the repository, not of the site

    return "".join(
        part if code else re.sub(r"(\[[^\[\]]*)\]\(([^)\s]+)\)", link, part)
        for part, code in prose_and_code((executed(page) if page.suffix == ".py" else page).read_text())
    )


def prose_and_code(text: str) -> Iterator[tuple[str, bool]]:
    """Parts of a page, and whether they are blocks of code."""
    for number, part in enumerate(re.split(r"(^```.*?^```[^\S\n]*$)", text, flags=re.S | re.M)):
        yield part, bool(number % 2)


def anchored(text: str) -> str:
    """Headings with the ids that links name, as on GitHub."""

    def heading(match: re.Match[str]) -> str:
        slug = re.sub(r"[^\w\- ]", "", match[2].lower()).strip().replace(" ", "-")
        return f"{match[1]} {match[2]} {{ #{slug} }}"

    return "".join(
        part if code else re.sub(r"^(#{1,6}) (.*)$", heading, tight(part), flags=re.M)
        for part, code in prose_and_code(text)
    )


def tight(text: str) -> str:
    """Half-widths stay on the line of their means."""
    return re.sub(r"(?<=\d) ± (?=\d)", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}", text)


def title(text: str) -> str:
    """First heading of a page."""
    return re.search(r"^# (.*)$", text, flags=re.M)[1].replace("`", "")


def nav(pages: dict[str, list[tuple[str, str]]]) -> str:
    """Table of contents as TOML; folders of many pages are parts of their own."""
    lines = ["[project]", 'site_name = "csilink"', "use_directory_urls = false", 'extra_css = ["site.css"]']
    lines += ['extra_javascript = ["site.js"]', "nav = ["]
    for part, entries in pages.items():
        lines.append(f'  {{ "{part}" = [')
        folders: dict[str, list[str]] = {}
        for name, file in entries:
            line = f'{{ "{name}" = "{file}" }},'
            folder = file.partition("/")[0] if "/" in file and not file.startswith(("papers/", "tutorials/")) else ""
            folders.setdefault(folder, []).append(line)
        lines += [f"    {line}" for line in folders.pop("", [])]
        for folder, inner in folders.items():
            lines += [f'    {{ "{folder.capitalize()}" = [', *(f"      {line}" for line in inner), "    ] },"]
        lines.append("  ] },")
    return "\n".join([*lines, "]\n"])


if __name__ == "__main__":
    main()
