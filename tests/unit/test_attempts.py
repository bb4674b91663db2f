"""Seconds of a stage that needed several attempts: interrupted, failed, killed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from rewardlab.evaluation.cost import Cost
from rewardlab.pipeline import Runner, Stage
from rewardlab.pipeline import attempts as timing
from rewardlab.pipeline.attempts import ATTEMPTS_FILE, attempt
from rewardlab.pipeline.stage import Work
from rewardlab.runs import RunFolder, read_jsonl


class FakeClock:
    """Seconds that pass, and processor time that is spent, when a test says so."""

    def __init__(self) -> None:
        self.now, self.worked = 1000.0, 3.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr(timing.time, "perf_counter", fake)
    monkeypatch.setattr(timing.time, "process_time", lambda: fake.worked)
    monkeypatch.setattr("rewardlab.runs._git", lambda *arguments: None)
    return fake


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("broken")])
def test_the_attempts_of_a_stage_are_added_up(tmp_path: Path, clock: FakeClock, error: BaseException) -> None:
    """Stopped after 40 s and again after 15 s, done in 2.5 s more: 57.5 s."""
    script: list[tuple[float, BaseException | None]] = [(40.0, error), (15.0, error), (2.5, None)]

    def run(work: Work) -> dict[str, Any]:
        seconds, failure = script.pop(0)
        clock.now += seconds
        if failure:
            raise failure
        return {}

    said: list[str] = []
    stage = Stage("sft", "slow", "slow", {}, {}, run)
    runner = Runner(tmp_path, said.append)
    for _ in range(2):
        with pytest.raises(type(error)):
            runner.execute(stage)
        clock.now += 900.0  # nobody worked in between
    assert runner.execute(stage).result()["stage_seconds"] == 57.5
    assert said[-1].startswith("[1/1] slow: 57.5 s, ")


def test_a_killed_attempt_counts_until_its_last_sign(tmp_path: Path, clock: FakeClock) -> None:
    """It started at 5000 and touched its file at 5030; a line that the kill cut off is no line."""
    folder = RunFolder(tmp_path, "sft", {})
    path = tmp_path / ATTEMPTS_FILE
    path.write_text('{"started": 4000.0}\n{"seconds": 7.0}\n{"started": 5000.0}\n{"sec')
    os.utime(path, (5030.0, 5030.0))
    with attempt(folder) as taken:
        clock.now += 3.0
        clock.worked += 0.5
    assert (taken.seconds, taken.processor_seconds) == (40.0, 37.5)
    with attempt(folder) as taken:
        clock.now += 1.0
    assert taken.seconds == 41.0


def test_waiting_is_no_device_time_of_a_cpu(tmp_path: Path, clock: FakeClock) -> None:
    """Somebody else's work on the machine makes the clock run on, which is no reason to give a rival more updates."""

    def run(work: Work) -> dict[str, Any]:
        clock.now += 300.0
        clock.worked += 0.25
        return {}

    stage = Stage("sft", "waits", "waits", {}, {}, run, {"model": {"device": "cpu"}})
    result = Runner(tmp_path, lambda line: None).execute(stage).result()
    assert result["stage_seconds"] == 300.0
    assert result["stage_device_seconds"] == 0.25
    assert Cost.of({"sft": result}).seconds == result["stage_device_seconds"]


def test_a_running_attempt_gives_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "TOUCH_S", 0.01)
    folder = RunFolder(tmp_path, "sft", {})
    path = tmp_path / ATTEMPTS_FILE
    with attempt(folder):
        os.utime(path, (5.0, 5.0))
        for _ in range(500):
            if path.stat().st_mtime > 5.0:
                break
            time.sleep(0.01)
        assert path.stat().st_mtime > 5.0
    assert [list(row) for row in read_jsonl(path)] == [["started"], ["seconds", "processor_seconds"]]
