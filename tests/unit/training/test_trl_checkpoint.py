"""Checkpoints of SFT and reward models: what is in them, which one is used, how many are kept.

That a killed run goes on bit by bit stands in ``test_sigkill.py``.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from rewardlab.config import RunConfig
from rewardlab.disk import read_jsonl
from rewardlab.errors import ConfigError
from rewardlab.runs import RunFolder
from rewardlab.training import trl_checkpoint
from rewardlab.training.sft import train_sft
from rewardlab.training.trl_checkpoint import newest_checkpoint, steps_before
from rewardlab.training.trl_run import plan_steps
from rewardlab.types import Example
from tests.support.interrupted import WrittenChoices
from tests.support.models import tiny_llama

EXAMPLES = [
    Example("mr", f"{label}-{i}", {"text": f"film {i} is {word}"}, label)
    for i in range(4)
    for word, label in (("good", "positive"), ("bad", "negative"))
]
RATIONALES = {(example.task, example.id): "it is so" for example in EXAMPLES}


def settings(model: Path, keep: int) -> RunConfig:
    sections = {
        "model": {"name": str(model), "device": "cpu", "dtype": "float32", "max_prompt_tokens": 64},
        "sft": {"epochs": 4, "batch": 4, "micro_batch": 4, "checkpoint_every": 2},
        "keep_checkpoints": keep,
    }
    return RunConfig.model_validate(sections)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of a run of eight steps, three kept."""
    folder = tmp_path_factory.mktemp("sft")
    run = RunFolder(folder / "run", "sft", {})
    run.open()
    train_sft(run, settings(tiny_llama(folder / "model"), keep=3), EXAMPLES, RATIONALES)
    return run.path / "checkpoints"


def copied(source: Path, target: Path) -> Path:
    """A copy whose seals hold."""
    return Path(shutil.copytree(source, target / "checkpoints"))


def test_the_newest_are_kept_and_hold_the_role_alone(trained: Path) -> None:
    assert sorted(path.name for path in trained.iterdir()) == ["checkpoint-4", "checkpoint-6", "checkpoint-8"]
    names = {path.name for path in (trained / "checkpoint-8").iterdir()}
    assert names == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "optimizer.pt",
        "products.json",
        "rng_state.pth",
        "scheduler.pt",
        "seal.json",
        "trainer_state.json",
    }


def test_the_newest_whole_one_is_used(trained: Path) -> None:
    found = newest_checkpoint(trained)
    assert found == trained / "checkpoint-8"
    assert steps_before(found) == 8


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.pt", "trainer_state.json", "seal.json"])
def test_a_damaged_one_is_named_and_the_one_before_is_used(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    folder = copied(trained, tmp_path)
    file = folder / "checkpoint-8" / name
    whole = file.read_bytes()
    file.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(folder) == folder / "checkpoint-6"
    assert f"checkpoint {folder / 'checkpoint-8'} cannot be used" in caplog.text


def test_one_that_lost_a_file_or_its_seal_is_passed_over(trained: Path, tmp_path: Path) -> None:
    folder = copied(trained, tmp_path)
    (folder / "checkpoint-8" / "optimizer.pt").unlink()
    (folder / "checkpoint-6" / "seal.json").unlink()
    assert newest_checkpoint(folder) == folder / "checkpoint-4"
    (folder / "checkpoint-4" / "seal.json").write_text("{")
    assert newest_checkpoint(folder) is None
    assert steps_before(None) == 0


@pytest.mark.parametrize(("seconds", "left"), [(1e-9, {6, 7, 8}), (3600, {8})])
def test_a_checkpoint_is_stored_when_it_is_time_too(tmp_path: Path, seconds: float, left: set[int]) -> None:
    """Steps alone would leave the last one; three are kept."""
    config = settings(tiny_llama(tmp_path / "model"), keep=3)
    section = config.sft.model_copy(update={"checkpoint_every": 100, "checkpoint_seconds": seconds})
    run = RunFolder(tmp_path / "run", "sft", {})
    run.open()
    train_sft(run, config.model_copy(update={"sft": section}), EXAMPLES, RATIONALES)
    assert {path.name for path in (run.path / "checkpoints").iterdir()} == {f"checkpoint-{step}" for step in left}


def test_a_finished_run_leaves_no_checkpoints(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", "sft", {})
    run.open()
    config = settings(tiny_llama(tmp_path / "model"), keep=1)
    result = train_sft(run, config, EXAMPLES, RATIONALES)
    assert train_sft(run, config, EXAMPLES, RATIONALES)["tokens"] == result["tokens"]  # nothing is left to be done
    assert len(list(read_jsonl(run.path / "metrics.jsonl"))) == 8
    run.finish(result)
    assert not (run.path / "checkpoints").exists()


def test_a_resume_goes_on_with_the_libraries_of_its_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    choices = WrittenChoices()
    monkeypatch.setattr(trl_checkpoint, "choices", choices)
    run, config = RunFolder(tmp_path / "run", "sft", {}), settings(tiny_llama(tmp_path / "model"), keep=1)
    run.open()
    train_sft(run, config, EXAMPLES, RATIONALES)
    assert choices.adopted == []
    train_sft(run, config, EXAMPLES, RATIONALES)
    assert choices.adopted == [choices.state()]


def test_a_batch_is_dealt_evenly_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    section = settings(Path("x"), keep=1).sft.model_copy(update={"batch": 12, "micro_batch": 8})
    monkeypatch.setenv("WORLD_SIZE", "2")
    # 6 rows a process: the largest divisor of 6 up to 8 is 6
    assert (plan_steps(section, 24).micro_batch, plan_steps(section, 24).accumulation) == (6, 1)
    assert plan_steps(section, 24).steps == 8
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(ConfigError, match="batch = 12: expected a multiple of the 5 processes"):
        plan_steps(section, 24)
