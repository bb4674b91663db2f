"""What is known of flipped preferences: by the sandbox's truth, by reviews, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rewardlab.annotate.review import Review, review_items, store_review
from rewardlab.errors import ConfigError
from rewardlab.pairs.flips import FlipRate, known_flip_rate
from rewardlab.tasks.task import prompt_of
from rewardlab.types import Example, Pair

ROW = Example(
    "sandbox-sentiment",
    "p1",
    {"text": "the plot was good."},
    "positive",
    evidence={
        "structure": "plain",
        "connective": "",
        "clauses": [{"aspect": "plot", "negators": [], "degree": "", "word": "good", "reading": "positive"}],
        "honest": ["positive"],
        "cite": {"positive": ["plot", "good"], "negative": ["plot", "good"]},
    },
)
MARK = "\n\n The answer is: "
FULL = f'"plot" and "good" sound positive.{MARK}positive'  # right, quality 1: utility 1
REWORDED = f'it has "plot" and "good", so it sounds positive.{MARK}positive'  # the same utility
BARE = f"it sounds positive.{MARK}positive"  # right, quality 0.2: utility 0.8 + 0.2 * 0.2 = 0.84
WRONG = f"it sounds negative.{MARK}negative"  # utility 0.2 * 0.2 at most


def pair(chosen: str, rejected: str, row: Example = ROW) -> Pair:
    return Pair(
        row.task,
        row.id,
        "ranked",
        "rationale",
        prompt_of(row),
        chosen,
        rejected,
        "positive",
        None,
        "positive",
        "a",
        "m",
    )


def test_the_sandbox_knows_which_preferences_are_flipped() -> None:
    """Four as they should be, then one of those, two that are turned round, and a coin's: 2.5 of 8."""
    good = [pair(FULL, WRONG), pair(FULL, BARE), pair(BARE, WRONG), pair(REWORDED, BARE)]
    mixed = [pair(FULL, WRONG), pair(BARE, FULL), pair(WRONG, BARE), pair(FULL, REWORDED)]
    assert known_flip_rate(good, [ROW], 0.8) == FlipRate(0.0, 4, "the sandbox's truth")
    assert known_flip_rate([*good, *mixed], [ROW], 0.8) == FlipRate(2.5 / 8, 8, "the sandbox's truth")


def test_what_is_better_follows_the_oracles_weight() -> None:
    """A wrong answer that quotes all has quality 0.2 + 0.8 * 0.5 = 0.6, which at weight 0 beats 0.2 of a right one."""
    misled = f'"plot" and "good" sound negative.{MARK}negative'
    pairs = [pair(FULL, misled), pair(BARE, misled), pair(FULL, BARE)]
    assert known_flip_rate(pairs, [ROW], 0.8).rate == 0.0
    assert known_flip_rate(pairs, [ROW], 0.0).rate == pytest.approx(1 / 3)


def test_pairs_that_prefer_the_worse_are_refused() -> None:
    with pytest.raises(ConfigError, match="67 % of these pairs are flipped by the sandbox's truth"):
        known_flip_rate([pair(FULL, WRONG), pair(BARE, FULL), pair(WRONG, BARE)], [ROW], 0.8)


REAL = Example("mr", "0", {"text": "a warm film"}, "positive")


def reviewed(folder: Path, *, accepted: int, rejected: int, others: int = 5) -> list[Pair]:
    """An annotate run of so many chosen rationales, judged so, and of others that were rejected and do not count."""
    count = accepted + rejected
    rows = [
        {
            "task": "mr",
            "id": str(number % count),
            "label": label,
            "rationale": f"It is {number}.",
            "dropped": "",
            "good": 0.9,
        }
        for number, label in enumerate([*["positive"] * count, *["negative"] * others])
    ]
    dropped = {**rows[0], "id": "0", "rationale": "", "dropped": "I refuse."}
    folder.mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in [*rows, dropped])
    (folder / "rationales.jsonl").write_text(lines, encoding="utf-8")
    for number, item in enumerate(review_items(folder, dict)):
        store_review(folder, item, Review(item.key, "accept" if number < accepted else "reject"))
    return [pair(FULL, WRONG, replace(REAL, id=str(number))) for number in range(count)]


def test_reviews_of_chosen_rationales_give_the_rate(tmp_path: Path) -> None:
    """2 of 25; rejected rationales of rejected responses, and one the filter dropped, say nothing of the preference."""
    pairs = reviewed(tmp_path / "run", accepted=23, rejected=2)
    found = known_flip_rate(pairs, [REAL], 0.8, tmp_path / "run")
    assert found == FlipRate(2 / 25, 25, "the review of the chosen responses' rationales")


def test_too_few_reviews_are_nothing_known(tmp_path: Path) -> None:
    pairs = reviewed(tmp_path / "run", accepted=18, rejected=1)
    with pytest.raises(ConfigError, match=r"fewer than 20 of their rationales are reviewed\); give the number"):
        known_flip_rate(pairs, [REAL], 0.8, tmp_path / "run")


def test_pairs_of_a_real_task_without_reviews_are_nothing_known() -> None:
    for examples in ([REAL], []):
        with pytest.raises(ConfigError, match=r"nothing is known .* such as --flip-rate 0\.1"):
            known_flip_rate([pair(FULL, WRONG, REAL)], examples, 0.8)
