"""``Trunk``: one frozen language model, its codec, and the roles that live on it.

Letters: B batch, T tokens, H width, V vocabulary. ``keep`` is True where a position counts; positions are derived
from it in every forward pass (pitfall 1 of docs/ppo.md).
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rewardlab import processes
from rewardlab.config import ModelConfig
from rewardlab.errors import ModelError
from rewardlab.functional.masking import positions_from_keep
from rewardlab.models.attention import use_grouped_attention
from rewardlab.models.codec import Codec
from rewardlab.models.frozen import use_fastest_products
from rewardlab.models.logprobs import state_entropies, state_logprobs
from rewardlab.models.names import find_model, resolve_device, resolve_dtype
from rewardlab.models.output import OutputHead, output_head
from rewardlab.models.quantized import as_plain, check_quantization, loading_options
from rewardlab.models.roles import BENEATH, Roles, adapter_of

logger = logging.getLogger(__name__)

CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
"""What architectures call the length of their context; the first that is there counts."""


@dataclass(frozen=True, slots=True)
class Prefill:
    """What generation goes on from: the last hidden state (B, H) and the key-value cache."""

    last: Tensor
    cache: Any

    def rows(self, index: Tensor) -> Prefill:
        """Some rows, each as often as its index stands in ``index``; the cache is changed in place."""
        self.cache.batch_select_indices(index)
        return Prefill(self.last[index], self.cache)


class Trunk:
    """A frozen causal language model with named roles.

    Args:
        model: A transformers causal LM; its parameters are frozen here.
        codec: Its tokenizer's codec.
        name: The name the user gave.
        float32_logits: The output layer's products stay in float32; in a float32 model they are that anyway.
    Attributes:
        head: Hidden states to logits.
        adapter: Folder of SFT's adapter, which the weights hold or which lies beneath the roles; None without one.
        shares_prompts: Whether responses to one prompt can be read behind one reading of it; None until
            ``models.prompts`` has tried.
    Raises:
        ModelError: The model does something to its logits that we do not.
        rows_read: Sequences that went through whole forward passes, by this process; a shared prompt makes none fewer.
    """

    def __init__(self, model: Any, codec: Codec, name: str, *, float32_logits: bool = False) -> None:
        self.model = model.eval().requires_grad_(False)
        self.codec = codec
        self.name = name
        self.is_checkpointed = False
        self.rows_read = 0
        self.shares_prompts: bool | None = None
        self.adapter: Path | None = None
        use_fastest_products(model)
        use_grouped_attention(model)
        self.head: OutputHead = replace(output_head(model, name), is_float32=float32_logits)
        self.roles = Roles(model)
        self.takes_positions = "position_ids" in inspect.signature(self.backbone.forward).parameters

    @property
    def backbone(self) -> Any:
        """The model without its output layer."""
        return self.model.base_model

    @property
    def device(self) -> torch.device:
        """Where the trunk lies."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the frozen weights."""
        dtype: torch.dtype = next(self.model.parameters()).dtype
        return dtype

    @property
    def width(self) -> int:
        """H."""
        return int(self.model.get_input_embeddings().embedding_dim)

    @property
    def context(self) -> int | None:
        """Most positions the model was built for, prompt and response together; None when it does not say."""
        config = self.model.config.get_text_config()
        found = (getattr(config, name, None) for name in CONTEXT_KEYS)
        return next((int(length) for length in found if length), None)

    def hidden(self, ids: Tensor, keep: Tensor, role: str | None) -> Tensor:
        """Last hidden states, after the final norm.

        Args:
            ids: Token ids. Shape (B, T).
            keep: True at real tokens. Shape (B, T).
            role: Whose adapter is active; None is the bare trunk.
        Returns:
            Shape (B, T, H), trunk dtype. Positions that are not kept hold arbitrary numbers.
        """
        with self.running(role, len(ids)):
            out = self.backbone(ids, attention_mask=keep.long(), use_cache=False, **self.positions(keep))
        states: Tensor = out.last_hidden_state
        return states

    @contextmanager
    def running(self, role: str | None, rows: int) -> Iterator[None]:
        """Around whole forward passes over so many sequences, with gradients or without, as ``role``."""
        self.rows_read += rows
        with self.roles.using(role), self._saving_memory(role):
            yield

    def positions(self, keep: Tensor) -> dict[str, Tensor]:
        """Positions of the tokens of rows (B, T) as the model's argument; empty where it finds them by the mask."""
        return {"position_ids": positions_from_keep(keep)} if self.takes_positions else {}

    def logits(self, states: Tensor) -> Tensor:
        """Hidden states (..., H) to logits (..., V), float32; computed on a contiguous 2-D tensor, which is faster."""
        flat = states.reshape(-1, states.shape[-1]).contiguous()
        return self.head(flat).view(*states.shape[:-1], -1)

    def logprobs(self, states: Tensor, tokens: Tensor, temperature: float) -> Tensor:
        """Log-probability of each token (N,) predicted by its state (N, H); float32, no logits are kept."""
        return state_logprobs(states, tokens, self.head, temperature)

    def entropies(self, states: Tensor, temperature: float) -> Tensor:
        """Entropy of the next-token distribution at each state. Shape (N, H) -> (N,), nats."""
        return state_entropies(states, self.head, temperature)

    def prefill(self, ids: Tensor, keep: Tensor, new_tokens: int | None = None) -> Prefill:
        """Read left-padded prompts (B, T) under the active role and keep their cache.

        Args:
            ids: Token ids. Shape (B, T).
            keep: True at real tokens. Shape (B, T).
            new_tokens: Most tokens that will be read behind them; None where that is not known.
        """
        from rewardlab.models.cache import roomy_cache

        cache = roomy_cache(self.model.config, None if new_tokens is None else ids.shape[1] + new_tokens)
        out = self.backbone(
            ids, attention_mask=keep.long(), past_key_values=cache, use_cache=True, **self.positions(keep)
        )
        return Prefill(out.last_hidden_state[:, -1], cache)

    def extend(self, ids: Tensor, keep: Tensor, cache: Any) -> Tensor:
        """Read one more token per row under the active role.

        Args:
            ids: New tokens. Shape (B,).
            keep: Mask over the cached tokens and the new one. Shape (B, T + 1).
            cache: The cache of :meth:`prefill`, extended in place.
        Returns:
            Hidden state of the new token. Shape (B, H).
        """
        positions = {name: tensor[:, -1:] for name, tensor in self.positions(keep).items()}
        out = self.backbone(
            ids[:, None], attention_mask=keep.long(), past_key_values=cache, use_cache=True, **positions
        )
        states: Tensor = out.last_hidden_state
        return states[:, -1]

    def read_in_place(self, ids: Tensor, positions: Tensor, seen: Tensor, cache: Any) -> Tensor:
        """Read one more token per row under the active role, in a cache of fixed length.

        Args:
            ids: New tokens. Shape (B, 1).
            positions: Their positions. Shape (B, 1).
            seen: True at cached tokens that count, the new one included. Shape (B, 1, 1, L).
            cache: Of ``FixedLayer``; written in place.
        Returns:
            Hidden state of the new token. Shape (B, H).
        """
        out = self.backbone(ids, attention_mask=seen, position_ids=positions, past_key_values=cache, use_cache=True)
        states: Tensor = out.last_hidden_state
        return states[:, -1]

    def sha256(self) -> str:
        """Hash of every frozen weight, roles left out; equal before and after training or something is wrong."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            if adapter_of(name) in (None, BENEATH):
                digest.update(name.replace(".base_layer.", ".").encode())
                digest.update(processes.whole(tensor).detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]

    @contextmanager
    def _saving_memory(self, role: str | None) -> Iterator[None]:
        """Keep only the inputs of layers while gradients are recorded; they run again, as ``role``, when needed.

        transformers checkpoints layers in training mode alone; only the layers' own flag is raised, so that nothing
        inside them (dropout) changes.
        """
        if not (self.is_checkpointed and torch.is_grad_enabled()):
            yield
            return
        from transformers.modeling_layers import GradientCheckpointingLayer

        layers = [module for module in self.model.modules() if isinstance(module, GradientCheckpointingLayer)]
        before = [layer.training for layer in layers]
        for layer in layers:
            layer._can_checkpoint_with_cache = True  # ours are left as they are when a layer runs again
            contexts = partial(_contexts, self.roles, role, layer)
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False, context_fn=contexts)
            layer.gradient_checkpointing = layer.training = True
        try:
            yield
        finally:
            for layer, was_training in zip(layers, before, strict=True):
                layer.gradient_checkpointing, layer.training = False, was_training


def _contexts(
    roles: Roles, role: str | None, layer: Any
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around a layer's forward pass, which runs as its role already, and around its repetition, which does not."""
    return nullcontext(), roles.using_in(layer, role)


