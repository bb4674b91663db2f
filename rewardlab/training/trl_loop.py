"""A run of one of TRL's trainers: it goes on where it was interrupted, sends its numbers on, seals its checkpoints.

A loss that is not finite stops the run instead of being hidden.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback

from rewardlab import processes
from rewardlab.disk import write_json
from rewardlab.errors import TrainingError
from rewardlab.training.interval import Interval
from rewardlab.training.progress import Recorder, recording
from rewardlab.training.schedule import UNBOUNDED
from rewardlab.training.trl_checkpoint import PREFIX, SEAL, by_step, hashes, newest_checkpoint, steps_before
from rewardlab.training.trl_run import Outcome


def run_trainer(
    trainer: Any, stage: str, steps: int, recorder: Recorder, names: Mapping[str, str], keep: int, seconds: float | None
) -> Outcome:
    """Train, from the newest whole checkpoint when there is one, sending each step's metrics to ``recorder``.

    Args:
        trainer: One of TRL's trainers with :class:`RoleTrainer` before it; its output folder has the checkpoints.
        stage: Name for the progress bar.
        steps: Optimiser steps it will take.
        recorder: Where metrics go.
        names: TRL's metric name -> ours.
        keep: How many checkpoints are kept.
        seconds: A checkpoint is stored when so many have passed since the last one; None: by steps alone.
    Raises:
        TrainingError: A loss is not finite.
    """
    folder = Path(trainer.args.output_dir)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Forward(recorder.emit, names))
    trainer.add_callback(Sealing(folder, keep))
    if not processes.is_sharded():  # as with steps, see trl_settings
        trainer.add_callback(StoringByTime(seconds))
    start = newest_checkpoint(folder)
    if start is not None:
        trainer.go_on(start)
    with recording(recorder, stage, 0 if steps == UNBOUNDED else steps, steps_before(start)):
        began = time.perf_counter()
        if steps_before(start) < steps and not trainer.is_over:
            trainer.train(resume_from_checkpoint=None if start is None else str(start))
        seconds = time.perf_counter() - began
    logged = [row for row in trainer.state.log_history if "loss" in row]
    return Outcome(tuple(row["loss"] for row in logged), int(logged[-1].get("num_tokens", 0)), seconds)


class _Forward(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Sends what a trainer logs to a recorder."""

    def __init__(self, emit: Callable[[int, Mapping[str, float]], None], names: Mapping[str, str]) -> None:
        self._emit = emit
        self._names = names

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:
        """Forward one step; the summary that ends a run has no loss and is left out."""
        if not logs or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"step {state.global_step}: the loss is {logs['loss']}, expected a finite number; lower the learning "
                "rate or give --set model.dtype=float32"
            )
        if state.is_world_process_zero:
            self._emit(state.global_step, {ours: float(logs[theirs]) for theirs, ours in self._names.items()})


class Sealing(TrainerCallback):  # type: ignore[misc]  # as below
    """Seals each checkpoint once all processes have written their part, and keeps the newest few.

    Args:
        folder: Where the checkpoints are.
        keep: How many are kept.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seal the checkpoint of this step."""
        processes.wait()
        if processes.is_main():
            newest = self._folder / f"{PREFIX}{state.global_step}"
            write_json(newest / SEAL, dict(hashes(newest)))
            for old in by_step(self._folder)[: -self._keep]:
                shutil.rmtree(old)


class StoringByTime(TrainerCallback):  # type: ignore[misc]  # as above
    """Has a checkpoint stored after the step in which so many seconds have passed since the last one.

    Args:
        seconds: How many; None: only when transformers stores one by itself.
    """

    def __init__(self, seconds: float | None) -> None:
        self._stored = Interval(seconds)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count from here: what came before is no step."""
        self._stored.restart()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a checkpoint when it is time."""
        control.should_save = control.should_save or self._stored.is_over_for_all

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count from the last one, whoever asked for it."""
        self._stored.restart()
