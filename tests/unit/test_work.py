"""Choices that a stage makes when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rewardlab.config import load_config
from rewardlab.pipeline import work
from rewardlab.pipeline.stage import Work
from rewardlab.pipeline.work import _critic_kind
from rewardlab.runs import RunFolder, write_jsonl
from rewardlab.tasks.sources import Origin, Splits
from rewardlab.training.progress import Silent
from rewardlab.training.rm_evaluation import SampledAnswer
from rewardlab.types import Example


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
    splits = {"sst2": Splits(labelled, [], validation, {}, Origin("local", "here", "0"))}
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
    work.reward_model(job, config, "label", splits)
    assert asked["samples"] == [
        SampledAnswer(validation[0], ("0a", "0b", "0c")),
        SampledAnswer(validation[1], ("1a", "1b", "1c")),
    ]
    assert asked["examples"] == [*labelled, *validation]
