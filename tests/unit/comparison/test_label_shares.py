"""Label shares of answers against gold's: distance, what chance gives, table and bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rewardlab.comparison.evaluations import CellData
from rewardlab.comparison.label_shares import (
    LabelShares,
    all_label_shares,
    by_chance,
    distance_draws,
    label_shares,
    shares_grid,
    total_variation,
)
from rewardlab.comparison.markdown import markdown_grid
from rewardlab.comparison.runs import collect
from rewardlab.comparison.statistics import Estimate
from rewardlab.comparison.table import ComparisonTable, build_table
from rewardlab.reports.charts import OTHER, Bar
from rewardlab.reports.sections.answers import shares_pictures
from tests.support.runs import LABELS, eval_folder

GOLD = ["yes"] * 5 + ["no"] * 5
ANSWERS: list[str | float | None] = ["yes"] * 8 + ["no", None]
"""yes 8, no 1, malformed 1 of 10, gold 5 and 5: shifts +0.3, -0.4, +0.1; half their sum is 0.4."""


def table_of(root: Path, answers: Sequence[Sequence[str | float | None]]) -> ComparisonTable:
    """One method, a seed for each list of answers."""
    for seed, given in enumerate(answers):
        eval_folder(root / "eval" / f"m-{seed}", seed=seed, columns={"toy": {"greedy": (GOLD, given)}})
    return build_table(collect([root]).runs, decodings=("greedy",), resamples=200)


def test_distance_is_half_the_sum_of_shifts(tmp_path: Path) -> None:
    table = table_of(tmp_path, [ANSWERS])
    found = label_shares(table.rows[0], ("toy", "greedy"))
    assert found is not None
    assert found.distance.value == pytest.approx(0.4)
    assert found.gold == pytest.approx({"no": 0.5, "yes": 0.5, "malformed": 0.0})
    assert found.answered == pytest.approx({"no": 0.1, "yes": 0.8, "malformed": 0.1})
    assert found.furthest == ("no", pytest.approx(-0.4))


def test_wrong_answers_that_cancel_leave_no_distance(tmp_path: Path) -> None:
    swapped: list[str | float | None] = ["no"] * 2 + ["yes"] * 3 + ["yes"] * 2 + ["no"] * 3
    table = table_of(tmp_path, [swapped])
    found = label_shares(table.rows[0], ("toy", "greedy"))
    assert found is not None
    assert (found.distance.value, found.distance.low) == (0.0, 0.0)
    # 4 of 10 items move one share each way: sd of each shift sqrt(0.4 / 10) = 0.2; 0.5 * 2 * 0.2 * sqrt(2 / pi)
    assert found.by_chance == pytest.approx(0.159577, abs=1e-6)


def test_chance_is_what_fair_answers_show() -> None:
    """Answers whose mistakes favour no label, drawn anew 2000 times, lie as far from gold as by_chance says."""

    def cell_of(gold: list[str], answers: list[str]) -> CellData:
        ids = tuple(map(str, range(len(gold))))
        return CellData("toy", ids, tuple(gold), tuple(answers), ("no", "yes"), None, {})

    rng = np.random.default_rng(0)
    shown, said = [], []
    for _ in range(2000):
        gold = rng.integers(0, 2, 60)
        answers = np.where(rng.random(60) < 0.3, 1 - gold, gold)
        cell = cell_of([LABELS[label] for label in gold], [LABELS[label] for label in answers])
        (share, answered) = (np.bincount(labels, minlength=3) / 60 for labels in (gold, answers))
        shown.append(float(total_variation(answered - share)))
        said.append(by_chance(cell))
    assert np.mean(said) == pytest.approx(np.mean(shown), rel=0.05)


def test_resamples_are_moved_back_to_the_value(tmp_path: Path) -> None:
    run = collect([table_of(tmp_path, [ANSWERS]).rows[0].runs[0].path]).runs[0]
    drawn = distance_draws({0: run.cells["toy", "greedy"]}, 200)
    assert drawn.draws.mean() == pytest.approx(drawn.values[0])
    assert drawn.draws.std() > 0.05


def test_three_seeds_are_averaged_with_an_interval_over_seeds(tmp_path: Path) -> None:
    fair: list[str | float | None] = list(GOLD)
    found = label_shares(table_of(tmp_path, [ANSWERS, fair, ANSWERS]).rows[0], ("toy", "greedy"))
    assert found is not None
    assert found.distance.value == pytest.approx(0.8 / 3)
    assert (found.distance.seeds, found.distance.basis) == (3, "seeds and items")
    assert found.answered == pytest.approx({"no": 0.7 / 3, "yes": 2.1 / 3, "malformed": 0.2 / 3})
    alone = label_shares(table_of(tmp_path / "alone", [ANSWERS]).rows[0], ("toy", "greedy"))
    assert alone is not None
    assert found.by_chance == pytest.approx((alone.by_chance + 0.0 + alone.by_chance) / 3)
    assert found.distance.low == 0.0  # the interval reaches below, a distance cannot


def test_table_and_bars_name_gold_and_method(tmp_path: Path) -> None:
    table = table_of(tmp_path, [ANSWERS])
    found = all_label_shares(table)
    assert "| toy | SFT w. rationale | 40.0 [" in markdown_grid(shares_grid(table, found))
    assert "no −40.0 |" in markdown_grid(shares_grid(table, found))
    (picture,) = shares_pictures(table, found)
    gold, method = (bar for bar in picture.panels[0].marks if isinstance(bar, Bar))
    assert (gold.label, gold.parts[0][0], method.text) == ("gold", 0.5, "40.0")
    assert [share for share, _ in method.parts] == pytest.approx([0.1, 0.8, 0.1])
    assert [name for name, _ in picture.legend] == ["no", "yes", "malformed"]


def test_malformed_is_named_only_where_it_occurs(tmp_path: Path) -> None:
    fair: list[str | float | None] = list(GOLD)
    table = table_of(tmp_path, [fair])
    (picture,) = shares_pictures(table, all_label_shares(table))
    assert [name for name, _ in picture.legend] == ["no", "yes"]


def test_numbers_have_no_label_shares(tmp_path: Path) -> None:
    eval_folder(
        tmp_path / "eval" / "n",
        columns={"toy": {"greedy": ([1.0, 2.0, 3.0], [1.0, 2.0, 2.5])}},
        metrics=("pearson",),
        scale=(0.0, 5.0),
    )
    table = build_table(collect([tmp_path]).runs, decodings=("greedy",), resamples=50)
    assert all_label_shares(table) == {}


def test_seeds_are_resampled_together_as_they_are_alone() -> None:
    """Two seeds on equal items and one, between them, on others."""
    cells = {
        seed: CellData("toy", ids, ("no", "yes", "yes"), answers, ("no", "yes"), None, {})
        for seed, ids, answers in (
            (0, ("a", "b", "c"), ("no", "no", "yes")),
            (1, ("a", "b", "d"), ("yes", "yes", "yes")),
            (2, ("a", "b", "c"), ("no", "no", "no")),
        )
    }
    together = distance_draws(cells, 50)
    assert together.values == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    for place, (seed, cell) in enumerate(cells.items()):
        assert together.draws[place] == pytest.approx(distance_draws({seed: cell}, 50).draws[0])


def test_a_distance_is_one_at_most(tmp_path: Path) -> None:
    found = label_shares(table_of(tmp_path, [[None] * 10]).rows[0], ("toy", "greedy"))
    assert found is not None
    assert (found.distance.value, found.distance.high) == (1.0, 1.0)


def test_what_one_decoding_lacks_is_a_dash_under_it_alone(tmp_path: Path) -> None:
    fair: list[str | float | None] = list(GOLD)
    eval_folder(tmp_path / "a", method="A", columns={"toy": {"greedy": (GOLD, ANSWERS)}})
    eval_folder(tmp_path / "b", method="B", columns={"toy": {"sampled": (GOLD, fair), "greedy": (GOLD, fair)}})
    table = build_table(collect([tmp_path]).runs, decodings=("sampled", "greedy"), resamples=50)
    found = all_label_shares(table)
    grid = shares_grid(table, found)
    titles = ["distance", "by chance", "furthest label"]
    assert [heading.title for heading in grid.headings] == ["column", "method", *titles, *titles]
    assert [heading.group for heading in grid.headings] == ["", "", *["sampled"] * 3, *["greedy"] * 3]
    assert [heading.is_number for heading in grid.headings] == [False, False, *[True, True, False] * 2]
    lines = {row[1].text: [cell.text for cell in row] for row in grid.rows}
    assert lines["A"][2:5] == ["–", "–", "–"]
    assert lines["A"][7] == "no −40.0"
    assert (lines["B"][2], lines["B"][5], len(lines["B"])) == ("0.0", "0.0", 8)
    (picture,) = shares_pictures(table, found)  # of greedy decoding, the last
    bars = [bar for bar in picture.panels[0].marks if isinstance(bar, Bar)]
    assert sorted(bar.label for bar in bars) == ["A", "B", "gold"]
    assert picture.legend == [("no", 0), ("yes", 1), ("malformed", OTHER)]  # of A alone


def test_labels_beyond_the_colours_share_the_grey(tmp_path: Path) -> None:
    table = table_of(tmp_path, [ANSWERS])
    names = [f"label {number:02}" for number in range(OTHER + 2)]
    even = {**dict.fromkeys(names, 1 / len(names)), "malformed": 0.0}
    known = LabelShares(even, even, Estimate(0.0, 0.0, 0.1, None, 1, "items"), 0.1)
    (picture,) = shares_pictures(table, {(0, ("toy", "greedy")): known})
    assert picture.legend == [(name, min(place, OTHER)) for place, name in enumerate(names)]
    assert picture.legend[-2:] == [(names[-2], OTHER), (names[-1], OTHER)]
