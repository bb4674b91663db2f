"""What five roles of a large model need, by arithmetic: memory, time of a PPO step, traffic, and what binds first.

The roles are policy, reference, critic, label RM and ranked RM. Shapes are those of the models' published
``config.json``. Sizes are those of the preset ``rllr``: 64 prompts of 512 tokens with responses of 256, LoRA of rank 16
on queries and values, one epoch. Nothing is measured here. The GPU is an H100 SXM by its data sheet (80 GB, 989 TFLOP/s
in bfloat16, 3.35 TB/s), of whose speed a share is taken: 40 % of the arithmetic, 60 % of the memory's. NVLink moves
450 GB/s in one direction inside a machine, 400 Gbit/s = 50 GB/s go between machines.

    python experiments/simulations/roles.py

Formulas, for P parameters of which a token uses A (P = A but for a mixture of experts): a forward pass is 2 A
operations a token; the update under gradient checkpointing is 6 A (forward, forward again, backward through frozen
weights). A decoding step reads the weights that any of its rows uses, and the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewardlab.config import RunConfig
from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.training.memory import (
    GIB,
    NF4,
    OWN,
    Shape,
    activation_bytes,
    adapter_numbers,
    cache_bytes,
    estimate,
    trunk_bytes,
)

GPU_BYTES = 80e9
FLOPS, BANDWIDTH = 0.40 * 989e12, 0.60 * 3.35e12
NVLINK, NETWORK = 450e9, 50e9
BF16, FLOAT32 = 2, 4
ROWS, PROMPT, RESPONSE = 64, 512, 256
TOKENS = PROMPT + RESPONSE
ROLES, TRAINED, REWARD_MODELS = 5, 2, 2
GATHERING = 4
"""GPUs of FSDP 2 that each keep a piece of the trunk and gather the rest, layer by layer, for every pass."""


@dataclass(frozen=True)
class Model:
    """A model of many parameters.

    Attributes:
        name: As people call it.
        shape: As of a dense model; a mixture's MLP is as wide as the experts that one token uses.
        experts, chosen: How many experts a layer has, and how many a token uses; 1 and 1 for a dense model.
    """

    name: str
    shape: Shape
    experts: int = 1
    chosen: int = 1

    @property
    def active(self) -> float:
        """Numbers that a token uses."""
        return float(self.shape.parameters)

    @property
    def unused(self) -> float:
        """Numbers of the experts that one token does not use."""
        one = 3 * self.shape.hidden * self.shape.intermediate / self.chosen
        return self.shape.layers * (self.experts - self.chosen) * one

    @property
    def total(self) -> float:
        """All parameters; the routers' weights, below a thousandth, are left out."""
        return self.active + self.unused

    def read(self, rows: int) -> float:
        """Bytes of the weights that a decoding step of so many rows reads, if their tokens choose experts at random."""
        missed = (1 - self.chosen / self.experts) ** rows
        experts = self.unused * self.experts / max(self.experts - self.chosen, 1)
        return BF16 * (self.total - experts * missed)


MODELS = (
    Model("Llama 3.1 8B", Shape(128_256, 4096, 14_336, 32, 32, 8, 128, is_tied=False)),
    Model("Llama 3.1 70B", Shape(128_256, 8192, 28_672, 80, 64, 8, 128, is_tied=False)),
    Model("Qwen3 30B-A3B", Shape(151_936, 2048, 8 * 768, 48, 32, 4, 128, is_tied=False, has_qk_norm=True), 128, 8),
)


def config() -> RunConfig:
    """The settings that the arithmetic is about."""
    given = {"model.name": "made/large", "ppo.gradient_checkpointing": True, "ppo.batch": ROWS}
    return load_config({**given, "model.max_prompt_tokens": PROMPT, "model.max_new_tokens": RESPONSE}, NO_FILE)


def adapter_bytes(model: Model) -> float:
    """All roles' adapters, and what trains two of them."""
    return estimate("ppo", model.shape, config(), "bfloat16", reward_models=REWARD_MODELS).adapters


def activations(model: Model) -> float:
    """Of one micro-batch with checkpoints, and its logits."""
    settings = config()
    kept = activation_bytes(model.shape, settings, BF16, settings.ppo.micro_batch, TOKENS, is_checkpointed=True)
    return kept + estimate("ppo", model.shape, settings, "bfloat16", reward_models=REWARD_MODELS).logits


def cache(model: Model, rows: int = ROWS) -> float:
    """Keys and values of so many rows at their full length."""
    return float(cache_bytes(model.shape, BF16, rows, TOKENS))


