"""A row whose answers nobody could read says so, and shows two of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from rewardlab.cli.compare import compare
from rewardlab.comparison.notes import LONGEST, one_line, unread_lines
from rewardlab.comparison.runs import collect
from rewardlab.comparison.table import build_table
from rewardlab.disk import read_jsonl, write_jsonl
from rewardlab.reports.page import write_page
from rewardlab.reports.report import Report
from tests.support.runs import answers_with, eval_folder

TEXTS = ["I cannot\nsay", "I cannot say", "", "\x1b[31m`no*"]
"""The first two are the same on one line."""


def answered(path: Path, malformed: int, *, texts: Sequence[str] = TEXTS, seed: int = 0) -> Path:
    """An evaluation of 40 answers in two columns, so many of them malformed in the first, with these texts in turn."""
    columns = {"toy": {"greedy": answers_with(0, 40, malformed)}, "other": {"greedy": answers_with(20, 40)}}
    folder = eval_folder(path, method="PPO", columns=columns, seed=seed)
    rows = list(read_jsonl(folder / "predictions.jsonl"))
    for number, row in enumerate(row for row in rows if row["is_malformed"]):
        row["response"] = texts[number % len(texts)]
    write_jsonl(folder / "predictions.jsonl", rows)
    return folder


def lines(*folders: Path) -> list[str]:
    return unread_lines(build_table(collect(folders).runs, decodings=("greedy",), resamples=50))


def test_all_answers_malformed(tmp_path: Path) -> None:
    said = "PPO: all 40 answers malformed in toy greedy, nothing could be read in them; such as "
    assert lines(answered(tmp_path / "a", 40)) == [f"{said}`I cannot say` and an empty answer."]


@pytest.mark.parametrize(("malformed", "is_said"), [(38, True), (37, False), (0, False)])
def test_nearly_all_is_95_per_cent(tmp_path: Path, malformed: int, is_said: bool) -> None:
    said = lines(answered(tmp_path / "a", malformed))
    assert [line.split(" answers")[0] for line in said] == (["PPO: 38 of 40"] if is_said else [])


def test_seeds_count_together_and_the_second_gives_what_the_first_has_not(tmp_path: Path) -> None:
    first = answered(tmp_path / "a", 40, texts=["hm"])
    second = answered(tmp_path / "b", 39, texts=["hm", "x" * 100], seed=1)
    (said,) = lines(first, second)
    assert said.startswith("PPO: 79 of 80 answers malformed in toy greedy")
    assert said.endswith(f"; such as `hm` and `{'x' * (LONGEST - 1)}…`.")


PLACE = '"is_malformed": true, "column": "toy", "decoding": "greedy"'


@pytest.mark.parametrize("text", [None, "{", "5\n", '{"column": "toy"}\n', f'{{{PLACE}, "response": 5}}\n'])
def test_without_the_texts_the_line_has_none(tmp_path: Path, text: str | None) -> None:
    """A published folder has no texts, and a damaged record stops no table."""
    folder = answered(tmp_path / "a", 40)
    (folder / "predictions.jsonl").unlink()
    if text is not None:
        (folder / "predictions.jsonl").write_text(text)
    assert lines(folder) == ["PPO: all 40 answers malformed in toy greedy, nothing could be read in them."]


def test_an_answer_is_cut_to_a_line_that_does_nothing() -> None:
    assert one_line("\x1b[31m`no*\n\nyes\u202e") == "`�[31m'no* yes�`"
    assert one_line(" \n ") == "an empty answer"


def test_compare_and_the_page_say_it(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(compare)
    folder = answered(tmp_path / "a", 40)
    printed = CliRunner().invoke(app, [str(folder)], env={"COLUMNS": "200"})
    assert "PPO: all 40 answers malformed in toy greedy" in printed.stdout
    assert "`I cannot say`" in printed.stdout
    report = Report(tmp_path / "out", build_table(collect([folder]).runs, resamples=50), [])
    assert "all 40 answers malformed in toy greedy" in write_page(tmp_path / "out" / "r.html", report).read_text()
