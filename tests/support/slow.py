"""Formulas of the papers written out with plain floats and loops, one number at a time: slow, and easy to check."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


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


def log_softmax(logits: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Log-probabilities of one row of logits."""
    return [math.log(p) for p in softmax(logits, temperature)]


def entropy(logits: Sequence[float]) -> float:
    """Shannon 1948: expected surprise under the softmax of one row of logits, nats."""
    return -sum(p * math.log(p) for p in softmax(logits))


def whitened(values: Sequence[float], *, shift: bool = True) -> list[float]:
    """Each value minus the mean, over the unbiased standard deviation; the mean is put back unless shifted."""
    mean, deviation = sum(values) / len(values), math.sqrt(_variance(values))
    return [(value - mean) / deviation + (0.0 if shift else mean) for value in values]


def kl_estimates(policy: float, reference: float) -> tuple[float, float, float]:
    """Schulman 2020: k1 = -log r, k2 = (log r)^2 / 2 and k3 = r - 1 - log r of one token, r = reference / policy."""
    ratio = math.exp(reference) / math.exp(policy)
    return -math.log(ratio), math.log(ratio) ** 2 / 2, ratio - 1 - math.log(ratio)


def clipped_errors(new: Sequence[float], old: Sequence[float], targets: Sequence[float], clip: float) -> list[float]:
    """Half the larger of the squared errors of a value and of its clipped self, token by token."""
    errors = []
    for now, before, target in zip(new, old, targets, strict=True):
        bounded = min(max(now, before - clip), before + clip)
        errors.append(0.5 * max((now - target) ** 2, (bounded - target) ** 2))
    return errors


def explained_variance(values: Sequence[float], targets: Sequence[float]) -> float:
    """One minus the variance of the errors over that of the targets."""
    return 1 - _variance([t - v for t, v in zip(targets, values, strict=True)]) / _variance(targets)


def preference_loss(chosen: Sequence[float], rejected: Sequence[float]) -> float:
    """Bradley & Terry 1952: mean of -log of e^c / (e^c + e^r)."""
    pairs = list(zip(chosen, rejected, strict=True))
    return -sum(math.log(math.exp(c) / (math.exp(c) + math.exp(r))) for c, r in pairs) / len(pairs)


def slope(function: Callable[[list[float]], float], at: Sequence[float], place: int, step: float = 1e-6) -> float:
    """Derivative of ``function`` along one coordinate, by a central difference."""
    up, down = ([*at[:place], at[place] + sign * step, *at[place + 1 :]] for sign in (1, -1))
    return (function(up) - function(down)) / (2 * step)


def _variance(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)
