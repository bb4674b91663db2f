"""Checks of a PPO step: where the reward goes, what moves, and that micro-batches do not matter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rewardlab.doctor.probe import ROWS, ProbeModel
from rewardlab.doctor.verdict import Finding, judged, within
from rewardlab.models.roles import adapter_of
from rewardlab.training.shaping import ScoreScale, shape

GRADIENT_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""How far gradients of other micro-batches may be, relative to the norm of the whole gradient, by trunk dtype."""

LIKELY = (0.5, 0.9, 0.99, 0.999)
"""Probabilities of the tokens whose gradients are compared with float64."""
LEAST_COSINE = 0.99
"""Between a gradient and float64's; rounding to bfloat16 costs 1e-5."""
SEEN, BISECTIONS, WORDS = 8, 12, 1 << 14
"""Hidden states looked at, steps to the factor of each, rows of the output layer that are float64 at a time."""


def reward_place(probe: ProbeModel) -> Finding:
    """The score stands on the last token of each response and nowhere else (pitfall 9 of docs/ppo.md)."""
    probe.heal()
    rollout = probe.rollout()
    scores = [1.0 + row for row in range(len(rollout.samples))]
    plain = {"missing_end_penalty": 0.0, "normalise_scores": False, "score_clip": None}
    rewards = shape(scores, rollout, probe.config.ppo.model_copy(update=plain), ScoreScale(), 0.0).rewards
    wrong = []
    for chunk, table in zip(rollout.chunks, rewards, strict=True):
        for line, row in enumerate(chunk.rows):
            expected = torch.zeros_like(table[line])
            expected[len(rollout.samples[row].ids) - 1] = scores[row]
            if not torch.equal(table[line], expected):
                wrong.append(row)
    return judged(not wrong, f"wrong in responses {wrong}" if wrong else f"right in {len(scores)} responses")


def isolation(probe: ProbeModel) -> Finding:
    """One step moves every trained tensor and no other; the trunk's hash stays (pitfalls 19, 20 of docs/ppo.md)."""
    digest, parameters = probe.trunk.sha256(), dict(probe.trunk.model.named_parameters())
    probe.disturb()
    trained = probe.trained()
    ours = {id(tensor) for tensor in trained}
    adapters = {name: tensor.clone() for name, tensor in parameters.items() if adapter_of(name)}
    before = [tensor.detach().clone() for tensor in trained]
    probe.trainer.step(1)
    still = sum(torch.equal(old, new) for old, new in zip(before, trained, strict=True))
    others = [n for n, old in adapters.items() if id(parameters[n]) not in ours and not torch.equal(old, parameters[n])]
    after = probe.trunk.sha256()
    moved = f"{len(trained) - still} of {len(trained)} trained tensors moved, {len(others)} others"
    return judged(not still and not others and after == digest, f"{moved}; trunk {digest} before, {after} after")


def gradients(probe: ProbeModel) -> Finding:
    """Every tensor of policy and critic receives a gradient in the same step (pitfall 19 of docs/ppo.md)."""
    found = probe.gradients(ROWS)
    dead = {name: sum(not bool(gradient.any()) for gradient in tensors) for name, tensors in found.items()}
    text = ", ".join(f"{name} {len(found[name]) - dead[name]} of {len(found[name])}" for name in found)
    return judged(not any(dead.values()), text)


def output_gradient(probe: ProbeModel) -> Finding:
    """Gradients of log-probabilities in the last hidden states agree with float64, whatever the trunk's dtype.

    The states are the model's own, drawn out until its first choice has a probability of about 0.5, 0.9, 0.99 and
    0.999: in bfloat16 a gradient can be wrong for likely tokens alone (pitfall 29 of docs/ppo.md).
    """
    trunk, temperature = probe.trunk, probe.trainer.config.temperature
    ids = torch.tensor([probe.prompts[0]], device=trunk.device)
    with torch.no_grad():
        states = trunk.hidden(ids, torch.ones_like(ids, dtype=torch.bool), None)[0, -SEEN:]
    worst = 1.0
    for target in LIKELY:
        drawn_out = _drawn_out(probe, states, target)
        tokens = trunk.logits(drawn_out).argmax(-1)
        mine, theirs = drawn_out.clone().requires_grad_(), drawn_out.double().requires_grad_()
        [found] = torch.autograd.grad(trunk.logprobs(mine, tokens, temperature).sum(), mine)
        expected = torch.log_softmax(_exact_logits(probe, theirs) / temperature, -1).gather(-1, tokens[:, None])
        [exact] = torch.autograd.grad(expected.sum(), theirs)
        cosines = torch.cosine_similarity(found.double(), exact, dim=-1)
        worst = min(worst, float(cosines.min()))
    return judged(worst >= LEAST_COSINE, f"least cosine with float64 {worst:.4f}, at least {LEAST_COSINE:g}")


def micro_batches(probe: ProbeModel) -> Finding:
    """A batch in many micro-batches gives the gradient of the whole (pitfall 23 of docs/ppo.md)."""
    whole, parts = probe.gradients(ROWS), probe.gradients(1)
    off = max(_relative(_flat(whole[name]), _flat(parts[name])) for name in whole)
    return within(off, GRADIENT_TOLERANCE.get(probe.trunk.dtype, 0.1), "relative difference of the gradient")


def _exact_logits(probe: ProbeModel, states: Tensor) -> Tensor:
    """Logits of states (N, H), float64; of the output layer a part at a time is held so, backward too."""
    head = probe.trunk.head
    pieces = torch.split(head.layer.weight, WORDS)
    parts = [checkpoint(lambda x, w: x @ w.double().T, states, piece, use_reentrant=False) for piece in pieces]
    outputs = torch.cat(parts, -1)
    return head.shaped(outputs if head.layer.bias is None else outputs + head.layer.bias.double())


@torch.no_grad()
def _drawn_out(probe: ProbeModel, states: Tensor, target: float) -> Tensor:
    """States times such numbers that the first choice of each has about this probability, or the most it can have."""
    temperature, factor = probe.trainer.config.temperature, torch.ones(len(states), 1, device=states.device)
    low, high = torch.zeros_like(factor), 64 * factor
    for _ in range(BISECTIONS):
        factor = (low + high) / 2
        likely = torch.softmax(probe.trunk.logits(states * factor.to(states.dtype)) / temperature, -1).amax(-1)
        below = likely[:, None] < target
        low, high = torch.where(below, factor, low), torch.where(below, high, factor)
    return states * factor.to(states.dtype)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _relative(whole: Tensor, parts: Tensor) -> float:
    return float((whole - parts).norm() / whole.norm())
