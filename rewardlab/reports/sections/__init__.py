"""The sections of a report: each is a function from the loaded runs to blocks; one without data says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rewardlab.claims.findings import VERDICTS, Finding, claims_grid, family_text
from rewardlab.comparison.budgets import budget_lines, budgets_grid
from rewardlab.comparison.difference_text import EXPLAINED, differences_grid, gain_sources, in_short, p_value_note
from rewardlab.comparison.differences import Gain, Split, find_baseline, splits
from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading, Source, all_sources, grid, notes, sources_at
from rewardlab.comparison.label_shares import all_label_shares, shares_grid
from rewardlab.comparison.numbers import points, points_interval, shown_value
from rewardlab.comparison.related import Related, method_names, trained_folder
from rewardlab.comparison.statistics import Estimate
from rewardlab.comparison.table import ComparisonTable, Row, headline, mean_summary
from rewardlab.errors import InputError
from rewardlab.judge.verdicts import JudgedRun
from rewardlab.reports.blocks import Block, Notes, Section, Sentences, Table, Text, Told
from rewardlab.reports.charts import Picture
from rewardlab.reports.left_out import left_out_section
from rewardlab.reports.links import Links
from rewardlab.reports.plots import colours_of, curves_picture, load_curves, saturation_picture
from rewardlab.reports.rivals import MeasureGain, measure_blocks
from rewardlab.reports.sections.cards import card_origins, card_sections
from rewardlab.reports.sections.hacking import hacking_blocks
from rewardlab.reports.sections.judged import judged_blocks
from rewardlab.reports.sections.label_shares import shares_pictures
from rewardlab.reports.sections.pair_kinds import pair_blocks
from rewardlab.reports.sections.tradeoffs import cost_picture, kl_picture, quality_picture
from rewardlab.reward_models.over_seeds import NO_CARDS, Cards
from rewardlab.reward_models.table import load_reward_models, reward_model_grid

SIZES = (
    "Sizes in points are differences of the first method to the second; label shift: how much nearer its label shares "
    "lie to gold's; judged: items it won less items it lost."
)
DIFFERENCES = "Differences between methods"
MEASURES = "Other measures, against every rival"
Timings = Mapping[str, Sequence[tuple[Path, float]]]
"""Stage -> folder and seconds of each of its runs."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a report is made of.

    Attributes:
        folder: Where its page lies.
        table: The comparison.
        found: Its paired differences.
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
    """

    folder: Path
    table: ComparisonTable
    found: Sequence[Gain]
    related: Related = field(default_factory=Related)
    timings: Timings | None = None
    command: str = ""
    claims: Sequence[Finding] = ()
    judged: Sequence[JudgedRun] = ()
    budget: str = "updates"
    cards: Cards = NO_CARDS
    brings_runs: bool = False
    left_out: Sequence[str] = ()
    measures: Sequence[MeasureGain] = ()

    @property
    def links(self) -> Links:
        """Where links from its page lead."""
        return Links(self.folder, brings=self.brings_runs)

    @property
    def rows(self) -> dict[str, Row]:
        """Rows by name."""
        return {row.name: row for row in self.table.rows}


def sections(report: Report) -> list[Section]:
    """The whole report, in order; where nothing but reward models was measured, what concerns them.

    What was left out stands behind the first section, and is only known when all are made.
    """
    first, *others = _sections(report)
    return [first, *left_out_section(report.left_out, _roots(report)), *others]


def _roots(report: Report) -> list[Path]:
    """The folders of runs that a travelling page leaves behind, the longest first."""
    related = report.related
    runs = [
        *related.trained,
        *related.rm,
        *related.pairs,
        *related.card,
        *(r.path for row in report.table.rows for r in row.runs),
    ]
    found = (
        {root for run in runs for root in (run.parent.parent, run.resolve().parent.parent)}
        if report.brings_runs
        else set()
    )
    return sorted((root for root in found if root.is_absolute()), key=lambda root: -len(str(root)))


def _sections(report: Report) -> list[Section]:
    pairs = Section("Pairs among samples of the SFT model", pair_blocks(report.related.pairs))
    time = Section("Time", _timings(report.timings or {}))
    claims = [Section("Claims", _claims(report.claims))] if report.claims else []
    if not report.table.rows:
        origins = Section("How each reward model was made", [Table(card_origins(report.cards, report.links))])
        return [*claims, *card_sections(report.cards), pairs, time, origins]
    table, curves = report.table, load_curves(report.related.trained, method_names(report.table))
    trained = [row.name for row in table.rows if row.key.reward]
    colours = colours_of([*trained, *(run.method for run in curves), *(row.name for row in table.rows)])
    return [
        Section("Methods compared", [Table(grid(table)), Notes(notes(table))]),
        Section("What each method was given", _budgets(report)),
        *claims,
        Section(DIFFERENCES, _differences(report)),
        Section(MEASURES, measure_blocks(report.measures)),
        Section("How much of each gain is sharpening", _sharpening(report)),
        Section("Accuracy against KL", _kl(kl_picture(table, curves, colours))),
        Section("Accuracy against cost", _drawn(cost_picture(table, colours), "No method was measured.", COST)),
        Section("Answers that could not be read, and rationale quality", _quality(table)),
        *([Section("Judged answers", judged_blocks(report.judged, report.table))] if report.judged else []),
        Section("Label shares of answers", _label_shares(table)),
        Section("Training curves", _drawn(curves_picture(curves, colours), "No PPO run was given.", CURVES)),
        Section("Saturation of λ", _drawn(saturation_picture(curves, colours), "No run uses λ.", SATURATION_NOTE)),
        Section("Reward hacking", hacking_blocks(curves)),
        pairs,
        *_reward_models(report),
        time,
        Section("How each row was made", _origins(report)),
    ]


CURVES = (
    "Bands are one standard deviation over a method's runs: its seeds, and its tasks where each has a run of its own. "
    "Gold accuracy is watched and never trained on."
)
SATURATION_NOTE = "At 100 % the label part is constant and only the second reward still pulls; at 0 % λ never binds."
COST = (
    "Cost of one seed, mean over seeds. Whiskers are 95 % intervals. Every point stands where its numbers are: markers "
    "that overlap are open, and whiskers on one another end in caps of different widths. Point at a marker to read it."
)


def _drawn(picture: Picture | None, missing: str, explained: str) -> list[Block]:
    return [Text(missing)] if picture is None else [picture, Text(explained)]


def _budgets(report: Report) -> list[Block]:
    explained = (
        "Cost of one seed, mean over seeds: gold labels read and annotator calls in all stages behind a row, and the "
        "device seconds of all of them (of a CPU its processor time); tokens are those that training "
        "generated, training device seconds those of its own steps. Sequences are those that went through the "
        "model as a whole, forward and backward."
    )
    return [Table(budgets_grid(report.table)), Notes([*budget_lines(report.table, report.budget), explained])]


def _claims(found: Sequence[Finding]) -> list[Block]:
    explained = [f"{word}: {meaning}." for word, meaning in VERDICTS.items()]
    return [Table(claims_grid(found)), Notes([line for line in (SIZES, *explained, family_text(found)) if line])]


def _kl(picture: Picture | None) -> list[Block]:
    explained = (
        "KL is the mean of the last five logged steps, over seeds; whiskers are 95 % intervals. A method further right "
        "paid more KL for its accuracy."
    )
    return _drawn(picture, "No evaluated method logged its KL.", explained)


def _differences(report: Report) -> list[Block]:
    if not report.found:
        return [Text("There is no other method to compare with.")]
    short = [
        Told(line, [source for gain in gains for source in gain_sources(gain, report.rows)])
        for line, gains in in_short(report.found, headline(report.table))
    ]
    note = Text(f"Differences are paired by item and seed. {p_value_note(report.found)}".strip())
    title = f"All {len(report.found)} comparisons, column by column, with their tests"
    tests = Table(differences_grid(report.found, report.rows), title)
    return [Sentences(short), tests, Notes([EXPLAINED]), note]


def _sharpening(report: Report) -> list[Block]:
    table = report.table
    try:
        baseline = find_baseline(table)
    except InputError as error:
        return [Text(f"Not available: {error}.")]
    found = splits(table, baseline) if set(table.decodings) == {"sampled", "greedy"} else []
    if not found:
        return [Text("No method with a reward was evaluated on the baseline's items under both decodings.")]
    titles = ("method", "column", "gain, sampled", "of it sharpening", "of it more", "gain, greedy")
    headings = [Heading(title, is_number=place > 1) for place, title in enumerate(titles)]
    explained = (
        f"Points over {baseline.name}. Sharpening is what greedy decoding of {baseline.name} already gives over "
        "sampling from it; a gain that is sharpening only shows no gain under greedy decoding. Each number has its own "
        "95 % interval, not corrected for how many there are; what is significant is said under "
        f"{DIFFERENCES!r}."
    )
    first = headline(table)
    shown, more = (
        [_split_cells(split, report.rows, baseline) for split in found if (split.column == first) is is_first]
        for is_first in (True, False)
    )
    if not shown:
        shown, more = more, []
    folded = [Table(Grid(headings, more), "Column by column")] if more else []
    return [Text(explained), Table(Grid(headings, shown)), *folded]


def _split_cells(split: Split, rows: Mapping[str, Row], baseline: Row) -> list[Cell]:
    sources = [*all_sources(rows[split.method]), *all_sources(baseline)]
    numbers = (split.sampled, split.sharpening, split.rest, split.greedy)
    return [Cell(split.method), Cell(split.column), *(_points_cell(found, sources) for found in numbers)]


def _points_cell(found: Estimate, sources: Sequence[Source]) -> Cell:
    return Cell(points(found.value), points_interval(found), sources=sources)


def _quality(table: ComparisonTable) -> list[Block]:
    names = {"malformed": "malformed", "strict_malformed": "not strict", "quality": "rationale quality"}
    headings = [Heading(title, is_number=False) for title in ("column", "method")]
    headings += [Heading(title, decoding) for decoding in table.decodings for title in names.values()]
    rows = [
        [Cell(column), Cell(row.name), *_summary_cells(row, [(column, each) for each in table.decodings], names)]
        for column in table.metrics
        for row in table.rows
    ]
    explained = "Shares of all answers, and mean rationale quality where the task knows it, times 100."
    picture = quality_picture(table)
    bars = "Lines on the bars: one standard deviation over seeds; for one seed, the 95 % interval over items."
    drawn: list[Block] = [Text("No rationale quality was measured.")] if picture is None else [picture, Text(bars)]
    return [Text(explained), Table(Grid(headings, rows)), *drawn]


def _label_shares(table: ComparisonTable) -> list[Block]:
    found = all_label_shares(table)
    if not found:
        return [Text("No task has a label set.")]
    explained = (
        "Does a method favour certain labels? Distance: share of answers, times 100, that would have to change for "
        "answered label shares to equal gold's (total variation); by chance: what answers without a favourite would "
        "show on as many items. Malformed answers count as a label of their own."
    )
    return [Text(explained), Table(shares_grid(table, found)), *shares_pictures(table, found)]


def _summary_cells(row: Row, positions: Iterable[tuple[str, str]], names: Iterable[str]) -> list[Cell]:
    found = [(mean_summary(row, position, name), position) for position in positions for name in names]
    return [
        Cell(MISSING) if value is None else Cell(shown_value(value), sources=_plain(sources_at(row, position)))
        for value, position in found
    ]


def _plain(sources: Sequence[Source]) -> list[Source]:
    """Without the values, which are of another number."""
    return [replace(source, value="") for source in sources]


def _reward_models(report: Report) -> list[Section]:
    """Report cards, which say more; where a reward model has none, what all were measured on after training."""
    if report.cards.runs and len(report.cards.runs) >= len(report.related.rm):
        return card_sections(report.cards)
    return [*card_sections(report.cards), Section("Reward models", _after_training(report.related.rm))]


def _after_training(rm_runs: Iterable[Path]) -> list[Block]:
    runs = load_reward_models(rm_runs)
    if not runs:
        return [Text("No reward model was given.")]
    explained = (
        "Share of pairs in which the better response scores higher, times 100 (ties count half). Label-only and "
        "length-only scorers are fitted on the same training pairs."
    )
    return [Text(explained), Table(reward_model_grid(runs))]


def _timings(timings: Timings) -> list[Block]:
    if not timings:
        return [Text("Not recorded.")]
    totals = {stage: sum(seconds for _, seconds in runs) for stage, runs in timings.items()}
    rows = [
        [Cell(stage), Cell(f"{totals[stage]:.1f}", sources=[Source(path, f"{s:.1f}") for path, s in runs])]
        for stage, runs in timings.items()
    ]
    rows.append([Cell("total"), Cell(f"{sum(totals.values()):.1f}")])
    return [Table(Grid([Heading("stage", is_number=False), Heading("seconds")], rows))]


def _origins(report: Report) -> list[Block]:
    titles = ("method", "seed", "evaluation", "config", "trained run", "fingerprint", "code", "command")
    links = report.links
    rows = [
        [
            Cell(run.key.method),
            Cell(str(run.seed)),
            _folder_cell(links, run.path),
            Cell("config", href=links.to(run.path, "config.json")),
            _folder_cell(links, trained_folder(run)),
            Cell(run.fingerprint, is_code=True),
            Cell(run.version),
            Cell(run.command, is_code=True) if run.command else Cell(MISSING),
        ]
        for row in report.table.rows
        for run in sorted(row.runs, key=lambda run: run.seed)
    ]
    listed = Grid([Heading(title, is_number=title == "seed") for title in titles], rows)
    return [Table(listed, f"All {len(rows)} evaluations, with their folders, fingerprints and commands")]


def _folder_cell(links: Links, target: Path | None) -> Cell:
    return Cell(MISSING) if target is None else Cell(target.name, href=links.to(target))
