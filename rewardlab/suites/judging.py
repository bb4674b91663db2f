"""Who comes before a judge when a suite is done: the answers of two methods that a claim compares, seed by seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab.config import RunConfig
from rewardlab.errors import RewardlabError
from rewardlab.evaluation.predict import Decoding
from rewardlab.pipeline.judging import has_judge, is_judged, judge_runs, preview_before_answers
from rewardlab.pipeline.rows import Rows
from rewardlab.pipeline.stage import Stage
from rewardlab.reports.claim import Claim
from rewardlab.reports.collect import load_eval
from rewardlab.suites.cells import Cell

if TYPE_CHECKING:
    from rewardlab.annotate.money import Purse
    from rewardlab.annotate.preview import Preview

KIND = "judge"
"""What a plan calls it."""


@dataclass(frozen=True, slots=True)
class Hearing:
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
        """Every evaluation of the one with every evaluation of the other."""
        for goal in _evals(self.cell):
            for other in _evals(self.rival):
                yield goal, other

    @property
    def has_rows(self) -> bool:
        """False where the test rows are not here, or nobody knows yet which evaluations there will be."""
        sides = list(self.sides)
        return bool(sides) and all(stage.has_rows for pair in sides for stage in pair)

    def is_done(self, root: Path) -> bool:
        """True when verdicts are stored."""
        return any(is_judged(a.folder(root).path, b.folder(root).path, _config(a), root, self.decoding)
                   for a, b in self.sides)  # fmt: skip

    def preview(self, root: Path, rows: Rows) -> Preview | None:
        """What a hosted judge will be asked at most; None when the judge is free."""
        config = self.cell.config.model_copy(update={"task": self.cell.task})
        return preview_before_answers(config, root, rows)


def hearings(claims: Sequence[Claim], todo: Sequence[Cell]) -> list[Hearing]:
    """All that claims ask for and a judge is there for, each once; cells without one are left out."""
    asked = [claim for claim in claims if claim.measure == "judged" and not claim.not_testable]
    found = {
        (cell.title, rival.method, claim.decoding): Hearing(cell, rival, claim.decoding)
        for claim in asked
        for cell in todo
        for rival in todo
        if (cell.method, rival.method) == (claim.better, claim.than) and _place(cell) == _place(rival)
    }
    return [each for each in found.values() if has_judge(each.cell.config)]


def hear(hearing: Hearing, root: Path, purse: Purse | None = None) -> str | None:
    """Judge all evaluations of the one with those of the other that have the same items.

    Args:
        hearing: The two cells.
        root: Where run folders live.
        purse: What the command spends, which pays for a hosted judge; None is what each judgement spends.
    Returns:
        None, or why none of them could be judged.
    """
    sides, problems = list(hearing.sides), []
    for a, b in sides:
        paths = [stage.folder(root).path for stage in (a, b)]
        try:
            judge_runs(load_eval(paths[0]), load_eval(paths[1]), _config(a), root, hearing.decoding, purse=purse)
        except RewardlabError as error:
            problems.append(" ".join(str(error).splitlines()))
    return problems[0] if problems and len(problems) == len(sides) else None


def _evals(cell: Cell) -> list[Stage]:
    return [goal for goal in cell.goals if goal.kind == "eval"]


def _config(stage: Stage) -> RunConfig:
    return RunConfig.model_validate(stage.config)


def _place(cell: Cell) -> tuple[str, str, int]:
    return cell.task, cell.model, cell.seed
