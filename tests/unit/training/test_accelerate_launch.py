"""``accelerate launch`` with two CPU processes, as docs/ppo.md says: the whole chain, and a crash in one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from rewardlab import processes
from rewardlab.cli.main import run as command_line
from rewardlab.config_loading import load_config
from rewardlab.disk import read_json, read_jsonl
from rewardlab.errors import ConfigError
from rewardlab.pipeline import Pipeline
from tests.support.launching import run
from tests.support.models import tiny_llama

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "experiments" / "accelerate"
SIZES = {
    "data.labelled": 32, "data.prompts": 16, "data.validation": 8, "data.test": 8, "pairs.held_out": 4,
    "pairs.samples": 2, "sft.epochs": 1, "sft.batch": 16, "rm.epochs": 1, "rm.batch": 16, "rm.sft_samples": 16,
    "ppo.steps": 2, "ppo.batch": 8, "ppo.micro_batch": 4, "model.max_new_tokens": 6,
}  # fmt: skip


def line(folder: Path, runs: str, words: Sequence[str]) -> list[str]:
    """A command line with a random model and few rows."""
    model = folder / "model"
    if not model.exists():
        tiny_llama(model)
    where = ["--runs", str(folder / runs), "--tracker", "none"]
    what = ["--task", "sandbox-sentiment", "--format", "label", "--model", str(model), "--dtype", "float32"]
    return [words[0], *where, *what, *(f"--set={key}={value}" for key, value in SIZES.items()), *words[1:]]


def launch(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What docs/ppo.md has after ``accelerate launch``."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / "cpu-2.yaml")]
    return subprocess.run(
        [*launcher, "--main_process_port", "0", "-m", "rewardlab", *line(folder, "runs", words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


@pytest.mark.slow
def test_the_chain_of_sft_reward_model_and_ppo(tmp_path: Path) -> None:
    done = launch(tmp_path, "ppo", "--reward", "label")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs" / "ppo").iterdir()
    assert done.stdout.count(f"policy: {run}") == 1  # one process talks
    assert read_json(run / "result.json")["steps"] == 2
    assert [row["step"] for row in read_jsonl(run / "metrics.jsonl")] == [1, 2]
    assert len(list(read_jsonl(run / "samples.jsonl"))) == 16
    for kind, steps in (("sft", 2), ("rm", 2)):
        (folder,) = (tmp_path / "runs" / kind).iterdir()
        assert len(list(read_jsonl(folder / "metrics.jsonl"))) == read_json(folder / "result.json")["steps"] >= steps


METHODS = {
    "ppo": ["--reward", "tests.support.launching:letters"],
    "grpo": ["--reward", "tests.support.launching:letters", "--set=grpo.samples=4"],
    "dpo": ["--set=dpo.steps=2", "--set=dpo.batch=8", "--set=dpo.micro_batch=4"],
}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_launched_processes_have_the_metrics_of_one(tmp_path: Path, method: str) -> None:
    words = [method, "--init", "base", *METHODS[method]]
    assert run(line(tmp_path, "alone", words)) == 0
    done = launch(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    alone, together = (
        [
            {key: value for key, value in row.items() if not key.startswith("time/")}
            for row in read_jsonl(next((tmp_path / runs / method).iterdir()) / "metrics.jsonl")
        ]
        for runs in ("alone", "runs")
    )
    assert len(alone) == 2
    assert together == [pytest.approx(row, rel=1e-4, abs=1e-5) for row in alone]


@pytest.mark.slow
def test_a_crash_of_one_process_ends_the_run_with_its_message(tmp_path: Path) -> None:
    done = launch(tmp_path, "ppo", "--init", "base", "--reward", "tests.support.launching:failing")
    assert done.returncode != 0
    assert "error: process 1 of 2: the reward of process 1 is broken" in done.stderr
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_is_read_by_accelerate_and_says_whether_it_was_run(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    assert load_config_from_file(str(path)).num_processes == yaml.safe_load(path.read_text())["num_processes"]
    assert "\n# Run: " in path.read_text() or "\n# Not run" in path.read_text()


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
def test_ppo_refuses_a_trunk_in_pieces(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(load_config({"init": "base"}), tmp_path)
    pipeline.train()
    monkeypatch.setenv(f"ACCELERATE_USE_{kind}", "true")
    assert processes.is_sharded()
    with pytest.raises(ConfigError, match="cannot use FSDP or DeepSpeed"):
        pipeline.train()


def test_a_suite_is_refused_under_a_launcher(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert command_line(["suite", "run", str(ROOT / "experiments" / "demo.toml")]) == 2
    assert "error: process 1 of 2: a suite starts processes of its own" in capsys.readouterr().err
