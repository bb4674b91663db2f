"""Shares of malformed and of cut answers stand in every main table once one of them is above 1 %."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.tools.readme_table import readme_table
from rewardlab.comparison.frames import frame
from rewardlab.comparison.latex import to_latex
from rewardlab.comparison.markdown import to_markdown
from rewardlab.comparison.runs import collect
from rewardlab.comparison.table import ComparisonTable, build_table
from rewardlab.comparison.terminal import to_rich
from rewardlab.reports.page import write_page
from rewardlab.reports.report import Report
from tests.support.runs import answers_with, eval_folder


def made(root: Path, malformed: int, cut: int = 0) -> list[Path]:
    """Two methods on two columns of 200 items; of the second, answers are malformed in one column and cut in both."""
    fine = {"toy": {"greedy": answers_with(100, 200)}, "other": {"greedy": answers_with(100, 200)}}
    bad = {**fine, "toy": {"greedy": answers_with(100, 200, malformed)}}
    return [
        eval_folder(root / "a", method="SFT w. rationale", columns=fine),
        eval_folder(root / "b", method="PPO", columns=bad, cut=cut),
    ]


def table_of(root: Path, malformed: int, cut: int = 0) -> ComparisonTable:
    return build_table(collect(made(root, malformed, cut)).runs, decodings=("greedy",), resamples=50)


def printed(table: ComparisonTable, width: int = 200) -> str:
    from rich.console import Console

    console = Console(width=width, file=None, record=True, quiet=True)
    with console.capture() as captured:
        console.quiet = False
        console.print(*to_rich(table, width))
    return captured.get()


def test_one_column_of_many_malformed_answers_is_enough(tmp_path: Path) -> None:
    """60 of 200 in one column of two, 20 of 200 cut in both: 15 % and 10 % of all."""
    table = table_of(tmp_path, 60, cut=20)
    text = to_markdown(table)
    assert "| greedy malformed | greedy cut |" in text
    (line,) = (line for line in text.splitlines() if line.startswith("| PPO "))
    assert " | 15.0 | 10.0 | " in line
    (line,) = (line for line in text.splitlines() if line.startswith("| SFT w. rationale "))
    assert " | 0.0 | 0.0 | " in line
    assert "Malformed: share of answers that could not be read. Cut:" in text


def test_they_stand_in_the_terminal_in_latex_in_html_in_the_frame_and_in_readmes_table(tmp_path: Path) -> None:
    table = table_of(tmp_path, 60, cut=20)
    for width in (200, 60):
        assert {"malformed", "cut", "15.0", "10.0"} <= set(printed(table, width).replace("│", " ").split())
    assert "malformed & cut" in to_latex(table)
    page = write_page(tmp_path / "out" / "r.html", Report(tmp_path / "out", table, [])).read_text()
    first = page[page.index(">The answer</h2>") : page.index("<h2>Costs")]
    assert "malformed" in first
    assert "15.0" in first
    rows = {(row["method"], row["column"]): row for row in frame(table).to_dicts()}
    assert (rows["PPO", "toy"]["malformed"], rows["PPO", "toy"]["unfinished"]) == (0.3, 0.1)
    assert (rows["PPO", "average"]["malformed"], rows["PPO", "average"]["unfinished"]) == (0.15, 0.1)
    assert "| greedy, malformed | greedy, cut |" in readme_table(made(tmp_path / "again", 60, 20), resamples=50)


@pytest.mark.parametrize(("malformed", "cut", "is_shown"), [(2, 0, False), (3, 0, True), (0, 2, False), (0, 3, True)])
def test_up_to_one_per_cent_they_stay_out(tmp_path: Path, malformed: int, cut: int, is_shown: bool) -> None:
    """Of 200 answers, two are 1 %."""
    text = to_markdown(table_of(tmp_path, malformed, cut))
    assert ("greedy malformed" in text, "greedy cut" in text) == (is_shown, is_shown)
