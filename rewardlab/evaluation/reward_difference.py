"""How two rewards differ on the same answers, without training: order, winners, and where they disagree most.

Rewards live on scales of their own, so only order is compared: rank correlation over all answers, and, of two
answers to one prompt, which one wins. n answers that both rewards scored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import scipy  # its parts come when they are used

from rewardlab.intervals import Interval, grouped_draws, mean_interval, percentile_interval
from rewardlab.metrics import METRICS, Coded, Floats
from rewardlab.rewards.ledger import scored_row
from rewardlab.types import Example, Score

PAIRED_ANSWERS = 100
"""Answers of one prompt that are paired with each other; those behind them are left out, and counted."""


@dataclass(frozen=True, slots=True)
class JudgedTwice:
    """One answer and what the two rewards say of it.

    Attributes:
        example, response: What was judged.
        a, b: Scores; None where a reward could not judge.
        closeness: How right the answer is: 1 or 0 for labels, minus the distance to gold for numbers; None without
            gold, or where no number could be read.
    """

    example: Example
    response: str
    a: float | None
    b: float | None
    closeness: float | None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An answer with its places under both rewards.

    Attributes:
        place_a, place_b: Share of the other answers that score lower, ties counting half; in (0, 1).
    """

    judged: JudgedTwice
    place_a: float
    place_b: float

    @property
    def gap(self) -> float:
        """How much higher a places it than b; in (-1, 1)."""
        return self.place_a - self.place_b


@dataclass(frozen=True, slots=True)
class Winners:
    """Pairs of answers to one prompt, by who wins under the two rewards.

    Attributes:
        prompts: Prompts with two answers or more.
        same, flipped: Pairs with the same winner, and with opposite winners.
        one_ties, both_tie: Pairs of which one reward, or both, make a tie.
        left_out: Answers that were not paired, of prompts with more than 100.
        flip_share: Flipped among pairs that neither ties, interval over prompts; None without such pairs.
        flips_with_gold: Flipped pairs in which one answer is closer to gold than the other.
        a_right: In how many of those a prefers the closer one; b does in the rest.
    """

    prompts: int
    same: int
    flipped: int
    one_ties: int
    both_tie: int
    left_out: int
    flip_share: Interval | None
    flips_with_gold: int
    a_right: int


@dataclass(frozen=True, slots=True)
class RewardDifference:
    """What :func:`reward_difference` found.

    Attributes:
        answers: n.
        unscored_a, unscored_b: Answers that a, or b, could not judge.
        spearman: Rank correlation, interval over prompts; None where a reward gives all answers one score,
            or there are fewer than two.
        kendall: Kendall's tau-b; None likewise.
        winners: Which of two answers wins.
        disagreements: All n, the largest gap first.
    """

    answers: int
    unscored_a: int
    unscored_b: int
    spearman: Interval | None
    kendall: float | None
    winners: Winners
    disagreements: Sequence[Disagreement]


def judge_twice(
    examples: Sequence[Example], responses: Sequence[str], a: Sequence[Score], b: Sequence[Score]
) -> list[JudgedTwice]:
    """Answers beside both scores; the closeness to gold is read off the answer that either reward parsed."""
    found = []
    for example, response, first, second in zip(examples, responses, a, b, strict=True):
        row = scored_row(example, response, first if first.answer is not None else second)
        closeness = float(row["correct"]) if row["correct"] is not None else None
        closeness = -row["error"] if row["error"] is not None else closeness
        found.append(JudgedTwice(example, response, first.score, second.score, closeness))
    return found


def reward_difference(rows: Sequence[JudgedTwice], *, resamples: int = 1000, seed: int = 0) -> RewardDifference:
    """Compare two rewards on the answers that both scored.

    Args:
        rows: The answers; those with equal task and id answer the same prompt.
        resamples: Bootstrap resamples over prompts.
        seed: Seed of the resampling.
    """
    scored = [row for row in rows if row.a is not None and row.b is not None]
    a, b = (np.array([getattr(row, side) for row in scored], dtype=np.float64) for side in "ab")
    orders = bool(scored) and all(np.ptp(scores) > 0 for scores in (a, b))
    prompts, groups = [(row.example.task, row.example.id) for row in scored], _groups(scored)
    return RewardDifference(
        answers=len(scored),
        unscored_a=sum(row.a is None for row in rows),
        unscored_b=sum(row.b is None for row in rows),
        spearman=_spearman(a, b, prompts, resamples, seed) if orders else None,
        kendall=float(scipy.stats.kendalltau(a, b).statistic) if orders else None,
        winners=_winners(scored, groups, resamples, seed),
        disagreements=_disagreements(scored, a, b),
    )


def _groups(rows: Iterable[JudgedTwice]) -> list[list[int]]:
    """Places of the answers of each prompt."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        found[row.example.task, row.example.id].append(place)
    return list(found.values())


def _spearman(a: Floats, b: Floats, prompts: Sequence[object], resamples: int, seed: int) -> Interval:
    """Spearman's correlation; a resample draws prompts, with all their answers."""
    both = Coded(a, b)
    draws = grouped_draws(partial(METRICS["spearman"], both), prompts, resamples=resamples, seed=seed)
    value = METRICS["spearman"](both, np.ones((1, len(a)))).item()
    return percentile_interval(value, draws)


def _disagreements(rows: Sequence[JudgedTwice], a: Floats, b: Floats) -> list[Disagreement]:
    places = [(scipy.stats.rankdata(scores) - 0.5) / len(rows) for scores in (a, b)]
    order = np.argsort(-np.abs(places[0] - places[1]), kind="stable")
    return [Disagreement(rows[row], float(places[0][row]), float(places[1][row])) for row in order]


def _winners(rows: Sequence[JudgedTwice], groups: Sequence[Sequence[int]], resamples: int, seed: int) -> Winners:
    several = [places for places in groups if len(places) > 1]
    pairs = [
        (number, rows[i], rows[j])
        for number, places in enumerate(several)
        for i, j in combinations(places[:PAIRED_ANSWERS], 2)
    ]
    signs = [(number, _sign(x.a, y.a), _sign(x.b, y.b)) for number, x, y in pairs]
    decided = [(number, first != second) for number, first, second in signs if first and second]
    flips = [flip for _, flip in decided]
    gold = list(_gold_flips(pairs, signs))
    return Winners(
        prompts=len(several),
        same=len(flips) - sum(flips),
        flipped=sum(flips),
        one_ties=sum((first == 0) != (second == 0) for _, first, second in signs),
        both_tie=sum(first == second == 0 for _, first, second in signs),
        left_out=sum(max(0, len(places) - PAIRED_ANSWERS) for places in several),
        flip_share=mean_interval(flips, [number for number, _ in decided], resamples=resamples, seed=seed)
        if flips
        else None,
        flips_with_gold=len(gold),
        a_right=sum(gold),
    )


def _gold_flips(
    pairs: Sequence[tuple[int, JudgedTwice, JudgedTwice]], signs: Sequence[tuple[int, int, int]]
) -> Iterator[bool]:
    """Of every flipped pair that gold decides: whether a prefers the closer answer."""
    for (_, x, y), (_, first, second) in zip(pairs, signs, strict=True):
        if first * second < 0 and x.closeness is not None and y.closeness is not None:
            closer = _sign(x.closeness, y.closeness)
            if closer:
                yield first == closer


def _sign(x: float | None, y: float | None) -> int:
    """1, 0 or -1; rows without a score were left out before."""
    assert x is not None
    assert y is not None
    return int(x > y) - int(x < y)
