"""Whoever changes the code behind a stage raises its version, or says that its output cannot change.

Raise the number in ``rewardlab/pipeline/kinds.py`` where old folders must not be taken for new ones. Then, and also
where no output can change, run ``python -m tests.support.stage_code``, which records the code as it stands.
"""

from __future__ import annotations

import ast
import json

import pytest

from rewardlab.pipeline.kinds import stage_kinds, trained_kinds
from tests.support import stage_code
from tests.support.stage_code import ROOTS, complaints, normalised

NOW = stage_code.stage_code()


def test_the_code_of_every_stage_is_what_was_recorded() -> None:
    found = complaints(json.loads(stage_code.RECORD.read_text(encoding="utf-8")), NOW)
    assert not found, "\n".join(found)


def test_every_stage_is_watched() -> None:
    assert set(ROOTS) == set(stage_kinds())


def test_stages_stand_in_the_order_in_which_they_are_made() -> None:
    before, after = ["annotate", "sft", "samples", "pairs", "rm", "card"], ["scored", "validate", "eval", "submit"]
    trained = [kind for kind in trained_kinds() if kind != "sft"]
    assert list(stage_kinds()) == [*before, *trained, *after]
    assert {"ppo", "grpo", "dpo", "raft"} <= set(trained)


def test_all_processes_train_and_pairs_annotations_and_encoders_need_no_model() -> None:
    kinds = stage_kinds().items()
    assert {name for name, kind in kinds if kind.is_shared} == {"rm", *trained_kinds()}
    assert {name for name, kind in kinds if not kind.asks_model} == {"annotate", "pairs", "encoder"}


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        ("annotate", "rewardlab.annotate.claims", "rewardlab.training.loop"),
        ("annotate", "rewardlab.sandbox.oracle", "rewardlab.functional.gae"),
        ("sft", "rewardlab.training.sft", "rewardlab.training.loop"),
        ("samples", "rewardlab.models.sampler", "rewardlab.training.reward_model"),
        ("pairs", "rewardlab.pairs.label_sensitive", "rewardlab.training.loop"),
        ("rm", "rewardlab.training.rm_evaluation", "rewardlab.training.loop"),
        ("card", "rewardlab.reward_models.measures", "rewardlab.training.loop"),
        ("ppo", "rewardlab.rewards.evaluate", "rewardlab.training.preference"),
        ("ppo", "rewardlab.training.shaping", "rewardlab.reports.charts"),
        ("eval", "rewardlab.sandbox.quality", "rewardlab.annotate.oracle"),
        ("eval", "rewardlab.tasks.parsing", "rewardlab.training.sft"),
        ("validate", "rewardlab.models.trunk", "rewardlab.training.reward_model"),
    ],
)
def test_a_stage_is_made_of_what_it_runs(kind: str, inside: str, outside: str) -> None:
    found = NOW["stages"][kind]["modules"]
    assert inside in found
    assert outside not in found


def test_changed_code_asks_for_a_version_and_a_raised_version_for_the_record() -> None:
    modules = {"a": "1", "b": "1", "c": "1"}
    stages = {"sft": {"version": 2, "modules": ["a", "b"]}, "ppo": {"version": 3, "modules": ["a", "c"]}}
    recorded = {"modules": modules, "stages": stages}
    assert complaints(recorded, recorded) == []
    [line] = complaints(recorded, {"modules": {**modules, "b": "2"}, "stages": stages})
    assert line.startswith("stage sft: its code changed (b). Raise its version in rewardlab/pipeline/kinds.py")
    assert "python -m tests.support.stage_code" in line
    both = complaints(recorded, {"modules": {**modules, "a": "2"}, "stages": stages})
    assert [line[:9] for line in both] == ["stage sft", "stage ppo"]
    raised = {**stages, "ppo": {"version": 4, "modules": ["a", "c"]}}
    assert complaints(recorded, {"modules": modules, "stages": raised}) == [
        "stage ppo: its version was 3 and is 4; run `python -m tests.support.stage_code`"
    ]
    dropped = {**stages, "ppo": {"version": 3, "modules": ["a"]}}
    assert [line[:36] for line in complaints(recorded, {"modules": modules, "stages": dropped})] == [
        "stage ppo: its code changed (c). Rai"
    ]


CODE = """
def f(a: int = 1) -> int:
    'Doc.'
    if a < 0:
        raise ValueError(f"{a} is low")
    return a + 1
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [("'Doc.'", "'Other.'\n    # why"), ("a: int = 1", "a: float=1"), ("is low", "is too low"), ("-> int", "")],
)
def test_what_people_read_does_not_count(old: str, new: str) -> None:
    assert old in CODE
    assert normalised(ast.parse(CODE)) == normalised(ast.parse(CODE.replace(old, new)))


def test_lines_for_the_log_do_not_count() -> None:
    one, other = "x = 1\nlogger.warning('a %s', x)\ny = 2", "x = 1\nlogger.warning('another')\ny = 2"
    assert normalised(ast.parse(one)) == normalised(ast.parse(other))


@pytest.mark.parametrize(
    ("old", "new"),
    [("a + 1", "a - 1"), ("a + 1", "a + 2"), ("a < 0", "a <= 0"), ("= 1)", "= 2)"), ("ValueError", "TypeError")],
)
def test_what_runs_counts(old: str, new: str) -> None:
    assert old in CODE
    assert normalised(ast.parse(CODE)) != normalised(ast.parse(CODE.replace(old, new)))
