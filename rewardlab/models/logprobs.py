"""Log-probabilities of tokens from hidden states, a few positions at a time: no tensor over the vocabulary is kept.

The gradient of log p(token) in the hidden state is (W[token] - sum_v p(v) W[v]) / T. It is worked out in the forward
pass while the probabilities are there, H numbers a position, so that the backward pass is one product by a scalar.
N positions, H width, V vocabulary, T temperature.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rewardlab.functional.kl import entropy, token_logprobs
from rewardlab.models.frozen import multiply

LARGEST = 1 << 24
"""Logits that exist at a time."""


def state_logprobs(states: Tensor, tokens: Tensor, output: nn.Linear, temperature: float) -> Tensor:
    """Log-probability of each token, with gradients for the states alone.

    Args:
        states: Hidden states that predict the tokens. Shape (N, H).
        tokens: Shape (N,), int64.
        output: The frozen output layer.
        temperature: Divides the logits.
    Returns:
        Shape (N,), float32, nats.
    """
    if states.requires_grad and torch.is_grad_enabled():
        logprobs: Tensor = _Logprobs.apply(states, tokens, output, temperature)  # type: ignore[no-untyped-call]
        return logprobs
    pieces = _pieces(states, tokens, output)
    return torch.cat([token_logprobs(output(piece).float(), picked, temperature) for piece, picked in pieces])


def state_entropies(states: Tensor, output: nn.Linear, temperature: float) -> Tensor:
    """Entropy of the next-token distribution at each state (N, H), nats; a piece at a time unless it has gradients."""
    if states.requires_grad and torch.is_grad_enabled():
        return entropy(output(states).float() / temperature)
    pieces = _pieces(states, states, output)
    return torch.cat([entropy(output(piece).float() / temperature) for piece, _ in pieces])


class _Logprobs(torch.autograd.Function):
    """See the module's docstring."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, tokens: Tensor, output: nn.Linear, temperature: float) -> Tensor:
        logprobs, slopes = [], []
        for piece, picked in _pieces(states, tokens, output):
            logits = output(piece).float()
            logprobs.append(token_logprobs(logits, picked, temperature))
            shares = torch.softmax(logits / temperature, -1).to(piece.dtype)
            slopes.append((output.weight[picked] - multiply(shares, output.weight.t(), None)) / temperature)
        ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(logprobs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return (grads[0][:, None] * slopes).to(slopes.dtype), None, None, None


def _pieces(states: Tensor, tokens: Tensor, output: nn.Linear) -> list[tuple[Tensor, Tensor]]:
    """States and tokens cut so that a piece has at most :data:`LARGEST` logits; contiguous, which is faster."""
    size = max(1, LARGEST // output.weight.shape[0])
    parts = (torch.split(whole, size) for whole in (states.contiguous(), tokens))
    return list(zip(*parts, strict=True))
