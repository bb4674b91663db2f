"""Choices that a stage makes when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rewardlab.config_loading import load_config
from rewardlab.pipeline.stage import Work
from rewardlab.pipeline.work import preferences
from rewardlab.pipeline.work.preferences import _drawn_answers, _sampled_rows
from rewardlab.pipeline.work.tuning import _critic_kind
from rewardlab.runs import RunFolder, write_jsonl
from rewardlab.tasks.sources import Origin, Splits
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
    assert _critic_kind(load_config(ppo), {kind: Path(kind) for kind in kinds}) == expected


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
        asked.update(samples=given[6], examples=list(examples))
        return {}

    monkeypatch.setattr("rewardlab.training.reward_model.train_reward_model", train)
    monkeypatch.setattr("rewardlab.models.load_trunk", None, raising=False)
    inputs = {name: tmp_path / name for name in ("samples", "pairs")}
    job = Work(RunFolder(tmp_path / "rm", "rm", {}), inputs, Silent(), lambda what, done, total: None)
    preferences.reward_model(job, config, "label", splits)
    assert asked["samples"] == [
        SampledAnswer(validation[0], ("0a", "0b", "0c")),
        SampledAnswer(validation[1], ("1a", "1b", "1c")),
    ]
    assert asked["examples"] == [*labelled, *validation]


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
    assert [example.id for example in _sampled_rows(config, splits, "validation")] == ["v-0", "v-1"]
    assert [example.id for example in _sampled_rows(config, splits, "labelled")] == ["l-0"]
