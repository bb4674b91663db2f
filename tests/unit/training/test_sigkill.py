"""A command that is killed, at any moment, and typed again leaves behind what it does without: bit by bit.

The processes are real, and so is the signal.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from rewardlab.disk import read_jsonl
from rewardlab.runs import RunFolder
from tests.support.files import stored_files
from tests.support.launching import Before, HalfACheckpoint, HalfALine, Moment, run, run_and_kill_after
from tests.support.models import tiny_llama

KILLED = -9
WORDS = ["--tracker", "none", "--task", "sst2", "--format", "label", "--source", "bundled", "--dtype", "float32"]
PPO = {"steps": 4, "batch": 4, "micro_batch": 2, "minibatches": 2, "lr": 0.01, "value_lr": 0.01, "kl_target": 0.5}
DPO = {"steps": 9, "batch": 4, "micro_batch": 2, "checkpoint_every": 2, "lr": 0.01}
TRL = {"epochs": 3, "batch": 4, "micro_batch": 2, "checkpoint_every": 2, "lr": 0.01}
"""Nine steps of four rows, with a checkpoint after every second and after the last."""
COMMANDS: Mapping[str, list[str]] = {
    "ppo": ["ppo", "--init", "base", "--reward", "rule", *(f"--set=ppo.{key}={value}" for key, value in PPO.items())],
    "dpo": ["dpo", "--init", "base", *(f"--set=dpo.{key}={value}" for key, value in DPO.items())],
    "sft": ["sft", *(f"--set=sft.{key}={value}" for key, value in TRL.items())],
    "rm": ["rm", "train", "--set=init=base", "--set=pairs.held_out=4", "--set=pairs.samples=2",
           "--set=rm.sft_samples=16", *(f"--set=rm.{key}={value}" for key, value in TRL.items())],
}  # fmt: skip
MOMENTS: Mapping[str, tuple[str, Moment]] = {
    # 4 steps of 4 rows; a step has 2 minibatches with 2 optimisers, and up to 5 extensions of the prompt by a token,
    # after it, and before the first one, up to 5 more answer the validation rows
    "rollout": ("ppo", Before("rewardlab.models.trunk.Trunk.extend", 18)),
    "validation": ("ppo", Before("rewardlab.training.validation.Validation._measure", 4)),
    "update, between policy and critic": ("ppo", Before("torch.optim.AdamW.step", 10)),
    "ledger, inside a line": ("ppo", HalfALine("samples.jsonl", 11)),
    "metrics, inside a line": ("ppo", HalfALine("metrics.jsonl", 3)),
    "checkpoint, inside the file": ("ppo", HalfACheckpoint(3)),
    "before the result": ("ppo", Before("rewardlab.runs.RunFolder.finish", 1)),
    "DPO, update": ("dpo", Before("torch.optim.AdamW.step", 6)),
    "DPO, checkpoint, inside the file": ("dpo", HalfACheckpoint(2)),
    "DPO, metrics, inside a line": ("dpo", HalfALine("metrics.jsonl", 5)),
    "DPO, validation": ("dpo", Before("rewardlab.training.validation.Validation._measure", 4)),
    # a checkpoint has three files from torch.save: optimiser, schedule, generators
    "SFT, update": ("sft", Before("torch.optim.AdamW.step", 6)),
    "SFT, checkpoint, inside the optimiser": ("sft", HalfACheckpoint(4)),
    "SFT, metrics, inside a line": ("sft", HalfALine("metrics.jsonl", 4)),
    "SFT, before the adapter is stored": ("sft", Before("rewardlab.training.sft.shared_result", 1)),
    "SFT, validation after the second epoch": ("sft", Before("rewardlab.training.validation.Validation._measure", 2)),
    "reward model, update": ("rm", Before("torch.optim.AdamW.step", 6)),
    "reward model, checkpoint, inside the generators": ("rm", HalfACheckpoint(6)),
    "reward model, before it is measured": ("rm", Before("rewardlab.training.reward_model.evaluate", 1)),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model") / "model")


def command(stage: str, model: Path, runs: Path) -> list[str]:
    where = ["--model", str(model), "--runs", str(runs), "--set=model.max_new_tokens=6"]
    return [*COMMANDS[stage], *WORDS, *where]


def outcome(stage: str, runs: Path) -> dict[str, Any]:
    """Everything the one run of a stage left behind, times and place left out."""
    (folder,) = (runs / stage).iterdir()
    rows = read_jsonl(folder / "metrics.jsonl")
    result = RunFolder(folder, stage, {}).result()
    return {
        "files": stored_files(folder),
        "adapter": [path.read_bytes() for path in sorted(folder.glob("adapter*/*.safetensors"))],
        "metrics": [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows],
        "samples": [path.read_bytes() for path in folder.glob("*samples.jsonl")],
        "validation": [path.read_bytes() for path in folder.glob("validation.jsonl")],
        "result": {key: value for key, value in result.items() if "seconds" not in key},
    }


@pytest.fixture(scope="module")
def straight(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """What the run of a stage without interruption leaves behind."""

    @functools.cache
    def of(stage: str) -> dict[str, Any]:
        runs = tmp_path_factory.mktemp("straight")
        assert run(command(stage, model, runs)) == 0
        found = outcome(stage, runs)
        assert len(found["metrics"]) == (4 if stage == "ppo" else 9)
        assert found["adapter"]
        return found

    return of


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_goes_on_bit_by_bit(
    model: Path, straight: Callable[[str], dict[str, Any]], tmp_path: Path, moment: str
) -> None:
    stage, stop = MOMENTS[moment]
    assert run(command(stage, model, tmp_path), stop) == KILLED
    stored = list((tmp_path / stage).rglob("checkpoints/*-*"))
    assert stored, "it was killed before the first checkpoint"
    assert all(ZipFile(path).testzip() is None for path in stored if path.is_file()), "one was written in place"
    assert run(command(stage, model, tmp_path)) == 0
    assert outcome(stage, tmp_path) == straight(stage)


@pytest.mark.parametrize("stage", COMMANDS)
def test_checkpoints_by_time_are_as_good_as_those_by_steps(
    model: Path, straight: Callable[[str], dict[str, Any]], tmp_path: Path, stage: str
) -> None:
    """Killed in the sixth optimiser step of either kind, with a checkpoint after each step by time, none by steps."""
    by_time = [f"--set={stage}.checkpoint_every=1000", f"--set={stage}.checkpoint_seconds=1e-9"]
    assert run([*command(stage, model, tmp_path), *by_time], Before("torch.optim.AdamW.step", 6)) == KILLED
    newest = {"ppo": "step-000001.pt", "dpo": "step-000005.pt", "sft": "checkpoint-5", "rm": "checkpoint-5"}[stage]
    assert newest in {path.name for path in (tmp_path / stage).rglob("checkpoints/*")}
    assert run([*command(stage, model, tmp_path), f"--set={stage}.checkpoint_seconds=none"]) == 0
    assert outcome(stage, tmp_path) == straight(stage)


@pytest.mark.parametrize("stage", COMMANDS)
def test_a_run_that_is_killed_again_and_again_at_any_moment(
    model: Path, straight: Callable[[str], dict[str, Any]], tmp_path: Path, stage: str
) -> None:
    for wait in random.Random(stage).sample([0.2, 0.5, 0.8, 1.1, 1.4], 3):
        run_and_kill_after(command(stage, model, tmp_path), wait)
    assert run(command(stage, model, tmp_path)) == 0
    assert outcome(stage, tmp_path) == straight(stage)


def test_no_step_is_taken_twice(model: Path, tmp_path: Path) -> None:
    """Killed in step 6 with a checkpoint after step 4: the second process takes steps 5 to 9."""
    words = command("sft", model, tmp_path)
    assert run(words, Before("torch.optim.AdamW.step", 6)) == KILLED
    assert run(words, Before("torch.optim.AdamW.step", 5)) == KILLED, "it stops before its fifth step, the last of nine"
    (metrics,) = tmp_path.rglob("metrics.jsonl")
    assert [row["step"] for row in read_jsonl(metrics)] == [1, 2, 3, 4, 5, 6, 7, 8]
