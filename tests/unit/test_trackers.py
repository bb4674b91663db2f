"""Metrics in TensorBoard's format: what is read back is what was emitted, each step once."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rewardlab.cli import main as cli
from rewardlab.errors import ConfigError
from rewardlab.pipeline import Runner, Stage
from rewardlab.pipeline.stage import Work
from rewardlab.training.progress import Silent, recording
from rewardlab.training.trackers import TensorBoardRecorder, make_tracker, resolve_tracker


def points(folder: Path, metric: str) -> list[tuple[int, float]]:
    """(step, value) of one metric, as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return [(event.step, event.value) for event in events.Scalars(metric)]


def train(folder: Path, losses: Mapping[int, float], done: int = 0) -> None:
    with recording(TensorBoardRecorder(folder), "sft", 4, done) as recorder:
        for step, loss in losses.items():
            recorder.emit(step, {"sft/loss": loss, "sft/lr": 0.5})


def without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "rewardlab.training.trackers.find_spec", lambda name: None if name == "tensorboard" else find(name)
    )


def test_tensorboard_reads_what_was_emitted(tmp_path: Path) -> None:
    train(tmp_path, {1: 2.0, 2: 1.5})
    assert points(tmp_path, "sft/loss") == [(1, 2.0), (2, 1.5)]
    assert points(tmp_path, "sft/lr") == [(1, 0.5), (2, 0.5)]


def test_a_resumed_run_shows_each_step_once(tmp_path: Path) -> None:
    """Steps 1 to 3 were written, the checkpoint was that of step 2."""
    train(tmp_path, {1: 4.0, 2: 3.0, 3: 9.0})
    train(tmp_path, {3: 2.0, 4: 1.0}, done=2)
    assert points(tmp_path, "sft/loss") == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)]


def test_a_repeated_run_shows_the_second_attempt(tmp_path: Path) -> None:
    train(tmp_path, {1: 4.0, 2: 3.0})
    train(tmp_path, {1: 8.0})
    assert points(tmp_path, "sft/loss") == [(1, 8.0)]


def test_who_wants_nothing_gets_tensorboard_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [resolve_tracker(name) for name in (None, "tensorboard", "none")] == ["tensorboard", "tensorboard", "none"]
    without_tensorboard(monkeypatch)
    assert [resolve_tracker(name) for name in (None, "none")] == ["none", "none"]
    with pytest.raises(ConfigError, match="tensorboard is not installed; run `pip install tensorboard`, or give --tr"):
        resolve_tracker("tensorboard")


def test_none_writes_nothing(tmp_path: Path) -> None:
    assert isinstance(make_tracker("none", tmp_path), Silent)


def test_every_stage_that_trains_is_tracked_in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs before the goal too; a stage that records nothing leaves no folder."""
    monkeypatch.setattr("rewardlab.runs._git", lambda *arguments: None)

    def training(work: Work) -> dict[str, Any]:
        with recording(work.recorder, "sft", 1) as recorder:
            recorder.emit(1, {"sft/loss": 3.0})
        return {}

    asking = Stage("annotate", "asks", "asks", {}, {}, lambda work: {})
    first = Stage("sft", "first", "first", {}, {"asked": asking}, training)
    goal = Stage("rm", "goal", "goal", {}, {"start": first}, training)
    runner = Runner(tmp_path, lambda line: None, track=lambda folder: make_tracker("tensorboard", folder))
    runner.execute(goal)
    for stage in (first, goal):
        assert points(stage.folder(tmp_path).path, "sft/loss") == [(1, 3.0)]
    assert not (asking.folder(tmp_path).path / "tensorboard").exists()


@pytest.mark.parametrize("command", [("ppo",), ("sft",), ("rm", "train")])
def test_a_missing_package_is_told_before_anything_runs(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    without_tensorboard(monkeypatch)
    assert cli.run([*command, "--tracker", "tensorboard", "--dry-run"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: --tracker tensorboard: the package tensorboard is not installed")
    assert said.count("\n") == 1
    assert cli.run([*command, "--tracker", "wandb", "--dry-run"]) == 2
    assert "'wandb' is not one of" in capfd.readouterr().err
    assert cli.run([*command, "--tracker", "none", "--dry-run"]) == 0
