"""Another expression on stored responses: exact, from stored parts alone, and missing parts are named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rewardlab.config import RewardConfig
from rewardlab.disk import read_jsonl
from rewardlab.errors import ConfigError, DataError, ExpressionError
from rewardlab.evaluation.rollout_files import RolloutFile, read_rollouts
from rewardlab.rewards import RewardContext, build_reward, rewards
from rewardlab.rewards.registry import RewardEntry
from rewardlab.rewards.rescoring import MissingPartsError, StoredResponse, lent_parts, rescore
from rewardlab.types import Example, Score
from tests.support.training import ppo_trainer

MIXED = RewardConfig(expression="mixed - length / 7", lam="q37.5")
SFT_SCORES = {"label": [0.1, 0.7, 1.3, 2.9]}


def thirds(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """Scores that no short decimal holds, and one that could not be judged for each empty response."""
    return [len(text) / 3 if text else float("nan") for text in responses]


def sevenths(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    return [sum(map(ord, text)) / 7e5 - 1 / 3 for text in responses]


def row(
    step: int = 1, name: str = "a", text: str = "t", gold: str | None = None, **parts: float | None
) -> StoredResponse:
    return StoredResponse(step, Example("agnews", name, {}, gold), text, parts, None)


def scores(rows: Sequence[StoredResponse], expression: str, lam: str | None = None) -> list[float | None]:
    found = rescore(rows, RewardConfig(expression=expression, lam=lam), SFT_SCORES)
    return [score.score for score in found.scores]


def test_its_own_expression_gives_a_ledger_its_own_scores_bit_by_bit(tmp_path: Path) -> None:
    """A ledger that the trainer wrote: text in a file and back, part by part, term by term."""
    context = RewardContext({"label": thirds, "ranked": sevenths}, SFT_SCORES)
    ppo_trainer(tmp_path, build_reward(MIXED, context), steps=2, max_unscored=1.0).train()
    ledger = tmp_path / "run" / "samples.jsonl"
    stored = list(read_jsonl(ledger))
    found = rescore(read_rollouts(RolloutFile(ledger)), MIXED, SFT_SCORES)
    assert [each.score for each in found.scores] == [each["score"] for each in stored]
    assert [dict(each.terms) for each in found.scores] == [each["terms"] for each in stored]
    assert [dict(each.parts) for each in found.scores] == [each["parts"] for each in stored]
    assert len({each["score"] for each in stored}) > 8  # of 16 responses
    assert found.computed == ()
    # 0.1 0.7 1.3 2.9: place 3 * 0.375 = 1.125, an eighth of the way from 0.7 to 1.3
    assert found.lam == pytest.approx(0.775)


def test_another_expression_is_worked_from_the_stored_parts() -> None:
    rows = [row(label=6.0, ranked=0.5), row(label=-1.0, ranked=2.0), row(label=None, ranked=1.0)]
    assert scores(rows, "mixed", "5") == [5.5, 1.0, None]
    assert scores(rows, "gate(ranked > 1, label, 10)") == [10.0, -1.0, 10.0]
    assert scores(rows, "ranked") == [0.5, 2.0, 1.0]


def test_rules_and_lengths_that_nobody_stored_are_computed_from_the_text() -> None:
    rows = [
        row(text="So.\n\n The answer is: Sports", gold="Sports", label=1.0),
        row(text="?", gold="Sports", label=2.0),
    ]
    found = rescore(rows, RewardConfig(expression="rule - length + 0 * label"))
    # 5 words: 1 - 0.05; malformed: -1 - 0.01
    assert [each.score for each in found.scores] == pytest.approx([0.95, -1.01])
    assert found.computed == ("rule", "length")


def test_a_stored_part_counts_though_it_could_be_computed() -> None:
    rows = [row(text="one two three", length=0.5)]
    assert scores(rows, "length") == [0.5]
    assert [each.score for each in rescore(rows, RewardConfig(expression="length"), fresh=["length"]).scores] == [0.03]


@pytest.mark.parametrize(
    ("expression", "lam", "missing"),
    [("mixed", "5", ["label", "ranked"]), ("rule + ranked", None, ["rule", "ranked"]), ("rule", None, ["rule"])],
)
def test_what_is_missing_is_named(expression: str, lam: str | None, missing: list[str]) -> None:
    with pytest.raises(
        MissingPartsError, match=f"needs the raw scores of {', '.join(missing)}; stored are length"
    ) as error:
        scores([row(length=1.0)], expression, lam)
    assert [part.name for part in error.value.parts] == missing


def test_a_reward_that_reads_fields_cannot_be_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = RewardEntry("overlap", lambda context: None, "shares words with the text")  # type: ignore[arg-type,return-value]
    monkeypatch.setitem(rewards._entries, "overlap", entry)
    with pytest.raises(MissingPartsError, match="needs the raw scores of overlap"):
        scores([row()], "overlap")


def test_a_part_that_some_rows_lack_is_an_error() -> None:
    with pytest.raises(DataError, match="part 'ranked' stands in 1 of 2 rows"):
        scores([row(ranked=1.0), row()], "length")


def test_names_that_only_the_rows_know_are_known_inside_alone() -> None:
    rows = [row(accuracy_reward=1.0, format_reward=0.25)]
    assert scores(rows, "accuracy_reward + 2 * format_reward") == [1.5]
    assert "accuracy_reward" not in rewards
    with pytest.raises(ExpressionError, match="unknown reward 'accuracy_rewards'; did you mean accuracy_reward"):
        scores(rows, "accuracy_rewards")


def test_a_stored_part_needs_neither_gold_label_nor_prompt() -> None:
    with lent_parts([row(accuracy_reward=1.0)]):
        built = build_reward(RewardConfig(expression="accuracy_reward"))
    assert (built.needs_gold, built.needs_prompt) == (False, False)


@pytest.mark.parametrize("task", ["agnews", "no-such-task"])
def test_a_rule_is_computed_where_every_row_has_a_label_of_a_known_task(task: str) -> None:
    golds = ["Sports", None] if task == "agnews" else ["Sports", "Sports"]
    rows = [StoredResponse(1, Example(task, "a", {}, gold), "t", {}, None) for gold in golds]
    with pytest.raises(MissingPartsError, match="needs the raw scores of rule; stored are none"):
        scores(rows, "rule")


def test_computed_parts_see_what_else_the_rows_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    def carried(examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        return [Score(float(example.evidence["weight"])) for example in examples]

    entry = RewardEntry("carried", lambda context: carried, "a weight", needs_prompt=False)  # type: ignore[arg-type,return-value]
    carried.needs_gold = False  # type: ignore[attr-defined]
    monkeypatch.setitem(rewards._entries, "carried", entry)
    example = Example("agnews", "a", {}, evidence={"weight": 3})
    assert scores([StoredResponse(1, example, "t", {"label": 2.0}, None)], "carried + label") == [5.0]


def test_steps_are_scored_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward that compares the responses of its call sees one step at a time."""
    calls: list[list[str]] = []

    def watched(examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        calls.append(list(responses))
        return [Score(float(len(responses))) for _ in responses]

    entry = RewardEntry("crowd", lambda context: watched, "how many", needs_prompt=False)  # type: ignore[arg-type,return-value]
    watched.needs_gold = False  # type: ignore[attr-defined]
    monkeypatch.setitem(rewards._entries, "crowd", entry)
    assert scores([row(1, text="x"), row(1, text="y"), row(2, text="z")], "crowd") == [2.0, 2.0, 1.0]
    assert calls == [["x", "y"], ["z"]]


def test_quantiles_without_stored_scores_are_refused() -> None:
    with pytest.raises(ConfigError, match="the label reward model has no stored scores"):
        rescore([row(label=1.0, ranked=1.0)], RewardConfig(expression="mixed", lam="q50"))


def test_group_operators_compare_the_responses_to_one_prompt_in_one_step() -> None:
    rows = [row(1, "a", rule=1.0), row(1, "b", rule=5.0), row(1, "a", rule=0.0), row(2, "a", rule=7.0)]
    # means of (1, a) is 0.5, of (1, b) 5, of (2, a) 7
    assert scores(rows, "rule - gmean(rule)") == [0.5, 0.0, -0.5, 0.0]
