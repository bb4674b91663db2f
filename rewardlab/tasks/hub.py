"""Rows from the Hugging Face hub through ``datasets``, without waiting for a network that is not there."""

from __future__ import annotations

import functools
import logging
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rewardlab.errors import DataError
from rewardlab.tasks.files import SPLIT_NAMES, Placed, saved_splits
from rewardlab.tasks.folders import read_place
from rewardlab.tasks.rows import Reading, SourceMissing, check_rows, read_rows
from rewardlab.tasks.task import HubSource, Task
from rewardlab.types import AnswerFormat

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 4.0
"""Longest wait for the hub's first answer, seconds; ``datasets`` itself would retry for about 25."""

_YES = {"1", "true", "yes", "on"}


def load_hub(task: Task, format: AnswerFormat) -> dict[str, Reading]:
    """The rows of a task from the hub, by our split names.

    Raises:
        SourceMissing: The task names no data set, the hub cannot be reached and nothing is cached, or it has no such
            data set. One line, at most a few seconds later.
        DataError: A row does not fit the task.
    """
    source = task.hub
    if source is None:
        raise SourceMissing(f"task {task.name} names no data set on the hub")
    if Path(source.path).is_dir():
        return _load_local(task, source, format)
    unreachable = offline_reason()
    if unreachable and not _is_cached(source):
        raise SourceMissing(f"{source.path}: {unreachable}")
    with _offline(bool(unreachable)):
        return {ours: _load_split(task, source, theirs, format) for ours, theirs in source.splits.items()}


def _load_local(task: Task, source: HubSource, format: AnswerFormat) -> dict[str, Reading]:
    """A folder in place of a data set's id: one of ``save_to_disk``, or files that ``datasets`` can load."""
    folder = Path(source.path)
    saved = saved_splits(folder)
    if saved is None:
        return {ours: _load_split(task, source, theirs, format) for ours, theirs in source.splits.items()}
    if not source.splits:
        return dict(read_place(folder, task, format))
    known = {SPLIT_NAMES.get(name.lower(), name): path for name, path in saved.items()} | saved
    if lacking := [theirs for theirs in source.splits.values() if theirs not in known]:
        raise DataError(f"{source.path}: no split {', '.join(lacking)}, found {', '.join(saved)}")
    return {ours: read_rows(known[theirs], task, format) for ours, theirs in source.splits.items()}


@functools.cache
def offline_reason() -> str:
    """Why the hub cannot be asked, empty when it can; asked once per process."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        if os.environ.get(name, "").lower() in _YES:
            return f"{name} is set"
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    outcome: list[str] = []
    probe = threading.Thread(target=lambda: outcome.append(_probe(endpoint)), daemon=True)
    probe.start()
    probe.join(PROBE_TIMEOUT_S)
    return outcome[0] if outcome else f"{endpoint} did not answer within {PROBE_TIMEOUT_S:g} s"


def _probe(endpoint: str) -> str:
    """One request, in a thread because name resolution has no timeout of its own."""
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=PROBE_TIMEOUT_S):
            return ""
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError) as error:
        return f"{endpoint} cannot be reached ({getattr(error, 'reason', error)})"


def _cache_folder() -> Path:
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return Path(os.environ.get("HF_DATASETS_CACHE", f"{home}/datasets")).expanduser()


def _is_cached(source: HubSource) -> bool:
    return (_cache_folder() / source.path.replace("/", "___")).is_dir()


@contextmanager
def _offline(offline: bool) -> Iterator[None]:
    """Let ``datasets`` go straight to its cache while the hub cannot be reached."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _load_split(task: Task, source: HubSource, split: str, format: AnswerFormat) -> Reading:
    import datasets

    where = f"{source.path}{f'/{source.config}' if source.config else ''}[{split}]"
    logger.info("loading %s from the hub", where)
    try:
        rows = datasets.load_dataset(source.path, source.config, split=split)
    except Exception as error:
        # datasets raises its own, the hub client's, the HTTP client's and pyarrow's errors
        raise SourceMissing(
            f"{where}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    name = source.path.replace("/", "-")
    label = source.fields.get("label", "label")

    def placed() -> Iterator[Placed]:
        for number, row in enumerate(rows):
            id = f"{name}-{split}-{number:06d}"
            yield f"row {number}", {**row, label: _known(row.get(label), source), "id": id}

    return check_rows(placed, where, task, format)


def _known(value: object, source: HubSource) -> object:
    """A hub's value by its table: there it comes first, whatever the task's own labels are (0 = "1", 1 = "2")."""
    return source.labels.get(str(value), value)
