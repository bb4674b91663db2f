"""What a training step reports; every name stands in ``docs/ppo.md``. B rows, R response tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from rewardlab.functional.kl import kl_k3
from rewardlab.functional.masking import masked_mean
from rewardlab.functional.ppo import PolicyLoss, ValueLoss, explained_variance, truncated_ratio
from rewardlab.training.advantages import Target
from rewardlab.training.rollout import Rollout
from rewardlab.training.shaping import mean_response_kl


@dataclass(slots=True)
class Averages:
    """Sums over the micro-batches of one step's update."""

    policy_loss: float = 0.0
    value_loss: float | None = None
    kl_loss: float | None = None
    sft_loss: float | None = None
    tokens: int = 0
    clipped: int = 0
    value_clipped: int = 0
    ratio_max: float = 0.0
    updates: int = 0
    norms: dict[str, float] = field(default_factory=dict)

    def add_policy(self, policy: PolicyLoss, counts: Tensor) -> None:
        """Take in the policy's loss on one chunk."""
        self.policy_loss += float(policy.loss.detach())
        self.tokens += int(counts.sum())
        self.clipped += int(policy.clipped)
        self.ratio_max = max(self.ratio_max, float(policy.ratio.max()))

    def add_value(self, value: ValueLoss) -> None:
        """Take in the critic's loss on the chunk before."""
        self.value_loss = (self.value_loss or 0.0) + float(value.loss.detach())
        self.value_clipped += int(value.clipped)

    def add_kl(self, divergence: Tensor) -> None:
        """Take in a chunk's share of the KL that is part of the loss."""
        self.kl_loss = (self.kl_loss or 0.0) + float(divergence.detach())

    def add_sft(self, loss: float) -> None:
        """Take in the SFT loss of one optimiser step."""
        self.sft_loss = (self.sft_loss or 0.0) + loss

    def add_norms(self, norms: Mapping[str, float]) -> None:
        """Take in one optimiser step."""
        self.updates += 1
        for name, norm in norms.items():
            self.norms[name] = self.norms.get(name, 0.0) + norm

    @classmethod
    def of_all(cls, parts: Sequence[Averages]) -> Averages:
        """Put together what the processes saw of their chunks; all of them saw the same optimiser steps."""
        summed = ("policy_loss", "value_loss", "kl_loss", "sft_loss", "tokens", "clipped", "value_clipped")
        seen = {name: [n for part in parts if (n := getattr(part, name)) is not None] for name in summed}
        sums: dict[str, Any] = {name: sum(numbers) if numbers else None for name, numbers in seen.items()}
        return replace(parts[0], ratio_max=max(part.ratio_max for part in parts), **sums)

    def means(self) -> dict[str, float]:
        """Per optimiser step or per token."""
        updates, tokens = max(1, self.updates), max(1, self.tokens)
        return {
            "policy/loss": self.policy_loss / updates,
            "policy/clip_share": self.clipped / tokens,
            "policy/ratio_max": self.ratio_max,
            **({} if self.kl_loss is None else {"policy/kl_loss": self.kl_loss / updates}),
            **({} if self.sft_loss is None else {"policy/sft_loss": self.sft_loss / updates}),
            **(
                {}
                if self.value_loss is None
                else {"value/loss": self.value_loss / updates, "value/clip_share": self.value_clipped / tokens}
            ),
            **{f"{name}/grad_norm": total / updates for name, total in self.norms.items()},
        }


def rollout_metrics(rollout: Rollout) -> dict[str, float]:
    """KL, entropy and lengths at sampling time."""
    chunks = rollout.chunks
    keep = _flat(c.response_keep for c in chunks)
    old, reference = _flat(c.old for c in chunks), _flat(c.reference for c in chunks)
    return {
        "policy/kl": mean_response_kl(rollout),
        "policy/kl_k3": float(masked_mean(kl_k3(old, reference), keep)),
        "policy/entropy": float(masked_mean(_flat(c.entropies for c in chunks), keep)),
        "rollout/response_tokens": fmean(len(sample.ids) for sample in rollout.samples),
        "rollout/cut_share": fmean(not sample.is_finished for sample in rollout.samples),
    }


