"""Formulas of the papers written out with plain floats and loops, one number at a time: slow, and easy to check."""

from __future__ import annotations

import math
from collections.abc import Sequence


def advantages(rewards: Sequence[float], values: Sequence[float], gamma: float, trace: float) -> list[float]:
    """Schulman et al. 2016, eq. 16, for one finished sequence: the discounted sum of TD errors from each token on."""
    length = len(rewards)
    after = [*values[1:], 0.0]
    errors = [rewards[t] + gamma * after[t] - values[t] for t in range(length)]
    return [sum((gamma * trace) ** (s - t) * errors[s] for s in range(t, length)) for t in range(length)]


def returns_to_go(rewards: Sequence[float], gamma: float) -> list[float]:
    """Discounted sum of rewards from each token on."""
    return [sum(gamma ** (s - t) * rewards[s] for s in range(t, len(rewards))) for t in range(len(rewards))]


def clipped_objective(
    new: Sequence[float], old: Sequence[float], advantage: Sequence[float], clip: float
) -> list[float]:
    """Schulman et al. 2017, eq. 7, inside the expectation, token by token."""
    terms = []
    for now, before, gain in zip(new, old, advantage, strict=True):
        ratio = math.exp(now - before)
        bounded = min(max(ratio, 1 - clip), 1 + clip)
        terms.append(min(ratio * gain, bounded * gain))
    return terms


def softmax(logits: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Probabilities of one row of logits."""
    weights = [math.exp(logit / temperature) for logit in logits]
    return [weight / sum(weights) for weight in weights]
