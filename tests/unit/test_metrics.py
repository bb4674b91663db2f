"""Metrics against values worked by hand and against scikit-learn and scipy; intervals against what they must do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import scipy  # its parts are imported when they are used, so that collecting tests costs little
import sklearn

from rewardlab import metrics
from rewardlab.errors import ConfigError, DataError, UnknownNameError
from rewardlab.intervals import (
    Interval,
    Spread,
    bootstrap_interval,
    interval_of,
    item_spread,
    mean_interval,
    mean_spread,
    percentile_interval,
    resample_counts,
)
from rewardlab.metrics import encode, score_predictions


@dataclass(frozen=True)
class Space:
    labels: tuple[str, ...] = ("no", "yes")
    numeric_range: tuple[float, float] | None = None


BINARY = Space()
TOPICS = Space(("world", "sport", "business"))
SIMILARITY = Space((), (0.0, 5.0))
STARS = Space(("1", "2", "3", "4", "5"), (1.0, 5.0))

GOLD = ["yes", "yes", "yes", "no", "no", "no"]
ANSWERS = ["yes", "yes", None, "yes", "no", None]


def test_accuracy_counts_malformed_as_wrong() -> None:
    # right: items 0, 1, 4 of 6
    assert score_predictions("accuracy", GOLD, ANSWERS, BINARY) == pytest.approx(3 / 6)


def test_f1_takes_a_malformed_answer_as_a_miss_and_never_as_a_false_alarm() -> None:
    # hits 2, misses 1 (malformed), false alarms 1 (item 3): 2*2 / (2*2 + 1 + 1)
    assert score_predictions("f1", GOLD, ANSWERS, BINARY) == pytest.approx(4 / 6)


def test_macro_f1_is_the_mean_over_labels() -> None:
    # yes: 4/6. no: hits 1, misses 2 (items 3, 5), false alarms 0: 2 / (2 + 2 + 0) = 1/2
    assert score_predictions("macro_f1", GOLD, ANSWERS, BINARY) == pytest.approx((4 / 6 + 1 / 2) / 2)


def test_macro_f1_leaves_out_labels_that_occur_nowhere() -> None:
    # business occurs neither as gold nor as answer. world: 2/(2+0+1) = 2/3; sport: 0 hits
    assert score_predictions("macro_f1", ["world", "sport"], ["world", "world"], TOPICS) == pytest.approx((2 / 3) / 2)


def test_balanced_accuracy_is_the_mean_recall_and_that_of_scikit_learn() -> None:
    # yes: items 0, 1 of 3 (item 2 is malformed); no: item 4 of 3
    assert score_predictions("balanced_accuracy", GOLD, ANSWERS, BINARY) == pytest.approx((2 / 3 + 1 / 3) / 2)
    gold, answers = ["world"] * 8 + ["sport"] * 2, ["world"] * 9 + ["sport"]
    found = score_predictions("balanced_accuracy", gold, answers, TOPICS)
    assert found == pytest.approx(sklearn.metrics.balanced_accuracy_score(gold, answers)) == pytest.approx(0.75)


def test_matthews_by_hand() -> None:
    # hits 2, misses 1, false alarms 1, right rejections 2: (2*2 - 1*1) / sqrt(3*3*3*3) = 1/3
    answers = ["yes", "yes", "no", "yes", "no", "no"]
    assert score_predictions("matthews", GOLD, answers, BINARY) == pytest.approx(1 / 3)


def test_pearson_puts_malformed_answers_at_the_middle_of_the_scale() -> None:
    # gold 0, 5, 5; answers 0, 5, 2.5: deviations (-10, 5, 5)/3 and (-2.5, 2.5, 0)
    # covariance 25/3 + 25/6 = 12.5; spreads 50/3 and 12.5: 12.5 / sqrt(50/3 * 12.5) = sqrt(0.75)
    assert score_predictions("pearson", [0.0, 5.0, 5.0], [0.0, 5.0, None], SIMILARITY) == pytest.approx(np.sqrt(0.75))


def test_spearman_shares_ranks_among_ties() -> None:
    # ranks 1, 2, 3 against 1, 2.5, 2.5: covariance 1.5, spreads 2 and 1.5: 1.5 / sqrt(3)
    found = score_predictions("spearman", [1.0, 2.0, 5.0], [0.0, 4.0, 4.0], SIMILARITY)
    assert found == pytest.approx(np.sqrt(0.75))


def test_stars_are_labels_for_accuracy_and_numbers_for_pearson() -> None:
    gold, answers = ["1", "3", "5"], ["1", "5", "3"]
    assert score_predictions("accuracy", gold, answers, STARS) == pytest.approx(1 / 3)
    # deviations (-2, 0, 2) and (-2, 2, 0): 4 / 8
    assert score_predictions("pearson", gold, answers, STARS) == pytest.approx(0.5)


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@pytest.mark.parametrize(("gold", "answers"), [([1.0, 2.0, 3.0], [2.5, 2.5, None]), ([2.0, 2.0], [1.0, 3.0])])
def test_correlation_with_a_constant_is_zero(metric: str, gold: list[float], answers: list[float | None]) -> None:
    assert score_predictions(metric, gold, answers, SIMILARITY) == 0.0


def test_matthews_and_f1_are_zero_where_undefined() -> None:
    assert score_predictions("matthews", ["yes", "no"], ["yes", "yes"], BINARY) == 0.0
    assert score_predictions("f1", ["no", "no"], ["no", None], BINARY) == 0.0


def _labels(seed: int, size: int = 200) -> tuple[list[str], list[str | None]]:
    rng = np.random.default_rng(seed)
    gold = [TOPICS.labels[i] for i in rng.integers(0, 3, size)]
    read = [None if i == 3 else TOPICS.labels[i] for i in rng.integers(0, 4, size)]
    return gold, read


@pytest.mark.parametrize("seed", range(5))
def test_classification_metrics_agree_with_sklearn(seed: int) -> None:
    gold, answers = _labels(seed)
    printed = ["malformed" if answer is None else answer for answer in answers]
    expected = {
        "accuracy": sklearn.metrics.accuracy_score(gold, printed),
        "macro_f1": sklearn.metrics.f1_score(gold, printed, labels=list(TOPICS.labels), average="macro"),
        "matthews": sklearn.metrics.matthews_corrcoef(gold, printed),
    }
    found = {name: score_predictions(name, gold, answers, TOPICS) for name in expected}
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_correlations_agree_with_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gold = [float(value) for value in rng.integers(0, 6, 150)]
    answers = [float(value) for value in np.clip(gold + rng.normal(0, 2, 150), 0, 5).round()]
    pearson, spearman = scipy.stats.pearsonr(gold, answers)[0], scipy.stats.spearmanr(gold, answers)[0]
    assert score_predictions("pearson", gold, answers, SIMILARITY) == pytest.approx(pearson, abs=1e-12)
    assert score_predictions("spearman", gold, answers, SIMILARITY) == pytest.approx(spearman, abs=1e-12)


@pytest.mark.parametrize("metric", [name for name in metrics.METRICS if name not in ("token_f1", "parity")])
def test_counts_measure_the_same_as_drawing_the_items(metric: str) -> None:
    rng = np.random.default_rng(3)
    gold = [STARS.labels[i] for i in rng.integers(0, 5, 40)]
    answers = [None if i == 5 else STARS.labels[i] for i in rng.integers(0, 6, 40)]
    space = Space(("1", "2", "3", "4", "5", "yes"), (1.0, 5.0))
    counts = resample_counts(40, 6, seed=1)
    found = metrics.METRICS[metric](encode(metric, gold, answers, space), counts)
    for value, row in zip(found, counts, strict=True):
        drawn = np.repeat(np.arange(40), row.astype(int))
        alone = score_predictions(metric, [gold[i] for i in drawn], [answers[i] for i in drawn], space)
        assert value == pytest.approx(alone, abs=1e-12)


def test_interval_agrees_with_the_binomial_spread() -> None:
    gold = ["yes"] * 400
    answers = ["yes"] * 300 + ["no"] * 100
    found = bootstrap_interval("accuracy", gold, answers, BINARY, resamples=4000)
    # 0.75 +- 1.96 * sqrt(0.75 * 0.25 / 400) = 0.75 +- 0.0424
    assert found.value == 0.75
    assert found.low == pytest.approx(0.7076, abs=0.005)
    assert found.high == pytest.approx(0.7924, abs=0.005)


def test_interval_agrees_with_scipys_bootstrap() -> None:
    rng = np.random.default_rng(0)
    gold = rng.uniform(0, 5, 120)
    answers = np.clip(gold + rng.normal(0, 1.5, 120), 0, 5)
    found = bootstrap_interval("pearson", list(gold), list(answers), SIMILARITY, resamples=4000)
    theirs = scipy.stats.bootstrap(
        (gold, answers),
        lambda x, y: scipy.stats.pearsonr(x, y)[0],
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=1,
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_one_item_says_nothing() -> None:
    assert bootstrap_interval("accuracy", ["yes"], ["yes"], BINARY) == Interval(1.0, 0.0, 1.0)
    assert bootstrap_interval("pearson", [1.0], [2.0], SIMILARITY) == Interval(0.0, -1.0, 1.0)


def test_items_that_are_all_right_leave_room_for_a_wrong_one() -> None:
    found = bootstrap_interval("accuracy", ["yes"] * 100, ["yes"] * 100, BINARY)
    # one item more: 1/100, times Student's t on 99 degrees of freedom, 1.9842
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(1 - 0.019842, abs=1e-6)


def test_grouped_means_resample_whole_groups() -> None:
    values = [1.0] * 50 + [0.0] * 50
    alone = mean_interval(values, resamples=4000)
    grouped = mean_interval(values, ["a"] * 50 + ["b"] * 50, resamples=4000)
    assert alone.value == grouped.value == 0.5
    assert (grouped.low, grouped.high) == (0.0, 1.0)
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * 0.05, abs=0.02)


def test_resamples_draw_as_many_items_as_there_are_and_repeat_by_seed() -> None:
    counts = resample_counts(7, 50, 3)
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert (resample_counts(7, 50, 3) == counts).all()
    assert (resample_counts(7, 50, 4) != counts).any()
    assert not counts.flags.writeable


def test_messages_say_what_to_do() -> None:
    with pytest.raises(UnknownNameError, match="did you mean accuracy"):
        score_predictions("acuracy", ["yes"], ["no"], BINARY)
    with pytest.raises(DataError, match="there are no predictions"):
        score_predictions("accuracy", [], [], BINARY)
    with pytest.raises(DataError, match="2 gold labels and 1 answers"):
        score_predictions("accuracy", ["yes", "no"], ["no"], BINARY)
    with pytest.raises(DataError, match="found perhaps; expected one of no, yes"):
        score_predictions("accuracy", ["yes"], ["perhaps"], BINARY)
    with pytest.raises(ConfigError, match="use macro_f1"):
        score_predictions("f1", ["sport"], ["sport"], TOPICS)
    with pytest.raises(ConfigError, match="needs a numeric task"):
        score_predictions("pearson", ["yes"], ["no"], BINARY)
    with pytest.raises(ConfigError, match="needs a task with labels"):
        score_predictions("accuracy", [1.0], [1.0], SIMILARITY)
    with pytest.raises(DataError, match="no values to average"):
        mean_interval([])


@pytest.mark.parametrize("items", [30, 100, 500])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.95, 0.97, 0.99])
def test_an_interval_covers_shares_near_one_as_often_as_others(items: int, share: float) -> None:
    """Every number of right answers, weighed with its binomial probability; the variance is what a bootstrap finds."""
    right = np.arange(items + 1)
    found = [interval_of(k / items, item_spread(k * (items - k) / items**3, items)) for k in right]
    is_covered = np.array([each.low <= share <= each.high for each in found])
    assert scipy.stats.binom.pmf(right, items, share)[is_covered].sum() >= 0.93


def test_macro_f1_counts_a_label_that_is_only_answered() -> None:
    # world: 2/(1+1); sport: 2/(2+1); business is answered once and never right: 0
    found = score_predictions("macro_f1", ["world", "sport", "sport"], ["world", "sport", "business"], TOPICS)
    assert found == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_the_middle_of_a_scale_is_between_its_ends() -> None:
    # 1, 3, 5 against 1, (1 + 5) / 2, 5
    assert score_predictions("pearson", ["1", "3", "5"], ["1", None, "5"], STARS) == pytest.approx(1.0)


def test_a_gold_label_that_the_task_does_not_have_is_named() -> None:
    with pytest.raises(DataError, match="found perhaps; expected one of no, yes"):
        score_predictions("accuracy", ["perhaps"], ["yes"], BINARY)


def test_a_constant_is_told_from_a_small_spread() -> None:
    """The mean of three times 0.1 is not 0.1 in floating point: their deviations are 1e-17 and not 0."""
    assert score_predictions("pearson", [0.1] * 3, [0.1] * 3, SIMILARITY) == 0.0
    assert score_predictions("pearson", [0.1, 0.2, 0.4], [0.1, 0.2, 0.4], SIMILARITY) == pytest.approx(1.0)


@pytest.mark.parametrize("metric", ["accuracy", "f1", "macro_f1"])
def test_shares_are_not_below_zero(metric: str) -> None:
    assert bootstrap_interval(metric, ["yes"], ["yes"], BINARY) == Interval(1.0, 0.0, 1.0)


def test_an_interval_is_students_t_times_the_deviation_of_the_bootstrap() -> None:
    """Five resamples of 40 items, 25 of them right; one item more is added to the variance."""
    right = np.array([1.0] * 25 + [0.0] * 15)
    draws = resample_counts(40, 5, 3) @ right / 40
    variance = sum((draws - draws.mean()) ** 2) / 4 * 40 / 39 + 1 / 40**2
    half = float(scipy.stats.t.ppf(0.975, 39)) * variance**0.5
    answers = ["yes" if each else "no" for each in right]
    for found in (
        bootstrap_interval("accuracy", ["yes"] * 40, answers, BINARY, resamples=5, seed=3),
        mean_interval(right, resamples=5, seed=3),
    ):
        assert (found.value, found.low, found.high) == pytest.approx((0.625, 0.625 - half, 0.625 + half), abs=1e-9)


def test_a_thousand_resamples_of_seed_0_are_drawn_unless_told_otherwise() -> None:
    values, gold, answers = [1.0, 0.0, 1.0], ["yes"] * 3, ["yes", "no", "yes"]
    drawn = {"resamples": 1000, "seed": 0}
    assert mean_spread(values) == mean_spread(values, **drawn)
    numbers = [float(number % 7) / 7 for number in range(60)]
    assert mean_interval(numbers) == mean_interval(numbers, **drawn)
    gold, answers = gold * 20, answers * 20
    assert bootstrap_interval("accuracy", gold, answers, BINARY) == bootstrap_interval(
        "accuracy", gold, answers, BINARY, **drawn
    )


def test_the_variance_over_items_by_hand() -> None:
    assert item_spread(0.1, 2) == Spread(0.45, 1, 0.0, 0, 0.45, 0.0)  # 0.1 * 2 / 1 + 1 / 4
    assert item_spread(0.0, 1) == Spread(1.0, 0, 0.0, 0, 1.0, 0.0)
    assert mean_interval([0.5]) == Interval(0.5, 0.0, 1.0)


def test_the_middle_of_the_draws() -> None:
    found = percentile_interval(500.0, np.arange(1001.0))
    assert found.to_json() == pytest.approx({"value": 500.0, "low": 25.0, "high": 975.0})
