"""A trained policy in the form that other programs load: one LoRA adapter of the base model, or merged weights.

A run stores the adapter of its own training; the SFT adapter that it started from was merged into the trunk. LoRA
updates add up, so the two as one adapter of rank r1 + r2 are exact: A = [A1; A2], B = [s1 B1, s2 B2] with s = alpha / r
(or alpha / sqrt(r) where the adapter is rank-stabilised), and alpha equal to the rank. Letters: r rank.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rewardlab.config import ModelConfig
from rewardlab.disk import whole_file
from rewardlab.errors import ModelError
from rewardlab.models.codec import Codec
from rewardlab.models.names import find_model
from rewardlab.models.roles import ADAPTER_FILE
from rewardlab.reading import parse_json

CONFIG_FILE = "adapter_config.json"
DOWN, UP, BIAS = ".lora_A.weight", ".lora_B.weight", ".lora_B.bias"
"""Ends of the names of an adapter's tensors: (r, in), (out, r) and (out,)."""


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """An adapter folder.

    Attributes:
        config: PEFT's configuration.
        down, up, bias: Module -> its matrix A (r, in), B (out, r) times the scale, and bias of B times the scale.
    """

    config: Mapping[str, Any]
    down: Mapping[str, Tensor]
    up: Mapping[str, Tensor]
    bias: Mapping[str, Tensor]

    @property
    def rank(self) -> int:
        """r."""
        return int(self.config["r"])


def read_adapter(folder: Path) -> StoredAdapter:
    """An adapter that was saved by PEFT or by this program.

    Raises:
        ModelError: There is none, it is damaged, or it has weights that are no LoRA matrices.
    """
    try:
        config = parse_json((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        weights = load_file(folder / ADAPTER_FILE)
        scale = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
    except (OSError, ValueError, SafetensorError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}: no readable adapter ({error}); train the run again with --fresh") from error
    parts: dict[str, dict[str, Tensor]] = {DOWN: {}, UP: {}, BIAS: {}}
    for name, tensor in weights.items():
        end = next((end for end in parts if name.endswith(end)), None)
        if end is None:
            raise ModelError(f"{folder}: {name} is no LoRA matrix; only LoRA adapters can be exported")
        parts[end][name.removesuffix(end)] = tensor.float() * (1.0 if end == DOWN else scale)
    return StoredAdapter(config, parts[DOWN], parts[UP], parts[BIAS])


def joined(adapters: Sequence[StoredAdapter]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Several adapters of one model as one that adds all their updates, and PEFT's configuration of it.

    A module that one of them leaves alone gets zeros in its place.
    """
    modules = sorted({module for adapter in adapters for module in adapter.down})
    state: dict[str, Tensor] = {}
    for module in modules:
        downs, ups = zip(*(_matrices(module, adapter, adapters) for adapter in adapters), strict=True)
        state[module + DOWN], state[module + UP] = torch.cat(downs), torch.cat(ups, dim=1).contiguous()
        if biases := [adapter.bias[module] for adapter in adapters if module in adapter.bias]:
            state[module + BIAS] = torch.stack(biases).sum(dim=0)
    rank = sum(adapter.rank for adapter in adapters)
    targets = _all_targets([adapter.config["target_modules"] for adapter in adapters])
    config = {**adapters[-1].config, "r": rank, "lora_alpha": rank, "use_rslora": False, "target_modules": targets}
    return state, {**config, "lora_bias": any(adapter.bias for adapter in adapters), "inference_mode": True}


def write_adapter(adapters: Sequence[StoredAdapter], base: str, target: Path) -> None:
    """Store the joined adapter in PEFT's format, with the name or folder of its base model."""
    state, config = joined(adapters)
    target.mkdir(parents=True, exist_ok=True)
    with whole_file(target / ADAPTER_FILE) as part:
        save_file(state, part)
    text = json.dumps({**config, "base_model_name_or_path": base}, indent=2)
    (target / CONFIG_FILE).write_text(text, encoding="utf-8")


def write_merged(adapters: Sequence[StoredAdapter], model: ModelConfig, dtype: str, target: Path) -> None:
    """Store the whole model, all updates merged in float32 and cast to ``dtype``; ``auto`` is the base model's own."""
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM

    location = find_model(model.name).location
    stored = AutoConfig.from_pretrained(location, trust_remote_code=model.trust_remote_code).dtype or torch.float32
    adapter = target / "adapter"
    write_adapter(adapters, location, adapter)
    base = AutoModelForCausalLM.from_pretrained(
        location, dtype=torch.float32, trust_remote_code=model.trust_remote_code, use_safetensors=True
    )
    with warnings.catch_warnings():
        # PEFT 0.21 reads an attribute under the name that transformers 5.23 gave up
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    merged.to(stored if dtype == "auto" else getattr(torch, dtype)).save_pretrained(str(target))
    shutil.rmtree(adapter)


def write_tokenizer(codec: Codec, target: Path) -> None:
    """Store the tokenizer with its chat template, so that the exported folder is complete."""
    codec.tokenizer.save_pretrained(str(target))


def _all_targets(given: Sequence[str | Sequence[str]]) -> str | list[str]:
    """Targets of all adapters, as PEFT takes them: names of layers, or a pattern where one of them has a pattern."""
    if not any(isinstance(targets, str) for targets in given):
        return sorted({target for targets in given for target in targets})
    found = {each if isinstance(each, str) else rf"(?:.*\.)?(?:{'|'.join(map(re.escape, each))})" for each in given}
    return found.pop() if len(found) == 1 else "|".join(f"(?:{pattern})" for pattern in sorted(found))


def _matrices(module: str, adapter: StoredAdapter, adapters: Sequence[StoredAdapter]) -> tuple[Tensor, Tensor]:
    """A (r, in) and scaled B (out, r) of one module; zeros of the shapes that another adapter has there."""
    if module in adapter.down:
        return adapter.down[module], adapter.up[module]
    other = next(each for each in adapters if module in each.down)
    inputs, outputs = other.down[module].shape[1], other.up[module].shape[0]
    return torch.zeros(adapter.rank, inputs), torch.zeros(outputs, adapter.rank)
