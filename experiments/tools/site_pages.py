"""A hook of MkDocs: pages of the site that lie outside ``docs/``, such as the log of experiments, and links to them.

A page under ``docs/`` links to ``../experiments/LOG.md``, which is right in the repository. In the site that file
is a page beside the others, so the link loses its dots. What a file outside links to and the site does not have becomes
plain text there.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
"""A link of Markdown on one line: its text, and where it leads."""


def on_files(files: Any, config: Any) -> Any:
    """Add the files outside ``docs/`` that pages or the navigation name."""
    from mkdocs.structure.files import File

    root = Path(config.config_file_path).parent
    pages = [Path(file.abs_src_path).read_text(encoding="utf-8") for file in files.documentation_pages()]
    linked = {target.removeprefix("../") for text in pages for target in targets(text) if target.startswith("../")}
    for place in sorted(linked | set(named(config.nav))):
        if files.get_file_from_path(place) is None and (root / place).is_file():
            files.append(File.generated(config, place, abs_src_path=str(root / place)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links as the site has them."""
    is_inside = (Path(config.docs_dir) / page.file.src_uri).exists()

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        place, mark, anchor = target.partition("#")
        if is_inside or not place or ":" in place:
            return f"[{text}]({target.removeprefix('../')})"
        found = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), place))
        shown = found.removeprefix("docs/")
        if files.get_file_from_path(shown) is None:
            return text
        return f"[{text}]({posixpath.relpath(shown, posixpath.dirname(page.file.src_uri) or '.')}{mark}{anchor})"

    return LINK.sub(link, markdown)


def targets(text: str) -> Iterator[str]:
    """Where the links of a page lead, without the place in the page."""
    for _, target in LINK.findall(text):
        yield target.partition("#")[0]


def named(nav: Any) -> Iterator[str]:
    """Every page that a navigation names."""
    if isinstance(nav, str):
        yield nav
    for entry in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from named(entry)
