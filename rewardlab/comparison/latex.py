"""The comparison table for LaTeX: one ``tabular`` a decoding, one of origins and costs, each as wide as the page, and
where classes are uneven one a decoding of macro-F1, balanced accuracy and recalls.

They need the packages booktabs and graphicx. Intervals stand under their values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from rewardlab.comparison.by_label import EXPLAINED, ByLabel, all_by_label, by_label_grid
from rewardlab.comparison.evaluations import Position
from rewardlab.comparison.grid import Cell, Grid, Heading, grid
from rewardlab.comparison.notes import notes
from rewardlab.comparison.table import ComparisonTable
from rewardlab.printable import printable

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "λ": r"$\lambda$",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "†": r"$\dagger$",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}

NO_WIDER_THAN_THE_LINE = r"\noindent\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


def to_latex(table: ComparisonTable) -> str:
    """The table as ``tabular``s, for a document that loads booktabs and graphicx; every text is escaped."""
    scores = [grid(replace(table, decodings=(each,)), with_origins=False) for each in table.decodings]
    lines = notes(table)
    shown = [*scores, grid(table, with_scores=False)]
    if found := all_by_label(table):
        shown += [by_label_grid(replace(table, decodings=(each,)), _of(found, each)) for each in table.decodings]
        lines = [*lines, EXPLAINED]
    parts = [_tabular(each) for each in shown]
    told = "\n".join(f"% {printable(line)}" for line in lines)
    return "\n\n\\medskip\n".join(["% needs \\usepackage{booktabs,graphicx}", *parts]) + f"\n{told}\n"


def _of(found: Mapping[tuple[int, Position], ByLabel], decoding: str) -> dict[tuple[int, Position], ByLabel]:
    return {place: each for place, each in found.items() if place[1][1] == decoding}


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands.

    >>> escape_latex("100 % of R&D_1")
    '100 \\\\% of R\\\\&D\\\\_1'
    """
    return "".join(_LATEX.get(character, character) for character in text)


def _tabular(shown: Grid) -> str:
    """A grid that is made smaller where it is wider than the line."""
    lines = [
        NO_WIDER_THAN_THE_LINE,
        f"\\begin{{tabular}}{{{''.join('r' if heading.is_number else 'l' for heading in shown.headings)}}}",
        "\\toprule",
        *_groups(shown.headings),
        _line([escape_latex(heading.title) for heading in shown.headings]),
        "\\midrule",
        *(line for row in shown.rows for line in _rows(row)),
        "\\bottomrule",
        "\\end{tabular}}",
    ]
    return "\n".join(lines)


def _rows(cells: Sequence[Cell]) -> Iterator[str]:
    """The values, and under them their intervals where there are any."""
    yield _line([_value(cell) for cell in cells])
    if any(cell.detail for cell in cells):
        yield "\\addlinespace[-0.2em]"
        yield _line([f"{{\\scriptsize {escape_latex(cell.detail)}}}" if cell.detail else "" for cell in cells])


def _value(cell: Cell) -> str:
    text = escape_latex(cell.text)
    marked = {"best": f"\\textbf{{{text}}}", "second": f"\\underline{{{text}}}"}.get(cell.mark, text)
    marked += escape_latex(cell.sign)
    return f"{marked} {{\\scriptsize {escape_latex(cell.spread.strip())}}}" if cell.spread else marked


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _groups(headings: Sequence[Heading]) -> list[str]:
    """The line of group names above the titles, with a rule under each group; nothing without groups."""
    if not any(heading.group for heading in headings):
        return []
    spans: list[tuple[str, int, int]] = []
    for place, heading in enumerate(headings, 1):
        if spans and spans[-1][0] == heading.group:
            spans[-1] = (heading.group, spans[-1][1], place)
        else:
            spans.append((heading.group, place, place))
    cells = [f"\\multicolumn{{{last - first + 1}}}{{c}}{{{escape_latex(group)}}}" for group, first, last in spans]
    rules = [f"\\cmidrule(lr){{{first}-{last}}}" for group, first, last in spans if group]
    return [_line(cells), *rules]
