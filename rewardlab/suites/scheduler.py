"""What is left to do of a suite: which stage may be built next, and which cells a failed one takes with it."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
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
        self._seconds: Callable[[Stage], float] = lambda stage: 0.0
        self._stages: dict[str, Stage] = {}
        self._behind: dict[str, set[str]] = {}
        self._lacks: dict[str, set[str]] = {}
        self._ranks: dict[str, tuple[float, int]] = {}
        self._ready: list[tuple[tuple[float, int], str]] = []
        self._done: set[str] = set()
        self._taken: set[str] = set()
        self._errors: dict[str, str] = {}
        self._cell_errors: dict[int, str] = {}
        self._look()
        self._settle()

    def longest_first(self, seconds: Callable[[Stage], float]) -> None:
        """From now on stages come first behind which the longest chain waits, for stages that are built side by side.

        Otherwise they come in the order of the cells, which finishes the first cells first.

        Args:
            seconds: How long a stage will take, as far as that is known.
        """
        self._seconds = seconds
        self._rank()

    def take(self, has_room: Callable[[Stage], bool] = lambda stage: True) -> Job | None:
        """The first stage whose inputs are all finished and for which there is room; None when there is none now."""
        for place, (_, name) in enumerate(self._ready):
            stage = self._stages[name]
            if has_room(stage):
                del self._ready[place]
                self._taken.add(name)
                return Job(stage, self._head(stage))
        return None

    def _head(self, stage: Stage) -> str:
        drawn = [stage.settings[name] for name in SEEDS if name in stage.settings]
        seed = f", seed {drawn[0]}" if drawn else ""
        number = len(self._done) + len(self._errors) + len(self._taken)
        return f"[{number}/{len(self._stages)}] {stage.title}{seed}"

    def done(self) -> list[Stage]:
        """The stages that are finished."""
        return [stage for name, stage in self._stages.items() if name in self._done]

    def missing(self) -> list[Stage]:
        """The stages that are not, as far as they are known."""
        return [stage for name, stage in self._stages.items() if name not in self._done]

    def finish(self, stage: Stage, error: str | None) -> None:
        """A taken stage is built, or failed with this line."""
        name = stage.fingerprint
        self._taken.discard(name)
        if error is not None:
            self._errors[name] = error
            return
        self._done.add(name)
        for waiting in self._behind.pop(name, ()):
            self._lacks[waiting].discard(name)
            self._offer(waiting)
        self._settle()

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
        new: list[str] = []
        for stage in distinct(stage for cell in self.cells for stage in cell.chain()):
            name = stage.fingerprint
            if name in self._stages:
                continue
            new.append(name)
            self._stages[name] = stage
            needs = {needed.fingerprint for needed in stage.inputs.values()}
            self._lacks[name] = needs - self._done
            if stage.folder(self._root).is_done:
                self._done.add(name)
            for needed in needs:
                self._behind.setdefault(needed, set()).add(name)
        if new:
            self._rank()
        for name in new:
            self._lacks[name] -= self._done
            self._offer(name)

    def _rank(self) -> None:
        """Order all stages: by the seconds from their beginning to the end of the longest chain that needs them."""
        rest: dict[str, float] = {}
        for name in reversed(self._stages):  # whatever needs a stage stands behind it
            behind = max((rest[each] for each in self._behind.get(name, ())), default=0.0)
            rest[name] = behind + (0.0 if name in self._done else self._seconds(self._stages[name]))
        self._ranks = {name: (-rest[name], number) for number, name in enumerate(self._stages)}
        self._ready = sorted((self._ranks[name], name) for _, name in self._ready)

    def _offer(self, name: str) -> None:
        """Put a stage among those that may be built, if it may."""
        if not self._lacks[name] and name not in self._done | self._taken | self._errors.keys():
            insort(self._ready, (self._ranks[name], name))

    def _has(self, cell: Cell) -> bool:
        return all(goal.fingerprint in self._done for goal in cell.goals)
