"""Rows of a table whose answers could (nearly) all not be read: a line that says so and shows two of the answers.

A score of 0.0 looks like a bad method. Where no answer could be read it says nothing about the method's labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rewardlab.comparison.cells import Position
from rewardlab.comparison.runs import cells_by_seed
from rewardlab.comparison.table import ComparisonTable, Row
from rewardlab.errors import RewardlabError
from rewardlab.evaluation.answers import PREDICTIONS_FILE
from rewardlab.runs import read_jsonl

NEARLY_ALL = 0.95
"""Share of malformed answers from which a row is named."""
SHOWN = 2
LONGEST = 80
"""Characters of an answer that are shown."""


def unread_lines(table: ComparisonTable) -> list[str]:
    """One line for each row that has nearly nothing but malformed answers in some column under some decoding."""
    places = [(column, decoding) for column in table.metrics for decoding in table.decodings]
    found = ((row, [place for place in places if _share(row, place) >= NEARLY_ALL]) for row in table.rows)
    return [_line(row, unread) for row, unread in found if unread]


def _line(row: Row, places: Sequence[Position]) -> str:
    counts = [_count(row, place) for place in places]
    malformed, total = (sum(count[number] for count in counts) for number in (0, 1))
    how_many = f"all {total}" if malformed == total else f"{malformed} of {total}"
    where = ", ".join(f"{column} {decoding}" for column, decoding in places)
    shown = list(_examples(row, places))
    such = f"; such as {' and '.join(shown)}" if shown else ""
    return f"{row.name}: {how_many} answers malformed in {where}, nothing could be read in them{such}."


def _share(row: Row, place: Position) -> float:
    malformed, total = _count(row, place)
    return malformed / total if total else 0.0


def _count(row: Row, place: Position) -> tuple[int, int]:
    """Malformed answers and all answers of a row at one position, over its seeds."""
    cells = cells_by_seed(row.runs, place).values()
    return sum(round(cell.summary["malformed"] * len(cell.ids)) for cell in cells), sum(len(c.ids) for c in cells)


def _examples(row: Row, places: Sequence[Position]) -> Iterator[str]:
    """The first different answers that could not be read; none where the texts were not brought along."""
    seen: set[str] = set()
    for run in row.runs:
        for text in _unread(run.path / PREDICTIONS_FILE, places):
            if text not in seen:
                seen.add(text)
                yield text
            if len(seen) == SHOWN:
                return


def _unread(file: Path, places: Sequence[Position]) -> Iterator[str]:
    try:
        for prediction in read_jsonl(file) if file.exists() else ():
            if prediction["is_malformed"] and (prediction["column"], prediction["decoding"]) in places:
                yield one_line(prediction["response"])
    except (RewardlabError, LookupError, AttributeError):
        return  # the table is made from other files; a damaged record of texts does not stop it


def one_line(text: str) -> str:
    """A text as Markdown code on one line, cut; what a terminal or Markdown would act on is replaced.

    >>> one_line("**no**\\x1b[2J\\n`maybe`")
    "`**no**�[2J 'maybe'`"
    """
    words = " ".join(text.split()).replace("`", "'")
    printable = "".join(char if char.isprintable() else "�" for char in words)
    cut = printable if len(printable) <= LONGEST else f"{printable[: LONGEST - 1]}…"
    return f"`{cut}`" if cut else "an empty answer"
