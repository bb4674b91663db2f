"""OpenEnv's rubrics as rewards: a stand-in with their interface, and the real package where it is installed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rewardlab
from rewardlab.config import RewardConfig
from rewardlab.errors import ConfigError, DataError, TrainingError
from rewardlab.rewards import build_reward, find_reward, rewards
from rewardlab.rewards.openenv import from_openenv, is_openenv
from rewardlab.types import Example

ROW = Example("agnews", "n1", {"text": "Rovers won."}, "Sports")


class Rubric:
    """As ``openenv.core.rubrics.Rubric``: calls ``forward``, keeps its score, knows the rubrics that it has."""

    def __init__(self) -> None:
        self.last_score: float | None = None

    def __call__(self, action: Any, observation: Any) -> Any:
        result = self.forward(action, observation)
        self.last_score = None if asyncio.iscoroutine(result) else result
        return result

    def forward(self, action: Any, observation: Any) -> Any:
        raise NotImplementedError

    def named_rubrics(self, prefix: str = "") -> Iterator[tuple[str, Rubric]]:
        for name, child in vars(self).items():
            if isinstance(child, Rubric):
                yield prefix + name, child
                yield from child.named_rubrics(f"{prefix}{name}.")

    def reset(self) -> None:
        self.last_score = None


class Short(Rubric):
    """1 for an answer of few words."""

    def __init__(self, words: int = 3) -> None:
        super().__init__()
        self.words = words

    def forward(self, action: Any, observation: Any) -> float:
        return float(len(action.content.split()) <= self.words)


class Right(Rubric):
    """1 where the gold label is in the answer."""

    def forward(self, action: Any, observation: Any) -> float:
        return float(str(observation.label) in action)


class Both(Rubric):
    """The mean of two."""

    def __init__(self) -> None:
        super().__init__()
        self.short, self.right = Short(), Right()

    def forward(self, action: Any, observation: Any) -> float:
        return float(self.short(action, observation) + self.right(action, observation)) / 2


class Waiting(Rubric):
    """Ends once three of it wait."""

    arrived = 0

    async def forward(self, action: Any, observation: Any) -> float:
        Waiting.arrived += 1
        while Waiting.arrived < 3:
            await asyncio.sleep(0.001)
        return float(len(action))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewards, "_entries", dict(rewards._entries))


def test_action_and_observation_have_what_rubrics_read() -> None:
    seen: list[tuple[Any, Any]] = []

    class Watch(Rubric):
        def forward(self, action: Any, observation: Any) -> float:
            seen.append((action, observation))
            return 0.25

    [score] = from_openenv("watch", Watch())([ROW], ["a match"])
    assert (score.score, dict(score.parts)) == (0.25, {"watch": 0.25})
    [(action, observation)] = seen
    assert f"{action}" == action.message == action.content == action.text == action.response == "a match"
    assert "Rovers won." in f"{observation}"
    assert observation.prompt == observation.text == str(observation)
    assert (observation.done, observation.reward, observation.metadata["text"]) == (True, None, "Rovers won.")
    assert (observation.task, observation.id, observation.fields) == ("agnews", "n1", ROW.fields)


def test_rubrics_inside_stand_in_the_reason_and_are_those_of_the_response() -> None:
    reward = from_openenv("both", Both())
    scores = reward([ROW] * 3, ["Sports", "Business", "a b c d"])
    assert [score.score for score in scores] == [1.0, 0.5, 0.0]
    assert [score.reason for score in scores] == ["short 1, right 1", "short 1, right 0", "short 0, right 0"]


def test_gold_labels_are_read_where_the_code_of_a_rubric_inside_names_them() -> None:
    assert from_openenv("both", Both()).needs_gold
    assert not from_openenv("short", Short()).needs_gold
    with pytest.raises(TrainingError, match="'both' reads the gold label and does not say so"):
        from_openenv("both", Both(), needs_gold=False)([ROW], ["Sports"])
    told = Short()
    told.needs_gold = True  # type: ignore[attr-defined]
    assert from_openenv("short", told).needs_gold


def test_asynchronous_ones_are_asked_for_a_batch_at_once() -> None:
    Waiting.arrived = 0
    scores = from_openenv("waiting", Waiting())([ROW] * 3, ["a", "ab", "abc"])
    assert [score.score for score in scores] == [1.0, 2.0, 3.0]


def test_what_is_no_number_is_no_score() -> None:
    class Nothing(Rubric):
        def forward(self, action: Any, observation: Any) -> Any:
            return None if action == "a" else float("nan")

    reward = from_openenv("nothing", Nothing())
    assert [score.score for score in reward([ROW] * 2, ["a", "b"])] == [None, None]
    assert reward([], []) == []


def test_in_expressions_by_name_and_in_python() -> None:
    rewardlab.reward(name="brief")(Short())
    scores = build_reward(RewardConfig(expression="2 * brief + rule"))([ROW], ["Sports"])
    assert scores[0].terms == {"2 * brief": 2.0, "rule": -1.0}
    with pytest.raises(DataError, match="reads prompts; give examples="):
        rewardlab.score("brief", "agnews", ["Sports"], ["Sports"])
    assert find_reward("brief").description == "1 for an answer of few words."
    assert [score.score for score in rewardlab.score(Both(), "agnews", ["Sports"], examples=[ROW])] == [1.0]


def test_its_hash_is_that_of_what_it_is_not_of_what_it_scored() -> None:
    def hash_of(rubric: Rubric) -> str | None:
        monkeyed = dict(rewards._entries)
        rewardlab.reward(name="hashed")(rubric)
        found = find_reward("hashed").code_hash()
        rewards._entries.clear()
        rewards._entries.update(monkeyed)
        return found

    used = Both()
    used.short.last_score = used.last_score = 0.5
    other = Both()
    other.short.words = 4
    assert hash_of(Both()) == hash_of(used) != hash_of(other)


def test_by_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "from tests.unit.rewards.test_openenv import Rubric\n"
        "class Loud(Rubric):\n"
        "    'Capital letters.'\n"
        "    def forward(self, action, observation):\n"
        "        return float(action.isupper())\n"
        "loud = Loud()\n"
    )
    (tmp_path / "loud_rubric.py").write_text(source)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    reward = build_reward(RewardConfig(expression="loud_rubric:loud"))
    assert [score.score for score in reward([ROW] * 2, ["LOUD", "soft"])] == [1.0, 0.0]
    entry = find_reward("loud_rubric:loud")
    assert (entry.description, entry.needs_gold) == ("Capital letters.", False)
    before = entry.code_hash()
    sys.modules.pop("loud_rubric")
    (tmp_path / "loud_rubric.py").write_text(source.replace("isupper", "islower"))
    assert find_reward("loud_rubric:loud").code_hash() != before
    sys.modules.pop("loud_rubric")


def test_a_class_is_no_rubric_and_a_function_neither() -> None:
    assert not is_openenv(Short)
    assert not is_openenv(lambda action, observation: 1.0)
    with pytest.raises(ConfigError, match="expected a rubric of OpenEnv, the object itself"):
        from_openenv("short", Short)  # type: ignore[arg-type]


def test_rubrics_of_the_package_itself() -> None:
    core = pytest.importorskip("openenv.core.rubrics", reason="openenv-core is not installed")

    class Words(core.Rubric):  # type: ignore[misc, name-defined]
        def forward(self, action: Any, observation: Any) -> float:
            return min(1.0, len(action.message.split()) / 4)

    class Judge(core.LLMJudge):  # type: ignore[misc, name-defined]
        async def forward(self, action: Any, observation: Any) -> float:
            return self._parse_score(f"0.{len(self._render_prompt(action, observation)) % 10}")

    both = core.WeightedSum([Words(), core.Gate(Words(), threshold=0.5)], weights=[0.5, 0.5])
    assert is_openenv(both)
    scores = from_openenv("both", both)([ROW] * 2, ["a b", "a"])
    assert [score.score for score in scores] == [0.5, 0.125]  # 1/4: below the gate
    assert "rubric_1.rubric 0.25" in scores[1].reason
    judge = Judge("{action} after {observation}", client=None)
    [score] = from_openenv("judge", judge)([ROW], ["x"])
    assert score.score is not None
    assert from_openenv("sequence", core.Sequential(Words(), Words()))([ROW], ["a b c d"])[0].score == 1.0
