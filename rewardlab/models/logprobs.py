"""Log-probabilities of tokens from hidden states, a few positions at a time: no tensor over the vocabulary is kept.

The gradient of log p(token) in the logits is 1 at the token less p everywhere. It is subtracted in float32 BEFORE the
product with the output layer: for a confident token the difference W[token] - sum_v p(v) W[v] of products in bfloat16
is nothing but rounding (pitfall 29 of docs/ppo.md). The gradient in the hidden state is worked out in the forward pass
while the probabilities are there, H numbers a position, so that the backward pass is one product by a scalar.
N positions, H width, V vocabulary, T temperature.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rewardlab.functional.kl import entropy, token_logprobs
from rewardlab.models.output import OutputHead
from rewardlab.models.products import multiply

LARGEST = 1 << 24
"""Logits that exist at a time."""


def state_logprobs(states: Tensor, tokens: Tensor, output: OutputHead | nn.Linear, temperature: float) -> Tensor:
    """Log-probability of each token, with gradients for the states alone.

    Args:
        states: Hidden states that predict the tokens. Shape (N, H).
        tokens: Shape (N,), int64.
        output: The frozen head, or an output layer that the model adds nothing to.
        temperature: Divides the logits.
    Returns:
        Shape (N,), float32, nats.
    """
    head = _head(output)
    if states.requires_grad and torch.is_grad_enabled():
        logprobs: Tensor = _Logprobs.apply(states, tokens, head, temperature)  # type: ignore[no-untyped-call]
        return logprobs
    pieces = _pieces(states, tokens, head)
    return torch.cat([token_logprobs(head(piece), picked, temperature) for piece, picked in pieces])


def state_entropies(states: Tensor, output: OutputHead | nn.Linear, temperature: float) -> Tensor:
    """Entropy of the next-token distribution at each state (N, H), nats; a piece at a time unless it has gradients."""
    head = _head(output)
    if states.requires_grad and torch.is_grad_enabled():
        return entropy(head(states) / temperature)
    pieces = _pieces(states, states, head)
    return torch.cat([entropy(head(piece) / temperature) for piece, _ in pieces])


class _Logprobs(torch.autograd.Function):
    """See the module's docstring."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, tokens: Tensor, head: OutputHead, temperature: float) -> Tensor:
        logprobs, slopes = [], []
        for piece, picked in _pieces(states, tokens, head):
            logits = head(piece)
            logprobs.append(token_logprobs(logits, picked, temperature))
            away = head.shape_gradient(_shares_of_others(logits, picked, temperature), logits).to(piece.dtype)
            slopes.append(multiply(away, head.layer.weight.t(), None) / -temperature)
        ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(logprobs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (grad,), (slopes,) = grads, ctx.saved_tensors
        return (grad[:, None] * slopes).to(slopes.dtype), None, None, None


def _shares_of_others(logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    """Probabilities (N, V) less 1 at each token: the gradient of -log p(token) in the logits over the temperature.

    1 - p is the sum of the other tokens' shares, which is exact where p rounds to 1.
    """
    shares = torch.softmax(logits / temperature, 1)
    shares.scatter_(1, tokens[:, None], 0.0)
    return shares.scatter_(1, tokens[:, None], -shares.sum(1, keepdim=True))


def _head(output: OutputHead | nn.Linear) -> OutputHead:
    return output if isinstance(output, OutputHead) else OutputHead(output)


def _pieces(states: Tensor, tokens: Tensor, head: OutputHead) -> list[tuple[Tensor, Tensor]]:
    """States and tokens cut so that a piece has at most :data:`LARGEST` logits; contiguous, which is faster."""
    size = max(1, LARGEST // head.layer.weight.shape[0])
    parts = (torch.split(whole, size) for whole in (states.contiguous(), tokens))
    return list(zip(*parts, strict=True))
