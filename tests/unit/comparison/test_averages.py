"""What the average column is over under PPO-NLU's convention: by hand, and on the numbers that the paper prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from rewardlab.claims.claim import Claim
from rewardlab.claims.measures import Evidence, UntestableError, columns_of, measure
from rewardlab.cli.suite_report import print_suite
from rewardlab.comparison.conventions import averaged_columns
from rewardlab.comparison.evaluations import EvalRun, load_eval
from rewardlab.comparison.notes import notes
from rewardlab.comparison.table import AVERAGE, build_table, compare_rows
from rewardlab.disk import read_json, write_json
from rewardlab.errors import UnknownNameError
from rewardlab.lab.suite_run import report_suite
from rewardlab.suites.file import Method, Suite
from rewardlab.suites.scheduler import Scheduler
from tests.support.fake_suite import FakeSuite
from tests.support.runs import Answers, eval_folder

GLUE_COLUMNS = ("mnli", "mnli-mm", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte", "wnli", "axb")
GLUE_PRINTED: Mapping[str, tuple[tuple[float, ...], float]] = {
    "zero-shot": ((38.3, 39.7, 31.3, 58.5, 75.7, 18.6, 27.5, 66.3, 59.3, 44.5, 9.2), 46.1),
    "few-shot": ((62.4, 61.7, 30.9, 60.7, 84.2, 29.0, 45.5, 80.8, 72.9, 51.4, 9.2), 58.7),
    "PPO-ST": ((88.8, 88.2, 70.5, 93.2, 96.4, 59.9, 92.6, 89.4, 84.3, 74.7, 52.7), 84.8),
    "SFT-ST": ((87.0, 86.5, 63.8, 93.6, 73.8, 50.7, 84.7, 85.8, 80.4, 63.7, 45.1), 78.5),
    "PPO-MT": ((88.7, 88.3, 67.3, 90.2, 94.6, 47.7, 94.7, 86.7, 86.9, 66.4, 43.4), 82.9),
    "SFT-MT": ((84.9, 84.5, 62.9, 86.0, 72.0, 41.4, 85.5, 82.6, 86.2, 76.0, 41.2), 76.22),
}
"""Table 1 of PPO-NLU: columns, and the average beside them."""
SUPERGLUE_COLUMNS = ("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc", "axb", "axg")
SUPERGLUE_PRINTED: Mapping[str, tuple[tuple[tuple[float, ...], ...], float]] = {
    "BERT-large": (
        ((77.4,), (75.7, 83.6), (70.6,), (70.0, 24.0), (72.0, 71.3), (71.6,), (69.5,), (64.3,), (23.0,), (97.8, 51.7)),
        69.0,
    ),
    "zero-shot": (
        ((75.8,), (26.4, 43.6), (57.0,), (51.9, 20.3), (27.0, 26.2), (59.2,), (54.4,), (52.1,), (9.1,), (64.0, 55.1)),
        49.5,
    ),
    "PPO-ST": (
        ((85.9,), (74.7, 88.0), (88.6,), (82.5, 50.0), (70.6, 69.9), (84.3,), (72.1,), (78.1,), (52.7,), (91.0, 79.8)),
        78.3,
    ),
}
"""Table 3: the metrics of each column, and the average; few-shot is not here: its 49.8 is no mean of its columns."""
PRINTED_TO = 0.12
"""Points between the mean of printed numbers and the printed mean."""


@pytest.mark.parametrize("method", GLUE_PRINTED)
def test_the_averages_of_table_1_are_those_of_its_columns(method: str) -> None:
    """MNLI counts twice, WNLI and AX not at all."""
    values, average = GLUE_PRINTED[method]
    numbers = dict(zip(GLUE_COLUMNS, values, strict=True))
    counted = averaged_columns("ppo-nlu", GLUE_COLUMNS)
    assert counted == GLUE_COLUMNS[:9]
    assert fmean(numbers[column] for column in counted) == pytest.approx(average, abs=PRINTED_TO)


@pytest.mark.parametrize("method", SUPERGLUE_PRINTED)
def test_the_averages_of_table_3_are_those_of_its_columns(method: str) -> None:
    """Paired metrics are averaged first; AXb and AXg do not count, although the caption says all."""
    values, average = SUPERGLUE_PRINTED[method]
    numbers = {column: fmean(parts) for column, parts in zip(SUPERGLUE_COLUMNS, values, strict=True)}
    counted = averaged_columns("ppo-nlu", SUPERGLUE_COLUMNS)
    assert counted == SUPERGLUE_COLUMNS[:8]
    assert fmean(numbers[column] for column in counted) == pytest.approx(average, abs=PRINTED_TO)


def test_rllr_leaves_nothing_out_and_an_unknown_convention_is_refused() -> None:
    assert averaged_columns("rllr", ["sst2", "wnli"]) == ("sst2", "wnli")
    with pytest.raises(UnknownNameError, match="did you mean rllr"):
        averaged_columns("rlr", ["sst2"])


def _column(
    root: Path,
    column: str,
    gold: Answers,
    answers: Answers,
    metrics: Sequence[str] = ("accuracy",),
    *,
    method: str = "PPO-ST",
    scale: tuple[float, float] | None = None,
    labels: Sequence[str] = ("no", "yes"),
) -> EvalRun:
    """The evaluation of one task's own run, as single-task training leaves it."""
    cells = {column: {"sampled": (gold, answers)}}
    path = root / f"{method}-{column}"
    return load_eval(
        eval_folder(path, method=method, columns=cells, metrics=metrics, scale=scale, labels=() if scale else labels)
    )


