"""Intervals over seeds and items, their p-values, and paired differences: known answers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy

from rewardlab.comparison.evaluations import CellData, load_eval
from rewardlab.comparison.paired import compare_sides
from rewardlab.comparison.statistics import (
    Estimate,
    SeedDraws,
    UnpairedError,
    column_means,
    draws_of,
    estimate,
    mean_of,
    paired_seeds,
    possible,
    row_draws,
    spread_of,
)
from rewardlab.intervals import Spread
from tests.support.runs import both, eval_folder


def _cell(right: int, total: int = 100, *, column: str = "toy", first_id: int = 0) -> CellData:
    return CellData(
        column=column,
        ids=tuple(f"{first_id + number:05d}" for number in range(total)),
        gold=("yes",) * total,
        answers=("yes",) * right + ("no",) * (total - right),
        labels=("no", "yes"),
        numeric_range=None,
        summary={"metrics": {"accuracy": {}}},
    )


def _cells(*right: int, first_id: int = 0) -> dict[int, CellData]:
    return {seed: _cell(count, first_id=first_id) for seed, count in enumerate(right)}


ACCURACY = ("accuracy",)


def _difference(a: dict[int, CellData], b: dict[int, CellData]) -> Estimate:
    return compare_sides({"toy": a}, {"toy": b}, {"toy": ACCURACY}).estimate


def test_one_seed_is_a_bootstrap_over_items_and_says_so() -> None:
    found = estimate(draws_of(_cells(80), ACCURACY))
    assert (found.value, found.seeds, found.sd, found.basis) == (0.8, 1, None, "items")
    # 0.8 +- 1.96 * sqrt(0.8 * 0.2 / 100) = 0.8 +- 0.078
    assert (found.low, found.high) == pytest.approx((0.722, 0.878), abs=0.015)


def test_two_seeds_have_one_degree_of_freedom() -> None:
    # no item variance, so t alone: 12.7062 on 1 degree of freedom, times 0.1 (sd 0.02^0.5, over 2^0.5)
    draws = SeedDraws(np.array([0.7, 0.9]), np.repeat([[0.7], [0.9]], 500, axis=1))
    found = estimate(draws)
    assert (found.value, found.basis) == (pytest.approx(0.8), "seeds and items")
    assert found.sd == pytest.approx(np.sqrt(0.02))  # deviations 0.1 each way over one degree of freedom
    assert (found.low, found.high) == pytest.approx((0.8 - 1.27062, 0.8 + 1.27062), abs=1e-4)


def test_three_seeds_follow_student() -> None:
    # every item right or wrong in all resamples alike: no item variance, so t alone
    draws = SeedDraws(np.array([0.70, 0.80, 0.90]), np.repeat([[0.70], [0.80], [0.90]], 500, axis=1))
    found = estimate(draws)
    # sd 0.1, t(0.975, 2) = 4.302653: 0.8 +- 4.302653 * 0.1 / sqrt(3)
    assert found.basis == "seeds and items"
    assert found.sd == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx((0.8 - 0.248414, 0.8 + 0.248414), abs=1e-5)


def test_item_variance_is_added_once() -> None:
    rng = np.random.default_rng(0)
    shared, own = rng.normal(0, 0.03, (1, 50_000)), rng.normal(0, 0.02, (4, 50_000))
    found = spread_of(SeedDraws(np.array([0.5, 0.6, 0.5, 0.6]), 0.55 + shared + own))
    # seeds: var 0.01/3 over 4, which holds the own part; items shared: 0.03^2
    assert (found.seeds, found.seed_df) == (pytest.approx(0.01 / 12), 3)
    assert found.items == pytest.approx(0.0009, rel=0.03)
    # seeds as given: the shared part, and the own part of four
    assert found.items_alone == pytest.approx(0.0009 + 0.0004 / 4, rel=0.03)


def test_disjoint_items_are_not_counted_twice() -> None:
    rng = np.random.default_rng(1)
    found = spread_of(SeedDraws(np.array([0.5, 0.6, 0.5, 0.6]), 0.55 + rng.normal(0, 0.04, (4, 50_000))))
    assert found.seeds == pytest.approx(0.01 / 12)
    assert found.items < 0.03 * found.items_alone
    assert found.items_alone == pytest.approx(0.0016 / 4, rel=0.03)


def test_each_part_has_students_t_of_its_own_degrees_of_freedom() -> None:
    """Five seeds, 100 items: t(0.975) is 2.776445 on 4 degrees of freedom and 1.984217 on 99."""
    spread = Spread(items=0.0016, item_df=99, seeds=0.0001, seed_df=4)
    # 7.708647 * 0.0001 + 3.937117 * 0.0016 = 0.00707025; one t(4) on all of it would give 2.776445 * 0.0412 = 0.1145
    assert spread.half_width(0.05) == pytest.approx(0.0840848, abs=1e-6)
    assert spread.p_value(spread.half_width(0.01)) == pytest.approx(0.01, rel=1e-9)
    assert spread.times(100).half_width(0.05) == pytest.approx(8.40848, abs=1e-4)


def test_an_interval_is_never_narrower_than_over_items_alone() -> None:
    """Seeds that agree to the last item by chance, on items that they do not share."""
    spread = Spread(items=0.0, item_df=499, seeds=1e-9, seed_df=4, items_alone=0.0004)
    assert spread.half_width(0.05) == pytest.approx(1.964729 * 0.02, abs=1e-6)


def test_a_p_value_is_the_level_whose_interval_just_reaches_it() -> None:
    spread = Spread(items=1.0, item_df=1e9)
    assert spread.p_value(1.959964) == pytest.approx(0.05, rel=1e-5)
    assert spread.p_value(3.290527) == pytest.approx(0.001, rel=1e-5)
    assert (spread.p_value(0.0), spread.p_value(1e6)) == (1.0, pytest.approx(1e-16, rel=1e-6))


def test_a_value_next_to_the_number_has_a_p_value_next_to_1() -> None:
    # 1 - 2 * 0.001 * 0.398942, the normal density at 0
    assert Spread(items=1.0, item_df=1e9).p_value(1e-3) == pytest.approx(0.999202, abs=1e-6)
    assert Spread(items=0.0, item_df=9).p_value(0.0) == 1.0


def test_a_spread_of_items_has_no_part_of_seeds() -> None:
    assert Spread(0.25, 9) == Spread(0.25, 9, seeds=0.0, seed_df=0, items_alone=0.0, smallest_p=0.0)


def test_no_degree_of_freedom_counts_as_one() -> None:
    assert Spread(0.25, 0).half_width(0.05) == pytest.approx(12.706205 * 0.5, abs=1e-5)


def test_no_interval_has_a_level_as_small_as_the_smallest_p_value() -> None:
    spread = Spread(1.0, 4, smallest_p=0.0625)
    assert spread.half_width(0.0625) == math.inf
    assert spread.half_width(0.0626) < 3


def test_a_handful_of_items_that_all_agree_proves_nothing() -> None:
    """Five items won and none lost: signs alone would do that in 2 of 32 cases."""
    found = _difference({0: _cell(5, 5)}, {0: _cell(0, 5)})
    assert (found.value, found.low, found.high) == (1.0, -1.0, 1.0)
    assert found.p_value() == pytest.approx(2 / 32)
    sixth = _difference({0: _cell(6, 6)}, {0: _cell(0, 6)})
    assert sixth.low > 0
    assert sixth.p_value() == pytest.approx(2 / 64)


@pytest.mark.parametrize(("won", "lost"), [(2, 0), (4, 0), (5, 0), (6, 0), (8, 1), (10, 0), (12, 3), (20, 5), (30, 18)])
def test_one_seed_of_few_differing_items_is_near_the_exact_test(won: int, lost: int) -> None:
    """Between McNemar's exact test and its mid-p of 200 items, or close to them, although few of the items differ."""
    right = ["1" * won + "0" * lost + "1" * (200 - won - lost), "0" * won + "1" * (200 - won)]
    sides = [{0: CellData("toy", ids, gold, tuple("yes" if c == "1" else "no" for c in each), ("no", "yes"), None, {})}
             for each in right for ids, gold in [(tuple(f"{n:03}" for n in range(200)), ("yes",) * 200)]]  # fmt: skip
    exact = scipy.stats.binomtest(won, won + lost).pvalue
    mid = exact - scipy.stats.binom.pmf(won, won + lost, 0.5)
    assert 0.8 * mid < _difference(*sides).p_value() < 1.6 * exact


