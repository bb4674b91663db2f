"""Section of rejection-sampling fine-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardlab.section import LATER, PATIENCE, Section


class RaftConfig(Section):
    """RAFT: SFT on the policy's own best responses, in rounds (Dong et al. 2023)."""

    rows: Literal["prompts", "labelled", "all"] = Field(
        "prompts", description="rows whose prompts it reads; labelled: those that SFT learned from; all: both"
    )
    rounds: int = Field(3, ge=0, description="rounds of sampling, choosing and fine-tuning")
    prompts: int | None = Field(None, ge=1, description="prompts a round; default: all of them, in every round")
    samples: int = Field(8, ge=1, description="responses to each prompt of a round")
    keep: int = Field(1, ge=1, description="best responses to a prompt that are learned from; of equals the earliest")
    threshold: float | None = Field(
        None, description="score that a response must exceed to be learned from; default: the best are, whatever it is"
    )
    temperature: float = Field(1.0, gt=0, description="sampling temperature")
    lr: float = Field(2e-4, gt=0, description="peak learning rate of a round's fine-tuning")
    epochs: float = Field(1.0, gt=0, description="passes over the responses that a round learns from")
    batch: int = Field(32, ge=1, description="responses per optimiser step")
    micro_batch: int = Field(8, ge=1, description="responses per forward pass with gradients")
    warmup: float = Field(0.05, ge=0, lt=1, description="warm-up, share of a round's optimiser steps")
    final_lr: float = Field(0.0, ge=0, le=1, description="learning rate at the end of the cosine, share of the peak")
    max_grad_norm: float = Field(1.0, gt=0, description="gradient norm limit")
    checkpoint_every: int = Field(100, ge=1, description="optimiser steps between checkpoints, within a round")
    checkpoint_seconds: float | None = Field(
        300.0, gt=0, description="seconds after which a checkpoint is stored whatever the steps; none: by steps alone"
    )
    validation_rows: int = Field(
        100, ge=0, description="validation rows a task, answered greedily after each round; 0: none, the last counts"
    )
    patience: int | None = Field(None, ge=1, description=PATIENCE, json_schema_extra=LATER)
    max_unscored: float = Field(0.2, ge=0, le=1, description="share of unscored responses above which a round fails")

    @property
    def parts(self) -> tuple[Literal["labelled", "prompts"], ...]:
        """The parts of the data whose prompts it reads."""
        return ("labelled", "prompts") if self.rows == "all" else (self.rows,)
