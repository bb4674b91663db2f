"""Experiment trackers: a run's metrics in TensorBoard's format, beside its own ``metrics.jsonl``.

TensorBoard is written to directly. Accelerate's wrapper would set up a process group of its own to find out which
process may write; here that is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rewardlab.errors import ConfigError
from rewardlab.training.progress import Recorder, Silent

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

TrackerName = Literal["tensorboard", "none"]
FOLDER = "tensorboard"
"""Folder of the event files inside a run folder."""


def resolve_tracker(name: TrackerName | None) -> TrackerName:
    """The tracker that was asked for; without a wish TensorBoard where it is installed.

    Raises:
        ConfigError: TensorBoard was asked for and is not installed.
    """
    is_installed = find_spec("tensorboard") is not None
    if name == "tensorboard" and not is_installed:
        raise ConfigError(
            "--tracker tensorboard: the package tensorboard is not installed; run `pip install tensorboard`, or give "
            "--tracker none (metrics.jsonl in the run folder holds the same numbers)"
        )
    return name or ("tensorboard" if is_installed else "none")


def make_tracker(name: TrackerName, folder: Path) -> Recorder:
    """The recorder of a resolved tracker for one run folder."""
    return TensorBoardRecorder(folder) if name == "tensorboard" else Silent()


class TensorBoardRecorder:
    """Writes event files into ``tensorboard/`` of a run folder; ``tensorboard --logdir runs`` shows all runs.

    Args:
        folder: The run folder. Events of steps after ``done`` are dropped on start, so that a resumed or repeated
            stage shows each step once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._writer: SummaryWriter | None = None

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Open a new event file."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder), purge_step=done + 1)

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        """One point per metric."""
        if self._writer is not None:
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None