def _yes_no(text: str) -> list[str]:
    """``y`` and ``n`` as labels."""
    return [{"y": "yes", "n": "no"}[letter] for letter in text]


def _glue(root: Path) -> list[EvalRun]:
    """Eight columns; what each is worth stands beside it."""
    both = ("matthews", "accuracy")
    return [
        _column(root, "cola", _yes_no("yyynn"), _yes_no("yynyn"), both),  # 2·1 − 1·1 over √(3·3·2·2): 1/6
        _column(root, "qqp", _yes_no("yyynn"), _yes_no("yynyn"), ("accuracy", "f1")),  # 2·2 / (2·2 + 1 + 1): 2/3
        _column(
            root, "stsb", (1.0, 2.0, 3.0, 4.0), (1.0, 3.0, 2.0, 5.0), ("pearson", "spearman"), scale=(0, 5)
        ),  # ranks differ by 0, 1, 1, 0: 1 − 6·2 / (4·15) = 0.8
        _column(root, "mnli", _yes_no("yyyy"), _yes_no("yyyn")),  # 3/4
        _column(root, "mnli-mm", _yes_no("yyyy"), _yes_no("ynnn")),  # 1/4
        _column(root, "rte", _yes_no("yyyy"), _yes_no("yynn")),  # 1/2
        _column(root, "wnli", _yes_no("yyyy"), _yes_no("nnnn")),  # 0
        _column(root, "axb", _yes_no("yynn"), _yes_no("nnyy"), both),  # −1
    ]


def test_glue_by_hand(tmp_path: Path) -> None:
    """(1/6 + 2/3 + 4/5 + 3/4 + 1/4 + 1/2) / 6 = 47/90; with the other two it would be 0.27."""
    table = build_table(_glue(tmp_path), convention="ppo-nlu", decodings=("sampled",))
    (row,) = table.rows
    shown = {column: row.scores[column, "sampled"].value for column in table.columns}
    assert shown == pytest.approx(
        {
            "cola": 1 / 6,
            "qqp": 2 / 3,
            "stsb": 0.8,
            "mnli": 0.75,
            "mnli-mm": 0.25,
            "rte": 0.5,
            "wnli": 0.0,
            "axb": -1.0,
            AVERAGE: 47 / 90,
        }
    )
    assert "The average is without wnli, axb, as published." in notes(table)


def test_the_leaderboard_of_glue_by_hand(tmp_path: Path) -> None:
    """Tasks are the means of their metrics, MNLI's two columns one task, WNLI counts, AX does not.

    QQP: F1 2/3, accuracy 3/5. STS-B: Spearman 0.8, Pearson 5.5 over √(5 · 8.75). MNLI: (3/4 + 1/4) / 2.
    """
    table = build_table(_glue(tmp_path), convention="leaderboard", decodings=("sampled",))
    (row,) = table.rows
    qqp, stsb = (2 / 3 + 3 / 5) / 2, (0.8 + 5.5 / 43.75**0.5) / 2
    assert row.scores["qqp", "sampled"].value == pytest.approx(qqp)
    average = (1 / 6 + qqp + stsb + 1 / 2 + 1 / 2 + 0) / 6
    assert row.scores[AVERAGE, "sampled"].value == pytest.approx(average)
    told = notes(table)
    assert "The average is without axb, as published." in told
    assert "mnli and mnli-mm are one task of the average." in told


def test_differences_and_claims_average_tasks_too(tmp_path: Path) -> None:
    """MNLI: 3/4 and 1/4 against 1/2 and 1/2, no difference; RTE: 1/2 against 0: (0 + 1/2) / 2. As columns: 1/6."""
    answers = {"PPO-ST": ("yyyn", "ynnn", "yynn"), "few-shot": ("yynn", "yynn", "nnnn")}
    runs = [
        _column(tmp_path, column, _yes_no("yyyy"), _yes_no(given), method=method)
        for method, columns in answers.items()
        for column, given in zip(("mnli", "mnli-mm", "rte"), columns, strict=True)
    ]
    for convention, difference in (("leaderboard", 1 / 4), ("rllr", 1 / 6)):
        table = build_table(runs, convention=convention, decodings=("sampled",))
        sides = [(row, "sampled") for name in answers if (row := table.row(name))]
        assert compare_rows(table, sides[0], sides[1], AVERAGE).estimate.value == pytest.approx(difference)
        claim = Claim(id="C", says="s", better="PPO-ST", than="few-shot", decoding="sampled")
        measured = measure(claim, "tiny", Evidence(table))
        assert measured.estimate.value == pytest.approx(100 * difference)


