"""Budgets: PPO ends on a whole step when its tokens or seconds are spent, SFT when its time is over.

That a resumed run ends where an uninterrupted one does stands in ``test_checkpoint.py`` (the budget among its
settings) for PPO, and below for SFT.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rewardlab.config import PPOConfig, RunConfig
from rewardlab.disk import read_jsonl
from rewardlab.runs import RunFolder
from rewardlab.training.budget import Budget, PromptsRead
from rewardlab.training.clock import Clock
from rewardlab.training.sft import train_sft
from rewardlab.types import Example
from tests.support.models import tiny_llama
from tests.support.training import EXAMPLES, ppo_trainer


def test_a_budget_is_spent_when_one_of_its_limits_is_met() -> None:
    """60 of 100 tokens and 1 of 4 seconds: six tenths; with 3 s more the time is over, at 60 tokens."""
    budget = Budget(PPOConfig(max_tokens=100, max_seconds=4.0))
    budget.spend(60, 1.0)
    assert (budget.share(), budget.is_spent) == (0.6, False)
    budget.spend(0, 3.0)
    assert (budget.share(), budget.is_spent) == (1.0, True)


def test_without_a_limit_nothing_is_ever_spent() -> None:
    budget = Budget(PPOConfig())
    budget.spend(10**9, 1e9)
    assert (budget.is_limited, budget.share(), budget.is_spent) == (False, 0.0, False)
    assert budget.state() == {"tokens": 10**9, "seconds": 1e9}


def test_what_is_known_of_the_prompts_read() -> None:
    """Two steps of two over three prompts: all three are read, one of them twice; another seed has another order."""
    rows = [Example(task, id, {"text": id}, None, "label") for task, id in (("mr", "1"), ("mr", "2"), ("sst2", "3"))]
    read = PromptsRead.of(rows, steps=2, batch=2, seed=0)
    assert (read.prompts, read.prompts_by_task) == (3, {"mr": 2, "sst2": 1})
    orders = {PromptsRead.of(rows, 2, 2, seed).prompts_order for seed in range(4)}
    assert len(orders) > 1
    assert read == PromptsRead.of(rows, 2, 2, 0)
    assert PromptsRead.of(rows, 1, 2, 0).prompts == 2


def length(example: Example, response: str) -> float:
    return float(len(response))


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each step that was taken; every step takes one second."""
    steps: list[int] = []
    real = Budget.spend

    def spend(self: Budget, tokens: int, seconds: float) -> None:
        assert seconds > 0
        steps.append(tokens)
        real(self, tokens, 1.0)

    monkeypatch.setattr(Budget, "spend", spend)
    return steps


def test_ppo_ends_after_the_step_that_spends_the_tokens(tmp_path: Path, spent: list[int]) -> None:
    """At most 8 responses of 6 tokens a step; no number of steps is given, so that tokens alone end it."""
    result = ppo_trainer(tmp_path, length, steps=None, max_tokens=100).train()
    assert sum(spent[:-1]) < 100 <= sum(spent)
    assert (result.tokens, result.steps) == (sum(spent), len(spent))
    rows = list(read_jsonl(tmp_path / "run" / "samples.jsonl"))
    assert len(rows) == 8 * result.steps
    assert result.read == PromptsRead.of(EXAMPLES, result.steps, 8, 0)


def test_ppo_ends_after_the_step_that_spends_the_seconds(tmp_path: Path, spent: list[int]) -> None:
    result = ppo_trainer(tmp_path, length, steps=9, max_seconds=2.5, minibatches=2).train()
    assert (result.steps, result.device_seconds, result.updates) == (3, 3.0, 6)
    assert result.to_json() == {
        "steps": 3,
        "updates": 6,
        "tokens": sum(spent),
        "responses": 24,
        "forward": result.forward,
        "backward": result.backward,
        "device_seconds": 3.0,
        "prompts": 8,
        "prompts_by_task": {"sst2": 8},
        "prompts_order": result.read.prompts_order,
        "trunk_sha256": result.trunk_sha256,
        "validation": None,
        "fall": None,
    }


