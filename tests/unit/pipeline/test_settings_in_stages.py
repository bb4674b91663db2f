"""Settings on their way into a stage: drawn budgets and guesses of evaluations, the unit of a started critic."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rewardlab import models
from rewardlab.config import PPOConfig, RunConfig
from rewardlab.models import Sample
from rewardlab.pipeline.stages import evaluate, train
from rewardlab.rewards.context import RewardContext
from rewardlab.types import Example

EXAMPLES = [Example("sst2", f"row-{number}", {"text": "a film"}, "positive", "judgement") for number in range(80)]


def asked_budgets(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> list[int]:
    """The budgets under which an evaluation samples its 80 rows."""
    seen: list[int] = []

    def sample(
        trunk: Any, prompts: Any, keys: Any, sampling: Any, role: Any, budgets: list[int], report: Any
    ) -> list[Sample]:
        seen.extend(budgets)
        assert max(budgets) <= sampling.max_new_tokens
        return [Sample((1,), "x", True)] * len(prompts)

    monkeypatch.setattr(models, "sample", sample)
    config = RunConfig.model_validate({"format": "judgement", "model": {"name": "x", "max_new_tokens": 32}, **settings})
    job, questions = SimpleNamespace(report=lambda *_: None), SimpleNamespace(ids=lambda _: [1])
    generate = evaluate.generator_of(job, config, "x", None, None, questions)  # type: ignore[arg-type]
    assert [one.text for one in generate(EXAMPLES, "sampled")] == ["x"] * 80
    return seen


def test_every_eight_test_rows_draw_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = asked_budgets(monkeypatch, preset="ppo-nlu-code")
    groups = [set(drawn[start : start + 8]) for start in range(0, 80, 8)]
    assert all(len(group) == 1 for group in groups)
    assert len(set(drawn)) > 3
    assert 24 <= min(drawn) < 28 < max(drawn) <= 32
    assert asked_budgets(monkeypatch, preset="ppo-nlu-code") == drawn


def test_without_the_setting_all_rows_have_the_whole_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(asked_budgets(monkeypatch)) == {32}


def test_a_guess_is_made_where_it_is_asked_for() -> None:
    assert evaluate.guess_of(RunConfig()) is None
    guess = evaluate.guess_of(RunConfig.model_validate({"eval": {"unreadable": "random"}, "seed": 3}))
    assert guess is not None
    assert guess(EXAMPLES[0], "greedy") in ("negative", "positive")


def test_a_critic_speaks_the_unit_of_its_reward_models_scores() -> None:
    """4, 6 and 8 on SFT samples: mean 6, population deviation sqrt(8 / 3)."""
    context, folders = RewardContext(sft_scores={"label": [4.0, 6.0, 8.0]}), {"label": Path("rm")}
    start = train._critic_start(PPOConfig(), folders, context)
    assert (start.scale, start.mean) == pytest.approx((1.632993, 6.0))
    raw = train._critic_start(PPOConfig(normalise_scores=False), folders, context)
    assert (raw.scale, raw.mean) == (1.0, 0.0)


def test_equal_scores_leave_the_scale() -> None:
    context = RewardContext(sft_scores={"label": [2.0, 2.0]})
    start = train._critic_start(PPOConfig(), {"label": Path("rm")}, context)
    assert (start.scale, start.mean) == (1.0, 2.0)
