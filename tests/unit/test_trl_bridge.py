"""Both directions between rewardlab and TRL, called exactly as TRL's GRPOTrainer calls reward functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import rewardlab
from rewardlab.config import RewardConfig
from rewardlab.errors import ConfigError, DataError, TrainingError
from rewardlab.rewards import RewardContext, build_reward, register_trl_reward, rewards
from rewardlab.types import Example

RIGHT, WRONG = "A match.\n\n The answer is: Sports", "Money.\n\n The answer is: Business"


def call_as_grpo(function: Callable[..., Any], completions: list[Any], **columns: list[Any]) -> list[float | None]:
    """The keyword arguments of ``GRPOTrainer._calculate_rewards`` in TRL 1.16."""
    result: list[float | None] = function(
        prompts=["prompt"] * len(completions),
        completions=completions,
        completion_ids=[[1, 2]] * len(completions),
        **columns,
        trainer_state=SimpleNamespace(global_step=0),
        log_extra=lambda column, values: None,
        log_metric=lambda name, value: None,
    )
    return result


def test_plain_completions() -> None:
    function = rewardlab.as_trl_reward("rule", "agnews")
    scores = call_as_grpo(function, [RIGHT, WRONG, "?"], label=["Sports"] * 3, text=["Rovers won."] * 3)
    assert scores == [1.0, 0.0, -1.0]
    assert function.__name__ == "rule"


def test_conversational_completions() -> None:
    function = rewardlab.as_trl_reward("rule", "agnews")
    plain = [{"role": "assistant", "content": RIGHT}]
    parts = [{"role": "assistant", "content": [{"type": "text", "text": WRONG}]}]
    tools = [{"role": "assistant", "content": None}, plain[0], {"role": "tool", "content": WRONG}]
    assert call_as_grpo(function, [plain, parts, tools, []], label=["Sports"] * 4) == [1.0, 0.0, 1.0, -1.0]


def test_label_column_may_hold_numbers() -> None:
    similar = rewardlab.as_trl_reward("rule", "stsb")
    assert call_as_grpo(similar, ["x\n\n The answer is: 3"], label=[4]) == [1.5]  # 2.5 - 1
    stars = rewardlab.as_trl_reward("rule", "appreviews")
    assert call_as_grpo(stars, ["x\n\n The answer is: 4"], label=[4]) == [1.0]


def test_judgement_format_with_the_opening_in_prompt_or_completion() -> None:
    function = rewardlab.as_trl_reward("rule", "agnews", format="judgement")
    completions = [" Sports </Judgement>", "<Judgement> Sports </Judgement>"]
    assert call_as_grpo(function, completions, label=["Sports"] * 2) == [1.0, 1.0]


def test_learned_rewards_get_the_tasks_fields_and_none_stays_none() -> None:
    seen: list[Example] = []

    def scorer(examples: list[Example], responses: list[str]) -> list[float]:
        seen.extend(examples)
        return [math.nan if response == "?" else 2.0 for response in responses]

    reward = build_reward(RewardConfig(expression="label"), RewardContext({"label": scorer}))
    function = rewardlab.as_trl_reward(reward, "agnews")
    assert call_as_grpo(function, ["a", "?"], text=["x", "y"], id=["i", "j"]) == [2.0, None]
    assert [(example.id, example.fields["text"]) for example in seen] == [("i", "x"), ("j", "y")]


def test_labels_that_are_missing_or_foreign_are_refused() -> None:
    function = rewardlab.as_trl_reward("rule", "agnews")
    with pytest.raises(DataError, match="no column 'label'"):
        call_as_grpo(function, [RIGHT])
    with pytest.raises(DataError, match="column 'label' row 1: label 7 is not one of World politics"):
        call_as_grpo(function, [RIGHT] * 2, label=["Sports", 7])


def test_grpo_trainer_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL's own method, on a trainer without a model: names, columns and None as NaN are as it wants them."""
    torch = pytest.importorskip("torch", reason="TRL needs torch")
    from trl import GRPOTrainer
    from trl.trainer.utils import get_callable_name

    function = rewardlab.as_trl_reward("gate(rule >= 0, rule, 1 / 0)", "agnews")
    other = rewardlab.as_trl_reward("length", "agnews")
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(device=torch.device("cpu"), is_main_process=False),
        args=SimpleNamespace(report_to=[]),
        reward_funcs=[function, other],
        reward_func_names=[get_callable_name(function), get_callable_name(other)],
        reward_processing_classes=[None, None],
        state=SimpleNamespace(global_step=0),
        environments=None,
        _log_completion_extra=lambda column, values: None,
        _log_metric=lambda name, value: None,
    )
    monkeypatch.setattr("trl.trainer.grpo_trainer.gather", lambda tensor: tensor)
    inputs = [{"prompt": "p", "label": "Sports", "text": "Rovers won."}] * 3
    method = getattr(GRPOTrainer._calculate_rewards, "__wrapped__", GRPOTrainer._calculate_rewards)
    table = method(trainer, inputs, ["p"] * 3, [RIGHT, WRONG, "?"], [[1]] * 3)
    assert trainer.reward_func_names == ["gate(rule >= 0, rule, 1 / 0)", "length"]
    assert table[:2, 0].tolist() == [1.0, 0.0]
    assert math.isnan(table[2, 0].item())


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewards, "_entries", dict(rewards._entries))


