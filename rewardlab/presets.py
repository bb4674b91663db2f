"""Named settings: what a model needs by its size, and what the papers and their code published; how they are applied.

Precedence: built-in < the model's preset < the published preset that is named < what is given. ``RunConfig`` and
``RMConfig`` apply them here when they are built, however they are built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

MODEL_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "sandbox-tiny": {
        "data": {"labelled": 1000, "prompts": 3000, "validation": 150, "test": 500},
        "model": {"max_prompt_tokens": 96, "max_new_tokens": 48, "dtype": "float32"},
        "lora": {"targets": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]},
        "sft": {"lr": 2e-3, "epochs": 1, "batch": 64, "micro_batch": 64},
        "pairs": {"held_out": 150},
        "rm": {"lr": 2e-3, "epochs": 6, "batch": 64, "micro_batch": 64, "held_out_ranked": True, "max_pairs": 2000},
        "ppo": {
            "steps": 30,
            "batch": 64,
            "micro_batch": 32,
            "minibatches": 2,
            "lr": 3e-3,  # with beta, chosen on validation rows: experiments/tuning-sandbox.toml
            "value_lr": 3e-3,
            "kl_coef": 0.05,
        },
        "dpo": {"lr": 3e-3, "batch": 64, "micro_batch": 32},
        "raft": {"lr": 2e-3, "batch": 64, "micro_batch": 64, "prompts": 240},
        "eval": {"batch": 250},
    },
}
"""Settings that fit a model's size; anything given in a file or on the command line overrides them."""

PUBLISHED_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "rllr": {
        "format": "rationale",
        "lora": {"rank": 16, "alpha": 32.0},
        "ppo": {
            "optimizer": "adamw",
            "lr": 5e-6,  # LLaMA2's script; the paper's range is 2e-6 to 1e-5
            "value_lr": 5e-6,
            "batch": 16,
            "minibatches": 1,
            "ppo_epochs": 1,
            "warmup": 0.0,
            "final_lr": 0.0,
            "kl_coef": 0.2,  # no beta in the paper; the scripts leave TRL 0.7.2's adaptive controller as it is
            "kl_target": 6.0,
            "kl_horizon": 10_000,
            "value": "adapter",
            "value_init": "rm",
            "normalise_scores": True,
            "score_clip": None,
            "missing_end_penalty": 0.0,
            "temperature": 1.0,
        },
    },
    "ppo-nlu": {
        "format": "judgement",
        "init": "base",
        "model": {"max_new_tokens": 32},
        "lora": {"rank": 16},
        "reward": {"expression": "rule"},
        "ppo": {
            "optimizer": "adafactor",
            "lr": 9e-6,
            "value_lr": 9e-6,
            "batch": 16,  # the largest of the grid 4, 8, 12, 16 that is searched for each task
            "minibatches": 1,
            "ppo_epochs": 4,
            "warmup": 0.1,
            "final_lr": 0.1,
            "kl_coef": 0.0,
            "kl_target": None,
            "value": "head",
            "value_init": "zero",
            "value_coef": 0.5,
            "normalise_scores": False,
            "score_clip": None,
            "missing_end_penalty": 0.0,  # a response cut at its budget has no judgement, which the rule charges already
            "temperature": 1.0,
        },
    },
    "ppo-nlu-code": {
        "format": "judgement",
        "init": "base",
        "model": {"max_new_tokens": 32},
        "lora": {"rank": 16, "alpha": 32.0, "rank_stabilised": True, "bias": "all"},
        "sft": {"dropout": 0.05},
        "reward": {"expression": "2 * rule - 1"},  # 1 right, -1 another label, -3 unreadable; for STS-B use `rule`
        "ppo": {
            "optimizer": "adafactor",
            "lr": 5e-6,  # ppo.py's default; ppo.sh passes 9e-6
            "value_lr": 5e-6,
            "batch": 16,
            "minibatches": 1,
            "ppo_epochs": 4,
            "warmup": 0.0,
            "final_lr": 1.0,  # constant: the cosine is commented out
            "kl_coef": 0.2,
            "kl_target": 6.0,
            "kl_horizon": 10_000,
            "value": "head",
            "value_init": "zero",
            "value_coef": 0.1,
            "normalise_scores": False,
            "score_clip": None,
            "missing_end_penalty": 0.0,
            "temperature": 1.0,
            "least_new_tokens": 12,
        },
        "eval": {"least_new_tokens": 24, "unreadable": "random"},
    },
}
"""Settings of the papers and of their code; docs/ppo.md, "Presets", lists where they differ from what was published."""

RM_PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "rllr": {
        "label": {"lr": 3e-4, "epochs": 1.0, "batch": 64, "max_pairs": "all"},  # published range of lr: 1e-4 to 1e-3
        "ranked": {"lr": 2e-4, "epochs": 10.0, "batch": 64, "max_pairs": "all"},
        "rationale": {"lr": 2e-4, "epochs": 10.0, "batch": 64, "max_pairs": "all"},
    },
}
"""RLLR table 3: each kind of reward model had settings of its own, so they were not compared at one budget."""


def with_presets(
    given: Mapping[str, Any], built_in: Mapping[str, Any], shared: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> dict[str, Any]:
    """What is given over the presets that it names, and those over the built-in settings, section by section.

    Args:
        given: Settings by section, as they were given.
        built_in: All settings by section.
        shared: Fills in, for one of these sources, what one of its sections sets for others.
    """
    named = merge(built_in, given)
    model = _part(named, "model").get("name")
    layers = (MODEL_PRESETS.get(str(model), {}), PUBLISHED_PRESETS.get(str(named.get("preset")), {}), given)
    values = dict(built_in)
    for layer in layers:
        values = merge(values, shared(layer))
    if isinstance(values.get("rm"), Mapping):
        values["rm"] = {**values["rm"], "by_kind": by_kind_of(_part(given, "rm"))}
    return values


def by_kind_of(given: Mapping[str, Any]) -> Any:
    """The table ``by_kind`` of a section ``rm``: what is given, over the named preset where nothing is given.

    Args:
        given: The section as it was given; a setting that stands in it holds for all kinds.
    """
    own = given.get("by_kind", {})
    if not isinstance(own, Mapping):
        return own
    preset = RM_PRESETS.get(str(given.get("preset")), {})
    filled = {kind: {key: v for key, v in values.items() if key not in given} for kind, values in preset.items()}
    return merge({kind: values for kind, values in filled.items() if values}, own)


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """``high`` over ``low``, section by section."""
    merged = dict(low)
    for key, value in high.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _part(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = values.get(key)
    return part if isinstance(part, Mapping) else {}
