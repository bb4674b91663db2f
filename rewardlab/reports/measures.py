"""Every measure beside accuracy against every rival: rationale quality, label shares, a judge's verdicts.

A rival that is fair in accuracy alone is not fair: a method may keep the accuracy of one and the rationales of another.
Each comparison is a claim "better than 0", measured like the claims of a suite and corrected with all others here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rewardlab.printable import csv_cell
from rewardlab.reports.blocks import Block, Notes, Sentences, Table, Text, Told
from rewardlab.reports.claim import Claim, MeasureName
from rewardlab.reports.claim_measures import Evidence
from rewardlab.reports.claims import Finding, findings
from rewardlab.reports.judged_runs import JudgedRun
from rewardlab.reports.render import MISSING, Cell, Grid, Heading
from rewardlab.reports.table import ComparisonTable, Row
from rewardlab.reports.tradeoffs import headline
from rewardlab.runs import write_atomic

TITLES: Mapping[MeasureName, str] = {
    "quality": "rationale quality",
    "label shift": "label shares nearer gold's",
    "judged": "judged: won less lost",
}
BETTER: Mapping[MeasureName, tuple[str, str]] = {
    "quality": ("has better rationales than", "has worse rationales than"),
    "label shift": ("has label shares nearer gold's than", "has label shares further from gold's than"),
    "judged": ("wins more than it loses before a judge against", "loses more than it wins before a judge against"),
}
EXPLAINED = (
    "Points by which the method is ahead of the rival, with intervals; paired by item and seed. Rationale quality "
    "where the task knows it; label shares: how much nearer the answered shares lie to gold's; judged: items won less "
    "items lost. A dash: not measured on both, or not compared, and why stands in measures.csv."
)
FILE = "measures.csv"
Ahead = Literal["better", "worse", "level", "not compared"]


@dataclass(frozen=True, slots=True)
class MeasureGain:
    """One method against one rival in one measure; ``finding`` holds the size or the reason why there is none."""

    method: Row
    rival: Row
    finding: Finding

    @property
    def measure(self) -> MeasureName:
        """What is compared."""
        return self.finding.claim.measure

    @property
    def decoding(self) -> str:
        """Of both sides' answers."""
        return self.finding.claim.decoding

    @property
    def ahead(self) -> Ahead:
        """``level`` says that the difference is not beyond noise, not that there is none."""
        size = self.finding.estimate
        if size is None:
            return "not compared"
        return "better" if size.low > 0 else "worse" if size.high < 0 else "level"


def measure_gains(
    table: ComparisonTable, against: Sequence[str], judged: Sequence[JudgedRun] = ()
) -> list[MeasureGain]:
    """Every row against each of ``against`` in the main column, under every decoding; unmeasured measures are absent.

    Args:
        table: The comparison.
        against: Names of rows; each row is compared with those of its own base model.
        judged: Comparisons by a judge.
    """
    rows = {row.name: row for row in table.rows}
    measures = [name for name in TITLES if _is_measured(name, table, judged)]
    pairs = {
        (row.name, name): (row, rows[name]) for name in against for row in table.rows if _is_rival(row, rows[name])
    }
    asked = [
        (row, rival, _claim(row, rival, headline(table), decoding, measure))
        for measure in measures
        for row, rival in pairs.values()
        for decoding in table.decodings
    ]
    evidence = Evidence(table, judged)
    found = iter(_measured([(row.key.model, claim) for row, _, claim in asked], evidence))
    return [MeasureGain(row, rival, next(found)) for row, rival, _ in asked]


def measure_blocks(found: Sequence[MeasureGain]) -> list[Block]:
    """What the differences come to, sentence by sentence, and all of them in a table."""
    if not any(each.finding.estimate is not None for each in found):
        return [Text("Beside accuracy nothing was measured on two methods.")]
    told = [Told(line, [source for each in gains for source in each.finding.sources]) for line, gains in told_of(found)]
    return [Sentences(told), Table(measures_grid(found), "Every measure, method and rival"), Notes([EXPLAINED])]


