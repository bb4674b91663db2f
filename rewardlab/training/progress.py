"""Recorders: where training sends its numbers. A run folder, a progress bar, several at once, or nowhere.

Training code emits and never prints; what is shown and stored is decided by the recorder it was given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rewardlab import processes
from rewardlab.disk import read_jsonl, write_jsonl
from rewardlab.errors import DataError, RunFolderError
from rewardlab.runs import RunFolder

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

METRICS_FILE = "metrics.jsonl"
SHOWN: Mapping[str, str] = {
    "sft/loss": "loss",
    "rm/loss": "loss",
    "rm/accuracy": "accuracy",
    "reward/score": "reward",
    "reward/gold_accuracy": "gold acc",
    "policy/kl": "kl",
}
"""Metrics that the person watching is shown, and their short names."""


class Recorder(Protocol):
    """Receives the metrics of one stage: ``start`` once, ``emit`` per step, ``finish`` once, even after an error."""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Begin a stage of ``total`` steps (0: unknown), ``done`` of which an earlier process finished."""
        ...

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics of step ``step``, counted from 1."""
        ...

    def finish(self) -> None:
        """End the stage."""
        ...


class Silent:
    """Records nothing."""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """See :class:`Recorder`."""

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        """See :class:`Recorder`."""

    def finish(self) -> None:
        """See :class:`Recorder`."""


class FolderRecorder:
    """Appends one line per step to ``metrics.jsonl`` of a run folder.

    Args:
        folder: The run folder. Lines of steps after ``done`` are dropped on start, so that a resumed or repeated
            stage leaves each step once.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Keep the lines of the first ``done`` steps and drop the others."""
        path = self._folder.path / METRICS_FILE
        if not processes.is_main() or not path.exists():
            return
        try:
            kept = [row for row in read_jsonl(path, may_be_cut=True) if row["step"] <= done]
        except (DataError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{path}: holds no metrics of steps ({error}); remove it, and the curves begin at step {done}, or "
                "start the stage anew with --fresh"
            ) from error
        write_jsonl(path, kept)

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one line."""
        self._folder.append(METRICS_FILE, {"step": step, **metrics})

    def finish(self) -> None:
        """Nothing to close: every line was written when it was emitted."""


class BarRecorder:
    """A progress bar with the metrics that matter beside it.

    Args:
        console: Where to draw; None takes standard error.
        shown: Metric name -> short name on the bar; metrics that a stage does not emit are left out.
    """

    def __init__(self, shown: Mapping[str, str], console: Console | None = None) -> None:
        self._shown = shown
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Draw the bar."""
        self.finish()
        self._bar = _new_bar(self._console)
        self._task = self._bar.add_task(stage, total=total or None, completed=done, metrics="")
        self._bar.start()

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        """Move the bar to ``step``."""
        if self._bar is not None and self._task is not None:
            texts = [f"{short} {metrics[name]:.3g}" for name, short in self._shown.items() if name in metrics]
            self._bar.update(self._task, completed=step, metrics="  ".join(texts))

    def finish(self) -> None:
        """Leave the last state of the bar on the screen."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None


class Several:
    """Hands everything to each of several recorders, in their order."""

    def __init__(self, *recorders: Recorder) -> None:
        self._recorders: Sequence[Recorder] = recorders

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """See :class:`Recorder`."""
        for recorder in self._recorders:
            recorder.start(stage, total, done)

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        """See :class:`Recorder`."""
        for recorder in self._recorders:
            recorder.emit(step, metrics)

    def finish(self) -> None:
        """See :class:`Recorder`."""
        for recorder in self._recorders:
            recorder.finish()


@contextmanager
def recording(recorder: Recorder, stage: str, total: int, done: int = 0) -> Iterator[Recorder]:
    """Start ``recorder`` and finish it whatever happens inside."""
    recorder.start(stage, total, done)
    try:
        yield recorder
    finally:
        recorder.finish()


def _new_bar(console: Console | None) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[metrics]}"),
        console=console or Console(stderr=True),
    )
