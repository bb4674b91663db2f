"""Validation inside SFT: when it looks, which adapter it keeps, what it costs, and that training does not notice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rewardlab import processes
from rewardlab.disk import read_jsonl
from rewardlab.models import load_trunk
from rewardlab.models.sampler import Sample, SamplingConfig, sample
from rewardlab.runs import CHECKPOINTS, RunFolder
from rewardlab.tasks.task import STOP_STRINGS
from rewardlab.training.schedule import UNBOUNDED
from rewardlab.training.sft import train_sft
from rewardlab.training.validation import Cadence, Validation
from tests.support.models import tiny_llama, tiny_tokenizer
from tests.unit.training.test_sft import EXAMPLES, RATIONALES, TEXTS, make_config, open_folder

ROWS = EXAMPLES[:4]
BUDGET = {"lr": 1e-2, "epochs": 3, "batch": 8, "micro_batch": 8, "checkpoint_every": 1}
"""16 rows in batches of 8: two steps an epoch, six in all."""


class Cut(Exception):
    """The interruption."""


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "llama", tiny_tokenizer(TEXTS))


def answering(monkeypatch: pytest.MonkeyPatch, right: dict[int, int]) -> None:
    """Of the four rows the first ``right[step]`` are answered rightly after so many optimiser steps."""
    original = Validation._measure

    def measure(self: Validation, step: int) -> Any:
        texts = [f"x\n\n The answer is: {row.label}" if n < right[step] else "?" for n, row in enumerate(self.examples)]
        monkeypatch.setattr(Validation, "_answers", lambda self: [Sample((1,), text, True) for text in texts])
        return original(self, step)

    monkeypatch.setattr(Validation, "_measure", measure)


def trained(llama: Path, path: Path, rows: Any = ROWS, **section: Any) -> tuple[dict[str, Any], RunFolder]:
    config = make_config(llama, sft={**BUDGET, **section})
    folder = open_folder(path)
    return train_sft(folder, config, EXAMPLES, RATIONALES, validation=rows), folder


def adapter(folder: RunFolder, name: str) -> dict[str, torch.Tensor]:
    return dict(load_file(folder.path / name / "adapter_model.safetensors"))


def spied(monkeypatch: pytest.MonkeyPatch) -> dict[int, dict[str, torch.Tensor]]:
    """The adapter after each step that is measured."""
    seen: dict[int, dict[str, torch.Tensor]] = {}
    look: Callable[[Validation, int], dict[str, float]] = Validation.look

    def spy(self: Validation, step: int) -> dict[str, float]:
        seen[step] = {key: value.detach().clone() for key, value in self.trunk.roles.state("sft").items()}
        return look(self, step)

    monkeypatch.setattr(Validation, "look", spy)
    return seen


def same(stored: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(stored[f"base_model.model.{key}"], weight) for key, weight in weights.items())


@pytest.mark.parametrize(
    ("steps", "per_epoch", "due"),
    [
        (9, 3, [3, 6, 9]),
        (5, 3, [3, 5]),  # one epoch and two thirds
        (3, 3, [3]),
        (20, 1, [4, 8, 12, 16, 20]),  # 20 epochs: every fourth
        (14, 2, [4, 8, 12, 14]),  # 7 epochs: every second, and the last
    ],
)
def test_it_looks_after_each_epoch_and_five_times_at_most(steps: int, per_epoch: int, due: list[int]) -> None:
    cadence = Cadence.of_sft(steps, per_epoch)
    assert [step for step in range(1, steps + 1) if cadence.is_due(step)] == due
    assert cadence.looks == len(due)


def test_how_many_measures_there_will_be() -> None:
    assert Cadence(None, 10).looks == 5
    assert Cadence(3, UNBOUNDED).looks is None
    assert (Cadence(1, 10).looks, Cadence(4, 10).looks) == (10, 3)
    assert Cadence(0, 10).looks == 10


def test_without_a_budget_the_fifths_are_those_of_the_steps() -> None:
    assert [step for step in range(1, 11) if Cadence(None, 10).is_due(step)] == [2, 4, 6, 8, 10]
    assert not any(Cadence(0, 10).is_due(step) for step in range(11))


def test_where_time_ends_training_it_looks_after_each_fifth_of_it() -> None:
    cadence = Cadence.of_sft(UNBOUNDED, 3)
    shares = [0.0, 0.1, 0.25, 0.3, 0.45, 0.7, 1.01]
    assert [step for step in range(1, 7) if cadence.is_due(step, shares[step - 1], shares[step])] == [2, 4, 5, 6]


def test_the_earliest_of_the_best_epochs_is_kept_beside_the_last(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, {2: 1, 4: 3, 6: 3})
    seen = spied(monkeypatch)
    result, folder = trained(llama, tmp_path / "run")
    assert list(seen) == [2, 4, 6]
    assert {name: (each["step"], each["accuracy"]) for name, each in result["validation"].items()} == {
        "best": (4, 0.75),
        "last": (6, 0.75),
    }
    assert result["candidates"] == 3
    assert same(adapter(folder, "adapter-best"), seen[4])
    assert same(adapter(folder, "adapter"), seen[6])
    assert not same(adapter(folder, "adapter-best"), seen[6])
    measured = list(read_jsonl(folder.path / "validation.jsonl"))
    assert [row["step"] for row in measured] == [2, 4, 6]
    assert [(row["worse"], row["better"]) for row in measured] == [(0, 0)] * 3  # no start to compare with


def test_answers_are_those_of_the_adapter_as_it_is(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last ones are what the stored adapter answers when it is merged into the trunk, and not the base's."""
    answers = Validation._answers
    given: list[list[Sample]] = []

    def spy(self: Validation) -> list[Sample]:
        given.append(answers(self))
        return given[-1]

    monkeypatch.setattr(Validation, "_answers", spy)
    _, folder = trained(llama, tmp_path / "run", lr=2e-2, epochs=6)
    config = make_config(llama)
    sampling = SamplingConfig(config.new_tokens, 0.0, STOP_STRINGS[config.format])
    found = []
    for stored in (folder.path / "adapter", None):
        trunk = load_trunk(config.model, stored)
        prompts = [trunk.codec.prompt_ids(row) for row in ROWS]
        found.append([one.ids for one in sample(trunk, prompts, range(4), sampling, None)])
    assert len(given) == 3  # 12 steps, two an epoch: every second epoch
    assert [one.ids for one in given[-1]] == found[0] != found[1]


