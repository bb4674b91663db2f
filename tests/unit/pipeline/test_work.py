"""Choices that a stage makes when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rewardlab.config_loading import load_config
from rewardlab.disk import write_json, write_jsonl
from rewardlab.pipeline import Pipeline
from rewardlab.pipeline.stage import Work
from rewardlab.pipeline.stages import reward_model, sft, train
from rewardlab.pipeline.stages.pairs import _drawn_answers
from rewardlab.pipeline.stages.samples import sampled_rows
from rewardlab.rewards.context import RewardContext
from rewardlab.runs import RunFolder
from rewardlab.tasks.sources import Origin, Splits
from rewardlab.training.budget import PromptsRead
from rewardlab.training.loop import OnlineResult, OnlineTrainer
from rewardlab.training.methods import methods
from rewardlab.training.progress import Silent
from rewardlab.training.rm_evaluation import SampledAnswer
from rewardlab.types import Example

HERE = Origin("local", "here", "0")


@pytest.mark.parametrize(
    ("kinds", "ppo", "expected"),
    [
        (("label",), {}, "label"),
        (("ranked",), {}, "ranked"),
        (("rationale", "label"), {}, "label"),
        ((), {}, None),
        (("ranked",), {"ppo.value_init": "zero"}, None),
        (("ranked",), {"ppo.value": "head"}, None),
    ],
)
def test_every_learned_reward_gives_the_critic_a_start(
    kinds: tuple[str, ...], ppo: dict[str, str], expected: str | None
) -> None:
    context = RewardContext(sft_scores={kind: [0.0, 1.0] for kind in kinds})
    start = train._critic_start(load_config(ppo).ppo, {kind: Path(kind) for kind in kinds}, context)
    assert (start and start.folder) == (expected and Path(expected) / "adapter")


def row(number: int, part: str) -> Example:
    return Example("sst2", f"{part}-{number}", {"text": f"film {number}"}, "positive", "label")


def test_reward_models_read_the_samples_that_were_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No trunk is loaded, no answer drawn; the rows of the pairs are there, so that their texts can be cut."""
    config = load_config({"pairs.held_out": 2, "pairs.samples": 3, "format": "label", "task": "sst2"})
    labelled, validation = ([row(number, part) for number in range(3)] for part in ("labelled", "validation"))
    splits = {"sst2": Splits(labelled, [], validation, {}, HERE)}
    write_jsonl(
        tmp_path / "samples" / "sampled.jsonl",
        [{"task": "sst2", "id": f"validation-{n}", "responses": [f"{n}{letter}" for letter in "abc"]} for n in (1, 0)],
    )
    for name in ("pairs.jsonl", "held_out.jsonl"):
        write_jsonl(tmp_path / "pairs" / name, [])
    asked: dict[str, Any] = {}

    def train(*given: Any, examples: Sequence[Example]) -> dict[str, Any]:
        asked.update(samples=given[6], examples=list(examples), adapter=given[3])
        return {}

    monkeypatch.setattr("rewardlab.training.reward_model.train_reward_model", train)
    monkeypatch.setattr("rewardlab.models.load_trunk", None, raising=False)
    inputs = {name: tmp_path / name for name in ("samples", "pairs")}
    job = Work(RunFolder(tmp_path / "rm", "rm", {}), inputs, Silent(), lambda what, done, total: None)
    reward_model.reward_model(job, config, "label", splits)
    assert asked["samples"] == [
        SampledAnswer(validation[0], ("0a", "0b", "0c")),
        SampledAnswer(validation[1], ("1a", "1b", "1c")),
    ]
    assert asked["examples"] == [*labelled, *validation]
    assert asked["adapter"] is None  # no start: the base model
    measured = {"step": 10, "accuracy": 0.5}
    write_json(tmp_path / "start" / "result.json", {"steps": 20, "validation": {"best": measured, "last": measured}})
    job = Work(job.folder, {**inputs, "start": tmp_path / "start"}, Silent(), lambda what, done, total: None)
    reward_model.reward_model(job, config, "label", splits)
    assert asked["adapter"] == tmp_path / "start" / "adapter-best"