def test_agreeing_seeds_do_not_make_the_test_set_larger() -> None:
    found = estimate(draws_of(_cells(80, 80, 80, 80, 80), ACCURACY))
    single = estimate(draws_of(_cells(80), ACCURACY))
    assert found.high - found.low > 0.95 * (single.high - single.low)


def test_seeds_that_agree_by_chance_on_other_items_do_not_either() -> None:
    cells = {seed: _cell(80, first_id=1000 * seed) for seed in range(5)}
    found = estimate(draws_of(cells, ACCURACY))
    # 500 items in all: 0.8 +- 1.96 * sqrt(0.8 * 0.2 / 500) = 0.8 +- 0.0351
    assert (found.low, found.high) == pytest.approx((0.765, 0.835), abs=0.004)


def test_a_difference_is_paired_by_item_and_seed() -> None:
    found = _difference(_cells(72, 76, 74), _cells(70, 70, 70))
    assert found.value == pytest.approx(0.04)
    # the seeds differ by 0.02 each way: sd 0.02; 2, 6 and 4 of 100 items differ
    assert found.sd == pytest.approx(0.02)
    assert found.excludes_zero == (found.low > 0)
    unpaired = estimate(draws_of(_cells(72, 76, 74), ACCURACY))
    assert found.high - found.low < unpaired.high - unpaired.low


