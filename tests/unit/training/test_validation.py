"""Validation inside PPO: when it looks, what it keeps, that it survives a resume, and that training does not notice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rewardlab.disk import read_jsonl
from rewardlab.models.sampler import Sample, SamplingConfig, sample
from rewardlab.training import validation
from rewardlab.training.loop import OnlineTrainer
from rewardlab.training.validation import Cadence, Validation
from rewardlab.types import Answer, Example, Label
from tests.support.models import tiny_llama
from tests.support.training import EXAMPLES, ppo_trainer


class Cut(Exception):
    """The interruption."""


def letters(example: Example, response: str) -> float:
    return sum(character.isalpha() for character in response) - 0.5 * len(response)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model") / "model")


def trainer(model: Path, folder: Path, **settings: Any) -> OnlineTrainer:
    folder.mkdir(exist_ok=True)
    if not (folder / "model").exists():
        (folder / "model").symlink_to(model)
    return ppo_trainer(folder, letters, validation=EXAMPLES[:4], **{"steps": 4, **settings})


def adapter(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "run" / name / "adapter_model.safetensors"))


def outcome(folder: Path) -> list[dict[str, Any]]:
    """The log, without times and without what validation adds."""
    return [
        {key: value for key, value in row.items() if not key.startswith(("time/", "validation/"))}
        for row in read_jsonl(folder / "run" / "metrics.jsonl")
    ]


def told(monkeypatch: pytest.MonkeyPatch, right: dict[int, int]) -> None:
    """Let the policy answer the first ``right[step]`` of its four rows rightly, in place of what it would say."""
    original = Validation._measure

    def measure(self: Validation, step: int) -> validation.Measured:
        words = [str(row.label) for row in self.examples]
        texts = [word if number < right[step] else "what?" for number, word in enumerate(words)]
        monkeypatch.setattr(Validation, "_answers", lambda self: [Sample((1, 2), text, True) for text in texts])
        return original(self, step)

    monkeypatch.setattr(Validation, "_measure", measure)


@pytest.mark.parametrize(
    ("steps", "every", "due"),
    [
        (30, None, [0, 6, 12, 18, 24, 30]),
        (7, None, [0, 2, 4, 6, 7]),  # every ceil(7 / 5) = 2 steps, and after the last one
        (3, None, [0, 1, 2, 3]),
        (10, 4, [0, 4, 8, 10]),
        (10, 0, []),
        (0, None, [0]),
    ],
)
def test_it_looks_before_the_first_step_every_so_often_and_after_the_last(
    model: Path, tmp_path: Path, steps: int, every: int | None, due: list[int]
) -> None:
    watching = trainer(model, tmp_path, steps=steps, validate_every=every).validation
    assert [step for step in range(steps + 1) if watching.is_due(step)] == due


@pytest.mark.parametrize(
    ("steps", "shares", "due"),
    [
        # 16 steps of equal cost: fifths of the budget are over after steps 4, 7, 10, 13 and 16
        (None, [step / 16 for step in range(17)], [4, 7, 10, 13, 16]),
        (None, [0.0, 0.1, 0.55, 0.59, 1.3], [2, 4]),  # a step that spends several fifths is measured once
        (10, [0.03 * step for step in range(11)], [2, 4, 6, 8, 10]),  # the steps are over first
        (3, [0.0, 0.1, 0.5, 1.0], [1, 2, 3]),
        (0, [0.0], []),
    ],
)
def test_under_a_budget_it_follows_what_is_spent(
    model: Path, tmp_path: Path, steps: int | None, shares: list[float], due: list[int]
) -> None:
    watching = trainer(model, tmp_path, steps=steps, max_tokens=100).validation
    found = [step for step in range(1, len(shares)) if watching.is_due(step, shares[step - 1], shares[step])]
    assert found == due


def test_a_wish_for_steps_holds_under_a_budget(model: Path, tmp_path: Path) -> None:
    watching = trainer(model, tmp_path, steps=None, max_tokens=100, validate_every=3).validation
    assert [step for step in range(1, 8) if watching.is_due(step, 0.0, 0.9)] == [3, 6]


def test_without_rows_it_never_looks(model: Path, tmp_path: Path) -> None:
    watching = trainer(model, tmp_path).validation
    watching.examples = []
    assert not watching.is_due(0)
    assert watching.summary() is None


def test_the_earliest_of_the_best_policies_is_kept_beside_the_last(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, {0: 1, 1: 2, 2: 3, 3: 3, 4: 1})
    running = trainer(model, tmp_path, validate_every=1)
    after: dict[int, dict[str, torch.Tensor]] = {}
    look = running.validation.look

    def seen(step: int) -> dict[str, float]:
        after[step] = {k: v.detach().clone() for k, v in running.trunk.roles.state("policy").items()}
        return look(step)

    monkeypatch.setattr(running.validation, "look", seen)
    result = running.train()
    assert result.validation is not None
    found = {name: (each["step"], each["accuracy"]) for name, each in result.validation.items()}
    assert found == {"start": (0, 0.25), "best": (2, 0.75), "last": (4, 0.25)}
    for name, step in (("adapter-best", 2), ("adapter", 4)):
        stored = adapter(tmp_path, name)
        assert len(stored) == len(after[step]) > 0
        for key, weight in after[step].items():
            torch.testing.assert_close(stored[f"base_model.model.{key}"], weight, rtol=0, atol=0)
        if name == "adapter":
            torch.testing.assert_close(running.trunk.roles.state("policy"), after[step], rtol=0, atol=0)
    assert [row["accuracy"] for row in read_jsonl(tmp_path / "run" / "validation.jsonl")] == [
        0.25,
        0.5,
        0.75,
        0.75,
        0.25,
    ]
    rows = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    assert [row["validation/accuracy"] for row in rows] == [0.5, 0.75, 0.75, 0.25]
    assert rows[0]["validation/malformed"] == 0.5  # two of four


def test_answers_are_the_greedy_ones(model: Path, tmp_path: Path) -> None:
    watching = trainer(model, tmp_path).validation
    prompts = [watching.trunk.codec.prompt_ids(row) for row in watching.examples]
    greedy, drawn = (
        [
            found.ids
            for found in sample(watching.trunk, prompts, range(4), replace(watching.sampling, temperature=t), "policy")
        ]
        for t in (0.0, 1.0)
    )
    assert [found.ids for found in watching._answers()] == greedy != drawn


def test_training_does_not_notice(model: Path, tmp_path: Path) -> None:
    for name, every in (("watched", 1), ("alone", 0)):
        trainer(model, tmp_path / name, validate_every=every).train()
    assert outcome(tmp_path / "watched") == outcome(tmp_path / "alone")
    watched, alone = (adapter(tmp_path / name, "adapter") for name in ("watched", "alone"))
    for key, weight in alone.items():
        torch.testing.assert_close(watched[key], weight, rtol=0, atol=0)
    assert not (tmp_path / "alone" / "run" / "adapter-best").exists()
    assert not (tmp_path / "alone" / "run" / "validation.jsonl").exists()


@pytest.mark.parametrize("cut_at", [2, 3])
def test_a_resumed_run_keeps_the_same_best(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_at: int
) -> None:
    """Checkpoints after steps 2 and 4; cut while measuring after step 2 or 3, so that 3 is measured anew."""
    right = {0: 1, 1: 3, 2: 2, 3: 4, 4: 0}
    told(monkeypatch, right)
    trainer(model, tmp_path / "straight", validate_every=1, checkpoint_every=2).train()
    interrupted = trainer(model, tmp_path / "cut", validate_every=1, checkpoint_every=2)
    look = interrupted.validation.look

    def cut(step: int) -> dict[str, float]:
        found = look(step)
        if step == cut_at:
            raise Cut
        return found

    monkeypatch.setattr(interrupted.validation, "look", cut)
    with pytest.raises(Cut):
        interrupted.train()
    result = trainer(model, tmp_path / "cut", validate_every=1, checkpoint_every=2).train()
    assert result.validation is not None
    assert result.validation["best"]["step"] == 3
    files = [list(read_jsonl(tmp_path / name / "run" / "validation.jsonl")) for name in ("straight", "cut")]
    assert files[0] == files[1]
    assert [row["step"] for row in files[1]] == [0, 1, 2, 3, 4]
    best = [adapter(tmp_path / name, "adapter-best") for name in ("straight", "cut")]
    for key, weight in best[0].items():
        torch.testing.assert_close(best[1][key], weight, rtol=0, atol=0)


def test_a_resumed_run_measures_after_the_same_steps_of_its_budget(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About 40 tokens a step, so that 400 last some ten steps; checkpoints after every third, cut in the eighth."""
    settings = {"steps": None, "max_tokens": 400, "checkpoint_every": 3}
    trainer(model, tmp_path / "straight", **settings).train()
    rows = list(read_jsonl(tmp_path / "straight" / "run" / "metrics.jsonl"))
    spent = [0, *accumulate(round(8 * row["rollout/response_tokens"]) for row in rows)]
    fifths = [5 * tokens // 400 for tokens in spent]
    due = [0, *(step for step in range(1, len(spent)) if fifths[step] > fifths[step - 1])]
    assert 5 <= len(due) <= 6 < len(rows)
    assert [row["step"] for row in rows if "validation/accuracy" in row] == due[1:]

    interrupted = trainer(model, tmp_path / "cut", **settings)
    record = interrupted._record

    def cut(step: int, *rest: Any) -> Mapping[str, float]:
        if step == 7:
            raise Cut
        return record(step, *rest)

    monkeypatch.setattr(interrupted, "_record", cut)
    with pytest.raises(Cut):
        interrupted.train()
    trainer(model, tmp_path / "cut", **settings).train()
    files = [list(read_jsonl(tmp_path / name / "run" / "validation.jsonl")) for name in ("straight", "cut")]
    assert files[0] == files[1]
    assert [row["step"] for row in files[1]] == due


def test_accuracy_is_the_mean_over_tasks_and_numbers_count_by_correlation(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [replace(EXAMPLES[0], label="negative"), replace(EXAMPLES[1], label="positive")]
    fields = {"text1": "a film", "text2": "a movie"}
    numbers = [Example("stsb", str(n), fields, label, "label") for n, label in enumerate((1.0, 2.0, 4.0))]
    texts = ["negative", "negative", "2.0", "3.0", "5.0"]  # half right; in line with gold, each 1 above it
    watching = trainer(model, tmp_path, steps=1).validation
    watching.examples = [*words, *numbers]
    monkeypatch.setattr(Validation, "_answers", lambda self: [Sample((1,), text, True) for text in texts])
    found = watching._measure(0)
    assert found.tasks == pytest.approx({"sst2": 0.5, "stsb": 1.0})
    assert found.accuracy == pytest.approx(0.75)
    assert (found.rows, found.malformed, found.response_tokens, found.worse, found.better) == (5, 0.0, 1.0, 0, 0)
    later = ["negative", "positive", "1.5", "?", "3.5"]  # a label right, two numbers nearer to gold, one unread
    monkeypatch.setattr(Validation, "_answers", lambda self: [Sample((1, 2, 3), text, True) for text in later])
    found = watching._measure(1)
    assert (found.malformed, found.response_tokens, found.worse, found.better) == (0.2, 3.0, 1, 3)


def test_a_measure_without_a_start_changed_nothing() -> None:
    found = validation.Measured(1, 0.5, {"sst2": 0.5}, 0.0, 1.0, 4)
    assert (found.worse, found.better) == (0, 0)


def watching_nothing(folder: Path, every: int | None = None) -> Validation:
    """A run of ten steps; nothing is asked of the trunk."""
    trunk: Any = SimpleNamespace()
    return Validation(trunk, EXAMPLES, Cadence(every, 10), SamplingConfig(6, 1.0), folder)


def test_without_a_budget_nothing_of_it_is_spent(tmp_path: Path) -> None:
    made = watching_nothing(tmp_path)
    assert [step for step in range(1, 11) if made.is_due(step)] == [2, 4, 6, 8, 10]


def test_answers_are_greedy_whatever_is_trained_with(tmp_path: Path) -> None:
    assert watching_nothing(tmp_path).sampling == SamplingConfig(6, 0.0)


def test_nothing_is_stored_where_nothing_was_measured(tmp_path: Path) -> None:
    made = watching_nothing(tmp_path)
    made.store(tmp_path)
    assert list(tmp_path.iterdir()) == []
    made.reload(tmp_path)
    assert (made.best, made.summary()) == (None, None)


@pytest.mark.parametrize(
    ("task", "gold", "read", "closeness"),
    [
        ("sst2", "positive", "positive", 1.0),
        ("sst2", "positive", "negative", 0.0),
        ("sst2", "positive", None, 0.0),
        ("stsb", 4.0, 3.5, -0.5),
        ("stsb", 4.0, 5.0, -1.0),
        ("stsb", 4.0, None, -5.0),  # from 0 to 5
        ("appreviews", "2", "5", 0.0),  # stars are labels
    ],
)
def test_how_close_an_answer_is(task: str, gold: Label, read: Label | None, closeness: float) -> None:
    assert validation._closeness(Example(task, "1", {}, gold), Answer(read)) == closeness


def test_an_unread_number_is_as_far_as_the_scale_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    stars = SimpleNamespace(is_numeric=True, numeric_range=(1.0, 5.0))
    monkeypatch.setattr(validation, "tasks", SimpleNamespace(get=lambda name: stars))
    assert validation._closeness(Example("stars", "1", {}, 2.0), Answer(None)) == -4.0
