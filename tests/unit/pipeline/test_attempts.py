"""Seconds of a stage that needed several attempts: interrupted, failed, killed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from rewardlab.disk import read_json, read_jsonl
from rewardlab.errors import RunFolderError
from rewardlab.evaluation.cost import Cost
from rewardlab.pipeline import Runner, Stage
from rewardlab.pipeline import attempts as timing
from rewardlab.pipeline.attempts import ATTEMPTS_FILE, HEARTBEAT_FILE, NODE, attempt, nodes
from rewardlab.pipeline.stage import Work
from rewardlab.runs import RunFolder


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
    monkeypatch.setattr("rewardlab.provenance._git", lambda *arguments: None)
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


def killed(folder: Path, sign: str = "") -> None:
    """What a kill leaves of an attempt that began at 5000, after one that took 7 s; the last line was cut off."""
    folder.mkdir(exist_ok=True)
    (folder / ATTEMPTS_FILE).write_text('{"started": 4000.0}\n{"seconds": 7.0}\n{"started": 5000.0}\n{"sec')
    if sign:
        (folder / HEARTBEAT_FILE).write_text(sign)


@pytest.mark.parametrize(
    ("sign", "seconds", "processor_seconds"),
    [
        ('{"started": 5000.0, "seconds": 30.0, "processor_seconds": 20.0}', 30.0, 20.0),
        ('{"started": 4000.0, "seconds": 30.0, "processor_seconds": 20.0}', 0.0, 0.0),  # of the attempt before
        ("", 0.0, 0.0),
        ('{"started": 5000.0, "sec', 0.0, 0.0),
        ("[]", 0.0, 0.0),
    ],
)
def test_a_killed_attempt_counts_until_its_last_sign(
    tmp_path: Path, clock: FakeClock, sign: str, seconds: float, processor_seconds: float
) -> None:
    """7 s before it, and 3 s after it; the files are an hour younger than the sign, as in a copied folder."""
    killed(tmp_path, sign)
    with attempt(RunFolder(tmp_path, "sft", {})) as taken:
        clock.now += 3.0
        clock.worked += 0.5
    assert taken.seconds == 10.0 + seconds
    assert taken.processor_seconds == 7.5 + processor_seconds
    with attempt(RunFolder(tmp_path, "sft", {})) as taken:
        clock.now += 1.0
    assert taken.seconds == 11.0 + seconds


@pytest.mark.parametrize(
    "text", ["[1]\n", '{"seconds": "long"}\n', '{"seconds": [1]}\n', "\x00\x01\n", '{"started": 1']
)
def test_damaged_times_are_named_or_cut_off(tmp_path: Path, text: str) -> None:
    (tmp_path / ATTEMPTS_FILE).write_text(text)
    folder = RunFolder(tmp_path, "sft", {})
    if not text.endswith("\n"):
        with attempt(folder) as taken:
            pass
        assert taken.seconds < 1.0
        return
    with (
        pytest.raises(RunFolderError, match=r"attempts\.jsonl: holds no times .*; remove it.* --fresh"),
        attempt(folder),
    ):
        pytest.fail("the block must not run")


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


def test_a_running_attempt_gives_signs(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "BEAT_S", 0.01)
    sign = tmp_path / HEARTBEAT_FILE
    with attempt(RunFolder(tmp_path, "sft", {})):
        clock.now += 42.0
        for _ in range(3000):
            if sign.exists() and read_json(sign)["seconds"] == 42.0:
                break
            time.sleep(0.01)
        assert read_json(sign)["seconds"] == 42.0
        assert read_json(sign)["started"] == next(read_jsonl(tmp_path / ATTEMPTS_FILE))["started"]
    assert not sign.exists()
    rows = list(read_jsonl(tmp_path / ATTEMPTS_FILE))
    assert [list(row) for row in rows] == [["started", "node"], ["seconds", "processor_seconds"]]


def test_attempts_say_on_which_machine_they_were(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path, "toy", {}, {})
    assert nodes(tmp_path) == []
    monkeypatch.setattr(timing.platform, "node", lambda: "own name")
    for name in ("left", "right", "left", ""):
        monkeypatch.setenv(NODE, name)
        with attempt(folder):
            pass
    assert nodes(tmp_path) == ["right", "left", "own name"]
    (tmp_path / ATTEMPTS_FILE).write_text("[1]\n")
    assert nodes(tmp_path) == []