@pytest.mark.usefixtures("registered")
def test_a_trl_function_becomes_a_reward() -> None:
    def matches(prompts: list[str], completions: list[str], label: list[str], **kwargs: Any) -> list[float | None]:
        """1 when the label occurs."""
        assert kwargs["text"] == ["Rovers won.", None]
        assert kwargs["task"] == ["agnews", "stsb"]
        assert "Rovers won." in prompts[0]
        return [None if not text else float(gold in text) for text, gold in zip(completions, label, strict=True)]

    entry = register_trl_reward("matches", matches)
    examples = [
        Example("agnews", "n1", {"text": "Rovers won."}, "Sports"),
        Example("stsb", "s1", {"sentence1": "a", "sentence2": "b"}, "4"),
    ]
    scores = build_reward(RewardConfig(expression="2 * matches"))(examples, ["Sports!", ""])
    assert [score.score for score in scores] == [2.0, None]
    assert (entry.needs_gold, entry.description) == (True, "1 when the label occurs.")


@pytest.mark.usefixtures("registered")
def test_a_trl_function_can_ask_for_messages() -> None:
    def last(completions: list[list[dict[str, str]]], prompts: list[list[dict[str, str]]], **_: Any) -> list[float]:
        assert prompts[0][0]["role"] == "user"
        return [float(len(messages[-1]["content"])) for messages in completions]

    entry = register_trl_reward("last", last, chat=True, description="characters")
    assert not entry.needs_gold
    assert entry.build(RewardContext())([Example("agnews", "n", {"text": "x"})], ["abc"])[0].score == 3.0


@pytest.mark.usefixtures("registered")
def test_what_a_trl_function_may_not_do() -> None:
    async def later(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        return [0.0]

    with pytest.raises(ConfigError, match="asynchronous"):
        register_trl_reward("later", later)
    register_trl_reward("words", lambda prompts, completions, **_: ["good"])
    with pytest.raises(TrainingError, match="reward 'words' returned str"):
        build_reward(RewardConfig(expression="words"))([Example("agnews", "n", {"text": "x"})], ["abc"])


def test_round_trip() -> None:
    """A rewardlab reward handed to TRL and taken back scores as before."""
    function = rewardlab.as_trl_reward("rule", "agnews")
    from rewardlab.rewards.functions import from_trl

    back = from_trl("back", function, needs_gold=True)
    example = Example("agnews", "n1", {"text": "Rovers won."}, "Sports")
    assert [score.score for score in back([example] * 2, [RIGHT, WRONG])] == [1.0, 0.0]
