"""Which of two responses is better: the question of RLLR appendix G, verdicts read in answers, rankings made of them.

============================================== ================================================
``Answer 1 is better. It cites ...``           the verdict stands first, as the prompt asks
``**Answer 2** is better``  ``[Answer 2] ...``   read: Markdown, brackets, quotes
``Verdict: Answer 2 is better``                read: what announces it, a heading too
``<think>...</think> Equal``                   read: thoughts are cut (``rewardlab.tasks.thoughts``)
``Equal``  ``They are equal, because ...``     a tie
``They are not equal``  ``I would not say ...``  unparsable, and so is anything else
============================================== ================================================

Models too small to write a ranking are shown each two responses in both orders; what is read is then not text but how
much likelier the model finds "Answer 1 is better" than "Answer 2 is better". R responses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Literal

from rewardlab.annotate.base import Annotation, Outcome, dense_places, seeded
from rewardlab.annotate.completion import with_outcome
from rewardlab.annotate.prompting import judge_request
from rewardlab.tasks.thoughts import spoken
from rewardlab.types import Example

Winner = Literal["first", "second", "tie"]
_WRAP = r"[\[\](){}\"'*_`\s]{0,4}"
_LEAD = r"[\W_]{0,20}(?:(?:(?:my|the)\s)?(?:final\s)?(?:verdict|judge?ment)(?:\sis)?[\W_]{1,8})?"
_BOTH = r"(?:(?:they|both|(?:both|the|the two|the 2)\sanswers|answer 1 and answer 2)\sare\s)?"
_TIE_ENDS = rf"{_WRAP}(?:$|[.,;:!\n\u2013\u2014-]|(?:as|because|since)\b)"
"""After "equal": the end of the sentence or a reason; "equal length" is no verdict."""
_VERDICT = re.compile(
    rf"{_LEAD}(?:answer{_WRAP}(?P<number>[0-9]{{1,3}}){_WRAP}is{_WRAP}better\b(?!{_WRAP}\?)"
    rf"|{_BOTH}{_WRAP}(?P<tie>equal)\b(?={_TIE_ENDS}))",
    re.IGNORECASE,
)
"""Matched at the start alone: further on, a verdict may be denied, quoted, or of a part of the answer."""
SWAPPED: Mapping[Winner, Winner] = {"first": "second", "second": "first", "tie": "tie"}


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """Asks which of two responses to one prompt is better."""

    example: Example
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge said of one request.

    Attributes:
        winner: In the order of the request, however the responses were shown; None when there is no verdict.
        annotations: What it was read from: one answer, or two where both orders were asked.
    """

    winner: Winner | None
    annotations: tuple[Annotation, ...]

    @property
    def outcome(self) -> Outcome:
        """Class of the request: that of the first answer that is not ``answered``."""
        return next((each.outcome for each in self.annotations if each.outcome != "answered"), "answered")


def judge_pairs(
    requests: Sequence[JudgeRequest],
    ask: Callable[[list[str]], list[Annotation]],
    *,
    both_orders: bool = False,
    seed: int = 0,
) -> list[Judgement]:
    """One judgement per request.

    Args:
        requests: What is compared.
        ask: Sends prompts and returns one annotation each.
        both_orders: Ask twice, in either order; verdicts that disagree are a tie. Otherwise the order is drawn.
        seed: Of the drawn orders.
    """
    answers = iter(ask(judge_prompts(requests, both_orders=both_orders, seed=seed)))
    return [
        _judgement([_read(next(answers), swap) for swap in _orders(request, seed, both_orders)]) for request in requests
    ]


def judge_prompts(requests: Sequence[JudgeRequest], *, both_orders: bool = False, seed: int = 0) -> list[str]:
    """What :func:`judge_pairs` asks, in its order."""
    return [
        judge_request(each.example, *((each.second, each.first) if swap else (each.first, each.second)))
        for each in requests
        for swap in _orders(each, seed, both_orders)
    ]


def parse_verdict(text: str) -> Winner | None:
    """The verdict that a text begins with; None when it begins with none. Never raises; time is bounded.

    >>> parse_verdict("Answer 2 is better. Answer 1 is better written, though.")
    'second'
    """
    found = _VERDICT.match(spoken(text))
    if found is None:
        return None
    if found["tie"]:
        return "tie"
    verdicts: dict[str, Winner] = {"1": "first", "2": "second"}
    return verdicts.get(found["number"])


def _orders(request: JudgeRequest, seed: int, both: bool) -> tuple[bool, ...]:
    return (False, True) if both else (is_swapped(request, seed),)


def is_swapped(request: JudgeRequest, seed: int = 0) -> bool:
    """True when the drawn order shows the second response first."""
    parts = (request.example.task, request.example.id, request.first, request.second)
    return seeded("judge order", seed, *parts).random() < 0.5


def _read(annotation: Annotation, is_swapped: bool) -> Judgement:
    if annotation.outcome != "answered":
        return Judgement(None, (annotation,))
    winner = parse_verdict(annotation.text)
    if winner is None:
        return Judgement(None, (with_outcome(annotation, "unparsable", "no verdict such as 'Answer 1 is better'"),))
    return Judgement(SWAPPED[winner] if is_swapped else winner, (annotation,))


def _judgement(read: Sequence[Judgement]) -> Judgement:
    """One verdict of one or two; two that disagree are a tie, and one that is missing leaves none."""
    winners = {each.winner for each in read}
    annotations = tuple(annotation for each in read for annotation in each.annotations)
    if None in winners:
        return Judgement(None, annotations)
    return Judgement(winners.pop() if len(winners) == 1 else "tie", annotations)


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
