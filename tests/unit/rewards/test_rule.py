"""The rule reward's numbers (PPO-NLU 4.3), the length control, learned scores that are not finite, the registry."""

from __future__ import annotations

import ast
import json
import math
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

import rewardlab.rewards
from rewardlab.errors import ConfigError, DataError, UnknownNameError
from rewardlab.rewards import (
    RewardContext,
    RewardEntry,
    find_reward,
    register_reward,
    register_trl_reward,
    rewards,
)
from rewardlab.rewards.functions import as_score, load_reference, takes_a_batch
from rewardlab.rewards.rule import rule_score
from rewardlab.tasks import tasks
from rewardlab.types import AnswerFormat, Example, Label, Reading, Score

TEXT = {"text": "Rovers won the cup."}
PAIR = {"sentence1": "A man runs.", "sentence2": "A man is running."}


def news(label: Label | None = "Sports", format: AnswerFormat = "rationale") -> Example:
    return Example("agnews", "n1", TEXT, label, format)


def similarity(label: float) -> Example:
    return Example("stsb", "s1", PAIR, label)


def rule(example: Example, response: str, reading: Reading = "lenient") -> Score:
    return rewards.get("rule").build(RewardContext(reading=reading))([example], [response])[0]


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("It is about a match.\n\n The answer is: Sports", 1.0),
        ("It is about money.\n\n The answer is: Business", 0.0),
        ("I cannot tell.", -1.0),
        ("", -1.0),
        ("Hm.\n\n The answer is: Sports or Business", -1.0),
    ],
)
def test_classification(response: str, expected: float) -> None:
    assert rule(news(), response).score == expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("Alike.\n\n The answer is: 3.5", 2.0),  # 2.5 - |3.5 - 4.0|
        ("Alike.\n\n The answer is: 4", 2.5),
        ("Unlike.\n\n The answer is: 0", -1.5),  # 2.5 - 4
        ("Alike.\n\n The answer is: 6", -2.5),  # out of range counts as malformed
        ("No idea.", -2.5),
    ],
)
def test_regression(response: str, expected: float) -> None:
    assert rule(similarity(4.0), response).score == pytest.approx(expected, abs=1e-12)


def test_strict_reading_wants_the_exact_format() -> None:
    response = "A match.\nThe answer is: **sports**."
    lenient, strict = rule(news(), response), rule(news(), response, "strict")
    assert (lenient.score, strict.score) == (1.0, -1.0)
    assert strict.reason.startswith("malformed")


def test_the_format_of_the_example_decides_how_it_is_read() -> None:
    assert rule(news(format="label"), "Sports").score == 1.0
    assert rule(news(format="judgement"), " Sports </Judgement>").score == 1.0
    assert rule(news(), "Sports").score == -1.0


def test_malformed_is_judged_and_says_why() -> None:
    score = rule(news(), "no answer here")
    assert score.is_scored
    assert score.answer is not None
    assert score.answer.is_malformed
    assert "malformed" in score.reason


def test_no_gold_label_is_refused() -> None:
    with pytest.raises(DataError, match="agnews: row n1 has no gold label"):
        rule(news(label=None), "\n\n The answer is: Sports")


def test_length_counts_hundreds_of_words() -> None:
    scores = rewards.get("length").build(RewardContext())([news(), news()], ["one two  three", ""])
    assert [score.score for score in scores] == [0.03, 0.0]


@pytest.mark.parametrize("raw", [math.nan, math.inf])
def test_a_learned_score_that_is_not_finite_is_no_score(raw: float) -> None:
    context = RewardContext(scorers={"label": lambda examples, responses: [raw, 1.5]})
    bad, good = rewards.get("label").build(context)([news(), news()], ["a", "b"])
    assert bad.score is None
    assert "label reward model gave" in bad.reason
    assert good.score == 1.5


def test_a_missing_reward_model_says_how_to_make_one() -> None:
    with pytest.raises(ConfigError, match="rewardlab rm train --kind ranked"):
        rewards.get("ranked").build(RewardContext())


def test_quantile_and_zscore_of_stored_scores() -> None:
    context = RewardContext(sft_scores={"label": [4.0, 1.0, 2.0, 3.0]})
    assert context.quantile("label", 50) == 2.5
    assert context.quantile("label", 90) == pytest.approx(3.7)  # place 2.7 between 3 and 4
    assert context.quantile("label", 100) == 4.0
    assert context.zscore("label", 2.0) == pytest.approx(2.5 + 2 * math.sqrt(1.25))


def test_stored_scores_that_are_missing_are_an_error() -> None:
    with pytest.raises(ConfigError, match="no stored scores"):
        RewardContext(sft_scores={"label": [math.nan]}).quantile("label", 50)


