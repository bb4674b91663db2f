"""A command that is killed, at any moment, and typed again leaves behind what it does without: bit by bit.

The processes are real, and so is the signal.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from rewardlab.runs import read_json, read_jsonl
from tests.support.launching import Before, HalfACheckpoint, HalfALine, run, run_and_kill_after
from tests.support.models import tiny_llama

KILLED = -9
SETTINGS = {"steps": 4, "batch": 4, "micro_batch": 2, "minibatches": 2, "lr": 0.01, "value_lr": 0.01, "kl_target": 0.5}
MOMENTS = {
    # 4 steps of 4 rows; a step has 2 minibatches with 2 optimisers, and up to 5 extensions of the prompt by a token
    "rollout": Before("rewardlab.models.trunk.Trunk.extend", 13),
    "update, between policy and critic": Before("torch.optim.AdamW.step", 10),
    "ledger, inside a line": HalfALine("samples.jsonl", 11),
    "metrics, inside a line": HalfALine("metrics.jsonl", 3),
    "checkpoint, inside the file": HalfACheckpoint(3),
    "before the result": Before("rewardlab.runs.RunFolder.finish", 1),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model") / "model")


def ppo_command(model: Path, runs: Path) -> list[str]:
    words = ["ppo", "--task", "sst2", "--format", "label", "--init", "base", "--source", "bundled", "--reward", "rule"]
    where = ["--model", str(model), "--dtype", "float32", "--runs", str(runs), "--set=model.max_new_tokens=6"]
    return [*words, *where, *(f"--set=ppo.{key}={value}" for key, value in SETTINGS.items())]


def outcome(runs: Path) -> dict[str, Any]:
    """Everything the one run under ``runs`` left behind, times and place left out."""
    (folder,) = (path.parent for path in runs.rglob("result.json"))
    rows = read_jsonl(folder / "metrics.jsonl")
    result = read_json(folder / "result.json")
    return {
        "files": sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")),
        "adapter": [path.read_bytes() for path in sorted(folder.glob("adapter/*.safetensors"))],
        "metrics": [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows],
        "samples": (folder / "samples.jsonl").read_bytes(),
        "result": {key: value for key, value in result.items() if "seconds" not in key},
    }


@pytest.fixture(scope="module")
def straight(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run without interruption leaves behind."""
    runs = tmp_path_factory.mktemp("straight")
    assert run(ppo_command(model, runs)) == 0
    found = outcome(runs)
    assert len(found["metrics"]) == 4
    assert found["adapter"]
    return found


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_ppo_run_goes_on_bit_by_bit(
    model: Path, straight: dict[str, Any], tmp_path: Path, moment: str
) -> None:
    command = ppo_command(model, tmp_path)
    assert run(command, MOMENTS[moment]) == KILLED
    stored = list(tmp_path.rglob("checkpoints/step-*.pt"))
    assert stored, "it was killed before the first checkpoint"
    assert all(ZipFile(path).testzip() is None for path in stored), "a checkpoint was written in place"
    assert run(command) == 0
    assert outcome(tmp_path) == straight


def test_a_run_that_is_killed_again_and_again_at_any_moment(
    model: Path, straight: dict[str, Any], tmp_path: Path
) -> None:
    command = ppo_command(model, tmp_path)
    for wait in random.Random(0).sample([0.2, 0.5, 0.8, 1.1, 1.4], 3):
        run_and_kill_after(command, wait)
    assert run(command) == 0
    assert outcome(tmp_path) == straight
