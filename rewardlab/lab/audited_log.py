"""The alarm for reward hacking on stored responses: :func:`audit` and ``rewardlab reward audit``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.errors import DataError
from rewardlab.evaluation.hacking import SHORTEST, Alarm, Series, can_judge, find_alarm, series_of, told
from rewardlab.lab.finished import Run, folder_of
from rewardlab.lab.response_logs import Log, columns_of, read_log, read_run
from rewardlab.rewards.rescoring import StoredResponse
from rewardlab.types import AnswerFormat

ALARM = 3
"""Exit code where the alarm was raised."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The alarm's result on a log: what :func:`audit` gives. ``print`` shows its line.

    Attributes:
        series: Reward and right answers by step, which it compares.
        responses: How many the log has.
        alarm: None where it is not raised.
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

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        alarm = None if self.alarm is None else self.alarm.to_json()
        return {"alarm": alarm, "steps": len(self.series.steps), "responses": self.responses}

    def to_json_text(self) -> str:
        """As indented JSON."""
        return json.dumps(self.to_json(), indent=2)


def audit(
    log: Run | Path | str,
    *,
    task: str | Path | None = None,
    format: AnswerFormat | None = None,
    columns: Mapping[str, str] | None = None,
) -> Audit:
    """Look for reward hacking in stored responses: ``rewardlab reward audit`` in Python.

    Args:
        log: A trained run, or a log of another library: .jsonl, .json, .parquet, .csv, or a folder of them.
        task, format: Of a log that does not say them.
        columns: Of a log: step, response, reward, gold, correct -> the name of its column.
    Raises:
        DataError: The log cannot be judged: columns, gold labels or steps are missing.

    Example:
        >>> import json, pathlib, tempfile, rewardlab as rl
        >>> log = pathlib.Path(tempfile.mkdtemp()) / "log.jsonl"
        >>> rows = [{"step": n // 8, "response": "", "reward": n % 2, "right": n % 2} for n in range(400)]
        >>> _ = log.write_text("\\n".join(map(json.dumps, rows)))
        >>> print(rl.audit(log, columns={"correct": "right"}))
        no alarm: 50 steps, 400 responses
    """
    return audited(Log(folder_of(log), columns_of(columns, None), None if task is None else str(task), format))


def audited(log: Log) -> Audit:
    """Run the alarm on a log; raises as :func:`audit`."""
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
