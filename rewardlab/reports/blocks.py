"""What a report is made of, before it is Markdown or HTML: sections of texts, sentences, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewardlab.comparison.grid import Grid, Source
from rewardlab.comparison.markdown import markdown_grid
from rewardlab.printable import markdown_text, printable
from rewardlab.reports.charts import Picture

FIGURES = "report_figures"
"""Folder beside ``report.md`` and ``report.html`` with their pictures, each as SVG and PDF."""
ANSWER = "The answer"
"""Title of the section that needs none in a page."""
MORE = "Every task and decoding, and what each row was made from"
"""Over the columns that stand in a table of their own."""


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Subtitle:
    """A line above a table of a section that has several."""

    text: str


@dataclass(frozen=True, slots=True)
class Notes:
    """Lines in small print, folded away under the line ``fold`` if there is one."""

    lines: Sequence[str]
    fold: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence, and the runs that its numbers come from."""

    text: str
    sources: Sequence[Source] = ()


@dataclass(frozen=True, slots=True)
class Sentences:
    """A list, folded away under the line ``fold`` if there is one; the answer of a report stands in large print."""

    told: Sequence[Told]
    is_answer: bool = False
    fold: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, folded away under the line ``fold`` if there is one.

    Attributes:
        on_demand: Columns that a page shows when they are asked for; Markdown has them in a table of their own.
        has_tools: Its page lets the reader filter its rows and choose its columns.
    """

    grid: Grid
    fold: str = ""
    on_demand: frozenset[int] = frozenset()
    has_tools: bool = False


Block = Text | Subtitle | Notes | Sentences | Table | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it.

    Attributes:
        is_open: A page shows what stands under it at once, and not only when it is asked for.
        is_in_page: False for what a page says elsewhere.
    """

    title: str
    blocks: Sequence[Block]
    is_open: bool = False
    is_in_page: bool = True


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    """A report in GitHub's Markdown; pictures are files beside it, named as in :func:`drawing.write_picture`."""
    parts = [f"# {_line(title)}"]
    for section in sections:
        parts += [f"## {_line(section.title)}", *map(_block, section.blocks)]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case Text(text):
            return markdown_text(text)
        case Subtitle(text):
            return f"**{_line(text)}**"
        case Notes(lines, fold):
            text = "\n".join(f"{_line(line)}  " for line in lines)
            return _folded(fold, text) if fold else text
        case Sentences(told, is_answer, fold):
            text = "\n\n".join(_line(each.text) for each in told) if is_answer else _list(told)
            return _folded(fold, text) if fold else text
        case Table(grid, fold, on_demand):
            return _folded(fold, markdown_grid(grid)) if fold else _table(grid, on_demand)
        case Picture(name, alt):
            note = f"\n\n{markdown_text(block.note)}" if block.note else ""
            return f"![{_line(alt)}]({FIGURES}/{name}.svg) [PDF]({FIGURES}/{name}.pdf){note}"


def _table(grid: Grid, on_demand: frozenset[int]) -> str:
    """The table, and what its page has on demand in another one, folded away."""
    places = range(len(grid.headings))
    shown = markdown_grid(_columns(grid, [place for place in places if place not in on_demand]))
    more = markdown_grid(_columns(grid, [place for place in places if place == 0 or place in on_demand]))
    return f"{shown}\n\n{_folded(MORE, more)}" if on_demand else shown


def _columns(grid: Grid, places: Sequence[int]) -> Grid:
    return Grid([grid.headings[place] for place in places], [[row[place] for place in places] for row in grid.rows])


def _line(text: str) -> str:
    return markdown_text(printable(text))


def _list(items: Sequence[Told]) -> str:
    return "\n".join(f"* {_line(told.text)}" for told in items)


def _folded(title: str, text: str) -> str:
    """GitHub renders Markdown inside ``details`` when an empty line stands on both sides of it."""
    return f"<details>\n<summary>{_line(title)}</summary>\n\n{text}\n\n</details>"
