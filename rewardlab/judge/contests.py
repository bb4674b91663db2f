"""Two runs' answers to the same test items, read side by side by an annotator in both orders, or in a drawn one
(RLLR appendix G).

An annotator that judges is asked appendix G's question; any other ranks the two answers, which is the same verdict.
Whoever wins in one order only has won by its place, so the two tie.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from rewardlab.annotate.base import Annotator, Progress, Ranking, RankingRequest, silent
from rewardlab.annotate.pairwise import SWAPPED, Judgement, JudgeRequest, Winner, is_swapped, parse_verdict
from rewardlab.errors import DataError, InputError
from rewardlab.evaluation.answers import PREDICTIONS_FILE, differing_gold, read_predictions
from rewardlab.evaluation.predict import Decoding
from rewardlab.types import Example, Label

Examples = Mapping[str, Mapping[str, Example]]
"""Column -> id -> test example."""
Item = tuple[str, str]
"""Column and id."""
_PREDICTED: Mapping[str, type | UnionType] = {
    "column": str,
    "id": str | int,
    "response": str,
    "answer": str | float | int | None,
    "gold": str | float | int,
}
"""What is read of a line of predictions."""
SIDES: Mapping[Winner, Literal["a", "b", "tie"]] = {"first": "a", "second": "b", "tie": "tie"}


@runtime_checkable
class Judge(Protocol):
    """An annotator that answers appendix G's question itself."""

    def judge_many(
        self, requests: Sequence[JudgeRequest], progress: Progress = silent, *, both_orders: bool = False
    ) -> list[Judgement]:
        """One judgement per request."""
        ...


class _Reply(NamedTuple):
    """What one evaluation has of an item: the response, the answer read in it, and the gold label."""

    response: str
    answer: Label | None
    gold: Label


