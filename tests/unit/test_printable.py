"""Names of others in what is printed and written: shown, and neither run nor obeyed."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rewardlab.comparison.grid import Cell, Grid, Heading
from rewardlab.comparison.latex import to_latex
from rewardlab.comparison.markdown import markdown_grid
from rewardlab.printable import csv_cell, markdown_cell, markdown_code, markdown_text, printable, printable_lines
from tests.support.commands import Command
from tests.support.runs import both, eval_folder

STEERING = {
    "escape": "\x1b[2J",
    "C1 escape": "\x9b2J",
    "newline": "\n",
    "return": "\r",
    "line separator": "\u2028",
    "right to left": "\u202e",
    "isolate": "\u2067",
    "mark": "\u200f",
    "no width": "\u200b",
    "byte order": "\ufeff",
    "bell": "\x07",
}


@pytest.mark.parametrize("mark", STEERING.values(), ids=STEERING.keys())
def test_what_steers_a_terminal_is_spelled_out(mark: str) -> None:
    shown = printable(f"a{mark}b")
    assert mark not in shown
    assert shown.startswith("a\\")
    assert shown.endswith("b")
    assert Cell(f"a{mark}b").text == Heading(f"a{mark}b").title == shown


@pytest.mark.parametrize("name", ["PPO, min(label, 5) + ranked", "λ = q90", "模型", "é", "👩‍💻", "می‌خواهم", "a\\b"])
def test_other_names_stay_as_they_are(name: str) -> None:
    assert printable(name) == name
    assert Cell(name).text == name


def test_lines_keep_their_breaks_alone() -> None:
    assert printable_lines("one\n\ttwo\x1b[31m\r") == "one\n\ttwo\\x1b[31m\\r"


def test_markdown_shows_markup_and_makes_none() -> None:
    assert markdown_cell("a|b `c` <script>x</script>") == "a\\|b \\`c\\` &lt;script>x&lt;/script>"
    assert markdown_cell("two\nlines") == "two\\nlines"
    assert markdown_text("p < 0.05, <b>, ![x](http://host)") == "p < 0.05, &lt;b>, ![x]\\(http://host)"
    assert markdown_code("rm -rf | tee `x`") == "`` rm -rf \\| tee `x` ``"
    row = [Cell("<img src=x>|\n", href="runs/a>b c"), Cell("`x`", is_code=True)]
    last = markdown_grid(Grid([Heading("a|b", is_number=False), Heading("c")], [row])).splitlines()
    assert last == ["| a\\|b | c |", "| :--- | ---: |", "| [&lt;img src=x>\\|\\n](<runs/a%3Eb c>) | `` `x` `` |"]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "-2+3+cmd|' /C calc'!A0"]
)
def test_a_formula_is_quoted(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-0.5", "+3", "-1e-05", -0.5, 3, None, "PPO", "a=b", "–", ""])
def test_numbers_and_names_stay(value: object) -> None:
    assert csv_cell(value) == value


HOSTILE = "=cmd|'/C calc'!A0 <script>alert(1)</script> `x` \x1b[31m\u202e\n\\input{x}"


@pytest.fixture
def compared(rewardlab: Command) -> Path:
    for method in (HOSTILE, "SFT w. rationale"):
        eval_folder(Path("A" if method is HOSTILE else "B"), method=method, columns={"toy": both(8, 9, 10)})
    done = rewardlab("compare", "A", "B", "--out", "out", "--html", "page.html")
    assert done.code == 0, done.err
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out
    return Path("out")


class TestATableOfAHostileMethod:
    def test_csv_runs_no_formula(self, compared: Path) -> None:
        for name in ("table.csv", "differences.csv"):
            rows = list(csv.reader((compared / name).read_text().splitlines()))
            cells = [cell for row in rows for cell in row]
            assert any(cell.startswith("'=cmd|") for cell in cells), name
            for cell in cells:
                assert not cell.startswith(("=", "@")), (name, cell)
                if cell.startswith(("+", "-")):
                    float(cell)
            assert all(len(row) == len(rows[0]) for row in rows)

    def test_markdown_latex_and_html_show_it(self, compared: Path) -> None:
        table, tex, page = (compared / "table.md", compared / "table.tex", Path("page.html"))
        for path in (table, tex, page):
            text = path.read_text()
            assert "\x1b" not in text, path
            assert "\u202e" not in text, path
        assert "<script>alert" not in table.read_text()
        assert "<script>alert" not in page.read_text()
        assert "=cmd\\|'/C calc'" in table.read_text()
        assert all(line.startswith("%") for line in tex.read_text().splitlines() if "\\input{x}" in line)


def test_terminal_headings_and_titles_are_no_markup() -> None:
    from rich.console import Console

    from rewardlab.comparison.terminal import rich_grid

    shown = Grid([Heading("[/b] toy", is_number=False)], [[Cell("[red]x[/red]")]])
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(rich_grid(shown, "[/] model\x1b[2J"))
    text = console.export_text()
    console.file.close()
    assert "[/b] toy" in text
    assert "[red]x[/red]" in text
    assert "[/] model\\x1b[2J" in text


def test_an_error_cannot_steer_the_terminal(rewardlab: Command) -> None:
    found = rewardlab("compare", "a\x1b[2J\u202e").problem
    assert "a\\x1b[2J\\u202e" in found


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize(
    "arguments", [("config", "explain", "ppo.gamma"), ("tasks", "show", "absent-é-模型"), ("compare", "A", "B")]
)
def test_a_terminal_that_lacks_characters(
    rewardlab: Command, monkeypatch: pytest.MonkeyPatch, encoding: str, arguments: tuple[str, ...]
) -> None:
    if arguments[0] == "compare":
        for method in ("A", "B"):
            eval_folder(Path(method), method=f"{method} λ 模型", columns={"toy": both(8, 9, 10)})
        arguments += ("--out", "out")
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    monkeypatch.setenv("PYTHONUTF8", "1")
    done = subprocess.run([sys.executable, "-m", "rewardlab", *arguments], capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert done.returncode == (2 if "show" in arguments else 0), done.stderr
    said = (done.stderr if "show" in arguments else done.stdout).decode(encoding)
    assert "?" in said
    assert arguments[0] != "compare" or "模型" in Path("out/table.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("closed", "arguments", "code"), [(1, "list ppo", 0), (2, "explain nothing", 2)])
def test_a_closed_stream_is_written_to_by_nobody(closed: int, arguments: str, code: int) -> None:
    """As ``>&-`` closes it, and some services do."""
    command = [sys.executable, "-m", "rewardlab", "config", *arguments.split()]
    script = f"import os; os.close({closed}); os.execv({sys.executable!r}, {command!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_files_are_there_when_printing_fails(rewardlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from rewardlab.cli import compare

    for method in ("A", "B"):
        eval_folder(Path(method), method=method, columns={"toy": both(8, 9, 10)})

    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(compare, "print_comparison", broken)
    with pytest.raises(BrokenPipeError):
        rewardlab("compare", "A", "B", "--out", "out", "--html", "page.html")
    assert Path("out/table.csv").exists()
    assert Path("page.html").exists()


def test_a_comment_in_latex_stays_one(rewardlab: Command) -> None:
    from rewardlab.comparison.runs import collect
    from rewardlab.comparison.table import build_table

    eval_folder(Path("A"), method="A", columns={"toy": both(8, 9, 10)})
    table = replace(build_table(collect([Path("A")]).runs), warnings=("left out\n\\input{secrets}",))
    assert "\n\\input" not in to_latex(table)


def test_a_log_line_cannot_steer_the_terminal() -> None:
    import logging

    from rewardlab.logs import PrintableFormatter

    record = logging.LogRecord("rewardlab", logging.WARNING, "x.py", 1, "%s: left out\n  more", ("a\x1b[2J",), None)
    assert PrintableFormatter("%(message)s").format(record) == "a\\x1b[2J: left out\n  more"
