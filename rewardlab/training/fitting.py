"""Batches that settings leave open (``auto``): as many rows as fit into the memory that is free now.

The arithmetic is that of ``memory.py``. Gradients are added up over a batch, and what is sampled depends on no other
row, so that the choice changes speed and memory, and results within rounding.
"""

from __future__ import annotations

import logging
from typing import Literal

import torch

from rewardlab import processes
from rewardlab.config import RunConfig
from rewardlab.container_limits import usable_memory
from rewardlab.models import Trunk
from rewardlab.training.memory import GIB, OWN, Longest, Shape, bytes_of, estimate, sampling_bytes

logger = logging.getLogger(__name__)

SHARE = 0.8
"""Share of the free memory that is planned with: estimates of activations are within 15 %, allocators leave gaps."""
MOST_SAMPLED = 512
"""Rows that are sampled together at most: more make a step no faster, and a batch ends with its longest row."""
KNOWN_NOTHING = {"sft": 8, "rm": 8, "eval": 64}
"""Taken for a model whose memory cannot be worked out: the built-in settings."""


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still take on a device: what nobody has, and what torch keeps without using it."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return usable_memory()


def training_batch(kind: Literal["sft", "rm"], config: RunConfig, trunk: Trunk, longest: Longest) -> int:
    """Rows (SFT) or pairs (reward models) of a forward pass with gradients, at least 1.

    Args:
        kind: The stage, whose section is read.
        config: All settings.
        trunk: The loaded model, which is in memory already.
        longest: Lengths of the longest rows.
    """
    section = config.sft if kind == "sft" else config.rm
    if section.micro_batch:
        return section.micro_batch
    shape = _shape_of(trunk, kind)
    if shape is None:
        return KNOWN_NOTHING[kind]
    one = section.model_copy(update={"micro_batch": 1})
    needs = estimate(kind, shape, config.model_copy(update={kind: one}), _dtype(trunk), longest=longest)
    return _chosen(f"{kind}.micro_batch", trunk, needs.adapters, needs.activations + needs.logits, section.batch)


def sampling_batch(config: RunConfig, trunk: Trunk, prompt: int | None = None) -> int:
    """Rows that are sampled together, at least 1.

    Args:
        config: All settings.
        trunk: The loaded model.
        prompt: Tokens of the longest prompt; None: as many as the settings allow.
    """
    if config.eval.batch:
        return config.eval.batch
    shape = _shape_of(trunk, "eval")
    if shape is None:
        return KNOWN_NOTHING["eval"]
    size = bytes_of(_dtype(trunk))
    a_row = sampling_bytes(shape, 1, size, prompt or config.model.max_prompt_tokens, config.new_tokens)
    return _chosen("eval.batch", trunk, 0.0, a_row, MOST_SAMPLED)


def _chosen(setting: str, trunk: Trunk, fixed: float, a_row: float, most: int) -> int:
    """The same in all processes: they take their steps together."""
    free = min(processes.gather(free_memory(trunk.device)))
    fits = int((SHARE * free - OWN - fixed) / a_row)
    if fits < 1:
        logger.warning(
            "%s = auto: %.1f GiB are free and one row needs about %.1f; going on with one row (docs/memory.md)",
            setting,
            free / GIB,
            (OWN + fixed + a_row) / GIB,
        )
    rows = max(1, min(fits, most))
    logger.info("%s = auto: %d, with %.1f GiB free", setting, rows, free / GIB)
    return rows


def _shape_of(trunk: Trunk, what: str) -> Shape | None:
    shape = Shape.read(trunk.model.config.get_text_config().to_dict())
    if shape is None:
        logger.warning("auto: the memory of %s is not known; going on with %d rows", trunk.name, KNOWN_NOTHING[what])
    return shape


def _dtype(trunk: Trunk) -> str:
    return str(trunk.dtype).removeprefix("torch.")
