"""A report on disk: ``report.md`` with its pictures and tables beside it, and ``report.html``, one file for itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.claims.claim import Claim
from rewardlab.claims.findings import findings, write_claims
from rewardlab.claims.measures import Evidence, Measured
from rewardlab.claims.rivals import measure_gains, measures_note, write_measures
from rewardlab.comparison.by_label import all_by_label, label_frame
from rewardlab.comparison.confidence import all_confidences, confidence_frame
from rewardlab.comparison.difference_text import gain_row
from rewardlab.comparison.differences import Gain, default_against, gains, rivals_of
from rewardlab.comparison.frames import csv_text, frame
from rewardlab.comparison.latex import to_latex
from rewardlab.comparison.markdown import to_markdown as table_markdown
from rewardlab.comparison.runs import Collected, LeftOut, Related, collect
from rewardlab.comparison.statistics import RESAMPLES
from rewardlab.comparison.table import ComparisonTable, build_table, method_names
from rewardlab.disk import write_atomic
from rewardlab.errors import InputError
from rewardlab.judge.verdicts import JudgedRun, load_judged
from rewardlab.printable import markdown_code
from rewardlab.reports.blocks import FIGURES, Section, to_markdown
from rewardlab.reports.charts import Picture
from rewardlab.reports.drawing import FORMATS, write_figure, write_picture
from rewardlab.reports.forest import forest_picture
from rewardlab.reports.html import to_html
from rewardlab.reports.plots import colours_of, curves_picture, load_curves
from rewardlab.reports.report import Report, Timings
from rewardlab.reports.sections import sections
from rewardlab.reports.sections.cards import write_card_tables
from rewardlab.reports.sections.differences import DIFFERENCES
from rewardlab.reports.sections.pair_kinds import (
    distributions,
    malformed_note,
    malformed_share,
    rationale_sensitive,
    sources_of,
)
from rewardlab.reward_models.over_seeds import Cards, load_cards

TITLE = "Which reward was better"
"""Heading of a report whose suite has no title, or that has no suite."""


@dataclass(frozen=True, slots=True)
class SuiteFacts:
    """What a report says of the suite behind it.

    Attributes:
        name, title: Of the suite; the title is the heading of its report.
        budget: What PPO rows were given the same number of.
        claims: Published claims that its rows say something of.
        models, seeds: What it was run with.
        against: Methods that all others are compared with, as far as they have a row; none is the usual one.
    """

    name: str
    title: str = ""
    budget: str = "updates"
    claims: Sequence[Claim] = ()
    models: Sequence[str] = ()
    seeds: Sequence[int] = ()
    against: Sequence[str] = ()

    def about(self, command: str) -> dict[str, Any]:
        """The head of ``claims.json``; ``command`` is what was typed to make the report."""
        about = {"suite": self.name, "title": self.title, "command": command}
        return {**about, "models": list(self.models), "seeds": list(self.seeds)}


def write_report(
    path: Path,
    evals: Iterable[Path],
    ppo_runs: Sequence[Path] = (),
    rm_runs: Sequence[Path] = (),
    pair_runs: Sequence[Path] = (),
    timings: Timings | None = None,
    *,
    card_runs: Sequence[Path] = (),
    convention: str = "rllr",
    resamples: int = RESAMPLES,
    command: str = "",
    more: Sequence[Section] = (),
    suite: SuiteFacts | None = None,
    brings_runs: bool = False,
) -> Path:
    """Write report.md, report.html, the table (md, tex, csv), differences.csv and pictures into the folder ``path``.

    A report of reward models alone has their table in table.csv and no other; beside evaluations it is called
    reward_models.csv. Their differences stand in reward_model_differences.csv.

    Args:
        path: Folder of the report; made when missing.
        evals: Evaluation folders, or what else :func:`~rewardlab.comparison.runs.collect` takes.
        ppo_runs, rm_runs, pair_runs, card_runs: Folders of those stages; unreadable ones are left out, and named on the
            page.
        timings: Stage -> folder and seconds of each run, in the order to print them.
        convention: ``rllr`` or ``ppo-nlu``.
        resamples: Bootstrap resamples.
        command: What was typed to make the report; printed under it.
        more: Sections that stand behind the differences between methods.
        suite: The suite that was run; its claims are measured, and written to claims.md and claims.json too.
        brings_runs: Copy configuration and result of every run it links to into the folder.
    Returns:
        ``report.md``.
    Raises:
        InputError: No evaluation could be used, and there is no card.
    """
    facts = suite or SuiteFacts("")
    left_out = LeftOut()
    cards = load_cards(card_runs, left_out)
    collected = _collected(list(evals), cards)
    table = build_table(collected.runs, convention=convention, warnings=collected.warnings, resamples=resamples)
    found, judged = gains(table, default_against(table, facts.against)), load_judged(collected.runs, left_out)
    claims = findings(facts.claims, _evidence(table, judged, pair_runs, cards, left_out))
    related = Related(ppo_runs, rm_runs, pair_runs, card_runs)
    more_found = measure_gains(table, rivals_of(found), judged, left_out)
    about = (timings, command, claims, judged, facts.budget, cards, brings_runs, left_out, more_found)
    report = Report(path, table, found, related, *about)
    shown = _with_more(sections(report), more)
    _write_tables(report, facts.about(command))
    title = facts.title or TITLE
    _write_markdown(path / "report.md", title, shown, command)
    write_atomic(path / "report.html", to_html(title, shown, report))
    return path / "report.md"


def _collected(evals: Sequence[Path], cards: Cards) -> Collected:
    """The evaluations; none only where there are cards to report."""
    return collect(evals) if evals or not cards.runs else Collected([])


def _with_more(shown: Sequence[Section], more: Sequence[Section]) -> list[Section]:
    """The sections with ``more`` behind the differences between methods, or in front where there are none."""
    place = next((place + 1 for place, section in enumerate(shown) if section.title == DIFFERENCES), 0)
    return [*shown[:place], *more, *shown[place:]]


def _write_tables(report: Report, about: Mapping[str, Any]) -> None:
    """What can be read by programs: claims, comparison, differences and reward models, as far as there are any."""
    if report.claims:
        write_claims(report.claims, report.folder, about)
    if report.table.rows:
        write_tables(report.table, report.folder)
    if report.gains:
        write_differences(report.gains, report.folder)
    if report.measures:
        write_measures(report.measures, report.folder)
    if report.cards.runs:
        write_card_tables(report.cards, report.folder, "reward_models" if report.table.rows else "table")


def _evidence(
    table: ComparisonTable, judged: Sequence[JudgedRun], pair_runs: Sequence[Path], cards: Cards, left_out: LeftOut
) -> Evidence:
    drawn = distributions(pair_runs, left_out)
    shares = {
        place: Measured(found, sources_of(drawn, place[0]), malformed_note(malformed_share(drawn, place)))
        for place, found in rationale_sensitive(drawn).items()
    }
    return Evidence(table, judged, shares, cards, left_out)


def write_page(file: Path, report: Report) -> Path:
    """Write the HTML page, and its pictures as PDF into ``report.figures`` beside it.

    Args:
        file: The page; ``report.folder`` must be its folder.
        report: What it says.
    """
    shown = sections(report)
    _write_pictures(shown, report.folder / report.figures, ["pdf"])
    write_atomic(file, to_html(TITLE, shown, report))
    return file


def _write_pictures(shown: Sequence[Section], folder: Path, formats: Sequence[str]) -> None:
    for section in shown:
        for block in section.blocks:
            if isinstance(block, Picture):
                write_picture(block, folder, formats)


def _write_markdown(file: Path, title: str, shown: Sequence[Section], command: str) -> None:
    _write_pictures(shown, file.parent / FIGURES, ["svg", "pdf"])
    write_atomic(file, to_markdown(title, shown) + (f"\nMade by {markdown_code(command)}.\n" if command else ""))


def write_comparison(report: Report, folder: Path) -> list[Path]:
    """Write table.md, table.tex, table.csv, differences.csv, measures.csv; forest and reward_curves as SVG and PDF.

    Args:
        report: What to write. Without differences, differences.csv and the forest plot are left out; measures.csv is
            left out where nothing but the table's numbers was measured, the curves where no PPO log is found.
        folder: Where to; made when missing.
    Returns:
        The files written.
    """
    curves = load_curves(report.related.trained, method_names(report.table), report.left_out)
    pictures = (
        forest_picture(report.table, report.gains),
        curves_picture(curves, colours_of(run.method for run in curves)),
    )
    tables = [*write_tables(report.table, folder), *([write_differences(report.gains, folder)] if report.gains else [])]
    tables += [write_measures(report.measures, folder)] if measures_note(report.measures) else []
    return [*tables, *(file for each in pictures if each is not None for file in write_picture(each, folder))]


def write_forest(report: Report, file: Path) -> Path:
    """Write the forest plot alone, as PDF, SVG or PNG by the file's ending.

    Raises:
        InputError: Another ending, or nothing to compare.
    """
    if file.suffix not in {f".{each}" for each in FORMATS}:
        raise InputError(f"--figure {file}: expected a file that ends in .pdf, .svg or .png")
    picture = forest_picture(report.table, report.gains)
    if picture is None:
        raise InputError(f"--figure {file}: there are no two methods to compare, so there is nothing to draw")
    return write_figure(picture, file)


def write_tables(table: ComparisonTable, folder: Path) -> list[Path]:
    """Write ``table.md``, ``table.tex``, ``table.csv``; ``labels.csv`` and ``confidence.csv`` where there is any."""
    texts = {"table.md": table_markdown(table), "table.tex": to_latex(table), "table.csv": csv_text(frame(table))}
    if found := all_by_label(table):
        texts["labels.csv"] = csv_text(label_frame(table, found))
    if stated := all_confidences(table):
        texts["confidence.csv"] = csv_text(confidence_frame(table, stated))
    for name, text in texts.items():
        write_atomic(folder / name, text)
    return [folder / name for name in texts]


def write_differences(differences: Sequence[Gain], folder: Path) -> Path:
    """Write ``differences.csv``: one line a comparison, with interval, tests, effect size and sentence."""
    import polars

    path = folder / "differences.csv"
    write_atomic(path, csv_text(polars.DataFrame([gain_row(gain) for gain in differences], infer_schema_length=None)))
    return path
