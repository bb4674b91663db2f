"""Roles: named LoRA adapters and heads on one frozen trunk. The only module that switches PEFT's layers.

PEFT is imported with the first adapter, since it takes seconds. Switching roles changes which adapter the forward pass
uses and nothing else: every trainable role keeps its ``requires_grad`` (PEFT's ``set_adapter`` takes it away from the
others; pitfall 19 of docs/ppo.md).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from rewardlab import processes
from rewardlab.config import LoraConfig
from rewardlab.disk import whole_file
from rewardlab.errors import ModelError
from rewardlab.models.biases import has_own_biases
from rewardlab.models.heads import HEAD_FILE, ScalarHead

if TYPE_CHECKING:
    from peft import LoraConfig as PeftLoraConfig
    from peft.tuners.tuners_utils import BaseTunerLayer

PEFT_DICTS = frozenset({"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector"})
"""What PEFT calls the dictionaries in which a layer keeps its adapters, by adapter name."""
_PLACE = re.compile(rf"(?<=\.)({'|'.join(map(re.escape, sorted(PEFT_DICTS)))})\.[^.]+")
"""A dictionary of adapters and the adapter's name in it."""
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
"""Which linear layers get adapters, by ``config.model_type``."""
GUESSES = (("q_proj", "v_proj"), ("q_b_proj", "kv_b_proj"), ("q_proj", "kv_b_proj"), ("qkv_proj",))
"""What an architecture of another type gets, the first that it has; the second and third are DeepSeek's latent
attention, the last is Phi-3's."""


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


def peft_config(lora: LoraConfig, model: Any, dropout: float = 0.0) -> PeftLoraConfig:
    """PEFT's configuration for our LoRA section; targets by architecture unless given.

    Raises:
        ModelError: The architecture is unknown and no targets were given, or ``lora.bias`` does not fit the model.
    """
    from peft import LoraConfig as PeftLoraConfig

    config = model.config.get_text_config()
    targets = lora.targets or TARGETS_BY_TYPE.get(config.model_type) or _guess_targets(model.get_decoder())
    if not targets:
        raise ModelError(
            f"no LoRA targets known for architecture {config.model_type!r}; give --set lora.targets='[\"name\"]'"
        )
    return PeftLoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=dropout,
        use_rslora=lora.rank_stabilised,
        lora_bias=has_own_biases(lora, model, targets),
        target_modules=_in_text_part(model, targets),
        fan_in_fan_out=config.model_type == "gpt2",
        task_type="CAUSAL_LM",
    )


def adapter_of(parameter: str) -> str | None:
    """Name of the adapter that a parameter of the model belongs to; None for one of the model's own.

    >>> adapter_of("model.value.q_proj.lora_A.policy.weight"), adapter_of("model.value.q_proj.base_layer.weight")
    ('policy', None)
    """
    parts = parameter.split(".")
    return next((name for kind, name in pairwise(parts) if kind in PEFT_DICTS), None)


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

    def add(
        self,
        name: str,
        lora: LoraConfig,
        *,
        head: ScalarHead | None = None,
        is_trainable: bool = True,
        dropout: float = 0.0,
    ) -> Role:
        """Add a fresh adapter; it starts as the identity (B = 0). Its dropout draws in training mode alone."""
        return self._inject(name, peft_config(lora, self._model, dropout), head, is_trainable)

    def load(self, name: str, folder: Path, *, is_trainable: bool = False) -> Role:
        """Add the adapter stored in ``folder`` (PEFT's format), with its head when one lies beside it.

        Raises:
            ModelError: The folder holds no adapter, a damaged one, or one for another model.
        """
        if not (folder / "adapter_config.json").exists():
            raise ModelError(f"{folder}: found no adapter_config.json; expected an adapter saved by rewardlab or PEFT")
        from peft import LoraConfig as PeftLoraConfig

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
        with torch.no_grad():
            for key, parameter in self._adapter(name).items():
                parameter.copy_(plain[key])

    def state(self, name: str) -> dict[str, torch.Tensor]:
        """Adapter weights of a role, as PEFT names them."""
        return {key: processes.whole(tensor.detach()) for key, tensor in self._adapter(name).items()}

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
            with whole_file(folder / ADAPTER_FILE) as part:
                save_file(state, part)
            self._model.peft_config[name].save_pretrained(str(folder))
        head = self[name].head
        if head is not None:
            head.save(folder)

    def parameters(self, name: str) -> list[nn.Parameter]:
        """Adapter parameters of a role, then its head's."""
        adapter = list(self._adapter(name).values())
        head = self[name].head
        return adapter + (list(head.parameters()) if head is not None else [])

    def _adapter(self, name: str) -> dict[str, nn.Parameter]:
        """Parameters of one adapter by PEFT's names for storage, which leave the adapter's own out."""
        found = {key: p for key, p in self._model.named_parameters() if adapter_of(key) == name}
        return {_PLACE.sub(r"\1", key, count=1): parameter for key, parameter in found.items()}

    @contextmanager
    def using(self, name: str | None) -> Iterator[None]:
        """Run forward passes as role ``name``, None is the bare trunk; then as the role that was used before."""
        before = self._used
        self._switch(None if name is None else self[name].name)
        try:
            yield
        finally:
            self._switch(before)

    @contextmanager
    def using_in(self, part: nn.Module, name: str | None) -> Iterator[None]:
        """As :meth:`using`, for passes through one part of the model alone: the other layers are left as they are."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        own = [module for module in part.modules() if isinstance(module, BaseTunerLayer)]
        self._activate(own, name)
        try:
            yield
        finally:
            self._activate(own, self._used)

    def _switch(self, name: str | None) -> None:
        self._used = name
        self._activate(self._layers, name)

    def _activate(self, layers: Sequence[BaseTunerLayer], name: str | None) -> None:
        active = [one for one in (BENEATH, name) if one in self._roles]
        for layer in layers:
            layer.enable_adapters(bool(active))
            if active:
                layer.set_adapter(active, inference_mode=True)
            layer.set_requires_grad([role.name for role in self._roles.values() if role.is_trainable])

    def _inject(self, name: str, config: PeftLoraConfig, head: ScalarHead | None, is_trainable: bool) -> Role:
        from peft.functional import cast_adapter_dtype, inject_adapter_in_model, set_adapter, set_requires_grad
        from peft.tuners.tuners_utils import BaseTunerLayer

        from rewardlab.models.adapted import use_fewer_passes

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
        use_fewer_passes(self._model)
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


def _in_text_part(model: Any, targets: Sequence[str]) -> list[str] | str:
    """Targets as PEFT takes them; of a model that reads images too, as a pattern of its language model's layers."""
    if model.config.get_text_config() is model.config:
        return list(targets)
    [place] = [name for name, module in model.named_modules() if module is model.get_decoder()]
    return rf"{re.escape(place)}\.(?:.*\.)?(?:{'|'.join(map(re.escape, targets))})"


def _guess_targets(decoder: nn.Module) -> tuple[str, ...]:
    """The first of :data:`GUESSES` that the language model has, whatever its type is called."""
    names = {name.rsplit(".", 1)[-1] for name, _ in decoder.named_modules()}
    return next((guess for guess in GUESSES if names.issuperset(guess)), ())
