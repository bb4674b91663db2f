"""What a report is made of, before it is Markdown or HTML: sections of texts, sentences, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewardlab.comparison.grid import Grid, Source
from rewardlab.comparison.markdown import markdown_grid
from rewardlab.printable import markdown_text, printable
from rewardlab.reports.charts import Picture


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
    """Lines in small print."""

    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence, and the runs that its numbers come from."""

    text: str
    sources: Sequence[Source] = ()


@dataclass(frozen=True, slots=True)
class Sentences:
    """A list."""

    told: Sequence[Told]


@dataclass(frozen=True, slots=True)
class Table:
    """A table, folded away under the line ``fold`` if there is one."""

    grid: Grid
    fold: str = ""


Block = Text | Subtitle | Notes | Sentences | Table | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    """A report in GitHub's Markdown; pictures are files beside it, named as in :func:`charts.write_picture`."""
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
        case Notes(lines):
            return "\n".join(f"{_line(line)}  " for line in lines)
        case Sentences(told):
            return _list(told)
        case Table(grid, fold):
            return _folded(fold, markdown_grid(grid)) if fold else markdown_grid(grid)
        case Picture(name, alt):
            return f"![{_line(alt)}]({name}.svg)"


def _line(text: str) -> str:
    return markdown_text(printable(text))


def _list(items: Sequence[Told]) -> str:
    return "\n".join(f"* {_line(told.text)}" for told in items)


def _folded(title: str, text: str) -> str:
    """GitHub renders Markdown inside ``details`` when an empty line stands on both sides of it."""
    return f"<details>\n<summary>{_line(title)}</summary>\n\n{text}\n\n</details>"
