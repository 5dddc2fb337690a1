"""Check a built site: every link within it leads to a file, and to an id where it names one."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote


class _Page(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" and value:
                self.ids.add(value)
            elif name in ("href", "src") and value is not None and tag != "base":
                self.links.append(value)


def broken_links(folder: Path) -> list[str]:
    """``page: link`` of every relative link that leads nowhere, and of every resource from the network.

    Args:
        folder: the site, with ``index.html``.
    """
    pages = {path: _Page(path.read_text()) for path in sorted(folder.rglob("*.html"))}
    if not pages:
        return [f"{folder}: no pages"]
    found = []
    for path, page in pages.items():
        if path.name == "404.html":  # served for any address: its links start at the root of the server
            continue
        for link in page.links:
            if link.startswith(("data:", "mailto:", "javascript:", "http://", "https://")):
                continue
            file, _, anchor = unquote(link.partition("?")[0]).partition("#")
            target = (path.parent / file).resolve() if file else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].ids):
                found.append(f"{path.relative_to(folder)}: {link}")
    return found
