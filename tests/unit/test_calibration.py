"""Calibration: by hand, against scikit-learn and brute force, on resamples, and under hypothesis."""

from __future__ import annotations

import itertools
from statistics import fmean

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from rewardlab.calibration import (
    CALIBRATIONS,
    accuracy_at,
    brier,
    expected_calibration_error,
    overconfidence,
    risk_coverage_area,
)
from rewardlab.intervals import calibration_interval
from rewardlab.metrics import Floats

SURE = np.array([0.95, 0.92, 0.65, 0.62, 0.15])
RIGHT = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
ONES = np.ones((1, 5))


def test_by_hand() -> None:
    assert overconfidence(SURE, RIGHT, ONES).item() == pytest.approx(3.29 / 5 - 3 / 5)
    assert brier(SURE, RIGHT, ONES).item() == pytest.approx((0.05**2 + 0.92**2 + 0.35**2 + 0.38**2 + 0.15**2) / 5)
    # bins: 0.9 two answers, |1.87 - 1|; 0.6 two, |1.27 - 2|; 0.1 one, |0.15 - 0|
    assert expected_calibration_error(SURE, RIGHT, ONES).item() == pytest.approx((0.87 + 0.73 + 0.15) / 5)
    # wrong among the first 1, 2, 3, 4, 5: 0, 1, 1, 1, 2
    assert risk_coverage_area(SURE, RIGHT, ONES).item() == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4 + 2 / 5) / 5)


def test_over_and_under_confidence_do_not_cancel_in_the_error() -> None:
    sure, right = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0, 1.0])
    assert overconfidence(sure, right, np.ones((1, 4))).item() == 0.0
    assert expected_calibration_error(sure, right, np.ones((1, 4))).item() == 1.0


@pytest.mark.parametrize("percent", range(0, 101, 10))
def test_a_round_percentage_is_in_the_bin_above(percent: int) -> None:
    """Two answers, p and p + 0.05: in one bin their errors cancel, |2p + 0.05 - 1| / 2; 100 % is with 95 %."""
    sure = np.array([percent / 100, min(0.999, percent / 100 + 0.05)])
    expected = abs(sure.sum() - 1) / 2
    assert expected_calibration_error(sure, np.array([1.0, 0.0]), np.ones((1, 2))).item() == pytest.approx(expected)


def test_brier_is_scikit_learn_s() -> None:
    assert brier(SURE, RIGHT, ONES).item() == pytest.approx(sklearn.metrics.brier_score_loss(RIGHT, SURE))


def area_of_all_orders(confidence: Floats, right: Floats) -> float:
    """Mean over every order that goes from sure to unsure."""
    orders = [
        order
        for order in itertools.permutations(range(len(right)))
        if list(-confidence[list(order)]) == sorted(-confidence)
    ]
    return fmean(
        fmean(float((1 - right[list(order[:number])]).mean()) for number in range(1, len(right) + 1))
        for order in orders
    )


answers = st.lists(st.tuples(st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=6)


@given(answers)
def test_ties_are_taken_in_every_order(drawn: list[tuple[float, bool]]) -> None:
    sure, right = (np.array(column, dtype=np.float64) for column in zip(*drawn, strict=True))
    assert risk_coverage_area(sure, right, np.ones((1, len(right)))).item() == pytest.approx(
        area_of_all_orders(sure, right)
    )


@given(answers, st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_counts_are_repeated_answers(drawn: list[tuple[float, bool]], times: list[int]) -> None:
    sure, right = (np.array(column, dtype=np.float64) for column in zip(*drawn, strict=True))
    counts = np.array(times[: len(right)])
    if counts.sum() == 0:
        return
    for measure in CALIBRATIONS.values():
        repeated = measure(np.repeat(sure, counts), np.repeat(right, counts), np.ones((1, counts.sum())))
        assert measure(sure, right, counts[None].astype(np.float64)).item() == pytest.approx(repeated.item(), abs=1e-9)


@given(answers)
def test_bounds(drawn: list[tuple[float, bool]]) -> None:
    sure, right = (np.array(column, dtype=np.float64) for column in zip(*drawn, strict=True))
    ones = np.ones((1, len(right)))
    found = {name: measure(sure, right, ones).item() for name, measure in CALIBRATIONS.items()}
    assert -1 <= found["overconfidence"] <= 1
    assert all(-1e-9 <= found[name] <= 1 + 1e-9 for name in ("ece", "brier", "aurc"))
    assert found["ece"] >= abs(found["overconfidence"]) - 1e-9


def test_accuracy_of_the_surest() -> None:
    assert accuracy_at(0.4, SURE, RIGHT) == 0.5
    assert accuracy_at(0.01, SURE, RIGHT) == 1.0
    assert accuracy_at(1.0, SURE, RIGHT) == pytest.approx(0.6)


def test_the_interval_covers_as_often_as_it_says() -> None:
    """200 answers at 80 %, right with probability 0.7: overconfidence 0.1, whose deviation is 0.0324."""
    rng, hits, widths = np.random.default_rng(0), 0, []
    for trial in range(200):
        right = (rng.random(200) < 0.7).astype(np.float64)
        found = calibration_interval("overconfidence", np.full(200, 0.8), right, resamples=400, seed=trial)
        hits += found.low <= 0.1 <= found.high
        widths.append(found.high - found.low)
    assert 182 <= hits <= 199  # 95 % of 200 is 190, a standard deviation 3.1
    assert np.mean(widths) == pytest.approx(2 * 1.972 * 0.0324, rel=0.05)
