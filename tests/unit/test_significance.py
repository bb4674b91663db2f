"""Paired tests: hand-worked p-values, outside implementations, and how often noise is called a difference."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from rewardlab.reports.cells import CellData
from rewardlab.reports.comparison import Comparison, compare_sides, correct
from rewardlab.reports.significance import (
    Effect,
    effect_size,
    holm,
    mcnemar,
    paired_bootstrap,
    sign_flip,
)
from rewardlab.reports.statistics import UnpairedError

ACCURACY = {"toy": ("accuracy",)}


def cell(right: str, *, column: str = "toy", first: int = 0) -> CellData:
    """A cell whose items are answered right (1), wrong (0) or not readably (x)."""
    answers = {"1": "yes", "0": "no", "x": None}
    return CellData(
        column=column,
        ids=tuple(f"{first + number:05d}" for number in range(len(right))),
        gold=("yes",) * len(right),
        answers=tuple(answers[mark] for mark in right),
        labels=("no", "yes"),
        numeric_range=None,
        summary={"metrics": {"accuracy": {}}},
    )


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (3, 3), (8, 2), (2, 8), (40, 21), (300, 240)])
def test_mcnemar_is_the_exact_binomial_test(won: int, lost: int) -> None:
    expected = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert mcnemar(0, won, lost).p == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "totals", [[], [0, 0], [3], [1, 1, 1, 2, 0], [2, -1, 3, 1, 1, -2, 0, 3], [5, 5, -5, 4, 1, 2], [-1, -1, -1, -1, -1]]
)
def test_sign_flips_are_counted_exactly(totals: list[int]) -> None:
    sums = [sum(sign * total for sign, total in zip(signs, totals, strict=True)) for signs in _signs(len(totals))]
    expected = np.mean([abs(each) >= abs(sum(totals)) for each in sums])
    assert sign_flip(totals) == pytest.approx(expected, abs=1e-12)


def _signs(items: int) -> list[tuple[int, ...]]:
    return list(product((1, -1), repeat=items))


def test_a_sum_far_beyond_chance_has_a_plain_zero() -> None:
    """Rounding errors of the transform leave tails of about -1e-15; none may show as -0.0, or as more than 1."""
    found = [sign_flip(np.repeat(size, 300 + n)) for size in (1, 2, 5) for n in range(40)]
    assert {math.copysign(1.0, p) for p in found} == {1.0}
    assert max(found) < 1e-14
    assert sign_flip([1, -1] * 400) == 1.0


def test_sign_flips_agree_with_scipys_draws() -> None:
    rng = np.random.default_rng(3)
    totals = rng.integers(-2, 4, 60)
    drawn = permutation_test((totals,), np.sum, permutation_type="samples", n_resamples=20_000, rng=rng)
    assert sign_flip(totals) == pytest.approx(drawn.pvalue, abs=0.006)


def test_one_seed_makes_sign_flips_mcnemars_test() -> None:
    assert sign_flip([1] * 40 + [-1] * 21 + [0] * 100) == pytest.approx(mcnemar(0, 40, 21).p, abs=1e-12)


def test_seeds_that_repeat_an_item_do_not_make_it_several() -> None:
    once, five_times = [1, 1, 1, 1, -1], [5, 5, 5, 5, -5]
    assert sign_flip(once) == sign_flip(five_times) == pytest.approx(12 / 32)  # 5 + 1 patterns on each side


def test_the_bootstrap_is_measured_in_standard_errors() -> None:
    draws = np.array([-1.0, 1.0] * 500)
    error = draws.std(ddof=1)
    assert paired_bootstrap(1.959964 * error, draws, 100) == pytest.approx(0.05, abs=1e-6)
    assert paired_bootstrap(0.0, draws, 100) == 1.0


def test_a_handful_of_items_proves_nothing() -> None:
    without_spread = np.full(1000, 0.5)
    assert paired_bootstrap(0.5, without_spread, 1) == 1.0
    assert paired_bootstrap(0.5, without_spread, 5) == 2 / 32  # all five signs alike
    assert paired_bootstrap(0.0, without_spread * 0, 5) == 1.0


def test_holm_by_hand() -> None:
    # in order: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1; the last may not fall below the third
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.7]) == pytest.approx([0.8, 0.8])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_effect_sizes_by_hand() -> None:
    # 2 asin(sqrt(0.5)) - 2 asin(sqrt(0.25)) = pi / 2 - pi / 3
    assert effect_size(("accuracy",), 0.5, 0.25) == Effect("h", pytest.approx(np.pi / 6))
    # atanh(0.5) = ln(3) / 2
    assert effect_size(("pearson",), 0.0, 0.5) == Effect("q", pytest.approx(-np.log(3) / 2))
    assert effect_size(("f1", "accuracy"), 0.5, 0.5) == Effect("h", 0.0)
    assert effect_size(("accuracy", "pearson"), 0.5, 0.25) is None
    assert effect_size(("pearson",), 1.0, 0.0) is not None
    assert [Effect("h", value).size for value in (0.19, -0.2, 0.5, -0.8)] == ["negligible", "small", "medium", "large"]
    assert [Effect("q", value).size for value in (0.09, 0.1, 0.3, 0.5)] == ["negligible", "small", "medium", "large"]


def test_accuracy_is_tested_by_item_and_by_seed() -> None:
    a = {0: cell("11110"), 1: cell("1111x")}
    b = {0: cell("00010"), 1: cell("00011")}
    found = compare_sides({"toy": a}, {"toy": b}, ACCURACY)
    test = found.test
    assert test.name == "sign-flip"
    # totals over seeds: 2, 2, 2, 0, -1; 5 or more needs the three 2s alike: 2 * 2 of 16 patterns
    assert test.p == pytest.approx(4 / 16)
    assert [(seed.seed, seed.only_a, seed.only_b) for seed in test.by_seed] == [(0, 3, 0), (1, 3, 1)]
    assert [seed.p for seed in test.by_seed] == pytest.approx([2 / 8, 2 * 5 / 16])
    assert found.estimate.value == pytest.approx(((4 - 1) / 5 + (4 - 2) / 5) / 2)


def test_seeds_with_other_items_count_every_item_once() -> None:
    a = {0: cell("111"), 1: cell("111", first=2)}
    b = {0: cell("000"), 1: cell("000", first=2)}
    # items 0, 1, 2 and 2, 3, 4: totals 1, 1, 2, 1, 1
    assert compare_sides({"toy": a}, {"toy": b}, ACCURACY).test.p == pytest.approx(2 / 32)


def test_other_metrics_are_bootstrapped() -> None:
    a, b = {0: cell("11111110" * 10)}, {0: cell("11001000" * 10)}
    metrics = {"toy": ("macro_f1", "accuracy")}
    test = compare_sides({"toy": a}, {"toy": b}, metrics).test
    assert (test.name, test.by_seed) == ("bootstrap", ())
    assert test.p < 1e-6
    assert test.effect is not None
    assert test.effect.name == "h"


def test_an_average_is_the_mean_over_columns_with_one_p_value() -> None:
    sides = [
        {"toy": {0: cell(right * 20)}, "other": {0: cell("1100" * 20, column="other")}} for right in ("1110", "1000")
    ]
    metrics = {"toy": ("accuracy",), "other": ("accuracy",)}
    found = compare_sides(sides[0], sides[1], metrics)
    assert found.estimate.value == pytest.approx((0.5 + 0.0) / 2)
    assert (found.test.name, found.test.by_seed) == ("bootstrap", ())
    assert found.is_real


def test_columns_with_other_seeds_are_refused() -> None:
    a = {"toy": {0: cell("10"), 1: cell("10")}, "other": {0: cell("10", column="other")}}
    with pytest.raises(UnpairedError, match="different seeds in common"):
        compare_sides(a, a, {"toy": ("accuracy",), "other": ("accuracy",)})


def test_correction_keeps_the_order_and_the_family() -> None:
    pairs = [("1" * 40, "1" * 30 + "0" * 10), ("1" * 40, "1" * 39 + "0"), ("1" * 40, "1" * 33 + "0" * 7)]
    single = [compare_sides({"toy": {0: cell(a)}}, {"toy": {0: cell(b)}}, ACCURACY) for a, b in pairs]
    assert [each.test.p for each in single] == pytest.approx([2 / 2**10, 1.0, 2 / 2**7])
    found = correct(single)
    assert [each.test.p_holm for each in found] == pytest.approx([3 * 2 / 2**10, 1.0, 2 * 2 / 2**7])
    assert {each.test.family for each in found} == {3}
    assert [each.is_real for each in found] == [True, False, True]


def _equal_methods(rng: np.random.Generator, seed_sd: float, seeds: int, items: int = 150) -> Comparison:
    """Two methods that are equal on average; items differ in difficulty, seeds of each method in skill."""
    difficulty = rng.normal(0, 1, items)

    def side() -> dict[str, dict[int, CellData]]:
        skill = rng.normal(0, seed_sd, (seeds, 1))
        right = 1.1 + skill + difficulty + rng.logistic(0, 0.6, (seeds, items)) > 0
        return {"toy": {seed: cell("".join("01"[int(each)] for each in row)) for seed, row in enumerate(right)}}

    return compare_sides(side(), side(), ACCURACY, resamples=200)


@pytest.mark.parametrize("seed_sd", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_of_differences_cover_zero_and_noise_is_not_called_real(seed_sd: float, seeds: int) -> None:
    rng = np.random.default_rng(11)
    found = [_equal_methods(rng, seed_sd, seeds) for _ in range(150)]
    assert np.mean([each.estimate.low <= 0 <= each.estimate.high for each in found]) >= 0.93
    assert np.mean([each.is_real for each in found]) <= 0.07


def test_items_alone_cannot_tell_noise_of_training_from_a_difference() -> None:
    rng = np.random.default_rng(5)
    found = [_equal_methods(rng, 0.6, 3) for _ in range(100)]
    assert np.mean([each.test.is_significant for each in found]) > 0.25
    assert np.mean([each.is_real for each in found]) <= 0.07
