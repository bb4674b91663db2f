"""The comparison table: marks, averages, missing cells, and its four renderings."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import polars
import pytest
from rich.console import Console

from experiments.tools.readme_table import main, readme_table
from rewardlab.comparison.conventions import scored_metrics
from rewardlab.comparison.difference_text import in_short
from rewardlab.comparison.differences import gains
from rewardlab.comparison.evaluations import EvalRun, MethodKey, load_eval
from rewardlab.comparison.frames import frame
from rewardlab.comparison.grid import grid
from rewardlab.comparison.latex import escape_latex, to_latex
from rewardlab.comparison.markdown import markdown_grid, to_markdown
from rewardlab.comparison.method_names import row_names
from rewardlab.comparison.notes import notes
from rewardlab.comparison.numbers import interval_text, shown_value
from rewardlab.comparison.statistics import Estimate
from rewardlab.comparison.table import AVERAGE, ComparisonTable, build_table, headline
from rewardlab.comparison.terminal import spent_tables, to_rich
from rewardlab.disk import write_json
from rewardlab.errors import UnknownNameError
from rewardlab.reports.blocks import Section, Table
from rewardlab.reports.html import to_html
from rewardlab.reports.page import write_tables
from rewardlab.reports.plots import colours_of
from rewardlab.reports.report import Report
from rewardlab.reports.sections.tradeoffs import cost_picture
from rewardlab.reward_models.table import load_reward_models, reward_model_grid
from tests.support.runs import answers_with, both, eval_folder, reward_model_folder

INTERVAL = r"\[\d+\.\d, \d+\.\d\]"


def _run(tmp_path: Path, method: str, right: dict[str, int], seed: int = 0, **more: object) -> EvalRun:
    columns = {column: both(count, count, 100) for column, count in right.items()}
    path = eval_folder(tmp_path / f"{method}-{seed}", method=method, seed=seed, columns=columns, **more)  # type: ignore[arg-type]
    return load_eval(path)


def _marked(tmp_path: Path, *right: int) -> list[str]:
    runs = [_run(tmp_path, f"method {number}", {"toy": count}) for number, count in enumerate(right)]
    table = build_table(runs, decodings=("greedy",))
    found = table.marks
    return [found.get((number, ("toy", "greedy")), "") for number in range(len(right))]


def test_best_and_second_are_marked(tmp_path: Path) -> None:
    assert _marked(tmp_path, 70, 90, 80) == ["", "best", "second"]


def test_equal_values_share_their_mark(tmp_path: Path) -> None:
    assert _marked(tmp_path, 90, 80, 90, 80, 70) == ["best", "second", "best", "second", ""]


def test_a_single_method_is_not_called_best(tmp_path: Path) -> None:
    assert _marked(tmp_path, 90) == [""]


def test_a_missing_cell_is_a_dash_without_rank_or_average(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "RLLR", {"a": 90, "b": 60}), _run(tmp_path, "RLHF", {"a": 80})]
    table = build_table(runs, decodings=("greedy",))
    assert [row.key.method for row in table.rows] == ["RLHF", "RLLR"]
    assert table.columns == ("a", "b", AVERAGE)
    assert set(table.rows[0].scores) == {("a", "greedy")}
    assert table.rows[1].scores[AVERAGE, "greedy"].value == pytest.approx(0.75)
    assert table.marks == {(1, ("a", "greedy")): "best", (0, ("a", "greedy")): "second"}
    line = rf"\| RLHF \| sft-rationale \| – \| <u>80\.0</u> {INTERVAL} \| – \| – \|"
    assert re.search(line, to_markdown(table))


def test_seeds_are_averaged_and_their_costs_too(tmp_path: Path) -> None:
    runs = [
        _run(tmp_path, "RLLR", {"a": 80}, seed=0, cost=(100, 10, 20.0)),
        _run(tmp_path, "RLLR", {"a": 90}, seed=1, cost=(100, 30, 40.0)),
    ]
    row = build_table(runs).rows[0]
    assert row.scores["a", "sampled"].value == pytest.approx(0.85)
    assert row.seeds == (0, 1)
    assert row.cost == {"gold_labels": 100, "annotator_calls": 20, "seconds": 30}


def test_single_task_runs_of_a_seed_make_one_row_whose_costs_add_up(tmp_path: Path) -> None:
    runs = [_run(tmp_path / "a", "PPO-ST", {"a": 80}), _run(tmp_path / "b", "PPO-ST", {"b": 60})]
    table = build_table(runs)
    assert len(table.rows) == 1
    assert table.rows[0].cost["seconds"] == 60
    assert table.rows[0].scores[AVERAGE, "greedy"].value == pytest.approx(0.7)


def test_other_rewards_are_other_rows(tmp_path: Path) -> None:
    runs = [_run(tmp_path / str(place), "mixed", {"a": 80}, reward=f"min(label, {place}) + ranked") for place in (1, 5)]
    assert len(build_table(runs).rows) == 2


def test_other_base_models_are_other_rows_and_then_named(tmp_path: Path) -> None:
    runs = [_run(tmp_path / model, "RLLR", {"a": 80}, model=model) for model in ("tiny", "large")]
    assert "| RLLR | large | sft-rationale |" in to_markdown(build_table(runs))
    assert "large" not in to_markdown(build_table(runs[:1]))


def test_rows_stand_in_the_order_of_the_papers(tmp_path: Path) -> None:
    names = ["rule-PPO", "RLLR-mixed (λ = 5)", "odd one", "SFT w. rationale", "zero-shot", "SFT", "RLLR", "RLHF"]
    runs = [_run(tmp_path, name, {"a": 50}) for name in names]
    ordered = ["zero-shot", "SFT", "SFT w. rationale", "RLHF", "RLLR", "RLLR-mixed (λ = 5)", "rule-PPO", "odd one"]
    assert [row.key.method for row in build_table(runs).rows] == ordered


def test_conventions_choose_the_published_metrics() -> None:
    assert scored_metrics("rllr", ["pearson", "spearman"]) == ("pearson",)
    assert scored_metrics("ppo-nlu", ["pearson", "spearman"]) == ("spearman",)
    assert scored_metrics("rllr", ["accuracy", "f1"]) == ("accuracy",)
    assert scored_metrics("ppo-nlu", ["accuracy", "f1"]) == ("f1",)
    assert scored_metrics("rllr", ["matthews", "accuracy"]) == ("matthews",)
    assert scored_metrics("ppo-nlu", ["accuracy", "macro_f1"]) == ("macro_f1", "accuracy")
    assert scored_metrics("ppo-nlu", ["accuracy"]) == ("accuracy",)
    with pytest.raises(UnknownNameError, match="did you mean rllr"):
        scored_metrics("rlr", ["accuracy"])


def test_a_paired_metric_counts_as_one_number(tmp_path: Path) -> None:
    run = _run(tmp_path, "RLLR", {"cb": 50}, metrics=("accuracy", "macro_f1"))
    table = build_table([run], convention="ppo-nlu")
    # gold alternates; the first 50 right, the rest swapped: accuracy and both F1 are 0.5
    assert table.metrics["cb"] == ("macro_f1", "accuracy")
    assert table.rows[0].scores["cb", "greedy"].value == pytest.approx(0.5)
    assert "cb macro-F1/acc." in to_markdown(table)


def test_values_are_printed_times_a_hundred() -> None:
    assert [shown_value(value) for value in (0.87449, -0.0004, 1.0, -0.02)] == ["87.4", "0.0", "100.0", "-2.0"]
    assert interval_text(Estimate(0.5, 0.451, 0.549, None, 1, "items")) == "[45.1, 54.9]"


def _two(tmp_path: Path) -> list[EvalRun]:
    return [
        _run(tmp_path, "SFT w. rationale", {"a": 70, "b": 60}),
        _run(tmp_path, "100 % of R&D_1", {"a": 90, "b": 50}, reward="min(label, 5) | {x}"),
    ]


def test_markdown_has_a_cell_for_each_heading(tmp_path: Path) -> None:
    lines = [line for line in to_markdown(build_table(_two(tmp_path))).splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert {line.replace("\\|", "").count("|") for line in lines} == {14}
    assert re.search(rf"\*\*90\.0\*\* {INTERVAL} \| <u>50\.0</u>", lines[3])


def test_latex_is_escaped_and_complete(tmp_path: Path) -> None:
    text = to_latex(build_table(_two(tmp_path)))
    assert r"100 \% of R\&D\_1" in text
    assert r"min(label, 5) $|$ \{x\}" in text
    # a table a decoding and one of origins and costs; intervals under their values
    assert text.count(r"\textbf{90.0}") == text.count(r"\underline{70.0}") == 2
    assert len(re.findall(r"^ & \{\\scriptsize " + INTERVAL + r"\} & \{", text, re.MULTILINE)) == 4
    tables = text.split(r"\begin{tabular}")[1:]
    assert [re.match(r"\{[lr]*\}", each).group() for each in tables] == ["{lrrr}", "{lrrr}", "{lllrrrr}"]  # type: ignore[union-attr]  # found
    assert [r"\cmidrule(lr){2-4}" in each for each in tables] == [True, True, False]
    for each in tables:
        body = [line.replace(r"\&", "") for line in each.splitlines() if line.endswith(r"\\")]
        assert {line.count("&") for line in body if "multicolumn" not in line} == {each.index("}") - 2}
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"):
        assert text.count(rule) == 3


def test_latex_has_macro_f1_where_classes_are_uneven(tmp_path: Path) -> None:
    """A tabular a decoding behind the others; on even classes there is none."""
    gold, answers = ["yes"] * 8 + ["no"] * 2, ["yes"] * 9 + ["no"]
    cells = {"cola": dict.fromkeys(("sampled", "greedy"), (gold, answers))}
    run = load_eval(eval_folder(tmp_path / "uneven", columns=cells, labels=("no", "yes")))
    text = to_latex(build_table([run], resamples=50))
    tables = text.split(r"\begin{tabular}")[1:]
    assert [each.count("macro-F1") for each in tables[:3]] == [0, 0, 0]
    # F1 of yes: 16 / 17, of no: 2 / 3; recall of yes 8 / 8, of no 1 / 2
    assert [("80.4" in each, "balanced acc." in each, "75.0" in each) for each in tables[3:5]] == [
        (True, True, True)
    ] * 2
    assert "share of the items with a label whose answer has it" in text
    even = {"cola": {"sampled": (["yes", "no"], ["yes", "no"])}}
    run = load_eval(eval_folder(tmp_path / "even", columns=even, labels=("no", "yes")))
    assert "macro-F1" not in to_latex(build_table([run], resamples=50))


PDFLATEX = shutil.which("pdflatex")
DOCUMENT = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}" + "\n%s\n" + r"\end{document}"


@pytest.mark.skipif(PDFLATEX is None, reason="pdflatex is missing: apt-get install texlive-latex-recommended")
def test_latex_compiles_and_stays_within_the_page(tmp_path: Path) -> None:
    columns = {name: 50 + 5 * place for place, name in enumerate("abcdefgh")}
    methods = ("SFT w. rationale, as long as PPO-MT", "100 % of R&D_1 ~ λ = 5", "RLLR^2 #{} <a|b> \\ $")
    runs = [_run(tmp_path, name, columns, seed) for name in methods for seed in range(3)]
    (tmp_path / "paper.tex").write_text(DOCUMENT % to_latex(build_table(runs, resamples=50)))
    command = [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert "Overfull" not in log
    assert "Missing character" not in log


def test_every_special_character_survives_latex() -> None:
    assert escape_latex("\\ ~ ^ λ −1") == r"\textbackslash{} \textasciitilde{} \textasciicircum{} $\lambda$ $-$1"
    assert escape_latex("a_b{c}$#") == r"a\_b\{c\}\$\#"


def test_csv_is_read_back_by_polars(tmp_path: Path) -> None:
    table = build_table(_two(tmp_path))
    paths = write_tables(table, tmp_path / "out")
    assert [path.name for path in paths] == ["table.md", "table.tex", "table.csv"]
    read = polars.read_csv(paths[2])
    assert read.shape == (12, len(frame(table).columns))  # 2 methods x 2 decodings x (2 columns + average)
    row = read.filter(method="100 % of R&D_1", column="a", decoding="greedy").row(0, named=True)
    assert (row["value"], row["metric"], row["in_table"]) == (0.9, "accuracy", True)
    assert row["reward"] == "min(label, 5) | {x}"
    assert row["gold_labels"] == 100
    assert read.filter(column=AVERAGE)["value"].to_list() == pytest.approx([0.65, 0.65, 0.7, 0.7])


def test_csv_holds_every_measured_metric(tmp_path: Path) -> None:
    run = _run(tmp_path, "RLLR", {"a": 50}, metrics=("accuracy", "f1"))
    found = frame(build_table([run], decodings=("greedy",)))
    assert found["metric"].to_list() == ["accuracy", "f1"]
    assert found["in_table"].to_list() == [True, False]


def _printed(tables: list[object], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(*tables, sep="\n")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_terminal_shows_one_table_where_there_is_room_and_parts_where_not(tmp_path: Path) -> None:
    table = build_table(_two(tmp_path))
    assert len(to_rich(table, 250)) == 1
    narrow = to_rich(table, 80)
    assert len(narrow) == 3
    text = _printed([*narrow], 80)
    assert max(map(len, text.splitlines())) <= 80
    assert len(re.findall(INTERVAL, text)) == 12
    assert "annotator" in text


def test_models_stand_in_tables_of_their_own_where_room_is_scarce(tmp_path: Path) -> None:
    """No row repeats its model, no word is broken, and columns that a model has nothing in are not there."""
    budget = {"updates": 480, "tokens": 3_141_592, "device_seconds": 2718.0, "prompts": 4800, "prompts_order": "x"}
    runs = [
        _run(tmp_path / model, f"PPO-MT, rule reward, {name}", dict.fromkeys(columns, 70 + seed), seed, **more)
        for model, columns in (("sandbox-tiny", ("sandbox-sentiment", "sandbox-topic")), ("smollm2-135m", ("agnews",)))
        for name in ("from base", "SFT's rows")
        for seed in range(3)
        for more in ({"model": model, "reward": "rule", "budget": budget},)
    ]
    table = build_table(runs)
    text = _printed([*to_rich(table, 80), *spent_tables(table, 80)], 80)
    assert max(map(len, text.splitlines())) <= 80
    titles = [line.strip() for line in text.splitlines() if line.strip() in ("sandbox-tiny", "smollm2-135m")]
    # of each model two decodings and the costs; then what training spent, in as many tables as its columns need
    spent = [str(part.title) for part in spent_tables(table, 80)]
    assert titles == [*["sandbox-tiny"] * 3, *["smollm2-135m"] * 3, *spent]
    assert sorted(set(spent)) == ["sandbox-tiny", "smollm2-135m"]
    tiny = text[: text.index("smollm2-135m")]
    assert "sandbox-sentiment" in tiny
    assert "agnews" not in tiny
    assert "3141592" in text
    words = set(re.findall(r"[\w'’-]+", text))
    assert {"rule", "reward", "annotator", "device", "sft-rationale", "sandbox-sentiment", "sandbox-topic"} <= words
    names = [line for line in tiny.splitlines() if "base" in line or "rows" in line]
    assert len(names) == 6  # two methods in three tables, each on at most two lines
    assert len(to_rich(table, 250)) == len(spent_tables(table, 250)) == 1
    assert spent_tables(build_table(_two(tmp_path)), 80) == []


def test_many_columns_are_spread_over_tables_that_fit(tmp_path: Path) -> None:
    columns = {f"column-{n}": 50 + n for n in range(9)}
    table = build_table([_run(tmp_path, "RLLR", columns), _run(tmp_path, "SFT", columns)], decodings=("greedy",))
    text = _printed([*to_rich(table, 80)], 80)
    assert max(map(len, text.splitlines())) <= 80
    assert len(re.findall(INTERVAL, text)) == 20  # none is broken over lines
    assert text.count("RLLR") > 2


def test_notes_say_what_intervals_cover(tmp_path: Path) -> None:
    one = build_table([_run(tmp_path, "RLLR", {"a": 50})], warnings=["mind the gap"])
    assert any("test items only" in line for line in notes(one))
    assert notes(one)[-1] == "Note: mind the gap"
    runs = [_run(tmp_path, "RLHF", {"a": 50 + seed}, seed=seed) for seed in range(3)]
    assert any("over new seeds and new test items" in line for line in notes(build_table(runs)))
    assert "51.0 ± 1.0 [" in to_markdown(build_table(runs))


def test_a_grid_of_scores_alone_has_no_costs(tmp_path: Path) -> None:
    shown = grid(build_table(_two(tmp_path)), with_origins=False)
    scores = ["a acc.", "b acc.", "average"]
    assert [heading.title for heading in shown.headings] == ["method", *scores, *scores]
    assert {heading.group for heading in shown.headings[1:4]} == {"sampled"}


def test_readme_table_pairs_each_method_with_the_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _two(tmp_path)
    text = readme_table([tmp_path])
    assert "**a, acc.**" in text
    # 20 of 100 items differ, all one way
    line = next(line for line in text.splitlines() if line.startswith("| 100 % of R&D_1"))
    # one pair of columns, under two decodings, and their averages: 6 comparisons, one of which is level
    assert re.search(rf"\| \*\*90\.0\*\* {INTERVAL} \| \+20\.0 \[\+8", line)
    assert "corrected over all 6 comparisons together (Holm)" in text
    assert main([str(tmp_path), "--against", "SFT w. rationale"]) == 0
    assert capsys.readouterr().out == text
    assert main([str(tmp_path), "--against", "BERT"]) == 2
    assert "no method 'BERT' among the runs" in capsys.readouterr().err


@pytest.mark.parametrize("entry", [{}, {"value": 0.8}, {"value": "high", "low": 0, "high": 1, "n": 9}, 3])
def test_a_reward_model_without_its_numbers_is_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, entry: object
) -> None:
    good, bad = (reward_model_folder(tmp_path / name, "label", 0.8) for name in ("good", "bad"))
    write_json(bad / "result.json", {"kind": "label", "accuracy": {"held_out_label": {"toy": entry}}})
    (line,) = reward_model_grid(load_reward_models([bad, good])).rows
    assert [cell.text for cell in line][-2:] == ["80", "1"]
    assert f"{bad}: left out, not a finished reward model" in caplog.text


def test_reward_models_stand_beside_their_baselines(tmp_path: Path) -> None:
    folders = [
        reward_model_folder(tmp_path / "l0", "label", 0.90),
        reward_model_folder(tmp_path / "l1", "label", 0.80),
        reward_model_folder(tmp_path / "r0", "ranked", 0.70),
        tmp_path / "missing",
    ]
    rows = reward_model_grid(load_reward_models(folders)).rows
    label, ranked = rows
    assert [cell.text for cell in label] == [
        "held-out label-sensitive pairs", "toy", "label RM", "85.0", "50.0", "55.0", "80", "2"
    ]  # fmt: skip
    assert (label[3].mark, label[3].spread) == ("best", " ± 7.1")  # sd of 0.9 and 0.8 is 0.0707
    assert (ranked[3].mark, ranked[3].detail) == ("second", "[65.0, 75.0]")


def test_malformed_answers_are_counted_in_the_frame(tmp_path: Path) -> None:
    gold, answers = answers_with(90, 100, malformed=5)
    columns = {"a": {"sampled": (gold, answers), "greedy": (gold, answers)}}
    run = load_eval(eval_folder(tmp_path / "m", columns=columns))
    assert frame(build_table([run]))["malformed"].to_list() == [0.05, 0.05]


def _tie_table(tmp_path: Path) -> ComparisonTable:
    """Of 100 items in order, 90, 88 and 60 right: 2 lost to the best (p = 0.5), and 30 (p = 2^-29)."""
    runs = [_run(tmp_path, name, {"toy": right}) for name, right in (("A", 88), ("B", 90), ("C", 60))]
    return build_table(runs, decodings=("greedy",))


def test_values_level_with_the_best_are_marked(tmp_path: Path) -> None:
    table = _tie_table(tmp_path)
    assert table.ties == {(0, ("toy", "greedy"))}
    text = to_markdown(table)
    assert re.search(rf"<u>88\.0</u>≈ {INTERVAL}", text)
    assert re.search(rf"\*\*90\.0\*\* {INTERVAL}", text)
    assert re.search(rf"\| 60\.0 {INTERVAL}", text)
    assert "≈: not significantly different from the best" in text
    assert r"\underline{88.0}$\approx$ \\" in to_latex(table)
    assert frame(table)["tied_with_best"].to_list() == [True, False, False]
    out = io.StringIO()
    Console(file=out, width=200).print(*to_rich(table, 200))
    assert "88.0≈" in out.getvalue()


def test_the_best_was_chosen_among_all_pairs(tmp_path: Path) -> None:
    """6 of 100 items lost to the best and none won: p = 0.022, times 2 for the rows compared, but times 3 pairs."""
    runs = [_run(tmp_path, name, {"toy": right}) for name, right in (("A", 89), ("B", 90), ("C", 84))]
    assert build_table(runs, decodings=("greedy",)).ties == {(0, ("toy", "greedy")), (2, ("toy", "greedy"))}


def test_a_table_without_ties_does_not_explain_them(tmp_path: Path) -> None:
    table = build_table([_run(tmp_path, name, {"toy": right}) for name, right in (("A", 90), ("B", 50))])
    assert table.ties == frozenset()
    assert "≈" not in to_markdown(table)


def test_equal_best_values_are_bold_and_not_called_tied(tmp_path: Path) -> None:
    runs = [_run(tmp_path, name, {"toy": right}) for name, right in (("A", 90), ("B", 90), ("C", 10))]
    text = markdown_grid(grid(build_table(runs, decodings=("greedy",))))
    assert text.count("**90.0**") == 2
    assert "≈" not in text


@pytest.mark.parametrize("rights", [(90, 90), (0, 0), (0,)])
def test_nobody_is_best_where_there_is_nothing_to_choose(tmp_path: Path, rights: tuple[int, ...]) -> None:
    table = build_table([_run(tmp_path, f"M{n}", {"toy": right}) for n, right in enumerate(rights)])
    assert table.marks == {}
    assert (table.ties, table.untested) == (frozenset(), frozenset())


def test_a_correlation_of_answers_that_nobody_could_read_is_not_best(tmp_path: Path) -> None:
    """It counts as 0, which beats a negative one; with another row above 0 it is not second either."""
    gold = [0.0, 1.0, 2.0, 3.0] * 5
    numeric: dict[str, Any] = {"metrics": ("pearson",), "scale": (0.0, 3.0), "labels": ()}

    def run(name: str, answers: list[float | None]) -> EvalRun:
        folder = eval_folder(tmp_path / name, method=name, **numeric, columns={"s": {"greedy": (gold, answers)}})
        return load_eval(folder)

    unread, inverse, right = run("A", [None] * 20), run("B", [3.0, 2.0, 1.0, 0.0] * 5), run("C", list(gold))
    constant = run("D", [1.0] * 20)  # was read, orders nothing
    assert build_table([constant, inverse], decodings=("greedy",)).marks == {}
    assert build_table([unread, inverse], decodings=("greedy",)).marks == {}
    found = build_table([unread, inverse, right], decodings=("greedy",)).marks
    assert found == {(1, ("s", "greedy")): "second", (2, ("s", "greedy")): "best"}


def test_values_of_other_test_items_are_marked_as_not_compared(tmp_path: Path) -> None:
    """Neither a tie nor worse: without a mark it would look like a significant difference."""
    runs = [_run(tmp_path, "A", {"toy": 90}), _run(tmp_path, "B", {"toy": 89}, ids=[f"x{n}" for n in range(100)])]
    table = build_table([*runs, _run(tmp_path, "C", {"toy": 50})], decodings=("greedy",))
    assert (table.ties, table.untested) == (frozenset(), {(1, ("toy", "greedy"))})
    text = to_markdown(table)
    assert re.search(rf"<u>89\.0</u>\? {INTERVAL}", text)
    assert re.search(rf"\| 50\.0 {INTERVAL}", text)
    assert "?: not compared with the best, for want of common seeds or test items; whether it is worse" in text
    assert frame(table)["tied_with_best"].to_list() == [False, None, False]
    page = to_html("T", [Section("S", [Table(grid(table))])], Report(tmp_path, table, []))
    assert '</u></a><abbr title="not compared with the best, for want of common seeds or test items">?</abbr>' in page


def test_the_average_stands_for_a_table_only_where_rows_have_one(tmp_path: Path) -> None:
    """Rows of two suites: no row has all columns, so no row has the average."""
    runs = [_run(tmp_path, name, {"one": right, "two": right}) for name, right in (("A", 90), ("B", 80), ("C", 40))]
    assert headline(build_table(runs)) == "average"
    assert headline(build_table(runs[:1])) == "average"
    apart = [_run(tmp_path, name, {"else": right}) for name, right in (("D", 70), ("E", 60))]
    table = build_table([*apart, *runs], decodings=("greedy",))
    assert headline(table) == "one"
    found = gains(table, ["A"])
    assert [line.split(" on ")[1][:4] for line, _ in in_short(found, headline(table))] == ["one:", "one:"]
    assert [line for line, _ in in_short(found, "average")] == [line for line, _ in in_short(found, "one")]
    assert cost_picture(table, colours_of([row.name for row in table.rows])) is not None


def test_namesakes_get_names_of_their_own() -> None:
    def names(*keys: MethodKey) -> list[str]:
        return list(row_names(keys).values())

    assert names(MethodKey("RLLR", "sft"), MethodKey("RLHF", "sft", "ranked")) == ["RLLR", "RLHF"]
    assert names(MethodKey("PPO", "sft", "rule"), MethodKey("PPO", "base")) == [
        "PPO (sft, rule)",
        "PPO (base, no reward)",
    ]
    assert names(MethodKey("A", "s", shots=5), MethodKey("A", "s")) == ["A (5 shots)", "A (0 shots)"]
    assert names(MethodKey("A", "s", model="tiny"), MethodKey("B", "s", model="large")) == ["A (tiny)", "B (large)"]