def test_superglue_by_hand(tmp_path: Path) -> None:
    """CB: accuracy 2/4; F1 2/3, 1/2 and 0, so macro-F1 7/18; their mean 4/9. With COPA's 3/4: 43/72."""
    labels = ("contradiction", "entailment", "neutral")
    gold, answers = (labels[0], labels[1], labels[2], labels[1]), (labels[0], labels[1], labels[1], labels[0])
    runs = [
        _column(tmp_path, "cb", gold, answers, ("macro_f1", "accuracy"), labels=labels),
        _column(tmp_path, "copa", _yes_no("yyyy"), _yes_no("yyyn")),
        _column(tmp_path, "axg", _yes_no("yynn"), _yes_no("nnyy")),
    ]
    (row,) = build_table(runs, convention="ppo-nlu", decodings=("sampled",)).rows
    assert row.scores["cb", "sampled"].value == pytest.approx(4 / 9)
    assert row.scores[AVERAGE, "sampled"].value == pytest.approx(43 / 72)


def test_a_column_that_does_not_count_may_be_missing(tmp_path: Path) -> None:
    """Few-shot prompting has no AX; what does count must be there."""
    columns = {"PPO-ST": ("sst2", "rte", "wnli"), "few-shot": ("sst2", "rte"), "SFT-ST": ("sst2", "wnli")}
    runs = [
        _column(tmp_path, column, _yes_no("yyyy"), _yes_no("yynn"), method=method)
        for method, measured in columns.items()
        for column in measured
    ]
    table = build_table(runs, convention="ppo-nlu", decodings=("sampled",))
    assert {row.name for row in table.rows if (AVERAGE, "sampled") in row.scores} == {"PPO-ST", "few-shot"}
    other = build_table(runs, convention="rllr", decodings=("sampled",))
    assert {row.name for row in other.rows if (AVERAGE, "sampled") in row.scores} == {"PPO-ST"}
    assert not any("as published" in line for line in notes(other))


def test_differences_and_claims_are_over_the_same_columns(tmp_path: Path) -> None:
    """Better by 1/4 on sst2 and level on rte: 1/8, whatever WNLI says."""
    answers = {"PPO-ST": ("yyyn", "yynn", "nnnn"), "SFT-ST": ("yynn", "yynn", "yyyy")}
    runs = [
        _column(tmp_path, column, _yes_no("yyyy"), _yes_no(given), method=method)
        for method, texts in answers.items()
        for column, given in zip(("sst2", "rte", "wnli"), texts, strict=True)
    ]
    table = build_table(runs, convention="ppo-nlu", decodings=("sampled",))
    ppo, sft = (table.row(name) for name in answers)
    assert ppo is not None
    assert sft is not None
    assert compare_rows(table, (ppo, "sampled"), (sft, "sampled"), AVERAGE).estimate.value == pytest.approx(1 / 8)
    claim = Claim(id="C1", says="PPO beats SFT", better="PPO-ST", than="SFT-ST")
    assert columns_of(claim, table) == ["sst2", "rte"]
    assert measure(claim, "tiny", Evidence(table)).estimate.value == pytest.approx(100 / 8)


def test_where_no_column_counts_there_is_no_average(tmp_path: Path) -> None:
    table = build_table(_glue(tmp_path)[6:], convention="ppo-nlu", decodings=("sampled",))
    assert table.columns == ("wnli", "axb")
    claim = Claim(id="C1", says="PPO beats SFT", better="PPO-ST", than="SFT-ST")
    with pytest.raises(UntestableError, match="no column counts in the average of convention ppo-nlu"):
        columns_of(claim, table)


def test_the_report_of_a_suite_follows_its_convention(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """QQP with one hit, one miss and one false alarm among five: F1 1/2 where accuracy is 3/5."""
    made = FakeSuite(tmp_path)
    goal = made.stage("eval", "measured")
    path = goal.folder(tmp_path).path
    cells = {"qqp": {"sampled": (_yes_no("yynnn"), _yes_no("ynynn"))}}
    eval_folder(path, method="PPO-ST", columns=cells, metrics=("accuracy", "f1"))
    write_json(path / "config.json", {**read_json(path / "config.json"), "fingerprint": goal.fingerprint})
    write_json(path / "result.json", {**read_json(path / "result.json"), "stage_seconds": 1.0})
    claim = Claim(id="C1", says="PPO beats SFT", not_testable="there is no SFT")
    suite = Suite(name="s", convention="ppo-nlu", method=(Method(stage="base"),), claim=(claim,))
    scheduler = Scheduler([replace(made.cell("A", 0), goals=(goal,))], tmp_path)
    print_suite(suite, report_suite(suite, scheduler, tmp_path, tmp_path / "out", "rewardlab suite run s.toml"))
    table = (tmp_path / "out" / "table.md").read_text()
    assert "sampled qqp F1" in table
    assert "| 50.0 [" in table
    assert "Convention ppo-nlu" in capsys.readouterr().out