def load_trunk(config: ModelConfig, adapter: Path | None = None) -> Trunk:
    """Load a model, merge the SFT adapter in float32, cast, freeze; in 4 bits it lies beneath the roles instead.

    Args:
        config: Which model, where it runs, in which dtype.
        adapter: Folder of the SFT adapter to merge; None leaves the base as it is.
    Raises:
        ModelError: The model cannot be found or read, cannot be had in 4 bits or with logits in float32 where that was
            asked for, or does something to its logits that we do not.
    """
    if config.float32_logits and processes.is_sharded():
        raise ModelError(
            "model.float32_logits: FSDP and DeepSpeed compute logits in the model's dtype; launch without them"
        )
    source, codec = find_model(config.name), load_codec(config)
    device = resolve_device(config.device)
    dtype = getattr(torch, resolve_dtype(config))
    is_whole = config.quantization == "none"
    if is_whole:
        loaded = _load_whole(source.location, config, device, dtype, adapter)
    else:
        loaded = _load_quantized(source.location, config, device, dtype)
    logger.debug("loaded %s from %s as %s on %s", config.name, source.location, dtype, device)
    trunk = Trunk(loaded, codec, config.name, float32_logits=config.float32_logits)
    trunk.adapter = adapter
    if adapter is not None and not is_whole:
        trunk.roles.put_beneath(adapter)
    return trunk


