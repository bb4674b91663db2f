"""Checks of a PPO step: where the reward goes, what moves, and that micro-batches do not matter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewardlab.doctor.patient import ROWS, Patient
from rewardlab.doctor.verdict import Finding, judged, within
from rewardlab.models.roles import adapter_of
from rewardlab.training.shaping import ScoreScale, shape

GRADIENT_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""How far gradients of other micro-batches may be, relative to the norm of the whole gradient, by trunk dtype."""


def reward_place(patient: Patient) -> Finding:
    """The score stands on the last token of each response and nowhere else (PITFALLS row 9)."""
    patient.heal()
    rollout = patient.rollout()
    scores = [1.0 + row for row in range(len(rollout.samples))]
    plain = {"missing_end_penalty": 0.0, "normalise_scores": False}
    _, rewards = shape(scores, rollout, patient.config.ppo.model_copy(update=plain), ScoreScale(), 0.0)
    wrong = []
    for chunk, table in zip(rollout.chunks, rewards, strict=True):
        for line, row in enumerate(chunk.rows):
            expected = torch.zeros_like(table[line])
            expected[len(rollout.samples[row].ids) - 1] = scores[row]
            if not torch.equal(table[line], expected):
                wrong.append(row)
    return judged(not wrong, f"wrong in responses {wrong}" if wrong else f"right in {len(scores)} responses")


def isolation(patient: Patient) -> Finding:
    """One step moves every trained tensor and no other, and leaves the trunk's hash (PITFALLS rows 19 and 20)."""
    digest, parameters = patient.trunk.sha256(), dict(patient.trunk.model.named_parameters())
    patient.disturb()
    trained = patient.trained()
    ours = {id(tensor) for tensor in trained}
    adapters = {name: tensor.clone() for name, tensor in parameters.items() if adapter_of(name)}
    before = [tensor.detach().clone() for tensor in trained]
    patient.trainer.step(1)
    still = sum(torch.equal(old, new) for old, new in zip(before, trained, strict=True))
    others = [n for n, old in adapters.items() if id(parameters[n]) not in ours and not torch.equal(old, parameters[n])]
    after = patient.trunk.sha256()
    moved = f"{len(trained) - still} of {len(trained)} trained tensors moved, {len(others)} others"
    return judged(not still and not others and after == digest, f"{moved}; trunk {digest} before, {after} after")


def gradients(patient: Patient) -> Finding:
    """Every tensor of policy and critic receives a gradient in the same step (PITFALLS row 19)."""
    found = patient.gradients(ROWS)
    dead = {name: sum(not bool(gradient.any()) for gradient in tensors) for name, tensors in found.items()}
    text = ", ".join(f"{name} {len(found[name]) - dead[name]} of {len(found[name])}" for name in found)
    return judged(not any(dead.values()), text)


def micro_batches(patient: Patient) -> Finding:
    """A batch in many micro-batches gives the gradient of the whole (PITFALLS row 23)."""
    whole, parts = patient.gradients(ROWS), patient.gradients(1)
    off = max(_relative(_flat(whole[name]), _flat(parts[name])) for name in whole)
    return within(off, GRADIENT_TOLERANCE.get(patient.trunk.dtype, 0.1), "relative difference of the gradient")


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _relative(whole: Tensor, parts: Tensor) -> float:
    return float((whole - parts).norm() / whole.norm())
