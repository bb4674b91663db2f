"""A comparison of old and new scores of stored responses, as lines of text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rewardlab.evaluation.rescored import Agreement, Bucket, RescoredReport, Swaps
from rewardlab.evaluation.reward_difference_text import disagreement_lines, interval_text
from rewardlab.intervals import Interval


def rescored_text(found: RescoredReport, old: str, new: str, computed: Sequence[str], movers: int) -> str:
    """The comparison for people.

    Args:
        found: What was measured.
        old, new: What the two scores are called.
        computed: Parts that were computed from texts and gold labels.
        movers: How many of the responses that change places are shown.
    """
    return "\n".join(_lines(found, old, new, computed, movers))


def _lines(found: RescoredReport, old: str, new: str, computed: Sequence[str], movers: int) -> Iterator[str]:
    yield f"{found.responses} responses in {found.steps} steps to {found.prompts} prompts"
    yield f"old = {old}; new = {new}" + ("" if found.lam is None else f", lambda {found.lam:.6g}")
    if computed:
        yield f"computed here from texts and gold labels: {', '.join(computed)}"
    if found.unscored_old or found.unscored_new:
        yield f"not scored: {found.unscored_old} by old, {found.unscored_new} by new"
    yield from _order(found)
    if found.saturated is not None:
        yield f"label RM scores at or above lambda: {found.saturated:.1%}"
    yield from _agreement(found.agreement)
    yield from _means(found.buckets)
    if movers:
        yield ""
        title = "Responses that change places most (score, and share of the other responses below it)"
        yield from disagreement_lines(found.movers, movers, title, ("old", "new"), "No response changes its place")


def _order(found: RescoredReport) -> Iterator[str]:
    if found.spearman is None or found.kendall is None:
        yield "rank correlation: undefined, old or new gives all responses the same score"
    else:
        yield f"rank correlation: Spearman {interval_text(found.spearman)}, Kendall tau-b {found.kendall:.3f}"
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
        cells = [f"{interval_text(each) if each else 'undefined':>22}" for each in (row.old, row.new)]
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


def _signed(found: Interval) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
