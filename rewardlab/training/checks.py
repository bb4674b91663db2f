"""What must hold before the first update and after the last, or the run is not valid and stops."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rewardlab import processes
from rewardlab.errors import InputError, TrainingError
from rewardlab.models.trunk import Trunk
from rewardlab.training.actor import POLICY, Actor
from rewardlab.training.metrics import server_difference
from rewardlab.training.rollout import Rollout, SampledChunk

DEVIATIONS = 2
"""How many standard deviations are allowed: of other padding 0.9 was the most that was measured, of equal padding 0."""
TOKENS = 64
"""Tokens of which logits are looked at."""
SAMPLER_TOLERANCE = 1e-3
"""How far the ratio between the sampler's probabilities and those of a training pass may be from 1, in float32."""
SERVER_ROUNDING = 4
"""How many times the tolerance of :func:`rounding_tolerance` a server may be away: it rounds within layers too, and has
SFT's adapter beside rounded weights, not in them. A tiny model with large adapters was 2.7 times away in bfloat16."""


@torch.no_grad()
def rounding_tolerance(trunk: Trunk, states: Tensor, temperature: float) -> float:
    """How far apart two computations of a token's log-probability may be by rounding alone, nats.

    An error of rounding is uniform within eps of a number, so that its deviation is eps / sqrt(12), relative. Each of L
    layers adds to the state twice and rounds it. In float32 a sum over H numbers is rounded at every number, in
    bfloat16 it is made in float32 and rounded once. These errors are independent, and logits are linear in the states:
    they have the same share of the logits' deviation over the vocabulary. The output layer rounds each logit once more.

    Args:
        trunk: Whose dtype and shape count.
        states: Hidden states that predict tokens. Shape (N, H).
        temperature: Divides the logits.
    """
    config, logits = trunk.model.config.get_text_config(), trunk.logits(states[:TOKENS])
    sums = trunk.width if trunk.dtype == torch.float32 else 1
    spread, largest = float(logits.std(-1).mean()), float(logits.abs().max())
    rounded = 0.0 if trunk.head.is_float32 else largest
    relative = torch.finfo(trunk.dtype).eps / math.sqrt(12)
    deviation = relative * math.hypot(math.sqrt(2 * config.num_hidden_layers * sums) * spread, rounded)
    return DEVIATIONS * deviation / temperature


def check_start(actor: Actor, rollout: Rollout) -> None:
    """Before the first update policy and reference are the same, and a recomputed ratio is 1."""
    drift = max(float((c.old - c.reference).abs().max()) for c in rollout.chunks)
    again = actor.policy(rollout.chunks[0])
    tolerance = rounding_tolerance(actor.trunk, again.states, actor.temperature)
    ratio = float((again.logprobs.detach() - rollout.chunks[0].old).exp().sub(1).abs().max())
    if drift > tolerance or ratio > math.expm1(tolerance):
        raise TrainingError(
            f"before the first update the policy differs from its reference by {drift:.2g} nats and from itself "
            f"by a ratio of {ratio:.2g}; both must be 0, and rounding explains {tolerance:.2g}. The trunk or its "
            "adapters are not what they should be"
        )


def check_sampler(rollout: Rollout) -> None:
    """The sampler's log-probabilities are those of a training pass, so that later steps may do without one."""
    drift = 0.0
    for chunk in rollout.chunks:
        for index, row in enumerate(chunk.rows):
            seen = rollout.samples[row].measured
            if seen is not None:
                old = chunk.old[index][chunk.response_keep[index]]
                drift = max(drift, float((seen.logprobs - old).exp().sub(1).abs().max()))
    if drift > SAMPLER_TOLERANCE:
        raise TrainingError(
            f"the sampler's probabilities differ from a training pass by a ratio of {drift:.2g}, limit "
            f"{SAMPLER_TOLERANCE}; give --set ppo.old_logprobs=recompute"
        )


@torch.no_grad()
def check_server(actor: Actor, rollout: Rollout, place: str, tolerance: float | None = None) -> float:
    """The server that drew the responses computes their probabilities as this program does.

    Compared is the root mean square over all tokens, since the largest of thousands lies several deviations out.

    Args:
        actor: The policy as it drew.
        rollout: With log-probabilities of the server.
        place: What messages call the server.
        tolerance: Largest difference, nats; None is what rounding explains, or that of :func:`check_sampler`.
    Returns:
        The largest difference that was allowed, nats.
    Raises:
        InputError: They differ by more.
    """
    first = rollout.chunks[0]
    states = actor.policy(first).states
    rounding = SERVER_ROUNDING * rounding_tolerance(actor.trunk, states, actor.temperature)
    limit = tolerance or max(SAMPLER_TOLERANCE, rounding)
    if (found := server_difference(rollout)) <= limit:
        return limit
    kept = [(c.old[c.response_keep], c.drawn[c.response_keep]) for c in rollout.chunks if c.drawn is not None]
    ours, theirs = (float(torch.cat(each).mean()) for each in zip(*kept, strict=True))
    here = f"{actor.trunk.name} here (mean {ours:.3f}, {str(actor.trunk.dtype).removeprefix('torch.')})"
    raise InputError(
        f"{place}: its log-probabilities (mean {theirs:.3f}) are not those of {here}: they differ by {found:.2g} nats, "
        f"root mean square over tokens, limit {limit:.2g}. {_likely_cause(actor, first, states, limit)}"
    )


def _likely_cause(actor: Actor, chunk: SampledChunk, states: Tensor, limit: float) -> str:
    """Why a server's log-probabilities of a chunk differ, as far as can be told, and what to do."""
    assert chunk.drawn is not None
    raw = actor.trunk.logprobs(states, chunk.response_ids[chunk.response_keep], 1.0)
    off = float((raw - chunk.drawn[chunk.response_keep]).square().mean().sqrt())
    if actor.temperature != 1.0 and off <= limit:
        return (
            f"It gives those of temperature 1, not {actor.temperature:g}; start it with --logprobs-mode "
            "processed_logprobs"
        )
    return (
        "Most likely it serves other weights than model.name, or in another dtype, or leaves the adapter out; serve "
        "what model.name says in model.dtype, or raise sampler.tolerance"
    )


def check_trunk(trunk: Trunk, sha256: str) -> None:
    """The frozen weights still have the hash they had before training."""
    if trunk.sha256() != sha256:
        raise TrainingError("the frozen trunk changed during training; the run is not valid")


def check_processes(trunk: Trunk) -> None:
    """All processes took the same steps from the same start, so their adapters are the same numbers."""
    sums = [float(p.detach().double().sum()) for p in trunk.roles.parameters(POLICY)]
    if any(other != sums for other in processes.gather(sums)):
        raise TrainingError("the processes' adapters differ after training; the run is not valid")
