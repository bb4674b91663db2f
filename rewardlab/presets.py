"""Named settings: what a model needs by its size, and what the papers published for PPO."""

from __future__ import annotations

from collections.abc import Mapping
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
            "lr": 3e-3,
            "value_lr": 3e-3,
            "kl_coef": 0.1,
        },
        "eval": {"batch": 250},
    },
}
"""Settings that fit a model's size; anything given in a file or on the command line overrides them."""

PPO_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "rllr": {
        "ppo": {
            "optimizer": "adamw",
            "ppo_epochs": 1,
            "value": "adapter",
            "value_init": "rm",
            "normalise_scores": True,
        },
    },
    "ppo-nlu": {
        "ppo": {
            "optimizer": "adafactor",
            "lr": 9e-6,
            "value_lr": 9e-6,
            "batch": 16,
            "ppo_epochs": 4,
            "kl_coef": 0.0,
            "value": "head",
            "value_init": "zero",
            "value_coef": 0.5,
            "normalise_scores": False,
            "missing_end_penalty": 0.0,  # a response cut at its budget has no judgement, which the rule charges already
            "final_lr": 0.1,
            "warmup": 0.1,
        },
    },
}
"""SPEC section 4: RLLR's paper and scripts; PPO-NLU section 5.1."""

RM_PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "rllr": {
        "label": {"lr": 3e-4, "epochs": 1.0, "batch": 64},  # published range of lr: 1e-4 to 1e-3
        "ranked": {"lr": 2e-4, "epochs": 10.0, "batch": 64},
        "rationale": {"lr": 2e-4, "epochs": 10.0, "batch": 64},
    },
}
"""RLLR table 3: each kind of reward model had settings of its own, so they were not compared at one budget."""
