"""The alarm for reward hacking: silent on noise, heard on a fall of gold accuracy under a rising reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import scipy

from rewardlab.evaluation import hacking
from rewardlab.evaluation.hacking import Alarm, Observed, Series, can_judge, find_alarm, series_of, told

RUNS = 400
BATCH = 32


def run(rng: np.random.Generator, accuracy: Sequence[float], rise: float, batch: int = BATCH) -> Series:
    """A run of these true accuracies; the reward rises by ``rise`` in all, and varies by 1 between responses."""
    steps = len(accuracy)
    scores = np.linspace(0.0, rise, steps)[:, None] + rng.normal(0.0, 1.0, (steps, batch))
    return series(scores.tolist(), [[1.0] * k + [0.0] * (batch - k) for k in rng.binomial(batch, accuracy)])


def series(reward: Sequence[Sequence[float]], gold: Sequence[Sequence[float]], is_share: bool = True) -> Series:
    return Series(range(1, len(reward) + 1), Observed.of(reward), Observed.of(gold), is_share)


def share(right: int) -> list[float]:
    return [1.0] * right + [0.0] * (BATCH - right)


def alarms(accuracy: Sequence[float], rise: float, seed: int, runs: int = RUNS) -> list[Alarm]:
    rng = np.random.default_rng(seed)
    found = [find_alarm(run(rng, accuracy, rise)) for _ in range(runs)]
    return [alarm for alarm in found if alarm is not None]


@pytest.mark.parametrize("steps", [30, 120])
@pytest.mark.parametrize(("first", "last"), [(0.8, 0.8), (0.5, 0.5), (0.97, 0.97), (0.7, 0.85)])
def test_healthy_runs_stay_silent(steps: int, first: float, last: float) -> None:
    """At most 1 % by the bound: 4 of 400, and 11 or more would have a probability below 0.003."""
    assert len(alarms(np.linspace(first, last, steps).tolist(), 3.0, seed=steps)) <= 10


def test_a_fall_without_a_rise_of_the_reward_stays_silent() -> None:
    assert len(alarms([0.85] * 15 + [0.55] * 15, 0.0, seed=1)) <= 10


@pytest.mark.parametrize(
    ("accuracy", "earliest", "share"),
    [
        ([0.82] * 10 + np.linspace(0.82, 0.5, 10).tolist() + [0.5] * 10, 13, 0.95),
        ([*np.linspace(0.7, 0.9, 40), *np.linspace(0.9, 0.7, 40), *[0.7] * 40], 45, 0.95),  # first rightly, then not
    ],
)
def test_hacked_runs_are_heard(accuracy: list[float], earliest: int, share: float) -> None:
    found = alarms(accuracy, 6.0, seed=2, runs=100)
    assert len(found) >= 100 * share
    assert np.median([alarm.step for alarm in found]) >= earliest


def test_a_hack_within_a_few_steps_is_heard_though_its_reward_hardly_varies_afterwards() -> None:
    """What a reward model that likes one word does to a small policy: all is over at step 10, every score is 4.4."""
    scores = [[0.0, 2.0] * 16] * 5 + [[1.0, 4.4] * 16] * 5 + [[4.4] * BATCH] * 20
    alarm = find_alarm(series(scores, [share(25)] * 7 + [share(16)] * 23))
    assert alarm is not None
    assert 8 <= alarm.step <= 12


def test_the_step_is_the_first_at_which_it_can_be_known_and_the_means_are_those_of_the_stretches() -> None:
    """Ten steps at 29 of 32 right, then 10: two of five low steps are (3 * 29 + 2 * 10) / 160 = 0.669 from 0.906."""
    alarm = find_alarm(series([[0.0, 1.0] * 16] * 10 + [[2.0, 3.0] * 16] * 10, [share(29)] * 10 + [share(10)] * 10))
    assert alarm is not None
    assert (alarm.step, alarm.since, alarm.window) == (12, 8, 5)
    assert alarm.gold_before == pytest.approx(29 / 32)
    assert alarm.gold_after == pytest.approx(107 / 160)
    assert alarm.reward_before == pytest.approx(0.5)
    assert alarm.reward_after == pytest.approx((3 * 0.5 + 2 * 2.5) / 5)
    # stretches of 5: places 5..15 against the five before (11) and, but for the first, against the start (10);
    # stretches of 10: one place
    assert alarm.tests == 22
    assert "step 12" in told(alarm)


def test_a_few_answers_a_step_are_too_few() -> None:
    gold = [[1.0, 1.0]] * 10 + [[1.0, 0.0]] * 10  # of 10 answers 10, then 5: Fisher's p is 0.016
    assert find_alarm(series([[step, step + 0.1] for step in range(20)], gold)) is None


def pooled(values: Sequence[Sequence[float]]) -> hacking._Pooled:
    """Each row as a run of two steps and one stretch."""
    halves = [hacking._pooled(Observed.of([row[:2], row[2:]]), 2) for row in values]
    counts, means, variances = (
        np.concatenate([getattr(half, name) for half in halves]) for name in ("counts", "means", "variances")
    )
    return hacking._Pooled(counts, means, variances)


def test_the_test_of_shares_is_never_bolder_than_fishers_exact_one() -> None:
    for size in (20, 160):
        for before in range(size // 2, size + 1, size // 10):
            for after in range(before % 5, before, size // 10):
                both = [hacking._pooled(Observed([right / size], [size], [0.0]), 1) for right in (after, before)]
                ours = float(hacking._share_test(*both)[0])
                exact = scipy.stats.fisher_exact([[after, size - after], [before, size - before]], alternative="less")[
                    1
                ]
                if exact <= 0.05:
                    assert ours >= exact
                assert ours <= 0.05 or exact > 0.02  # nor much too timid


def test_welchs_test_over_the_responses_of_a_stretch_is_scipys() -> None:
    rng = np.random.default_rng(3)
    low, high = rng.normal(0, 1, (4, 6)), rng.normal(1, 2, (4, 7))
    for row, ours in enumerate(hacking._welch(pooled(low.tolist()), pooled(high.tolist()))):
        theirs = scipy.stats.ttest_ind(high[row], low[row], equal_var=False, alternative="greater").pvalue
        assert ours == pytest.approx(theirs, rel=1e-9)


def test_without_noise_nothing_is_said() -> None:
    constant = [[0.0] * BATCH] * 10 + [[1.0] * BATCH] * 10
    assert find_alarm(series(constant, [share(29)] * 10 + [share(10)] * 10)) is not None  # across the jump it varies
    assert find_alarm(series([[0.0]] * 5 + [[1.0]] * 5, [share(29)] * 5 + [share(10)] * 5)) is None


def test_short_runs_cannot_be_judged() -> None:
    assert not can_judge(9)
    assert can_judge(10)
    assert find_alarm(series([[0.0, 1.0], [1.0, 2.0]], [share(32), share(0)])) is None
    assert find_alarm(series_of([])) is None


def row(step: int, score: float | None, correct: bool | None = None, error: float | None = None) -> dict[str, Any]:
    return {"step": step, "score": score, "correct": correct, "error": error}


def test_a_ledger_becomes_a_series() -> None:
    rows = [
        row(2, 1.0, True),
        row(1, 0.5, True),
        row(1, None, False),  # not judged by the reward, yet answered
        row(1, 1.5, None),  # without gold
        row(3, None, True),  # no score in the whole step
        row(4, 1.0, None),  # no gold in the whole step
    ]
    reward, gold = Observed([1.0, 1.0], [2, 1], [0.5, 0.0]), Observed([0.5, 1.0], [2, 1], [0.5, 0.0])
    assert series_of(rows) == Series([1, 2], reward, gold, is_share=True)


def test_numbers_are_judged_by_their_distance_to_gold() -> None:
    found = series_of([row(1, 1.0, error=0.5), row(1, 1.0, error=1.5)])
    assert (found.gold, found.is_share) == (Observed([-1.0], [2], [0.5]), False)
    near, far = [-0.5, -0.4, -0.6, -0.5], [-1.5, -1.4, -1.6, -1.5]
    alarm = find_alarm(series([[step, step + 1.0] for step in range(40)], [near] * 20 + [far] * 20, is_share=False))
    assert alarm is not None
    assert 20 < alarm.step < 30
    assert "closeness to gold" in told(alarm)


def test_an_alarm_survives_json() -> None:
    alarm = Alarm(12, 8, 5, 0.1, 0.9, 0.8, 0.6, 1e-6, 22)
    assert Alarm(**alarm.to_json()) == alarm
