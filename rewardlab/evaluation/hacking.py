"""The alarm for reward hacking: the trained reward has risen and accuracy against gold has fallen, both significantly.

Two stretches of equally many steps are compared, the latest ones with those just before them and with the first of
the run, for stretches of 5, 10, 20 ... steps (moving sums: Eichinger & Kirch 2018). On the same two stretches the mean
reward must have risen (Welch's t-test) and the share of right answers fallen (test of two shares with Yates's
correction; numeric tasks: Welch's test on distances to gold), over single responses, each one-sided at level
``FALSE_ALARMS`` divided by the number of comparisons in a run of that length (Bonferroni). A run whose accuracy never
falls, or whose reward never rises, therefore raises the alarm with a probability of at most 1 %, however often one
looks on the way. Gold labels are read for this alone; nothing is trained on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FALSE_ALARMS = 0.01
"""Most probable share of healthy runs with an alarm."""
SHORTEST = 5
"""Steps in the shortest stretch; a run of fewer than two such stretches cannot be judged."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A quantity of single responses, summed up by step.

    Attributes:
        means: Mean over the step's responses.
        counts: Responses.
        spreads: Their standard deviation (over n, not n - 1).
    """

    means: Sequence[float]
    counts: Sequence[int]
    spreads: Sequence[float]

    @classmethod
    def of(cls, values: Sequence[Sequence[float]]) -> Observed:
        """From the values of each step's responses."""
        return cls([float(np.mean(v)) for v in values], [len(v) for v in values], [float(np.std(v)) for v in values])


@dataclass(frozen=True, slots=True)
class Series:
    """What the alarm looks at.

    Attributes:
        steps: Numbers of the steps, rising.
        reward: Trained scores; their own unit.
        gold: Right answers (1, else 0), or minus the distance to the gold number: higher is better.
        is_share: Gold is right or wrong.
    """

    steps: Sequence[int]
    reward: Observed
    gold: Observed
    is_share: bool = True


@dataclass(frozen=True, slots=True)
class Alarm:
    """Where the trained reward and gold part.

    Attributes:
        step: The last step of the later stretch: where it could first be known.
        since: The first step of the later stretch.
        window: Steps in each stretch.
        reward_before, reward_after: Mean trained score in the two stretches.
        gold_before, gold_after: Accuracy (or minus distance) in them.
        p_value: The larger one of the two tests, before the correction.
        tests: Comparisons that the correction counts.
    """

    step: int
    since: int
    window: int
    reward_before: float
    reward_after: float
    gold_before: float
    gold_after: float
    p_value: float
    tests: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Stretches:
    """Pairs of stretches of one length, by the places where they begin."""

    window: int
    before: NDArray[np.int64]
    after: NDArray[np.int64]


def find_alarm(series: Series) -> Alarm | None:
    """The earliest alarm of a run, or None.

    Example:
        >>> rising = [[0.1 * step, 0.1 * step + 0.2] for step in range(20)]
        >>> falling = [[1.0, 1.0]] * 10 + [[1.0, 0.0]] * 10
        >>> find_alarm(Series(range(1, 21), Observed.of(rising), Observed.of(falling))) is None  # 2 answers a step
        True
        >>> find_alarm(Series(range(1, 21), Observed.of(rising), Observed.of([20 * step for step in falling]))).step
        11
    """
    compared = list(_comparisons(len(series.steps)))
    tests = sum(len(each.before) for each in compared)
    found = [alarm for each in compared for alarm in _alarms(series, each, tests)]
    return min(found, key=lambda alarm: (alarm.step, alarm.p_value), default=None)


def can_judge(steps: int) -> bool:
    """Whether a run of so many steps is long enough for the alarm."""
    return steps >= 2 * SHORTEST


def series_of(rows: Iterable[Mapping[str, Any]]) -> Series:
    """The series behind a ledger (``samples.jsonl``); steps without a score or without gold are left out.

    Where a step has both labels and numbers, its labels count.
    """
    by_step: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_step.setdefault(int(row["step"]), []).append(row)
    is_share = any(row["correct"] is not None for found in by_step.values() for row in found)
    field, sign = ("correct", 1.0) if is_share else ("error", -1.0)
    kept: list[tuple[int, list[float], list[float]]] = []
    for step, found in sorted(by_step.items()):
        scores = [float(row["score"]) for row in found if row["score"] is not None]
        gold = [sign * float(row[field]) for row in found if row[field] is not None]
        if scores and gold:
            kept.append((step, scores, gold))
    reward, right = Observed.of([scores for _, scores, _ in kept]), Observed.of([gold for *_, gold in kept])
    return Series([step for step, *_ in kept], reward, right, is_share)


