"""What another expression changes on stored responses: order, agreement with gold, saturation of lambda, means.

"Old" is the score that the policy was trained on, "new" what the other expression gives. n responses, B resamples;
intervals resample prompts, with all their responses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from rewardlab.evaluation.reward_difference import Disagreement, JudgedTwice, reward_difference
from rewardlab.intervals import Interval, grouped_draws, interval_of, item_spread
from rewardlab.metrics import METRICS, Coded, Floats, Metric, auc
from rewardlab.rewards.calibration import CAPPED
from rewardlab.rewards.rescoring import Rescored, StoredResponse

BUCKETS = 10
"""Stretches of steps that means are given for, at most."""
ALL = "all"


@dataclass(frozen=True, slots=True)
class Swaps:
    """Pairs of responses by which of the two scores higher under the old and the new expression.

    Attributes:
        pairs: All pairs of responses that share a key, such as a step.
        same, swapped: With the same order, and with opposite orders.
        one_ties, both_tie: Pairs that one of the two expressions ties, or both.
    """

    pairs: int
    same: int
    swapped: int
    one_ties: int
    both_tie: int

    @property
    def share(self) -> float | None:
        """Swapped among pairs that neither ties; None without such pairs."""
        decided = self.same + self.swapped
        return self.swapped / decided if decided else None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the two scores agree with gold, over the responses of one task or of all.

    Attributes:
        task: Its name, or ``all``.
        measure: ``AUC`` against right or wrong; ``Spearman`` with minus the distance to gold, for numbers.
        responses: n with gold that both expressions scored.
        old, new: The measure; None where it is undefined: all right, all wrong, or one score for all.
        gain: New minus old, on the same resamples.
        old_correlation, new_correlation: Pearson's with gold (point-biserial for right or wrong); 0 when constant.
    """

    task: str
    measure: str
    responses: int
    old: Interval | None
    new: Interval | None
    gain: Interval | None
    old_correlation: float
    new_correlation: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """Means over a stretch of steps; None without data.

    Attributes:
        first, last: Steps.
        responses: In them.
        old, new: Mean score of those that it scored.
        correct: Share of right answers.
        error: Mean distance to the gold number.
        saturated: Share of label RM scores at or above lambda.
    """

    first: int
    last: int
    responses: int
    old: float | None
    new: float | None
    correct: float | None
    error: float | None
    saturated: float | None


@dataclass(frozen=True, slots=True)
class EvenGroups:
    """Groups of responses to one prompt in one step, and those whose scores are all equal: no method for groups learns
    from them.

    Attributes:
        groups: Of two responses or more that both expressions scored.
        old, new: Even ones.
    """

    groups: int
    old: int
    new: int


@dataclass(frozen=True, slots=True)
class RescoredReport:
    """What :func:`report` measured.

    Attributes:
        responses, steps, prompts: Counted.
        unscored_old, unscored_new: Responses without a score.
        lam: Lambda on the raw scale.
        spearman: Rank correlation of old and new, interval over prompts; None where one of them is constant.
        kendall: Tau-b, likewise.
        swaps: Within steps.
        group_swaps: Within groups; of no pairs where each prompt has one response.
        even: Even groups.
        agreement: Over all tasks where there are several, then by task.
        saturated: Share of label RM scores at or above lambda; None without lambda.
        buckets: Means along the run.
        movers: All responses that both scored, those that change places most first.
    """

    responses: int
    steps: int
    prompts: int
    unscored_old: int
    unscored_new: int
    lam: float | None
    spearman: Interval | None
    kendall: float | None
    swaps: Swaps
    group_swaps: Swaps
    even: EvenGroups
    agreement: Sequence[Agreement]
    saturated: float | None
    buckets: Sequence[Bucket]
    movers: Sequence[Disagreement]

    def to_json(self, movers: int = 10) -> dict[str, Any]:
        """JSON-ready, with so many movers."""
        told = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "movers"}
        shares = {"swap_share": self.swaps.share, "group_swap_share": self.group_swaps.share}
        return {**{name: _plain(value) for name, value in told.items()}, **shares, "movers": [
            {
                "task": each.judged.example.task, "id": each.judged.example.id, "old": each.judged.a,
                "new": each.judged.b, "place_old": each.place_a, "place_new": each.place_b,
                "response": each.judged.response,
            }
            for each in self.movers[:movers]
        ]}  # fmt: skip


