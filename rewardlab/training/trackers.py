"""Experiment trackers: a run's metrics in TensorBoard, W&B, Trackio or MLflow, beside its own ``metrics.jsonl``.

W&B, Trackio and MLflow are written through accelerate's trackers; where they store runs, and whether they are online,
is said by their own environment variables (``WANDB_MODE``, ``TRACKIO_DIR``, ``MLFLOW_TRACKING_URI`` ...). TensorBoard
is written to directly: its writer drops the steps that a resumed run repeats, which accelerate's does not pass on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rewardlab.config_loading import flattened
from rewardlab.disk import read_json, write_atomic
from rewardlab.errors import ConfigError, DataError, UnknownNameError
from rewardlab.training.progress import Recorder, Several, Silent

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker
    from torch.utils.tensorboard import SummaryWriter

TrackerName = Literal["tensorboard", "wandb", "trackio", "mlflow", "none"]
FOLDER = "tensorboard"
"""Folder of the event files inside a run folder."""
PROJECT = "rewardlab"
"""Project of W&B and Trackio and experiment of MLflow, unless their environment variables name another."""
RUN_ID = "mlflow-run-id.txt"
"""File in a run folder with the id that the run has in MLflow, so that a resumed one goes on there."""


def resolve_trackers(names: Sequence[str] | None) -> tuple[TrackerName, ...]:
    """The trackers that were asked for, each once; without a wish TensorBoard where it is installed.

    Raises:
        UnknownNameError: There is no such tracker.
        ConfigError: ``none`` stands beside others, or one that was asked for is not installed.
    """
    if not names:
        return ("tensorboard",) if find_spec("tensorboard") else ()
    known: tuple[TrackerName, ...] = get_args(TrackerName)
    if unknown := next((name for name in names if name not in known), None):
        raise UnknownNameError("tracker", unknown, known)
    if "none" in names:
        if set(names) != {"none"}:
            raise ConfigError(
                f"--tracker none beside {', '.join(n for n in names if n != 'none')}; give one or the other"
            )
        return ()
    if lacking := next((name for name in names if not find_spec(name)), None):
        raise ConfigError(
            f"--tracker {lacking}: the package {lacking} is not installed; run `pip install {lacking}`, or give "
            "--tracker none (metrics.jsonl in the run folder holds the same numbers)"
        )
    return tuple(name for name in known if name in names)


def make_trackers(names: Sequence[TrackerName], folder: Path) -> Recorder:
    """The recorders of resolved trackers for one run folder."""
    if not names:
        return Silent()
    return Several(*(TensorBoardRecorder(folder) if name == "tensorboard" else Tracked(name, folder) for name in names))


class Tracked:
    """Sends metrics to W&B, Trackio or MLflow through accelerate; the run is called after its folder.

    Args:
        name: Which.
        folder: The run folder; its configuration is stored with the run.
    """

    def __init__(self, name: TrackerName, folder: Path) -> None:
        self._name, self._folder = name, folder
        self._tracker: GeneralTracker | None = None

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Open the run; a resumed one goes on under its id."""
        from accelerate import PartialState

        PartialState()  # accelerate's trackers log, and its loggers ask which process this is
        self._tracker = _tracker(self._name, self._folder)
        self._tracker.start()
        if self._name == "mlflow":
            write_atomic(self._folder / RUN_ID, self._tracker.tracker.info.run_id)
        self._tracker.store_init_configuration({"stage": stage, **_configuration(self._folder)})

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        """All metrics of one step."""
        if self._tracker is not None:
            self._tracker.log(dict(metrics), step=step)

    def finish(self) -> None:
        """Close the run."""
        if self._tracker is not None:
            self._tracker.finish()
        self._tracker = None


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


def _tracker(name: TrackerName, folder: Path) -> GeneralTracker:
    from accelerate.tracking import MLflowTracker, TrackioTracker, WandBTracker

    if name == "wandb":
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        return WandBTracker(project, name=folder.name, id=folder.name, resume="allow", dir=str(folder))
    if name == "trackio":
        return TrackioTracker(PROJECT, name=folder.name, resume="allow")
    known = folder / RUN_ID
    run_id = known.read_text(encoding="utf-8").strip() if known.exists() else None
    return MLflowTracker(PROJECT, run_id=run_id, run_name=folder.name)


def _configuration(folder: Path) -> dict[str, Any]:
    """The run's resolved settings by dotted key, as texts and numbers; empty for a folder without any."""
    try:
        settings = flattened(read_json(folder / "config.json")["config"])
    except (DataError, KeyError, TypeError):
        return {}
    return {
        key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in settings.items()
    }