def told_of(found: Sequence[MeasureGain]) -> Iterator[tuple[str, list[MeasureGain]]]:
    """A sentence for each two methods that differ beyond noise in a measure, then one for those that do not."""
    grouped: dict[tuple[MeasureName, str, str, Ahead], list[MeasureGain]] = {}
    for each in found:
        grouped.setdefault((each.measure, each.rival.name, each.method.name, each.ahead), []).append(each)
    for (measure, rival, method, ahead), gains in grouped.items():
        if ahead in ("better", "worse"):
            words = BETTER[measure][ahead == "worse"]
            sizes = "; ".join(f"{each.finding.size}, {each.decoding}" for each in gains)
            yield f"{method} {words} {rival}: {sizes}.", gains
    for measure, title in TITLES.items():
        for rival in dict.fromkeys(each.rival.name for each in found):
            level = [g for g in found if (g.measure, g.rival.name, g.ahead) == (measure, rival, "level")]
            if level:
                names = dict.fromkeys(each.method.name for each in level)
                said = "; ".join(f"{name} ({_decodings(name, level)})" for name in names)
                yield f"Not beyond noise from {rival} in {title}: {said}.", level


def measures_grid(found: Sequence[MeasureGain]) -> Grid:
    """A line a method, rival and decoding; a column a measure."""
    measures = list(dict.fromkeys(each.measure for each in found))
    headings = [Heading(title, is_number=False) for title in ("method", "against", "decoding")]
    lines: dict[tuple[str, str, str], dict[MeasureName, Cell]] = {}
    for each in found:
        place = (each.method.name, each.rival.name, each.decoding)
        lines.setdefault(place, {})[each.measure] = Cell(each.finding.size, sources=each.finding.sources)
    rows = [
        [*map(Cell, place), *(cells.get(measure, Cell(MISSING)) for measure in measures)]
        for place, cells in lines.items()
        if any(cell.text != MISSING for cell in cells.values())
    ]
    return Grid([*headings, *(Heading(TITLES[measure]) for measure in measures)], rows)


def write_measures(found: Sequence[MeasureGain], folder: Path) -> Path:
    """Write ``measures.csv``: a line a comparison, sizes in points."""
    names = (
        "method",
        "against",
        "measure",
        "column",
        "decoding",
        "verdict",
        "points",
        "low",
        "high",
        "seeds",
        "reason",
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for each in found:
        size, claim = each.finding.estimate, each.finding.claim
        numbers = ("", "", "", "") if size is None else (size.value, size.low, size.high, size.seeds)
        about = (each.method.name, each.rival.name, claim.measure, claim.column, claim.decoding, each.ahead)
        writer.writerow(map(csv_cell, (*about, *numbers, each.finding.reason)))
    write_atomic(folder / FILE, text.getvalue())
    return folder / FILE


def _measured(asked: Sequence[tuple[str, Claim]], evidence: Evidence) -> list[Finding]:
    """The finding of each claim for its own base model, all corrected together."""
    known = {(each.model, each.claim): each for each in findings([claim for _, claim in asked], evidence)}
    return [known[model, claim] for model, claim in asked]


def _is_measured(measure: MeasureName, table: ComparisonTable, judged: Sequence[JudgedRun]) -> bool:
    if measure == "judged":
        return bool(judged)
    cells = [cell for row in table.rows for run in row.runs for cell in run.cells.values()]
    if measure == "quality":
        return any(cell.summary.get("quality") is not None for cell in cells)
    return any(cell.labels for cell in cells)


def _is_rival(row: Row, rival: Row) -> bool:
    return row is not rival and row.key.model == rival.key.model


def _claim(row: Row, rival: Row, column: str, decoding: str, measure: MeasureName) -> Claim:
    names = {"better": row.key.method, "than": rival.key.method}
    return Claim(id="", says="", column=column, decoding=decoding, measure=measure, **names)


def _decodings(method: str, found: Sequence[MeasureGain]) -> str:
    return " and ".join(each.decoding for each in found if each.method.name == method)
