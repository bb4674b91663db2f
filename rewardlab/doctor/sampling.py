"""Checks of the sampler against transformers' ``generate`` and against the model's own probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import GenerationConfig

from rewardlab.doctor.probe import ROWS, TOKENS, ProbeModel
from rewardlab.doctor.verdict import Finding, judged, within
from rewardlab.models.sampler import end_ids
from rewardlab.training.actor import POLICY
from rewardlab.training.rollout import roll_out

SMALLEST_P = 1e-4
"""A sampler that draws from the model fails the test of its law once in ten thousand models."""


def greedy(probe: ProbeModel) -> Finding:
    """At temperature 0 our sampler writes what ``generate`` writes, under the reference and a moved policy."""
    probe.disturb()
    gap, differing = 0.0, 0
    for role in (None, POLICY):
        for prompt, mine in zip(probe.prompts, probe.sampled(role, 0.0), strict=True):
            theirs = _generated(probe, prompt, role)
            if list(mine.ids) != theirs:
                differing += 1
                gap = max(gap, _gap(probe, prompt, mine.ids, theirs, role))
    limit = probe.drift_limit
    ties = f"; {differing} differ where two tokens are {gap:.2g} nats apart, at most {limit:.2g}" if differing else ""
    return judged(gap <= limit, f"{2 * len(probe.prompts)} responses of {TOKENS} tokens{ties}")


def law(probe: ProbeModel) -> Finding:
    """At temperature 1 our sampler's tokens follow the model's own probabilities.

    Each drawn token is placed at random within its share of the probability, likelier tokens first. The places of
    correct draws are uniform whatever the model says (Rosenblatt 1952); Kolmogorov and Smirnov's test asks whether
    they are.
    """
    from scipy.stats import kstest

    probe.disturb()
    generator = torch.Generator().manual_seed(1)
    places: list[float] = []
    prompts = [prompt for prompt in probe.prompts for _ in range(probe.draws)]
    for prompt, drawn in zip(prompts, probe.sampled(POLICY, 1.0, probe.draws), strict=True):
        logprobs = probe.logprobs_alone([*prompt, *drawn.ids], POLICY)[len(prompt) - 1 : -1].cpu()
        probabilities = logprobs.exp()
        own = probabilities.gather(-1, torch.tensor(drawn.ids)[:, None])
        likelier = (probabilities * (probabilities > own)).sum(-1)
        inside = torch.rand(len(drawn.ids), generator=generator, dtype=torch.float64)
        places += (likelier + inside * own[:, 0]).tolist()
    p = float(kstest(places, "uniform").pvalue)
    return judged(p >= SMALLEST_P, f"{len(places)} tokens, p = {p:.2g} (Kolmogorov-Smirnov), at least {SMALLEST_P:g}")


def measured(probe: ProbeModel) -> Finding:
    """Log-probabilities kept while sampling are those of a training pass, so that a step may do without that pass."""
    probe.disturb()
    sampling = replace(probe.trainer.sampling, is_measured=True)
    passed, trusted = (
        roll_out(probe.trainer.actor, probe.examples, sampling, ROWS, ("doctor",), trusts_sampler=trusts)
        for trusts in (False, True)
    )
    off = max(float((a.old - b.old).abs().max()) for a, b in zip(passed.chunks, trusted.chunks, strict=True))
    return within(off, probe.drift_limit, "largest difference of a log-probability, nats:")


def _generated(probe: ProbeModel, prompt: Sequence[int], role: str | None) -> list[int]:
    """Greedy tokens of ``generate`` alone, whatever the model's generation config asks for."""
    plain = GenerationConfig(
        do_sample=False,
        max_new_tokens=TOKENS,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        min_new_tokens=0,
        eos_token_id=sorted(end_ids(probe.trunk)),
        pad_token_id=probe.trunk.codec.pad_id,
    )
    ids = torch.tensor([list(prompt)], device=probe.trunk.device)
    with probe.trunk.roles.using(role), torch.no_grad():
        whole = probe.trunk.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=plain)
    found: list[int] = whole[0, len(prompt) :].tolist()
    return found


def _gap(
    probe: ProbeModel, prompt: Sequence[int], mine: Sequence[int], theirs: Sequence[int], role: str | None
) -> float:
    """Nats between the two choices where they first differ; infinite when one goes on where the other ended."""
    place = next((n for n, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), None)
    if place is None:
        return float("inf")
    logprobs = probe.logprobs_alone([*prompt, *mine[:place]], role)[-1]
    return float((logprobs[mine[place]] - logprobs[theirs[place]]).abs())
