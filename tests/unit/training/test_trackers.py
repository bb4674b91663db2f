"""Metrics in TensorBoard's format: what is read back is what was emitted, each step once."""

from __future__ import annotations

import importlib.util
import itertools
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rewardlab.cli import main as cli
from rewardlab.disk import write_json
from rewardlab.errors import ConfigError
from rewardlab.pipeline import Runner, Stage
from rewardlab.pipeline.stage import Work
from rewardlab.training.progress import Silent, recording
from rewardlab.training.trackers import TensorBoardRecorder, TrackerName, make_trackers, resolve_trackers


@pytest.fixture(autouse=True)
def _a_second_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard reads files in the order of their names: a second, then a count of which 10 stands before 9."""
    writer = importlib.import_module("tensorboard.summary.writer.event_file_writer")
    seconds = itertools.count(1_800_000_000)
    monkeypatch.setattr(writer, "time", SimpleNamespace(time=lambda: next(seconds)))


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
    wishes: list[list[str] | None] = [None, ["tensorboard"], ["tensorboard", "tensorboard"], ["none"]]
    assert [resolve_trackers(names) for names in wishes] == [("tensorboard",), ("tensorboard",), ("tensorboard",), ()]
    without_tensorboard(monkeypatch)
    assert [resolve_trackers(names) for names in (None, ["none"])] == [(), ()]
    with pytest.raises(ConfigError, match="tensorboard is not installed; run `pip install tensorboard`, or give --tr"):
        resolve_trackers(["tensorboard"])
    with pytest.raises(ConfigError, match="--tracker none beside wandb; give one or the other"):
        resolve_trackers(["none", "wandb"])


def test_none_writes_nothing(tmp_path: Path) -> None:
    assert isinstance(make_trackers([], tmp_path), Silent)


def test_every_stage_that_trains_is_tracked_in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs before the goal too; a stage that records nothing leaves no folder."""
    monkeypatch.setattr("rewardlab.provenance._git", lambda *arguments: None)

    def training(work: Work) -> dict[str, Any]:
        with recording(work.recorder, "sft", 1) as recorder:
            recorder.emit(1, {"sft/loss": 3.0})
        return {}

    asking = Stage("annotate", "asks", "asks", {}, {}, lambda work: {})
    first = Stage("sft", "first", "first", {}, {"asked": asking}, training)
    goal = Stage("rm", "goal", "goal", {}, {"start": first}, training)
    runner = Runner(tmp_path, lambda line: None, track=lambda folder: make_trackers(["tensorboard"], folder))
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
    assert cli.run([*command, "--tracker", "neptune", "--dry-run"]) == 2
    assert "unknown tracker 'neptune'" in capfd.readouterr().err
    assert cli.run([*command, "--tracker", "none", "--dry-run"]) == 0


def record(name: TrackerName, folder: Path) -> None:
    """Two steps of a run whose configuration is stored, in two attempts."""
    folder.mkdir()
    write_json(folder / "config.json", {"config": {"seed": 3, "ppo": {"lr": 0.5}}})
    for done, values in ((0, {1: 0.25}), (1, {2: 0.75})):
        with recording(make_trackers([name], folder), "ppo", 2, done) as recorder:
            for step, value in values.items():
                recorder.emit(step, {"reward/gold_accuracy": value, "reward/part/label": 2.0})


def records(content: bytes) -> Iterator[bytes]:
    """Records of an offline file of W&B: LevelDB's log format behind 7 bytes, here within its first 32 KiB block."""
    place = 7
    while place + 7 <= len(content):
        _, length, _ = struct.unpack("<IHB", content[place : place + 7])
        yield content[place + 7 : place + 7 + length]
        place += 7 + length


def test_wandb_holds_what_was_emitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its offline files are read back; a resumed run leaves one file an attempt."""
    pytest.importorskip("wandb", reason="needs wandb, which is not installed")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    record("wandb", tmp_path / "run-abc")
    history: dict[str, list[float]] = {}
    for file in sorted((tmp_path / "run-abc").rglob("*.wandb")):
        for data in records(file.read_bytes()):
            entry = wandb_internal_pb2.Record()
            entry.ParseFromString(data)
            for item in entry.history.item:
                history.setdefault(item.key or ".".join(item.nested_key), []).append(float(item.value_json))
    assert history["reward/gold_accuracy"] == [0.25, 0.75]
    assert history["reward/part/label"] == [2.0, 2.0]
    assert history["_step"] == [1, 2]


def test_trackio_holds_what_was_emitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="needs trackio, which is not installed")
    from trackio.sqlite_storage import SQLiteStorage

    record("trackio", tmp_path / "run-abc")
    logged = SQLiteStorage.get_logs("rewardlab", "run-abc")
    assert [(row["step"], row["reward/gold_accuracy"]) for row in logged] == [(1, 0.25), (2, 0.75)]


def test_mlflow_holds_what_was_emitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow, which is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/mlruns")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    record("mlflow", tmp_path / "run-abc")
    [run] = mlflow.search_runs(experiment_names=["rewardlab"], output_format="list")
    points = mlflow.MlflowClient().get_metric_history(run.info.run_id, "reward/gold_accuracy")
    assert [(point.step, point.value) for point in points] == [(1, 0.25), (2, 0.75)]
    assert run.data.params["ppo.lr"] == "0.5"