def load_codec(config: ModelConfig) -> Codec:
    """The codec of a model; reads only its tokenizer.

    Raises:
        ModelError: It cannot be read, has no end token, or its chat template leaves prompts in a thought.
    """
    from transformers import AutoTokenizer

    source = find_model(config.name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.location, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError) as error:
        raise ModelError(_unreadable(config.name, error)) from error
    return Codec(tokenizer, config)


def _load_whole(location: str, config: ModelConfig, device: str, dtype: torch.dtype, adapter: Path | None) -> Any:
    loaded = _load_causal_lm(location, torch.float32 if adapter else dtype, config.trust_remote_code)
    if adapter is not None:
        loaded = _merged(loaded, adapter)
    return loaded.to(dtype).to(device)


def _load_quantized(location: str, config: ModelConfig, device: str, dtype: torch.dtype) -> Any:
    check_quantization(config, device)
    options = loading_options(config, device, dtype)
    return as_plain(_load_causal_lm(location, dtype, config.trust_remote_code, **options))


def _load_causal_lm(location: str, dtype: torch.dtype, trust_remote_code: bool, **options: Any) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(
            location, dtype=dtype, trust_remote_code=trust_remote_code, use_safetensors=True, **options
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(_unreadable(location, error)) from error


def _merged(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    if not (adapter / "adapter_config.json").exists():
        raise ModelError(f"{adapter}: found no adapter_config.json; expected an SFT adapter saved by rewardlab or PEFT")
    with warnings.catch_warnings():
        # PEFT 0.21 reads an attribute under the name that transformers 5.23 gave up
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()


def _unreadable(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"model {name!r} cannot be loaded: {reason}. Give a local model folder, or an embedded name (sandbox-tiny)."
