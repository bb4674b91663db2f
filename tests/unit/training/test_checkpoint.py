"""A resumed run is the uninterrupted run, bit by bit; damaged checkpoints are named and passed over."""

from __future__ import annotations

import logging
import os
import random
import re
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rewardlab.disk import read_jsonl
from rewardlab.errors import RunFolderError
from rewardlab.training import checkpoint
from rewardlab.training.checkpoint import Checkpoints
from rewardlab.training.interval import Interval
from rewardlab.training.loop import OnlineTrainer
from rewardlab.types import Example
from tests.support.interrupted import ROWS, Cut, WrittenChoices, failing_in, letters, outcome
from tests.support.models import tiny_llama
from tests.support.training import EXAMPLES, ppo_trainer

STEPS, EVERY = 5, 2
BASE = {"steps": STEPS, "checkpoint_every": EVERY, "batch": ROWS, "micro_batch": 4}
SETTINGS: dict[str, dict[str, Any]] = {
    "adapter": {"minibatches": 2, "kl_target": 0.5, "kl_horizon": 40},
    "budget": {"max_tokens": 400},  # the learning rate follows what is spent
    "head": {"value": "head", "optimizer": "adafactor", "ppo_epochs": 2, "normalise_scores": False},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module", params=SETTINGS)
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**BASE, **SETTINGS[request.param]}


