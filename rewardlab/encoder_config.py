"""Section of the encoder, a classifier that stands beside language models in tables."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardlab.section import LATER, PATIENCE, Section


class EncoderConfig(Section):
    """A small encoder with a classification or regression head, such as BERT; the rows are those of SFT."""

    model: str | None = Field(
        None, description="embedded name, hub id or folder of the encoder; default: model.name, which --model sets"
    )
    tuning: Literal["full", "lora"] = Field(
        "full", description="full: all weights are trained; lora: adapters in all linear layers, and the head"
    )
    rows: Literal["labelled", "all"] = Field(
        "labelled", description="rows it learns from; all: the PPO prompts too, whose gold labels it then reads"
    )
    max_length: int = Field(512, ge=8, description="longest input, tokens; texts are cut from the longest down to it")
    lr: float = Field(2e-5, gt=0, description="peak learning rate; lora wants about ten times as much")
    epochs: float = Field(3.0, gt=0, description="passes over the rows")
    batch: int = Field(32, ge=1, description="rows per optimiser step")
    micro_batch: int = Field(32, ge=1, description="rows per forward pass")
    warmup: float = Field(0.1, ge=0, lt=1, description="warm-up, share of all steps; linear decay after it")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's decay of weights, not of biases and norms")
    checkpoint_every: int = Field(500, ge=1, description="optimiser steps between checkpoints")
    checkpoint_seconds: float | None = Field(
        300.0, gt=0, description="seconds after which a checkpoint is stored whatever the steps; none: by steps alone"
    )
    validation_rows: int = Field(
        500,
        ge=0,
        description="validation rows, answered after each epoch (without patience five times a run at most) to choose "
        "the best; 0: the last",
    )
    patience: int | None = Field(None, ge=1, description=PATIENCE, json_schema_extra=LATER)

    @property
    def parts(self) -> tuple[Literal["labelled", "prompts"], ...]:
        """The parts of the data it learns from."""
        return ("labelled", "prompts") if self.rows == "all" else ("labelled",)
