"""Somebody's own folder of pairs, taken over for training: cleaned like pairs of ours, a part held out if none is.

Folders of ``rewardlab pair-gen`` and ``rewardlab pairs import`` are such folders, and so is any with a ``pairs.jsonl``
of the same fields. What lies in the folder is left as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rewardlab.errors import DataError, InputError, RunFolderError
from rewardlab.pairs.cleaning import clean
from rewardlab.pairs.files import HELD_OUT_FILE, PAIRS_FILE, describe, read_folder, write_pairs
from rewardlab.pairs.imported import NO_TASK, divided
from rewardlab.pairs.label_sensitive import Built
from rewardlab.pairs.statistics import by_task
from rewardlab.runs import check_outputs
from rewardlab.tasks.places import is_known, load_tasks_of
from rewardlab.types import AnswerFormat, Pair, PairKind

logger = logging.getLogger(__name__)

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder of pairs holds.

    Attributes:
        path: Where it lies.
        kind, format: Of all its pairs.
        tasks: Tasks of the pairs; empty when they belong to none.
        pairs: How many are for training, before any is held out.
        has_held_out: Some are held out already.
    """

    path: Path
    kind: PairKind
    format: AnswerFormat
    tasks: tuple[str, ...]
    pairs: int
    has_held_out: bool


def look_into(path: Path) -> Folder:
    """Find out what a folder holds.

    Raises:
        InputError: There are no pairs, they are of several kinds or formats, or of a task that is not known.
        DataError: A line is no pair.
    """
    _warn_of_changes(path)
    train, held_out = read_folder(path)
    if not train:
        raise InputError(f"{path / PAIRS_FILE}: there is not one pair; a reward model needs some to learn from")
    every = [*train, *held_out]
    return Folder(
        path,
        _only(path, "kinds", (pair.kind for pair in every)),
        _only(path, "answer formats", (pair.format for pair in every)),
        _tasks(path, every),
        len(train),
        bool(held_out),
    )


def _warn_of_changes(path: Path) -> None:
    """Say when a stage wrote other pairs than there are: its owner may have edited them, or they are damaged."""
    if not (path / "result.json").exists():
        return
    try:
        check_outputs(path, (PAIRS_FILE, HELD_OUT_FILE))
    except RunFolderError as error:
        logger.warning("%s. The pairs are taken as they are", error)


def adopt_pairs(found: Folder, share: float, seed: int, *, balance_length: bool, into: Path) -> dict[str, Any]:
    """Write the pairs of a folder into another, as the stage ``pairs`` does; returns the manifest.

    Args:
        found: The folder.
        share: Share of the prompts whose pairs are held out, where no pair is yet.
        seed: Decides which prompts these are.
        balance_length: As in :func:`rewardlab.pairs.cleaning.clean`.
        into: Where to.
    Raises:
        DataError: No training pair is left.
    """
    known, unseen = read_folder(found.path)
    train, held_out = (Built(known), Built(unseen)) if unseen else divided(known, share, seed)
    clean(train, held_out, balance_length=balance_length, seed=seed)
    names = [*by_task([*train.pairs, *held_out.pairs])]
    manifest = {**describe(found.kind, found.format, train, held_out, names), "source": str(found.path)}
    if not train.pairs:
        dropped = ", ".join(f"{count} {outcome}" for outcome, count in manifest["outcomes"].items() if count)
        raise DataError(f"{found.path}: not one training pair is left ({dropped}); give more pairs")
    write_pairs(into, manifest, train, held_out)
    return manifest


def _only(path: Path, what: str, values: Iterable[Value]) -> Value:
    different = list(dict.fromkeys(values))
    if len(different) > 1:
        listed = ", ".join(map(str, different))
        raise InputError(
            f"{path}: holds pairs of the {what} {listed}; a reward model is trained on one, so divide them"
        )
    return different[0]


def _tasks(path: Path, pairs: Sequence[Pair]) -> tuple[str, ...]:
    found = list(by_task(pairs))
    load_tasks_of(path, (name for name in found if name != NO_TASK))
    unknown = [name for name in found if name != NO_TASK and not is_known(name)]
    if unknown or (NO_TASK in found and len(found) > 1):
        raise InputError(
            f"{path}: holds pairs of {', '.join(found)}; expected known tasks (`rewardlab tasks`, or a file: --task "
            "FILE), or no task at all. Import them as preferences (`rewardlab pairs import`), with --task or without"
        )
    return () if found == [NO_TASK] else tuple(found)
