"""Tables for the terminal, through rich: whole where there is room, and otherwise in parts that fit.

A part is of one base model, so that no row repeats its name; numbers are never broken over lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rewardlab.comparison.budgets import budgets_grid, training_spent
from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading, grid
from rewardlab.comparison.method_names import row_names
from rewardlab.comparison.table import ComparisonTable
from rewardlab.printable import printable

if TYPE_CHECKING:
    from rich.table import Table as RichTable
    from rich.text import Text

NAME_WIDTH = 24
"""Characters that a row's name may take before it is broken between words."""
BORDERS = 3
"""Characters that a column takes beside its text; the table takes one less in all."""


def to_rich(table: ComparisonTable, width: int) -> list[RichTable]:
    """One rich table, or, where ``width`` characters are too few, parts: scores by decoding, then origins and costs."""
    whole, origins = grid(table), grid(table, with_scores=False)
    scores = [grid(replace(table, decodings=(decoding,)), with_origins=False) for decoding in table.decodings]
    if _needed(whole, NAME_WIDTH) <= width:
        return [_laid_out(whole, width)]
    return [
        part
        for model, names in _by_model(table).items()
        for shown in (*scores, origins)
        for part in _fitted(_rows(shown, names), width, model)
    ]


def spent_tables(table: ComparisonTable, width: int) -> list[RichTable]:
    """What PPO spent, whole or in parts that fit; nothing where no method of the table is PPO."""
    if not training_spent(table):
        return []
    whole = budgets_grid(table, of_training_alone=True)
    if _needed(whole, NAME_WIDTH) <= width:
        return [_laid_out(whole, width)]
    return [
        part
        for model, names in _by_model(table).items()
        for part in _fitted(budgets_grid(_only(table, names), of_training_alone=True), width, model)
    ]


def rich_grid(shown: Grid, title: str = "", widths: Sequence[int] = (), *, pad_edge: bool = True) -> RichTable:
    """A grid for the terminal; details stand under their values.

    Args:
        shown: The grid.
        title: Stands above it.
        widths: Characters of each column's text; none given, rich decides.
        pad_edge: The first and the last column are padded on both sides.
    """
    from rich.table import Table
    from rich.text import Text

    has_details = any(cell.detail for row in shown.rows for cell in row)
    table = Table(
        title=Text(printable(title)) if title else None, title_justify="left", show_lines=has_details, pad_edge=pad_edge
    )
    for place, heading in enumerate(shown.headings):
        table.add_column(
            Text("\n".join(_lines(heading))),
            justify="right" if heading.is_number else "left",
            overflow="fold",
            width=widths[place] if widths else None,
        )
    for row in shown.rows:
        table.add_row(*(_rich_cell(cell) for cell in row))
    return table


def _by_model(table: ComparisonTable) -> dict[str, dict[int, str]]:
    """Base model -> row number -> its name among that model's rows; one model goes without its name.

    Rows without a base model stand among those of each.
    """
    models = dict.fromkeys(row.key.model for row in table.rows if row.key.model) or {"": None}
    by_model = {}
    for model in models:
        rows = {number: row.key for number, row in enumerate(table.rows) if row.key.model in (model, "")}
        names = row_names(list(rows.values()))
        by_model[model if len(models) > 1 else ""] = {number: names[key] for number, key in rows.items()}
    return by_model


def _only(table: ComparisonTable, names: Mapping[int, str]) -> ComparisonTable:
    """The table of some rows, by number; its marks are another table's."""
    rows = [replace(table.rows[number], name=name) for number, name in names.items()]
    return replace(table, rows=rows, ties=frozenset(), untested=frozenset(), marks={})


def _rows(shown: Grid, names: Mapping[int, str]) -> Grid:
    """Some rows, by number, under their names; without the model and without columns that say nothing of them."""
    rows = [[replace(shown.rows[number][0], text=name), *shown.rows[number][1:]] for number, name in names.items()]
    kept = [
        place
        for place, heading in enumerate(shown.headings)
        if place == 0 or (heading.title != "model" and any(row[place].text != MISSING for row in rows))
    ]
    return _columns(Grid(shown.headings, rows), kept)


def _columns(shown: Grid, places: Sequence[int]) -> Grid:
    rows = [[row[place] for place in places] for row in shown.rows]
    return Grid([shown.headings[place] for place in places], rows)


def _fitted(shown: Grid, width: int, title: str) -> Iterator[RichTable]:
    """As many columns a table as fit beside the first one, which each table has."""
    places: list[int] = []
    for place in range(1, len(shown.headings)):
        if places and _needed(_columns(shown, [0, *places, place])) > width:
            yield _laid_out(_columns(shown, [0, *places]), width, title)
            places = []
        places.append(place)
    if places and shown.rows:
        yield _laid_out(_columns(shown, [0, *places]), width, title)


def _laid_out(shown: Grid, width: int, title: str = "") -> RichTable:
    """The grid in a table of at most ``width`` characters; numbers are whole, other texts share what they leave."""
    widths, most = _widths(shown, 0), _widths(shown, width)
    spare = width - _total(widths)
    while spare > 0 and widths != most:
        tightest = max(range(len(widths)), key=lambda place: most[place] / widths[place])
        widths[tightest] += 1
        spare -= 1
    return rich_grid(shown, title, widths if spare >= 0 else (), pad_edge=spare >= 2)


def _needed(shown: Grid, name_width: int = 0) -> int:
    """Characters that a table takes at least; its texts have ``name_width`` of them before they are broken."""
    return _total(_widths(shown, name_width))


def _total(widths: Sequence[int]) -> int:
    return sum(width + BORDERS for width in widths) - 1


def _widths(shown: Grid, name_width: int) -> list[int]:
    """Characters of each column: of its numbers, or of its longest word, and of its texts up to ``name_width``."""
    columns = [[row[place] for row in shown.rows] for place in range(len(shown.headings))]
    return [_width(heading, cells, name_width) for heading, cells in zip(shown.headings, columns, strict=True)]


def _width(heading: Heading, cells: Sequence[Cell], name_width: int) -> int:
    from rich.cells import cell_len

    lines = [*_lines(heading), *(line for cell in cells for line in _rich_cell(cell).plain.splitlines())]
    widest = max(map(cell_len, lines))
    if heading.is_number:
        return widest
    return max(min(widest, name_width), *(cell_len(word) for line in lines for word in line.split()), 1)


def _lines(heading: Heading) -> list[str]:
    """Group, then the title, of a number word by word."""
    words = heading.title.split() if heading.is_number else [heading.title]
    return [part for part in (heading.group, *words) if part]


def _rich_cell(cell: Cell) -> Text:
    from rich.text import Text

    style = {"best": "bold", "second": "underline"}.get(cell.mark, "")
    text = Text.assemble((cell.text, style), cell.sign, cell.spread)
    if cell.detail:
        text.append(f"\n{cell.detail}", style="dim")
    return text
