"""Progress without a terminal: a line every 30 seconds, by a clock that the test moves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from rewardlab.pipeline import Stage
from rewardlab.pipeline.stage import Work
from rewardlab.suites import worker
from rewardlab.training import progress_lines
from rewardlab.training.progress import recording
from rewardlab.training.progress_lines import CountLines, LineRecorder, duration
from tests.support.commands import SMALL, Command

HEAD = "[2/3] PPO, sandbox-topic"
SHOWN = {"reward/score": "reward", "policy/kl": "kl"}


class Hand:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def said() -> list[str]:
    return []


def test_a_line_every_thirty_seconds_and_one_where_it_ends(hand: Hand, said: list[str]) -> None:
    with recording(LineRecorder(HEAD, said.append, SHOWN, hand), "ppo", total=10) as recorder:
        for step in range(1, 11):
            hand.seconds += 12  # lines are due at 36, 72 and 108 s
            recorder.emit(step, {"reward/score": step / 10, "policy/kl": 0.01234, "value/loss": 3.0})
    assert said == [
        f"{HEAD}: step 3 of 10, reward 0.3, kl 0.0123, about 84 s left",
        f"{HEAD}: step 6 of 10, reward 0.6, kl 0.0123, about 48 s left",
        f"{HEAD}: step 9 of 10, reward 0.9, kl 0.0123, about 12 s left",
        f"{HEAD}: step 10 of 10, reward 1, kl 0.0123",
    ]


def test_a_short_stage_writes_none(hand: Hand, said: list[str]) -> None:
    with recording(LineRecorder(HEAD, said.append, SHOWN, hand), "ppo", total=2) as recorder:
        for step in (1, 2):
            hand.seconds += 14
            recorder.emit(step, {})
    assert said == []


def test_a_resumed_stage_goes_at_the_pace_of_its_own_steps(hand: Hand, said: list[str]) -> None:
    with recording(LineRecorder(HEAD, said.append, SHOWN, hand), "ppo", total=100, done=90) as recorder:
        hand.seconds += 60
        recorder.emit(92, {})  # two steps in 60 s, eight are left
    assert said == [f"{HEAD}: step 92 of 100, about 4 min left"]


def test_a_stage_whose_length_nobody_knows_and_one_that_is_interrupted(hand: Hand, said: list[str]) -> None:
    def run() -> None:
        with recording(LineRecorder(HEAD, said.append, SHOWN, hand), "ppo", total=0) as recorder:
            hand.seconds += 31
            recorder.emit(1, {})
            recorder.emit(2, {})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert said == [f"{HEAD}: step 1", f"{HEAD}: step 2"]


def test_counts_begin_again_with_another_one(hand: Hand, said: list[str]) -> None:
    count = CountLines("[1/3] annotate", said.append, hand)
    for what, done in (("rationales", 0), ("rationales", 100), ("rationales, $0.10", 400), ("rationales", 400)):
        count(what, done, 400)
        hand.seconds += 20
    count("rankings", 0, 400)
    hand.seconds += 40
    count("rankings", 100, 400)  # 300 more at 100 in 40 s
    assert said == [
        "[1/3] annotate: rationales, $0.10, 400 of 400",
        "[1/3] annotate: rankings, 100 of 400, about 2 min left",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89.4, "89 s"), (89.6, "2 min"), (600, "10 min"), (601, "11 min"), (5399, "1 h 30 min")],
)
def test_times(seconds: float, text: str) -> None:
    assert duration(seconds) == text


SHORT = (*SMALL, "--format", "label", "--set=model.max_new_tokens=4", "--set=sft.epochs=1", "--set=eval.batch=3")


def test_commands_write_lines_where_there_is_no_terminal(rewardlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_lines, "SECONDS", 0.0)
    said = rewardlab("ppo", "--steps", "2", "--set=ppo.batch=4", *SHORT).err
    assert re.search(r"^\[1/2\] SFT.*: step 1 of 1, loss [\d.]+$", said, re.MULTILINE)
    assert re.search(
        r"^\[2/2\] PPO.*: step 1 of 2, reward [-\d.]+, gold acc \d.*, kl .*, about .* left$", said, re.MULTILINE
    )
    run = next(Path("runs/ppo").iterdir())
    said = rewardlab("eval", "--run", str(run), *SMALL, "--set=eval.batch=3").err
    counted = re.findall(r"^\[3/3\] eval.*: .* greedy, (\d) of 8", said, re.MULTILINE)
    assert counted == ["0", "3", "6", "8"]  # batches of 3, 3 and 2


def test_a_worker_of_a_suite_says_which_stage_it_is_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(work: Work) -> dict[str, Any]:
        with recording(work.recorder, "ppo", total=2):
            work.recorder.emit(1, {"reward/score": 0.5})
        work.report("greedy", 1, 5)
        return {}

    monkeypatch.setattr(progress_lines, "SECONDS", 0.0)
    stage = Stage("ppo", "PPO", "ppo", {}, {}, run)
    worker.make_runner(tmp_path).build(stage, "[7/20] PPO, seed 1")
    said = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\[7/20\] PPO, seed 1: step 1 of 2, reward 0.5, about \d+ s left", said[1])
    assert said[2] == "[7/20] PPO, seed 1: greedy, 1 of 5"