@pytest.fixture(scope="module")
def straight(model: Path, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run without interruption leaves behind."""
    folder = copied(model, tmp_path_factory.mktemp("straight"))
    ppo_trainer(folder, letters, **settings).train()
    return outcome(folder)


@pytest.fixture(scope="module")
def stopped(model: Path, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted in its last step, with two checkpoints."""
    folder = copied(model, tmp_path_factory.mktemp("stopped"))
    with pytest.raises(Cut):
        ppo_trainer(folder, failing_in(4), **settings).train()
    return folder


def copied(model: Path, folder: Path) -> Path:
    shutil.copytree(model, folder / "model")
    return folder


@pytest.mark.parametrize("step", [1, 3])
def test_a_resume_equals_the_run_without_interruption(
    model: Path, settings: dict[str, Any], straight: dict[str, Any], tmp_path: Path, step: int
) -> None:
    folder = copied(model, tmp_path)
    with pytest.raises(Cut):
        ppo_trainer(folder, failing_in(step), **settings).train()
    torch.manual_seed(99)  # a fresh process has another generator state
    calls: list[str] = []

    def counted(example: Example, response: str) -> float:
        calls.append(response)
        return letters(example, response)

    ppo_trainer(folder, counted, **settings).train()
    assert len(calls) == (STEPS - step // EVERY * EVERY) * ROWS  # no finished step is repeated
    assert outcome(folder) == straight


def test_the_newest_two_checkpoints_are_kept(
    stopped: Path, settings: dict[str, Any], straight: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(stopped, folder)
    names = ["step-000002.pt", "step-000004.pt"]
    assert sorted(path.name for path in (folder / "run" / "checkpoints").iterdir()) == names
    ppo_trainer(folder, letters, **settings).train()
    assert outcome(folder) == straight


@pytest.mark.parametrize(("seconds", "left"), [(1e-9, [1, 2]), (3600, []), (None, [])])
def test_a_checkpoint_is_stored_when_it_is_time_too(tmp_path: Path, seconds: float | None, left: list[int]) -> None:
    with pytest.raises(Cut):
        ppo_trainer(tmp_path, failing_in(2), steps=5, checkpoint_every=100, checkpoint_seconds=seconds).train()
    names = {path.name for path in tmp_path.glob("run/checkpoints/*")}
    assert names == {f"step-{step:06d}.pt" for step in left}


def test_the_time_counts_from_the_last_checkpoint() -> None:
    seconds = iter([0.0, 299.0, 300.0, 310.0, 600.0, 610.0])
    interval = Interval(300.0, lambda: next(seconds))
    assert [interval.is_over, interval.is_over] == [False, True]
    interval.restart()
    assert [interval.is_over, interval.is_over] == [False, True]  # 290 s and 300 s after it


@pytest.mark.parametrize(("keep", "left"), [(1, [4]), (3, [2, 3, 4])])
def test_older_checkpoints_are_dropped(tmp_path: Path, keep: int, left: list[int]) -> None:
    trainer = ppo_trainer(tmp_path, letters, run={"keep_checkpoints": keep})
    for step in (1, 2, 3, 4):
        trainer.store(step)
    names = [f"step-{step:06d}.pt" for step in left]
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == names


def test_a_reward_that_draws_numbers_goes_on_with_its_generators(model: Path, tmp_path: Path) -> None:
    def noisy(calls: list[int], limit: int) -> Callable[[Example, str], float]:
        def reward(example: Example, response: str) -> float:
            calls.append(1)
            if len(calls) > limit:
                raise Cut
            return random.random() + float(np.random.random()) + float(torch.rand(()))

        return reward

    settings = {**BASE, "checkpoint_every": 1, "steps": 3}
    found = []
    for name, limits in (("straight", [99]), ("cut", [2 * ROWS + 3, 99])):
        (tmp_path / name).mkdir()
        folder = copied(model, tmp_path / name)
        for generator in (random.seed, np.random.seed, torch.manual_seed):
            generator(5)
        for limit in limits[:-1]:
            with pytest.raises(Cut):
                ppo_trainer(folder, noisy([], limit), **settings).train()
        ppo_trainer(folder, noisy([], limits[-1]), **settings).train()
        found.append([row["score"] for row in read_jsonl(folder / "run" / "samples.jsonl")])
    assert found[0] == found[1]
    assert len(set(found[0])) == 3 * ROWS


def test_a_resume_goes_on_with_the_libraries_of_its_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    choices = WrittenChoices()
    monkeypatch.setattr(checkpoint, "choices", choices)
    trainer = ppo_trainer(tmp_path, letters)
    assert trainer.resume() == 0
    assert choices.adopted == []
    trainer.store(1)
    assert trainer.resume() == 1
    assert choices.adopted == [choices.state()]


def test_a_checkpoint_from_before_the_choices_is_continued(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    choices = WrittenChoices()
    monkeypatch.setattr(checkpoint, "choices", choices)
    trainer = ppo_trainer(tmp_path, letters)
    trainer.store(1)
    [file] = (tmp_path / "run" / "checkpoints").iterdir()
    stored = torch.load(file, weights_only=True)
    del stored["products"]
    torch.save(stored, file)
    assert trainer.resume() == 1
    assert choices.adopted == [None]


def with_checkpoint_of_another(model: Path, folder: Path, **changes: Any) -> OnlineTrainer:
    """A trainer whose folder holds a checkpoint that was made under the usual settings; for runs built in code."""
    for name in ("first", "other"):
        (folder / name).mkdir()
    made = ppo_trainer(copied(model, folder / "first"), letters)
    made.store(1)
    trainer = ppo_trainer(copied(model, folder / "other"), letters, **changes)
    shutil.copytree(made.folder / "checkpoints", trainer.folder / "checkpoints")
    return trainer


def test_another_configuration_is_refused_with_its_keys(model: Path, tmp_path: Path) -> None:
    run = {"seed": 3, "lora.rank": 4, "keep_checkpoints": 5, "model.chat_template_date": "2025-03-01"}
    trainer = with_checkpoint_of_another(
        model, tmp_path, run=run, checkpoint_every=2, checkpoint_seconds=9, clip_ratio=0.1
    )
    expected = r"differs in lora\.rank, model\.chat_template_date, ppo\.clip_ratio, seed\)"
    with pytest.raises(RunFolderError, match=expected):
        trainer.train()


@pytest.mark.parametrize(
    ("reward", "differing"),
    [
        ({"reward.expression": "rule - 0.1 * length"}, "reward.expression"),
        ({"reward.reading": "strict"}, "reward.reading"),
        ({"reward.lam": "5"}, "reward.lam"),
        ({"reward.r2": "rationale"}, "reward.r2"),
    ],
)
def test_a_checkpoint_is_not_continued_under_another_reward(
    model: Path, tmp_path: Path, reward: dict[str, str], differing: str
) -> None:
    trainer = with_checkpoint_of_another(model, tmp_path, run=reward)
    with pytest.raises(RunFolderError, match=rf"differs in {re.escape(differing)}\)"):
        trainer.train()


CHANGED: dict[str, dict[str, Any]] = {
    "reward.expression": {"run": {"reward.expression": "rule + 1"}},
    "reward.lam": {"run": {"reward.lam": 3.0}},
    "format": {"run": {"format": "rationale"}},
    "seed": {"run": {"seed": 1}},
    "lora.alpha": {"run": {"lora.alpha": 64.0}},
    "ppo.kl_coef": {"kl_coef": 0.5},
    "ppo.steps": {"steps": 3},
    "model.max_new_tokens": {"run": {"model.max_new_tokens": 7}},
    "model.max_prompt_tokens": {"run": {"model.max_prompt_tokens": 99}},
    "validation": {"validation": EXAMPLES[:2]},
}


@pytest.mark.parametrize("key", CHANGED)
def test_whatever_the_steps_depend_on_is_refused_when_it_changes(model: Path, tmp_path: Path, key: str) -> None:
    trainer = with_checkpoint_of_another(model, tmp_path, **CHANGED[key])
    with pytest.raises(RunFolderError, match=rf"differs in {re.escape(key)}\)"):
        trainer.train()


@pytest.mark.parametrize("key", ["prompts", "trunk"])
def test_other_prompts_and_another_model_are_refused(model: Path, tmp_path: Path, key: str) -> None:
    """The same prompts in another order are others."""
    trainer = with_checkpoint_of_another(model, tmp_path)
    assert trainer.resume() == 1
    if key == "prompts":
        trainer.examples.reverse()
    else:
        trainer.trunk_sha256 = "0" * 64
    with pytest.raises(RunFolderError, match=rf"differs in {key}\)"):
        trainer.resume()


def test_what_does_not_change_the_steps_may_change(model: Path, tmp_path: Path) -> None:
    trainer = with_checkpoint_of_another(model, tmp_path, run={"keep_checkpoints": 5}, checkpoint_every=2)
    assert trainer.resume() == 1


def with_one_bit_flipped(whole: bytes) -> bytes:
    """Damage in the middle of a weight, which torch itself would load."""
    state = torch.load(BytesIO(whole), weights_only=True)
    weight = next(iter(state["state"]["actor"]["adapters"]["policy"].values()))
    place = whole.index(weight.numpy().tobytes())
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "garbage": lambda _: b"not a checkpoint at all" * 40,
    "another pickle": lambda _: b"\x80\x04N.",
    "one bit": with_one_bit_flipped,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    stopped: Path, settings: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(stopped, folder)
    newest = folder / "run" / "checkpoints" / "step-000004.pt"
    newest.write_bytes(DAMAGE[damage](newest.read_bytes()))
    trainer = ppo_trainer(folder, letters, **settings)
    with caplog.at_level(logging.WARNING):
        assert trainer.resume() == 2
    assert f"checkpoint {newest} cannot be used" in caplog.text
    assert {row["step"] for row in read_jsonl(folder / "run" / "samples.jsonl")} == {1, 2}


def test_damage_anywhere_is_named_or_harmless(
    stopped: Path, settings: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A byte is changed at 150 places, headers included: the older one is used, or all numbers are right."""
    folder = tmp_path / "again"
    shutil.copytree(stopped, folder)
    newest = folder / "run" / "checkpoints" / "step-000004.pt"
    whole = newest.read_bytes()
    trainer = ppo_trainer(folder, letters, **settings)
    ledger = (folder / "run" / "samples.jsonl").read_bytes()
    before = torch.load(BytesIO(whole), weights_only=True)["state"]["actor"]["adapters"]["policy"]
    used = []
    for place in random.Random(0).sample(range(len(whole)), 140) + list(range(len(whole) - 10, len(whole))):
        newest.write_bytes(whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :])
        (folder / "run" / "samples.jsonl").write_bytes(ledger)
        used.append(trainer.resume())
        if used[-1] == 4:
            state = trainer.trunk.roles.state("policy")
            assert all(torch.equal(state[name], tensor) for name, tensor in before.items())
    assert set(used) <= {2, 4}
    assert used.count(2) > 50
    assert caplog.text.count("cannot be used") == used.count(2)


def test_a_checkpoint_whose_ledger_lost_rows_is_passed_over(
    stopped: Path, settings: dict[str, Any], straight: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(stopped, folder)
    ledger = folder / "run" / "samples.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[: 3 * ROWS]))
    ppo_trainer(folder, letters, **settings).train()
    assert "step-000004.pt cannot be used (samples.jsonl has" in caplog.text
    assert outcome(folder) == straight


def test_a_run_over_a_damaged_checkpoint_still_equals_the_straight_one(
    stopped: Path, settings: dict[str, Any], straight: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(stopped, folder)
    newest = folder / "run" / "checkpoints" / "step-000004.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    ppo_trainer(folder, letters, **settings).train()
    assert outcome(folder) == straight


def test_without_a_readable_checkpoint_the_run_starts_over(
    stopped: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(stopped, folder)
    for path in (folder / "run" / "checkpoints").iterdir():
        path.write_bytes(b"")
    trainer = ppo_trainer(folder, letters, **settings)
    assert trainer.resume() == 0
    assert list(read_jsonl(folder / "run" / "samples.jsonl")) == []


@pytest.mark.parametrize("knows_streaks", [True, False])
def test_a_resumed_run_warns_when_an_uninterrupted_one_would(
    model: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    knows_streaks: bool,
) -> None:
    """Equal scores in every step draw the warning in step 4; cut in step 4, with a checkpoint after step 2.

    A checkpoint of before streaks were stored is read as one without any.
    """
    monkeypatch.setattr("rewardlab.training.streaks.PATIENCE", 4)
    shutil.copytree(model, tmp_path / "model")
    calls: list[int] = []

    def equal(example: Example, response: str) -> float:
        calls.append(1)
        if len(calls) == 3 * ROWS + 3:
            raise Cut
        return 1.0

    with pytest.raises(Cut):
        ppo_trainer(tmp_path, equal, **BASE).train()
    assert caplog.messages == []
    if not knows_streaks:
        stored = tmp_path / "run" / "checkpoints" / "step-000002.pt"
        state = torch.load(stored, weights_only=True)
        del state["state"]["streaks"]
        torch.save(state, stored)
    ppo_trainer(tmp_path, equal, **BASE).train()
    said = [message for message in caplog.messages if "reward/deviation was 0" in message]
    assert [message[:16] for message in said] == (["in steps 1 to 4 "] if knows_streaks else [])


class TestFiles:
    """One checkpoint by itself."""

    def test_its_content_is_on_the_disk_before_it_has_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done: list[str] = []
        fsync, replace_ = os.fsync, os.replace

        def synced(descriptor: int) -> None:
            done.append(f"{os.fstat(descriptor).st_size} bytes")
            fsync(descriptor)

        monkeypatch.setattr(checkpoint.os, "fsync", synced)
        monkeypatch.setattr(checkpoint.os, "replace", lambda *paths: (done.append("replace"), replace_(*paths)))
        folder = tmp_path / "above" / "checkpoints"
        Checkpoints(folder, 2, tmp_path / "none.jsonl").save(1, {}, {"weights": torch.arange(3)})
        assert done == [f"{(folder / 'step-000001.pt').stat().st_size} bytes", "replace"]

    def test_the_main_process_writes_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checkpoint.processes, "is_main", lambda: False)
        ledger = tmp_path / "samples.jsonl"
        ledger.write_text("{}\n")
        stored = Checkpoints(tmp_path / "checkpoints", 2, ledger)
        stored.save(1, {}, {})
        assert stored.restore({}) is None
        assert [path.name for path in tmp_path.iterdir()] == ["samples.jsonl"]
        assert ledger.read_text() == "{}\n"

    def test_half_of_one_is_removed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(stored: object, file: Any) -> None:
            file.write(b"half")
            raise OSError("No space left on device")

        monkeypatch.setattr(checkpoint.torch, "save", full)
        with pytest.raises(OSError, match="No space"):
            Checkpoints(tmp_path, 2, tmp_path / "none.jsonl").save(1, {}, {})
        assert list(tmp_path.iterdir()) == []

    def test_code_in_it_is_not_run(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        stored = Checkpoints(tmp_path, 2, tmp_path / "none.jsonl")
        stored.save(1, {}, {"weights": torch.arange(3)})
        stored.save(2, {}, {"planted": TestFiles()})
        found = stored.restore({})
        assert found is not None
        assert (found[0], found[1]["weights"].tolist()) == (1, [0, 1, 2])
        assert "step-000002.pt cannot be used" in caplog.text
