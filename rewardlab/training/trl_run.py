"""What SFT and reward models share: how rows are cut into steps, settings for TRL's trainers, and what is measured.

TRL's defaults are replaced one by one here: mixed precision, activation checkpointing, dropping rows by length,
dropout, telemetry and printing are off. Nothing here imports TRL; the run itself stands in ``trl_loop.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rewardlab import processes
from rewardlab.config import RMConfig, SFTConfig
from rewardlab.encoder_config import EncoderConfig
from rewardlab.errors import ConfigError, DataError, TrainingError
from rewardlab.models import Trunk
from rewardlab.training.schedule import UNBOUNDED


@dataclass(frozen=True, slots=True)
class Plan:
    """How the rows are cut into steps.

    Attributes:
        micro_batch: Rows per forward pass.
        accumulation: Forward passes per optimiser step and process; times ``micro_batch``, times the number of
            processes, it is the batch asked for.
        steps: Optimiser steps in all; ``UNBOUNDED`` where time ends training.
        warmup: Optimiser steps until the peak learning rate.
    """

    micro_batch: int
    accumulation: int
    steps: int
    warmup: int


def plan_steps(section: SFTConfig | RMConfig | EncoderConfig, rows: int) -> Plan:
    """Cut ``rows`` into steps; the micro-batch becomes the largest divisor of a process's batch within its limit.

    Raises:
        ConfigError: The batch cannot be dealt evenly to the processes.
    """
    own, left = divmod(section.batch, processes.count())
    if left:
        raise ConfigError(f"batch = {section.batch}: expected a multiple of the {processes.count()} processes")
    micro = max(size for size in range(1, min(section.micro_batch, own) + 1) if own % size == 0)
    if isinstance(section, SFTConfig) and section.seconds is not None:
        return Plan(micro, own // micro, UNBOUNDED, 0)
    steps = math.ceil(section.epochs * math.ceil(rows / section.batch))
    return Plan(micro, own // micro, steps, int(section.warmup * steps))


def left_out(counts: Mapping[str, int]) -> str:
    """What became of rows that are not trained on, as one text: how many, why, and which setting decides it.

    Args:
        counts: Reason, as it goes on behind a number -> how many rows.
    """
    return "; ".join(f"{count} {reason}" for reason, count in counts.items() if count)


def refuse_nothing(what: str, total: int, left: int, reasons: str) -> None:
    """Raise DataError when no row is ``left`` to train on; ``reasons`` come from :func:`left_out`."""
    if left == 0:
        raise DataError(f"no {what} is left to train on: {f'of {total}, {reasons}' if total else 'there are none'}")


def trl_settings(
    section: SFTConfig | RMConfig | EncoderConfig, plan: Plan, seed: int, device: torch.device
) -> dict[str, Any]:
    """Keyword arguments for ``SFTConfig`` and ``RewardConfig``, apart from the output folder.

    Where FSDP or DeepSpeed cuts the weights into shards, a checkpoint would hold the whole trunk: none is written.
    """
    return {
        "per_device_train_batch_size": plan.micro_batch,
        "gradient_accumulation_steps": plan.accumulation,
        "max_steps": plan.steps,
        "warmup_steps": plan.warmup,
        "learning_rate": section.lr,
        "lr_scheduler_type": "cosine",
        "optim": "adamw_torch",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "max_length": None,
        "bf16": False,
        "fp16": False,
        "activation_checkpointing": False,
        "seed": seed,
        "data_seed": seed,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": device.type == "cuda",
        "use_cpu": device.type == "cpu",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
        "save_strategy": "no" if processes.is_sharded() else "steps",
        "save_steps": section.checkpoint_every,
        "eval_strategy": "no",
    }


def one_device(arguments: Any) -> Any:
    """Keep the trainer on one device where several GPUs are visible and no launcher was used."""
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # the only way to say so: without a launcher, n_gpu counts every visible device
    return arguments


def remove_dropout(model: torch.nn.Module) -> None:
    """Set every dropout rate to 0, also those that attention layers keep as plain numbers."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout", "attn_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def check_trainable(model: torch.nn.Module, expected: Sequence[torch.nn.Parameter]) -> None:
    """Raise TrainingError unless exactly the ``expected`` parameters, all float32, will be trained."""
    wanted = {id(parameter) for parameter in expected}
    wrong = [name for name, p in model.named_parameters() if p.requires_grad != (id(p) in wanted)]
    if wrong:
        raise TrainingError(f"parameters frozen or trainable against the plan: {', '.join(wrong[:3])}")
    if any(parameter.dtype != torch.float32 for parameter in expected):
        raise TrainingError("adapter weights must be float32 while they are trained; found another dtype")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished run measured.

    Attributes:
        losses: Loss of each optimiser step, nats.
        tokens: Tokens seen, padding left out.
        seconds: Wall-clock time of training.
    """

    losses: tuple[float, ...]
    tokens: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """First and last loss (the last tenth of the steps averaged), tokens, seconds."""
        tail = self.losses[-max(1, len(self.losses) // 10) :]
        loss = {"first": self.losses[0], "last": sum(tail) / len(tail)}
        return {"loss": loss, "tokens": self.tokens, "seconds": round(self.seconds, 2)}


def shared_result(trunk: Trunk, outcome: Outcome) -> dict[str, Any]:
    """The part of ``result.json`` that every trained adapter has."""
    return {"steps": len(outcome.losses), "trunk": trunk.sha256(), **outcome.to_json()}
