"""Attention for short bfloat16 sequences on CPUs, as plain products of all query heads that share a key-value head.

torch's fused kernel is made for long sequences: at 120 tokens in bfloat16 its forward and backward pass takes three
times as long as plain products, and a decoded token nine times (``experiments/LOG.md``). In float32 it is the faster
one.
B rows, H query heads, G key-value heads, T queries, S keys, D width of a query and key, E width of a value.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NAME = "rewardlab"
LARGEST = 1 << 22
"""Scores (B x H x T x S) that are written out at most; above it torch's fused kernel, which never holds them all."""


def use_grouped_attention(model: Any) -> None:
    """Let a bfloat16 model on a CPU that would use torch's fused attention use ours for short sequences."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    is_fused = getattr(model.config, "_attn_implementation", None) == "sdpa"
    if is_fused and model.dtype == torch.bfloat16 and model.device.type == "cpu":
        ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
        ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The attention function of transformers' interface.

    Args:
        module: The attention layer.
        query: Shape (B, H, T, D).
        key: Shape (B, G, S, D).
        value: Shape (B, G, S, E); E is not D in DeepSeek's latent attention.
        attention_mask: True where a query may look. Shape (B, 1, T, S); None is causal.
        scaling: Multiplies the scores; default D ** -0.5.
        options: What else transformers passes; unusual ones are left to its own function.
    Returns:
        Shape (B, T, H, E), and no weights.
    """
    if not _is_short(query, key) or _is_unusual(options):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        fused: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return fused
    if attention_mask is None and query.shape[2] > 1:
        attention_mask = _causal(query.shape[2], key.shape[2], query.device)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return grouped_attention(query, key, value, attention_mask, scale).transpose(1, 2).contiguous(), None


def grouped_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """softmax(scale * Q K^T) V by plain products; shapes as in :func:`attend`, result (B, H, T, E).

    Weights are float32 until they are multiplied, and so in the backward pass, which subtracts their mean gradient:
    with a weight of 0.999 rounded to 1 the difference would be wrong.
    """
    batch, heads, queries, width = query.shape
    groups, keys = key.shape[1], key.shape[2]
    stacked = (query * scale).reshape(batch * groups, heads // groups * queries, width)
    scores = torch.bmm(stacked, key.flatten(0, 1).transpose(1, 2))
    if mask is not None:
        lowest = torch.finfo(scores.dtype).min  # not -inf: rows of padding see nothing and must not become NaN
        scores = scores.view(batch, heads, queries, keys).masked_fill(~mask, lowest).view_as(scores)
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype)
    return torch.bmm(weights, value.flatten(0, 1)).view(batch, heads, queries, value.shape[-1])


def _is_short(query: Tensor, key: Tensor) -> bool:
    is_ours = query.dtype == torch.bfloat16 and query.device.type == "cpu"
    return is_ours and query.shape[:3].numel() * key.shape[2] <= LARGEST


def _is_unusual(options: dict[str, Any]) -> bool:
    names = ("position_bias", "softcap", "cache", "dropout", "output_attentions")
    return any(options.get(name) for name in names) or options.get("is_causal") is False


def _causal(queries: int, keys: int, device: torch.device) -> Tensor:
    """True where a query may look, the last query being at the last key. Shape (1, 1, T, S)."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)[None, None]
