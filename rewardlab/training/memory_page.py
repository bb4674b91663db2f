"""The tables of ``docs/memory.md``: what training needs for models of four sizes, and what fits on GPUs of three."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.models.sizes import SHAPES
from rewardlab.training.memory import GIB, OWN, Memory, Shape, estimate

MODELS = ("llama3.2-1b", "llama3.2-3b", "llama2-7b", "llama2-13b")
GPUS = (24, 40, 80)
"""Memory of GPUs, GiB."""
TRIED = (32, 16, 8, 4, 2, 1)
"""Micro-batches and batches of sampling, the largest first."""
SUPERVISED: tuple[str, ...] = ("sft", "rm")
SAVING = {f"{section}.gradient_checkpointing": True for section in ("ppo", "sft", "rm")}
WAYS: Mapping[str, Mapping[str, Any]] = {
    "bfloat16": {},
    "bfloat16, checkpointing": SAVING,
    "nf4": {"model.quantization": "nf4"},
    "nf4, checkpointing": {"model.quantization": "nf4", **SAVING},
}
"""How the trunk is stored and the update runs."""
REWARD_MODELS = 2
"""Of a mixed reward."""


def tables() -> str:
    """Markdown: parts of PPO's memory at the default settings, and the largest sizes of batches that fit."""
    parts = [
        "model", "parameters", "trunk, bfloat16", "trunk, nf4", "adapters and optimiser", "activations",
        "activations, checkpointing", "logits", "sampling",
    ]  # fmt: skip
    gpus = [f"{gpu} GB" for gpu in GPUS]
    return "\n".join(
        [
            *_table(parts, map(_parts, MODELS)),
            "",
            *_table(["model", "PPO with", *gpus], (_ppo_row(name, way) for name in MODELS for way in WAYS)),
            "",
            *_table(
                ["model", "trunk", *(f"{kind}, {gpu}" for gpu in gpus for kind in ("SFT", "RM"))],
                (_supervised_row(name, way) for name in MODELS for way in WAYS),
            ),
            "",
        ]
    )


def _parts(name: str) -> list[str]:
    shape = _shape(name)
    plain, saving, small = (_of("ppo", name, way) for way in ("bfloat16", "bfloat16, checkpointing", "nf4"))
    amounts = (
        plain.trunk, small.trunk, plain.adapters, plain.activations, saving.activations, plain.logits, plain.sampling
    )  # fmt: skip
    return [name, f"{shape.parameters / 1e9:.2f} billion", *(f"{amount / GIB:.2f}" for amount in amounts)]


def _ppo_row(name: str, way: str) -> list[str]:
    """The largest ``ppo.micro_batch`` and ``eval.batch`` for each GPU."""

    def cell(gpu: int) -> str:
        def updates(size: int) -> bool:
            found = _of("ppo", name, way, {"ppo.micro_batch": size})
            return OWN + found.trunk + found.adapters + found.activations + found.logits <= gpu * GIB

        def samples(size: int) -> bool:
            found = _of("ppo", name, way, {"eval.batch": size})
            return OWN + found.trunk + found.adapters + found.sampling <= gpu * GIB

        fits = _largest(updates), _largest(samples)
        return f"{fits[0]} / {fits[1]}" if all(fits) else "–"

    return [name, way, *map(cell, GPUS)]


def _supervised_row(name: str, way: str) -> list[str]:
    """The largest ``sft.micro_batch`` and ``rm.micro_batch`` for each GPU."""

    def cell(kind: str, gpu: int) -> str:
        return str(_largest(lambda size: _of(kind, name, way, {f"{kind}.micro_batch": size}).total <= gpu * GIB) or "–")

    return [name, way, *(cell(kind, gpu) for gpu in GPUS for kind in SUPERVISED)]


def _of(kind: str, name: str, way: str, given: dict[str, int] | None = None) -> Memory:
    config = load_config({"model.name": f"made/{name}", **WAYS[way], **(given or {})}, NO_FILE)
    return estimate(kind, _shape(name), config, "bfloat16", reward_models=REWARD_MODELS)


def _shape(name: str) -> Shape:
    shape = Shape.read(SHAPES[name])
    assert shape is not None, f"{name} is a Llama"
    return shape


def _largest(fits: Callable[[int], bool]) -> int | None:
    return next((size for size in TRIED if fits(size)), None)


def _table(headings: Sequence[str], rows: Iterable[list[str]]) -> list[str]:
    rules = ["---" if number == 0 else "---:" for number in range(len(headings))]
    return [f"| {' | '.join(cells)} |" for cells in (headings, rules, *rows)]
