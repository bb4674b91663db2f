"""Checks of forward passes: the policy starts as its reference, padding does not matter, what is stored comes back."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rewardlab.doctor.probe import ProbeModel
from rewardlab.doctor.verdict import Finding, judged, within
from rewardlab.models.names import resolve_dtype
from rewardlab.training.actor import POLICY, VALUE, Chunk
from rewardlab.training.checks import rounding_tolerance

EXTRA = 5
"""Columns of padding that are added."""


def dtypes(probe: ProbeModel) -> Finding:
    """Adapters, heads and logits are float32 over a trunk in the dtype asked for (pitfall 3 of docs/ppo.md)."""
    trunk = probe.trunk
    trained = {tensor.dtype for tensor in probe.trained()}
    [prompt, *_] = probe.prompts
    ids = torch.tensor([prompt], device=trunk.device)
    with torch.no_grad():
        logits = trunk.logits(trunk.hidden(ids, torch.ones_like(ids, dtype=torch.bool), None))
    asked = resolve_dtype(probe.config.model)
    is_fine = trained == {torch.float32} and logits.dtype is torch.float32 and asked == _name(trunk.dtype)
    text = f"trunk {_name(trunk.dtype)}, adapters {', '.join(map(_name, trained))}, logits {_name(logits.dtype)}"
    if not bool(logits.isfinite().all()):
        return judged(False, f"{text}; some logits are not finite")
    return judged(is_fine, text)


def start(probe: ProbeModel) -> Finding:
    """A fresh policy is its reference: every log-ratio is 0 (pitfall 18 of docs/ppo.md)."""
    probe.heal()
    chunks = probe.rollout().chunks
    drift = max(_largest(chunk.old - chunk.reference) for chunk in chunks)
    return within(drift, _rounding(probe, chunks[0]), "largest |log policy - log reference|")


def ratio(probe: ProbeModel) -> Finding:
    """Log-probabilities taken at sampling time can be computed again with gradients (pitfall 2 of docs/ppo.md)."""
    probe.disturb()
    chunks = probe.rollout().chunks
    off = max(_largest((probe.policy_logprobs(chunk) - chunk.old).exp() - 1) for chunk in chunks)
    return within(off, math.expm1(_rounding(probe, chunks[0])), "largest |ratio - 1|")


def padding_in_front(probe: ProbeModel) -> Finding:
    """Padding in front of a prompt changes nothing (pitfall 1 of docs/ppo.md)."""
    return _padded(probe, EXTRA, 0)


def padding_behind(probe: ProbeModel) -> Finding:
    """Padding behind a response changes nothing."""
    return _padded(probe, 0, EXTRA)


def no_steps(probe: ProbeModel) -> Finding:
    """PPO with 0 steps stores a policy that answers exactly as the start model does."""
    probe.heal()
    probe.trainer.steps = 0
    probe.trainer.train()
    role = probe.loaded(probe.folder / "adapter")
    chunk = probe.rollout().chunks[0]
    same = torch.equal(probe.policy_logprobs(chunk, role), probe.policy_logprobs(chunk, None))
    answers = probe.sampled(role, 1.0) == probe.sampled(None, 1.0)
    return judged(same and answers, f"log-probabilities {_equal(same)}, responses {_equal(answers)}")


def storage(probe: ProbeModel) -> Finding:
    """A stored policy and critic come back with the same outputs, bit by bit."""
    probe.disturb()
    roles, chunk = probe.trunk.roles, probe.rollout().chunks[0]
    expected = {POLICY: probe.policy_logprobs(chunk)}
    if VALUE in roles:
        expected[VALUE] = probe.policy_logprobs(chunk, VALUE)
    differing = []
    for name, logprobs in expected.items():
        roles.save(name, probe.folder / name)
        again = probe.loaded(probe.folder / name)
        head, stored = roles[name].head, roles[again].head
        states = torch.randn(3, probe.trunk.width, device=probe.trunk.device)
        heads = (head is None) == (stored is None) and (
            not head or not stored or torch.equal(head(states), stored(states))
        )
        if not heads or not torch.equal(probe.policy_logprobs(chunk, again), logprobs):
            differing.append(name)
    return judged(
        not differing, f"differing: {', '.join(differing)}" if differing else f"{' and '.join(expected)} equal"
    )


def _rounding(probe: ProbeModel, chunk: Chunk) -> float:
    """Nats that rounding explains."""
    actor = probe.trainer.actor
    with torch.no_grad():
        return rounding_tolerance(probe.trunk, actor.policy(chunk).states, actor.temperature)


def _padded(probe: ProbeModel, front: int, behind: int) -> Finding:
    """Log-probabilities of padded rows against the model's own forward on each row alone."""
    probe.disturb()
    largest = 0.0
    for chunk in probe.rollout().chunks:
        wide = _widened(chunk, front, behind)
        found = probe.policy_logprobs(wide)[:, : chunk.response_ids.shape[1]].cpu().double()
        for line in range(len(chunk.rows)):
            ids = chunk.ids[line][chunk.keep[line]]
            length = int(chunk.response_keep[line].sum())
            alone = probe.logprobs_alone(ids.tolist(), POLICY, probe.trainer.config.temperature).cpu()
            expected = alone[:-1].gather(-1, ids.cpu()[1:, None])[-length:, 0]
            largest = max(largest, _largest(found[line, :length] - expected))
    return within(largest, probe.drift_limit, f"{max(front, behind)} columns move a log-probability by at most, nats:")


def _widened(chunk: Chunk, front: int, behind: int) -> Chunk:
    """The chunk with columns of an ordinary token that are not kept."""
    filler = int(chunk.ids[0][chunk.keep[0]][0])

    def side(width: int, value: int | bool) -> Tensor:
        return torch.full((len(chunk.rows), width), value, device=chunk.ids.device)

    return Chunk(
        chunk.rows,
        torch.cat([side(front, filler), chunk.ids, side(behind, filler)], 1),
        torch.cat([side(front, False), chunk.keep, side(behind, False)], 1),
        chunk.width + front,
    )


def _largest(differences: Tensor) -> float:
    return float(differences.abs().max())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _equal(is_equal: bool) -> str:
    return "equal" if is_equal else "differ"
