"""Rollouts: sampled responses with everything that training needs to know of them, in fixed micro-batches.

What was drawn and measured at sampling time does not change afterwards: shaping and advantages are values of their
own. B rows of a chunk, R response columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rewardlab import processes
from rewardlab.models.sampler import Measured, Sample, SamplingConfig, left_pad, right_pad, row_key, sample
from rewardlab.models.trunk import Trunk
from rewardlab.training.actor import POLICY, Actor, Chunk, PolicyOutput
from rewardlab.training.clock import Clock
from rewardlab.types import Example


@dataclass(frozen=True, slots=True)
class SampledChunk(Chunk):
    """A chunk with what was measured when it was sampled.

    Attributes:
        old, reference: Log-probabilities of the response tokens under policy and reference. Shape (B, R), nats, 0
            where not kept.
        entropies: Entropy of the distribution each token was drawn from. Shape (B, R), nats; for the log alone.
        values: Critic's estimates. Shape (B, R); None without a critic.
        drawn: Log-probabilities of the response tokens as the server computed them that drew them. Shape (B, R), nats,
            0 where not kept; None where they were drawn here.
    """

    old: Tensor
    reference: Tensor
    entropies: Tensor
    values: Tensor | None
    drawn: Tensor | None = field(default=None, kw_only=True)


Drawer = Callable[[Sequence[Sequence[int]], Sequence[int], SamplingConfig], list[Sample]]
"""(prompts, their keys, budget and temperature) -> one response each: what draws in place of the sampler here."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One batch of responses.

    Attributes:
        examples: The prompt of each response; responses to one prompt stand together.
        samples: The responses.
        chunks: The same, in micro-batches.
        group: Responses to each prompt.
    """

    examples: Sequence[Example]
    samples: Sequence[Sample]
    chunks: Sequence[SampledChunk]
    group: int = 1

    @property
    def responses(self) -> list[str]:
        """The decoded responses."""
        return [sample.text for sample in self.samples]

    @property
    def places(self) -> list[int]:
        """The place of each response among those to its prompt."""
        return [row % self.group for row in range(len(self.samples))]


def roll_out(
    actor: Actor,
    prompts: Sequence[Example],
    sampling: SamplingConfig,
    micro_batch: int,
    key: Sequence[object],
    clock: Clock | None = None,
    *,
    group: int = 1,
    trusts_sampler: bool = False,
    drawer: Drawer | None = None,
) -> Rollout:
    """Sample responses to each prompt and take the measurements at sampling time.

    Several processes deal out responses and chunks among themselves; each of them gets the whole rollout, and what is
    drawn and how it is cut into chunks does not depend on their number.

    Args:
        actor: Policy, reference, critic.
        prompts: The prompts.
        sampling: Budget and temperature.
        micro_batch: Rows per chunk.
        key: What, beside the example, identifies the draw: seed and step.
        clock: Takes the seconds of ``generate``, ``old`` (old log-probabilities and values) and ``reference``.
        group: Responses to each prompt.
        trusts_sampler: Take log-probabilities from the sampler where it measured them, in place of one more pass.
        drawer: Draws the responses in place of the sampler here.
    """
    clock = clock or Clock(actor.trunk.device)
    examples = [example for example in prompts for _ in range(group)]
    ids = [tokens for example in prompts for tokens in [actor.trunk.codec.prompt_ids(example)] * group]
    keys = [
        row_key(*key, example.task, example.id, number, *((place,) if group > 1 else ()))
        for number, example in enumerate(prompts)
        for place in range(group)
    ]
    with clock.phase("generate"):
        mine, own_keys = processes.share_groups(ids, group), processes.share_groups(keys, group)
        if drawer is None:
            drawn = sample(actor.trunk, mine, own_keys, sampling, POLICY)
        else:
            drawn = drawer(mine, own_keys, sampling)
    samples = processes.collect_groups(drawn, len(ids), group)
    chunks = list(_chunks(actor.trunk, ids, samples, micro_batch, 1 if actor.critic else group))
    with torch.no_grad(), clock.phase("old"):
        measured = [_measure(actor, chunk, samples, trusts_sampler) for chunk in processes.share(chunks)]
    with torch.no_grad(), clock.phase("reference"):
        references = [actor.policy(chunk, role=None).logprobs for chunk in processes.share(chunks)]
    known: list[_Tensors] = [
        (old, reference, entropies, values)
        for (old, entropies, values), reference in zip(measured, references, strict=True)
    ]
    whole = [
        SampledChunk(
            *(chunk.rows, chunk.ids, chunk.keep, chunk.width, *tensors),
            owners=chunk.owners,
            drawn=_drawn(actor, chunk, samples),
        )
        for chunk, tensors in zip(chunks, _exchanged(known, len(chunks), actor.trunk.device), strict=True)
    ]
    return Rollout(examples, samples, whole, group)


_Tensors = tuple[Tensor, Tensor, Tensor, Tensor | None]
"""Old and reference log-probabilities, entropies and values of a chunk."""


def _measure(
    actor: Actor, chunk: Chunk, samples: Sequence[Sample], trusts_sampler: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Old log-probabilities, entropies and values: from what the sampler saw of every row, or by a pass."""
    seen = [one for row in chunk.rows if trusts_sampler and (one := samples[row].measured) is not None]
    now = _seen(actor, chunk, seen) if len(seen) == len(chunk.rows) else actor.policy(chunk, with_entropy=True)
    assert now.entropies is not None
    return now.logprobs, now.entropies, None if actor.critic is None else actor.values(chunk, now.states)


