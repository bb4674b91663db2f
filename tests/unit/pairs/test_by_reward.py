"""Pairs of a model's own answers: the best against the worst, by scores given by hand."""

from __future__ import annotations

from collections.abc import Sequence

from rewardlab.pairs.by_reward import best_against_worst
from rewardlab.pairs.label_sensitive import Built
from rewardlab.tasks.task import prompt_of
from rewardlab.types import Example, Score

ROW = Example("sst2", "7", {"text": "a warm film"}, "positive", "label")


def built(*answers: tuple[str, float | None]) -> Built:
    scored: Sequence[tuple[str, Score]] = [(text, Score(score)) for text, score in answers]
    return best_against_worst([ROW], [scored], "rule - 0.1 * length")


def test_the_best_is_preferred_to_the_worst() -> None:
    (pair,) = built(("neutral", 0.2), ("negative", -1.5), ("positive", 2.0), ("unreadable", 0.0)).pairs
    assert (pair.chosen, pair.rejected) == ("positive", "negative")
    assert (pair.chosen_label, pair.rejected_label, pair.gold_label) == ("positive", "negative", "positive")
    assert (pair.task, pair.id, pair.prompt, pair.format) == ("sst2", "7", prompt_of(ROW), "label")
    assert (pair.kind, pair.annotator, pair.model) == ("ranked", "reward", "rule - 0.1 * length")


def test_of_equal_scores_the_first_answer_counts() -> None:
    (pair,) = built(("a", 1.0), ("b", 0.0), ("c", 1.0), ("d", 0.0)).pairs
    assert (pair.chosen, pair.rejected) == ("a", "b")


def test_answers_without_a_score_are_left_out() -> None:
    (pair,) = built(("a", None), ("b", 0.0), ("c", 0.5)).pairs
    assert (pair.chosen, pair.rejected) == ("c", "b")


def test_rows_without_a_preference_are_counted() -> None:
    assert built(("a", 1.0), ("b", 1.0), ("c", 1.0)).skipped == [("sst2", "tied")]
    assert built(("a", 1.0), ("b", None)).skipped == [("sst2", "unscored")]
    assert built(("a", 1.0), ("b", 1.0)).pairs == []
