"""Values that no setting checks, given in Python: one line of RewardlabError each, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rewardlab as rl

FILE = Path("suite.toml")


def pairs(folder: Path) -> Any:
    return rl.export_pairs(folder, folder / "pairs.jsonl", part="bad")  # type: ignore[arg-type]


def suite(jobs: Any) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        (folder / FILE).write_text('name = "s"\n[[method]]\nstage = "sft"\n[settings]\ntask = "sandbox-topic"\n')
        return rl.run_suite(folder / FILE, runs=folder / "runs", jobs=jobs, quiet=True)

    return run


CASES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "jobs 0": (suite(0), "jobs = 0: expected None, or a whole number from 1 on"),
    "jobs -1": (suite(-1), "jobs = -1: expected"),
    "jobs True": (suite(True), "jobs = True: expected"),
    "jobs text": (suite("auto"), "jobs = 'auto': expected"),
    "part of pairs": (pairs, "part = 'bad'; expected train, held-out, all"),
    "part of rows": (
        lambda folder: rl.Lab(folder, task="sandbox-topic", quiet=True).rows("bad"),  # type: ignore[arg-type]
        "part = 'bad'; expected labelled, prompts, validation, test",
    ),
    "reward model": (
        lambda folder: rl.score("label", "agnews", ["x"], ["Sports"], rm={"bad": folder}),  # type: ignore[dict-item]
        "rm names bad; expected some of label, ranked, rationale",
    ),
    "format": (
        lambda folder: rl.score("rule", "agnews", ["x"], ["Sports"], format="bad"),  # type: ignore[arg-type]
        "format = 'bad'; expected label, rationale, judgement, confident",
    ),
    "reading": (
        lambda folder: rl.score("rule", "agnews", ["x"], ["Sports"], reading="bad"),  # type: ignore[arg-type]
        "reward.reading",
    ),
    "second reward model": (
        lambda folder: rl.score("mixed", "agnews", ["x"], ["Sports"], lam=1, r2="bad"),  # type: ignore[arg-type]
        "reward.r2",
    ),
    "readings of two": (
        lambda folder: rl.reward_difference("rule", "length", "agnews", ["x"], ["Sports"], reading="bad"),  # type: ignore[arg-type]
        "reward.reading",
    ),
    "format of TRL's": (lambda folder: rl.as_trl_reward("rule", "agnews", "bad"), "format = 'bad'"),  # type: ignore[arg-type]
    "reward of TRL's": (lambda folder: rl.as_trl_reward(5, "agnews"), "expected a reward or an expression"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_says_what_was_expected(case: str, tmp_path: Path) -> None:
    call, told = CASES[case]
    with pytest.raises(rl.RewardlabError) as caught:
        call(tmp_path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()
