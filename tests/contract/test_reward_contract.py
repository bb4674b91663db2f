"""One suite over every registered reward, and over ``mixed``: joining it takes nothing but being registered."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import rewardlab.rewards
from rewardlab.config import RewardConfig
from rewardlab.errors import DataError
from rewardlab.rewards import RewardContext, build_reward, label_shares, plan_reward, rewards
from rewardlab.types import PAIR_KINDS, Example, Reward, Score

NAMES = [*rewards.names(), "mixed"]
BATCH = [
    Example("agnews", "n1", {"text": "Rovers won the cup."}, "Sports"),
    Example("stsb", "s1", {"sentence1": "A man runs.", "sentence2": "A man walks."}, 3.0),
    Example("mnli", "m1", {"sentence1": "It rains.", "sentence2": "It is wet."}, "entailment", "judgement"),
    Example("mr", "r1", {"text": "A delight."}, "positive", "label"),
]
RESPONSES = [
    "A match.\n\n The answer is: Sports",
    "Close.\n\n The answer is: 3",
    " entailment </Judgement>",
    "positive",
]


class LongerIsBetter:
    """Grades by length, in the place of an annotator."""

    name = "rubric"
    needs_gold = False

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        values = [len(response) / (1 + len(response)) for response in responses]
        return [Score(value, {self.name: value}, {self.name: value}) for value in values]


@pytest.fixture(params=NAMES)
def reward(request: pytest.FixtureRequest) -> Reward:
    return build(request.param)


def build(name: str) -> Reward:
    scorers = dict.fromkeys(PAIR_KINDS, lambda examples, responses: [0.01 * len(response) for response in responses])
    stored = dict.fromkeys(PAIR_KINDS, (0.0, 1.0))
    return build_reward(
        RewardConfig(expression=name, lam="1" if name == "mixed" else None),
        RewardContext(scorers, stored, label_shares=label_shares(BATCH), rubric=LongerIsBetter()),
    )


def check(scores: list[Score], count: int) -> None:
    assert len(scores) == count
    for score in scores:
        assert score.is_scored
        assert sum(score.terms.values()) == pytest.approx(score.score)
        assert all(value is not None for value in score.parts.values())


@pytest.mark.parametrize("name", rewards.names())
def test_documented(name: str) -> None:
    entry = rewards.get(name)
    assert entry.name == name
    assert len(entry.description.split()) >= 5
    assert "\n" not in entry.description


def test_follows_the_protocol(reward: Reward) -> None:
    assert isinstance(reward, Reward)
    assert reward.name in NAMES


def test_mixed_task_batch(reward: Reward) -> None:
    check(reward(BATCH, RESPONSES), len(BATCH))


def test_deterministic_and_independent_of_the_batch(reward: Reward) -> None:
    together = reward(BATCH, RESPONSES)
    assert together == reward(BATCH, RESPONSES)
    assert together == [reward([example], [text])[0] for example, text in zip(BATCH, RESPONSES, strict=True)]


@pytest.mark.parametrize("text", ["", " \n", "\x00\ufffd", "word " * 20_000, "(" * 50_000], ids=range(5))
def test_empty_strange_and_long_text(reward: Reward, text: str) -> None:
    check(reward(BATCH, [text] * len(BATCH)), len(BATCH))


def test_empty_batch(reward: Reward) -> None:
    assert reward([], []) == []


@pytest.mark.parametrize("name", NAMES)
def test_needs_gold_is_the_truth(name: str) -> None:
    config = RewardConfig(expression=name, lam="1" if name == "mixed" else None)
    reward, unlabelled = build(name), [Example("agnews", "n1", {"text": "x"})]
    assert reward.needs_gold == plan_reward(config).needs_gold
    if reward.needs_gold:
        with pytest.raises(DataError, match="no gold label"):
            reward(unlabelled, [RESPONSES[0]])
    else:
        check(reward(unlabelled, [RESPONSES[0]]), 1)


def test_exports_exist_and_are_sorted() -> None:
    exported = rewardlab.rewards.__all__
    assert [name for name in exported if not hasattr(rewardlab.rewards, name)] == []
    assert len(set(exported)) == len(exported)
