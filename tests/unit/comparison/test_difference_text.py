"""What differs significantly in a few lines, and the list of all comparisons folded away behind it."""

from __future__ import annotations

from rewardlab.comparison.difference_text import in_short
from rewardlab.comparison.differences import Gain
from rewardlab.comparison.grid import Cell, Grid, Heading
from rewardlab.comparison.paired import Comparison, PairedTest
from rewardlab.comparison.statistics import Estimate
from rewardlab.reports.blocks import Section, Sentences, Table, Told, to_markdown


def gain(method: str, decoding: str, value: float, p: float = 0.01, column: str = "average", seeds: int = 5) -> Gain:
    """A difference with an interval of 1 point to each side, or of 5 where p is not below 0.05."""
    half = 0.01 if p < 0.05 else 0.05
    found = Estimate(value, value - half, value + half, 0.0, seeds, "seeds and items" if seeds > 1 else "items")
    return Gain(method, column, decoding, Comparison(found, PairedTest(p / 3, p, 3)), baseline="SFT")


def test_a_method_has_a_line_for_each_direction() -> None:
    found = [gain("A", "sampled", 0.03), gain("A", "greedy", 0.02), gain("B", "sampled", -0.05)]
    assert [line for line, _ in in_short(found, "average")] == [
        "A is significantly better than SFT on average: +3.0 points [+2.0, +4.0], p = 0.010, sampled; "
        "+2.0 points [+1.0, +3.0], p = 0.010, greedy.",
        "B is significantly worse than SFT on average: −5.0 points [−6.0, −4.0], p = 0.010, sampled.",
    ]


def test_of_one_seed_a_line_speaks_of_these_runs_alone() -> None:
    found = [gain("A", "sampled", 0.03, seeds=1), gain("A", "greedy", 0.02, seeds=1)]
    ((line, _),) = in_short(found, "average")
    assert line.endswith("p = 0.010, greedy (one seed: of these runs, not of other seeds).")


def test_what_is_level_is_listed_once_and_other_columns_are_left_to_the_list() -> None:
    found = [
        gain("A", "sampled", 0.005, p=0.4),
        gain("A", "greedy", 0.03, p=0.2),
        gain("B", "greedy", 0.03),
        gain("B", "greedy", 0.03, column="toy"),
        Gain("C", "average", "greedy", None, "other items", "SFT"),
    ]
    lines = in_short(found, "average")
    assert [line for line, _ in lines][1:] == [
        "Not significantly different from SFT on average: A (sampled and greedy).",
        "Not compared with SFT on average: C (greedy: other items).",
    ]
    assert [len(gains) for _, gains in lines] == [1, 2, 1]


def test_markdown_lists_sentences_and_folds_tables_away() -> None:
    shown = [Sentences([Told("first"), Told("second")]), Table(Grid([Heading("a")], [[Cell("1")]]), "Rows")]
    assert to_markdown("T", [Section("S", shown)]) == (
        "# T\n\n## S\n\n* first\n* second\n\n"
        "<details>\n<summary>Rows</summary>\n\n| a |\n| ---: |\n| 1 |\n\n</details>\n"
    )
