"""TRL's reward functions as rewards of ours: columns, conversations, gold labels, asynchronous ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

import rewardlab
from rewardlab.config import RewardConfig
from rewardlab.errors import ConfigError, TrainingError
from rewardlab.rewards import (
    RewardContext,
    background,
    build_reward,
    find_reward,
    plan_reward,
    register_reward,
    register_trl_reward,
    rewards,
)
from rewardlab.rewards.functions import FunctionReward
from rewardlab.rewards.trl_functions import from_trl, is_trl_style
from rewardlab.types import Example
from tests.support.trl_trainers import calculated_rewards

ROW = Example("agnews", "n1", {"text": "Rovers won."}, "Sports")


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewards, "_entries", dict(rewards._entries))


def scored(function: Callable[..., Any], responses: list[str], **options: Any) -> list[float | None]:
    reward = from_trl("mine", function, **options)
    return [score.score for score in reward([ROW] * len(responses), responses)]


@pytest.mark.usefixtures("registered")
def test_columns_and_what_is_registered() -> None:
    def matches(prompts: list[str], completions: list[str], label: list[str], **kwargs: Any) -> list[float | None]:
        """1 when the label occurs."""
        assert kwargs["text"] == ["Rovers won.", None]
        assert kwargs["task"] == ["agnews", "stsb"]
        assert kwargs["id"] == ["n1", "s1"]
        assert "Rovers won." in prompts[0]
        return [None if not text else float(gold in text) for text, gold in zip(completions, label, strict=True)]

    entry = register_trl_reward("matches", matches)
    other = Example("stsb", "s1", {"sentence1": "a", "sentence2": "b"}, "4")
    scores = build_reward(RewardConfig(expression="2 * matches"))([ROW, other], ["Sports!", ""])
    assert [score.score for score in scores] == [2.0, None]
    assert (entry.needs_gold, entry.description) == (True, "1 when the label occurs.")


class TestConversations:
    def test_code_that_reads_messages_gets_them(self) -> None:
        """As most published examples are written: without annotations that tell."""

        def first(completions, **kwargs):  # type: ignore[no-untyped-def]
            assert kwargs["prompts"][0][-1]["role"] == "user"
            return [len(completion[0]["content"]) for completion in completions]

        assert scored(first, ["abc", ""]) == [3.0, 0.0]

    def test_so_does_code_that_leaves_it_to_a_helper(self) -> None:
        def said(completion):  # type: ignore[no-untyped-def]
            return completion[-1].get("content")

        assert scored(lambda completions, **_: [len(said(each)) for each in completions], ["abc"]) == [3.0]

    def test_a_function_that_looks_at_roles_alone_reads_turns(self) -> None:
        def answered(completions, **_):  # type: ignore[no-untyped-def]
            return [float(each[-1]["role"] == "assistant") for each in completions]

        assert scored(answered, ["abc"]) == [1.0]

    def test_annotations_come_before_what_the_code_names(self) -> None:
        def turns(completions: list[list[dict[str, str]]], **_: Any) -> list[float]:
            return [float(isinstance(each, list)) for each in completions]

        def texts(completions: list[str], **_: Any) -> list[float]:
            return [float(isinstance(each, str) and "content" not in each) for each in completions]

        assert scored(turns, ["x"]) == scored(texts, ["x"]) == [1.0]

    def test_it_can_be_said(self) -> None:
        def shape(completions: Any, **_: Any) -> list[float]:
            return [float(isinstance(each, list)) for each in completions]

        assert scored(shape, ["x"]) == scored(shape, ["x"], chat=False) == [0.0]
        assert scored(shape, ["x"], chat=True) == [1.0]

    def test_each_message_says_whose_it_is(self) -> None:
        seen: list[Any] = []

        def watch(prompts: Any, completions: Any, **_: Any) -> list[float]:
            seen.extend((prompts, completions))
            return [0.0]

        scored(watch, ["abc"], chat=True)
        (((asked,),), ((answered,),)) = seen
        assert (asked["role"], answered) == ("user", {"role": "assistant", "content": "abc"})
        assert "Rovers won." in asked["content"]

    def test_the_same_function_in_a_trainer(self) -> None:
        from trl.rewards import think_format_reward

        answers = ["<think>\nBecause.\n</think>\nSports", "Sports"]
        rows = [{"prompt": [{"role": "user", "content": "p"}]}] * 2
        turns = [[{"role": "assistant", "content": answer}] for answer in answers]
        _, table = calculated_rewards("grpo", [think_format_reward], rows, turns)
        assert [[score] for score in scored(think_format_reward, answers)] == table == [[1.0], [0.0]]


class TestColumnsThatAreNotThere:
    @pytest.mark.parametrize("name", ["completion_ids", "trainer_state", "log_extra", "log_metric", "environments"])
    def test_what_only_a_trainer_has_is_refused_when_it_is_asked_for(self, name: str) -> None:
        space: dict[str, Any] = {}
        exec(f"def f(completions, {name}, **_): ...\ndef g({name}=None, **_): return [{name} is None]", space)
        assert is_trl_style(space["f"])
        message = f"'f' needs {name}, which only TRL's trainers have; there are prompts, completions, label, id, task"
        with pytest.raises(ConfigError, match=message):
            from_trl("f", space["f"])
        assert scored(space["g"], ["x"]) == [1.0]

    def test_trl_s_own_length_penalty_is_one_of_them(self) -> None:
        from trl.rewards import get_soft_overlong_punishment

        with pytest.raises(ConfigError, match="needs completion_ids"):
            from_trl("overlong", get_soft_overlong_punishment(10, 5))

    def test_a_field_that_the_task_does_not_have(self) -> None:
        reward = from_trl("solved", lambda completions, solution, **_: [1.0])
        assert reward.columns == ("solution",)
        message = "needs the column 'solution'; the columns are prompts, completions, label, id, task, text"
        with pytest.raises(ConfigError, match=message):
            reward([ROW], ["x"])

    def test_it_is_refused_before_anything_is_trained(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        from rewardlab.config_loading import load_config
        from rewardlab.pipeline import Pipeline

        monkeypatch.setattr(rewards, "_entries", dict(rewards._entries))
        register_trl_reward("solved", lambda completions, solution, **_: [1.0])
        assert plan_reward(RewardConfig(expression="solved + length")).columns == {"solved": ("solution",)}
        config = load_config({"task": "sandbox-sentiment", "reward.expression": "solved + length"})
        with pytest.raises(ConfigError, match="reward 'solved' needs the column 'solution'; the columns are prompts"):
            Pipeline(config, tmp_path).train()

    @pytest.mark.usefixtures("registered")
    def test_errors_inside_say_what_there_was(self) -> None:
        register_trl_reward("solved", lambda completions, **kwargs: [float(each) for each in kwargs["solution"]])
        message = (
            "reward 'solved' raised KeyError on task agnews example n1: 'solution'; it was given completions as texts "
            r"\(chat=True gives conversations\) and the columns prompts, completions, label, id, task, text$"
        )
        with pytest.raises(TrainingError, match=message):
            build_reward(RewardConfig(expression="solved"))([ROW], ["abc"])

    def test_a_function_without_kwargs_gets_what_it_takes(self) -> None:
        def longer(completions: list[str], text: list[str]) -> list[bool]:
            return [len(each) > len(row) for each, row in zip(completions, text, strict=True)]

        assert scored(longer, ["x", "a long answer"]) == [0.0, 1.0]

    def test_one_that_takes_anything_by_name_is_trl_s(self) -> None:
        assert is_trl_style(lambda **columns: columns["completions"])
        assert is_trl_style(lambda prompts, **columns: columns["completions"])
        assert not is_trl_style(lambda examples, responses, **options: [])
        assert not is_trl_style(lambda prompts, responses: [])
        assert is_trl_style(lambda prompts, completions: [])
        assert is_trl_style(lambda prompts, trainer_state: [])


class TestAsynchronous:
    async def _later(self, completions: list[str], **_: Any) -> list[float | None]:
        await asyncio.sleep(0)
        return [None if not each else float(len(each)) for each in completions]

    def test_it_is_awaited(self) -> None:
        assert scored(self._later, ["ab", ""]) == [2.0, None]
        assert scored(partial(self._later), ["abc"]) == [3.0]

    def test_also_where_a_loop_runs(self) -> None:
        async def notebook() -> list[float | None]:
            return scored(self._later, ["abc"])

        assert asyncio.run(notebook()) == [3.0]

    def test_every_call_is_on_the_same_loop(self) -> None:
        """A client that a judge keeps open belongs to the loop of its first call."""
        loops: list[Any] = []

        async def judge(completions: list[str], **_: Any) -> list[float]:
            loops.append((asyncio.get_running_loop(), threading.current_thread()))
            return [0.0] * len(completions)

        reward = from_trl("judge", judge)
        reward([ROW], ["x"])
        reward([ROW], ["x"])
        assert loops[0] == loops[1]

    def test_its_thread_ends_with_the_program(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ends: list[Callable[[], None]] = []
        monkeypatch.setattr(background.atexit, "register", ends.append)
        background._loop.cache_clear()
        loop = background._loop()
        try:
            assert background._loop() is loop
            (thread,) = [each for each in threading.enumerate() if each.name == "rewardlab-rewards" and each.daemon][
                -1:
            ]
            (end,) = ends
            end()
            assert loop.is_closed()
            assert not thread.is_alive()
        finally:
            background._loop.cache_clear()

    def test_its_error_names_the_example(self) -> None:
        async def judge(completions: list[str], **_: Any) -> list[float]:
            raise OSError("no judge")

        with pytest.raises(OSError, match="no judge") as caught:
            scored(judge, ["x"])
        assert "the columns prompts" in caught.value.__notes__[0]


def _helper(completions: list[str], **kwargs: Any) -> list[float]:
    return [float(gold in text) for text, gold in zip(completions, kwargs["label"], strict=True)]


_HIDDEN = ["la", "bel"]
_COLUMN = "label"


class _Judge:
    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, completions: list[str], **kwargs: Any) -> list[float]:
        return self._compare(completions, kwargs.get("label"))

    def _compare(self, completions: list[str], gold: Any) -> list[float]:
        return [float(each == right) for each, right in zip(completions, gold, strict=True)]


def _declared(completions: list[str], **kwargs: Any) -> list[float]:
    return [float(each == right) for each, right in zip(completions, kwargs["".join(_HIDDEN)], strict=True)]


class TestGold:
    @pytest.mark.parametrize(
        "function",
        [
            lambda completions, label, **_: _helper(completions, label=label),
            lambda completions, **kwargs: [kwargs["label"] == completions],
            lambda completions, **kwargs: [gold in completions for gold in kwargs.get("label", [])],
            lambda completions, **kwargs: _helper(completions, **kwargs),
            lambda **columns: _helper(**columns),
            lambda completions, **kwargs: [kwargs[_COLUMN] == completions],
            lambda completions, column="label", **kwargs: [kwargs[column] == completions],
            _Judge("x"),
            partial(_helper),
            _Judge("x").__call__,
        ],
    )
    def test_code_that_names_the_label_reads_gold(self, function: Callable[..., Any]) -> None:
        assert from_trl("mine", function).needs_gold
        assert scored(function, ["Sports"]) == [1.0]

    def test_other_code_does_not(self) -> None:
        label = "a variable of that name"
        assert label
        for function in (
            lambda completions, **_: [0.0 for label in completions],
            lambda completions, labels=None, **_: [0.0 for _ in completions],
        ):
            assert not from_trl("mine", function).needs_gold
            assert scored(function, ["x"]) == [0.0]

    @pytest.mark.parametrize("swallow", [False, True])
    def test_reading_it_unseen_ends_the_step(self, swallow: bool) -> None:
        """A name that is computed while the code runs is in no code; errors that it hides are no way out."""

        def sly(completions: list[str], **kwargs: Any) -> list[float]:
            try:
                return _declared(completions, **kwargs)
            except TrainingError:
                if swallow:
                    return [0.0]
                raise

        assert not from_trl("sly", sly).needs_gold
        with pytest.raises(
            TrainingError, match=r"'mine' reads the column 'label' and does not say so; .*needs_gold=True"
        ):
            scored(sly, ["Sports"])
        assert scored(sly, ["Sports"], needs_gold=True) == [1.0]

    def test_the_first_look_into_it_raises(self) -> None:
        seen: list[Any] = []

        def sly(completions: list[str], **kwargs: Any) -> list[float]:
            seen.append(kwargs["".join(_HIDDEN)][0])
            return [0.0]

        with pytest.raises(TrainingError, match="does not say so"):
            scored(sly, ["Sports"])
        assert seen == []

    def test_what_is_said_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_declared, "needs_gold", True, raising=False)
        assert from_trl("mine", _declared).needs_gold
        reward = from_trl("mine", _helper, needs_gold=False)
        with pytest.raises(TrainingError, match="does not say so"):
            reward([ROW], ["x"])

    def test_plain_functions_too(self) -> None:
        def right(examples: Sequence[Example], responses: Sequence[str]) -> list[bool]:
            return [example.label == response for example, response in zip(examples, responses, strict=True)]

        def bare(examples: Sequence[Example], responses: Sequence[str]) -> list[bool]:
            return [getattr(example, "".join(_HIDDEN)) is None for example in examples]

        reward = FunctionReward("right", right)
        assert reward.needs_gold
        assert reward([ROW], ["Sports"])[0].score == 1.0
        unsaid = FunctionReward("bare", bare)
        assert not unsaid.needs_gold
        assert unsaid([ROW], ["Sports"])[0].score == 1.0

    @pytest.mark.usefixtures("registered")
    def test_entries_say_what_their_rewards_read(self) -> None:
        @register_reward("right")
        def right(examples: Sequence[Example], responses: Sequence[str]) -> list[bool]:
            return [example.label == response for example, response in zip(examples, responses, strict=True)]

        assert find_reward("right").needs_gold
        rewards.add("other", rewardlab.rewards.RewardEntry("other", lambda _: FunctionReward("other", right), "x"))
        with pytest.raises(ConfigError, match="'other' reads gold labels and its entry says it does not"):
            build_reward(RewardConfig(expression="other"))

    def test_shipped_rewards(self) -> None:
        assert {name: rewards.get(name).needs_gold for name in ("rule", "length", "label", "ranked")} == {
            "rule": True, "length": False, "label": False, "ranked": False,
        }  # fmt: skip


@pytest.mark.usefixtures("registered")
def test_what_is_no_number_is_refused() -> None:
    register_trl_reward("words", lambda prompts, completions, **_: ["good"])
    with pytest.raises(TrainingError, match="reward 'words' returned str"):
        build_reward(RewardConfig(expression="words"))([ROW], ["abc"])


def test_round_trip() -> None:
    """A rewardlab reward handed to TRL and taken back scores as before, and still says that it reads gold."""
    right, wrong = "A match.\n\n The answer is: Sports", "Money.\n\n The answer is: Business"
    back = from_trl("back", rewardlab.as_trl_reward("rule", "agnews"))
    assert back.needs_gold
    assert [score.score for score in back([ROW] * 2, [right, wrong])] == [1.0, 0.0]
    assert find_reward("rule").build(RewardContext()).needs_gold
