"""The rows of tasks, loaded once for all configurations of a suite that read the same ones."""

from __future__ import annotations

from rewardlab.config import DataConfig
from rewardlab.tasks.sources import PartName, Splits, load_splits
from rewardlab.tasks.task import Task
from rewardlab.types import AnswerFormat

Wanted = tuple[str, DataConfig, AnswerFormat]
"""Task, which rows of it, and the format they are asked in."""


class Rows:
    """Remembers what it has loaded, and the hashes of it; whoever gets rows leaves them as they are."""

    def __init__(self) -> None:
        self._splits: dict[Wanted, Splits] = {}
        self._hashes: dict[tuple[Wanted, tuple[PartName, ...]], str] = {}

    def splits(self, task: Task, data: DataConfig, format: AnswerFormat) -> Splits:
        """The rows of a task.

        Raises:
            DataError: As :func:`rewardlab.tasks.sources.load_splits` does.
        """
        wanted = (task.name, data, format)
        if wanted not in self._splits:
            self._splits[wanted] = load_splits(
                task,
                source=data.source,
                data_dir=data.dir,
                format=format,
                labelled=data.labelled,
                prompts=data.prompts,
                validation=data.validation,
                test=data.test,
                seed=data.seed,
            )
        return self._splits[wanted]

    def sha256(self, task: Task, data: DataConfig, format: AnswerFormat, parts: tuple[PartName, ...]) -> str:
        """Hash of these parts of its rows."""
        wanted = (task.name, data, format)
        if (wanted, parts) not in self._hashes:
            self._hashes[wanted, parts] = self.splits(task, data, format).sha256(*parts)
        return self._hashes[wanted, parts]