def memory_row(model: Model) -> list[str]:
    """GiB of each part, and what is free for the cache."""
    free = GPU_BYTES - OWN - BF16 * model.total - adapter_bytes(model)
    rows = f"{int(free / cache(model, 1))}" if free > 0 else "–"
    amounts = (
        BF16 * model.total,
        ROLES * BF16 * model.total,
        _nf4(model),
        adapter_bytes(model),
        activations(model),
        cache(model),
    )
    return [model.name, f"{model.total / 1e9:.1f}", f"{model.active / 1e9:.1f}", *map(_gib, amounts), rows]


def _nf4(model: Model) -> float:
    """The linear layers of all blocks in 4 bits."""
    return trunk_bytes(model.shape, "bfloat16", "nf4") + NF4 * model.unused


@dataclass(frozen=True)
class Step:
    """Seconds of one PPO step, if one GPU held the model: reading prompts, decoding, scoring, update."""

    prompts: float
    decoding: float
    scoring: float
    update: float

    @property
    def total(self) -> float:
        """One after the other."""
        return self.prompts + self.decoding + self.scoring + self.update


def step(model: Model, gpus: int = 1) -> Step:
    """On a number of GPUs that share arithmetic and memory evenly, communication aside."""
    forward = 2 * model.active / FLOPS / gpus
    cached = sum(cache_bytes(model.shape, BF16, ROWS, PROMPT + each) for each in range(RESPONSE))
    return Step(
        prompts=ROWS * PROMPT * forward,
        decoding=(RESPONSE * model.read(ROWS) + cached) / BANDWIDTH / gpus,
        scoring=ROLES * ROWS * TOKENS * forward,
        update=TRAINED * 3 * ROWS * TOKENS * forward,
    )


def gpus_for(model: Model) -> int:
    """GPUs, in powers of two, over which weights, adapters, activations of one micro-batch and the cache fit."""
    count = 1
    need = BF16 * model.total + adapter_bytes(model) + max(activations(model), cache(model))
    while need / count + OWN > GPU_BYTES:
        count *= 2
    return count


def step_row(model: Model) -> list[str]:
    """Seconds of the parts of a step on the fewest GPUs that hold it."""
    count = gpus_for(model)
    found = step(model, count)
    parts = (found.prompts, found.decoding, found.scoring, found.update, found.total)
    share = f"{100 * found.decoding / found.total:.0f} %"
    return [model.name, str(count), *(f"{each:.1f}" for each in parts), share]


def traffic_row(model: Model) -> list[str]:
    """What travels in one step: float32 gradients, the adapter (SFT's and the policy's together), or the trunk."""
    numbers = adapter_numbers(model.shape, config())
    adapter, to_server, weights = FLOAT32 * numbers, BF16 * 2 * numbers, BF16 * model.total
    micro_batches = ROWS // GATHERING // config().ppo.micro_batch
    passes = (ROLES + TRAINED * 3) * micro_batches
    return [
        model.name,
        f"{TRAINED * adapter / 1e6:.0f}",
        f"{1000 * 2 * TRAINED * adapter / NETWORK:.0f}",
        f"{to_server / 1e6:.0f}",
        f"{1000 * to_server / NETWORK:.0f}",
        f"{weights / NETWORK:.1f}",
        f"{passes * weights / NVLINK:.1f}",
        f"{RESPONSE * weights / NVLINK:.0f}",
    ]


def _gib(amount: float) -> str:
    return f"{amount / GIB:.1f}"


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables() -> list[str]:
    """Memory, time and traffic."""
    memory = [
        "model", "billion parameters", "a token uses", "one trunk", "five trunks", "one in nf4", "adapters, optimiser",
        "activations, logits", "cache of 64 rows", "rows whose cache fits",
    ]  # fmt: skip
    steps = ["model", "GPUs", "prompts", "decoding", "scoring", "update", "step", "decoding's share"]
    traffic = [
        "model", "gradients, MB", "summed, ms", "adapter to a server, MB", "sent, ms", "whole weights instead, s",
        "FSDP 2: weights gathered, s", "the same in decoding, s",
    ]  # fmt: skip
    return [
        markdown(memory, [memory_row(model) for model in MODELS]),
        markdown(steps, [step_row(model) for model in MODELS]),
        markdown(traffic, [traffic_row(model) for model in MODELS]),
    ]


if __name__ == "__main__":
    print("\n\n".join(tables()))
