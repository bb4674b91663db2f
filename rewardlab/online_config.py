"""Sections of the methods that sample while they train: PPO, GRPO, RLOO, REINFORCE++.

They share one loop, so they share :class:`OnlineConfig`. What a table ``[ppo]`` sets of it holds for the others too,
unless their own table sets it: one ``ppo.steps`` gives every method of a comparison the same steps
(:func:`shared_with`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from rewardlab.errors import ConfigError
from rewardlab.section import LATER, PATIENCE, Section

Balance = Literal["none", "label"]


class OnlineConfig(Section):
    """What every method that samples while it trains can set."""

    rows: Literal["prompts", "labelled", "all"] = Field(
        "prompts", description="rows whose prompts it reads; labelled: those that SFT learned from; all: both"
    )
    steps: int | None = Field(None, ge=0, description="training steps; default: one pass over the prompts")
    max_tokens: int | None = Field(None, ge=1, description="end after the step in which so many tokens are generated")
    max_seconds: float | None = Field(None, gt=0, description="end after the step in which so many device seconds pass")
    batch: int = Field(32, ge=1, description="responses per step")
    samples: int = Field(1, ge=1, description="responses to each prompt of a step", json_schema_extra=LATER)
    balance: Balance = Field(
        "none",
        description="label: every gold label of a task equally often in the batches, however rare it is",
        json_schema_extra=LATER,
    )
    micro_batch: int = Field(8, ge=1, description="responses per forward pass with gradients")
    minibatches: int = Field(1, ge=1, description="optimiser steps per pass over a batch of responses")
    ppo_epochs: int = Field(1, ge=1, description="passes over each batch of responses")
    lr: float = Field(1e-5, gt=0, description="peak learning rate of the policy adapter")
    optimizer: Literal["adamw", "adafactor"] = Field("adamw", description="optimiser of policy and value")
    warmup: float = Field(0.1, ge=0, lt=1, description="warm-up, share of all steps")
    final_lr: float = Field(0.1, ge=0, le=1, description="learning rate at the end of the cosine, share of the peak")
    clip_ratio: float = Field(0.2, gt=0, description="clip range of the probability ratio")
    loss_mean: Literal["token", "sequence"] = Field(
        "token",
        description="the policy's loss is a mean over tokens, or over responses of their means",
        json_schema_extra=LATER,
    )
    kl_coef: float = Field(0.05, ge=0, description="beta of the KL penalty to the reference, per nat")
    kl: Literal["reward", "loss"] = Field(
        "reward",
        description="reward: beta times k1 is subtracted from the reward of each token; loss: beta times the unbiased "
        "estimate is added to the loss of each token",
        json_schema_extra=LATER,
    )
    kl_target: float | None = Field(
        None, gt=0, description="KL to the reference that beta is steered to, nats a response; default: beta is fixed"
    )
    kl_horizon: int = Field(10_000, ge=1, description="responses in which a steered beta moves a fifth or so at most")
    entropy_coef: float = Field(0.0, ge=0, description="entropy bonus, reward per nat")
    sft_coef: float = Field(
        0.0,
        ge=0,
        description="weight of the SFT loss on gold answers of labelled rows, added to the loss of each optimiser step",
        json_schema_extra=LATER,
    )
    normalise_scores: bool = Field(
        True, description="(score - running mean) / running deviation, in place of the score"
    )
    score_clip: float | None = Field(
        10.0,
        gt=0,
        description="furthest that a score may lie from the running mean, running deviations; none: anywhere",
    )
    missing_end_penalty: float = Field(1.0, ge=0, description="subtracted when a response was cut at its budget")
    temperature: float = Field(1.0, gt=0, description="sampling temperature, used in every log-probability")
    least_new_tokens: int | None = Field(
        None,
        ge=1,
        description="smallest response budget: each step draws its own, up to the largest; default: always the largest",
        json_schema_extra=LATER,
    )
    old_logprobs: Literal["auto", "recompute"] = Field(
        "auto", description="auto: the sampler's own over a float32 trunk, checked in step 1; else computed once more"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations in the backward pass: less memory")
    max_grad_norm: float = Field(1.0, gt=0, description="gradient norm limit")
    checkpoint_every: int = Field(1, ge=1, description="training steps between checkpoints")
    checkpoint_seconds: float | None = Field(
        300.0, gt=0, description="seconds after which a checkpoint is stored whatever the steps; none: by steps alone"
    )
    validate_every: int | None = Field(
        None,
        ge=0,
        description="training steps between two measures of validation accuracy; default: five a run; 0: never",
    )
    validation_rows: int = Field(100, ge=1, description="validation rows a task, answered greedily at each measure")
    patience: int | None = Field(None, ge=1, description=PATIENCE, json_schema_extra=LATER)
    max_unscored: float = Field(0.2, ge=0, le=1, description="share of unscored responses above which a step fails")

    @property
    def parts(self) -> tuple[Literal["labelled", "prompts"], ...]:
        """The parts of the data whose prompts it reads."""
        return ("labelled", "prompts") if self.rows == "all" else (self.rows,)

    @property
    def prompts(self) -> int:
        """Prompts per step."""
        return self.batch // self.samples


class CriticConfig(OnlineConfig):
    """What a method with a critic can set."""

    value_lr: float = Field(1e-4, gt=0, description="peak learning rate of the value head and adapter")
    value_clip: float = Field(0.2, gt=0, description="clip range of the value, in standard deviations of returns")
    value_coef: float = Field(0.5, ge=0, description="weight of the value loss when policy and value share an adapter")
    gamma: float = Field(1.0, gt=0, le=1, description="discount per token")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="GAE trace decay")
    whiten_advantages: bool = Field(True, description="shift and scale advantages over the batch")
    value: Literal["head", "adapter"] = Field("adapter", description="critic: a head on the policy, or its own adapter")
    value_init: Literal["rm", "zero"] = Field(
        "rm", description="critic's start: a reward model the reward uses (the label RM first), or zero"
    )


class PPOConfig(CriticConfig):
    """PPO on LoRA adapters (Schulman et al. 2017; RLLR eq. 5; PPO-NLU eq. 1)."""


class GroupConfig(OnlineConfig):
    """What a method that compares the responses to one prompt can set."""

    samples: int = Field(4, ge=1, description="responses to each prompt of a step; at least 2")
    even_groups: Literal["leave", "keep"] = Field(
        "leave",
        description="what becomes of responses to a prompt whose scores are all equal: left out of the loss, "
        "or kept in it with an advantage of 0",
    )


class GRPOConfig(GroupConfig):
    """GRPO: scores centred and scaled within the responses to one prompt (Shao et al. 2024)."""

    variant: Literal["grpo", "dr_grpo"] = Field(
        "grpo",
        description="dr_grpo: no division by the deviation, and a loss divided by one constant length (Liu et "
        "al. 2025)",
    )
    kl: Literal["reward", "loss"] = Field("loss", description=OnlineConfig.model_fields["kl"].description)


class RLOOConfig(GroupConfig):
    """RLOO: the baseline of a response is the mean score of the others to its prompt (Ahmadian et al. 2024)."""


class ReinforceConfig(OnlineConfig):
    """REINFORCE++: returns of each token, whitened over the batch (Hu 2025)."""

    samples: int = Field(1, ge=1, description="responses to each prompt of a step")
    baseline: Literal["none", "group"] = Field(
        "none", description="group: the mean score of the responses to a prompt is subtracted first; needs samples >= 2"
    )


def shared_with(own: type[OnlineConfig], ppo: Mapping[str, Any]) -> dict[str, Any]:
    """What a table ``[ppo]`` sets for another method: all that both can set, apart from ``samples`` and ``kl``.

    >>> shared_with(GRPOConfig, {"steps": 3, "value_lr": 1e-3, "samples": 1})
    {'steps': 3}
    """
    shared = set(OnlineConfig.model_fields) & set(own.model_fields) - {"samples", "kl", "loss_mean"}
    return {key: value for key, value in ppo.items() if key in shared}


def check_groups(name: str, section: OnlineConfig) -> None:
    """Refuse a batch that cannot be cut into groups, and groups of one for a method that compares within them.

    Raises:
        ConfigError: The line names the setting.
    """
    compares = isinstance(section, GroupConfig) or getattr(section, "baseline", "none") == "group"
    if compares and section.samples < 2:
        raise ConfigError(
            f"{name}.samples = {section.samples}: {name} compares the responses to one prompt; expected at least 2"
        )
    if section.batch % section.samples:
        raise ConfigError(
            f"{name}.batch = {section.batch} responses a step: expected a multiple of {name}.samples = "
            f"{section.samples}, the responses to each prompt"
        )
