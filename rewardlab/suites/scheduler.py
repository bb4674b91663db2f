"""What is left to do of a suite: which stage may be built next, and which cells a failed one takes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardlab.errors import RewardlabError
from rewardlab.pipeline.stage import Stage
from rewardlab.suites.cells import Cell, distinct

SEEDS = ("seed", "wrong_label_seed", "annotator_seed")
"""Settings of a stage that say of which seed it is, the first that it has."""


@dataclass(frozen=True, slots=True)
class Job:
    """A stage that may be built now, and how a line about it begins."""

    stage: Stage
    head: str


class Scheduler:
    """The stages behind the cells of a suite, each of them once.

    Args:
        cells: The cells; one whose settings are still to be chosen is replaced when its tries are finished.
        root: Where run folders live.
    """

    def __init__(self, cells: Sequence[Cell], root: Path) -> None:
        self.cells = list(cells)
        self._root = root
        self._stages: dict[str, Stage] = {}
        self._needs: dict[str, set[str]] = {}
        self._done: set[str] = set()
        self._taken: set[str] = set()
        self._errors: dict[str, str] = {}
        self._cell_errors: dict[int, str] = {}
        self._look()
        self._settle()

    def take(self) -> Job | None:
        """A stage whose inputs are all finished, the first in the order of the cells; None when there is none now."""
        for name, stage in self._stages.items():
            if name not in self._done | self._taken | self._errors.keys() and self._needs[name] <= self._done:
                self._taken.add(name)
                drawn = [stage.settings[name] for name in SEEDS if name in stage.settings]
                seed = f", seed {drawn[0]}" if drawn else ""
                number = len(self._done) + len(self._errors) + len(self._taken)
                return Job(stage, f"[{number}/{len(self._stages)}] {stage.title}{seed}")
        return None

    def done(self) -> list[Stage]:
        """The stages that are finished."""
        return [stage for name, stage in self._stages.items() if name in self._done]

    def missing(self) -> list[Stage]:
        """The stages that are not, as far as they are known."""
        return [stage for name, stage in self._stages.items() if name not in self._done]

    def finish(self, stage: Stage, error: str | None) -> None:
        """A taken stage is built, or failed with this line."""
        self._taken.discard(stage.fingerprint)
        if error is None:
            self._done.add(stage.fingerprint)
            self._settle()
        else:
            self._errors[stage.fingerprint] = error

    def failures(self) -> list[tuple[Cell, str]]:
        """The cells that are not finished, and the line that says why."""
        named = ((cell, self._error(number, cell)) for number, cell in enumerate(self.cells))
        return [(cell, error) for cell, error in named if error]

    def finished(self) -> list[Cell]:
        """The cells whose goals are all there."""
        return [cell for cell in self.cells if cell.again is None and self._has(cell)]

    def _error(self, number: int, cell: Cell) -> str:
        if number in self._cell_errors:
            return self._cell_errors[number]
        broken = next((stage for stage in cell.chain() if stage.fingerprint in self._errors), None)
        return "" if broken is None else f"{broken.title}: {self._errors[broken.fingerprint]}"

    def _settle(self) -> None:
        """Put the chosen settings into cells whose tries are finished."""
        waiting = [n for n, cell in enumerate(self.cells) if cell.again and n not in self._cell_errors]
        ready = [number for number in waiting if self._has(self.cells[number])]
        for number in ready:
            self._replace(number)
        if ready:
            self._look()
            self._settle()

    def _replace(self, number: int) -> None:
        again = self.cells[number].again
        assert again is not None, "only cells that wait are settled"
        try:
            self.cells[number] = again()
        except RewardlabError as error:
            self._cell_errors[number] = " ".join(str(error).splitlines())

    def _look(self) -> None:
        """Take in stages that are new, and see which are there."""
        for stage in distinct(stage for cell in self.cells for stage in cell.chain()):
            if stage.fingerprint not in self._stages:
                self._stages[stage.fingerprint] = stage
                self._needs[stage.fingerprint] = {needed.fingerprint for needed in stage.inputs.values()}
                if stage.folder(self._root).is_done:
                    self._done.add(stage.fingerprint)

    def _has(self, cell: Cell) -> bool:
        return all(goal.fingerprint in self._done for goal in cell.goals)
