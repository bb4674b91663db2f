"""PPO on a bandit: one word per response, a payoff per word and prompt, so that the best policy is known exactly.

Under a KL penalty beta the best policy is pi(a) ~ reference(a) * exp(payoff(a) / beta) (Ziegler et al. 2019, eq. 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from rewardlab.disk import read_jsonl
from rewardlab.presets import PUBLISHED_PRESETS
from tests.support.bandit import BANDIT, RUN, Shuffled, played

SUITED: Mapping[str, Mapping[str, Any]] = {
    "rllr": {"steps": 40, "lr": 1e-2, "minibatches": 2, "micro_batch": 32},  # with one update a step it takes longer
    "ppo-nlu": {"steps": 25, "lr": 1e-2},
    "ppo-nlu-code": {"steps": 40, "lr": 3e-3},  # rank-stabilised: an update of B counts four times as much
}
"""Steps and rate under which each preset solves it."""


def test_the_bandit_is_solved(tmp_path: Path) -> None:
    found = played(tmp_path, **BANDIT)
    assert found.best.payoff == 1.0
    assert found.start.payoff < 0.3
    assert found.end.payoff > 0.95
    rows = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    assert rows[0]["policy/kl"] == 0.0
    assert fmean(row["value/explained_variance"] for row in rows[5:15]) > 0.1  # the critic tells prompts apart


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("preset", PUBLISHED_PRESETS)
def test_every_preset_solves_it_with_either_optimiser(tmp_path: Path, preset: str, optimizer: str) -> None:
    """All is the preset's but what suits the task: batches, steps and rate; and no penalty, so that 1 is best.

    One prompt that keeps to its second best word leaves 0.75, and payoffs that are dealt out anew less than 0.45.
    """
    run = {**RUN, "preset": preset, "ppo.least_new_tokens": "none", "eval.least_new_tokens": "none"}
    suited = {"batch": 64, "micro_batch": 64, "kl_coef": 0.0, "kl_target": "none", **SUITED[preset]}
    found = played(tmp_path, run=run, **suited, optimizer=optimizer)
    assert found.start.payoff < 0.3
    assert found.end.payoff > 0.65


@pytest.mark.parametrize("beta", [0.3, 0.6])
def test_under_a_kl_penalty_it_finds_the_best_compromise(tmp_path: Path, beta: float) -> None:
    found = played(tmp_path, **{**BANDIT, "kl_coef": beta})
    assert found.start.payoff + 0.1 < found.best.payoff < 0.95
    assert found.end.payoff == pytest.approx(found.best.payoff, abs=0.02)
    assert found.end.kl == pytest.approx(found.best.kl, abs=0.04)


def test_shuffled_payoffs_teach_nothing(tmp_path: Path) -> None:
    found = played(tmp_path, Shuffled(), **{**BANDIT, "steps": 15})
    assert found.end.payoff < 0.45


def test_a_large_beta_keeps_the_policy_at_its_reference(tmp_path: Path) -> None:
    found = played(tmp_path, **{**BANDIT, "kl_coef": 50.0, "steps": 15})
    assert found.end.kl < 0.01
    assert found.end.payoff == pytest.approx(found.start.payoff, abs=0.05)
