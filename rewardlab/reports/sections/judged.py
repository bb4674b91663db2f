"""The section of a report that comes from a judge: wins, ties and losses of each two methods, drawn and listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rewardlab.comparison.evaluations import MethodKey
from rewardlab.comparison.grid import Cell, Grid, Heading, Source
from rewardlab.comparison.numbers import interval_text, points, points_interval, shown_value
from rewardlab.comparison.runs import LOGGED, LeftOut
from rewardlab.comparison.statistics import Estimate
from rewardlab.comparison.table import ComparisonTable
from rewardlab.errors import InputError
from rewardlab.judge.verdicts import NET, JudgedRun, judged_estimate, judged_items
from rewardlab.reports.blocks import Block, Table, Text
from rewardlab.reports.charts import OTHER, Bar, Panel, Picture

PARTS: Mapping[str, tuple[Mapping[str, float], int]] = {
    "win": ({"a": 1.0, "tie": 0.0, "b": 0.0}, 0),
    "tie": ({"a": 0.0, "tie": 1.0, "b": 0.0}, OTHER),
    "lose": ({"a": 0.0, "tie": 0.0, "b": 1.0}, 1),
}
"""Part of a bar -> worth of a verdict in it, and its colour."""
TEXTS = ("method", "against", "decoding", "judge")
TITLES = ("method", "against", "decoding", "win", "tie", "lose", "win minus lose", "items", "seeds", "judge")


def judged_blocks(runs: Sequence[JudgedRun], table: ComparisonTable, left_out: LeftOut = LOGGED) -> list[Block]:
    """Win, tie and lose of each two methods, over seeds: bars (RLLR figure 4) and a table."""
    contests = list(_contests(runs, table, left_out))
    rivals = dict.fromkeys(contest.against for contest in contests)
    panels = [
        Panel(f"against {rival}", bars, "share of items, %; right: win minus lose")
        for rival in rivals
        if (bars := [_bar(contest) for contest in contests if contest.against == rival])
    ]
    picture = Picture("judged", "Wins, ties and losses before a judge", panels, _legend())
    headings = [Heading(title, is_number=title not in TEXTS) for title in TITLES]
    note = (
        "Both orders are asked, unless the judge is said to have seen one order; an item whose two verdicts differ is "
        "a tie. Shares times 100, each with its own 95 % interval; of several columns, the mean of their shares. "
        "Nothing is tested here: what a judge says of a claim is corrected with the claims, and what it says against "
        "every rival with the other measures."
    )
    return [picture, Table(Grid(headings, [_line(contest) for contest in contests])), Text(note)]


@dataclass(frozen=True, slots=True)
class _Contest:
    """All comparisons of two methods by one judge.

    Attributes:
        a, b: The methods' names in the table.
        sizes: Part of a bar, and ``net`` -> its share.
    """

    a: str
    b: str
    decoding: str
    judge: str
    runs: Sequence[JudgedRun]
    sizes: Mapping[str, Estimate]

    @property
    def against(self) -> str:
        """What its panel is called."""
        return f"{self.b}, {self.decoding} decoding, judged by {self.judge}"


def _worths() -> list[tuple[str, Mapping[str, float]]]:
    return [(name, worth) for name, (worth, _) in PARTS.items()]


def _legend() -> list[tuple[str, int]]:
    return [(name, colour) for name, (_, colour) in PARTS.items()]


def _bar(contest: _Contest) -> Bar:
    parts = [(contest.sizes[name].value, colour) for name, (_, colour) in PARTS.items()]
    return Bar(contest.a, parts, points(contest.sizes["net"].value), sources=_sources(contest.runs))


def _line(contest: _Contest) -> list[Cell]:
    net, runs = contest.sizes["net"], contest.runs
    return [
        *map(Cell, (contest.a, contest.b, contest.decoding)),
        *(_share_cell(contest.sizes[name], runs) for name in PARTS),
        Cell(points(net.value), points_interval(net), sources=_sources(runs)),
        Cell(str(judged_items(runs))),
        Cell(str(net.seeds)),
        Cell(contest.judge),
    ]


def _share_cell(share: Estimate, runs: Sequence[JudgedRun]) -> Cell:
    return Cell(shown_value(share.value), interval_text(share), sources=_sources(runs))


def _contests(judged_runs: Sequence[JudgedRun], table: ComparisonTable, left_out: LeftOut) -> Iterator[_Contest]:
    """The comparisons of each two methods by each judge; those without a number are left out."""
    names = {row.key: row.name for row in table.rows}
    grouped: dict[tuple[MethodKey, MethodKey, str, str], list[JudgedRun]] = {}
    for run in judged_runs:
        grouped.setdefault((run.a.key, run.b.key, run.decoding, run.judge), []).append(run)
    for (a, b, decoding, judge), runs in grouped.items():
        judged = list(dict.fromkeys(column for run in runs for column in run.columns))
        columns = [column for column in judged if column in table.averaged] or judged
        try:
            sizes = {name: judged_estimate(runs, worth, columns) for name, worth in (*_worths(), ("net", NET))}
        except InputError as error:
            left_out.add(f"{runs[0].path}: left out of the judged answers ({error})")
        else:
            yield _Contest(names[a], names[b], decoding, judge, runs, sizes)


def _sources(runs: Sequence[JudgedRun]) -> list[Source]:
    return [Source(run.path) for run in runs]