def test_equal_methods_do_not_differ() -> None:
    found = _difference(_cells(70, 80, 75), _cells(70, 80, 75))
    assert (found.value, found.p_value()) == (0.0, 1.0)
    # no item differs in 100: one item more, 1e-4, and what rounding hides between three seeds, 1e-4 / 12 / 3
    # half-width: the root of 1.984217^2 * 1e-4 + 4.302653^2 * 2.7778e-6
    assert (found.low, found.high) == pytest.approx((-0.021099, 0.021099), abs=1e-5)


def test_only_common_seeds_are_compared() -> None:
    baseline = {0: _cell(70), 5: _cell(10)}
    assert paired_seeds(_cells(75, 99), baseline) == (0,)
    found = _difference(_cells(75, 99), baseline)
    assert (found.seeds, found.value) == (1, pytest.approx(0.05))


def test_unpaired_runs_are_refused_with_the_reason() -> None:
    with pytest.raises(UnpairedError, match=r"they share no seed \(seed 0 against seed 3\)"):
        paired_seeds(_cells(70), {3: _cell(70)})
    with pytest.raises(
        UnpairedError, match=r"seed 0: test items differ \(2 ids are in one of them only, such as 00000"
    ):
        paired_seeds(_cells(70), _cells(70, first_id=1))
    changed = _cell(70)
    other = CellData("toy", changed.ids, ("no", *changed.gold[1:]), changed.answers, changed.labels, None, {})
    with pytest.raises(UnpairedError, match="1 gold labels differ, such as 00000"):
        paired_seeds({0: changed}, {0: other})


def test_columns_resample_independently_and_average_first() -> None:
    parts = [draws_of({0: _cell(60, column=name)}, ACCURACY) for name in ("a", "b")]
    assert abs(np.corrcoef(parts[0].draws[0], parts[1].draws[0])[0, 1]) < 0.15
    both_columns = mean_of(parts)
    assert both_columns.values == pytest.approx([0.6])
    # two independent columns: the sd shrinks by sqrt(2), from 0.049 to 0.0346
    assert both_columns.draws.std() == pytest.approx(0.0346, abs=0.003)