def test_pairs_are_made_of_the_answers_that_were_drawn_before(tmp_path: Path) -> None:
    """Of all folders, in the order of the rows that are asked about, and as many as are asked for."""
    for part in ("labelled", "validation"):
        rows = [{"task": "sst2", "id": f"{part}-{n}", "responses": [f"{part}{n}{x}" for x in "abc"]} for n in (1, 0)]
        write_jsonl(tmp_path / part / "sampled.jsonl", rows)
    answers = _drawn_answers([tmp_path / "labelled", tmp_path / "validation"])
    assert answers([row(0, "labelled"), row(1, "validation")], 2) == [
        ["labelled0a", "labelled0b"],
        ["validation1a", "validation1b"],
    ]


def test_sampled_are_the_rows_that_pairs_are_made_of(tmp_path: Path) -> None:
    config = load_config({"pairs.held_out": 2, "pairs.limit": 1})
    splits = {"sst2": Splits([row(n, "l") for n in range(3)], [], [row(n, "v") for n in range(3)], {}, HERE)}
    assert [example.id for example in sampled_rows(config, splits, "validation")] == ["v-0", "v-1"]
    assert [example.id for example in sampled_rows(config, splits, "labelled")] == ["l-0"]


def test_sft_is_measured_on_as_many_validation_rows_of_each_task_as_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def train(*given: Any, validation: Sequence[Example]) -> dict[str, Any]:
        asked.update(rows=[example.id for example in given[2]], validation=[example.id for example in validation])
        return {}

    monkeypatch.setattr("rewardlab.training.sft.train_sft", train)
    splits = {"sst2": Splits([row(0, "l")], [row(0, "p")], [row(n, "v") for n in range(3)], {}, HERE)}
    job = Work(RunFolder(tmp_path / "sft", "sft", {}), {}, Silent(), lambda what, done, total: None)
    for rows, expected in ((2, ["v-0", "v-1"]), (0, [])):
        sft.sft(job, load_config({"sft.validation_rows": rows}), splits)
        assert asked == {"rows": ["l-0"], "validation": expected}


def test_sft_depends_on_its_validation_rows(tmp_path: Path) -> None:
    small, large = (Pipeline(load_config({"data.validation": size}), tmp_path).sft(False) for size in (4, 5))
    assert small.fingerprint != large.fingerprint


def test_what_reward_models_can_judge_is_said_before_ppo_begins_and_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is loaded or trained; one held-out set, on which the reward model guesses."""
    cell = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100, "label_only": 0.5, "length_only": None}
    write_json(tmp_path / "rm" / "result.json", {"kind": "label", "accuracy": {"held_out_label": {"sst2": cell}}})
    said: list[str] = []

    def trained(trainer: object) -> OnlineResult:
        said.append("begins")
        return OnlineResult(1, 1, 1, 1, 1, 1, 0.0, PromptsRead.of([row(0, "p")], 1, 1, 0), "", None, None)

    reward = SimpleNamespace(name="label", needs_gold=False, needs_shares=False, lam=None)
    monkeypatch.setattr(train, "start_trunk", lambda *given: None)
    monkeypatch.setattr(
        "rewardlab.models.scoring.add_scorers", lambda *given: SimpleNamespace(scorers={}, sft_scores={})
    )
    monkeypatch.setattr("rewardlab.rewards.build_reward", lambda *given, is_training: reward)
    monkeypatch.setattr(OnlineTrainer, "__init__", lambda *given, **named: None)
    monkeypatch.setattr(OnlineTrainer, "train", trained)
    splits = {"sst2": Splits([], [row(0, "p")], [row(0, "v")], {}, HERE)}
    job = Work(
        RunFolder(tmp_path / "ppo", "ppo", {}),
        {"rm_label": tmp_path / "rm"},
        Silent(),
        lambda *_: None,
        say=said.append,
    )
    config = load_config({"reward.expression": "label", "ppo.normalise_scores": False})
    result = train.train(job, methods.get("ppo"), config, splits)
    assert [line.strip() for line in said] == [*result["reward_models"], "begins"]
    assert result["reward_models"][0].startswith("label RM, sst2: 50.0 % [40.0, 60.0] of 100 held-out label pairs")
    assert [line.startswith("warning: ") for line in result["reward_models"]] == [False, True, True]
