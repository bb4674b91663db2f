"""Wrong labels follow RLLR's rule and do not give themselves away."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from rewardlab.annotate.wrong_labels import NumberRule, WrongLabels, balanced_weights
from rewardlab.disk import read_jsonl
from rewardlab.errors import DataError
from rewardlab.pairs.statistics import label_only_accuracy
from rewardlab.tasks import tasks
from rewardlab.types import Label, Pair

SIMILARITY = NumberRule(0, 5)
STARS = NumberRule(1, 5, is_integer=True)


def pair(task: str, gold: Label, wrong: Label) -> Pair:
    shown = tasks.get(task)
    chosen, rejected = shown.response(gold, "rationale", "same"), shown.response(wrong, "rationale", "same")
    return Pair(task, "0", "label", "rationale", "q", chosen, rejected, gold, wrong, gold, "test", "")


def leak(task: str, pairs: list[Pair]) -> float:
    """Label-only accuracy on the last quarter, fitted on the rest."""
    cut = len(pairs) * 3 // 4
    accuracy = label_only_accuracy(pairs[:cut], pairs[cut:])
    assert accuracy is not None
    return accuracy


def naive_pairs(golds: list[float]) -> list[Pair]:
    rng = random.Random(1)
    return [pair("stsb", gold, SIMILARITY.draw(gold, rng)) for gold in golds]


def our_pairs(task: str, golds: list[Label]) -> list[Pair]:
    draw = WrongLabels(tasks.get(task), golds[: len(golds) * 3 // 4])
    return [pair(task, gold, draw.draw(gold, 0, str(row))) for row, gold in enumerate(golds)]


def test_the_papers_example() -> None:
    assert SIMILARITY.apply(2.8, 0.3) == pytest.approx(1.1)  # 2.8 + 3 + 0.3 = 6.1, minus 5


@pytest.mark.parametrize(
    ("gold", "u", "wrong"),
    [
        (1, -1.0, 3),  # 1 + 2
        (1, 1.0, 5),  # 1 + 4
        (2, 0.2, 5),  # 5.2 rounds to 5 and stays
        (2, 0.5, 1),  # 5.5 rounds half up to 6, minus 5
        (2, 1.0, 1),  # unrounded, 6 - 5 = 1
        (3, 0.1, 1),  # 6.1 rounds to 6, minus 5; wrapped before rounding it would be 1.1
        (3, -0.6, 5),  # 5.4 rounds to 5
        (2, 0.1, 5),  # 5.1 wrapped before rounding would fall to 0.1, no star at all
        (5, 0.0, 3),  # 8 - 5
    ],
)
def test_stars_are_rounded_before_they_wrap(gold: int, u: float, wrong: int) -> None:
    assert STARS.apply(gold, u) == wrong


def test_which_stars_are_allowed() -> None:
    allowed = {gold: [star for star in range(1, 6) if STARS.allows(gold, star)] for gold in range(1, 6)}
    # gold + 2, 3 or 4, counted round the five stars
    assert allowed == {1: [3, 4, 5], 2: [1, 4, 5], 3: [1, 2, 5], 4: [1, 2, 3], 5: [2, 3, 4]}


def test_which_numbers_are_allowed() -> None:
    # 2.8 moves to 4.8 ... 6.8: up to 5 it stays, beyond it wraps to (0, 1.8]
    assert [SIMILARITY.allows(2.8, wrong) for wrong in (4.7, 4.8, 5.0, 0.0, 0.1, 1.8, 1.9)] == [
        False, True, True, False, True, True, False,
    ]  # fmt: skip


def test_other_ranges_scale_the_shift() -> None:
    rule = NumberRule(-1, 1)  # a shift of 1.2 +- 0.4, wrapped by 2
    assert rule.apply(-0.5, 0.0) == pytest.approx(0.7)
    assert rule.apply(0.5, 1.0) == pytest.approx(0.1)  # 0.5 + 1.6 - 2


def test_classes_are_drawn_evenly() -> None:
    draw = WrongLabels(tasks.get("agnews"), ["Business"] * 50)
    counts = Counter(draw.draw("Business", row) for row in range(3000))
    assert set(counts) == {"World politics", "Sports", "Science and technology"}
    assert all(900 < count < 1100 for count in counts.values())  # 1000 each, four standard deviations are 103


def test_numbers_are_drawn_by_frequency_among_observed_labels() -> None:
    # 2.2 (three times) and 2.6 (once) can both become wrong for 0.0 and 5.0 and for nothing else: no weight moves
    draw = WrongLabels(tasks.get("stsb"), [0.0, 2.2, 2.2, 2.2, 2.6, 5.0])
    counts = Counter(draw.draw(0.0, row) for row in range(2000))
    assert set(counts) == {2.2, 2.6}
    assert 1423 < counts[2.2] < 1577  # 1500 expected, four standard deviations are 77


def test_weights_make_wrong_labels_as_frequent_as_gold() -> None:
    # stars: 1 -> 3, 4, 5; 3 -> 1, 2, 5; 4 -> 1, 2, 3; observed are 1 (4 times), 3 (3), 4 (2)
    counts: dict[Label, int] = {"1": 4, "3": 3, "4": 2}
    weights = balanced_weights(counts, STARS)
    # 3 and 4 can only become 1 or 3: 3 -> 1 always (3 rows), 4 -> 1 or 3; 1 -> 3 or 4. Gold shares need 4 rows of
    # "1", so half of the two 4s: equal weights of 1 and 3. Of the four 1s two become 3 and two become 4.
    assert weights["1"] == pytest.approx(weights["3"], rel=0.01)
    assert weights["4"] == pytest.approx(weights["3"], rel=0.01)


def test_the_same_seed_draws_the_same_label() -> None:
    golds: list[Label] = [round(step * 0.2, 1) for step in range(26)]
    twice = [WrongLabels(tasks.get("stsb"), golds) for _ in range(2)]
    draws = [
        [draw.draw(2.8, seed, row) for row in range(50)]
        for draw, seed in zip([*twice, twice[0]], (0, 0, 1), strict=True)
    ]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


def test_without_observed_labels_the_rule_itself_draws() -> None:
    assert 2.0 <= float(WrongLabels(tasks.get("stsb"), []).draw(0.0, 1)) <= 4.0
    assert WrongLabels(tasks.get("appreviews"), []).draw("5", 1) in ("2", "3", "4")


def test_a_single_label_is_an_error() -> None:
    from dataclasses import replace

    with pytest.raises(DataError, match="only label"):
        WrongLabels(replace(tasks.get("mr"), name="one", labels=("positive",)), []).draw("positive", 0)


def test_the_leak_and_its_repair_on_made_up_scores() -> None:
    rng = random.Random(0)
    golds = [round(rng.randrange(26) * 0.2, 1) for _ in range(1600)]
    assert leak("stsb", naive_pairs(golds)) > 0.95  # digits such as 1.137 betray the wrong number
    assert leak("stsb", our_pairs("stsb", list(golds))) < 0.60


@pytest.mark.skipif("REWARDLAB_DATA" not in os.environ, reason="needs REWARDLAB_DATA with STS-B")
def test_the_leak_and_its_repair_on_stsb() -> None:
    rows = list(read_jsonl(Path(os.environ["REWARDLAB_DATA"]) / "stsb" / "train.jsonl"))
    golds = [float(row["label"]) for row in rows]
    random.Random(0).shuffle(golds)
    assert leak("stsb", naive_pairs(golds)) > 0.97
    assert leak("stsb", our_pairs("stsb", list(golds))) < 0.58


@pytest.mark.skipif("REWARDLAB_DATA" not in os.environ, reason="needs REWARDLAB_DATA with AppReviews")
def test_the_leak_and_its_repair_on_appreviews() -> None:
    rows = list(read_jsonl(Path(os.environ["REWARDLAB_DATA"]) / "appreviews" / "train.jsonl"))
    golds: list[Label] = [str(row["label"]) for row in rows]
    random.Random(0).shuffle(golds)
    rng = random.Random(1)
    naive = [pair("appreviews", gold, f"{STARS.draw(float(gold), rng):.0f}") for gold in golds]
    assert leak("appreviews", naive) > 0.75
    assert leak("appreviews", our_pairs("appreviews", golds)) < 0.68