def test_paired_metrics_are_averaged_first() -> None:
    drawn = draws_of(_cells(50), ("accuracy", "f1"))
    # accuracy 0.5; F1 of yes: 2 * 50 / (100 + 50) = 2/3
    assert drawn.values == pytest.approx([(0.5 + 2 / 3) / 2])


def test_seeds_with_the_same_items_are_resampled_together(tmp_path: Path) -> None:
    folders = [
        eval_folder(tmp_path / str(seed), seed=seed, columns={"toy": both(60, 60, 100)}, ids=None) for seed in (0, 1)
    ]
    cells = {run.seed: run.cells["toy", "greedy"] for run in map(load_eval, folders)}
    drawn = draws_of(cells, ACCURACY)
    assert (drawn.draws[0] == drawn.draws[1]).all()


def test_seeds_that_agree_to_the_last_item_may_still_differ_by_half_an_item() -> None:
    found = spread_of(draws_of(_cells(80, 80), ACCURACY))
    assert found.seeds == pytest.approx(0.0001 / 12 / 2)


def test_a_correction_widens_the_interval_and_keeps_the_number() -> None:
    found = estimate(draws_of(_cells(72, 76, 74), ACCURACY), 0.0, 1.0)
    wider = found.at(0.05 / 20)
    assert (wider.value, wider.at(0.05)) == (found.value, found)
    assert wider.low < found.low < found.high < wider.high <= 1.0
    assert found.at(1e-9).high == 1.0  # a share


def test_a_ratio_has_the_interval_of_its_logarithm() -> None:
    spread = Spread(0.0, 1e9, seeds=0.01, seed_df=4)
    found = Estimate(2.0, 2.0, 2.0, None, 5, "seeds and items", spread, 0.0, math.inf, is_ratio=True).at(0.05)
    factor = math.exp(2.776445 * 0.1)
    assert (found.low, found.high) == pytest.approx((2 / factor, 2 * factor), rel=1e-5)
    assert found.p_value(2 / factor) == pytest.approx(0.05, rel=1e-4)
    assert found.p_value(0.0) == 0.0


def test_a_ratio_may_be_below_the_number_it_is_tested_against() -> None:
    spread = Spread(0.0, 1e9, seeds=0.01, seed_df=4)
    found = Estimate(0.5, 0.5, 0.5, None, 5, "seeds and items", spread, 0.0, math.inf, is_ratio=True)
    # ln(0.8 / 0.5) = 0.470004: 4.70004 standard errors of 0.1 on 4 degrees of freedom
    assert found.p_value(0.8) == pytest.approx(0.009308, rel=1e-3)
    endless = replace(found, spread=Spread(1.0, 4, smallest_p=0.1)).at(0.05)
    assert (endless.low, endless.high) == (0.0, pytest.approx(0.5 * math.exp(700), rel=1e-9))


def test_the_p_value_of_another_number_than_zero() -> None:
    # 0.3 against 0.1 is 0.2 away, twice the standard error of 0.1: p = 0.0455 by the normal distribution
    found = Estimate(0.3, 0.1, 0.5, None, 1, "items", Spread(0.01, 1e9))
    assert found.p_value(0.1) == pytest.approx(0.0455, abs=1e-4)
    assert found.p_value(-0.1) == pytest.approx(6.33e-5, rel=1e-2)  # four of them


@pytest.mark.parametrize(
    ("low", "high", "excludes"),
    [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False), (0.0, 0.2, False), (-0.2, 0.0, False)],
)
def test_an_interval_excludes_zero_on_either_side(low: float, high: float, excludes: bool) -> None:
    assert Estimate((low + high) / 2, low, high, None, 1, "items").excludes_zero is excludes


def test_what_an_estimate_is_without_further_words() -> None:
    bare = Estimate(0.3, 0.1, 0.5, None, 1, "items", Spread(0.01, 1e9))
    assert (bare.lowest, bare.highest, bare.is_ratio, bare.level) == (-math.inf, math.inf, False, 0.05)


