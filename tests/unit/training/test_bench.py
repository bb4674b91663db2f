"""The benches do the work they say: every prompt and response of the asked length, every phase counted."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest
from typer.testing import CliRunner

from rewardlab.cli.main import app, run
from rewardlab.config import LoraConfig, ModelConfig
from rewardlab.models import Codec, scoring
from rewardlab.models.prompts import shares_prompts
from rewardlab.models.shapes import SHAPES, random_trunk, word_tokenizer
from rewardlab.training import bench_sampler as sampler_bench
from rewardlab.training import bench_steps as bench_steps_module
from rewardlab.training.bench import PHASES, PPOWork, bench_ppo, load_or_make
from rewardlab.training.bench_dpo import DPOWork, bench_dpo
from rewardlab.training.bench_grpo import GRPOWork, bench_grpo
from rewardlab.training.bench_sampler import bench_sampler
from rewardlab.training.flops import Passes, Sizes, peak_tflops
from rewardlab.training.learner import Learner
from tests.support.models import tiny_llama

SMALL = {"batch": 4, "micro": 2, "prompt_len": 7, "response_len": 5, "ppo_epochs": 2, "steps": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    folder = tiny_llama(tmp_path_factory.mktemp("models") / "llama")
    return ModelConfig(name=str(folder), dtype="float32", device="cpu")


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves on by a quarter of a second each time it is read."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 4)


@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize(("value", "reward"), [("head", "rule"), ("adapter", "mixed")])
def test_the_work_is_what_was_asked_for(
    model: ModelConfig, monkeypatch: pytest.MonkeyPatch, value: str, reward: str
) -> None:
    shapes: list[tuple[int, ...]] = []
    original = Learner._policy_loss

    def spying(self: Learner, chunk: Any, *rest: Any) -> Any:
        assert chunk.keep.all()
        shapes.append((*chunk.ids.shape, chunk.width))
        return original(self, chunk, *rest)

    monkeypatch.setattr(Learner, "_policy_loss", spying)
    found = bench_ppo(model, PPOWork(**SMALL, value=value, reward=reward))
    assert shapes == [(2, 12, 7)] * (2 * 2 * 3)  # micro-batches, epochs, steps with the one left out
    assert (found["value"], found["reward"], found["dtype"]) == (value, reward, "float32")
    assert len(found["seconds"]) == 2
    assert set(found["phases"]) == set(PHASES)
    assert all(found["phases"][name] > 0 for name in ("generate", "reference", "update"))
    assert sum(found["phases"].values()) <= max(found["seconds"])
    assert found["peak_mib"] > 50


@pytest.mark.parametrize("plain", [False, True])
def test_grpo_reads_a_prompt_once_unless_whole_rows_are_asked_for(
    model: ModelConfig, monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    """Two prompts of 7 tokens, four responses of 5 to each, in chunks of one prompt; one step and the one left out."""
    trunk = load_or_make(model, None)
    monkeypatch.setattr(bench_steps_module, "load_or_make", lambda *_: trunk)
    assert shares_prompts(trunk)
    read: list[int] = []
    trunk.model.get_input_embeddings().register_forward_hook(lambda module, given, out: read.append(given[0].numel()))
    work = GRPOWork(batch=8, group=4, micro=4, prompt_len=7, response_len=5, steps=1)
    found = bench_grpo(model, work, {"grpo.kl_coef": 0.05}, is_plain=plain)
    generated, passed = [14, *[8] * 4], [48] if plain else [7, 16]
    first = [*generated, *passed * 5, *passed * 2]  # old, reference, the check of the start; the update
    assert read == [*first, *generated, *passed * 4]
    assert (found["group"], found["beta"], len(found["phases"])) == (4, 0.05, len(PHASES))
    assert found["sec_per_step"] >= 0 < found["peak_mib"]


def test_dpo_reads_the_reference_once_over_all_pairs(model: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pairs a step in one chunk; three steps with the one left out, the first of which checks the start."""
    trunk = load_or_make(model, None)
    monkeypatch.setattr(bench_steps_module, "load_or_make", lambda *_: trunk)
    assert shares_prompts(trunk)
    read: list[int] = []
    trunk.model.get_input_embeddings().register_forward_hook(lambda module, given, out: read.append(given[0].numel()))
    found = bench_dpo(model, DPOWork(batch=2, micro=2, prompt_len=7, response_len=5, steps=2))
    passed = [2 * 7, 4 * 4]
    assert read == passed * (3 + 1 + 3)
    assert set(found["phases"]) == {"reference", "update"}
    assert found["sec_per_step"] == pytest.approx(sum(found["phases"].values()), abs=0.002)


