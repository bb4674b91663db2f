"""What holds for every pair and every text."""

from __future__ import annotations

import random
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from rewardlab.annotate.base import Annotation, dense_places
from rewardlab.annotate.filter import checked
from rewardlab.annotate.pairwise import places_from_margins
from rewardlab.annotate.ranking import parse_ranking
from rewardlab.annotate.wrong_labels import NumberRule, WrongLabels
from rewardlab.pairs.rationale_sensitive import RankedSamples, pairs_from_ranking
from rewardlab.pairs.statistics import kind_shares
from rewardlab.tasks import tasks
from rewardlab.types import Example

RANKING_TEXT = st.text() | st.text("0123456789>=≻ \nRanking:Answer[](){}\"'*", max_size=80)
ANSWERS = st.sampled_from(["positive", "negative", None])
SCALES = st.tuples(st.integers(-5, 5), st.integers(1, 20)).map(lambda scale: (scale[0], scale[0] + scale[1]))


@given(RANKING_TEXT, st.integers(2, 5))
def test_ranking_parser_never_raises_and_never_invents(text: str, count: int) -> None:
    places = parse_ranking(text, count).places
    assert places == () or (len(places) == count and set(places) == set(range(1, max(places) + 1)))


@given(st.lists(st.integers(0, 3), min_size=2, max_size=5), st.sampled_from([">", " > ", "≻"]))
def test_a_printed_ranking_is_read_back(utilities: list[int], better: str) -> None:
    places = dense_places([float(utility) for utility in utilities])
    groups = [[str(i + 1) for i, place in enumerate(places) if place == rank] for rank in range(1, max(places) + 1)]
    text = "Because.\n\nRanking: " + better.join("=".join(group) for group in groups)
    assert parse_ranking(text, len(places)).places == places


@given(st.text(max_size=300), st.sampled_from(["mr", "agnews", "mrpc", "appreviews", "stsb", "mnli"]))
def test_the_filter_never_raises(text: str, name: str) -> None:
    label = tasks.get(name).labels[0] if tasks.get(name).labels else 2.5
    (kept,) = checked([Annotation("k", text, "answered", "a", "m")], [(Example(name, "1", {}, label), label)], 0.5)
    assert kept.outcome in ("answered", "refused", "mismatched", "unparsable")


@given(SCALES, st.floats(0, 1), st.floats(-1, 1))
def test_a_wrong_number_stays_on_the_scale_and_away_from_gold(scale: tuple[int, int], at: float, u: float) -> None:
    rule = NumberRule(*scale)
    gold = scale[0] + at * (scale[1] - scale[0])
    wrong = rule.apply(gold, u)
    # it moves by 0.4 to 0.8 of the scale, or, wrapped, by 0.2 to 0.6
    assert scale[0] - 1e-6 <= wrong <= scale[1] + 1e-6
    assert abs(wrong - gold) >= 0.2 * rule.span - 1e-6
    assert rule.allows(gold, min(max(wrong, scale[0]), scale[1]))


@given(st.integers(2, 11), st.integers(0, 10), st.floats(-1, 1))
def test_a_wrong_star_is_another_star(count: int, at: int, u: float) -> None:
    rule = NumberRule(1, count, is_integer=True)
    gold = 1 + at % count
    wrong = rule.apply(gold, u)
    assert wrong == int(wrong)
    assert 1 <= wrong <= count
    if count > 2:
        assert wrong != gold
        assert rule.allows(gold, wrong)


@given(st.lists(st.integers(0, 25), min_size=1, max_size=40), st.integers(0, 25), st.integers(0, 99))
def test_observed_wrong_labels_satisfy_the_rule(observed: list[int], gold: int, seed: int) -> None:
    rule = NumberRule(0, 5)
    labels = [round(step * 0.2, 1) for step in observed]
    value = round(gold * 0.2, 1)
    wrong = float(WrongLabels(tasks.get("stsb"), labels).draw(value, seed))
    if any(rule.allows(value, label) for label in labels):
        assert wrong in labels
        assert rule.allows(value, wrong)
    assert abs(wrong - value) >= 0.9  # an unobserved number is rounded to one decimal


@given(st.lists(st.tuples(st.integers(0, 4), ANSWERS, st.integers(1, 4)), min_size=2, max_size=5))
def test_ranked_pairs_follow_the_ranking_and_never_repeat(rows: list[tuple[int, str | None, int]]) -> None:
    texts = tuple(f"text {row[0]}" for row in rows)
    by_text = dict(zip(texts, rows, strict=True))
    answers = tuple(by_text[text][1] for text in texts)
    places = tuple(by_text[text][2] for text in texts)
    example = Example("sandbox-sentiment", "1", {"text": "x"}, "positive")
    samples = [RankedSamples(example, texts, answers, places, "answered", "", "a", "m")]
    every = pairs_from_ranking(samples, "ranked")
    pairs = [(pair.chosen, pair.rejected) for pair in every.pairs]
    assert all(by_text[chosen][2] < by_text[rejected][2] for chosen, rejected in pairs)
    assert len(pairs) == len(set(pairs)) == sum(by_text[a][2] != by_text[b][2] for a, b in combinations(set(texts), 2))
    assert len(every.outcomes) == len(rows) * (len(rows) - 1) // 2
    same = pairs_from_ranking(samples, "rationale").pairs
    assert all(pair.chosen_label == pair.rejected_label is not None for pair in same)
    assert {(pair.chosen, pair.rejected) for pair in same} <= set(pairs)


@given(st.lists(st.lists(ANSWERS, min_size=2, max_size=5), min_size=1))
def test_kind_shares_add_up(answers: list[list[str | None]]) -> None:
    shares = kind_shares(answers)
    assert abs(shares["rationale_sensitive"] + shares["label_sensitive"] + shares["malformed"] - 1) < 1e-9


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=5, unique=True), st.floats(-5, 5))
def test_a_position_bias_does_not_change_a_consistent_ranking(strengths: list[int], bias: float) -> None:
    count = len(strengths)
    margins = {(i, j): bias + strengths[i] - strengths[j] for i in range(count) for j in range(count) if i != j}
    assert places_from_margins(margins, count) == dense_places([float(strength) for strength in strengths])


@given(st.integers(0, 2**32))
def test_naive_draws_satisfy_the_rule(seed: int) -> None:
    rng = random.Random(seed)
    gold = round(rng.uniform(0, 5), 2)
    assert NumberRule(0, 5).allows(gold, NumberRule(0, 5).draw(gold, rng))
