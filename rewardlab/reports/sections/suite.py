"""What a suite adds to its report: cells that are missing, and settings that were chosen on validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab.comparison.grid import Cell, Grid, Heading
from rewardlab.comparison.numbers import shown_value
from rewardlab.disk import write_atomic
from rewardlab.printable import markdown_code
from rewardlab.reports.blocks import Section, Table, Text, to_markdown


@dataclass(frozen=True, slots=True)
class Choice:
    """The settings of one method on one entry of the tasks, with one model.

    Attributes:
        title: Method, tasks and model.
        seeds: On which they were tried.
        tries: Values and their score on validation rows, in the order of the grid.
        chosen: Which of them won.
    """

    title: str
    seeds: tuple[int, ...]
    tries: Sequence[tuple[Mapping[str, Any], float]]
    chosen: int

    def __str__(self) -> str:
        score = shown_value(self.tries[self.chosen][1])
        others = ", ".join(shown_value(each) for number, (_, each) in enumerate(self.tries) if number != self.chosen)
        return (
            f"{self.title}: {values_text(self.tries[self.chosen][0])}, of {len(self.tries)} tries on {self.seeds_text} "
            f"(validation {score}; the others {others or 'none'})"
        )

    @property
    def seeds_text(self) -> str:
        """The seeds as printed."""
        return f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"


def values_text(values: Mapping[str, Any]) -> str:
    """Settings as printed."""
    return ", ".join(f"{key} = {value}" for key, value in values.items())


def suite_sections(
    missing: Sequence[tuple[str, str]], choices: Sequence[Choice], unjudged: Sequence[tuple[str, str]] = ()
) -> list[Section]:
    """Sections of a report; a subject without anything to say has none.

    Args:
        missing: Cells that failed, and why.
        choices: Settings that were chosen.
        unjudged: Comparisons that no judge made, and why.
    """
    return [
        *([_failed("Missing cells", FAILED, "cell", missing)] if missing else []),
        *([_failed("Missing verdicts", UNJUDGED, "comparison", unjudged)] if unjudged else []),
        *([_chosen(choices)] if choices else []),
    ]


FAILED = "These cells failed, so the tables hold what the others measured. The same command tries them again."
UNJUDGED = "These comparisons were not judged, so no claim counts them. The same command asks again."


def _failed(title: str, told: str, what: str, failures: Sequence[tuple[str, str]]) -> Section:
    headings = [Heading(what, is_number=False), Heading("why", is_number=False)]
    rows = [[Cell(each), Cell(why)] for each, why in failures]
    return Section(title, [Text(told), Table(Grid(headings, rows))], is_open=True)


def _chosen(choices: Sequence[Choice]) -> Section:
    headings = [
        Heading("method, tasks, model", is_number=False),
        Heading("tried", is_number=False),
        Heading("validation"),
        Heading("chosen", is_number=False),
    ]
    rows = [
        [Cell(choice.title), Cell(values_text(values)), Cell(shown_value(score)), Cell("yes" if is_it else "")]
        for choice in choices
        for values, score, is_it in _marked(choice)
    ]
    told = Text(
        f"Every method had the same {len(choices[0].tries)} tries, on {choices[0].seeds_text}. Chosen was the highest "
        "mean over tasks and seeds of the main metric, greedy decoding, on validation rows; no test row was read. All "
        "seeds use the chosen values."
    )
    return Section("Settings chosen on validation rows", [told, Table(Grid(headings, rows))])


def write_choices(path: Path, title: str, choices: Sequence[Choice], command: str) -> None:
    """The report of a suite that evaluates nothing, in Markdown: what was tried, what it scored, what was chosen."""
    write_atomic(path, f"{to_markdown(title, [_chosen(choices)])}\n\nMade by {markdown_code(command)}.\n")


def _marked(choice: Choice) -> list[tuple[Mapping[str, Any], float, bool]]:
    return [(values, score, number == choice.chosen) for number, (values, score) in enumerate(choice.tries)]
