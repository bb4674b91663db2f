"""The documentation as files: pages, their navigation, links, headings and commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("**/*.md"))
GENERATED = frozenset({"commands.md", "settings.md"})
"""Pages that a command prints; tests of their own compare them with it."""
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def navigation() -> list[str]:
    """Every page that ``mkdocs.yml`` names, in its order."""
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), yaml.BaseLoader)
    return list(_leaves(settings["nav"]))


def _leaves(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    for inner in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
        yield from _leaves(inner)


def links(text: str) -> list[str]:
    """Where the links of a page lead; code is no link, and neither are addresses."""
    found = LINK.findall(CODE.sub("", FENCED.sub("", text)))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(text: str) -> set[str]:
    """Places of a page that a link can name: its headings, as Markdown's readers write them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    plain = (
        re.sub(r"[^\w\s-]", "", heading.encode("ascii", "ignore").decode()).strip().lower() for heading in headings
    )
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}


def broken(page: Path, text: str) -> list[str]:
    """Links of a page that lead nowhere."""
    return [target for target in links(text) if not _leads(page, text, target)]


def _leads(page: Path, text: str, target: str) -> bool:
    place, _, anchor = target.partition("#")
    file = page.parent / place if place else page
    if place and not file.is_file():
        return False
    return not anchor or anchor in anchors(text if file == page else file.read_text(encoding="utf-8"))
