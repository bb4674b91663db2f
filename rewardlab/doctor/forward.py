"""Checks of forward passes: the policy starts as its reference, padding does not matter, what is stored comes back."""

from __future__ import annotations

import torch
from torch import Tensor

from rewardlab.doctor.patient import Patient
from rewardlab.doctor.verdict import Finding, judged, within
from rewardlab.models.names import resolve_dtype
from rewardlab.training.actor import POLICY, VALUE, Chunk
from rewardlab.training.checks import RATIO_TOLERANCE

EXTRA = 5
"""Columns of padding that are added."""


def dtypes(patient: Patient) -> Finding:
    """Adapters, heads and logits are float32 over a trunk in the dtype that was asked for (PITFALLS row 3)."""
    trunk = patient.trunk
    trained = {tensor.dtype for tensor in patient.trained()}
    [prompt, *_] = patient.prompts
    ids = torch.tensor([prompt], device=trunk.device)
    with torch.no_grad():
        logits = trunk.logits(trunk.hidden(ids, torch.ones_like(ids, dtype=torch.bool), None))
    asked = resolve_dtype(patient.config.model)
    is_fine = trained == {torch.float32} and logits.dtype is torch.float32 and asked == _name(trunk.dtype)
    text = f"trunk {_name(trunk.dtype)}, adapters {', '.join(map(_name, trained))}, logits {_name(logits.dtype)}"
    if not bool(logits.isfinite().all()):
        return judged(False, f"{text}; some logits are not finite")
    return judged(is_fine, text)


def start(patient: Patient) -> Finding:
    """A fresh policy is its reference: every log-ratio is 0 (PITFALLS row 18)."""
    patient.heal()
    drift = max(_largest(chunk.old - chunk.reference) for chunk in patient.rollout().chunks)
    return within(drift, RATIO_TOLERANCE.get(patient.trunk.dtype, 0.05), "largest |log policy - log reference|")


def ratio(patient: Patient) -> Finding:
    """Log-probabilities taken at sampling time can be computed again with gradients (PITFALLS row 2)."""
    patient.disturb()
    chunks = patient.rollout().chunks
    off = max(_largest((patient.policy_logprobs(chunk) - chunk.old).exp() - 1) for chunk in chunks)
    return within(off, RATIO_TOLERANCE.get(patient.trunk.dtype, 0.05), "largest |ratio - 1|")


def padding_in_front(patient: Patient) -> Finding:
    """Padding in front of a prompt changes nothing (PITFALLS row 1)."""
    return _padded(patient, EXTRA, 0)


def padding_behind(patient: Patient) -> Finding:
    """Padding behind a response changes nothing."""
    return _padded(patient, 0, EXTRA)


def no_steps(patient: Patient) -> Finding:
    """PPO with 0 steps stores a policy that answers exactly as the start model does."""
    patient.heal()
    patient.trainer.steps = 0
    patient.trainer.train()
    role = patient.loaded(patient.folder / "adapter")
    chunk = patient.rollout().chunks[0]
    same = torch.equal(patient.policy_logprobs(chunk, role), patient.policy_logprobs(chunk, None))
    answers = patient.sampled(role, 1.0) == patient.sampled(None, 1.0)
    return judged(same and answers, f"log-probabilities {_equal(same)}, responses {_equal(answers)}")


def storage(patient: Patient) -> Finding:
    """A stored policy and critic come back with the same outputs, bit by bit."""
    patient.disturb()
    roles, chunk = patient.trunk.roles, patient.rollout().chunks[0]
    expected = {POLICY: patient.policy_logprobs(chunk)}
    if VALUE in roles:
        expected[VALUE] = patient.policy_logprobs(chunk, VALUE)
    differing = []
    for name, logprobs in expected.items():
        roles.save(name, patient.folder / name)
        again = patient.loaded(patient.folder / name)
        head, stored = roles[name].head, roles[again].head
        states = torch.randn(3, patient.trunk.width, device=patient.trunk.device)
        heads = (head is None) == (stored is None) and (
            not head or not stored or torch.equal(head(states), stored(states))
        )
        if not heads or not torch.equal(patient.policy_logprobs(chunk, again), logprobs):
            differing.append(name)
    return judged(
        not differing, f"differing: {', '.join(differing)}" if differing else f"{' and '.join(expected)} equal"
    )


def _padded(patient: Patient, front: int, behind: int) -> Finding:
    """Log-probabilities of padded rows against the model's own forward on each row alone."""
    patient.disturb()
    largest = 0.0
    for chunk in patient.rollout().chunks:
        wide = _widened(chunk, front, behind)
        found = patient.policy_logprobs(wide)[:, : chunk.response_ids.shape[1]].cpu().double()
        for line in range(len(chunk.rows)):
            ids = chunk.ids[line][chunk.keep[line]]
            length = int(chunk.response_keep[line].sum())
            alone = patient.logprobs_alone(ids.tolist(), POLICY, patient.trainer.config.temperature).cpu()
            expected = alone[:-1].gather(-1, ids.cpu()[1:, None])[-length:, 0]
            largest = max(largest, _largest(found[line, :length] - expected))
    return within(
        largest, patient.drift_limit, f"{max(front, behind)} columns move a log-probability by at most, nats:"
    )


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