@pytest.mark.parametrize(
    "name", ["mixed", "lam", "r2", "min", "max", "clip", "gate", "q", "z", "two words", "and", "9lives"]
)
def test_names_that_expressions_cannot_use_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used in expressions"):
        register_reward(name)(lambda examples, responses: [0.0] * len(responses))


def test_a_reference_keeps_what_was_declared_when_its_function_was_registered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType("rewards_of_mine")
    vars(module)["strict"] = register_reward("strict_of_mine", needs_gold=True, needs_prompt=False)(
        lambda examples, responses: [0.0] * len(responses)
    )
    monkeypatch.setitem(sys.modules, "rewards_of_mine", module)
    found = find_reward("rewards_of_mine:strict")
    assert (found.needs_gold, found.needs_prompt, found.module) == (True, False, "rewards_of_mine")


def test_what_a_reward_is_without_further_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewards, "_entries", dict(rewards._entries))

    @register_reward("plain_of_mine")
    def plain(examples: list[Example], responses: list[str]) -> list[float]:
        """One for all.

        Whatever they say.
        """
        return [1.0 for _ in responses]

    entry = find_reward("plain_of_mine")
    assert (entry.needs_gold, entry.needs_prompt, entry.description) == (False, True, "One for all.")
    told = register_reward("told_of_mine", description="what is told")(lambda examples, responses: [])
    assert told([], []) == []
    assert find_reward("told_of_mine").description == "what is told"
    assert register_trl_reward("quiet_of_mine", quiet).description == "no description"
    assert register_trl_reward("loud_of_mine", quiet, description="what is told").description == "what is told"
    with pytest.raises(ConfigError, match="registered already"):
        register_trl_reward("loud_of_mine", lambda completions, **_: [0.0])
    register_trl_reward("loud_of_mine", lambda completions, **_: [0.0], replace=True)


def test_a_scale_may_begin_anywhere() -> None:
    """From 1 to 5 half the width is 2, whatever the numbers are."""
    task = replace(tasks.get("stsb"), numeric_range=(1.0, 5.0))
    assert [rule_score(task, value, 4.0) for value in (4.0, 3.0, 1.0, None)] == [2.0, 1.0, -1.0, -2.0]


@pytest.mark.parametrize(("path", "added"), [(["/else"], True), (["/else", ""], False), (["here", "/else"], False)])
def test_references_are_looked_for_in_the_current_folder(
    path: list[str], added: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [str(tmp_path) if place == "here" else place for place in path]
    monkeypatch.setattr(sys, "path", given.copy())
    assert load_reference("json:dumps") is json.dumps
    assert sys.path == [*given, *([str(tmp_path)] if added else [])]


def test_a_built_in_without_a_signature_is_tried() -> None:
    assert takes_a_batch(min)
    assert not takes_a_batch(lambda examples: [])


def test_unknown_reward_lists_near_names() -> None:
    with pytest.raises(UnknownNameError, match="did you mean label"):
        find_reward("labels")


def shout(examples: list[Example], responses: list[str]) -> list[float | None]:
    """1 for capitals only."""
    return [None if not response else float(response.isupper()) for response in responses]


def quiet(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
    return [-float(len(completion)) for completion in completions]


def test_a_function_by_reference() -> None:
    entry = find_reward(f"{__name__}:shout")
    scores = entry.build(RewardContext())([news()] * 3, ["LOUD", "soft", ""])
    assert [score.score for score in scores] == [1.0, 0.0, None]
    assert entry.description == "1 for capitals only."
    assert (entry.needs_gold, entry.needs_prompt, entry.module) == (False, True, __name__)


def test_a_function_that_returns_nan_could_not_judge() -> None:
    score = as_score("mine", math.nan)
    assert (score.score, score.reason) == (None, "mine returned nan")


def test_a_trl_function_by_reference() -> None:
    scores = find_reward(f"{__name__}:quiet").build(RewardContext())([news()], ["abc"])
    assert scores[0].score == -3.0


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no_such_package_at_all:f", "cannot import"),
        ("json:no_such_function", "no attribute"),
        ("json:__name__", "expected a callable"),
        ("os:getcwd", "expected .examples, responses."),
    ],
)
def test_references_that_are_no_rewards(reference: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_reward(reference)


def test_registering_a_name_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="registered already"):
        rewards.add("rule", RewardEntry("rule", lambda context: rewards.get("length").build(context), "another"))


def test_the_package_offers_all_that_it_imports() -> None:
    tree = ast.parse(Path(rewardlab.rewards.__file__).read_text(encoding="utf-8"))
    imported = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(rewardlab.rewards.__all__) == sorted(imported)
