"""What a report is made of, before its sections are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rewardlab.claims.findings import Finding
from rewardlab.claims.rivals import MeasureGain
from rewardlab.comparison.differences import Gain
from rewardlab.comparison.runs import LOGGED, LeftOut, Related
from rewardlab.comparison.table import ComparisonTable, Row
from rewardlab.judge.verdicts import JudgedRun
from rewardlab.reports.blocks import FIGURES
from rewardlab.reports.links import Links
from rewardlab.reward_models.over_seeds import NO_CARDS, Cards

Timings = Mapping[str, Sequence[tuple[Path, float]]]
"""Stage -> folder and seconds of each of its runs."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a report is made of.

    Attributes:
        folder: Where its page lies.
        table: The comparison.
        gains: Its paired differences.
        related: The other runs.
        timings: Stages in the order to print them.
        command: What was typed to make it; printed under it.
        claims: What was found of a suite's claims.
        judged: Comparisons by a judge.
        budget: What PPO rows were given the same number of: updates, tokens or seconds.
        cards: Report cards of reward models.
        brings_runs: Copies of what is small in each run lie beside the page, and links lead there.
        left_out: What could not be used and why; may grow while sections are made.
        measures: Differences in what is measured beside the table's numbers.
        figures: Folder beside its page for its pictures.
    """

    folder: Path
    table: ComparisonTable
    gains: Sequence[Gain]
    related: Related = field(default_factory=Related)
    timings: Timings | None = None
    command: str = ""
    claims: Sequence[Finding] = ()
    judged: Sequence[JudgedRun] = ()
    budget: str = "updates"
    cards: Cards = NO_CARDS
    brings_runs: bool = False
    left_out: LeftOut = LOGGED
    measures: Sequence[MeasureGain] = ()
    figures: str = FIGURES

    @property
    def links(self) -> Links:
        """Where links from its page lead."""
        return Links(self.folder, brings=self.brings_runs)

    @property
    def rows(self) -> dict[str, Row]:
        """Rows by name."""
        return {row.name: row for row in self.table.rows}
