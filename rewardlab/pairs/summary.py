"""What a folder of pairs, or a model's own samples, look like: counts, lengths, baselines, kinds of sampled pairs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardlab.disk import read_jsonl
from rewardlab.errors import DataError, InputError
from rewardlab.pairs.cleaning import clean
from rewardlab.pairs.files import SAMPLES_FILE, describe, read_folder
from rewardlab.pairs.imported import NO_TASK
from rewardlab.pairs.label_sensitive import Built
from rewardlab.pairs.statistics import by_task, kind_shares, rationale_sensitive_share
from rewardlab.tasks.places import is_known, load_tasks_of
from rewardlab.types import Label

logger = logging.getLogger(__name__)


def summarise(folder: Path) -> dict[str, Any]:
    """Measure a folder of pairs anew, whoever wrote it.

    Returns:
        The manifest's common part (:func:`rewardlab.pairs.files.describe`); its outcomes say what the rules of today
        would drop. ``sampled`` holds :func:`sampled_kinds` of the samples behind the pairs.
    Raises:
        InputError: The folder holds no pairs, or labels of a task that is not known.
        DataError: A line is no pair, or of the samples none.
    """
    known, unseen = read_folder(folder)
    train, held_out = Built(known), Built(unseen)
    clean(train, held_out, balance_length=False, seed=0)
    first = next(iter([*known, *unseen]), None)
    names = [*by_task([*known, *unseen])]
    load_tasks_of(folder, (name for name in names if name != NO_TASK))
    if unknown := [name for name in names if not is_known(name) and name != NO_TASK]:
        told = f"{folder}: task {', '.join(unknown)} is not known here (`rewardlab tasks`); name its file with --task"
        if {*unknown} & {*by_task(known)} & {*by_task(unseen)}:  # the label-only scorer reads the task's words
            raise InputError(told)
        logger.warning(told)
    kind, format = (first.kind, first.format) if first else ("label", "rationale")
    return {**describe(kind, format, train, held_out, names), "sampled": sampled_kinds(_answers(folder))}


def sampled_kinds(answers: Mapping[str, Sequence[Sequence[Label | None]]]) -> dict[str, dict[str, Any]]:
    """Kinds of all pairs of samples, per task (RLLR figure 2).

    Args:
        answers: Task -> per prompt, what was read in each sample.
    Returns:
        Task -> :func:`kind_shares`; ``interval`` of the rationale-sensitive share, and ``readable``, that share among
        the pairs that could be read with its interval, None without any. Tasks without pairs are absent.
    """
    return {
        task: {**shares, "interval": rationale_sensitive_share(rows).to_json(), "readable": _readable(shares, rows)}
        for task, rows in answers.items()
        if (shares := kind_shares(rows))
    }


def _readable(shares: Mapping[str, float], rows: Sequence[Sequence[Label | None]]) -> dict[str, Any] | None:
    """The rationale-sensitive share among pairs that could be read."""
    return None if shares["malformed"] == 1 else rationale_sensitive_share(rows, readable=True).to_json()


def _answers(folder: Path) -> dict[str, list[list[Label | None]]]:
    file = folder / SAMPLES_FILE
    return answers_by_task(_sample_rows(file)) if file.is_file() else {}


def _sample_rows(file: Path) -> Iterator[Mapping[str, Any]]:
    for number, row in enumerate(read_jsonl(file), 1):
        labels = row.get("labels")
        if not (isinstance(row.get("task"), str) and isinstance(labels, list) and all(map(_is_answer, labels))):
            raise DataError(
                f"{file} row {number}: found {row!s:.60}; expected a task and the labels of its samples. "
                "Make the pairs again, or remove the file"
            )
        yield row


def _is_answer(value: object) -> bool:
    return value is None or isinstance(value, str | float | int)


def answers_by_task(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[list[Label | None]]]:
    """Task -> per prompt, the ``labels`` of its samples, from rows of ``samples.jsonl``."""
    found: dict[str, list[list[Label | None]]] = {}
    for row in rows:
        found.setdefault(row["task"], []).append(row["labels"])
    return found