def test_the_variances_of_two_seeds_by_hand() -> None:
    """Two resamples: 0 and 1 have variance 0.5, and 0.25 and 0.75 a quarter of it."""
    resampled = np.array([[0.0, 1.0], [0.5, 0.5]])
    found = spread_of(SeedDraws(np.array([0.2, 0.6]), resampled, item_df=4, one_item=0.02))
    # times 5 / 4: by seed (0.5 + 0) / 2 = 0.3125, of the mean 0.15625; alike by half, so half of one item more, 0.01
    # counted: (0.3125 - 0.15625) / 1 leaves nothing that both share; seeds: (0.08 + 0.02 / 12) / 2
    assert (found.items, found.items_alone) == (pytest.approx(0.01), pytest.approx(0.16625))
    assert (found.seeds, found.seed_df, found.item_df) == (pytest.approx(0.04 + 0.01 / 12), 1, 4)
    assert found.smallest_p == 0.0  # not paired


def test_seeds_with_opposite_luck_share_no_items() -> None:
    found = spread_of(SeedDraws(np.array([0.5, 0.5]), np.array([[0.0, 1.0], [1.0, 0.0]]), item_df=4, one_item=0.02))
    assert (found.items, found.items_alone) == (0.0, 0.0)


@pytest.mark.parametrize(("df", "variance"), [(0, 0.5), (1, 1.0), (4, 0.625), (math.inf, 0.5)])
def test_the_variance_of_resamples_is_made_unbiased(df: float, variance: float) -> None:
    """Of n items the bootstrap shows (n - 1) / n; of one item it shows nothing that could be scaled."""
    found = spread_of(SeedDraws(np.array([0.5]), np.array([[0.0, 1.0]]), item_df=df, one_item=0.01))
    assert (found.items, found.items_alone) == (pytest.approx(variance + 0.01), pytest.approx(variance + 0.01))


def test_seeds_have_the_items_of_all_of_them() -> None:
    """100 items in the one seed, 50 others in the other."""
    found = draws_of({0: _cell(70), 1: _cell(30, 50, first_id=500)}, ACCURACY)
    assert found.draws.shape == (2, 1000)
    assert (found.item_df, found.one_item) == (149, pytest.approx((1 / 100**2 + 1 / 50**2) / 2))
    same = draws_of(_cells(70, 80), ACCURACY)
    assert (same.item_df, same.is_paired) == (99, False)


def test_a_difference_has_the_fewer_items() -> None:
    many = SeedDraws(np.array([0.75]), np.array([[0.5, 1.0]]), item_df=9, one_item=0.01)
    few = SeedDraws(np.array([0.25]), np.array([[0.25, 0.5]]), item_df=4, one_item=0.04)
    for found in (many.minus(few), replace(many, item_df=4, one_item=0.04).minus(replace(few, item_df=9))):
        assert (found.item_df, found.one_item, found.is_paired) == (4, 0.04, True)
        assert (found.values.tolist(), found.draws.tolist()) == ([0.5], [[0.25, 0.5]])


def test_an_average_has_the_items_of_all_columns() -> None:
    parts = [
        SeedDraws(np.array([0.2, 0.4]), np.array([[0.1, 0.3], [0.5, 0.3]]), df, one_item, is_paired=paired)
        for df, one_item, paired in ((9, 0.01, True), (4, 0.04, False))
    ]
    found = mean_of([parts[0], replace(parts[1], values=np.array([0.6, 0.0]))])
    assert found.values.tolist() == pytest.approx([0.4, 0.2])
    assert found.draws.tolist() == [[0.1, 0.3], [0.5, 0.3]]
    # each of two columns weighs a half, so its variance a quarter
    assert (found.item_df, found.one_item) == (13, pytest.approx(0.05 / 4))
    assert not found.is_paired
    assert mean_of([parts[0], parts[0]]).is_paired


def test_an_id_that_occurs_twice_cannot_be_paired() -> None:
    once, twice = _cell(2, 2), replace(_cell(3, 3), ids=("00000", "00000", "00001"))
    with pytest.raises(UnpairedError, match=r"toy, seed 0: test items differ \(an id occurs twice\)"):
        paired_seeds({0: once}, {0: twice})
    equal = replace(once, ids=(*once.ids,), gold=(*once.gold,))  # equal, and not the same
    assert paired_seeds({0: once}, {0: equal}) == (0,)


