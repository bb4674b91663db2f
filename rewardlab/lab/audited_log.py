"""``rewardlab reward audit``: the alarm for reward hacking on stored responses, with an exit code for CI."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rewardlab.errors import DataError
from rewardlab.evaluation.hacking import SHORTEST, Alarm, Series, can_judge, find_alarm, series_of, told
from rewardlab.lab.response_logs import Log, read_log, read_run
from rewardlab.rewards.rescoring import StoredResponse

ALARM = 3
"""Exit code where the alarm was raised."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What the alarm says of a log.

    Attributes:
        series: What it looked at.
        responses: In the log.
        alarm: None: silent.
    """

    series: Series
    responses: int
    alarm: Alarm | None

    @property
    def text(self) -> str:
        """One line for people."""
        if self.alarm is not None:
            return told(self.alarm)
        return f"no alarm: {len(self.series.steps)} steps, {self.responses} responses"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        alarm = None if self.alarm is None else self.alarm.to_json()
        return {"alarm": alarm, "steps": len(self.series.steps), "responses": self.responses}

    def to_json_text(self) -> str:
        """As indented JSON."""
        return json.dumps(self.to_json(), indent=2)


def audit(log: Log) -> Audit:
    """Run the alarm on a log.

    Raises:
        DataError: The log cannot be judged: columns, gold labels or steps are missing.
    """
    rows = read_log(log, read_run(log.path), ("step", "reward"))
    series = series_of(_judged(rows))
    if not can_judge(len(series.steps)):
        has_gold = any(row.correct is not None or row.error is not None for row in rows)
        steps = len({row.step for row in rows})
        said = f"{len(series.steps)} steps with scores and gold labels" if has_gold else "no gold label at all"
        hint = (
            f"expected at least {2 * SHORTEST} steps"
            if has_gold
            else "name the column with --correct-column, or with --gold-column and --task"
        )
        raise DataError(f"{log.path}: {said} in {steps} steps, so that the alarm cannot judge it; {hint}")
    return Audit(series, len(rows), find_alarm(series))


def _judged(rows: Sequence[StoredResponse]) -> Iterator[dict[str, Any]]:
    """The responses as the alarm reads them; partial credit counts as closeness, since it is no share of right ones."""
    is_partial = any(row.correct not in (None, 0.0, 1.0) for row in rows)
    for row in rows:
        correct, error = row.correct, row.error
        if is_partial:
            correct, error = None, error if correct is None else 1.0 - correct
        yield {"step": row.step, "score": row.score, "correct": correct, "error": error}
