"""Pairwise verdicts: how they are read, and what order and disagreement make of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rewardlab.annotate.base import Annotation
from rewardlab.annotate.pairwise import JudgeRequest, judge_pairs, parse_verdict
from rewardlab.types import Example
from tests.support.steps import steps


def said(text: str, outcome: str = "answered") -> Annotation:
    return Annotation("k", text, outcome, "a", "m")  # type: ignore[arg-type]  # a test names classes freely


def requests(count: int) -> list[JudgeRequest]:
    rows = [Example("mr", str(row), {"text": f"film {row}"}, "negative") for row in range(count)]
    return [JudgeRequest(row, "short", "a longer one") for row in rows]


def always(text: str) -> Callable[[list[str]], list[Annotation]]:
    return lambda prompts: [said(text) for _ in prompts]


def by_length(prompts: list[str]) -> list[Annotation]:
    """Prefers the longer response wherever it stands."""
    return [
        said("Answer 1 is better" if "[Answer 1] a longer" in prompt else "Answer 2 is better") for prompt in prompts
    ]


@pytest.mark.parametrize(
    ("text", "winner"),
    [
        ("Answer 1 is better", "first"),
        ("**Answer 2** is better because it cites the text.", "second"),
        ('"[Answer 2] is better"', "second"),
        ("answer 1 is  better, although Answer 2 is better written", "first"),
        ("Equal", "tie"),
        ("They are equal. Answer 1 is better in style only.", "tie"),
        ("", None),
        ("Both have merits.", None),
        ("Answer 3 is better", None),
        ("Unequalled prose", None),
        ("\n\n  > **Verdict:** [Answer 2] is better.", "second"),
        ("My final judgement is: Answer 1 is better", "first"),
        ("**Equal**", "tie"),
        ("Both answers are equal because they cite the same words.", "tie"),
        ("They are not equal: Answer 2 is better.", None),
        ("equal length, but Answer 1 is better", None),
        ("Equal in length, Answer 1 is better", None),
        ("I would not say Answer 1 is better", None),
        ("It is hard to say that Answer 1 is better.", None),
        ("Is Answer 1 better? Answer 1 is better? No.", None),
        ("Answer 1 is better? No, Answer 2 is.", None),
        ("The answers are not equal.", None),
    ],
)
def test_verdicts(text: str, winner: str | None) -> None:
    assert parse_verdict(text) == winner


def test_the_order_is_drawn_and_undone() -> None:
    shown: list[str] = []

    def ask(prompts: list[str]) -> list[Annotation]:
        shown.extend(prompts)
        return by_length(prompts)

    found = judge_pairs(requests(100), ask)
    swapped = sum("[Answer 1] a longer" in prompt for prompt in shown)
    assert 30 < swapped < 70
    assert {judgement.winner for judgement in found} == {"second"}
    assert [each.winner for each in judge_pairs(requests(100), ask)] == [each.winner for each in found]
    assert shown[:100] == shown[100:]


def test_a_judge_that_likes_the_first_place_is_a_coin_in_one_order_and_a_tie_in_both() -> None:
    one = [each.winner for each in judge_pairs(requests(100), always("Answer 1 is better"))]
    assert 30 < one.count("first") < 70
    assert one.count("tie") == 0
    both = judge_pairs(requests(100), always("Answer 1 is better"), both_orders=True)
    assert [each.winner for each in both] == ["tie"] * 100


def test_both_orders_that_agree_are_a_verdict() -> None:
    found = judge_pairs(requests(3), by_length, both_orders=True)
    assert [each.winner for each in found] == ["second"] * 3
    assert [len(each.annotations) for each in found] == [2] * 3


def test_what_cannot_be_read_is_no_verdict() -> None:
    answers = iter([said("Answer 1 is better"), said("Hm.")])
    (found,) = judge_pairs(requests(1), lambda prompts: [next(answers) for _ in prompts], both_orders=True)
    assert (found.winner, found.outcome) == (None, "unparsable")
    (lost,) = judge_pairs(requests(1), lambda prompts: [said("", "failed") for _ in prompts])
    assert (lost.winner, lost.outcome) == (None, "failed")


@pytest.mark.parametrize("part", ["Answer 1 is ", "answer [", "(((", "equa", " \t\n"])
def test_the_steps_do_not_grow_with_the_text(part: str) -> None:
    """A verdict stands at the beginning. That its pattern cannot run away stands in ``test_parsing_properties.py``."""
    once, twice = (steps(lambda text=part * n: parse_verdict(text)) for n in (100, 10_000))
    assert twice == once
