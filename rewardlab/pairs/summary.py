"""What a folder of pairs, or a model's own samples, look like: counts, lengths, baselines, kinds of sampled pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardlab.pairs.cleaning import clean
from rewardlab.pairs.files import SAMPLES_FILE, describe, read_folder
from rewardlab.pairs.label_sensitive import Built
from rewardlab.pairs.statistics import by_task, kind_shares, rationale_sensitive_share
from rewardlab.runs import read_jsonl
from rewardlab.types import Label


def summarise(folder: Path) -> dict[str, Any]:
    """Measure a folder of pairs anew, whoever wrote it.

    Returns:
        The manifest's common part (:func:`rewardlab.pairs.files.describe`); its outcomes say what the rules of today
        would drop. ``sampled`` holds :func:`sampled_kinds` of the samples behind the pairs.
    Raises:
        InputError: The folder holds no pairs.
    """
    known, unseen = read_folder(folder)
    train, held_out = Built(known), Built(unseen)
    clean(train, held_out, balance_length=False, seed=0)
    first = next(iter([*known, *unseen]), None)
    names = [*by_task([*known, *unseen])]
    kind, format = (first.kind, first.format) if first else ("label", "rationale")
    return {**describe(kind, format, train, held_out, names), "sampled": sampled_kinds(_answers(folder))}


def sampled_kinds(answers: Mapping[str, Sequence[Sequence[Label | None]]]) -> dict[str, dict[str, Any]]:
    """Kinds of all pairs of samples, per task (RLLR figure 2).

    Args:
        answers: Task -> per prompt, what was read in each sample.
    Returns:
        Task -> :func:`kind_shares`, and ``interval`` of the rationale-sensitive share; tasks without pairs are absent.
    """
    return {
        task: {**shares, "interval": rationale_sensitive_share(rows).to_json()}
        for task, rows in answers.items()
        if (shares := kind_shares(rows))
    }


def _answers(folder: Path) -> dict[str, list[list[Label | None]]]:
    file = folder / SAMPLES_FILE
    return answers_by_task(read_jsonl(file)) if file.is_file() else {}


def answers_by_task(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[list[Label | None]]]:
    """Task -> per prompt, the ``labels`` of its samples, from rows of ``samples.jsonl``."""
    found: dict[str, list[list[Label | None]]] = {}
    for row in rows:
        found.setdefault(row["task"], []).append(row["labels"])
    return found
