"""Where a page's links to runs lead: to the folders, or to copies of their small files that travel with the page."""

from __future__ import annotations

import shutil
from pathlib import Path

from rewardlab.comparison.runs import BROUGHT
from rewardlab.disk import write_atomic
from rewardlab.evaluation.answers import ANSWERS_FILE
from rewardlab.runs import relative_path

FILES = ("config.json", "result.json", ANSWERS_FILE)
"""What is copied of a run; of an evaluation its answers too, without texts, so that the tables can be made anew."""


class Links:
    """Links from a page to runs.

    Args:
        page: Folder of the page.
        brings: Copy each run's configuration, result and answers beside the page and lead there, so that links hold in
            every copy of the folder; otherwise they hold as long as page and runs are moved together.
    """

    def __init__(self, page: Path, *, brings: bool = False) -> None:
        self._page = page
        self.brings = brings
        self._places: dict[Path, str] = {}

    def to(self, run: Path, file: str = "") -> str:
        """The run's folder, or a file in it, as seen from the page."""
        if run not in self._places:
            self._places[run] = relative_path(self._brought(run) if self.brings else run, self._page)
        return f"{self._places[run]}/{file}" if file else self._places[run]

    def clear(self) -> None:
        """Remove copies that an earlier page brought."""
        if self.brings:
            shutil.rmtree(self._page / BROUGHT, ignore_errors=True)

    def _brought(self, run: Path) -> Path:
        """Copies what there is; a run without such files stays where it is."""
        files = [run / name for name in FILES if (run / name).exists()]
        place = self._page / BROUGHT / run.resolve().parent.name / run.name
        for file in files:
            write_atomic(place / file.name, _with_own_paths(file, run))
        return place if files else run


def _with_own_paths(file: Path, run: Path) -> str:
    """A file's text, in which other runs are named by their copies instead of by where they lie on this machine."""
    text = file.read_text(encoding="utf-8")
    for root in (run.parent.parent, run.resolve().parent.parent):
        text = text.replace(f"{root}/", f"{BROUGHT}/") if root.is_absolute() else text
    return text
