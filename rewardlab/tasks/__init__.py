"""Tasks: what is asked, how answers are read, where rows come from.

The declarations are imported here, in plain sight: a new task is one declaration in one of these modules. Sandbox
tasks stand above this layer and join the registry when they are first asked for.
"""

from __future__ import annotations

import os
from pathlib import Path

from rewardlab.errors import ConfigError, InputError, UnknownNameError
from rewardlab.tasks import emotions, glue, rllr, superglue, unseen
from rewardlab.tasks.task import Task, tasks

__all__ = [
    "GROUPS",
    "emotions",
    "glue",
    "resolve_task",
    "resolve_tasks",
    "rllr",
    "separate_tasks",
    "superglue",
    "tasks",
    "unseen",
]

_GLUE = ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli")
_SUPERGLUE = ("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc")

GROUPS: dict[str, tuple[str, ...]] = {
    "rllr8": ("mr", "agnews", "mnli", "qqp", "sst2", "stsb", "mrpc", "appreviews"),
    "glue": _GLUE,
    "superglue": _SUPERGLUE,
    "ppo-nlu": tuple(dict.fromkeys((*_GLUE, *_SUPERGLUE))),
    "ppo-nlu-unseen": ("axb", "axg", "financial_phrasebank", "emotion", "depression", "sick"),
    "sandbox": ("sandbox-sentiment", "sandbox-topic", "sandbox-similarity"),
}
"""Names that stand for several tasks: benchmarks and papers; what PPO-NLU only tests on is ``ppo-nlu-unseen``."""

TASK_FILES = (".toml", ".py")


def resolve_tasks(spec: str) -> list[Task]:
    """The tasks that ``--task`` names, each once, in the order given.

    Args:
        spec: Names, groups and task files, separated by commas: ``"agnews"``, ``"mr,sst2"``, ``"rllr8"``,
            ``"path/to/task.toml"``.
    Raises:
        UnknownNameError: No task has that name; the nearest ones are listed.
        InputError: Nothing is named, or a task file cannot be used.
    """
    parts = separate_tasks(spec)
    if not parts:
        raise InputError(f"--task {spec!r} names no task; `rewardlab tasks` lists them")
    found = [_resolve(part) for part in parts]
    return list({task.name: task for task in found}.values())


def separate_tasks(spec: str) -> list[str]:
    """What ``--task`` names, one entry a task, groups taken apart.

    >>> separate_tasks("mr, sst2,mr")
    ['mr', 'sst2']
    """
    parts = _parts(spec)
    return list(dict.fromkeys(name for part in parts for name in GROUPS.get(part, (part,))))


def _parts(spec: str) -> list[str]:
    """The names between commas; a task file whose path has commas is one of them where it exists."""
    pieces, found = spec.split(","), []
    while pieces:
        longest = range(len(pieces), 1, -1)
        count = next((count for count in longest if _is_task_file(",".join(pieces[:count]).strip())), 1)
        found.append(",".join(pieces[:count]).strip())
        del pieces[:count]
    return [part for part in found if part]


def _is_task_file(part: str) -> bool:
    return part.endswith(TASK_FILES) and os.path.isfile(os.path.expanduser(part))  # False too for a name too long


def resolve_task(spec: str, purpose: str) -> Task:
    """The one task that ``--task`` names.

    Args:
        spec: As for :func:`resolve_tasks`.
        purpose: What reads the answers of one task only; begins the end of the message.
    Raises:
        ConfigError: It names several.
    """
    found = resolve_tasks(spec)
    if len(found) != 1:
        raise ConfigError(f"--task {spec!r} names {len(found)} tasks; {purpose} reads the answers of one")
    return found[0]


def _resolve(part: str) -> Task:
    path = Path(part).expanduser()
    if path.suffix in TASK_FILES:
        from rewardlab.tasks.user import load_task

        return load_task(path)
    try:
        return tasks.get(part)
    except UnknownNameError:
        if path.exists() or path.suffix or not {"~", "/", os.sep}.isdisjoint(part):
            raise InputError(f"task {part}: {_why_no_task(path)}") from None
        raise


def _why_no_task(path: Path) -> str:
    if not path.exists():
        return "no such file"
    if path.is_dir():
        inside = sorted(str(file) for suffix in TASK_FILES for file in path.glob(f"*{suffix}"))
        return f"is a folder; name its task file{f', such as {inside[0]}' if inside else ', which is a TOML file'}"
    return f"expected a task file, which ends in {' or '.join(TASK_FILES)}"
