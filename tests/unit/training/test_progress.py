"""Recorders: what they store, what they show, and that they end whatever happens."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from rewardlab.disk import read_jsonl
from rewardlab.runs import RunFolder
from rewardlab.training.progress import BarRecorder, FolderRecorder, Several, Silent, recording


class Listing:
    """Remembers every call."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def start(self, stage: str, total: int, done: int = 0) -> None:
        self.calls.append((stage, total, done))

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        self.calls.append((step, dict(metrics)))

    def finish(self) -> None:
        self.calls.append("finish")


def test_folder_keeps_one_line_a_step_after_a_resume(tmp_path: Path) -> None:
    recorder = FolderRecorder(RunFolder(tmp_path, "ppo", {}))
    with recording(recorder, "ppo", total=4):
        for step in (1, 2, 3):
            recorder.emit(step, {"reward/mean": step / 10})
    # the checkpoint is of step 2: step 3 is done again
    with recording(recorder, "ppo", total=4, done=2):
        recorder.emit(3, {"reward/mean": 0.9})
    assert list(read_jsonl(tmp_path / "metrics.jsonl")) == [
        {"step": 1, "reward/mean": 0.1},
        {"step": 2, "reward/mean": 0.2},
        {"step": 3, "reward/mean": 0.9},
    ]


def test_a_stage_that_starts_anew_drops_the_old_lines(tmp_path: Path) -> None:
    recorder = FolderRecorder(RunFolder(tmp_path, "sft", {}))
    for loss in (3.0, 2.0):
        with recording(recorder, "sft", total=1):
            recorder.emit(1, {"sft/loss": loss})
    assert list(read_jsonl(tmp_path / "metrics.jsonl")) == [{"step": 1, "sft/loss": 2.0}]


def test_bar_shows_the_chosen_metrics_and_the_count() -> None:
    screen = io.StringIO()
    bar = BarRecorder(
        {"reward/mean": "reward", "policy/kl": "kl"}, Console(file=screen, width=120, force_terminal=True)
    )
    with recording(bar, "ppo", total=60, done=10):
        bar.emit(12, {"reward/mean": 0.8124, "value/loss": 3.0})
    shown = screen.getvalue()
    assert "reward 0.812" in shown
    assert "12/60" in shown
    assert "kl" not in shown
    assert "3.0" not in shown


def test_several_recorders_get_the_same_calls_and_end_after_an_error() -> None:
    one, two = Listing(), Listing()

    def fail() -> None:
        with recording(Several(one, Silent(), two), "rm", total=2) as recorder:
            recorder.emit(1, {"rm/loss": 0.7})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert one.calls == two.calls == [("rm", 2, 0), (1, {"rm/loss": 0.7}), "finish"]
