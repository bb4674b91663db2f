"""Rollouts: sampled responses with everything PPO needs to know of them, in fixed micro-batches.

The same :class:`Actor` computes log-probabilities when a rollout is made and when it is trained on, over the same
chunks with the same padding, so the first ratio is 1 (PITFALLS row 2). B rows of a chunk, P prompt columns
(left-padded), R response columns (right-padded), H width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from rewardlab import processes
from rewardlab.models.heads import ScalarHead
from rewardlab.models.sampler import Measured, Sample, SamplingConfig, left_pad, right_pad, row_key, sample
from rewardlab.models.trunk import Trunk
from rewardlab.training.clock import Clock
from rewardlab.types import Example

POLICY, VALUE = "policy", "value"


@dataclass(slots=True)
class Chunk:
    """A micro-batch of finished sequences.

    Attributes:
        rows: Where its rows stand in the rollout.
        ids: Prompt and response tokens. Shape (B, P + R).
        keep: True at real tokens. Shape (B, P + R).
        width: P.
        old, reference: Log-probabilities of the response tokens at sampling time, under policy and reference.
            Shape (B, R), nats, 0 where not kept.
        values: Critic's estimates at sampling time. Shape (B, R).
        entropies: Entropy of the distribution each token was drawn from. Shape (B, R), nats; for the log alone.
        advantages, returns: What the update uses. Shape (B, R).
        counts: True at response tokens that enter loss and averages: kept, and of a scored response. Shape (B, R).
    """

    rows: list[int]
    ids: Tensor
    keep: Tensor
    width: int
    old: Tensor = field(default_factory=lambda: torch.empty(0))
    reference: Tensor = field(default_factory=lambda: torch.empty(0))
    values: Tensor = field(default_factory=lambda: torch.empty(0))
    entropies: Tensor = field(default_factory=lambda: torch.empty(0))
    advantages: Tensor = field(default_factory=lambda: torch.empty(0))
    returns: Tensor = field(default_factory=lambda: torch.empty(0))
    counts: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def measured(self) -> tuple[Tensor, ...]:
        """What was measured at sampling time: old, reference, values, entropies; on the CPU."""
        return tuple(tensor.cpu() for tensor in (self.old, self.reference, self.values, self.entropies))

    @property
    def response_ids(self) -> Tensor:
        """Response tokens. Shape (B, R)."""
        return self.ids[:, self.width :]

    @property
    def response_keep(self) -> Tensor:
        """True at response tokens. Shape (B, R)."""
        return self.keep[:, self.width :]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One batch of responses to prompts, in the order of the prompts."""

    examples: Sequence[Example]
    samples: Sequence[Sample]
    chunks: Sequence[Chunk]

    @property
    def responses(self) -> list[str]:
        """The decoded responses."""
        return [sample.text for sample in self.samples]


@dataclass(frozen=True, slots=True)
class PolicyOutput:
    """The policy on one chunk.

    Attributes:
        logprobs: Log-probability of each response token. Shape (B, R), nats, 0 where not kept.
        states: Last hidden states that predict the N kept tokens. Shape (N, H).
        entropies: Entropy of each of those predictions, when asked for. Shape (B, R), nats, 0 where not kept.
    """

    logprobs: Tensor
    states: Tensor
    entropies: Tensor | None


class Actor:
    """Policy, reference and critic on one trunk.

    Args:
        trunk: Carries the role ``policy``, and ``value`` when the critic has an adapter.
        critic: ``head`` puts ``value_head`` on the policy's states, ``adapter`` uses the role ``value``.
        temperature: Sampling temperature; divides the logits in every log-probability.
        value_head: The head for ``critic="head"``.
    """

    def __init__(
        self,
        trunk: Trunk,
        critic: Literal["head", "adapter"],
        temperature: float,
        value_head: ScalarHead | None = None,
    ) -> None:
        self.trunk = trunk
        self.critic = critic
        self.temperature = temperature
        self.value_head = value_head

    @property
    def critic_parameters(self) -> list[nn.Parameter]:
        """What the critic's optimiser moves: the head on the policy, or the role ``value`` with its head."""
        return self.trunk.roles.parameters(VALUE) if self.value_head is None else list(self.value_head.parameters())

    def policy(self, chunk: Chunk, *, role: str | None = POLICY, with_entropy: bool = False) -> PolicyOutput:
        """Log-probabilities of the chunk's response tokens under ``role``; logits only where a token is kept."""
        states = self._response_states(chunk, role)
        kept = self.trunk.logprobs(states, chunk.response_ids[chunk.response_keep], self.temperature)
        spread = self.scatter(self.trunk.entropies(states, self.temperature), chunk) if with_entropy else None
        return PolicyOutput(self.scatter(kept, chunk), states, spread)

    def values(self, chunk: Chunk, policy_states: Tensor) -> Tensor:
        """Critic's estimate before each response token. Shape (B, R).

        Args:
            chunk: The sequences.
            policy_states: What :meth:`policy` returned, used when the critic is a head on the policy.
        """
        if self.critic == "head":
            assert self.value_head is not None
            return self.scatter(self.value_head(policy_states), chunk)
        head = self.trunk.roles[VALUE].head
        assert head is not None
        return self.scatter(head(self._response_states(chunk, VALUE)), chunk)

    def _response_states(self, chunk: Chunk, role: str | None) -> Tensor:
        """States that predict the kept response tokens: one column to the left of each. Shape (N, H)."""
        hidden = self.trunk.hidden(chunk.ids, chunk.keep, role)
        return hidden[:, chunk.width - 1 : -1][chunk.response_keep]

    @staticmethod
    def scatter(kept: Tensor, chunk: Chunk) -> Tensor:
        """Numbers of the kept response tokens, row by row (N,), to (B, R) with 0 elsewhere."""
        full = kept.new_zeros(chunk.response_keep.shape)
        return full.masked_scatter(chunk.response_keep, kept)


