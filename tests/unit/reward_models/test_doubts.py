"""What is said of reward models before PPO trains on them: their accuracy beside baselines, and when it is doubted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rewardlab.disk import write_json
from rewardlab.reward_models.doubts import OWN_ANSWERS, Accuracy, accuracies, reward_model_lines, warnings

WEAK = Accuracy("label", "held_out_label", "sentiment", 0.615, 0.538, 0.700, 130, 0.515, 0.496)
STRONG = replace(WEAK, value=0.969, low=0.938, high=0.992)
OWN_WEAK = replace(WEAK, name=OWN_ANSWERS)
OWN_STRONG = replace(STRONG, name=OWN_ANSWERS)


def cell(found: Accuracy) -> dict[str, Any]:
    shares = {name: getattr(found, name) for name in ("value", "low", "high", "label_only", "length_only")}
    return {**shares, "n": found.pairs}


def model(path: Path, kind: str, sets: Mapping[str, Mapping[str, Accuracy]]) -> Path:
    stored = {name: {task: cell(found) for task, found in by_task.items()} for name, by_task in sets.items()}
    write_json(path / "result.json", {"kind": kind, "accuracy": stored})
    return path


def test_what_nobody_who_reads_could_reach_is_the_best_baseline_and_its_noise() -> None:
    """0.515 + 1.96 * sqrt(0.515 * 0.485 / 130) = 0.515 + 1.96 * 0.043833 = 0.600913."""
    assert WEAK.reachable == pytest.approx(0.600913, abs=1e-6)
    assert WEAK.is_doubted
    assert not STRONG.is_doubted
    assert not replace(WEAK, low=0.601).is_doubted
    assert replace(WEAK, low=0.600).is_doubted


def test_the_best_of_the_baselines_counts_and_never_less_than_a_coin() -> None:
    """Length alone 0.8 on 100 pairs: 0.8 + 1.96 * 0.04 = 0.8784; without baselines 0.5 + 1.96 * 0.05 = 0.598."""
    assert replace(WEAK, pairs=100, length_only=0.8).reachable == pytest.approx(0.8784)
    assert replace(WEAK, pairs=100, label_only=None, length_only=None).reachable == pytest.approx(0.598)
    assert replace(WEAK, pairs=100, label_only=0.2, length_only=0.3).reachable == pytest.approx(0.598)


def test_two_pairs_in_the_right_order_say_nothing() -> None:
    assert replace(WEAK, value=1.0, low=1.0, high=1.0, pairs=2, label_only=0.5, length_only=0.5).is_doubted


def test_pairs_of_its_own_kind_and_own_answers_are_shown(tmp_path: Path) -> None:
    sets = {"held_out_label": {"a": STRONG, "b": WEAK}, "held_out_ranked": {"a": WEAK}, OWN_ANSWERS: {"a": OWN_STRONG}}
    folder = model(tmp_path / "rm", "label", sets)
    lines = reward_model_lines({"label": folder}, "label", needs_gold=False)
    assert lines[:3] == [
        "label RM, a: 96.9 % [93.8, 99.2] of 130 held-out label pairs in the right order; label alone 51.5, length "
        "alone 49.6",
        "label RM, b: 61.5 % [53.8, 70.0] of 130 held-out label pairs in the right order; label alone 51.5, length "
        "alone 49.6",
        "label RM, a: 96.9 % [93.8, 99.2] of 130 own answers that differ in the label in the right order; label alone "
        "51.5, length alone 49.6",
    ]
    assert lines[3:4] == [
        "warning: label RM, b: its interval on held-out label pairs begins at 53.8 %; a scorer of label or length "
        "alone, or guessing, reaches up to 60.1 % on 130 pairs"
    ]
    assert len(lines) == 5
    assert "Training on label will raise its score and leave accuracy where it is, or lower it." in lines[4]
    assert '--reward "label + rule"' in lines[4]


@pytest.mark.parametrize(
    ("kind", "there", "expected"),
    [
        ("ranked", ["held_out_label", "held_out_ranked"], "held_out_ranked"),
        ("rationale", ["held_out_label", "held_out_ranked"], "held_out_ranked"),
        ("rationale", ["held_out_rationale"], "held_out_rationale"),
        ("ranked", ["held_out_label"], "held_out_label"),
    ],
)
def test_a_kind_is_measured_on_its_own_pairs_where_there_are_any(kind: str, there: list[str], expected: str) -> None:
    result = {"kind": kind, "accuracy": {name: {"a": cell(WEAK)} for name in there}}
    assert [found.name for found in accuracies(result)] == [expected]


def test_a_reward_model_without_held_out_pairs_is_named(tmp_path: Path) -> None:
    folder = model(tmp_path / "rm", "label", {OWN_ANSWERS: {}})
    (line,) = reward_model_lines({"label": folder}, "label", needs_gold=False)
    assert line == "label RM: no pair was held out, so its accuracy is not known"


def test_own_answers_are_doubted_only_where_nothing_else_knows_labels() -> None:
    ranked = replace(OWN_WEAK, kind="ranked")
    assert len(warnings([OWN_WEAK], "label", needs_gold=False)) == 2  # the doubt, and what to expect
    assert "interval on own answers that differ in the label" in warnings([OWN_WEAK], "label", needs_gold=False)[0]
    assert warnings([OWN_WEAK], "label + rule", needs_gold=True) == []
    assert warnings([OWN_STRONG, ranked], "mixed", needs_gold=False) == []  # the label RM orders them
    assert len(warnings([OWN_WEAK, ranked], "mixed", needs_gold=False)) == 3
    assert len(warnings([STRONG, OWN_WEAK], "label", needs_gold=False)) == 2  # pairs are ordered, own answers not
    other = replace(OWN_STRONG, task="topic")
    assert len(warnings([other, ranked], "mixed", needs_gold=False)) == 2  # of another task
    assert len(warnings([WEAK], "label + rule", needs_gold=True)) == 2  # pairs of its own kind always count
