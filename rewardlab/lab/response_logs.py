"""Stored responses: the ledger of a run, or a log of another library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from rewardlab.config import RewardConfig
from rewardlab.disk import read_jsonl
from rewardlab.errors import ConfigError, DataError
from rewardlab.evaluation.rollout_files import USUAL_COLUMNS, Columns, RolloutFile, read_rollouts
from rewardlab.lab.stored import stored_config
from rewardlab.models.stored import stored_inputs
from rewardlab.rewards.ledger import LEDGER_FILE
from rewardlab.rewards.rescoring import StoredResponse
from rewardlab.runs import read_result
from rewardlab.tasks import resolve_task
from rewardlab.tasks.places import load_tasks_of
from rewardlab.types import PAIR_KINDS, AnswerFormat, PairKind


@dataclass(frozen=True, slots=True)
class Log:
    """A log as a command names it; None is what the run itself says, or the default.

    Attributes:
        path: A run folder, a file, or a folder of files.
        columns: Names of columns that are not the usual ones.
        task, format: Of a log that does not say them.
    """

    path: Path
    columns: Columns = USUAL_COLUMNS
    task: str | None = None
    format: AnswerFormat | None = None


@dataclass(frozen=True, slots=True)
class StoredRun:
    """What a run folder says of its reward.

    Attributes:
        folder: It.
        reward: Its expression; lambda is the number that it was resolved to, where the run is finished.
        format: Answer format of its responses.
        folders: Its reward models, as far as they lie beside it.
    """

    folder: Path
    reward: RewardConfig
    format: AnswerFormat
    folders: Mapping[PairKind, Path]


def read_run(path: Path) -> StoredRun | None:
    """The run of a folder with a ledger; None for other folders and files.

    Raises:
        RunFolderError: Its configuration cannot be read.
    """
    if not (path / LEDGER_FILE).is_file() or not (path / "config.json").is_file():
        return None
    config = stored_config(path, finished=False)
    reward = config.reward
    lam = read_result(path).get("lambda") if (path / "result.json").exists() else None
    if isinstance(lam, float):
        reward = reward.model_copy(update={"lam": repr(lam)})
    return StoredRun(path, reward, config.format, dict(_reward_models(path)))


def _reward_models(path: Path) -> Iterator[tuple[PairKind, Path]]:
    """Folders of the reward models that a run was trained on, by the fingerprints that it stores."""
    inputs = stored_inputs(path)
    for kind in PAIR_KINDS:
        if (mark := inputs.get(f"rm_{kind}")) is not None:
            yield from ((kind, folder) for folder in path.absolute().parent.parent.glob(f"rm/*-{mark}"))


def read_log(log: Log, run: StoredRun | None, needs: Sequence[str]) -> list[StoredResponse]:
    """The responses of a log.

    Args:
        log: Where they are.
        run: The run, if it is one.
        needs: Columns that the command cannot do without.
    Raises:
        InputError: As :func:`rewardlab.evaluation.rollout_files.read_rollouts`; or an unknown task.
    """
    task = resolve_task(log.task, "rewardlab reward").name if log.task is not None else None
    if run is None:
        return read_rollouts(RolloutFile(log.path, log.columns, task, log.format or "rationale", needs))
    if log.columns != USUAL_COLUMNS or task is not None:
        raise ConfigError(f"{log.path}: a run says its task and its columns itself; leave --task and --*-column out")
    source = RolloutFile(run.folder / LEDGER_FILE, log.columns, None, log.format or run.format, needs, may_be_cut=True)
    rows = read_rollouts(source)
    load_tasks_of(run.folder, {row.example.task for row in rows})
    return rows


def columns_of(named: Mapping[str, str] | None, parts: Mapping[str, str] | None) -> Columns:
    """The columns of a log, by what they hold.

    Args:
        named: step, prompt, response, reward, gold, correct, id -> name of the column.
        parts: Reward -> name of the column with its raw score.
    Raises:
        ConfigError: A key is none of these.
    """
    known = [each.name for each in fields(Columns) if each.name != "parts"]
    if unknown := [name for name in named or {} if name not in known]:
        raise ConfigError(f"columns: {unknown[0]!r} is unknown; expected one of {', '.join(known)}")
    return Columns(**(named or {}), parts=dict(parts or {}))


def with_parts(rows: Sequence[StoredResponse], files: Sequence[Path]) -> list[StoredResponse]:
    """The responses with the parts that ``reward score`` wrote of them, in the same order.

    Raises:
        DataError: A file has another number of rows, or a row of another prompt.
    """
    found = list(rows)
    for path in files:
        scored = list(read_jsonl(path))
        if len(scored) != len(found):
            raise DataError(
                f"--parts {path}: {len(scored)} rows for {len(found)} responses; expected what "
                "`rewardlab reward score` wrote of the same log"
            )
        for number, row in enumerate(scored, 1):
            known = found[number - 1]
            if row.get("id") != known.example.id or not isinstance(row.get("parts"), Mapping):
                raise DataError(
                    f"--parts {path} row {number}: not the scores of {known.example.id}; score the log again"
                )
            found[number - 1] = replace(known, parts={**known.parts, **row["parts"]})
    return found
