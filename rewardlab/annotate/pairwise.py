"""Rankings from pairwise verdicts, for models too small to write a ranking.

Each two responses are shown in both orders; what is read is not text but how much likelier the model finds "Answer 1
is better" than "Answer 2 is better". R responses.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from statistics import fmean

from rewardlab.annotate.base import dense_places

Margins = Mapping[tuple[int, int], float]
"""(shown first, shown second) -> log-probability of "Answer 1 is better" minus that of "Answer 2 is better", nats."""


def places_from_margins(margins: Margins, count: int) -> tuple[int, ...]:
    """Places of R responses by the number of others they beat; a tie in a comparison counts half.

    A model's liking for the first (or second) position, its mean margin over all comparisons, is subtracted first.
    One response beats another when both orders then say so; where the orders disagree the two tie.

    Args:
        margins: One entry for every ordered pair of responses.
        count: R.
    Returns:
        Place of each response, 1 the best; equal numbers of wins share a place.

    >>> places_from_margins({(0, 1): 3.0, (1, 0): 1.0}, 2)  # likes the first position by 2, and response 0
    (1, 2)
    """
    bias = fmean(margins.values())
    wins = [0.0] * count
    for first, second in combinations(range(count), 2):
        forward = margins[first, second] - bias
        backward = margins[second, first] - bias
        won = 1.0 if forward > 0 > backward else 0.0 if forward < 0 < backward else 0.5
        wins[first] += won
        wins[second] += 1 - won
    return dense_places(wins)


def agreement(margins: Margins) -> float:
    """Share of comparisons in which both orders, without any correction, prefer the same response."""
    pairs = [pair for pair in margins if pair[0] < pair[1]]
    return fmean(float(margins[pair] * margins[pair[1], pair[0]] < 0) for pair in pairs)