@pytest.mark.parametrize("method", ["grpo", "dpo"])
def test_the_benches_of_other_methods_print_one_line_of_json(model: ModelConfig, method: str) -> None:
    options = ["--batch=2", "--micro=2", "--prompt-len=5", "--response-len=3", "--steps=1"]
    own = ["--group=2", "--beta=0"] if method == "grpo" else []
    done = CliRunner().invoke(app, ["bench", method, "--model", model.name, "--dtype", "float32", *options, *own])
    assert done.exit_code == 0, done.output
    assert {"sec_per_step", "cpu_sec_per_step", "peak_mib"} <= set(json.loads(done.stdout.splitlines()[-1]))


def test_an_optimiser_step_per_micro_batch(model: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    original = Learner._optimise

    def counting(self: Learner, name: str) -> float:
        steps.append(name)
        return original(self, name)

    monkeypatch.setattr(Learner, "_optimise", counting)
    bench_ppo(model, PPOWork(**SMALL))
    assert steps.count("policy") == 2 * 2 * 3


@pytest.mark.usefixtures("ticking")
def test_the_sampler_is_timed_beside_generate(model: ModelConfig) -> None:
    found = bench_sampler(model, batch=5, prompt_len=6, shortest=2, longest=10, repeats=3)
    assert found["stops"] == [2, 10]
    assert len(found["turns"]) == 3
    assert found["sampler_s"] == sorted(mine for mine, _ in found["turns"])[1]
    assert found["generate_tokens_per_s"] == pytest.approx(30 / found["generate_s"])  # 2 + 4 + 6 + 8 + 10


def test_generate_draws_as_long_as_the_longest(model: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = sampler_bench._plain_model(model)
    lengths: list[int] = []
    original = plain.generate

    def measuring(ids: Any, **options: Any) -> Any:
        drawn = original(ids, **options)
        lengths.append(drawn.shape[1] - ids.shape[1])
        return drawn

    monkeypatch.setattr(plain, "generate", measuring)
    sampler_bench._generate(plain, [[40, 41, 42]] * 3, [2, 4, 6])
    assert lengths == [6]


def test_the_command_prints_one_line_of_json(model: ModelConfig) -> None:
    options = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items()]
    done = CliRunner().invoke(app, ["bench", "ppo", "--model", model.name, "--dtype", "float32", *options])
    assert done.exit_code == 0, done.output
    [line] = done.stdout.splitlines()
    found = json.loads(line)
    assert {"sec_per_step", "peak_mib", "phases", "tokens_per_s"} <= set(found)
    assert (found["peak_tflops"], found["mfu"]) == (None, {})  # nobody knows what a CPU can do


@pytest.fixture
def tiny_shape(monkeypatch: pytest.MonkeyPatch) -> str:
    sizes = {"vocab_size": 90, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    monkeypatch.setitem(SHAPES, "tiny", {**sizes, "num_attention_heads": 4, "num_key_value_heads": 2})
    return "tiny"


@pytest.mark.usefixtures("ticking")
def test_a_random_shape_is_trained_with_as_many_tokens_as_were_drawn(
    tiny_shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    original = scoring.score_rows

    def spying(trunk: Any, role: str, rows: Any, batch: int = 32) -> list[float]:
        read.extend(map(len, rows))
        return original(trunk, role, rows, batch)

    monkeypatch.setattr(scoring, "score_rows", spying)
    config = ModelConfig(dtype="bfloat16", device="cpu")
    work = PPOWork(**SMALL, value="adapter", reward="mixed")
    found = bench_ppo(config, work, shape=tiny_shape, peak=1e-6)
    assert (found["model"], found["dtype"]) == ("tiny, random weights", "bfloat16")
    assert len(read) == 2 * 4 * 3  # reward models, rows, steps with the one left out
    assert max(read) == 7 + 5 + 1  # an end token follows
    assert fmean(read) > 7 + 5  # the four special tokens among ninety are not decoded when they are drawn
    assert found["tokens_per_s"] == pytest.approx(4 * 5 / found["phases"]["generate"])
    assert found["mfu"]["step"] == pytest.approx(found["tflop"]["step"] / (median(found["seconds"]) * 1e-6), rel=0.05)
    assert set(found["tflop"]) == {*PHASES, "step"}


def test_a_tokenizer_of_made_up_words_gives_back_what_it_decoded() -> None:
    codec = Codec(word_tokenizer(50), ModelConfig(max_prompt_tokens=10))
    ids = [4, 49, 4, 17, 30]
    assert codec.response_ids(codec.decode(ids), end=False) == ids
    assert (codec.pad_id, codec.eos_id) == (0, 2)


def test_the_matrices_of_a_trunk_are_counted_once_and_without_adapters(tiny_shape: str) -> None:
    """A layer: queries and output 32 x 32, keys and values 32 x 16, thrice 32 x 64; two layers, four heads of 8."""
    trunk = random_trunk(tiny_shape, ModelConfig(dtype="float32", device="cpu"))
    trunk.roles.add("policy", LoraConfig())
    assert Sizes.of(trunk) == Sizes(2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64), 2 * 4 * 8, 90 * 32)


def test_operations_by_hand() -> None:
    """A pass over T tokens with o logits takes 2 (10 T + T^2 + 5 o); backward as much again and 2 T^2 for attention."""
    sizes = Sizes(matrices=10, attention=1, logits=5)
    mixed = Passes(prompt=3, response=2, epochs=2, reward_models=2, has_value_adapter=True, trusts_sampler=False)
    assert mixed.operations(sizes) == {
        "generate": 2 * (40 + 16 + 10),
        "score": 2 * 150,
        "reference": 170,
        "old": 170 + 150,
        "update": 2 * ((2 * 170 + 50) + (2 * 150 + 50)),
    }
    rule = replace(mixed, reward_models=0, has_value_adapter=False, trusts_sampler=True).operations(sizes)
    assert (rule["score"], rule["old"], rule["update"]) == (0, 0, 2 * 390)


@pytest.mark.parametrize(
    ("device", "dtype", "tflops"),
    [
        ("NVIDIA H200", "bfloat16", 989),
        ("NVIDIA H100 PCIe", "float32", 51),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989),
        ("NVIDIA A100-SXM4-80GB", "bfloat16", 312),
        ("NVIDIA L40S", "bfloat16", 362),
        ("NVIDIA L4", "bfloat16", 121),
        ("NVIDIA A100-SXM4-80GB", "float16", None),
        ("NVIDIA A100-SXM4-80GB MIG 3g.40gb", "bfloat16", None),
        ("NVIDIA H100 NVL", "bfloat16", None),
        ("Tesla T4", "bfloat16", None),
    ],
)
def test_peaks_of_known_devices(device: str, dtype: str, tflops: float | None) -> None:
    assert peak_tflops(device, dtype) == tflops


def test_wrong_choices_are_named(model: ModelConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["bench", "ppo", "--model", model.name, "--reward", "best"]) == 2
    assert "--reward 'best': expected one of rule, mixed" in capsys.readouterr().err
    assert run(["bench", "ppo", "--model", model.name, "--value", "both"]) == 2
    assert "ppo.value" in capsys.readouterr().err
    assert run(["bench", "sampler", "--random-shape", "gpt-5"]) == 2
    assert "--random-shape 'gpt-5': expected one of llama2-7b, llama2-13b, llama3.2-1b, " in capsys.readouterr().err
