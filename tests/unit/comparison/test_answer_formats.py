"""Rows in different answer formats: a difference is marked everywhere and tests no claim; PPO says where it started."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.tools.readme_table import readme_table
from rewardlab.claims.claim import Claim
from rewardlab.claims.findings import Finding, findings
from rewardlab.claims.measures import Evidence
from rewardlab.comparison.difference_text import gain_row, in_short, sentence
from rewardlab.comparison.differences import gains, splits
from rewardlab.comparison.frames import frame
from rewardlab.comparison.latex import to_latex
from rewardlab.comparison.markdown import to_markdown
from rewardlab.comparison.runs import collect
from rewardlab.comparison.table import ComparisonTable, build_table
from rewardlab.pipeline.stages.evaluate import start_accuracy_of
from rewardlab.reports.page import write_comparison, write_page
from rewardlab.reports.report import Report
from tests.support.runs import answers_with, eval_folder

METHODS = {"zero-shot": ("label", 40, None), "SFT": ("judgement", 60, None), "PPO": ("judgement", 80, "rule")}
"""Method -> answer format, right answers of 100, reward."""


def folders(root: Path, formats: dict[str, str] | None = None) -> list[Path]:
    made = []
    for method, (format, right, reward) in METHODS.items():
        columns = {"toy": {each: answers_with(right, 100) for each in ("sampled", "greedy")}}
        made.append(
            eval_folder(
                root / "eval" / method,
                method=method,
                columns=columns,
                format=(formats or {}).get(method, format),
                reward=reward,
                start_accuracy=0.615 if method == "PPO" else None,
            )
        )
    return made


@pytest.fixture
def table(tmp_path: Path) -> ComparisonTable:
    return build_table(collect(folders(tmp_path)).runs, resamples=100)


def line_of(text: str, method: str) -> str:
    (found,) = (line for line in text.splitlines() if line.startswith(f"| {method} "))
    return found


class TestMarks:
    def test_the_value_of_another_format_than_the_best_has_a_sign_in_every_table(
        self, table: ComparisonTable, tmp_path: Path
    ) -> None:
        text = to_markdown(table)
        assert "| method | format | start |" in text
        assert line_of(text, "zero-shot").count("†") == 2
        assert "†" not in line_of(text, "SFT") + line_of(text, "PPO")
        assert "†: in another answer format than the best" in text
        latex = to_latex(table)
        assert latex.count(r"40.0$\dagger$") == 2
        write_comparison(Report(tmp_path / "out", table, []), tmp_path / "out")
        assert "zero-shot" in (tmp_path / "out" / "table.tex").read_text()
        page = write_page(tmp_path / "out" / "r.html", Report(tmp_path / "out", table, gains(table, ["zero-shot"])))
        assert page.read_text().count('<abbr title="in another answer format than the best') == 2

    def test_the_frame_holds_format_and_mark(self, table: ComparisonTable) -> None:
        rows = frame(table).to_dicts()
        assert {(row["method"], row["format"], row["other_format_than_best"]) for row in rows} == {
            ("zero-shot", "label", True),
            ("SFT", "judgement", False),
            ("PPO", "judgement", False),
        }

    def test_of_one_format_nothing_is_marked(self, tmp_path: Path) -> None:
        runs = collect(folders(tmp_path, {"zero-shot": "judgement"})).runs
        text = to_markdown(build_table(runs, resamples=100))
        assert "†" not in text
        assert "| format |" not in text

    def test_the_same_method_in_two_formats_is_two_rows(self, tmp_path: Path) -> None:
        columns = {"toy": {"greedy": answers_with(5, 10)}}
        for format in ("label", "judgement"):
            eval_folder(tmp_path / format, method="zero-shot", columns=columns, format=format)
        found = build_table(collect([tmp_path]).runs, decodings=("greedy",), resamples=100)
        names = ["zero-shot (judgement)", "zero-shot (label)"]
        assert [row.name for row in found.rows] == names
        # where a table has no column for the format, the rows' names say it
        readme = readme_table([tmp_path], against=names[0], resamples=100)
        latex = to_latex(found)
        for name in names:
            assert f"| {name} |" in readme
            assert f"\n{name} &" in latex
        assert "over zero-shot (judgement) |" in readme

    def test_the_difference_of_two_formats_is_explained_where_the_best_has_no_sign(self, tmp_path: Path) -> None:
        """All values are equal, so nothing is best and no value has a sign; the difference has one."""
        columns = {"toy": {"greedy": answers_with(5, 10)}}
        for format in ("label", "judgement"):
            eval_folder(tmp_path / format, method=f"{format}!", columns=columns, format=format)
        text = readme_table([tmp_path], against="label!", resamples=100)
        assert "| 0.0† [" in text
        assert "†: in another answer format than the best, or than the method it is compared with" in text

    def test_readmes_table_marks_the_difference(self, tmp_path: Path) -> None:
        made = folders(tmp_path)
        text = readme_table(made, against="SFT", resamples=100)
        assert line_of(text, "zero-shot").count("−20.0† [") == 2
        assert "step 0" not in text  # a column that README's table has not
        assert "†" not in line_of(text, "PPO")


class TestDifferences:
    def test_neither_of_two_formats_is_called_better(self, table: ComparisonTable) -> None:
        found = {(each.method, each.decoding): each for each in gains(table, ["zero-shot"])}
        ppo = found["PPO", "greedy"]
        assert (ppo.verdict, ppo.formats) == ("formats differ", ("judgement", "label"))
        answered = "PPO answers in format judgement, zero-shot in label"
        assert sentence(ppo).startswith(
            f"{answered}. The difference, which is not of the method alone, is +40.0 points ["
        )
        assert gain_row(ppo)["formats"] == "judgement / label"
        told = [line for line, _ in in_short(list(found.values()), "toy")]
        assert told == [
            "In another answer format than zero-shot on toy: SFT (sampled and greedy); PPO (sampled and greedy)."
        ]

    def test_of_one_format_it_is(self, table: ComparisonTable) -> None:
        (found, _) = [each for each in gains(table, ["SFT"]) if each.method == "PPO"]
        assert (found.verdict, found.formats, gain_row(found)["formats"]) == ("better", None, None)

    def test_no_gain_is_split_across_formats(self, table: ComparisonTable) -> None:
        rows = {row.key.method: row for row in table.rows}
        assert [each.method for each in splits(table, rows["SFT"])] == ["PPO"]
        assert splits(table, rows["zero-shot"]) == []


class TestClaims:
    def found(self, table: ComparisonTable, **given: object) -> Finding:
        about = {"id": "C2", "says": "PPO beats prompting", "better": "PPO", "than": "zero-shot", "column": "toy"}
        (one,) = findings([Claim.model_validate({**about, **given})], Evidence(table))
        return one

    @pytest.mark.parametrize("measure", ["accuracy", "quality", "label shift", "judged", "seconds"])
    def test_a_difference_across_formats_tests_none(self, table: ComparisonTable, measure: str) -> None:
        one = self.found(table, measure=measure, **({"between": (1, 2)} if measure == "seconds" else {}))
        assert one.verdict == "not testable here"
        assert one.reason == "formats differ (PPO answers in judgement, zero-shot in label)"

    def test_within_a_format_it_is_tested(self, table: ComparisonTable) -> None:
        assert self.found(table, than="SFT").verdict == "holds"

    def test_a_claim_about_formats_says_so(self, table: ComparisonTable) -> None:
        assert self.found(table, across_formats=True).verdict == "holds"


class TestStepZero:
    def test_rows_of_ppo_print_their_own_accuracy_before_the_first_update(self, table: ComparisonTable) -> None:
        text = to_markdown(table)
        assert "| accuracy at step 0 |" in text
        # before the scores: start, reward, step 0
        assert line_of(text, "PPO").split(" | ")[2:5] == ["sft-rationale", "rule", "61.5"]
        assert line_of(text, "SFT").split(" | ")[4] == "–"
        assert "in the row's own answer format, greedy on validation rows" in text
        assert {row["start_accuracy"] for row in frame(table).to_dicts() if row["method"] == "PPO"} == {0.615}

    def test_without_one_there_is_no_column(self, tmp_path: Path) -> None:
        made = eval_folder(tmp_path / "a", columns={"toy": {"greedy": answers_with(5, 10)}})
        assert "step 0" not in to_markdown(build_table(collect([made]).runs, resamples=100))

    def test_an_evaluation_takes_it_from_the_runs_first_measure(self) -> None:
        start, best = ({"step": step, "accuracy": value} for step, value in ((0, 0.5), (5, 0.7)))
        assert start_accuracy_of({"validation": {"start": start, "best": best, "last": best}}) == 0.5
        assert start_accuracy_of({"validation": None}) is None
        assert start_accuracy_of({}) is None