def report(
    rows: Sequence[StoredResponse],
    old: Sequence[float | None],
    rescored: Rescored,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> RescoredReport:
    """Compare the old scores of stored responses with the new ones.

    Args:
        rows: The responses.
        old: Their scores under the old expression; None: not scored.
        rescored: What the new expression makes of them.
        resamples, seed: Of the intervals.
    """
    new = [score.score for score in rescored.scores]
    judged = [
        JudgedTwice(row.example, row.response, before, after, _closeness(row))
        for row, before, after in zip(rows, old, new, strict=True)
    ]
    order = reward_difference(judged, resamples=resamples, seed=seed)
    both = [place for place, row in enumerate(judged) if row.a is not None and row.b is not None]
    kept = [rows[place] for place in both]
    a, b = (np.array([side[place] for place in both], dtype=np.float64) for side in (old, new))
    groups = [(row.step, *row.prompt) for row in kept]
    return RescoredReport(
        responses=len(rows),
        steps=len({row.step for row in rows}),
        prompts=len({row.prompt for row in rows}),
        unscored_old=order.unscored_a,
        unscored_new=order.unscored_b,
        lam=rescored.lam,
        spearman=order.spearman,
        kendall=order.kendall,
        swaps=count_swaps(a, b, [row.step for row in kept]),
        group_swaps=count_swaps(a, b, groups),
        even=_even(a, b, groups),
        agreement=list(_agreements(kept, a, b, resamples, seed)),
        saturated=_saturated(rows, rescored.lam),
        buckets=list(_buckets(rows, old, new, rescored.lam)),
        movers=order.disagreements,
    )


def count_swaps(old: Floats, new: Floats, keys: Sequence[object]) -> Swaps:
    """Compare the order of every two responses with equal key.

    Example:
        >>> count_swaps(np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 3.0]), [1, 1, 1])  # the first two swap
        Swaps(pairs=3, same=2, swapped=1, one_ties=0, both_tie=0)
    """
    counts = np.zeros(4, dtype=np.int64)
    for places in _places(keys).values():
        first, second = np.triu_indices(len(places), 1)
        x, y = (np.sign(side[places][second] - side[places][first]) for side in (old, new))
        ties = (x == 0).astype(int) + (y == 0)
        counts += [(x * y > 0).sum(), (x * y < 0).sum(), (ties == 1).sum(), (ties == 2).sum()]
    same, swapped, one_ties, both_tie = map(int, counts)
    return Swaps(same + swapped + one_ties + both_tie, same, swapped, one_ties, both_tie)


def _places(keys: Sequence[object]) -> Mapping[object, list[int]]:
    found: dict[object, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return found


def _even(old: Floats, new: Floats, groups: Sequence[object]) -> EvenGroups:
    several = [places for places in _places(groups).values() if len(places) > 1]
    even_old, even_new = (sum(bool(np.ptp(side[places]) == 0) for places in several) for side in (old, new))
    return EvenGroups(len(several), even_old, even_new)


def _closeness(row: StoredResponse) -> float | None:
    """How right an answer is, the higher the better."""
    return -row.error if row.error is not None else row.correct


def _agreements(
    rows: Sequence[StoredResponse], old: Floats, new: Floats, resamples: int, seed: int
) -> Iterator[Agreement]:
    """For right or wrong answers and for numbers: over all tasks where there are several, then of each."""
    for is_number in (False, True):
        known = [
            place
            for place, row in enumerate(rows)
            if (row.error is not None if is_number else row.correct is not None and row.error is None)
        ]
        by_task = _places([rows[place].example.task for place in known])
        chosen = {str(task): [known[each] for each in places] for task, places in by_task.items()}
        if len(chosen) > 1:
            chosen = {ALL: known, **chosen}
        for task, places in chosen.items():
            part = [rows[place] for place in places]
            yield _agreement(task, part, old[places], new[places], is_number, resamples, seed)


def _agreement(
    task: str, rows: Sequence[StoredResponse], old: Floats, new: Floats, is_number: bool, resamples: int, seed: int
) -> Agreement:
    gold = np.array([_closeness(row) for row in rows], dtype=np.float64)
    is_share = not is_number and bool(np.isin(gold, (0.0, 1.0)).all())
    name, metric = ("AUC", auc) if is_share else ("Spearman", METRICS["spearman"])
    sides = [Coded(gold, side) for side in (old, new)]
    draw = partial(grouped_draws, groups=[row.prompt for row in rows], resamples=resamples, seed=seed)
    is_defined = [bool(np.ptp(gold) > 0) and (is_share or bool(np.ptp(side) > 0)) for side in (old, new)]
    draws = [draw(partial(metric, side)) if ok else None for side, ok in zip(sides, is_defined, strict=True)]
    values = [_whole(metric, side) for side in sides]
    prompts, lowest = len({row.prompt for row in rows}), 0.0 if is_share else -1.0
    intervals = [
        None if found is None else _interval(value, found, prompts, lowest)
        for value, found in zip(values, draws, strict=True)
    ]
    gain = None
    if draws[0] is not None and draws[1] is not None:
        gain = _interval(values[1] - values[0], draws[1] - draws[0], prompts, lowest - 1.0, 1.0 - lowest)
    pearson = [_whole(METRICS["pearson"], side) for side in sides]
    return Agreement(task, name, len(rows), intervals[0], intervals[1], gain, pearson[0], pearson[1])


def _whole(metric: Metric, coded: Coded) -> float:
    return float(metric(coded, np.ones((1, len(coded.gold))))[0])


def _interval(value: float, draws: Floats, prompts: int, lowest: float, highest: float = 1.0) -> Interval:
    """By the variance of the bootstrap over prompts; resamples in which the measure is undefined are left out."""
    usable = draws[np.isfinite(draws)]
    spread = item_spread(float(usable.var(ddof=1)) if len(usable) > 1 else 0.0, prompts)
    return interval_of(value, spread, lowest, highest)


def _saturated(rows: Sequence[StoredResponse], lam: float | None) -> float | None:
    """Share of label RM scores at or above lambda."""
    if lam is None:
        return None
    scores = [score for row in rows if (score := row.parts.get(CAPPED)) is not None]
    return sum(score >= lam for score in scores) / len(scores) if scores else None


def _buckets(
    rows: Sequence[StoredResponse], old: Sequence[float | None], new: Sequence[float | None], lam: float | None
) -> Iterator[Bucket]:
    """Stretches of equally many steps, as far as they can be divided so."""
    steps = sorted({row.step for row in rows})
    bounds = np.linspace(0, len(steps), min(BUCKETS, len(steps)) + 1).round().astype(int)
    by_step = _places([row.step for row in rows])
    for start, end in pairwise(bounds):
        places = [place for step in steps[start:end] for place in by_step[step]]
        part = [rows[place] for place in places]
        yield Bucket(
            first=steps[start],
            last=steps[end - 1],
            responses=len(places),
            old=_mean([old[place] for place in places]),
            new=_mean([new[place] for place in places]),
            correct=_mean([row.correct for row in part]),
            error=_mean([row.error for row in part]),
            saturated=_saturated(part, lam),
        )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return value.to_json()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
