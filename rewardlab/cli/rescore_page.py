"""The page of ``reward rescore``: lines of text, from the comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rewardlab.evaluation.rescored import Agreement, Bucket, RescoredReport, Swaps
from rewardlab.evaluation.reward_difference import Disagreement
from rewardlab.intervals import Interval
from rewardlab.lab.rescored_log import Outcome

QUOTED = 60
"""Characters of a response that the page quotes, from its end, where the answer stands."""


def page(outcome: Outcome, movers: int) -> str:
    """The comparison for people, with so many movers."""
    return "\n".join(_lines(outcome, movers))


def _lines(outcome: Outcome, movers: int) -> Iterator[str]:
    found = outcome.report
    yield f"{found.responses} responses in {found.steps} steps to {found.prompts} prompts"
    yield f"old = {outcome.old}; new = {outcome.new}" + ("" if found.lam is None else f", lambda {found.lam:.6g}")
    if outcome.rescored.computed:
        yield f"computed here from texts and gold labels: {', '.join(outcome.rescored.computed)}"
    if found.unscored_old or found.unscored_new:
        yield f"not scored: {found.unscored_old} by old, {found.unscored_new} by new"
    yield from _order(found)
    if found.saturated is not None:
        yield f"label RM scores at or above lambda: {found.saturated:.1%}"
    yield from _agreement(found.agreement)
    yield from _means(found.buckets)
    yield from _movers(found.movers, movers)


def _order(found: RescoredReport) -> Iterator[str]:
    if found.spearman is None or found.kendall is None:
        yield "rank correlation: undefined, old or new gives all responses the same score"
    else:
        yield f"rank correlation: Spearman {_interval(found.spearman)}, Kendall tau-b {found.kendall:.3f}"
    yield f"pairs of one step: {_swaps(found.swaps)}"
    if found.group_swaps.pairs:
        yield f"pairs of one step and prompt: {_swaps(found.group_swaps)}"
        yield (
            f"groups whose scores are all equal: {found.even.old} by old, {found.even.new} by new, "
            f"of {found.even.groups} groups"
        )


def _swaps(swaps: Swaps) -> str:
    share = "" if swaps.share is None else f" ({swaps.share:.1%} of those that neither ties)"
    return f"{swaps.pairs}; {swaps.swapped} swap{share}, {swaps.one_ties} tied by one, {swaps.both_tie} by both"


def _agreement(rows: Sequence[Agreement]) -> Iterator[str]:
    if not rows:
        yield "agreement with gold: unknown, no response has a gold label"
        return
    yield ""
    yield "Agreement with gold (intervals over prompts)"
    yield f"{'responses':>10}  {'measure':8} {'old':>22} {'new':>22} {'new - old':>24}  task"
    for row in rows:
        cells = [f"{_interval(each) if each else 'undefined':>22}" for each in (row.old, row.new)]
        gain = _signed(row.gain) if row.gain else "undefined"
        yield f"{row.responses:10}  {row.measure:8} {' '.join(cells)} {gain:>24}  {row.task}"


def _means(buckets: Sequence[Bucket]) -> Iterator[str]:
    """A table with the columns that have data."""
    names = [name for name in ("old", "new", "correct", "error", "saturated") if _has(buckets, name)]
    yield ""
    yield "Means along the run"
    yield f"{'steps':>11} {'responses':>10} " + " ".join(f"{name:>10}" for name in names)
    for row in buckets:
        values = [getattr(row, name) for name in names]
        cells = [f"{'-' if value is None else f'{value:.3f}':>10}" for value in values]
        yield f"{f'{row.first}-{row.last}':>11} {row.responses:10} {' '.join(cells)}"


def _has(buckets: Sequence[Bucket], name: str) -> bool:
    return any(getattr(row, name) is not None for row in buckets)


def _movers(rows: Sequence[Disagreement], most: int) -> Iterator[str]:
    moving = [row for row in rows if row.gap][:most]
    if not most:
        return
    yield ""
    if not moving:
        yield "No response changes its place"
        return
    yield "Responses that change places most (score, and share of the other responses below it)"
    yield f"{'old':>10} {'below':>6} {'new':>10} {'below':>6}  response"
    for row in moving:
        text = " ".join(row.judged.response.split())
        quoted = text if len(text) <= QUOTED else f"…{text[-QUOTED:]}"
        name = " ".join(row.judged.example.id.split())[:QUOTED]
        gold = "" if row.judged.example.label is None else f", gold {row.judged.example.label}"
        scores = f"{row.judged.a:10.3f} {row.place_a:6.1%} {row.judged.b:10.3f} {row.place_b:6.1%}"
        yield f"{scores}  {name}{gold}: {quoted}"


def _interval(found: Interval) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _signed(found: Interval) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