def test_training_does_not_notice(llama: Path, tmp_path: Path) -> None:
    found = {}
    for name, rows in (("watched", ROWS), ("alone", ())):
        result, folder = trained(llama, tmp_path / name, rows)
        logged = list(read_jsonl(folder.path / "metrics.jsonl"))
        found[name] = (logged, {key: value.tolist() for key, value in adapter(folder, "adapter").items()})
        assert (result["validation"] is None) == (name == "alone")
    assert found["watched"] == found["alone"]
    assert not (tmp_path / "alone" / "adapter-best").exists()


@pytest.mark.parametrize(("section", "rows"), [({"epochs": 1}, ROWS), ({}, ())])
def test_nothing_is_measured_without_a_choice_or_without_rows(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: dict[str, Any], rows: Any
) -> None:
    monkeypatch.setattr(Validation, "look", lambda self, step: pytest.fail("measured"))
    result, folder = trained(llama, tmp_path / "run", rows, **section)
    assert result["validation"] is None
    assert result["candidates"] == (1 if section else 3)
    assert not (folder.path / "adapter-best").exists()


def test_weights_in_pieces_are_not_measured_and_a_warning_says_so(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "is_sharded", lambda: True)
    result, _ = trained(llama, tmp_path / "run")
    assert result["validation"] is None
    assert "the last adapter counts, not the best one" in caplog.text


@pytest.mark.parametrize("cut_after", [3, 4, 5])
def test_a_run_that_was_cut_keeps_the_same_best(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_after: int
) -> None:
    """A checkpoint after every step; the best one is that of step 4, which the second process does not see again."""
    answering(monkeypatch, {2: 1, 4: 4, 6: 2})
    straight, whole = trained(llama, tmp_path / "straight")
    from rewardlab.training import sft_trainer

    step = sft_trainer._Trainer.training_step

    def cut(self: Any, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step == cut_after:
            raise Cut
        return step(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(sft_trainer._Trainer, "training_step", cut)
        with pytest.raises(Cut):
            trained(llama, tmp_path / "cut")
    seen = spied(monkeypatch)
    resumed, folder = trained(llama, tmp_path / "cut")
    assert list(seen) == [due for due in (2, 4, 6) if due > cut_after]
    assert resumed["validation"] == straight["validation"]
    for name in ("adapter", "adapter-best"):
        assert all(torch.equal(weight, adapter(folder, name)[key]) for key, weight in adapter(whole, name).items())
    files = [(each.path / "validation.jsonl").read_bytes() for each in (whole, folder)]
    assert files[0] == files[1]
    assert (folder.path / CHECKPOINTS / "checkpoint-6" / "validation.json").exists()


def test_measuring_is_a_part_of_the_time_that_a_timed_run_has(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that a step moves by 1 s and a measure by 2 s: of 10 s the fifths are over after 2, 4, 6, 8 and 10 s.

    Steps 1 and 2 take it to 2 s, the measure to 4; step 3 to 5, step 4 to 6, measure: 8; step 5: 9, step 6: 10, and the
    measure of the last policy ends at 12.
    """
    from rewardlab.training import sft_trainer

    clock = {"now": 0.0}
    step, look = sft_trainer._Trainer.training_step, Validation.look

    def timed_step(self: Any, *arguments: Any, **named: Any) -> Any:
        clock["now"] += 1.0
        return step(self, *arguments, **named)

    def timed_look(self: Validation, at: int) -> dict[str, float]:
        clock["now"] += 2.0
        return look(self, at)

    monkeypatch.setattr(sft_trainer._Trainer, "training_step", timed_step)
    monkeypatch.setattr(Validation, "look", timed_look)
    for module in ("rewardlab.training.sft_validation", "rewardlab.training.time_limit"):
        monkeypatch.setattr(f"{module}.device_now", lambda device: clock["now"])
    answering(monkeypatch, {2: 1, 4: 2, 6: 2})
    result, _ = trained(llama, tmp_path / "run", seconds=10.0)
    assert result["steps"] == 6
    assert result["device_seconds"] == pytest.approx(12.0)
    assert (result["validation"]["best"]["step"], result["validation"]["last"]["step"]) == (4, 6)
