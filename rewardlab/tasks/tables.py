"""Tables in text: CSV and TSV as spreadsheets, databases and pandas write them.

* The delimiter of a CSV file is the one whose header has the wanted columns; Excel's first line ``sep=;`` names it.
* Cells may be quoted, a quote inside is doubled, lines may break inside. A TSV file that cannot be read so has no
  quoting at all (the files of GLUE).
* Cells without a header and rows of empty cells are passed over; empty cells are missing values.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TextIO

from rewardlab.errors import DataError
from rewardlab.tasks.encodings import open_text

DELIMITERS: Mapping[str, str] = {".csv": ",;\t|", ".tsv": "\t"}
"""What may separate the cells of a table."""
LONGEST_CELL = 1 << 24
"""Most characters of one cell."""
_NAMED_DELIMITER = re.compile(r"\ufeff?\"?sep=([,;\t|])\"?\s*")


@dataclass(frozen=True, slots=True)
class Shape:
    """How the cells of a file are told apart.

    Attributes:
        delimiter: Between two cells.
        is_quoted: Whether a quote in front of a cell opens it.
        has_blanks: Whether a blank follows each delimiter and belongs to no cell.
        skipped: Lines in front of the header.
    """

    delimiter: str
    is_quoted: bool
    has_blanks: bool
    skipped: int

    def reader(self, file: TextIO) -> Any:
        """A reader of the whole file, which stands at its header then."""
        csv.field_size_limit(LONGEST_CELL)
        file.seek(0)
        for _ in range(self.skipped):
            file.readline()
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self.is_quoted else csv.QUOTE_NONE
        return csv.reader(
            file, delimiter=self.delimiter, quoting=quoting, skipinitialspace=self.has_blanks, strict=True
        )


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a table with a header line, each with its place.

    Args:
        path: A file with one of the endings of :data:`DELIMITERS`.
        columns: The columns that are wanted, the label last; they decide the delimiter.
    Raises:
        DataError: It is no table, or a cell holds lines that are rows of their own, because a quote is not closed.
    """
    with open_text(path) as file:
        shape = _shape(path, file, columns)
        table = shape.reader(file)
        try:
            header: list[str] = next(table, [])
            _check_header(header, columns, path)
            rows = ((f"line {table.line_num + shape.skipped}", cells) for cells in table)
            yield from _rows(rows, header, _Swallowed(header, columns, shape.delimiter), path)
        except csv.Error as error:
            raise DataError(
                f"{path} line {table.line_num + shape.skipped}: not a table ({error}); expected {path.suffix}, with "
                "each quote inside a quoted cell written twice"
            ) from error


def _rows(
    rows: Iterator[tuple[str, list[str]]], header: Sequence[str], swallowed: _Swallowed, path: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, cells in rows:
        if not any(cells):
            continue
        if any(cells[len(header) :]):
            raise DataError(
                f"{path} {place}: more cells than the header names; quote cells with {swallowed.delimiter!r}"
            )
        swallowed.see(place, cells)
        filled = [*cells, *[""] * (len(header) - len(cells))]
        yield place, {name: cell or None for name, cell in zip(header, filled, strict=False) if name}
    if found := swallowed.found():
        raise DataError(
            f"{path} up to {found}: a cell holds lines that are rows of their own; close its quote, or write a quote "
            "inside a cell twice"
        )


class _Swallowed:
    """Watches for cells whose quote was never closed, so that the rows behind it became a part of the text.

    Such a cell has lines that split into the header's cells, with a value of the label column in its place. Which
    values that column has is known at the end of the file.
    """

    def __init__(self, header: Sequence[str], columns: Sequence[str], delimiter: str) -> None:
        label = columns[-1].casefold() if columns else None
        names = [name.strip().casefold() for name in header]
        self.delimiter = delimiter
        self._width = len(header)
        self._label = names.index(label) if label in names else None
        self._seen: set[str] = set()
        self._suspects: list[tuple[str, str]] = []

    def see(self, place: str, cells: Sequence[str]) -> None:
        if self._label is None or len(cells) <= self._label:
            return
        broken = [(number, cell) for number, cell in enumerate(cells) if "\n" in cell]
        if not broken:
            self._seen.add(cells[self._label])
        self._suspects += [(place, value) for number, cell in broken if (value := self._label_in(number, cell))]

    def found(self) -> str:
        """The place of the first such cell; empty when there is none."""
        return next((place for place, value in self._suspects if value in self._seen), "")

    def _label_in(self, number: int, cell: str) -> str:
        """The value of the label column in the first line of a cell that has one, if all its lines are rows."""
        assert self._label is not None
        lines = cell.split("\n")
        found = []
        for place, line in enumerate(lines):
            first = number if place == 0 else 0
            last = number if place == len(lines) - 1 else self._width - 1
            parts = line.rstrip("\r").split(self.delimiter)
            if len(parts) != last - first + 1:
                return ""
            if first <= self._label <= last:
                found.append(parts[self._label - first])
        return next(iter(found), "")


def _shape(path: Path, file: TextIO, columns: Sequence[str]) -> Shape:
    first = file.readline()
    named = _NAMED_DELIMITER.fullmatch(first)
    header = file.readline() if named else first
    delimiter = named[1] if named else _delimiter(header.lstrip("\ufeff"), DELIMITERS[path.suffix.lower()], columns)
    has_blanks = f'{delimiter} "' in header + file.readline() and header.count(delimiter) == header.count(
        f"{delimiter} "
    )
    shape = Shape(delimiter, is_quoted=True, has_blanks=has_blanks, skipped=1 if named else 0)
    is_raw = path.suffix.lower() == ".tsv" and not _is_quoted(shape, file)
    return Shape(delimiter, is_quoted=False, has_blanks=False, skipped=shape.skipped) if is_raw else shape


def _delimiter(header: str, marks: str, columns: Sequence[str]) -> str:
    """The first whose header has all columns; where there is none, the one that makes the most cells."""
    names = {mark: [name.strip().casefold() for name in _cells(header, mark)] for mark in marks}
    wanted = {name.casefold() for name in columns}
    fitting = [mark for mark in marks if columns and wanted <= set(names[mark])]
    return fitting[0] if fitting else max(marks, key=lambda mark: len(names[mark]))


def _cells(header: str, delimiter: str) -> list[str]:
    return next(csv.reader([header], delimiter=delimiter), [])


def _is_quoted(shape: Shape, file: TextIO) -> bool:
    """Whether every row has the header's cells where quotes are read, and none holds whole cells of others."""
    table = shape.reader(file)
    try:
        width = len(next(table, []))
        return all(len(cells) <= width and not _holds_cells(cells, shape.delimiter) for cells in table)
    except csv.Error:
        return False


def _holds_cells(cells: Sequence[str], delimiter: str) -> bool:
    return any("\n" in cell and delimiter in cell for cell in cells)


def _check_header(header: Sequence[str], columns: Sequence[str], path: Path) -> None:
    wanted = {name.casefold() for name in chain(columns, ("id",))}
    twice = [name for place, name in enumerate(header) if name in header[:place] and name.strip().casefold() in wanted]
    if twice:
        raise DataError(f"{path} line 1: two columns are called {twice[0]!r}; rename or remove one of them")
