"""Where pages lie, in the running studio and in an export: a template asks for an address and gets None for no page."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from typing import Protocol
from urllib.parse import quote, urlencode

ASSETS = ("studio.css", "studio.js", "chart.css")
"""Files beside the pages."""


class Addresses(Protocol):
    """Addresses of pages; None where there is no such page.

    Attributes:
        is_live: A server answers: forms work, and pages ask for themselves again while a run is running.
    """

    is_live: bool

    def home(self, asked: Mapping[str, str] | None = None) -> str | None:
        """The list of runs."""

    def run(self, key: str) -> str | None:
        """A run."""

    def samples(self, key: str, asked: Mapping[str, str] | None = None) -> str | None:
        """Its table of samples."""

    def sample(self, key: str, row: int) -> str | None:
        """One sample."""

    def prompt(self, key: str, task: str, id: str) -> str | None:
        """All samples of a prompt."""

    def side(self, left: str, right: str, asked: Mapping[str, str] | None = None) -> str | None:
        """Two evaluations, item by item."""

    def difference(self, left: str, right: str) -> str | None:
        """Settings in which two runs differ."""

    def expression(self, key: str) -> str | None:
        """Another reward on a run's samples."""

    def pairs(self, key: str, file: str, asked: Mapping[str, str] | None = None) -> str | None:
        """Pairs, one at a time."""

    def verdict(self, key: str, file: str, row: int) -> str | None:
        """Where a verdict on a pair is sent."""

    def asset(self, name: str) -> str:
        """A style or a script."""


class Live:
    """Addresses of the running studio."""

    is_live = True

    def home(self, asked: Mapping[str, str] | None = None) -> str:
        """``/``."""
        return _asking("/", asked)

    def run(self, key: str) -> str:
        """``/run/KEY``."""
        return f"/run/{quote(key)}"

    def samples(self, key: str, asked: Mapping[str, str] | None = None) -> str:
        """``/samples/KEY``."""
        return _asking(f"/samples/{quote(key)}", asked)

    def sample(self, key: str, row: int) -> str:
        """``/sample/ROW/KEY``."""
        return f"/sample/{row}/{quote(key)}"

    def prompt(self, key: str, task: str, id: str) -> str:
        """``/prompt/KEY``."""
        return _asking(f"/prompt/{quote(key)}", {"task": task, "id": id})

    def side(self, left: str, right: str, asked: Mapping[str, str] | None = None) -> str:
        """``/side``."""
        return f"/side?{urlencode([('run', left), ('run', right), *(asked or {}).items()])}"

    def difference(self, left: str, right: str) -> str:
        """``/difference``."""
        return f"/difference?{urlencode([('run', left), ('run', right)])}"

    def expression(self, key: str) -> str:
        """``/expression/KEY``."""
        return f"/expression/{quote(key)}"

    def pairs(self, key: str, file: str, asked: Mapping[str, str] | None = None) -> str:
        """``/pairs/FILE/KEY``."""
        return _asking(f"/pairs/{file}/{quote(key)}", asked)

    def verdict(self, key: str, file: str, row: int) -> str:
        """``/verdict/FILE/ROW/KEY``."""
        return f"/verdict/{file}/{row}/{quote(key)}"

    def asset(self, name: str) -> str:
        """``/assets/NAME``."""
        return f"/assets/{name}"


class Static:
    """Addresses in an export, relative to one of its pages.

    Args:
        page: The page that links, as a path below the export.
        there: All pages of the export.
    """

    is_live = False

    def __init__(self, page: str, there: Collection[str]) -> None:
        self._folder = posixpath.dirname(page)
        self._there = there

    def home(self, asked: Mapping[str, str] | None = None) -> str | None:
        """The list of runs, in its own order alone."""
        return None if asked else self._to("index.html")

    def run(self, key: str) -> str | None:
        """``run/KEY/index.html``."""
        return self._to(run_file(key))

    def samples(self, key: str, asked: Mapping[str, str] | None = None) -> str | None:
        """The first samples."""
        return None if asked else self._to(run_file(key, "samples"))

    def sample(self, key: str, row: int) -> str | None:
        """One sample, where it was exported."""
        return self._to(run_file(key, f"sample-{row}"))

    def prompt(self, key: str, task: str, id: str) -> str | None:
        """Not exported."""
        return None

    def side(self, left: str, right: str, asked: Mapping[str, str] | None = None) -> str | None:
        """Not exported."""
        return None

    def difference(self, left: str, right: str) -> str | None:
        """Not exported."""
        return None

    def expression(self, key: str) -> str | None:
        """Needs a server."""
        return None

    def pairs(self, key: str, file: str, asked: Mapping[str, str] | None = None) -> str | None:
        """One pair, where it was exported."""
        row = (asked or {}).get("row", "0")
        return self._to(run_file(key, f"{file.removesuffix('.jsonl')}-{row}"))

    def verdict(self, key: str, file: str, row: int) -> str | None:
        """Needs a server."""
        return None

    def asset(self, name: str) -> str:
        """A file beside the list of runs."""
        return posixpath.relpath(name, self._folder or ".")

    def _to(self, page: str) -> str | None:
        return quote(posixpath.relpath(page, self._folder or ".")) if page in self._there else None


def run_file(key: str, page: str = "index") -> str:
    """A page of a run in an export."""
    return f"run/{key}/{page}.html"


def _asking(path: str, asked: Mapping[str, str] | None) -> str:
    kept = {name: value for name, value in (asked or {}).items() if value != ""}
    return f"{path}?{urlencode(kept)}" if kept else path