def test_the_learning_rate_follows_the_budget(tmp_path: Path, spent: list[int]) -> None:
    """Seconds 0, 1, 2 of 2.5, no warm-up, down to a tenth: 0.1 + 0.9 (1 + cos(pi s)) / 2 of the peak 0.01."""
    ppo_trainer(tmp_path, length, steps=None, max_seconds=2.5, warmup=0.0, final_lr=0.1).train()
    after = [0.1 + 0.9 * (1 + math.cos(math.pi * share)) / 2 for share in (0.0, 0.4, 0.8)]
    logged = [row["policy/lr"] for row in read_jsonl(tmp_path / "run" / "metrics.jsonl")]
    assert logged == pytest.approx([0.01 * factor for factor in after])  # of the next update, before it is counted


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that moves on by a second each time it is read: every step takes one."""
    ticks: Iterator[float] = iter(float(second) for second in range(1000))
    monkeypatch.setattr("rewardlab.training.time_limit.TimeLimit._now", lambda self: next(ticks))


def timed(model: Path, **sft: Any) -> RunConfig:
    sections = {
        "model": {"name": str(model), "device": "cpu", "dtype": "float32", "max_prompt_tokens": 64},
        "sft": {"lr": 0.01, "batch": 4, "micro_batch": 2, "warmup": 0.0, "checkpoint_every": 1, **sft},
        "format": "label",
    }
    return RunConfig.model_validate(sections)


def opened(path: Path) -> RunFolder:
    run = RunFolder(path, "sft", {})
    run.open()
    return run


@pytest.mark.usefixtures("ticking")
def test_sft_trains_for_its_time_whatever_the_epochs(tmp_path: Path) -> None:
    """Two optimiser steps an epoch of 8 rows; 5 s make 5 steps, the rate going down a cosine over the time."""
    run = opened(tmp_path / "run")
    result = train_sft(run, timed(tiny_llama(tmp_path / "model"), epochs=1, seconds=5.0), EXAMPLES)
    assert (result["steps"], result["device_seconds"]) == (5, 5.0)
    logged = [row["sft/lr"] for row in read_jsonl(run.path / "metrics.jsonl")]
    assert logged == pytest.approx([0.005 * (1 + math.cos(math.pi * second / 5)) for second in range(5)])


@pytest.mark.usefixtures("ticking")
def test_a_resumed_sft_counts_the_time_before(tmp_path: Path) -> None:
    """Three of five seconds, then two more; nothing is left to do after that."""
    model, run = tiny_llama(tmp_path / "model"), opened(tmp_path / "run")
    train_sft(run, timed(model, seconds=3.0), EXAMPLES)
    again = train_sft(run, timed(model, seconds=5.0), EXAMPLES)
    assert (again["steps"], again["device_seconds"]) == (5, 5.0)
    assert train_sft(run, timed(model, seconds=5.0), EXAMPLES)["steps"] == 5
    assert [row["step"] for row in read_jsonl(run.path / "metrics.jsonl")] == [1, 2, 3, 4, 5]


def test_a_cpu_counts_what_it_worked_and_not_what_it_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds of waiting in which other threads work for a quarter of a second, then four of work."""
    passed = {"perf_counter": 100.0, "process_time": 7.0}
    for name in passed:
        monkeypatch.setattr(time, name, lambda name=name: passed[name])
    clock = Clock(torch.device("cpu"))
    with clock.phase("wait"):
        passed.update(perf_counter=110.0, process_time=7.25)
    assert (clock.seconds, clock.device_seconds) == ({"wait": 10.0}, 0.25)
    with clock.phase("work"):
        passed.update(perf_counter=115.0, process_time=11.25)
    assert (clock.seconds, clock.device_seconds) == ({"wait": 10.0, "work": 5.0}, 4.25)
