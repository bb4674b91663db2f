"""Verdicts of a judge counted: wins, ties and losses with intervals, as numbers and as lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rewardlab.comparison.numbers import p_text
from rewardlab.intervals import SIGNIFICANT, Interval, interval_of, mean_interval, mean_spread
from rewardlab.judge.contests import Contest, Verdict


@dataclass(frozen=True, slots=True)
class Tally:
    """How a judge liked run a against run b; intervals are over items.

    Attributes:
        name: A column, ``all``, or ``same answer``.
        items: Contests with a verdict.
        win, tie, lose: Shares of them, from a's side.
        net: Win minus lose.
        p: Of "as many are won as lost", over new items; below 0.05 exactly where the interval of ``net`` excludes 0.
        unjudged: Contests without a verdict, by class of the annotator's answer; in no share.
        swayed: Contests in which the two orders had verdicts of their own; they count as ties.
    """

    name: str
    items: int
    win: Interval
    tie: Interval
    lose: Interval
    net: Interval
    p: float
    unjudged: dict[str, int]
    swayed: int

    @property
    def is_real(self) -> bool:
        """True when one run is liked significantly better, over new items."""
        return self.p < SIGNIFICANT


def tallies(contests: Sequence[Contest], verdicts: Sequence[Verdict], resamples: int = 1000) -> list[Tally]:
    """``all``, then each column where there are several, then the contests with the same answer on both sides.

    A group in which nothing was judged is left out.
    """
    columns = list(dict.fromkeys(contest.column for contest in contests))
    groups = {"all": [True] * len(contests)}
    if len(columns) > 1:
        groups |= {name: [contest.column == name for contest in contests] for name in columns}
    groups["same answer"] = [contest.same_answer for contest in contests]
    members = {name: [v for v, is_in in zip(verdicts, chosen, strict=True) if is_in] for name, chosen in groups.items()}
    return [_tally(name, of_group, resamples) for name, of_group in members.items() if any(v.winner for v in of_group)]


def judged_lines(a: str, b: str, tallies: Sequence[Tally]) -> Iterator[str]:
    """The page of ``rewardlab judge``."""
    if not tallies:
        yield f"{a} against {b}: nothing was judged"
        return
    for tally in tallies:
        shares = f"win {_percent(tally.win)}, tie {_percent(tally.tie)}, lose {_percent(tally.lose)}"
        net = f"win minus lose {_percent(tally.net)}, {p_text(tally.p)}"
        yield f"{tally.name}: {shares}; {net} ({tally.items} items)"
    total = tallies[0]
    better, worse = (a, b) if total.net.value > 0 else (b, a)
    told = f"{better} is liked significantly better than {worse}"
    level = f"{a} and {b} do not differ significantly"
    yield f"{told if total.is_real else level} (one run each: tested over new items, not over new seeds)"
    if len(tallies) > 1:
        yield "each line is a test of its own: its p is not corrected for the other lines"
    if total.swayed:
        yield f"{total.swayed} pairs had another verdict in the other order and count as ties"
    if total.unjudged:
        yield f"without a verdict: {', '.join(f'{count} {reason}' for reason, count in total.unjudged.items())}"


def _tally(name: str, verdicts: Sequence[Verdict], resamples: int) -> Tally:
    winners = [verdict.winner for verdict in verdicts if verdict.winner is not None]

    def share(mark: str) -> Interval:
        return mean_interval([float(winner == mark) for winner in winners], resamples=resamples)

    worth = {"a": 1.0, "tie": 0.0, "b": -1.0}
    net, spread = mean_spread([worth[winner] for winner in winners], resamples=resamples)
    spread = replace(spread, smallest_p=2.0 ** (1 - len(winners)))
    return Tally(
        name=name,
        items=len(winners),
        win=share("a"),
        tie=share("tie"),
        lose=share("b"),
        net=interval_of(net, spread, -1.0),
        p=spread.p_value(abs(net)),
        unjudged=dict(Counter(verdict.reason for verdict in verdicts if verdict.winner is None)),
        swayed=sum(verdict.orders_agree is False for verdict in verdicts),
    )


def _percent(share: Interval) -> str:
    return f"{100 * share.value:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}]"
