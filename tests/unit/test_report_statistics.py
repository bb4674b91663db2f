"""Intervals over seeds and items, and paired differences: known answers and simulated coverage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rewardlab.intervals import resample_counts
from rewardlab.metrics import Floats
from rewardlab.reports.cells import CellData
from rewardlab.reports.collect import cells_by_seed, load_eval
from rewardlab.reports.comparison import compare_sides
from rewardlab.reports.statistics import (
    Estimate,
    SeedDraws,
    UnpairedError,
    draws_of,
    estimate,
    mean_of,
    paired_seeds,
    variance_of_mean,
    within,
)
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


def test_two_seeds_are_still_items_only() -> None:
    found = estimate(draws_of(_cells(70, 90), ACCURACY))
    assert found.value == pytest.approx(0.8)
    assert found.basis == "items"
    assert found.sd == pytest.approx(np.sqrt(0.02))  # deviations 0.1 each way over one degree of freedom


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
    draws = SeedDraws(np.array([0.5, 0.6, 0.5, 0.6]), 0.55 + shared + own)
    # seeds: var 0.01/3 over 4 = 0.000833, which holds the own part; items shared: 0.0009
    assert variance_of_mean(draws) == pytest.approx(0.01 / 12 + 0.0009, rel=0.03)


def test_disjoint_items_are_not_counted_twice() -> None:
    rng = np.random.default_rng(1)
    draws = SeedDraws(np.array([0.5, 0.6, 0.5, 0.6]), 0.55 + rng.normal(0, 0.04, (4, 50_000)))
    assert variance_of_mean(draws) == pytest.approx(0.01 / 12, rel=0.03)


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
    assert found.high - found.low < 1.2 * (unpaired.high - unpaired.low)


def test_equal_methods_do_not_differ() -> None:
    found = _difference(_cells(70, 80, 75), _cells(70, 80, 75))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert not found.excludes_zero


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
    cells = cells_by_seed([load_eval(folder) for folder in folders], ("toy", "greedy"))
    drawn = draws_of(cells, ACCURACY)
    assert (drawn.draws[0] == drawn.draws[1]).all()


def _simulated(
    rng: np.random.Generator, seed_sd: float, *, greedy: bool, seeds: int = 5, items: int = 120
) -> SeedDraws:
    """Accuracy 0.75 on average; items differ in difficulty, seeds in skill, samples in luck."""
    difficulty = rng.normal(0, 1, items)
    skill = rng.normal(0, seed_sd, (seeds, 1))
    margin = 1.1 + skill + difficulty[None, :] + (0 if greedy else rng.logistic(0, 0.6, (seeds, items)))
    right: Floats = (margin > 0).astype(np.float64)
    counts = resample_counts(items, 200, int(rng.integers(1_000_000)))
    return SeedDraws(right.mean(axis=1), np.stack([counts @ row / items for row in right]))


@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("seed_sd", [0.0, 0.2, 0.4])
def test_intervals_cover_the_truth_as_often_as_they_say(seed_sd: float, greedy: bool) -> None:
    rng = np.random.default_rng(7)
    truth = np.mean([_simulated(rng, seed_sd, greedy=greedy, seeds=40, items=400).values.mean() for _ in range(60)])
    covered = []
    for _ in range(400):
        found = estimate(_simulated(rng, seed_sd, greedy=greedy))
        covered.append(found.low <= truth <= found.high)
    assert np.mean(covered) >= 0.93


def test_an_interval_ends_where_a_share_can() -> None:
    found = Estimate(0.9, 0.7, 1.1, 0.1, 3, "seeds and items")
    assert (within(found).low, within(found).high) == (0.7, 1.0)
    assert within(replace(found, low=-2.0), -1.0).low == -1.0
