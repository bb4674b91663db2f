"""What a suite will do, before it does it: stages to run and finished ones, time as far as known, and money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rewardlab.claims.claim import Claim
from rewardlab.pipeline.kinds import stage_kinds
from rewardlab.pipeline.rows import Rows
from rewardlab.pipeline.stage import Stage, asks_nothing
from rewardlab.suites.cells import Cell, distinct
from rewardlab.suites.durations import Duration, Durations, measured, total
from rewardlab.suites.judged import KIND, JudgedCells, judged_cells

if TYPE_CHECKING:
    from rewardlab.annotate.preview import Preview

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class PlanRow:
    """All stages of one kind.

    Attributes:
        kind: Of the stages.
        done, to_run: How many are finished, and how many are not.
        seconds: What those to run will take, at the median of finished ones like them; None where nothing is known.
        is_rough: The seconds were measured elsewhere, with the embedded model.
        requests: Of a hosted annotator; answers in the journal are not asked for again. None where rows are not here.
        cost_usd: What they cost at most; None where the requests or a price are not known.
    """

    kind: str
    done: int
    to_run: int
    seconds: float | None
    requests: int | None
    cost_usd: float | None
    is_rough: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A suite before it runs.

    Attributes:
        rows: One a kind of stage, in the order they are needed.
        waiting: Cells that cannot be counted yet, since tries choose their settings.
    """

    rows: tuple[PlanRow, ...]
    waiting: int

    @property
    def total(self) -> PlanRow:
        """All stages together; what is not known of one is not known of all."""
        return PlanRow(
            "all",
            done=sum(row.done for row in self.rows),
            to_run=sum(row.to_run for row in self.rows),
            seconds=_sum([row.seconds for row in self.rows]),
            requests=_sum([row.requests for row in self.rows]),
            cost_usd=_sum([row.cost_usd for row in self.rows]),
            is_rough=any(row.is_rough for row in self.rows),
        )


def make_plan(
    todo: Sequence[Cell],
    root: Path,
    claims: Sequence[Claim] = (),
    rows: Rows | None = None,
    against: Sequence[str] = (),
) -> Plan:
    """Count what there is and what is missing; reads finished folders and writes nothing.

    Args:
        todo: The cells.
        root: Where run folders live.
        claims: Those of the suite, some of which want a judge when all cells are done.
        rows: Where rows are remembered.
        against: The rivals that the suite names, which are judged too.
    """
    stages = distinct(stage for cell in todo for stage in cell.chain())
    known = Durations(root)
    by_kind = {kind: [stage for stage in stages if stage.kind == kind] for kind in stage_kinds()}
    planned = [_row(kind, found, root, known) for kind, found in by_kind.items() if found]
    judged = judged_cells(claims, todo, against)
    planned += [_judge_row(judged, root, rows or Rows())] if judged else []
    return Plan(tuple(planned), sum(cell.again is not None for cell in todo))


def _row(kind: str, stages: Sequence[Stage], root: Path, known: Durations) -> PlanRow:
    missing = [stage for stage in stages if not stage.folder(root).is_done]
    is_open = any(stage.preview is not asks_nothing and not stage.has_rows for stage in missing)
    asked = [] if is_open else [stage.preview() for stage in missing]
    taken = total([known.of(stage) for stage in missing])
    return _planned(kind, len(stages) - len(missing), len(missing), taken, None if is_open else asked)


def _judge_row(found: Sequence[JudgedCells], root: Path, rows: Rows) -> PlanRow:
    missing = [each for each in found if not each.is_done(root)]
    is_open = not all(each.has_rows for each in missing)
    asked = [] if is_open else [preview for each in missing for preview in each.previews(root, rows)]
    is_free = not is_open and not any(asked)
    configs = [config.model_dump(mode="json") for each in missing for config in each.missing(root)]
    taken = total([measured(KIND, config) for config in configs] if is_free else [None])
    return _planned(KIND, len(found) - len(missing), len(missing), taken, None if is_open else asked)


def _planned(
    kind: str, done: int, to_run: int, taken: Duration | None, asked: Sequence[Preview | None] | None
) -> PlanRow:
    """``asked`` is None where it is not known yet."""
    requests = None if asked is None else [each for each in asked if each is not None]
    return PlanRow(
        kind,
        done=done,
        to_run=to_run,
        seconds=None if taken is None else taken.seconds,
        requests=None if requests is None else sum(each.requests for each in requests),
        cost_usd=None if requests is None else _sum([each.cost_usd for each in requests]),
        is_rough=taken is not None and taken.is_rough,
    )


def _sum(found: Sequence[Number | None]) -> Number | None:
    """None where one of them is not known."""
    known = [value for value in found if value is not None]
    return sum(known) if len(known) == len(found) else None
