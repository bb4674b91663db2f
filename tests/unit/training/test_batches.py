"""Balanced batches: every gold label in turn, every prompt in passes, tasks as often as without them."""

from __future__ import annotations

from collections import Counter

import pytest

from rewardlab.config_loading import load_config
from rewardlab.errors import InputError
from rewardlab.pipeline.pipeline import Pipeline
from rewardlab.training.batches import draws_of
from rewardlab.training.budget import PromptsRead, prompts_of
from rewardlab.training.schedule import batch_of
from rewardlab.types import Example

RARE, OFTEN = ("rare",) * 3, ("often",) * 21


def rows(labels: tuple[str, ...], task: str = "a") -> list[Example]:
    return [Example(task, f"{task}{place}", {}, label) for place, label in enumerate(labels)]


ROWS = rows(RARE + OFTEN)


def drawn(examples: list[Example], steps: int, batch: int = 8, seed: int = 0) -> list[list[Example]]:
    draw = draws_of(examples, batch, seed, "label")
    return [draw(step) for step in range(steps)]


def test_every_batch_has_as_many_of_each_label() -> None:
    for batch in drawn(ROWS, 6):
        assert Counter(row.label for row in batch) == {"rare": 4, "often": 4}


def test_labels_take_turns_in_an_order_that_changes() -> None:
    taken = [row.label for batch in drawn(rows(("x", "y", "z")), 20, 3) for row in batch]
    turns = [tuple(taken[start : start + 3]) for start in range(0, 60, 3)]
    assert all(set(turn) == {"x", "y", "z"} for turn in turns)
    assert len(set(turns)) > 2


def test_each_label_goes_through_its_own_prompts_in_passes() -> None:
    """84 places: 42 of each label, that is 14 passes over three prompts and two over 21."""
    counts = Counter(row.id for batch in drawn(ROWS, 21, 4) for row in batch)
    assert [counts[row.id] for row in ROWS] == [14] * 3 + [2] * 21
    first = [row.id for batch in drawn(ROWS, 21, 4) for row in batch if row.label == "often"][:21]
    second = [row.id for batch in drawn(ROWS, 21, 4) for row in batch if row.label == "often"][21:42]
    assert sorted(first) == sorted(second)
    assert first != second


def test_tasks_keep_their_shares() -> None:
    """24 rows of one task and 8 of another, which has three labels: one place in four, as without balance."""
    both = [*ROWS, *rows(("x", "x", "x", "x", "x", "x", "y", "z"), "b")]
    taken = [row for batch in drawn(both, 24) for row in batch]
    assert Counter(row.task for row in taken) == {"a": 144, "b": 48}
    assert Counter(row.label for row in taken) == {"rare": 72, "often": 72, "x": 16, "y": 16, "z": 16}


def test_a_step_needs_none_before_it_and_the_seed_counts() -> None:
    assert draws_of(ROWS, 8, 0, "label")(5) == drawn(ROWS, 6)[5]
    assert drawn(ROWS, 2, seed=1) != drawn(ROWS, 2, seed=0)


def test_without_balance_nothing_changes() -> None:
    assert [draws_of(ROWS, 8, 3)(step) for step in range(4)] == [batch_of(ROWS, step, 8, 3) for step in range(4)]


def test_what_was_read_is_told_as_it_was_read() -> None:
    read = PromptsRead.of(ROWS, 1, 6, 0, "label")
    assert read.prompts == 6
    assert read != PromptsRead.of(ROWS, 1, 6, 0)
    assert [row.id for row in prompts_of(ROWS, 2, 6, 0, "label")] == [row.id for b in drawn(ROWS, 2, 6) for row in b]


@pytest.mark.parametrize("method", ["ppo", "grpo", "rloo", "reinforce"])
def test_numbers_cannot_be_balanced(method: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    given = {"task": "sandbox-similarity", "ppo.balance": "label", "data.prompts": 8, "data.labelled": 8}
    with pytest.raises(InputError, match=rf"{method}.balance = label draws .* 8 of the 8 .* have none or a number"):
        Pipeline(load_config(given), tmp_path_factory.mktemp("runs")).train(method)
