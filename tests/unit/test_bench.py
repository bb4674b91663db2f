"""The benches do the work they say: every prompt and response of the asked length, every phase counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rewardlab.cli.main import app, run
from rewardlab.config import ModelConfig
from rewardlab.training import bench
from rewardlab.training.bench import PHASES, PPOWork, bench_ppo, bench_sampler
from rewardlab.training.learner import Learner
from tests.support.models import tiny_llama

SMALL = {"batch": 4, "micro": 2, "prompt_len": 7, "response_len": 5, "ppo_epochs": 2, "steps": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    folder = tiny_llama(tmp_path_factory.mktemp("models") / "llama")
    return ModelConfig(name=str(folder), dtype="float32", device="cpu")


@pytest.mark.parametrize(("value", "reward"), [("head", "rule"), ("adapter", "mixed")])
def test_the_work_is_what_was_asked_for(
    model: ModelConfig, monkeypatch: pytest.MonkeyPatch, value: str, reward: str
) -> None:
    shapes: list[tuple[int, ...]] = []
    original = Learner._backward

    def spying(self: Learner, chunk: Any, *rest: Any) -> None:
        assert chunk.keep.all()
        shapes.append((*chunk.ids.shape, chunk.width))
        original(self, chunk, *rest)

    monkeypatch.setattr(Learner, "_backward", spying)
    found = bench_ppo(model, PPOWork(**SMALL, value=value, reward=reward))
    assert shapes == [(2, 12, 7)] * (2 * 2 * 3)  # micro-batches, epochs, steps with the one left out
    assert (found["value"], found["reward"], found["dtype"]) == (value, reward, "float32")
    assert len(found["seconds"]) == 2
    assert set(found["phases"]) == set(PHASES)
    assert all(found["phases"][name] > 0 for name in ("generate", "reference", "update"))
    assert sum(found["phases"].values()) <= max(found["seconds"]) * 1.01 + 0.005  # each is rounded to 0.001
    assert found["peak_mib"] > 50


def test_an_optimiser_step_per_micro_batch(model: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    original = Learner._optimise

    def counting(self: Learner, name: str) -> float:
        steps.append(name)
        return original(self, name)

    monkeypatch.setattr(Learner, "_optimise", counting)
    bench_ppo(model, PPOWork(**SMALL))
    assert steps.count("policy") == 2 * 2 * 3


def test_the_sampler_is_timed_beside_generate(model: ModelConfig) -> None:
    found = bench_sampler(model, batch=5, prompt_len=6, shortest=2, longest=10, repeats=3)
    assert found["stops"] == [2, 10]
    assert len(found["turns"]) == 3
    assert found["sampler_s"] == sorted(mine for mine, _ in found["turns"])[1]


def test_generate_draws_as_long_as_the_longest(model: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = bench._plain_model(model)
    lengths: list[int] = []
    original = plain.generate

    def measuring(ids: Any, **options: Any) -> Any:
        drawn = original(ids, **options)
        lengths.append(drawn.shape[1] - ids.shape[1])
        return drawn

    monkeypatch.setattr(plain, "generate", measuring)
    bench._generate(plain, [[40, 41, 42]] * 3, [2, 4, 6])
    assert lengths == [6]


def test_the_command_prints_one_line_of_json(model: ModelConfig) -> None:
    options = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items()]
    done = CliRunner().invoke(app, ["bench", "ppo", "--model", model.name, "--dtype", "float32", *options])
    assert done.exit_code == 0, done.output
    [line] = done.stdout.splitlines()
    assert {"sec_per_step", "peak_mib", "phases"} <= set(json.loads(line))


def test_wrong_choices_are_named(model: ModelConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["bench", "ppo", "--model", model.name, "--reward", "best"]) == 2
    assert "--reward 'best': expected one of rule, mixed" in capsys.readouterr().err
    assert run(["bench", "ppo", "--model", model.name, "--value", "both"]) == 2
    assert "ppo.value" in capsys.readouterr().err
