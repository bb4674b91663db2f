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

from rewardlab.claims.claim import Claim, MeasureName
from rewardlab.claims.findings import Finding, corrected, finding
from rewardlab.claims.measures import Evidence
from rewardlab.comparison.difference_text import of_these_runs
from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading
from rewardlab.comparison.numbers import p_text
from rewardlab.comparison.runs import LOGGED, LeftOut
from rewardlab.comparison.table import ComparisonTable, Row, headline
from rewardlab.disk import write_atomic
from rewardlab.judge.verdicts import JudgedRun
from rewardlab.printable import csv_cell

TITLES: Mapping[MeasureName, str] = {
    "quality": "rationale quality",
    "label shift": "label shares nearer gold's",
    "judged": "judged: won less lost",
}
BETTER: Mapping[MeasureName, tuple[str, str]] = {
    "quality": ("has significantly better rationales than", "has significantly worse rationales than"),
    "label shift": (
        "has label shares significantly nearer gold's than",
        "has label shares significantly further from gold's than",
    ),
    "judged": (
        "wins significantly more than it loses before a judge against",
        "loses significantly more than it wins before a judge against",
    ),
}
FAMILY = (
    "Rationale quality, label shares and verdicts: p-values and intervals are corrected over all {family} comparisons "
    "of these measures together (Holm), so an interval excludes 0 exactly where p < 0.05."
)
FILE = "measures.csv"
_ABOUT = ("method", "against", "measure", "column", "decoding", "verdict")
_NUMBERS = ("points", "low", "high", "p_holm", "family", "seeds", "reason")
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
        """``level`` says that the difference is not statistically significant, not that there is none."""
        size = self.finding.estimate
        if size is None:
            return "not compared"
        return "better" if size.low > 0 else "worse" if size.high < 0 else "level"


def measure_gains(
    table: ComparisonTable, against: Sequence[str], judged: Sequence[JudgedRun] = (), left_out: LeftOut = LOGGED
) -> list[MeasureGain]:
    """Every row against each of ``against`` in the main column, under every decoding; unmeasured measures are absent.

    Args:
        table: The comparison.
        against: Names of rows; each row is compared with those of its own base model.
        judged: Comparisons by a judge.
        left_out: Takes a line for verdicts that are not counted.
    """
    measures, column = [name for name in TITLES if _is_measured(name, table, judged)], headline(table)
    asked = [
        (row, rival, _claim(row, rival, column, decoding, measure))
        for measure in measures
        for row, rival in _pairs(table, against)
        for decoding in table.decodings
    ]
    evidence = Evidence(table, judged, left_out=left_out)
    findings = corrected([finding(claim, row.key.model or rival.key.model, evidence) for row, rival, claim in asked])
    return [MeasureGain(row, rival, each) for (row, rival, _), each in zip(asked, findings, strict=True)]


def measures_note(gains: Sequence[MeasureGain]) -> str:
    """How many comparisons were corrected together; empty where nothing was compared."""
    family = sum(each.finding.estimate is not None for each in gains)
    return FAMILY.format(family=family) if family else ""


def told_of(differences: Sequence[MeasureGain]) -> Iterator[tuple[str, list[MeasureGain]]]:
    """A sentence for each two methods that differ significantly in a measure, then one for those that do not."""
    grouped: dict[tuple[MeasureName, str, str, Ahead], list[MeasureGain]] = {}
    for each in differences:
        grouped.setdefault((each.measure, each.rival.name, each.method.name, each.ahead), []).append(each)
    for (measure, rival, method, ahead), gains in grouped.items():
        if ahead in ("better", "worse"):
            words = BETTER[measure][ahead == "worse"]
            sizes = "; ".join(f"{each.finding.size}, {_p(each)}, {each.decoding}" for each in gains)
            yield f"{method} {words} {rival} on {gains[0].finding.claim.column}: {sizes}{_of(gains)}.", gains
    for measure, title in TITLES.items():
        for rival in dict.fromkeys(each.rival.name for each in differences):
            level = [g for g in differences if (g.measure, g.rival.name, g.ahead) == (measure, rival, "level")]
            if level:
                decodings: dict[str, list[str]] = {}
                for each in level:
                    decodings.setdefault(each.method.name, []).append(each.decoding)
                said = "; ".join(f"{name} ({' and '.join(each)})" for name, each in decodings.items())
                where = f"{title} on {level[0].finding.claim.column}"
                yield f"Not significantly different from {rival} in {where}: {said}.", level


def measures_grid(gains: Sequence[MeasureGain]) -> Grid:
    """A line a method, rival and decoding; a column a measure."""
    measures = list(dict.fromkeys(each.measure for each in gains))
    headings = [Heading(title, is_number=False) for title in ("method", "against", "decoding")]
    lines: dict[tuple[str, str, str], dict[MeasureName, Cell]] = {}
    for each in gains:
        place = (each.method.name, each.rival.name, each.decoding)
        lines.setdefault(place, {})[each.measure] = Cell(each.finding.size, _p(each), sources=each.finding.sources)
    rows = [
        [*map(Cell, place), *(cells.get(measure, Cell(MISSING)) for measure in measures)]
        for place, cells in lines.items()
        if any(cell.text != MISSING for cell in cells.values())
    ]
    return Grid([*headings, *(Heading(TITLES[measure]) for measure in measures)], rows)


def write_measures(gains: Sequence[MeasureGain], folder: Path) -> Path:
    """Write ``measures.csv``: a line a comparison, sizes in points, their interval corrected as ``p_holm`` is."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*_ABOUT, *_NUMBERS))
    for each in gains:
        size, claim = each.finding.estimate, each.finding.claim
        tested = (each.finding.p_holm, each.finding.family)
        numbers = [""] * 6 if size is None else [size.value, size.low, size.high, *tested, size.seeds]
        place = (each.method.name, each.rival.name, claim.measure, claim.column, claim.decoding, each.ahead)
        writer.writerow(map(csv_cell, (*place, *numbers, each.finding.reason)))
    write_atomic(folder / FILE, text.getvalue())
    return folder / FILE


def _pairs(table: ComparisonTable, against: Sequence[str]) -> list[tuple[Row, Row]]:
    """(row, rival of its base model), each two rows once: seen from the other side it is the same comparison."""
    rows = {row.name: row for row in table.rows}
    pairs: dict[frozenset[str], tuple[Row, Row]] = {}
    for name in against:
        for row in table.rows:
            if _is_rival(row, rows[name]):
                pairs.setdefault(frozenset((row.name, name)), (row, rows[name]))
    return list(pairs.values())


def _is_measured(measure: MeasureName, table: ComparisonTable, judged: Sequence[JudgedRun]) -> bool:
    if measure == "judged":
        return bool(judged)
    cells = [cell for row in table.rows for run in row.runs for cell in run.cells.values()]
    if measure == "quality":
        return any(cell.summary.get("quality") is not None for cell in cells)
    return any(cell.labels for cell in cells)


def _is_rival(row: Row, rival: Row) -> bool:
    return row is not rival and row.key.stands_beside(rival.key)


def _claim(row: Row, rival: Row, column: str, decoding: str, measure: MeasureName) -> Claim:
    names = {"better": row.name, "than": rival.name}
    return Claim(id="", says="", column=column, decoding=decoding, measure=measure, **names)


def _p(gain: MeasureGain) -> str:
    return "" if gain.finding.p_holm is None else p_text(gain.finding.p_holm)


def _of(gains: Sequence[MeasureGain]) -> str:
    return of_these_runs(each.finding.estimate for each in gains if each.finding.estimate is not None)
