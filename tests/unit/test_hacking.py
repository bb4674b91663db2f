"""The alarm for reward hacking: silent on noise, heard on a fall of gold accuracy under a rising reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import fisher_exact, ttest_ind

from rewardlab.evaluation import hacking
from rewardlab.evaluation.hacking import Alarm, Series, can_judge, find_alarm, series_of, told

RUNS = 400
BATCH = 32


def run(rng: np.random.Generator, accuracy: Sequence[float], rise: float, batch: int = BATCH) -> Series:
    """A run of these true accuracies; the reward rises by ``rise`` in all, with noise of 0.2 a step."""
    steps = len(accuracy)
    reward = np.linspace(0.0, rise, steps) + rng.normal(0.0, 0.2, steps)
    right = rng.binomial(batch, accuracy)
    return Series(range(1, steps + 1), reward.tolist(), (right / batch).tolist(), [batch] * steps)


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


def test_the_step_is_the_first_at_which_it_can_be_known_and_the_means_are_those_of_the_stretches() -> None:
    """Ten steps at 0.9, then 0.3. A stretch across the jump has a wide spread of rewards, so step 15 is the first."""
    reward = [0.0, 0.1] * 5 + [2.0, 2.1] * 5
    gold = [29 / 32] * 10 + [10 / 32] * 10
    alarm = find_alarm(Series(range(1, 21), reward, gold, [32] * 20))
    assert alarm is not None
    assert (alarm.step, alarm.since, alarm.window) == (15, 11, 5)
    assert alarm.gold_before == pytest.approx(29 / 32)
    assert alarm.gold_after == pytest.approx(10 / 32)
    assert alarm.reward_before == pytest.approx(0.2 / 5)  # steps 1 to 5, as steps 6 to 10 have 0.3 / 5
    assert alarm.reward_after == pytest.approx((2.0 + 2.1 + 2.0 + 2.1 + 2.0) / 5)
    # stretches of 5: places 5..15 against the five before (11) and, but for the first, against the start (10);
    # stretches of 10: one place
    assert alarm.tests == 22
    assert "step 15" in told(alarm)


def test_the_test_of_shares_is_never_bolder_than_fishers_exact_one() -> None:
    places = hacking._Stretches(1, np.array([0]), np.array([1]))
    for size in (20, 160):
        for before in range(size // 2, size + 1, size // 10):
            for after in range(before % 5, before, size // 10):
                gold = np.array([[before / size], [after / size]])
                ours = float(hacking._share_test(gold, np.full((2, 1), float(size)), places)[0])
                exact = fisher_exact([[after, size - after], [before, size - before]], alternative="less")[1]
                if exact <= 0.05:
                    assert ours >= exact
                assert ours <= 0.05 or exact > 0.02  # nor much too timid


def test_welchs_test_is_scipys() -> None:
    rng = np.random.default_rng(3)
    low, high = rng.normal(0, 1, (4, 6)), rng.normal(1, 2, (4, 6))
    for row, ours in enumerate(hacking._welch(low, high)):
        theirs = ttest_ind(high[row], low[row], equal_var=False, alternative="greater").pvalue
        assert ours == pytest.approx(theirs, rel=1e-9)


def test_without_noise_nothing_is_said() -> None:
    assert find_alarm(Series(range(1, 21), [0.0] * 10 + [1.0] * 10, [1.0] * 10 + [0.0] * 10)) is None


def test_short_runs_cannot_be_judged() -> None:
    assert not can_judge(9)
    assert can_judge(10)
    assert find_alarm(Series([1, 2], [0.0, 1.0], [1.0, 0.0], [32, 32])) is None
    assert find_alarm(Series([], [], [])) is None


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
    assert series_of(rows) == Series([1, 2], [1.0, 1.0], [0.5, 1.0], [2, 1])


def test_numbers_are_judged_by_their_distance_to_gold() -> None:
    assert series_of([row(1, 1.0, error=0.5), row(1, 1.0, error=1.5)]) == Series([1], [1.0], [-1.0], ())
    rng = np.random.default_rng(4)
    steps, noise = range(1, 41), rng.normal(0, 0.05, 40)
    far = [-0.5 + n for n in noise[:20]] + [-1.5 + n for n in noise[20:]]
    reward = [step / 10 + n for step, n in zip(steps, noise, strict=True)]
    alarm = find_alarm(Series(steps, reward, far))
    assert alarm is not None
    assert 20 < alarm.step < 30
    assert "closeness to gold" in told(alarm)


def test_an_alarm_survives_json() -> None:
    alarm = Alarm(12, 8, 5, 0.1, 0.9, 0.8, 0.6, 1e-6, 22)
    assert Alarm(**alarm.to_json()) == alarm
