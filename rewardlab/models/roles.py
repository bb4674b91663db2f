"""Roles: named LoRA adapters and heads on one frozen trunk. The only module that talks to PEFT's layers.

Switching roles changes which adapter the forward pass uses and nothing else: every trainable role keeps its
``requires_grad`` (PEFT's ``set_adapter`` takes it away from the others; PITFALLS row 19).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from peft.functional import cast_adapter_dtype, inject_adapter_in_model, set_adapter, set_requires_grad
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from rewardlab import processes
from rewardlab.config import LoraConfig
from rewardlab.errors import ModelError
from rewardlab.models.heads import HEAD_FILE, ScalarHead

ADAPTER_FILE = "adapter_model.safetensors"
BENEATH = "beneath"
"""Name of the adapter that is active under every role, and where there is none."""
TARGETS_BY_TYPE = {
    "llama": ("q_proj", "v_proj"),
    "mistral": ("q_proj", "v_proj"),
    "qwen2": ("q_proj", "v_proj"),
    "qwen3": ("q_proj", "v_proj"),
    "gpt2": ("c_attn",),
    "gpt_neox": ("query_key_value",),
    "bloom": ("query_key_value",),
    "chatglm": ("query_key_value",),
    "mpt": ("Wqkv",),
    "baichuan": ("W_pack",),
}
"""Which linear layers get adapters, by ``config.model_type`` (SPEC section 4)."""


@dataclass(frozen=True, slots=True)
class Role:
    """A named adapter with an optional scalar head.

    Attributes:
        name: PEFT's adapter name.
        head: Scalar head, or None.
        is_trainable: True when gradients flow into adapter and head.
    """

    name: str
    head: ScalarHead | None
    is_trainable: bool


def peft_config(lora: LoraConfig, model: Any) -> PeftLoraConfig:
    """PEFT's configuration for our LoRA section; targets by architecture unless given, no dropout.

    Raises:
        ModelError: The architecture is unknown and no targets were given.
    """
    model_type = getattr(model.config, "model_type", "")
    targets = lora.targets or TARGETS_BY_TYPE.get(model_type) or _guess_targets(model)
    if not targets:
        raise ModelError(f"no LoRA targets known for architecture {model_type!r}; give --set lora.targets='[\"name\"]'")
    return PeftLoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=list(targets),
        fan_in_fan_out=model_type == "gpt2",
        task_type="CAUSAL_LM",
    )


class Roles:
    """All roles of one trunk. The state without any role (the reference) is ``None``."""

    def __init__(self, model: nn.Module) -> None:
        self._model: Any = model
        self._roles: dict[str, Role] = {}
        self._layers: list[BaseTunerLayer] = []
        self._used: str | None = None

    def __contains__(self, name: object) -> bool:
        return name in self._roles

    def __getitem__(self, name: str) -> Role:
        if name not in self._roles:
            raise ModelError(f"unknown role {name!r}; added: {', '.join(self._roles) or 'none'}")
        return self._roles[name]

    def names(self) -> list[str]:
        """Roles in the order they were added."""
        return list(self._roles)

    def add(self, name: str, lora: LoraConfig, *, head: ScalarHead | None = None, is_trainable: bool = True) -> Role:
        """Add a fresh adapter; it starts as the identity (B = 0)."""
        return self._inject(name, peft_config(lora, self._model), head, is_trainable)

    def load(self, name: str, folder: Path, *, is_trainable: bool = False) -> Role:
        """Add the adapter stored in ``folder`` (PEFT's format), with its head when one lies beside it.

        Raises:
            ModelError: The folder holds no adapter, a damaged one, or one for another model.
        """
        if not (folder / "adapter_config.json").exists():
            raise ModelError(f"{folder}: found no adapter_config.json; expected an adapter saved by rewardlab or PEFT")
        config = PeftLoraConfig.from_pretrained(str(folder))
        try:
            weights = load_file(folder / ADAPTER_FILE)
            head = ScalarHead.load(folder) if (folder / HEAD_FILE).exists() else None
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{folder}: the adapter's weights cannot be read ({error}); make it again") from error
        role = self._inject(name, config, head, is_trainable)
        self.restore(name, weights)
        return role

    def put_beneath(self, folder: Path) -> None:
        """Make a stored adapter part of the frozen model: active under every role, and where there is none.

        For trunks in 4 bits, into which nothing can be merged without rounding it. Call it before adding roles.
        """
        self.load(BENEATH, folder)
        self._switch(None)

    def restore(self, name: str, state: dict[str, torch.Tensor]) -> None:
        """Put stored adapter weights into role ``name``; raises ModelError when they do not fit."""
        plain = {key.removeprefix("base_model.model."): tensor for key, tensor in state.items()}
        found, expected = _shapes(plain), _shapes(self.state(name))
        wrong = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
        if wrong:
            key = wrong[0]
            raise ModelError(
                f"adapter {name!r} does not fit this model in {len(wrong)} weights: {key} has shape {found.get(key)}, "
                f"expected {expected.get(key)}; it belongs to another model"
            )
        set_peft_model_state_dict(self._model, plain, adapter_name=name)

    def state(self, name: str) -> dict[str, torch.Tensor]:
        """Adapter weights of a role, as PEFT names them."""
        state: dict[str, torch.Tensor] = get_peft_model_state_dict(self._model, adapter_name=name)
        return {key: processes.whole(tensor) for key, tensor in state.items()}

    def reload(self, name: str, folder: Path) -> None:
        """Put what :meth:`save` stored into a role that is there already; raises ModelError when it does not fit."""
        head = self[name].head
        self.restore(name, load_file(folder / ADAPTER_FILE))
        if head is not None:
            head.load_state_dict(ScalarHead.load(folder).state_dict())

    def save(self, name: str, folder: Path) -> None:
        """Store adapter and head in PEFT's format, loadable by PEFT itself; all processes call this, one writes."""
        state = {f"base_model.model.{k}": v.detach().cpu().contiguous() for k, v in self.state(name).items()}
        if processes.is_main():
            folder.mkdir(parents=True, exist_ok=True)
            save_file(state, folder / ADAPTER_FILE)
            self._model.peft_config[name].save_pretrained(str(folder))
        head = self[name].head
        if head is not None:
            head.save(folder)

    def parameters(self, name: str) -> list[nn.Parameter]:
        """Adapter parameters of a role, then its head's."""
        marker = f".{name}."
        adapter = [p for key, p in self._model.named_parameters() if marker in key and "lora_" in key]
        head = self[name].head
        return adapter + (list(head.parameters()) if head is not None else [])

    @contextmanager
    def using(self, name: str | None) -> Iterator[None]:
        """Run forward passes as role ``name``, None is the bare trunk; then as the role that was used before."""
        before = self._used
        self._switch(None if name is None else self[name].name)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, name: str | None) -> None:
        self._used = name
        active = [one for one in (BENEATH, name) if one in self._roles]
        for layer in self._layers:
            layer.enable_adapters(bool(active))
            if active:
                layer.set_adapter(active, inference_mode=True)
            layer.set_requires_grad([role.name for role in self._roles.values() if role.is_trainable])

    def _inject(self, name: str, config: PeftLoraConfig, head: ScalarHead | None, is_trainable: bool) -> Role:
        if name in self._roles:
            raise ModelError(f"role {name!r} was added already")
        device = next(self._model.parameters()).device
        with warnings.catch_warnings():  # several adapters on one model are the point here
            warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
            try:
                inject_adapter_in_model(config, self._model, adapter_name=name)
            except ValueError as error:
                model_type = getattr(self._model.config, "model_type", "")
                raise ModelError(f"role {name!r} does not fit architecture {model_type!r}: {error}") from error
        cast_adapter_dtype(self._model, name, autocast_adapter_dtype=True)
        self._model.eval()  # new modules start in training mode, where a stored adapter's own dropout would draw
        self._layers = [module for module in self._model.modules() if isinstance(module, BaseTunerLayer)]
        if head is not None:
            head.to(device).requires_grad_(is_trainable)
        self._roles[name] = Role(name, head, is_trainable)
        set_adapter(self._model, name, inference_mode=True)
        set_requires_grad(self._model, [role.name for role in self._roles.values() if role.is_trainable])
        self._switch(None)
        return self._roles[name]


def _shapes(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _guess_targets(model: Any) -> tuple[str, ...]:
    """``q_proj`` and ``v_proj`` where the model has them, whatever its type is called."""
    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    return ("q_proj", "v_proj") if {"q_proj", "v_proj"} <= names else ()
