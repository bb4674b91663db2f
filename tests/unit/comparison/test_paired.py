"""What is said of a difference: Holm's correction and its intervals, effect sizes, items won and lost."""

from __future__ import annotations

import numpy as np
import pytest

from rewardlab.comparison.evaluations import CellData
from rewardlab.comparison.paired import (
    Corrected,
    Effect,
    PairedTest,
    SeedItems,
    compare_sides,
    correct,
    effect_size,
    holm,
)
from rewardlab.comparison.statistics import UnpairedError

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


def test_holm_by_hand() -> None:
    # in order: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1; the last may not fall below the third
    found = holm([0.01, 0.04, 0.03, 0.005])
    assert [each.p for each in found] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # two are rejected, at 0.05 / 4 and 0.05 / 3; the others stay at the step where the procedure stopped, 0.05 / 2
    assert [each.level for each in found] == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])
    assert [each.p for each in holm([0.4, 0.7])] == pytest.approx([0.8, 0.8])
    assert holm([0.6, 0.9]) == [Corrected(1.0, 0.025)] * 2
    assert holm([]) == []
    # a corrected p of just 0.05 is not below it: the procedure stops at the first
    assert holm([0.025, 0.5]) == [Corrected(0.05, 0.025), Corrected(0.5, 0.025)]
    assert not PairedTest(p=0.05, p_holm=0.05).is_significant
    assert PairedTest(p=0.02, p_holm=0.049).is_significant
    assert PairedTest(p=0.02, p_holm=0.02).family == 1


def test_hypotheses_without_a_p_value_count_all_the_same() -> None:
    """The best of eight was chosen among 28 pairs, though it is compared with seven."""
    found = holm([0.001, 0.002, 0.5], family=28)
    assert [each.p for each in found] == pytest.approx([0.028, 0.054, 1.0])
    assert [each.level for each in found] == pytest.approx([0.05 / 28, 0.05 / 27, 0.05 / 27])


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


def test_items_won_and_lost_are_counted_by_seed() -> None:
    a = {0: cell("11110"), 1: cell("1111x")}
    b = {0: cell("00010"), 1: cell("00011")}
    found = compare_sides({"toy": a}, {"toy": b}, ACCURACY)
    assert found.test.by_seed == (SeedItems(0, 3, 0), SeedItems(1, 3, 1))
    assert found.estimate.value == pytest.approx(((4 - 1) / 5 + (4 - 2) / 5) / 2)


def test_the_p_value_of_items_alone_by_hand() -> None:
    """One seed, 100 items, 20 won and 5 lost."""
    a, b = {0: cell("1" * 20 + "0" * 5 + "1" * 75)}, {0: cell("0" * 20 + "1" * 80)}
    found = compare_sides({"toy": a}, {"toy": b}, ACCURACY)
    # variance of +1, -1 and 0: (25 - 15^2 / 100) / 99 = 0.229798; over 100, and one item more, 1e-4: 0.00239798
    # 0.15 / 0.0489692 = 3.0632, two-sided on 99 degrees of freedom: 0.00282; the bootstrap knows its variance to 5 %
    assert found.test.p == pytest.approx(0.00282, rel=0.25)
    assert found.estimate.basis == "items"


def test_the_p_value_of_seeds_by_hand() -> None:
    """Three seeds of 100 items that are answered alike but for 1, 2 and 3 of them: it is the seeds that tell."""
    a = {seed: cell("1" * (50 + more) + "0" * (50 - more)) for seed, more in enumerate((10, 20, 30))}
    b = {seed: cell("1" * 50 + "0" * 50) for seed in range(3)}
    found = compare_sides({"toy": a}, {"toy": b}, ACCURACY)
    spread = found.estimate.spread
    assert spread is not None
    # 0.1, 0.2 and 0.3: variance 0.01, and that of rounding to an item in 100; of the mean a third
    assert (spread.seeds, spread.seed_df) == (pytest.approx((0.01 + 0.0001 / 12) / 3), 2)
    # 0.2 / sqrt(0.01 / 3) = 3.4641 on 2 degrees of freedom is p = 0.0742; items can only add
    assert 0.0742 <= found.test.p < 0.15
    assert not found.estimate.excludes_zero


def test_other_metrics_are_tested_by_the_same_rule() -> None:
    a, b = {0: cell("11111110" * 10)}, {0: cell("11001000" * 10)}
    test = compare_sides({"toy": a}, {"toy": b}, {"toy": ("macro_f1", "accuracy")}).test
    assert test.by_seed == ()
    assert test.p < 1e-6
    assert test.effect is not None
    assert test.effect.name == "h"


def test_a_correlation_may_differ_by_up_to_two() -> None:
    def side(answers: tuple[float, ...]) -> dict[int, CellData]:
        ids = tuple(f"{n}" for n in range(len(answers)))
        gold = tuple(float(n % 4) for n in range(len(answers)))
        return {0: CellData("s", ids, gold, answers, (), (0.0, 3.0), {"metrics": {"pearson": {}}})}

    right = tuple(float(n % 4) for n in range(4))
    found = compare_sides({"s": side(right)}, {"s": side(right[::-1])}, {"s": ("pearson",)})
    assert found.estimate.value == pytest.approx(2.0)
    assert (found.estimate.low, found.estimate.high) == (-2.0, 2.0)  # four items


def test_an_average_is_the_mean_over_columns_with_one_p_value() -> None:
    sides = [
        {"toy": {0: cell(right * 20)}, "other": {0: cell("1100" * 20, column="other")}} for right in ("1110", "1000")
    ]
    metrics = {"toy": ("accuracy",), "other": ("accuracy",)}
    found = compare_sides(sides[0], sides[1], metrics)
    assert found.estimate.value == pytest.approx((0.5 + 0.0) / 2)
    assert found.test.by_seed == ()
    assert found.test.is_significant


def test_columns_with_other_seeds_are_refused() -> None:
    a = {"toy": {0: cell("10"), 1: cell("10")}, "other": {0: cell("10", column="other")}}
    with pytest.raises(UnpairedError, match="different seeds in common"):
        compare_sides(a, a, {"toy": ("accuracy",), "other": ("accuracy",)})


def test_correction_keeps_the_order_and_the_family() -> None:
    pairs = [("1" * 40, "1" * 30 + "0" * 10), ("1" * 40, "1" * 39 + "0"), ("1" * 40, "1" * 33 + "0" * 7)]
    single = [compare_sides({"toy": {0: cell(a)}}, {"toy": {0: cell(b)}}, ACCURACY) for a, b in pairs]
    found = correct(single)
    first, second, third = (each.test.p for each in single)
    assert [each.test.p_holm for each in found] == pytest.approx([3 * first, second, 2 * third])
    assert {each.test.family for each in found} == {3}
    assert [each.test.is_significant for each in found] == [True, False, True]
    assert [each.alone for each in found] == [each.estimate for each in single]


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_an_interval_excludes_zero_exactly_where_p_is_below_5_per_cent(seeds: int) -> None:
    rng = np.random.default_rng(seeds)

    def side(level: float) -> dict[str, dict[int, CellData]]:
        return {"toy": {seed: cell("".join(map(str, rng.binomial(1, level, 60)))) for seed in range(seeds)}}

    base = side(0.5)
    found = correct([compare_sides(side(level), base, ACCURACY) for level in (0.5, 0.55, 0.7, 0.8, 0.9, 0.95, 1.0)])
    assert [each.estimate.excludes_zero for each in found] == [each.test.is_significant for each in found]
    assert not found[0].test.is_significant
    assert any(each.test.is_significant for each in found)
