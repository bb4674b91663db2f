"""Pairs from elsewhere as a stage ``pairs``: the same folder, cache and provenance as pairs that are made here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.config import RunConfig, fingerprint
from rewardlab.errors import DataError, InputError
from rewardlab.pairs.files import HELD_OUT_FILE, PAIRS_FILE
from rewardlab.pairs.foreign import Folder, adopt_pairs, look_into
from rewardlab.pairs.imported import Imported, ImportRequest, read_import
from rewardlab.pipeline.context import with_unknown
from rewardlab.pipeline.stage import Stage
from rewardlab.tasks.task import Task
from rewardlab.types import AnswerFormat, PairKind


def import_stage(found: Imported, config: RunConfig) -> Stage:
    """The stage that imports; the same file under the same options is the same stage."""
    request = found.request
    return Stage(
        "pairs",
        f"import {request.source}",
        f"{request.source.stem}-{request.kind}",
        _settings(request),
        {},
        lambda job: found.write(job.folder.path),
        config=config.model_dump(mode="json"),
    )


@dataclass(frozen=True, slots=True)
class OwnPairs:
    """Somebody's own pairs, ready to train on.

    Attributes:
        stage: Makes the folder that training reads.
        kind, format: Of all pairs.
        tasks: Their tasks; empty when they belong to none.
        count: Pairs, before any is dropped or held out.
    """

    stage: Stage
    kind: PairKind
    format: AnswerFormat
    tasks: tuple[str, ...]
    count: int


def own_pairs(
    path: Path, config: RunConfig, *, kind: PairKind | None, held_out: float, asked: Sequence[Task]
) -> OwnPairs:
    """A folder of pairs, or a file of preferences.

    Args:
        path: Folder with a ``pairs.jsonl``, or a file that :func:`import_stage` takes.
        config: Format of a file's responses; seed and ``pairs.balance_length``.
        kind: What a file is taken for, ranked when it is not said; of a folder it must be the kind of its pairs.
        held_out: Share of the prompts to hold out where no pair is held out yet.
        asked: Tasks that were named: the one whose answers a file's responses give, or those of a folder's pairs.
    Raises:
        InputError: There is nothing there, or it cannot be trained on as a whole.
        DataError: A line is no pair.
    """
    if path.is_file():
        if len(asked) > 1:
            raise InputError(f"{path}: a file of preferences holds the answers of one task, and --task names several")
        task = asked[0] if asked else None
        wanted = ImportRequest(
            path, kind or "ranked", config.format, task, held_out, config.pairs.balance_length, config.seed
        )
        names = (task.name,) if task else ()
        read = read_import(wanted)
        return OwnPairs(import_stage(read, config), wanted.kind, wanted.format, names, read.rows)
    found = look_into(path)
    if kind not in (None, found.kind):
        raise InputError(f"{path}: holds {found.kind} pairs, and --kind says {kind}; leave --kind out")
    if asked and {task.name for task in asked} != set(found.tasks):
        listed = ", ".join(found.tasks) or "no task"
        raise InputError(f"{path}: holds pairs of {listed}, and --task says otherwise; leave --task out")
    return OwnPairs(_adopting(found, config, held_out), found.kind, found.format, found.tasks, found.pairs)


def _adopting(found: Folder, config: RunConfig, held_out: float) -> Stage:
    balance, seed = config.pairs.balance_length, config.seed
    files = [file for name in (PAIRS_FILE, HELD_OUT_FILE) if (file := found.path / name).is_file()]
    settings = {
        "adopted": {file.name: _sha256(file) for file in files},
        "held_out": None if found.has_held_out else held_out,
        "balance_length": balance,
        "seed": seed,
    }
    return Stage(
        "pairs",
        f"{found.kind} pairs of {found.path}",
        f"{found.path.resolve().name}-{found.kind}",
        settings,
        {},
        lambda job: adopt_pairs(found, held_out, seed, balance_length=balance, into=job.folder.path),
        config=config.model_dump(mode="json"),
    )


def _settings(request: ImportRequest) -> dict[str, Any]:
    return {
        "imported": _sha256(request.source),
        "kind": request.kind,
        "format": request.format,
        "task": fingerprint(request.task.to_json()) if request.task else None,
        **_code(request.task),
        "held_out": request.held_out,
        "balance_length": request.balance_length,
        "seed": request.seed,
    }


def _code(task: Task | None) -> dict[str, Any]:
    code = with_unknown(f"task {task.name}", *task.code_hashes()) if task else {}
    return {"task_code": code} if code else {}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a file of preferences") from error
