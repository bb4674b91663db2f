"""The sections of a report: each is a function from the loaded runs to blocks; one without data says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rewardlab.claims.findings import VERDICTS, Finding, claims_grid, family_text, written_text
from rewardlab.comparison.answer import answer
from rewardlab.comparison.budgets import budget_lines, budgets_grid, training_spent
from rewardlab.comparison.grid import compact
from rewardlab.comparison.notes import notes, unread_lines
from rewardlab.comparison.runs import LeftOut
from rewardlab.comparison.table import ComparisonTable, headline, method_names
from rewardlab.reports.blocks import ANSWER, Block, Notes, Section, Sentences, Table, Text, Told
from rewardlab.reports.charts import Picture
from rewardlab.reports.forest import forest_picture
from rewardlab.reports.plots import CurveRun, colours_of, curves_picture, load_curves, saturation_picture
from rewardlab.reports.report import Report
from rewardlab.reports.sections.answers import by_label_blocks, confidence_blocks, label_share_blocks, quality_blocks
from rewardlab.reports.sections.cards import card_origins, card_sections
from rewardlab.reports.sections.differences import (
    DIFFERENCES,
    MEASURES,
    difference_blocks,
    measure_blocks,
    sharpening_blocks,
)
from rewardlab.reports.sections.hacking import hacking_blocks
from rewardlab.reports.sections.judged import judged_blocks
from rewardlab.reports.sections.origins import origin_blocks, time_blocks
from rewardlab.reports.sections.pair_kinds import pair_blocks
from rewardlab.reports.sections.tradeoffs import cost_picture, kl_picture
from rewardlab.reward_models.table import load_reward_models, reward_model_grid

SIZES = (
    "Sizes in points are differences of the first method to the second; label shift: how much nearer its label shares "
    "lie to gold's; judged: items it won less items it lost."
)
LEFT_OUT = (
    "These were found beside the runs and could not be used as they are; the tables and pictures are without them."
)


def sections(report: Report) -> list[Section]:
    """The whole report, in order; where nothing but reward models was measured, what concerns them.

    What was left out stands behind the first section; reading for the others adds to it, so it is made last.
    """
    first, *others = _sections(report)
    return [first, *_left_out(report), *others]


def _left_out(report: Report) -> list[Section]:
    """What could not be used; on a page that travels, paths are told as seen from the folders of runs left behind."""
    related, evals = report.related, [run.path for row in report.table.rows for run in row.runs]
    runs = [*related.trained, *related.rm, *related.pairs, *related.card, *evals] if report.brings_runs else []
    places = {root for run in runs for root in (run.parent.parent, run.resolve().parent.parent) if root.is_absolute()}
    told = []
    for line in report.left_out.lines:
        for root in sorted(places, key=lambda root: -len(str(root))):
            line = line.replace(f"{root}/", "")
        told.append(Told(line))
    return [Section("Left out", [Text(LEFT_OUT), Sentences(told)], is_open=True)] if told else []


def _sections(report: Report) -> list[Section]:
    pairs = Section("Pairs among samples of the SFT model", pair_blocks(report.related.pairs, report.left_out))
    time = Section("Time", time_blocks(report.timings or {}))
    claims = [Section("Claims", _claims(report.claims), is_open=True)] if report.claims else []
    if not report.table.rows:
        origins = Section("How each reward model was made", [Table(card_origins(report.cards, report.links))])
        cards = [replace(section, is_open=True) for section in card_sections(report.cards)]
        return [*claims, *cards, pairs, time, origins]
    table, curves = report.table, load_curves(report.related.trained, method_names(report.table), report.left_out)
    colours = _colours(table, curves)
    return [
        Section(ANSWER, _answer(report), is_open=True),
        *claims,
        Section(DIFFERENCES, difference_blocks(report)),
        Section("Costs", _costs(report, cost_picture(table, colours)), is_open=True),
        Section(
            "Training curves", _drawn(curves_picture(curves, colours), "No PPO run was given.", CURVES), is_open=True
        ),
        Section("Reward hacking", hacking_blocks(curves, report.left_out), is_open=True),
        Section("Accuracy against KL", _kl(kl_picture(table, curves, colours))),
        Section("Saturation of λ", _drawn(saturation_picture(curves, colours), "No run uses λ.", SATURATION_NOTE)),
        *([Section("Accuracy by gold label", blocks)] if (blocks := by_label_blocks(table)) else []),
        *([Section("Confidence", blocks)] if (blocks := confidence_blocks(table)) else []),
        Section("Label shares of answers", label_share_blocks(table)),
        Section("Answers that could not be read, and rationale quality", quality_blocks(table)),
        *([Section("Judged answers", judged_blocks(report.judged, table, report.left_out))] if report.judged else []),
        Section(MEASURES, measure_blocks(report.measures)),
        Section("How much of each gain is sharpening", sharpening_blocks(report)),
        *_reward_models(report),
        pairs,
        time,
        Section("How each row was made", origin_blocks(report), is_in_page=False),
    ]


READ = "How to read the table"


def _answer(report: Report) -> list[Block]:
    """Three sentences, one figure, one table."""
    table = report.table
    shown, on_demand = compact(table)
    told = Sentences([Told(each.text, each.sources) for each in answer(table)], is_answer=True)
    picture = forest_picture(table, report.gains)
    unread = [Notes(lines)] if (lines := unread_lines(table)) else []
    small = [line for line in notes(table) if line not in lines]
    figure: list[Block] = [picture] if picture else []
    return [told, *figure, Table(shown, on_demand=on_demand, has_tools=True), *unread, Notes(small, READ)]


def _colours(table: ComparisonTable, curves: Sequence[CurveRun]) -> dict[str, int]:
    """Method -> its colour everywhere; where there are more methods than colours, those with lower values are grey."""
    position = (headline(table), table.decodings[-1])
    values = {row.name: row.scores[position].value for row in table.rows if position in row.scores}
    trained = [row.name for row in table.rows if row.key.reward]
    names = dict.fromkeys([*trained, *(run.method for run in curves), *(row.name for row in table.rows)])
    return colours_of(names, values)


CURVES = (
    "Bands are one standard deviation over a method's runs: its seeds, and its tasks where each has a run of its own. "
    "Gold accuracy is watched and never trained on."
)
SATURATION_NOTE = "At 100 % the label part is constant and only the second reward still pulls; at 0 % λ never binds."
COST = (
    "Cost of one seed, mean over seeds: gold labels read and annotator calls in all stages behind a row, and their "
    "device seconds. Lines are 95 % intervals. Markers that overlap are open; point at a marker to read it."
)


def _drawn(picture: Picture | None, missing: str, explained: str) -> list[Block]:
    return [Text(missing)] if picture is None else [picture, Text(explained)]


def _costs(report: Report, picture: Picture | None) -> list[Block]:
    """The picture, and what training spent; gold labels, calls and seconds stand in the table of the answer."""
    spent: list[Block] = []
    if training_spent(report.table):
        grid = budgets_grid(report.table)
        spent = [Table(grid, "What training spent"), Notes([*budget_lines(report.table, report.budget), SPENT])]
    return [*_drawn(picture, "No method was measured.", COST), *spent]


SPENT = (
    "Of one seed, mean over seeds: tokens that training generated, device seconds of its own steps (of a CPU its "
    "processor time), and sequences that went through the model as a whole, forward and backward. Even groups: prompts "
    "whose responses all had the same score, which a method that compares them learns nothing from."
)


def _claims(findings: Sequence[Finding]) -> list[Block]:
    explained = [f"{word}: {meaning}." for word, meaning in VERDICTS.items()]
    notes = [SIZES, *explained, family_text(findings), written_text(findings)]
    return [Table(claims_grid(findings)), Notes([line for line in notes if line])]


def _kl(picture: Picture | None) -> list[Block]:
    explained = (
        "KL is the mean of the last five logged steps, over seeds; whiskers are 95 % intervals. A method further right "
        "paid more KL for its accuracy."
    )
    return _drawn(picture, "No evaluated method logged its KL.", explained)


def _reward_models(report: Report) -> list[Section]:
    """Report cards, which say more; where a reward model has none, what all were measured on after training."""
    if report.cards.runs and len(report.cards.runs) >= len(report.related.rm):
        return card_sections(report.cards)
    return [*card_sections(report.cards), Section("Reward models", _after_training(report.related.rm, report.left_out))]


def _after_training(rm_runs: Iterable[Path], left_out: LeftOut) -> list[Block]:
    runs = load_reward_models(rm_runs, left_out)
    if not runs:
        return [Text("No reward model was given.")]
    explained = (
        "Share of pairs in which the better response scores higher, times 100 (ties count half). Label-only and "
        "length-only scorers are fitted on the same training pairs."
    )
    return [Text(explained), Table(reward_model_grid(runs))]
