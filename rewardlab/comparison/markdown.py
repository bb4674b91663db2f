"""The comparison table, and any other grid, in Markdown."""

from __future__ import annotations

from rewardlab.comparison.by_label import EXPLAINED, all_by_label, by_label_grid
from rewardlab.comparison.confidence import EXPLAINED as STATED
from rewardlab.comparison.confidence import all_confidences, confidence_grid
from rewardlab.comparison.grid import Cell, Grid, grid
from rewardlab.comparison.notes import notes
from rewardlab.comparison.table import ComparisonTable
from rewardlab.printable import markdown_address, markdown_cell, markdown_code, markdown_text


def to_markdown(table: ComparisonTable) -> str:
    """The table and its notes in GitHub's Markdown; behind them accuracy by label and confidence, if any."""
    lines = [markdown_grid(grid(table)), "", *(f"{markdown_text(line)}  " for line in notes(table)), ""]
    if found := all_by_label(table):
        lines += [markdown_text(EXPLAINED), "", markdown_grid(by_label_grid(table, found)), ""]
    if stated := all_confidences(table):
        lines += [markdown_text(STATED), "", markdown_grid(confidence_grid(table, stated)), ""]
    return "\n".join(lines)


def markdown_grid(shown: Grid) -> str:
    """A Markdown table; groups stand in front of their columns' titles."""
    titles = [f"{heading.group} {heading.title}".strip() for heading in shown.headings]
    rules = ["---:" if heading.is_number else ":---" for heading in shown.headings]
    body = [[_markdown_cell(cell) for cell in row] for row in shown.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in ([markdown_cell(title) for title in titles], rules, *body))


def _markdown_cell(cell: Cell) -> str:
    text = markdown_code(cell.text) if cell.is_code else markdown_cell(cell.text)
    text = f"[{text}](<{markdown_address(cell.href)}>)" if cell.href else text
    marked = {"best": f"**{text}**", "second": f"<u>{text}</u>"}.get(cell.mark, text)
    return f"{marked}{cell.sign}{cell.spread} {cell.detail}".strip()
