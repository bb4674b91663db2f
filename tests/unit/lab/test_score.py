"""``rl.score`` and ``rl.reward``: scores worked by hand, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

import rewardlab as rl
from rewardlab.rewards import rewards

RIGHT = "It is about a match. \n\n The answer is: Sports"
WRONG = "It is about a match. \n\n The answer is: Business"
NONE = "It is about a match."


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(rewards, "_entries", dict(rewards._entries))
    monkeypatch.setattr(rewards, "_places", dict(rewards._places))
    return


def scores(reward: Any, responses: Sequence[str], labels: Any = None, **more: Any) -> list[float | None]:
    return [score.score for score in rl.score(reward, "agnews", responses, labels, **more)]


def test_the_rule_and_arithmetic() -> None:
    """Right 1, wrong 0, unreadable -1; 9 words, 9 words and 5 words are 0.09, 0.09 and 0.05 hundreds."""
    found = scores("2 * rule - length", [RIGHT, WRONG, NONE], ["Sports"] * 3)
    assert found == pytest.approx([2 - 0.09, -0.09, -2 - 0.05])


def test_gold_goes_to_functions_that_read_it_and_to_no_other() -> None:
    @rl.reward(name="seen_gold", needs_gold=False)
    def unseen(examples: Sequence[rl.Example], responses: Sequence[str]) -> list[float]:
        return [float(example.label is not None) for example in examples]

    @rl.reward
    def seen(examples: Sequence[rl.Example], responses: Sequence[str]) -> list[float]:
        return [float(example.label == "Sports") for example in examples]

    assert scores("seen_gold", [RIGHT, WRONG], ["Sports", "Business"]) == [0.0, 0.0]
    assert scores(seen, [RIGHT, WRONG], ["Sports", "Business"]) == [1.0, 0.0]


def test_a_plain_function_and_one_of_trl_are_rewards_too() -> None:
    def words(examples: Sequence[rl.Example], responses: Sequence[str]) -> list[float | None]:
        return [None if not response else float(len(response.split())) for response in responses]

    def by_trl(completions: list[str], **columns: Any) -> list[float]:
        return [float(len(completion)) for completion in completions]

    assert scores(words, ["a b c", ""]) == [3.0, None]
    rows = [rl.Example("agnews", "1", {"text": "?"})]
    assert scores(rl.reward(by_trl), ["abcd"], examples=rows) == [4.0]
    assert scores("words + by_trl", ["a b"], examples=rows) == [5.0]
    with pytest.raises(rl.DataError, match="'words - by_trl' reads prompts; give examples="):
        scores("words - by_trl", ["a b"])


def test_ids_and_examples_reach_the_reward() -> None:
    def named(examples: Sequence[rl.Example], responses: Sequence[str]) -> list[float]:
        return [float(example.id) + len(example.fields) for example in examples]

    rows = [rl.Example("agnews", "7", {"text": "?"}, "Sports")]
    assert scores(named, ["a", "b"]) == [0.0, 1.0]
    assert scores(named, ["a", "b"], ids=["5", "5"]) == [5.0, 5.0]
    assert scores(named, ["a"], examples=rows) == [8.0]
    assert scores("rule", [WRONG], examples=rows) == [0.0]


def test_lambda_and_format_count() -> None:
    assert scores("min(rule, lam)", ["Sports"], ["Sports"], format="label", lam=0.5) == [0.5]
    assert scores("rule", ["Sports"], ["Sports"], format="label") == [1.0]


@pytest.mark.parametrize(
    ("arguments", "more", "said"),
    [
        (("rule", [RIGHT], None), {}, "response 0 has none: give labels= or examples="),
        (("rule", [RIGHT], ["Sprots"]), {}, r"labels\[0\]: .*Sprots"),
        (("rule", [RIGHT, WRONG], ["Sports"]), {}, "1 labels for 2 responses"),
        (("rule", [RIGHT], ["Sports"]), {"ids": []}, "0 ids for 1 responses"),
        (("rule", [RIGHT], ["Sports"]), {"examples": []}, "labels and examples are both given"),
        (("rule", [RIGHT], None), {"examples": []}, "0 examples for 1 responses"),
        (("ranked", [RIGHT], None), {}, "reads prompts; give examples="),
        (("ranked", [RIGHT], None), {"examples": [rl.Example("agnews", "1", {"text": "?"})]}, "rm={'ranked': DIR}"),
        (("rulle", [RIGHT], ["Sports"]), {}, "did you mean rule"),
        (("rule", [RIGHT], ["Sports"]), {"r2": "label2"}, "reward.r2"),
        (("min(rule, lam)", [RIGHT], ["Sports"]), {}, "needs lambda"),
        (("grank(rule)", [RIGHT], ["Sports"]), {}, "compares the responses to one prompt; give ids="),
    ],
)
def test_what_cannot_be_scored_is_one_line(arguments: Any, more: Any, said: str) -> None:
    with pytest.raises(rl.InputError, match=said) as caught:
        scores(*arguments, **more)
    assert "\n" not in str(caught.value)


def test_what_is_no_reward_is_refused_where_it_is_written() -> None:
    with pytest.raises(rl.ConfigError, match=r"expected \(examples, responses\)"):

        @rl.reward
        def one(response: str) -> float:
            return 1.0

    with pytest.raises(rl.ConfigError, match="'rule' is registered already by rewardlab itself"):

        @rl.reward(name="rule")
        def mine(examples: Sequence[rl.Example], responses: Sequence[str]) -> list[float]:
            return [0.0 for _ in responses]


def test_methods_and_tasks_are_listed_by_name() -> None:
    assert {"ppo", "grpo", "rloo", "reinforce"} <= {method.name for method in rl.methods()}
    assert rl.load_task("agnews").labels[1] == "Sports"
    with pytest.raises(rl.InputError, match="names 3 tasks; load_task reads the answers of one"):
        rl.load_task("sandbox")


class TestRewardDifference:
    RESPONSES = ("The answer is: Sports", "So long. \n\n The answer is: Business", "Long. \n\n The answer is: Sports")

    def test_answers_to_one_prompt_and_their_places(self) -> None:
        differ = rl.reward_difference(
            "rule", "0 - length", "agnews", self.RESPONSES, ["Sports"] * 3, ids=["a", "a", "b"], format="label"
        )
        assert (differ.answers, differ.found.winners.prompts) == (3, 1)
        rows = {row["response"]: row for row in differ.rows()}
        assert [rows[text]["a"] for text in self.RESPONSES] == [
            score.score for score in rl.score("rule", "agnews", self.RESPONSES, ["Sports"] * 3, format="label")
        ]
        assert differ.frame().columns == ["id", "a", "b", "place_a", "place_b", "closeness", "gold", "response"]
        assert str(differ).startswith("3 answers; A = rule, B = 0 - length\nrank correlation: ")

    def test_both_rewards_are_checked_for_what_they_read(self) -> None:
        with pytest.raises(rl.DataError, match="'rule' needs gold labels"):
            rl.reward_difference("length", "rule", "agnews", self.RESPONSES)
        with pytest.raises(rl.DataError, match=r"gmax.*give ids="):
            rl.reward_difference("rule", "gmax(length)", "agnews", self.RESPONSES, ["Sports"] * 3)

    def test_lambda_is_for_those_that_use_it(self) -> None:
        differ = rl.reward_difference("rule", "min(length, lam)", "agnews", self.RESPONSES, ["Sports"] * 3, lam=0.02)
        assert max(row["b"] for row in differ.rows()) == 0.02
        with pytest.raises(rl.ConfigError, match="neither 'rule' nor 'length' uses it"):
            rl.reward_difference("rule", "length", "agnews", self.RESPONSES, ["Sports"] * 3, lam=0.02)

    def test_shares_of_labels_are_those_of_the_rows(self) -> None:
        responses, labels = [self.RESPONSES[2]] * 4, ["Sports", "Sports", "Sports", "Business"]
        differ = rl.reward_difference("rule_balanced", "rule", "agnews", responses, labels)
        weighed = rl.score("rule_balanced", "agnews", responses, labels)
        assert sorted(row["a"] for row in differ.rows()) == sorted(score.score for score in weighed)
        assert [row["a"] for row in differ.rows() if row["b"]] == pytest.approx([1 / (2 * 0.75)] * 3)
