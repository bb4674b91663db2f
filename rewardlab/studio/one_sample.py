"""One sample as a page shows it: its prompt, what the parser read in it and why, and the others to its prompt."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import polars as pl
from pydantic import ValidationError

from rewardlab.config import RunConfig
from rewardlab.errors import RewardlabError
from rewardlab.pipeline import Pipeline
from rewardlab.pipeline.rows import Rows
from rewardlab.studio.index import StudioRun
from rewardlab.studio.tables import PART, SHAPED, TERM
from rewardlab.tasks.places import TASK_KEYS, load_tasks_of, located
from rewardlab.tasks.task import prompt_of, tasks
from rewardlab.types import ANSWER_FORMATS, Answer, AnswerFormat, Example

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a reward made of one response; empty where nothing was rewarded.

    Attributes:
        parts: Raw score of each named reward; None could not judge.
        terms: What each additive term contributed; they sum to the score.
        shaped: How the trained total came from the score.
        score, total: Before and after shaping.
    """

    parts: Mapping[str, float | None]
    terms: Mapping[str, float | None]
    shaped: Mapping[str, float | None]
    score: float | None
    total: float | None


class PromptFinder:
    """Prompts of training rows, which ledgers do not store: the rows are loaded as the run's configuration names them.

    Args:
        root: The folder of runs.
        runs_code: Tasks may be read from Python files that a run names, which executes them.
    """

    def __init__(self, root: Path, *, runs_code: bool = False) -> None:
        self._root = root
        self._runs_code = runs_code
        self._rows = Rows()
        self._keys: dict[str, str] = {}
        self._found: dict[str, Mapping[tuple[str, str], Example]] = {}
        self._lock = Lock()

    def prompt(self, run: StudioRun, task: str, id: str) -> str | None:
        """The prompt of a row of a run; None where its data is not at hand."""
        row = self.rows(run).get((task, id))
        return None if row is None else prompt_of(row)

    def rows(self, run: StudioRun) -> Mapping[tuple[str, str], Example]:
        """(task, id) -> row of a run, loaded once for all runs of equal data; empty where that is not at hand."""
        with self._lock:
            if run.fingerprint not in self._keys:
                self._keys[run.fingerprint] = self._load(run)
            return self._found[self._keys[run.fingerprint]]

    def _load(self, run: StudioRun) -> str:
        """Load the rows of a run, and return what they are kept under."""
        self._found.setdefault("", {})
        if names_code(run) and not self._runs_code:
            return ""
        try:
            config = RunConfig.model_validate(located(run.config["config"], run.path))
            key = f"{config.task} {config.format} {config.rows.model_dump_json()}"
            if key not in self._found:
                splits = Pipeline(config, self._root, self._rows).splits.values()
                rows = (row for split in splits for row in (*split.labelled, *split.prompts, *split.validation))
                self._found[key] = {(row.task, row.id): row for row in rows}
        except (RewardlabError, ValidationError, KeyError, TypeError, OSError) as error:
            logger.warning("%s: prompts are not shown (%s)", run.path, error)
            return ""
        return key


def amounts_of(row: Mapping[str, Any]) -> Amounts:
    """The reward's numbers in a row of a ledger."""

    def named(prefix: str) -> dict[str, float | None]:
        return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}

    return Amounts(named(PART), named(TERM), named(SHAPED), row.get("score"), row.get("total"))


def names_code(run: StudioRun) -> bool:
    """Whether a run's task is a Python file: reading it executes it, and a folder of runs may be somebody else's."""
    config = run.config.get("config") or {}
    named = [str(config.get(key) or "") for key in TASK_KEYS]
    return any(part.strip().endswith(".py") for spec in named for part in spec.split(","))


def load_tasks(run: StudioRun, names: Collection[str], *, runs_code: bool = False) -> None:
    """Make the tasks of a run's rows known, as far as that executes nothing or may.

    Raises:
        InputError: A task file is not to be found, or cannot be used.
    """
    if runs_code or not names_code(run):
        load_tasks_of(run.path, names)


def reading_of(run: StudioRun, row: Mapping[str, Any], *, runs_code: bool = False) -> Answer | None:
    """What the task's parser reads in a response now; None where the task is not known here."""
    task = str(row.get("task") or "")
    stored = (run.config.get("config") or {}).get("format")
    answer_format: AnswerFormat = next((each for each in ANSWER_FORMATS if each == stored), "rationale")
    try:
        load_tasks(run, {task}, runs_code=runs_code)
        return tasks.get(task).parser(answer_format).parse(str(row.get("response") or ""))
    except (RewardlabError, KeyError, ValueError) as error:
        logger.warning("%s: task %s cannot be read (%s)", run.path, task, error)
        return None


def same_prompt(frame: pl.DataFrame, row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """All responses to the prompt of a row, in the order of the file."""
    chosen = frame.lazy().filter((pl.col("task") == row["task"]) & (pl.col("id") == row["id"]))
    return chosen.collect().to_dicts()