def _seen(actor: Actor, chunk: Chunk, seen: Sequence[Measured]) -> PolicyOutput:
    """What the sampler measured of each row of a chunk, as the policy's output on it."""
    columns = ((one.logprobs, one.entropies, one.states) for one in seen)
    logprobs, entropies, states = (torch.cat(column) for column in zip(*columns, strict=True))
    return PolicyOutput(actor.scatter(logprobs, chunk), states, actor.scatter(entropies, chunk))


def _drawn(actor: Actor, chunk: Chunk, samples: Sequence[Sample]) -> Tensor | None:
    """Log-probabilities of a chunk's tokens by the server that drew them; None where they were drawn here."""
    found = [drawn for row in chunk.rows if (drawn := samples[row].drawn) is not None]
    if len(found) < len(chunk.rows):
        return None
    kept = [logprob for drawn in found for logprob in drawn]
    return actor.scatter(torch.tensor(kept, dtype=torch.float32, device=chunk.ids.device), chunk)


def _exchanged(mine: Sequence[_Tensors], total: int, device: torch.device) -> Sequence[_Tensors]:
    """What all processes measured of their chunks, in the order of the chunks."""
    if processes.count() == 1:
        return mine
    return [_moved(each, device) for each in processes.collect([_moved(each, "cpu") for each in mine], total)]


def _moved(tensors: _Tensors, device: torch.device | str) -> _Tensors:
    old, reference, entropies, values = tensors
    return old.to(device), reference.to(device), entropies.to(device), None if values is None else values.to(device)


def _chunks(
    trunk: Trunk, prompts: Sequence[Sequence[int]], samples: Sequence[Sample], micro_batch: int, group: int = 1
) -> Iterator[Chunk]:
    """Rows grouped by length, so that little is padded; responses to one prompt, ``group`` in a row, stay together."""
    lengths = [len(prompt) + len(sample.ids) for prompt, sample in zip(prompts, samples, strict=True)]
    longest = [max(lengths[row - row % group :][:group]) for row in range(len(lengths))]
    order = sorted(range(len(prompts)), key=lambda row: (longest[row], row // group, lengths[row]))
    for start in range(0, len(order), micro_batch):
        rows = order[start : start + micro_batch]
        left, left_keep = left_pad([prompts[row] for row in rows], trunk.codec.pad_id, trunk.device)
        right, right_keep = right_pad([samples[row].ids for row in rows], trunk.codec.pad_id, trunk.device)
        ids, keep = torch.cat([left, right], 1), torch.cat([left_keep, right_keep], 1)
        first: dict[int, int] = {}
        owners = [first.setdefault(row // group, place) for place, row in enumerate(rows)] if group > 1 else None
        yield Chunk(rows, ids, keep, left.shape[1], owners=owners)
