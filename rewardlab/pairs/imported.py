"""Preference data from elsewhere as a folder of pairs, cleaned and divided like pairs of our own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.errors import DataError
from rewardlab.pairs.cleaning import clean
from rewardlab.pairs.duplicates import prompt_keys
from rewardlab.pairs.files import describe, write_pairs
from rewardlab.pairs.label_sensitive import Built
from rewardlab.pairs.preferences import Preference, read_preferences
from rewardlab.tasks.rows import RowProblem, read_label
from rewardlab.tasks.task import Task
from rewardlab.types import AnswerFormat, Label, Pair, PairKind

NO_TASK = "imported"
"""Task of pairs that belong to none; no answer is read in their responses."""


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What to import, and as what.

    Attributes:
        source: File of preferences.
        kind: Pair kind it is taken for.
        format: Answer format of the responses.
        task: Whose answers are read in them; None: of no task.
        held_out: Share of the prompts whose pairs are held out.
        balance_length: As in :func:`rewardlab.pairs.cleaning.clean`.
        seed: Decides which prompts are held out.
    """

    source: Path
    kind: PairKind = "ranked"
    format: AnswerFormat = "rationale"
    task: Task | None = None
    held_out: float = 0.1
    balance_length: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Imported:
    """Pairs of a file, cleaned and divided, before they are written.

    Attributes:
        rows: Rows of the file.
        train, held_out: Pairs, and what became of each.
        manifest: As it is stored with them.
    """

    request: ImportRequest
    rows: int
    train: Built
    held_out: Built
    manifest: dict[str, Any]

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the pairs into ``folder`` as the stage ``pairs`` does; returns the manifest."""
        write_pairs(folder, self.manifest, self.train, self.held_out)
        return self.manifest


def read_import(request: ImportRequest) -> Imported:
    """Read the pairs of a file; nothing is written.

    Raises:
        DataError: The file cannot be read, a label is none of the task's, or no pair is left.
    """
    rows = read_preferences(request.source)
    pairs = [_pair(row, number, request) for number, row in enumerate(rows, 1)]
    train, held_out = divided(pairs, request.held_out, request.seed)
    clean(train, held_out, balance_length=request.balance_length, seed=request.seed)
    name = request.task.name if request.task else NO_TASK
    manifest = {**describe(request.kind, request.format, train, held_out, [name]), "source": str(request.source)}
    if not train.pairs:
        found = ", ".join(f"{count} {outcome}" for outcome, count in manifest["outcomes"].items() if count)
        raise DataError(f"{request.source}: not one training pair: {found or 'no rows'}; give more rows")
    return Imported(request, len(rows), train, held_out, manifest)


def divided(pairs: Sequence[Pair], share: float, seed: int) -> tuple[Built, Built]:
    """Training and held-out pairs, this share of the prompts; all pairs of a prompt are on one side."""
    keys = prompt_keys(pairs)
    prompts = list(dict.fromkeys(keys))
    drawn = set(random.Random(f"held out {seed}").sample(prompts, round(share * len(prompts))))
    train, held_out = Built(), Built()
    for pair, key in zip(pairs, keys, strict=True):
        (held_out if key in drawn else train).pairs.append(pair)
    return train, held_out


def _pair(row: Preference, number: int, request: ImportRequest) -> Pair:
    return Pair(
        task=request.task.name if request.task else NO_TASK,
        id=f"{number:06d}",
        kind=request.kind,
        format=request.format,
        prompt=row.prompt,
        chosen=row.chosen,
        rejected=row.rejected,
        chosen_label=_answer(row.chosen, request),
        rejected_label=_answer(row.rejected, request),
        gold_label=_gold(row, request),
        annotator=NO_TASK,
        model=request.source.name,
    )


def _answer(response: str, request: ImportRequest) -> Label | None:
    return request.task.parse(response, request.format).value if request.task else None


def _gold(row: Preference, request: ImportRequest) -> Label | None:
    if request.task is None or row.label is None:
        return None
    try:
        return read_label(row.label, request.task)
    except RowProblem as problem:
        raise DataError(f"{request.source} {row.place}: {problem}; fix the row (task {request.task.name})") from problem