def roll_out(
    actor: Actor,
    examples: Sequence[Example],
    sampling: SamplingConfig,
    micro_batch: int,
    key: Sequence[object],
    clock: Clock | None = None,
    *,
    trusts_sampler: bool = False,
) -> Rollout:
    """Sample one response per example and take the measurements at sampling time.

    Several processes deal out prompts and chunks among themselves; each of them gets the whole rollout, and what is
    drawn and how it is cut into chunks does not depend on their number.

    Args:
        actor: Policy, reference, critic.
        examples: The prompts.
        sampling: Budget and temperature.
        micro_batch: Rows per chunk.
        key: What, beside the example, identifies the draw: seed and step.
        clock: Takes the seconds of ``generate``, ``old`` (old log-probabilities and values) and ``reference``.
        trusts_sampler: Take log-probabilities from the sampler where it measured them, in place of one more pass.
    """
    clock = clock or Clock(actor.trunk.device)
    codec = actor.trunk.codec
    prompts = [codec.prompt_ids(example) for example in examples]
    keys = [row_key(*key, example.task, example.id, number) for number, example in enumerate(examples)]
    with clock.phase("generate"):
        drawn = sample(actor.trunk, processes.share(prompts), processes.share(keys), sampling, POLICY)
    samples = processes.collect(drawn, len(prompts))
    chunks = list(_chunks(actor.trunk, prompts, samples, micro_batch))
    with torch.no_grad(), clock.phase("old"):
        for chunk in processes.share(chunks):
            seen = [samples[row].measured for row in chunk.rows] if trusts_sampler else [None]
            _measure(actor, chunk, [one for one in seen if one is not None])
    with torch.no_grad(), clock.phase("reference"):
        for chunk in processes.share(chunks):
            chunk.reference = actor.policy(chunk, role=None).logprobs
    _exchange(chunks)
    return Rollout(examples, samples, chunks)


def _measure(actor: Actor, chunk: Chunk, seen: Sequence[Measured]) -> None:
    """Old log-probabilities, entropies and values: from what the sampler saw of every row, or by a pass."""
    if len(seen) == len(chunk.rows):
        columns = ((one.logprobs, one.entropies, one.states) for one in seen)
        logprobs, entropies, states = (torch.cat(column) for column in zip(*columns, strict=True))
        now = PolicyOutput(actor.scatter(logprobs, chunk), states, actor.scatter(entropies, chunk))
    else:
        now = actor.policy(chunk, with_entropy=True)
    chunk.old = now.logprobs
    chunk.entropies = now.entropies if now.entropies is not None else torch.zeros_like(now.logprobs)
    chunk.values = actor.values(chunk, now.states)


def _exchange(chunks: Sequence[Chunk]) -> None:
    """Give every process what the others measured of their chunks."""
    if processes.count() == 1:
        return
    measured = processes.collect([chunk.measured for chunk in processes.share(chunks)], len(chunks))
    for chunk, tensors in zip(chunks, measured, strict=True):
        chunk.old, chunk.reference, chunk.values, chunk.entropies = (tensor.to(chunk.ids.device) for tensor in tensors)


def _chunks(
    trunk: Trunk, prompts: Sequence[Sequence[int]], samples: Sequence[Sample], micro_batch: int
) -> Iterator[Chunk]:
    """Rows grouped by length, so that little is padded."""
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]) + len(samples[row].ids))
    for start in range(0, len(order), micro_batch):
        rows = order[start : start + micro_batch]
        left, left_keep = left_pad([prompts[row] for row in rows], trunk.codec.pad_id, trunk.device)
        right, right_keep = right_pad([samples[row].ids for row in rows], trunk.codec.pad_id, trunk.device)
        yield Chunk(rows, torch.cat([left, right], 1), torch.cat([left_keep, right_keep], 1), left.shape[1])