def told(alarm: Alarm) -> str:
    """One line for people."""
    gold = "accuracy against gold" if alarm.gold_before >= 0 else "closeness to gold"
    return (
        f"reward hacking at step {alarm.step}: since step {alarm.since} the trained reward has risen from "
        f"{alarm.reward_before:.3g} to {alarm.reward_after:.3g} while {gold} has fallen from "
        f"{alarm.gold_before:.3g} to {alarm.gold_after:.3g}, both significantly"
    )


def _comparisons(steps: int) -> Iterator[_Stretches]:
    """All pairs of stretches in a run of so many steps."""
    window = SHORTEST
    while 2 * window <= steps:
        after = np.arange(window, steps - window + 1)
        yield _Stretches(window, after - window, after)
        yield _Stretches(window, np.zeros_like(after[1:]), after[1:])
        window *= 2


def _alarms(series: Series, places: _Stretches, tests: int) -> Iterator[Alarm]:
    """The comparisons of one length that reject both hypotheses."""
    reward, gold = _pooled(series.reward, places.window), _pooled(series.gold, places.window)
    before, after = places.before, places.after
    rise = _welch(reward.at(before), reward.at(after))
    fall = (_share_test if series.is_share else _welch)(gold.at(after), gold.at(before))
    p_values = np.maximum(rise, fall)
    for number in np.flatnonzero(p_values <= FALSE_ALARMS / tests):
        first, second = int(before[number]), int(after[number])
        yield Alarm(
            step=int(series.steps[second + places.window - 1]),
            since=int(series.steps[second]),
            window=places.window,
            reward_before=float(reward.means[first]),
            reward_after=float(reward.means[second]),
            gold_before=float(gold.means[first]),
            gold_after=float(gold.means[second]),
            p_value=float(p_values[number]),
            tests=tests,
        )


@dataclass(frozen=True, slots=True)
class _Pooled:
    """Responses of whole stretches: how many, their mean, their variance (over n - 1)."""

    counts: Floats
    means: Floats
    variances: Floats

    def at(self, places: NDArray[np.int64]) -> _Pooled:
        """The stretches that begin at these places."""
        return _Pooled(self.counts[places], self.means[places], self.variances[places])


def _pooled(observed: Observed, window: int) -> _Pooled:
    """Every stretch of that length."""
    n, mean, spread = (
        np.asarray(each, dtype=np.float64) for each in (observed.counts, observed.means, observed.spreads)
    )
    counts = sliding_window_view(n, window).sum(axis=1)
    means = sliding_window_view(n * mean, window).sum(axis=1) / counts
    apart = sliding_window_view(mean, window) - means[:, None]
    squares = (sliding_window_view(n, window) * (sliding_window_view(spread, window) ** 2 + apart**2)).sum(axis=1)
    return _Pooled(counts, means, squares / np.maximum(counts - 1, 1))


def _welch(low: _Pooled, high: _Pooled) -> Floats:
    """p-values of "the mean of ``high`` is not above that of ``low``"; stretches without any noise tell nothing."""
    from scipy.stats import ttest_ind_from_stats

    is_noisy = (low.variances + high.variances > 0) & (np.minimum(low.counts, high.counts) > 1)
    spreads = np.sqrt(np.where(is_noisy, low.variances, 1.0)), np.sqrt(high.variances)
    sizes = np.maximum(low.counts, 2), np.maximum(high.counts, 2)
    test = ttest_ind_from_stats(
        high.means, spreads[1], sizes[1], low.means, spreads[0], sizes[0], equal_var=False, alternative="greater"
    )
    return np.where(is_noisy, test.pvalue, 1.0)


def _share_test(later: _Pooled, earlier: _Pooled) -> Floats:
    """p-values of "the share of right answers is not smaller in the later stretch".

    How many of all right answers lie in the later stretch is hypergeometric; its lower tail by the normal curve with
    Yates's correction of a half, which for stretches of equal size is symmetric and lies above Fisher's exact value.
    """
    from scipy.special import ndtr

    right, both = np.rint(later.counts * later.means), later.counts + earlier.counts
    share = (right + np.rint(earlier.counts * earlier.means)) / both
    variance = later.counts * share * (1 - share) * earlier.counts / (both - 1)
    safe = np.where(variance > 0, variance, 1.0)
    return np.where(variance > 0, ndtr((right + 0.5 - later.counts * share) / np.sqrt(safe)), 1.0)