def test_means_of_columns_are_those_of_the_cells_alone() -> None:
    """Right and wrong as two columns; seeds 0 and 2 have equal items, seed 1 has others."""
    cells = {0: _cell(3, 4), 1: _cell(2, 5, first_id=50), 2: _cell(1, 4)}

    def right_and_wrong(cell: CellData) -> np.ndarray:
        right = np.array([answer == "yes" for answer in cell.answers], dtype=float)
        return np.stack([right, 1 - right], axis=1)

    found = column_means(cells, right_and_wrong, 20)
    for (means, drawn), (seed, share) in zip(found, {0: 0.75, 1: 0.4, 2: 0.25}.items(), strict=True):
        alone = draws_of({seed: cells[seed]}, ACCURACY, 20).draws[0]
        assert means == pytest.approx([share, 1 - share])
        assert drawn == pytest.approx(np.stack([alone, 1 - alone], axis=1))


def test_means_of_columns_are_drawn_by_groups_where_rows_stand_in_them() -> None:
    """Two questions of two rows: a resample has 0, 1 or 2 of the right one, so shares of 0, 1/2 and 1."""
    cell = replace(_cell(2, 4), groups=("a", "a", "b", "b"))
    right = np.array([[answer == "yes"] for answer in cell.answers], dtype=float)
    assert right.ravel().tolist() in ([1, 1, 0, 0], [0, 0, 1, 1])
    ((_, drawn),) = column_means({0: cell}, lambda _: right, 200)
    assert set(drawn.ravel().tolist()) == {0.0, 0.5, 1.0}


def test_a_mean_over_rows_weighs_each_row_by_what_stands_in_it() -> None:
    """Two seeds of three rows; the second lacks the last."""
    sums, sizes = np.array([[2.0, 0.0, 1.0], [1.0, 1.0, 0.0]]), np.array([[2.0, 3.0, 1.0], [1.0, 4.0, 0.0]])
    found = row_draws("toy", ("a", "b", "c"), sums, sizes, 400)
    assert found.values == pytest.approx([3 / 6, 2 / 5])
    assert (found.item_df, found.is_paired) == (2, False)
    assert found.one_item == pytest.approx((1 / 9 + 1 / 4) / 2)  # three rows, and two
    # three draws of three rows: of the first seed all b, 0, all a or c, 1, and what lies between
    means = {(2 * a + c) / (2 * a + 3 * b + c) for a in range(4) for b in range(4 - a) for c in [3 - a - b]}
    assert {round(mean, 9) for mean in found.draws[0]} == {round(mean, 9) for mean in means}
    # of the second, without b and c in the draw: 1; a draw of c alone says nothing, so the mean over all rows stands
    others = {(a + b) / (a + 4 * b) if a + b else 2 / 5 for a in range(4) for b in range(4 - a)}
    assert {round(mean, 9) for mean in found.draws[1]} == {round(mean, 9) for mean in others}


def test_an_estimate_is_stored_with_what_its_interval_covers() -> None:
    stored = Estimate(0.3, 0.1, 0.5, 0.02, 2, "items", level=0.01).stored()
    assert stored == {"value": 0.3, "low": 0.1, "high": 0.5, "sd": 0.02, "seeds": 2, "basis": "items", "level": 0.01}


def test_an_interval_ends_where_the_metric_does() -> None:
    """59 of 60 right in each of two seeds: without an end the interval would go on above 1."""
    draws = draws_of({0: _cell(59, 60), 1: _cell(59, 60)}, ACCURACY)
    assert estimate(draws).high > 1.0
    assert possible(draws, ("accuracy",)).high == 1.0
    low = draws_of({0: _cell(1, 60), 1: _cell(1, 60)}, ACCURACY)
    assert possible(low, ("accuracy",)).low == 0.0
    assert possible(low, ("accuracy", "matthews")).low < 0.0
