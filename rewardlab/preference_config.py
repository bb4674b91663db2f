"""Sections of methods that learn from preference pairs: what all of them can set, and DPO's own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from rewardlab.section import LATER, PATIENCE, Section
from rewardlab.types import PAIR_KINDS

SAMPLED = "sampled"
"""Pairs of the start's own answers."""


class PreferenceConfig(Section):
    """What every method that learns from preference pairs can set."""

    pairs: str = Field(
        "label",
        min_length=1,
        description="label, ranked, rationale; sampled: the start's own answers, best against worst by the reward; or "
        "a folder of pairs",
    )
    steps: int | None = Field(None, ge=1, description="optimiser steps; default: epochs over the pairs")
    epochs: float = Field(1.0, gt=0, description="passes over the pairs")
    batch: int = Field(32, ge=1, description="pairs per optimiser step")
    micro_batch: int = Field(8, ge=1, description="pairs per forward pass")
    lr: float = Field(5e-5, gt=0, description="peak learning rate")
    warmup: float = Field(0.1, ge=0, lt=1, description="warm-up, share of all steps")
    final_lr: float = Field(0.1, ge=0, le=1, description="learning rate at the end of the cosine, share of the peak")
    gradient_checkpointing: bool = Field(False, description="recompute activations in the backward pass: less memory")
    max_grad_norm: float = Field(1.0, gt=0, description="gradient norm limit")
    checkpoint_every: int = Field(20, ge=1, description="optimiser steps between checkpoints")
    checkpoint_seconds: float | None = Field(
        300.0, gt=0, description="seconds after which a checkpoint is stored whatever the steps; none: by steps alone"
    )
    validate_every: int | None = Field(
        None, ge=0, description="steps between two measures of validation accuracy; default: five a run; 0: never"
    )
    validation_rows: int = Field(100, ge=1, description="validation rows a task, answered greedily at each measure")
    patience: int | None = Field(None, ge=1, description=PATIENCE, json_schema_extra=LATER)

    @property
    def loss_title(self) -> str | None:
        """What tables call the method where its settings give it another name; None: its own."""
        return None

    @property
    def own_pairs(self) -> Path | None:
        """Somebody's own folder of pairs; None where the pairs are made here."""
        return None if self.pairs in (*PAIR_KINDS, SAMPLED) else Path(self.pairs).expanduser()

    def pairs_title(self, reward: str) -> str:
        """What tables call the pairs; ``reward`` is the run's expression, which only sampled pairs read."""
        if self.own_pairs is not None:
            return f"pairs of {self.own_pairs.name}"
        return f"{self.pairs} pairs" + (f" by {reward}" if self.pairs == SAMPLED else "")


class DPOConfig(PreferenceConfig):
    """DPO and its kin: a policy learns from pairs without a reward model (Rafailov et al. 2023)."""

    loss: Literal["sigmoid", "ipo", "robust", "hinge"] = Field(
        "sigmoid", description="sigmoid: DPO; ipo: squared distance per token; robust: for flipped pairs; hinge: SLiC"
    )
    beta: float = Field(0.1, gt=0, description="pull to the reference, per nat of a pair's margin; for ipo the tau")
    flip_rate: float | None = Field(
        None,
        ge=0,
        lt=0.5,
        description="robust: share of pairs whose preference is flipped; default, or auto: from what is known of them",
    )

    @field_validator("flip_rate", mode="before")
    @classmethod
    def _auto_is_a_word(cls, value: object) -> object:
        return None if value == "auto" else value

    @model_validator(mode="after")
    def _flips_belong_to_robust(self) -> Self:
        if self.flip_rate is not None and self.loss != "robust":
            raise ValueError(f"flip_rate = {self.flip_rate} is for loss = robust alone, and loss = {self.loss}")
        return self

    @property
    def loss_title(self) -> str | None:
        """The name of its loss."""
        return {"sigmoid": "DPO", "ipo": "IPO", "robust": "robust DPO", "hinge": "SLiC"}[self.loss]
