"""The three sentences of a report: a winner is named only where the corrected comparisons and the costs allow it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardlab.comparison.answer import answer, dearer
from rewardlab.comparison.runs import collect
from rewardlab.comparison.table import ComparisonTable, build_table
from tests.support.runs import both, eval_folder

Cost = tuple[int, int, float]
EQUAL: Cost = (100, 200, 30.0)


def made(root: Path, *methods: tuple[str, int, Cost], formats: tuple[str, ...] = ()) -> ComparisonTable:
    """Methods of one seed with so many right of 200 answers, which differ in the items after those."""
    for number, (name, right, cost) in enumerate(methods):
        eval_folder(
            root / "eval" / str(number), method=name, reward="r", cost=cost, columns={"toy": both(right, right, 200)},
            format=formats[number] if formats else None,
        )  # fmt: skip
    return build_table(collect([root]).runs, resamples=200)


def won(table: ComparisonTable) -> str:
    return answer(table)[2].text


def test_what_was_compared_and_measured(tmp_path: Path) -> None:
    compared, measured, _ = answer(made(tmp_path, ("A", 120, EQUAL), ("B", 60, EQUAL)))
    assert compared.text == ("Compared: 2 methods (A and B) on tiny, 1 seed each (of these runs, not of other seeds).")
    assert measured.text == "Measured: acc. times 100 under greedy decoding, on toy (200 items)."


def test_a_method_far_above_all_others_at_their_cost_wins(tmp_path: Path) -> None:
    table = made(tmp_path, ("A", 120, EQUAL), ("B", 60, EQUAL), ("C", 50, (100, 200, 60.0)))
    assert won(table).startswith("Winner: A has the highest value (60.0 [")
    assert "significantly above every other method, at no higher cost than any of them" in won(table)
    assert {source.path.name for source in answer(table)[2].sources} == {"0"}


def test_nobody_wins_where_one_rival_is_level(tmp_path: Path) -> None:
    """63 and 60 of 200: three items, all of them won by A; the exact test of 3 to 0 says p = 0.25."""
    table = made(tmp_path, ("A", 63, EQUAL), ("B", 60, EQUAL), ("C", 5, EQUAL))
    assert won(table).startswith("No method is significantly better than all others: A has the highest value (31.5 [")
    assert won(table).endswith("]), not significantly above B.")


def test_a_winner_that_read_more_labels_is_none_at_equal_cost(tmp_path: Path) -> None:
    table = made(tmp_path, ("A", 120, (300, 200, 30.0)), ("B", 60, EQUAL))
    assert won(table).startswith("No winner at equal cost: A has the highest value")
    assert "but it took more gold labels" in won(table)


def test_a_winner_among_those_of_its_cost_is_named_with_the_cheaper_ones(tmp_path: Path) -> None:
    table = made(tmp_path, ("A", 120, EQUAL), ("B", 60, EQUAL), ("zero-shot", 40, (0, 0, 0.0)))
    told = "significantly above B; it is also above zero-shot, but took more gold labels, annotator calls and device"
    assert won(table).startswith("Winner at equal cost: A has the highest value")
    assert told in won(table)


def test_another_answer_format_keeps_a_winner_from_being_named(tmp_path: Path) -> None:
    table = made(tmp_path, ("A", 120, EQUAL), ("B", 60, EQUAL), formats=("label", "rationale"))
    assert won(table).startswith("No method is significantly better than all others: A")
    assert won(table).endswith("]), not comparable with B (another answer format).")


def test_equal_values_and_single_methods_have_no_winner(tmp_path: Path) -> None:
    assert won(made(tmp_path / "one", ("A", 9, EQUAL))).startswith("No winner: there is no other method")
    level = made(tmp_path / "two", ("A", 60, EQUAL), ("B", 60, EQUAL))
    assert won(level) == "No winner: all methods have the same value as printed."


def test_a_row_without_a_readable_answer_is_no_rival(tmp_path: Path) -> None:
    gold = ["no", "yes"] * 100
    unread = {each: (gold, [None] * 200) for each in ("sampled", "greedy")}
    eval_folder(tmp_path / "eval" / "u", method="U", reward="r", columns={"toy": unread})
    table = made(tmp_path, ("A", 120, EQUAL), ("B", 60, EQUAL))
    assert won(table).startswith("Winner: A")
    assert "(left out, without a readable value: U)" in won(table)


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        ((102, 200, 30.0), (100, 200, 30.0), []),  # two in a hundred: a budget's last batch
        ((103, 200, 30.0), (100, 200, 30.0), ["gold_labels"]),
        ((100, 200, 37.5), (100, 200, 30.0), []),  # a quarter more seconds: the machine
        ((100, 200, 37.6), (100, 200, 30.0), ["seconds"]),
        ((1, 0, 0.0), (0, 0, 0.0), ["gold_labels"]),
    ],
)
def test_more_of_a_cost_than_slack_counts(tmp_path: Path, mine: Cost, theirs: Cost, expected: list[str]) -> None:
    table = made(tmp_path, ("A", 120, mine), ("B", 60, theirs))
    assert dearer(table.rows[0], table.rows[1]) == expected


def test_other_test_items_keep_a_winner_from_being_named(tmp_path: Path) -> None:
    ids = [f"x{number}" for number in range(200)]
    eval_folder(tmp_path / "eval" / "b", method="B", reward="r", columns={"toy": both(60, 60, 200)}, ids=ids)
    assert won(made(tmp_path, ("A", 120, EQUAL))).endswith("not comparable with B (other seeds or test items).")
