"""The stages of a suite as another process finds them: it plans the same cells and looks for a fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rewardlab.pipeline.stage import Stage
from rewardlab.suites.cells import Cell, cells
from rewardlab.suites.file import Suite

Find = Callable[[str], Stage | None]
"""Fingerprint -> the stage."""


class Known:
    """The stages of a suite; planned anew when one is asked for that was not there, since a choice was made.

    Args:
        suite: The suite.
        root: Where run folders live.
        fetch: Brings the folder of a stage here, if it is elsewhere; a choice reads what its tries came to.
    """

    def __init__(self, suite: Suite, root: Path, fetch: Callable[[Stage], None] = lambda stage: None) -> None:
        self._suite, self._root, self._fetch = suite, root, fetch
        self._cells: Sequence[Cell] = ()
        self._stages: dict[str, Stage] = {}

    def find(self, name: str) -> Stage | None:
        """The stage of a fingerprint; None when the suite, as it is planned here and now, has none."""
        if name not in self._stages:
            self._plan()
        if name not in self._stages and (waiting := [cell for cell in self._cells if cell.again]):
            for goal in (goal for cell in waiting for goal in cell.goals):
                self._fetch(goal)
            self._plan()
        return self._stages.get(name)

    def _plan(self) -> None:
        self._cells = cells(self._suite, self._root)
        self._stages = {stage.fingerprint: stage for cell in self._cells for stage in cell.chain()}


def find_in(suite: Suite, root: Path, fetch: Callable[[Stage], None]) -> Find:
    """Finds the stages of a suite; arguments as of :class:`Known`."""
    return Known(suite, root, fetch).find
