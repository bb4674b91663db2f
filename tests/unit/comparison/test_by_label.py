"""Accuracy by gold label: when it is shown, its numbers by hand, and the files that hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rewardlab.comparison.by_label import METRICS, all_by_label, by_label, by_label_grid, label_frame
from rewardlab.comparison.evaluations import CellData
from rewardlab.comparison.markdown import to_markdown
from rewardlab.comparison.runs import collect
from rewardlab.comparison.table import ComparisonTable, build_table
from rewardlab.reports.page import write_tables
from rewardlab.reports.sections.answers import by_label_blocks
from tests.support.runs import eval_folder

GOLD = ["yes"] * 8 + ["no"] * 2
ANSWERS: list[str | float | None] = ["yes"] * 8 + ["yes", "no"]
"""Nine of ten right; yes 8 of 8, no 1 of 2. F1: yes 16/17, no 2/3."""
PLACE = ("toy", "greedy")


def table_of(
    root: Path, answers: Sequence[Sequence[str | float | None]], gold: Sequence[str] = GOLD
) -> ComparisonTable:
    """One method, a seed for each list of answers."""
    for seed, given in enumerate(answers):
        eval_folder(root / "eval" / f"m-{seed}", seed=seed, columns={"toy": {"greedy": (gold, given)}})
    return build_table(collect([root]).runs, decodings=("greedy",), resamples=200)


def test_the_rare_label_is_seen(tmp_path: Path) -> None:
    found = by_label(table_of(tmp_path, [ANSWERS]).rows[0], PLACE)
    assert found is not None
    assert {label: each.value for label, each in found.recalls.items()} == {"no": 0.5, "yes": 1.0}
    assert found.items == {"yes": 8, "no": 2}
    assert found.means["balanced_accuracy"].value == 0.75
    assert found.means["macro_f1"].value == pytest.approx((16 / 17 + 2 / 3) / 2)


def test_seeds_are_averaged_and_widen_the_interval(tmp_path: Path) -> None:
    table = table_of(tmp_path, [ANSWERS, ["yes"] * 10, ANSWERS])
    found = by_label(table.rows[0], PLACE)
    assert found is not None
    assert found.recalls["no"].value == pytest.approx(1 / 3)
    assert (found.recalls["no"].seeds, found.recalls["no"].basis) == (3, "seeds and items")


def test_a_label_that_a_seed_has_no_item_of_is_averaged_over_the_others(tmp_path: Path) -> None:
    """Seed 0 has no "maybe", and seed 2 none of "no"; each label's recall is that of the seeds that have it."""
    columns = [
        (["yes"] * 8 + ["no"] * 2, ["yes"] * 8 + ["yes", "no"]),
        (["yes"] * 6 + ["no"] * 2 + ["maybe"] * 2, ["yes"] * 6 + ["no", "no", "maybe", "yes"]),
        (["yes"] * 8 + ["maybe"] * 2, ["yes"] * 8 + ["maybe"] * 2),
    ]
    cells = {seed: cell(gold, answers) for seed, (gold, answers) in enumerate(columns)}
    row = replace(table_of(tmp_path, [ANSWERS]).rows[0], cells={PLACE: cells})
    found = by_label(row, PLACE, 200)
    assert found is not None
    assert {name: (each.value, each.seeds) for name, each in found.recalls.items()} == {
        "maybe": (0.75, 2),
        "no": (0.75, 2),
        "yes": (1.0, 3),
    }
    assert found.items == {"maybe": 2, "no": 2, "yes": 7}


def cell(gold: list[str], answers: list[str]) -> CellData:
    ids = tuple(f"{gold}-{number}" for number in range(len(gold)))
    summary = {"metrics": {"accuracy": {}}}
    return CellData("toy", ids, tuple(gold), tuple(answers), ("maybe", "no", "yes"), None, summary)


def test_the_interval_is_of_the_label_s_own_items(tmp_path: Path) -> None:
    """Recall of 40 items, half of them right, has the deviation of 40 items and not that of 400."""
    gold, answers = ["yes"] * 360 + ["no"] * 40, ["yes"] * 360 + ["yes", "no"] * 20
    found = by_label(table_of(tmp_path, [answers], gold).rows[0], PLACE)
    assert found is not None
    low, high = found.recalls["no"].low, found.recalls["no"].high
    assert (high - low) / 2 == pytest.approx(1.966 * np.sqrt(0.25 / 40), rel=0.1)


@pytest.mark.parametrize(
    ("gold", "is_shown"), [(["yes"] * 6 + ["no"] * 4, False), (["yes"] * 6 + ["no"] * 3, True), (["yes"] * 9, False)]
)
def test_even_labels_have_no_table(tmp_path: Path, gold: list[str], is_shown: bool) -> None:
    table = table_of(tmp_path, [["yes"] * len(gold)], gold)
    assert bool(all_by_label(table)) is is_shown
    assert bool(by_label_blocks(table)) is is_shown
    assert ("macro-F1" in to_markdown(table)) is is_shown
    assert ("labels.csv" in {path.name for path in write_tables(table, tmp_path / "out")}) is is_shown


def test_numbers_have_no_table(tmp_path: Path) -> None:
    columns = {"stsb": {"greedy": ([1.0, 1.0, 1.0, 2.0], [1.0, 1.0, 1.0, 2.0])}}
    eval_folder(tmp_path / "eval" / "m", columns=columns, metrics=("pearson",), scale=(0.0, 5.0), labels=())
    table = build_table(collect([tmp_path]).runs, decodings=("greedy",), resamples=100)
    assert all_by_label(table) == {}


def test_table_and_file(tmp_path: Path) -> None:
    table = table_of(tmp_path, [ANSWERS])
    found = all_by_label(table)
    [line] = by_label_grid(table, found).rows
    assert [cell.text for cell in line] == ["toy", "SFT w. rationale", "80.4", "75.0", "no 50.0, yes 100.0"]
    assert line[2].detail.startswith("[")
    rows = label_frame(table, found).to_dicts()
    assert [(row["label"], row["items"], row["value"]) for row in rows] == [("no", 2, 0.5), ("yes", 8, 1.0)]
    assert len(METRICS) == 2


def test_of_many_labels_the_lowest_are_named(tmp_path: Path) -> None:
    labels = [f"l{number}" for number in range(10)]
    gold = [*labels, *["l9"] * 5]
    answers: list[str | float | None] = [*labels[:3], *[None] * 12]
    eval_folder(tmp_path / "eval" / "m", columns={"toy": {"greedy": (gold, answers)}}, labels=labels)
    table = build_table(collect([tmp_path]).runs, decodings=("greedy",), resamples=100)
    [line] = by_label_grid(table, all_by_label(table)).rows
    assert line[-1].text.startswith("lowest of 10: l3 0.0, l4 0.0")
    assert line[-1].text.endswith("l0 100.0")
