"""Every measure is compared with every rival, and the sentences about it come from the numbers."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from rewardlab.claims.measures import Evidence
from rewardlab.claims.rivals import MeasureGain, measure_gains, told_of
from rewardlab.comparison.differences import gains as differences
from rewardlab.comparison.differences import rivals_of
from rewardlab.comparison.runs import collect
from rewardlab.comparison.table import ComparisonTable, build_table
from rewardlab.disk import write_json, write_jsonl
from rewardlab.judge.verdicts import load_judged
from rewardlab.reports.page import SuiteFacts, write_comparison, write_report
from rewardlab.reports.report import Report
from rewardlab.reports.sections.differences import measure_blocks
from tests.support.runs import answers_with, eval_folder

ITEMS = 200
QUALITY = {"SFT w. rationale": 0.5, "longer SFT": 0.9, "mixed": 0.9, "rule": 0.2}
"""Method -> mean quality of its rationales; all have the same accuracy."""
LIKED = {"mixed": "a", "rule": "b"}
"""Method -> the side that a judge likes on every item, the other side being SFT w. rationale."""


def runs_of(root: Path) -> Path:
    for method, mean in QUALITY.items():
        for seed in range(3):
            # half above and half below the mean by the same amount, in an order of the method's own
            quality = [mean + 0.05 * (1 if (n + len(method)) % 2 else -1) + 0.001 * seed for n in range(ITEMS)]
            columns = {"toy": {each: answers_with(100 + seed, ITEMS) for each in ("sampled", "greedy")}}
            eval_folder(
                root / "eval" / f"{method}-{seed}",
                method=method,
                seed=seed,
                columns=columns,
                quality=quality,
                format="x",
            )
    for method, side in LIKED.items():
        for seed in range(3):
            folder = root / "judge" / f"{method}-{seed}"
            write_json(
                folder / "config.json",
                {"identity": {"decoding": "sampled", "annotator": "template", "annotate": {}, "limit": None}},
            )
            sides = {"a": {"eval": f"{method}-{seed}"}, "b": {"eval": f"SFT w. rationale-{seed}"}}
            write_json(folder / "result.json", {**sides, "items": 20})
            rows = [
                {"column": "toy", "id": f"{n:04d}", "winner": side, "orders_agree": True, "reason": ""}
                for n in range(20)
            ]
            write_jsonl(folder / "verdicts.jsonl", rows)
    return root


@pytest.fixture
def table(tmp_path: Path) -> ComparisonTable:
    return build_table(collect([runs_of(tmp_path)]).runs, resamples=200)


def gains(table: ComparisonTable, *against: str) -> dict[tuple[str, str, str, str], MeasureGain]:
    """(method, rival, measure, decoding) -> comparison."""
    judged = load_judged([run for row in table.rows for run in row.runs])
    found = measure_gains(table, against, judged)
    return {(g.method.name, g.rival.name, g.measure, g.decoding): g for g in found}


def test_quality_is_compared_with_every_rival_under_every_decoding(table: ComparisonTable) -> None:
    found = gains(table, "SFT w. rationale", "longer SFT")
    # three methods against each rival, and the rivals against each other once, under two decodings
    assert len([key for key in found if key[2] == "quality"]) == (2 + 2 + 1) * 2
    sizes = {key[:2]: each.finding.estimate for key, each in found.items() if key[2:] == ("quality", "greedy")}
    assert sizes["mixed", "SFT w. rationale"].value == pytest.approx(40.0)  # type: ignore[union-attr]
    assert sizes["rule", "longer SFT"].value == pytest.approx(-70.0)  # type: ignore[union-attr]
    assert found["mixed", "SFT w. rationale", "quality", "greedy"].ahead == "better"
    assert found["mixed", "longer SFT", "quality", "greedy"].ahead == "level"
    assert found["rule", "longer SFT", "quality", "greedy"].ahead == "worse"


def test_better_than_its_start_is_not_said_of_the_rival_that_has_as_much(table: ComparisonTable) -> None:
    """The kind of sentence that was wrong: the mixture had the rationales of SFT for as long."""
    told = [line for line, _ in told_of(list(gains(table, "SFT w. rationale", "longer SFT").values()))]
    assert any(
        line.startswith("mixed has significantly better rationales than SFT w. rationale on toy: +40.0 points [")
        and line.endswith("], p < 0.001, greedy.")
        for line in told
    )
    assert not any("mixed has significantly better rationales than longer SFT" in line for line in told)
    assert (
        "Not significantly different from longer SFT in rationale quality on toy: mixed (sampled and greedy)." in told
    )
    assert any(
        line.startswith("rule has significantly worse rationales than longer SFT on toy: −70.0 points [")
        for line in told
    )


def test_two_rivals_are_compared_with_each_other_once(table: ComparisonTable) -> None:
    """Twice, once from each side, would double the number of comparisons that p-values are corrected for."""
    found = gains(table, "SFT w. rationale", "longer SFT")
    sides = [key[:2] for key in found if set(key[:2]) == {"SFT w. rationale", "longer SFT"}]
    assert set(sides) == {("longer SFT", "SFT w. rationale")}
    # quality and label shares: five pairs; a judge saw two; under two decodings, the judge one
    assert {each.finding.family for each in found.values() if each.finding.estimate} == {2 * 5 * 2 + 2}


def made_of(root: Path, models: tuple[str, ...] = ("tiny",), formats: tuple[str, ...] = ("x",)) -> ComparisonTable:
    for method in ("SFT w. rationale", "PPO"):
        for model in models:
            for format in formats:
                columns = {"toy": {"greedy": answers_with(60, 100)}}
                folder = root / f"{method}-{model}-{format}"
                eval_folder(
                    folder,
                    method=method,
                    model=model,
                    format=format,
                    columns=columns,
                    quality=[0.5, 0.6, 0.7, 0.8] * 25,
                )
    return build_table(collect([*root.iterdir()]).runs, decodings=("greedy",), resamples=50)


def test_two_base_models_do_not_count_each_others_comparisons(tmp_path: Path) -> None:
    """Quality and label shares of PPO against SFT, with each of two models: four."""
    found = measure_gains(made_of(tmp_path, models=("a", "b")), ["SFT w. rationale (a)", "SFT w. rationale (b)"])
    assert [each.finding.family for each in found] == [4] * 4


def test_of_a_method_in_two_formats_the_row_of_the_rivals_format_is_compared(tmp_path: Path) -> None:
    found = measure_gains(made_of(tmp_path, formats=("x", "y")), ["SFT w. rationale (x)"])
    told = {each.method.name: each.ahead for each in found if each.measure == "quality"}
    assert told == {"PPO (x)": "level", "PPO (y)": "not compared", "SFT w. rationale (y)": "not compared"}
    reasons = {each.finding.reason for each in found if each.method.name == "PPO (y)"}
    assert reasons == {"formats differ (PPO (y) answers in y, SFT w. rationale (x) in x)"}


def test_of_one_seed_a_sentence_speaks_of_these_runs_alone(tmp_path: Path) -> None:
    for method, mean in (("SFT w. rationale", 0.5), ("PPO", 0.9)):
        quality = [mean + 0.01 * (n % 5) for n in range(100)]
        columns = {"toy": {"greedy": answers_with(60, 100)}}
        eval_folder(tmp_path / method, method=method, columns=columns, quality=quality)
    table = build_table(collect([*tmp_path.iterdir()]).runs, decodings=("greedy",), resamples=50)
    (told, *_) = (line for line, _ in told_of(measure_gains(table, ["SFT w. rationale"])))
    assert told.startswith("PPO has significantly better rationales than SFT w. rationale on toy: +40.0 points [")
    assert told.endswith(", greedy (one seed: of these runs, not of other seeds).")


def test_verdicts_and_label_shares_are_measures_too(table: ComparisonTable) -> None:
    found = gains(table, "SFT w. rationale", "longer SFT")
    assert found["mixed", "SFT w. rationale", "judged", "sampled"].ahead == "better"
    assert found["rule", "SFT w. rationale", "judged", "sampled"].ahead == "worse"
    missing = found["mixed", "longer SFT", "judged", "sampled"]
    assert (missing.ahead, missing.finding.estimate) == ("not compared", None)
    assert missing.finding.reason == "no judge has compared mixed with longer SFT, sampled decoding"
    assert found["mixed", "longer SFT", "label shift", "greedy"].ahead == "level"


def test_what_nobody_measured_is_no_measure(tmp_path: Path) -> None:
    for method in ("A", "B"):
        columns = {"toy": {"greedy": ([1.0, 2.0, 3.0], [1.0, 2.5, 2.0])}}
        eval_folder(tmp_path / method, method=method, columns=columns, metrics=("pearson",), scale=(0.0, 5.0))
    table = build_table(collect([tmp_path]).runs, decodings=("greedy",), resamples=50)
    assert measure_gains(table, ["A"]) == []
    assert "nothing was measured" in str(measure_blocks([]))
    assert Evidence(table).judged == ()


def test_a_report_compares_with_the_rivals_of_its_suite_and_leaves_a_file(tmp_path: Path) -> None:
    runs = runs_of(tmp_path / "runs")
    facts = SuiteFacts("s", against=("SFT w. rationale", "longer SFT"))
    page = write_report(tmp_path / "out", sorted((runs / "eval").iterdir()), resamples=100, suite=facts)
    text = page.read_text()
    assert "## Other measures, against every rival" in text
    assert "mixed has significantly better rationales than SFT w. rationale on toy: +40.0 points" in text
    assert "corrected over all 22 comparisons of these measures together (Holm)" in text
    with (tmp_path / "out" / "measures.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["against"] for row in rows} == {"SFT w. rationale", "longer SFT"}
    assert {row["measure"] for row in rows} == {"quality", "label shift", "judged"}
    (one,) = (
        row
        for row in rows
        if (row["method"], row["against"], row["measure"], row["decoding"])
        == ("rule", "longer SFT", "quality", "greedy")
    )
    assert (float(one["points"]), one["verdict"]) == (pytest.approx(-70.0), "worse")
    assert (float(one["p_holm"]) < 0.05, one["family"]) == (True, "22")


def test_what_compare_leaves_holds_them_too(table: ComparisonTable, tmp_path: Path) -> None:
    found = differences(table, ["SFT w. rationale"])
    measured = measure_gains(table, rivals_of(found), load_judged([run for row in table.rows for run in row.runs]))
    report = Report(tmp_path / "out", table, found, measures=measured)
    files = {file.name for file in write_comparison(report, tmp_path / "out")}
    assert {"differences.csv", "measures.csv"} <= files
    with (tmp_path / "out" / "measures.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # three methods, two decodings, quality and label shares; a judge heard two of them, sampled
    assert {row["family"] for row in rows if row["points"]} == {"14"}
    assert {row["measure"] for row in rows} == {"quality", "label shift", "judged"}
