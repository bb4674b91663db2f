"""A comparison of two rewards as lines of text for people, and the lines on what they disagree about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rewardlab.evaluation.reward_difference import Disagreement, RewardDifference, Winners
from rewardlab.intervals import Interval

QUOTED = 60
"""Characters of a response that are quoted, from its end, where the answer stands; and of an id, from its beginning."""


def difference_text(found: RewardDifference, a: str, b: str, answers: int, most: int) -> str:
    """The comparison for people.

    Args:
        found: What was measured.
        a, b: The two expressions.
        answers: How many there are, those that one of the two could not judge included.
        most: How many of the largest disagreements are shown.
    """
    return "\n".join(_lines(found, a, b, answers, most))


def disagreement_lines(
    rows: Sequence[Disagreement], most: int, title: str, names: tuple[str, str], none: str
) -> Iterator[str]:
    """The largest disagreements under a title; answers with the same place under both are none.

    Args:
        rows: The largest first.
        most: How many are shown.
        title: Stands above them.
        names: What the two rewards are called.
        none: The line in place of all, where there is no disagreement.
    """
    differing = [row for row in rows if row.gap][:most]
    if not differing:
        yield none
        return
    yield title
    yield f"{names[0]:>10} {'below':>6} {names[1]:>10} {'below':>6}  response"
    for row in differing:
        judged = row.judged
        text = " ".join(judged.response.split())
        quoted = text if len(text) <= QUOTED else f"…{text[-QUOTED:]}"
        name = " ".join(judged.example.id.split())[:QUOTED]
        gold = "" if judged.example.label is None else f", gold {judged.example.label}"
        scores = f"{judged.a:10.3f} {row.place_a:6.1%} {judged.b:10.3f} {row.place_b:6.1%}"
        yield f"{scores}  {name}{gold}: {quoted}"


def interval_text(found: Interval) -> str:
    """A value with its interval."""
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _lines(found: RewardDifference, a: str, b: str, answers: int, most: int) -> Iterator[str]:
    yield f"{answers} answers; A = {a}, B = {b}"
    if found.unscored_a or found.unscored_b:
        yield f"not scored: {found.unscored_a} by A, {found.unscored_b} by B; {found.answers} answers are compared"
    if found.answers < 2:
        yield "rank correlation: undefined, fewer than two answers were scored by both"
    elif found.spearman is None:
        yield "rank correlation: undefined, one of the two gives all answers the same score"
    else:
        yield f"rank correlation: Spearman {interval_text(found.spearman)}, Kendall tau-b {found.kendall:.3f}"
    yield from _winner_lines(found.winners)
    if found.disagreements and most:
        title = "\nWhere they disagree most (score, and share of the other answers below it)"
        none = "no disagreement: both put the answers in the same order"
        yield from disagreement_lines(found.disagreements, most, title, ("A", "B"), none)


def _winner_lines(winners: Winners) -> Iterator[str]:
    if not winners.prompts:
        yield "which of two answers wins: no prompt has two answers (rows with one id answer one prompt)"
        return
    pairs = winners.same + winners.flipped + winners.one_ties + winners.both_tie
    yield (
        f"which of two answers wins: {pairs} pairs of {winners.prompts} prompts; {winners.same} alike, "
        f"{winners.flipped} flipped, {winners.one_ties} tied by one, {winners.both_tie} by both"
    )
    if winners.flip_share is not None:
        yield f"flipped among pairs that neither ties: {interval_text(winners.flip_share)}, interval over prompts"
    if winners.flips_with_gold:
        b_right = winners.flips_with_gold - winners.a_right
        yield (
            f"{winners.flips_with_gold} flips have one answer closer to gold: "
            f"A prefers it in {winners.a_right}, B in {b_right}"
        )
    if winners.left_out:
        yield f"{winners.left_out} answers of prompts with very many were not paired"