def sampler_metrics(rollout: Rollout, cap: float) -> dict[str, float]:
    """How the server that drew the responses differs from the policy here; empty where they were drawn here."""
    drawn = [chunk.drawn for chunk in rollout.chunks if chunk.drawn is not None]
    if not drawn:
        return {}
    keep, old = _flat(c.response_keep for c in rollout.chunks), _flat(c.old for c in rollout.chunks)
    ratio = truncated_ratio(old, _flat(drawn), keep, math.inf)
    return {
        "sampler/ratio_mean": float(masked_mean(ratio, keep)),
        "sampler/truncated_share": float(masked_mean((ratio > cap).float(), keep)),
        "sampler/difference": server_difference(rollout),
    }


def server_difference(rollout: Rollout) -> float:
    """Root mean square difference between the log-probabilities of a server and ours, over all tokens; nats."""
    keep = _flat(c.response_keep for c in rollout.chunks)
    off = _flat(c.old - c.drawn for c in rollout.chunks if c.drawn is not None)
    return float(masked_mean(off.square(), keep).sqrt())


def critic_metrics(rollout: Rollout, targets: Sequence[Target]) -> dict[str, float]:
    """The critic's estimates at sampling time and how well they fit the returns; empty without a critic."""
    values = [chunk.values for chunk in rollout.chunks if chunk.values is not None]
    returns = [target.returns for target in targets if target.returns is not None]
    if not values:
        return {}
    keep, counts = _flat(c.response_keep for c in rollout.chunks), _flat(target.counts for target in targets)
    return {
        "value/mean": float(masked_mean(_flat(values), keep)),
        "value/explained_variance": explained_variance(_flat(values), _flat(returns), counts),
    }


GLOSSARY: Mapping[str, str] = {
    "reward/used_deviation": "standard deviation of the scores as used, normalised and clipped; 0: no gradient",
    "reward/clip_share": "share of scored responses whose score lay further from the mean than `ppo.score_clip`",
    "policy/kl": "sum of log policy - log reference over a response, mean over responses; nats, 0 at the start",
    "policy/kl_k3": "k3 estimate of the KL per token; nats, never negative",
    "policy/kl_coef": "beta in this step, when `ppo.kl_target` steers it; reward per nat",
    "policy/entropy": "entropy of the next-token distribution, mean over response tokens; nats",
    "policy/loss": "clipped objective, negated, mean over optimiser steps; near 0 with whitened advantages",
    "policy/kl_loss": "unbiased estimate of the KL per token in the loss, where `kl` is `loss`; nats",
    "policy/sft_loss": "negative log-likelihood per token of gold answers, where `sft_coef` is not 0; nats",
    "group/even_share": "share of prompts whose responses all have the same score: the score teaches nothing there",
    "policy/clip_share": "share of tokens whose gradient the clip removed; healthy below 0.2",
    "policy/ratio_max": "largest probability ratio new / old in the step; 1 when there is one update",
    "policy/grad_norm": "norm of the policy's gradient before clipping",
    "policy/lr": "learning rate of the policy after the step",
    "value/loss": "half the clipped squared error of the critic; squared unit of the shaped reward",
    "value/clip_share": "share of tokens whose value gradient the clip removed",
    "value/grad_norm": "norm of the critic's gradient before clipping",
    "value/mean": "mean estimate of the critic; unit of the shaped reward",
    "value/explained_variance": "1 - Var(return - value) / Var(return); 1 perfect, 0 a constant, negative worse",
    "rollout/response_tokens": "mean length of a response, end token included",
    "rollout/cut_share": "share of responses cut at their budget",
    "sampler/ratio_mean": "probability of a token here over that in the server that drew it, mean; 1 where both agree",
    "sampler/truncated_share": "share of tokens whose ratio was above `sampler.cap`, which their weight was cut to",
    "sampler/difference": "log-probabilities here less those of the server, root mean square over tokens; nats",
    "time/generate_s": "seconds spent sampling",
    "time/old_s": "seconds spent on log-probabilities and values at sampling time",
    "time/reference_s": "seconds spent on the reference's log-probabilities",
    "time/score_s": "seconds spent on the reward",
    "time/update_s": "seconds spent on gradients",
    "time/validate_s": "seconds spent on validation rows, in steps that measure them",
    "validation/accuracy": "greedy accuracy on validation rows, mean over tasks (numbers: Pearson); never trained on",
    "validation/malformed": "share of greedy answers to validation rows in which no answer could be read",
    "validation/change": "validation accuracy less that before the first step",
    "validation/fall_alarm": "1 from the measure on at which accuracy had fallen significantly below the start, else 0",
}
"""Keys that this module and the trainer emit, beside those of ``rewards.ledger.GLOSSARY``."""


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
