"""Two processes do what one does: the same metrics, one ledger, one adapter; and a crash of one ends both.

The processes are real and talk through gloo. ``accelerate launch`` itself starts them in ``test_accelerate_launch.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rewardlab.disk import read_json, read_jsonl
from tests.support.files import stored_files
from tests.support.launching import Before, call_together, run, run_together, stopped
from tests.support.models import tiny_llama

PPO = {"steps": 3, "batch": 16, "micro_batch": 4, "lr": 0.01, "value_lr": 0.01, "ppo_epochs": 2, "kl_target": 0.5}
SETTINGS: dict[str, dict[str, Any]] = {
    "adapter": {"minibatches": 2, "entropy_coef": 0.01},
    "head": {"value": "head", "optimizer": "adafactor", "micro_batch": 8, "normalise_scores": "false"},
    "grpo": {"method": "grpo", "samples": 4},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model") / "model")


def command(model: Path, runs: Path, reward: str = "letters", method: str = "ppo", **ppo: Any) -> list[str]:
    words = [
        method,
        "--tracker",
        "none",
        "--task",
        "sst2",
        "--format",
        "label",
        "--init",
        "base",
        "--source",
        "bundled",
    ]
    where = ["--model", str(model), "--dtype", "float32", "--runs", str(runs), "--set=model.max_new_tokens=6"]
    what = ["--reward", f"tests.support.launching:{reward}"]
    own = (f"--set={'ppo' if key in PPO else method}.{key}={value}" for key, value in {**PPO, **ppo}.items())
    return [*words, *where, *what, *own]


def metrics(runs: Path) -> list[dict[str, float]]:
    (path,) = runs.rglob("metrics.jsonl")
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in read_jsonl(path)]


@pytest.mark.parametrize("settings", SETTINGS)
def test_two_times_eight_prompts_are_one_times_sixteen(model: Path, tmp_path: Path, settings: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(command(model, one, **SETTINGS[settings])) == 0
    ended = run_together(command(model, two, **SETTINGS[settings]), 2, tmp_path)
    assert [process.code for process in ended] == [0, 0], ended
    assert len(metrics(one)) == len(metrics(two)) == 3
    for alone, together in zip(metrics(one), metrics(two), strict=True):
        assert together == pytest.approx(alone, rel=1e-5, abs=1e-5)
    names = [stored_files(runs) for runs in (one, two)]
    assert names[0] == names[1]
    texts = [[row["response"] for row in read_jsonl(next(runs.rglob("samples.jsonl")))] for runs in (one, two)]
    assert len(texts[0]) == 48
    assert texts[0] == texts[1]
    measured = [list(read_jsonl(next(runs.rglob("validation.jsonl")))) for runs in (one, two)]
    assert [row["step"] for row in measured[0]] == [0, 1, 2, 3]
    assert measured[0] == measured[1]
    for folder in ("adapter", "adapter-best"):
        adapters = [load_file(next(runs.rglob(f"{folder}/adapter_model.safetensors"))) for runs in (one, two)]
        for name, tensor in adapters[0].items():
            torch.testing.assert_close(adapters[1][name], tensor, rtol=1e-4, atol=1e-5)


TRL = {"epochs": 1, "batch": 16, "micro_batch": 4, "lr": 0.01, "checkpoint_every": 2}
"""64 rows: four steps of sixteen."""
TRAINED = {
    "sft": ["sft", *(f"--set=sft.{key}={value}" for key, value in TRL.items())],
    "rm": ["rm", "train", "--set=init=base", "--set=pairs.held_out=4", "--set=pairs.samples=2",
           "--set=rm.sft_samples=16", *(f"--set=rm.{key}={value}" for key, value in TRL.items())],
}  # fmt: skip


@pytest.mark.parametrize("stage", TRAINED)
def test_sft_and_reward_models_take_the_same_steps(model: Path, tmp_path: Path, stage: str) -> None:
    sizes = ["--set=data.labelled=64", "--set=data.prompts=8", "--set=data.validation=8", "--set=data.test=8"]
    what = ["--tracker", "none", "--task", "sandbox-sentiment", "--format", "label", "--model", str(model)]
    words = [*TRAINED[stage], *what, *sizes]
    one, two = ([*words, "--dtype", "float32", "--runs", str(tmp_path / name)] for name in ("one", "two"))
    assert run(one) == 0
    ended = run_together(two, 2, tmp_path)
    assert [process.code for process in ended] == [0, 0], ended
    folders = [next((tmp_path / name / stage).iterdir()) for name in ("one", "two")]
    rows = [list(read_jsonl(folder / "metrics.jsonl")) for folder in folders]
    assert len(rows[0]) == len(rows[1]) >= 3
    for alone, together in zip(rows[0][:3], rows[1][:3], strict=True):
        assert together == pytest.approx(alone, rel=1e-5, abs=1e-5)
    names = [stored_files(folder) for folder in folders]
    assert names[0] == names[1]
    results = [read_json(folder / "result.json") for folder in folders]
    assert results[0]["tokens"] == results[1]["tokens"]
    assert results[1]["loss"]["last"] == pytest.approx(results[0]["loss"]["last"], rel=1e-4)


def test_a_crash_of_one_process_ends_both_with_its_message(model: Path, tmp_path: Path) -> None:
    main, other = run_together(command(model, tmp_path / "runs", "failing"), 2, tmp_path)
    assert (main.code, other.code) == (1, 1)
    assert "process 1 of 2: the reward of process 1 is broken" in other.said
    assert "process 0 of 2 lost the others" in main.said
    assert "Traceback" not in main.said + other.said


def test_both_go_on_with_their_own_random_states(model: Path, tmp_path: Path) -> None:
    one, two = (command(model, tmp_path / name, "drawing") for name in ("one", "two"))
    assert [process.code for process in run_together(one, 2, tmp_path)] == [0, 0]
    before_step_3 = Before("rewardlab.training.learner.Learner.update", 3)
    ended = call_together(stopped, 2, tmp_path, two, before_step_3)
    assert [process.code for process in ended] == [1, 1], ended
    assert len(metrics(tmp_path / "two")) == 2
    assert [process.code for process in run_together(two, 2, tmp_path)] == [0, 0]
    assert metrics(tmp_path / "two") == metrics(tmp_path / "one")
    adapters = [load_file(next((tmp_path / name).rglob("adapter_model.safetensors"))) for name in ("one", "two")]
    assert all(torch.equal(adapters[1][name], tensor) for name, tensor in adapters[0].items())


def test_fewer_prompts_than_processes_are_refused(model: Path, tmp_path: Path) -> None:
    ended = run_together(command(model, tmp_path / "runs", batch=1), 2, tmp_path)
    assert [process.code for process in ended] == [2, 2]
    assert "1 prompts a step (batch / samples): expected at least one for each of 2 processes" in ended[0].said


def test_two_processes_learn_from_their_best_responses_as_one_does(model: Path, tmp_path: Path) -> None:
    """Two rounds of 16 prompts with 4 responses each; the second one samples from what the first has learned."""
    raft = {"rounds": 2, "prompts": 16, "samples": 4, "batch": 8, "micro_batch": 2, "lr": 0.01}
    words = command(model, tmp_path / "one", "shortness")
    words = ["raft", *(word for word in words[1:] if "ppo." not in word)]
    words += [f"--set=raft.{key}={value}" for key, value in raft.items()]
    words.append("--set=model.max_new_tokens=40")  # a random model ends one response in ten in as many tokens
    there = [str(tmp_path / "two") if word == str(tmp_path / "one") else word for word in words]
    assert run(words) == 0
    ended = run_together(there, 2, tmp_path)
    assert [process.code for process in ended] == [0, 0], ended
    one, two = (metrics(tmp_path / name) for name in ("one", "two"))
    assert len(one) == 2
    assert one[0]["raft/updates"] > 0
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-5)
    texts = [
        [row["response"] for row in read_jsonl(next((tmp_path / n).rglob("samples.jsonl")))] for n in ("one", "two")
    ]
    assert len(texts[0]) == 2 * 16 * 4
    assert texts[0] == texts[1]
    assert stored_files(tmp_path / "one") == stored_files(tmp_path / "two")


def test_two_processes_learn_from_pairs_as_one_does(model: Path, tmp_path: Path) -> None:
    words = command(model, tmp_path / "one")
    start = words.index("--reward")
    words = ["dpo", *words[1:start], "--set=dpo.steps=3", "--set=dpo.batch=8", "--set=dpo.micro_batch=4", "--lr=0.01"]
    there = [str(tmp_path / "two") if word == str(tmp_path / "one") else word for word in words]
    assert run(words) == 0
    ended = run_together(there, 2, tmp_path)
    assert [process.code for process in ended] == [0, 0], ended
    one, two = (metrics(tmp_path / name) for name in ("one", "two"))
    assert len(one) == 3
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-5)
    assert stored_files(tmp_path / "one") == stored_files(tmp_path / "two")
