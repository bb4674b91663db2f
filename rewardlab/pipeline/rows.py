"""The rows of tasks, loaded once for all configurations of a suite that read the same ones."""

from __future__ import annotations

from rewardlab.config import DataConfig, fingerprint
from rewardlab.tasks.rows import RowsMissing
from rewardlab.tasks.sources import PartName, Splits, load_splits
from rewardlab.tasks.task import Task
from rewardlab.types import AnswerFormat

Wanted = tuple[str, DataConfig, AnswerFormat]
"""Task, which rows of it, and the format they are asked in."""
UNREAD = "unread-"
"""Begins what stands for the hash of rows that could not be read; no hash begins so."""


class Rows:
    """Remembers what it has loaded, and the hashes of it; whoever gets rows leaves them as they are.

    Args:
        may_lack: For a plan that is only shown: a task may have no rows here, and then counts as one without any.
    """

    def __init__(self, *, may_lack: bool = False) -> None:
        self.may_lack = may_lack
        self._splits: dict[Wanted, Splits] = {}
        self._hashes: dict[tuple[Wanted, tuple[PartName, ...]], str] = {}

    @property
    def lacking(self) -> dict[str, str]:
        """Task without rows -> why it has none."""
        found = {task: split.origin for (task, _, _), split in self._splits.items()}
        return {task: origin.note for task, origin in found.items() if origin.kind == "missing"}

    def splits(self, task: Task, data: DataConfig, format: AnswerFormat) -> Splits:
        """The rows of a task.

        Args:
            data: With its seed filled in (``RunConfig.rows``).
        Raises:
            DataError: As :func:`rewardlab.tasks.sources.load_splits` does.
        """
        wanted = (task.name, data, format)
        if wanted not in self._splits:
            self._splits[wanted] = self._load(task, data, format)
        return self._splits[wanted]

    def sha256(self, task: Task, data: DataConfig, format: AnswerFormat, parts: tuple[PartName, ...]) -> str:
        """Hash of these parts of its rows; of rows that are lacking, what distinguishes these parts from others."""
        wanted = (task.name, data, format)
        if (wanted, parts) not in self._hashes:
            split = self.splits(task, data, format)
            is_lacking = split.origin.kind == "missing"
            self._hashes[wanted, parts] = _unread(wanted, parts) if is_lacking else split.sha256(*parts)
        return self._hashes[wanted, parts]

    def _load(self, task: Task, data: DataConfig, format: AnswerFormat) -> Splits:
        assert data.seed is not None, "RunConfig.rows fills it in"
        try:
            return load_splits(
                task,
                source=data.source,
                data_dir=data.dir,
                format=format,
                labelled=data.labelled,
                prompts=data.prompts,
                validation=data.validation,
                test=data.test,
                seed=data.seed,
                test_seed=data.test_seed,
            )
        except RowsMissing as error:
            if not self.may_lack:
                raise
            return Splits.missing(str(error))


def _unread(wanted: Wanted, parts: tuple[PartName, ...]) -> str:
    task, data, format = wanted
    return UNREAD + fingerprint([task, data.model_dump(mode="json"), format, parts])
