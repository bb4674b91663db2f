"""What a suite will do, before it does it: stages to run and finished ones, time as far as known, and money."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from rewardlab.errors import RewardlabError
from rewardlab.pipeline.stage import Stage, asks_nothing
from rewardlab.runs import read_json
from rewardlab.suites.cells import Cell, distinct

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class PlanRow:
    """All stages of one kind.

    Attributes:
        kind: Of the stages.
        done, to_run: How many are finished, and how many are not.
        seconds: What those to run will take, at the median of finished ones like them; None where there is none.
        requests: Of a hosted annotator; answers in the journal are not asked for again. None where rows are not here.
        cost_usd: What they cost at most; None where the requests or a price are not known.
    """

    kind: str
    done: int
    to_run: int
    seconds: float | None
    requests: int | None
    cost_usd: float | None


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
        )


def make_plan(todo: Sequence[Cell], root: Path) -> Plan:
    """Count what there is and what is missing; reads finished folders and writes nothing."""
    stages = distinct(stage for cell in todo for stage in cell.chain())
    kinds = list(dict.fromkeys(stage.kind for stage in stages))
    known = _Durations(root)
    rows = tuple(_row(kind, [stage for stage in stages if stage.kind == kind], root, known) for kind in kinds)
    return Plan(rows, sum(cell.again is not None for cell in todo))


def _row(kind: str, stages: Sequence[Stage], root: Path, known: _Durations) -> PlanRow:
    missing = [stage for stage in stages if not stage.folder(root).is_done]
    is_open = any(stage.preview is not asks_nothing and not stage.has_rows for stage in missing)
    asked = [request for stage in missing if not is_open and (request := stage.preview()) is not None]
    return PlanRow(
        kind,
        done=len(stages) - len(missing),
        to_run=len(missing),
        seconds=_sum([known.seconds(stage) for stage in missing]),
        requests=None if is_open else sum(request.requests for request in asked),
        cost_usd=None if is_open else _sum([request.cost_usd for request in asked]),
    )


def _sum(found: Sequence[Number | None]) -> Number | None:
    """None where one of them is not known."""
    known = [value for value in found if value is not None]
    return sum(known) if len(known) == len(found) else None


class _Durations:
    """What finished stages under a root took."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._taken: dict[str, list[tuple[Any, float]]] = {}

    def seconds(self, stage: Stage) -> float | None:
        """Median of the finished stages of that kind like it; None when there is none."""
        if stage.kind not in self._taken:
            self._taken[stage.kind] = list(self._read(stage.kind))
        wanted = _likeness(stage.kind, stage.config)
        alike = [seconds for config, seconds in self._taken[stage.kind] if config == wanted]
        return median(alike) if alike else None

    def _read(self, kind: str) -> Iterator[tuple[Any, float]]:
        for path in sorted((self._root / kind).glob("*/result.json")):
            try:
                config, result = read_json(path.with_name("config.json")), read_json(path)
                yield _likeness(kind, config["config"]), float(result["stage_seconds"])
            except (RewardlabError, KeyError, TypeError, ValueError):
                continue  # damaged, or of another program: it tells nothing of time


def _likeness(kind: str, config: Mapping[str, Any]) -> list[Any]:
    """What the time of a stage depends on most: rows, model, answer format and its own section."""
    return [config.get(name) for name in ("task", "model", "format", "data", kind)]
