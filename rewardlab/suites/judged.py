"""Who comes before a judge when a suite is done: the answers of two methods that a claim compares, seed by seed.

A method that a claim sends there also meets every rival that the suite names in ``against``: a judge who likes it
better than one of them may like another better than it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab.claims.claim import Claim
from rewardlab.comparison.evaluations import load_eval
from rewardlab.config import RunConfig
from rewardlab.errors import RewardlabError
from rewardlab.evaluation.predict import Decoding
from rewardlab.pipeline.rows import Rows
from rewardlab.pipeline.stage import Stage
from rewardlab.pipeline.stages.judge import has_judge, is_judged, judge_runs, preview_before_answers
from rewardlab.suites.cells import Cell
from rewardlab.tasks import separate_tasks

if TYPE_CHECKING:
    from rewardlab.annotate.money import Purse
    from rewardlab.annotate.preview import Preview

KIND = "judge"
"""What a plan calls it."""


@dataclass(frozen=True, slots=True)
class JudgedCells:
    """Two cells of one seed whose answers are judged side by side."""

    cell: Cell
    rival: Cell
    decoding: Decoding

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.cell.title} and {self.rival.method} before a judge"

    @property
    def sides(self) -> Iterator[tuple[Stage, Stage]]:
        """Each evaluation of the one with each of the other that answered a task in common."""
        for goal in _evals(self.cell):
            for other in _evals(self.rival):
                if _shared(goal, other):
                    yield goal, other

    @property
    def has_rows(self) -> bool:
        """False where the test rows are not here, or the evaluations are not known yet."""
        sides = list(self.sides)
        return bool(sides) and all(stage.has_rows for pair in sides for stage in pair)

    def is_done(self, root: Path) -> bool:
        """True when verdicts are stored on all tasks that both answered."""
        return any(self.sides) and not self.missing(root)

    def missing(self, root: Path) -> list[RunConfig]:
        """What is still to be judged: a configuration for each two evaluations, with the tasks that both answered."""
        return [
            _config(a).model_copy(update={"task": _shared(a, b)})
            for a, b in self.sides
            if not is_judged(a.folder(root).path, b.folder(root).path, _config(a), root, self.decoding)
        ]

    def previews(self, root: Path, rows: Rows) -> list[Preview | None]:
        """What a hosted judge will be asked at most about each of the missing; None where the judge is free."""
        return [preview_before_answers(config, root, rows) for config in self.missing(root)]


def judged_cells(claims: Sequence[Claim], todo: Sequence[Cell], against: Sequence[str] = ()) -> list[JudgedCells]:
    """All that claims ask for and a judge is there for, each once; cells without one are left out.

    Args:
        claims: Those of the suite.
        todo: Its cells.
        against: Methods that each method of a judged claim is judged against too.
    """
    asked = [claim for claim in claims if claim.measure == "judged" and not claim.not_testable]
    pairs = [(claim.better, claim.than, claim.decoding) for claim in asked]
    pairs += [(claim.better, rival, claim.decoding) for claim in asked for rival in against]
    found: dict[tuple[frozenset[str], str], JudgedCells] = {}
    for better, than, decoding in pairs:
        for cell in (cell for cell in todo if cell.method == better):
            for rival in (rival for rival in todo if rival.method == than and rival is not cell):
                if _place(cell) == _place(rival):
                    sides = frozenset((cell.title, rival.title))
                    found.setdefault((sides, decoding), JudgedCells(cell, rival, decoding))
    return [each for each in found.values() if has_judge(each.cell.config)]


def judge_cells(judged: JudgedCells, root: Path, purse: Purse | None = None) -> str | None:
    """Judge all evaluations of the one with those of the other that answered a task in common.

    Args:
        judged: The two cells.
        root: Where run folders live.
        purse: What the command spends, which pays for a hosted judge; None is what each judgement spends.
    Returns:
        None, or what could not be judged and why.
    """
    problems = []
    for a, b in judged.sides:
        paths = [stage.folder(root).path for stage in (a, b)]
        try:
            judge_runs(load_eval(paths[0]), load_eval(paths[1]), _config(a), root, judged.decoding, purse=purse)
        except RewardlabError as error:
            problems.append(" ".join(str(error).splitlines()))
    return "; ".join(dict.fromkeys(problems)) or None


def _shared(a: Stage, b: Stage) -> str:
    """The tasks that both evaluations answered, as a value of ``task``; empty when there are none."""
    others = separate_tasks(b.config["task"])
    return ",".join(name for name in separate_tasks(a.config["task"]) if name in others)


def _evals(cell: Cell) -> list[Stage]:
    return [goal for goal in cell.goals if goal.kind == "eval"]


def _config(stage: Stage) -> RunConfig:
    return RunConfig.model_validate(stage.config)


def _place(cell: Cell) -> tuple[str, str, int]:
    return cell.task, cell.model, cell.seed