@dataclass(frozen=True, slots=True)
class Contest:
    """Two answers to one test item.

    Attributes:
        column: Column of the table.
        example: The item.
        a, b: The responses.
        same_answer: True when the same label or number was read in both: then only the rationales differ.
    """

    column: str
    example: Example
    a: str
    b: str
    same_answer: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a contest.

    Attributes:
        winner: ``a``, ``b`` or ``tie``; None when the annotator gave no verdict in one of the orders.
        orders_agree: False where each order had a verdict of its own; None without a verdict, where one order was
            asked, or when the responses are equal, letter by letter, and no judge was asked.
        reason: Class of the annotator's answer when there is no verdict; empty otherwise.
        detail: Why it is of that class; one line.
    """

    winner: Literal["a", "b", "tie"] | None
    orders_agree: bool | None
    reason: str = ""
    detail: str = ""


def read_contests(
    a: Path, b: Path, examples: Examples, decoding: Decoding, *, limit: int | None = None, seed: int = 0
) -> list[Contest]:
    """The items that two evaluation folders share.

    Args:
        a, b: Evaluation folders.
        examples: The test examples that both were asked.
        decoding: Which of the two responses to an item is read.
        limit: Most items of a column, drawn by ``seed``; None takes all.
    Raises:
        InputError: They share no item, the data no longer have those they share, or a gold label is not the same in
            both and in the data: then the ids do not mean the same items.
        DataError: A folder cannot be read.
    """
    left, right = _replies(a, decoding), _replies(b, decoding)
    shared = sorted(set(left) & set(right))
    if not shared:
        raise InputError(f"{a} and {b} share no test item under {decoding} decoding; evaluate both on the same data")
    gold = [(item, left[item].gold, right[item].gold) for item in shared]
    _check_gold(a, b, examples, gold)
    return [
        Contest(
            column,
            examples[column][id],
            left[column, id].response,
            right[column, id].response,
            same_answer=left[column, id].answer is not None and left[column, id].answer == right[column, id].answer,
        )
        for column, id in _drawn(shared, limit, seed)
    ]


def _check_gold(a: Path, b: Path, examples: Examples, gold: Sequence[tuple[Item, Label, Label]]) -> None:
    """Ids of two data folders may be the same, and their items not; the text that is read is that of the data."""
    if told := differing_gold((" ".join(item), one, other) for item, one, other in gold):
        raise InputError(f"{a} and {b}: {told}; evaluate both on the same data")
    advice = "give the --data it was made from"
    gone = [" ".join(item) for item, *_ in gold if item[1] not in examples.get(item[0], {})]
    if gone:
        raise InputError(f"{a}: {len(gone)} of its test items are not in the data, such as {gone[0]}; {advice}")
    if told := differing_gold((" ".join(item), label, examples[item[0]][item[1]].label) for item, label, _ in gold):
        raise InputError(f"{a} and the data: {told}; {advice}")


def judge_contests(
    annotator: Annotator, contests: Sequence[Contest], progress: Progress = silent, *, both_orders: bool = True
) -> list[Verdict]:
    """One verdict a contest; equal responses tie without a question. In one order it is drawn for each contest."""
    requests = judge_requests(contests)
    verdicts = iter(_asked(annotator, requests, progress, both_orders) if requests else [])
    return [next(verdicts) if _differs(contest) else Verdict("tie", None) for contest in contests]


def judge_requests(contests: Sequence[Contest]) -> list[JudgeRequest]:
    """What is asked: the contests whose responses differ."""
    return [JudgeRequest(contest.example, contest.a, contest.b) for contest in contests if _differs(contest)]


def _differs(contest: Contest) -> bool:
    return contest.a.strip() != contest.b.strip()


def _asked(
    annotator: Annotator, requests: Sequence[JudgeRequest], progress: Progress, both_orders: bool
) -> list[Verdict]:
    if isinstance(annotator, Judge):
        judged = annotator.judge_many(requests, progress, both_orders=both_orders)
        return [_of_judgement(each, both_orders) for each in judged]
    turns = [(False, True) if both_orders else (is_swapped(request),) for request in requests]
    orders = [
        RankingRequest(each.example, (each.second, each.first) if is_turned else (each.first, each.second))
        for each, turned in zip(requests, turns, strict=True)
        for is_turned in turned
    ]
    rankings = iter(annotator.rank_many(orders, progress))
    return [_of_rankings([(next(rankings), is_turned) for is_turned in turned]) for turned in turns]


def _of_judgement(judgement: Judgement, both_orders: bool) -> Verdict:
    """A tie in both orders is one verdict given twice, or two that differ."""
    if judgement.winner is None:
        detail = next((each.reason for each in judgement.annotations if each.outcome != "answered"), "")
        return Verdict(None, None, judgement.outcome, detail)
    if not both_orders:
        return Verdict(SIDES[judgement.winner], None)
    said = {parse_verdict(annotation.text) for annotation in judgement.annotations}
    return Verdict(SIDES[judgement.winner], judgement.winner != "tie" or said == {"tie"})


def _of_rankings(rankings: Sequence[tuple[Ranking, bool]]) -> Verdict:
    """Of one ranking or of both orders, each with whether the second response was shown first."""
    winners: list[Winner] = []
    for ranking, is_turned in rankings:
        if not ranking.places:
            return Verdict(None, None, ranking.outcome, ranking.annotation.reason)
        first, second = ranking.places
        winner: Winner = "tie" if first == second else "first" if first < second else "second"
        winners.append(SWAPPED[winner] if is_turned else winner)
    agree = len(set(winners)) == 1
    return Verdict(SIDES[winners[0]] if agree else "tie", agree if len(winners) > 1 else None)


def _replies(folder: Path, decoding: Decoding) -> dict[Item, _Reply]:
    """The predictions of an evaluation; raises DataError for a line that is none."""
    replies = {}
    for number, row in enumerate(read_predictions(folder), 1):
        if row.get("decoding") != decoding:
            continue
        for name, kind in _PREDICTED.items():
            if not isinstance(row.get(name), kind):
                value = f"{row[name]!r:.40}" if name in row else "missing"
                place = f"{folder / PREDICTIONS_FILE} row {number}"
                raise DataError(
                    f"{place}: {name} is {value}; expected the predictions of `rewardlab eval`, run it again"
                )
        replies[row["column"], str(row["id"])] = _Reply(row["response"], row.get("answer"), row["gold"])
    return replies


def _drawn(shared: Sequence[Item], limit: int | None, seed: int) -> Iterator[Item]:
    """At most ``limit`` items of each column, in order."""
    for column in dict.fromkeys(column for column, _ in shared):
        items = [item for item in shared if item[0] == column]
        yield from sorted(random.Random(f"{seed}/{column}").sample(items, min(limit or len(items), len(items))))
