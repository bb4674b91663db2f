"""``rewardlab bench``: seconds and memory of a fixed amount of work, as one JSON line."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from rewardlab.cli.output import echo
from rewardlab.config import ModelConfig
from rewardlab.config_loading import NO_FILE, load_config, parse_setting
from rewardlab.models.sizes import SHAPES

app = typer.Typer(help="Measure speed and memory on work of a fixed size.", no_args_is_help=True)

Model = Annotated[str, typer.Option(help="Embedded name, hub id or local folder.")]
Dtype = Annotated[str, typer.Option(help="Dtype of the frozen trunk: auto, float32, bfloat16.")]
Shape = Annotated[
    str | None, typer.Option(help=f"Random weights in place of --model: {', '.join(SHAPES)}; for speed alone.")
]
Plain = Annotated[bool, typer.Option("--plain", help="Read whole rows: a prompt once for each response; to compare.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
PromptLength = Annotated[int, typer.Option("--prompt-len", min=1, help="Tokens of every prompt.")]
ResponseLength = Annotated[int, typer.Option("--response-len", min=1, help="Tokens of every response.")]
Steps = Annotated[int, typer.Option(min=1, help="Timed steps; one more runs before them.")]
Settings = Annotated[list[str] | None, typer.Option(help="Any setting, as key=value; repeatable.")]


@app.command()
def ppo(
    model: Model = "sandbox-tiny",
    batch: Annotated[int, typer.Option(min=1, help="Responses per step.")] = 16,
    micro: Annotated[int, typer.Option(min=1, help="Responses per forward pass and per optimiser step.")] = 4,
    prompt_len: PromptLength = 96,
    response_len: ResponseLength = 24,
    ppo_epochs: Annotated[int, typer.Option(min=1, help="Passes over each batch of responses.")] = 4,
    steps: Steps = 3,
    dtype: Dtype = "auto",
    value: Annotated[str, typer.Option(help="Critic: head or adapter.")] = "head",
    reward: Annotated[str, typer.Option(help="rule, or mixed for two reward models.")] = "rule",
    device: Device = "auto",
    random_shape: Shape = None,
    peak_tflops: Annotated[
        float | None, typer.Option(min=0.001, help="Most TFLOP/s of the device in this dtype; default: by its name.")
    ] = None,
    set: Settings = None,
) -> None:
    """Time PPO steps: seconds per step and phase, peak memory, tokens drawn per second, use of the device."""
    from rewardlab.training.bench import PPOWork, bench_ppo

    work = PPOWork(batch, micro, prompt_len, response_len, ppo_epochs, steps, value, reward)
    echo(json.dumps(bench_ppo(_model(model, dtype, device), work, _given(set), random_shape, peak_tflops)))


@app.command()
def grpo(
    model: Model = "sandbox-tiny",
    batch: Annotated[int, typer.Option(min=1, help="Responses per step; one optimiser step.")] = 16,
    group: Annotated[int, typer.Option(min=2, help="Responses to each prompt.")] = 4,
    micro: Annotated[int, typer.Option(min=1, help="Responses per forward pass.")] = 4,
    prompt_len: PromptLength = 96,
    response_len: ResponseLength = 24,
    beta: Annotated[float, typer.Option(min=0, help="Weight of the KL in the loss.")] = 0.05,
    steps: Steps = 2,
    dtype: Dtype = "auto",
    device: Device = "auto",
    random_shape: Shape = None,
    plain: Plain = False,
    set: Settings = None,
) -> None:
    """Time GRPO steps on random prompts: seconds per step and phase, peak memory."""
    from rewardlab.training.bench_grpo import GRPOWork, bench_grpo

    settings = {"grpo.kl_coef": beta, **_given(set)}
    work = GRPOWork(batch, group, micro, prompt_len, response_len, steps)
    echo(json.dumps(bench_grpo(_model(model, dtype, device), work, settings, random_shape, is_plain=plain)))


@app.command()
def dpo(
    model: Model = "sandbox-tiny",
    batch: Annotated[int, typer.Option(min=1, help="Pairs per step; one optimiser step.")] = 8,
    micro: Annotated[int, typer.Option(min=1, help="Pairs per forward pass.")] = 2,
    prompt_len: PromptLength = 96,
    response_len: Annotated[int, typer.Option(min=1, help="Tokens of each of its two responses.")] = 24,
    steps: Steps = 2,
    dtype: Dtype = "auto",
    device: Device = "auto",
    random_shape: Shape = None,
    plain: Plain = False,
    set: Settings = None,
) -> None:
    """Time DPO steps on random pairs, with their share of the reference's pass: seconds per step, peak memory."""
    from rewardlab.training.bench_dpo import DPOWork, bench_dpo

    work = DPOWork(batch, micro, prompt_len, response_len, steps)
    echo(json.dumps(bench_dpo(_model(model, dtype, device), work, _given(set), random_shape, is_plain=plain)))


@app.command()
def sampler(
    model: Model = "sandbox-tiny",
    batch: Annotated[int, typer.Option(min=1, help="Rows generated together.")] = 16,
    prompt_len: PromptLength = 96,
    shortest: Annotated[int, typer.Option(min=1, help="Tokens of the shortest response.")] = 4,
    longest: Annotated[int, typer.Option(min=1, help="Tokens of the longest response.")] = 64,
    repeats: Annotated[int, typer.Option(min=1, help="Timed turns; one more runs before them.")] = 3,
    dtype: Dtype = "float32",
    device: Device = "auto",
    random_shape: Shape = None,
) -> None:
    """Time the sampler against generate of transformers, in turn."""
    from rewardlab.training.bench_sampler import bench_sampler

    found = bench_sampler(_model(model, dtype, device), batch, prompt_len, shortest, longest, repeats, random_shape)
    echo(json.dumps(found))


@app.command()
def memory() -> None:
    """What training needs for models of 1 to 13 billion parameters, and what fits on GPUs; arithmetic, in Markdown."""
    from rewardlab.training.memory_page import tables

    typer.echo(tables(), nl=False)


def _model(name: str, dtype: str, device: str) -> ModelConfig:
    return load_config({"model.name": name, "model.dtype": dtype, "model.device": device}, NO_FILE).model


def _given(settings: list[str] | None) -> dict[str, Any]:
    """``--set`` options as dotted keys."""
    return dict(map(parse_setting, settings or ()))
