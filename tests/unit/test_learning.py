"""PPO on a bandit: one word per response, a payoff per word and prompt, so that the best policy is known exactly.

Under a KL penalty beta the best policy is pi(a) ~ reference(a) * exp(payoff(a) / beta) (Ziegler et al. 2019, eq. 2).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from rewardlab.presets import PUBLISHED_PRESETS
from rewardlab.runs import read_jsonl
from rewardlab.training.loop import OnlineTrainer
from rewardlab.types import Example, Score
from tests.support import slow
from tests.support.models import tiny_llama, word_tokenizer
from tests.support.training import EXAMPLES, ppo_trainer

PAYOFFS = {
    "positive": {"yes": 1.0, "maybe": 0.5, "no": 0.0},
    "negative": {"yes": 0.0, "maybe": 0.5, "no": 1.0},
}
"""Label of the prompt -> word of the response -> payoff; any other word pays 0."""
WORDS = ["good", "bad", "yes", "maybe", "no", "perhaps"]
RUN = {"model.max_new_tokens": 1, "lora.targets": ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]}
BANDIT = {
    "steps": 30,
    "batch": 64,
    "micro_batch": 64,
    "ppo_epochs": 2,
    "lr": 1e-2,
    "missing_end_penalty": 0.0,
    "normalise_scores": False,
    "kl_coef": 0.0,
}

SUITED: Mapping[str, Mapping[str, Any]] = {
    "rllr": {"steps": 40, "lr": 1e-2, "minibatches": 2, "micro_batch": 32},  # with one update a step it takes longer
    "ppo-nlu": {"steps": 25, "lr": 1e-2},
    "ppo-nlu-code": {"steps": 40, "lr": 3e-3},  # rank-stabilised: an update of B counts four times as much
}
"""Steps and rate under which each preset solves it."""


def payoff(example: Example, response: str) -> float:
    return PAYOFFS[str(example.label)].get(response.strip(), 0.0)


class Shuffled:
    """The same payoffs, dealt to the wrong responses of the batch."""

    name = "shuffled"
    needs_gold = True

    def __init__(self) -> None:
        self._random = random.Random(0)

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        scores = [payoff(example, text) for example, text in zip(examples, responses, strict=True)]
        self._random.shuffle(scores)
        return [Score(score) for score in scores]


@dataclass(frozen=True)
class Policy:
    """Its mean payoff, and its KL from the reference in nats, both mean over the prompts."""

    payoff: float
    kl: float


@dataclass(frozen=True)
class Outcome:
    """The policy before and after training, and the best there is; all exact, not sampled."""

    start: Policy
    end: Policy
    best: Policy


def played(folder: Path, reward: Any = payoff, run: Mapping[str, Any] = RUN, **settings: Any) -> Outcome:
    tiny_llama(folder / "model", word_tokenizer(WORDS))
    trainer = ppo_trainer(folder, reward, run=run, **settings)
    start, best = measured(trainer, "policy"), optimum(trainer, trainer.config.kl_coef)
    trainer.train()
    assert len(list(read_jsonl(folder / "run" / "metrics.jsonl"))) == trainer.steps
    return Outcome(start, measured(trainer, "policy"), best)


def choices(trainer: OnlineTrainer, example: Example, role: str | None) -> list[float]:
    """Probability of every word as the response."""
    ids = torch.tensor([trainer.trunk.codec.prompt_ids(example)])
    with torch.no_grad(), trainer.trunk.roles.using(role):
        return slow.softmax(trainer.trunk.model(ids).logits[0, -1].tolist())


def payoffs(trainer: OnlineTrainer, example: Example, words: int) -> list[float]:
    return [payoff(example, trainer.trunk.codec.decode([token])) for token in range(words)]


def judged(trainer: OnlineTrainer, policies: Sequence[Sequence[float]]) -> Policy:
    """What one list of probabilities per prompt is worth."""
    gains, kls = [], []
    for example, policy in zip(EXAMPLES, policies, strict=True):
        reference = choices(trainer, example, None)
        gains.append(sum(p * gain for p, gain in zip(policy, payoffs(trainer, example, len(policy)), strict=True)))
        kls.append(sum(p * math.log(p / q) for p, q in zip(policy, reference, strict=True) if p > 0))
    return Policy(fmean(gains), fmean(kls))


def measured(trainer: OnlineTrainer, role: str) -> Policy:
    return judged(trainer, [choices(trainer, example, role) for example in EXAMPLES])


def optimum(trainer: OnlineTrainer, beta: float) -> Policy:
    """The closed form; without a penalty all weight lies on the word that pays most."""
    policies = []
    for example in EXAMPLES:
        reference = choices(trainer, example, None)
        gains = payoffs(trainer, example, len(reference))
        weights = [
            p * math.exp(gain / beta) if beta else float(gain == max(gains))
            for p, gain in zip(reference, gains, strict=True)
        ]
        policies.append([weight / sum(weights) for weight in weights])
    return judged(trainer, policies)


def test_the_bandit_is_solved(tmp_path: Path) -> None:
    found = played(tmp_path, **BANDIT)
    assert found.best.payoff == 1.0
    assert found.start.payoff < 0.3
    assert found.end.payoff > 0.95
    rows = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    assert rows[0]["policy/kl"] == 0.0
    assert fmean(row["value/explained_variance"] for row in rows[5:15]) > 0.1  # the critic tells prompts apart


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("preset", PUBLISHED_PRESETS)
def test_every_preset_solves_it_with_either_optimiser(tmp_path: Path, preset: str, optimizer: str) -> None:
    """All is the preset's but what suits the task: batches, steps and rate; and no penalty, so that 1 is best.

    One prompt that keeps to its second best word leaves 0.75, and payoffs that are dealt out anew less than 0.45.
    """
    run = {**RUN, "preset": preset, "ppo.least_new_tokens": "none", "eval.least_new_tokens": "none"}
    suited = {"batch": 64, "micro_batch": 64, "kl_coef": 0.0, "kl_target": "none", **SUITED[preset]}
    found = played(tmp_path, run=run, **suited, optimizer=optimizer)
    assert found.start.payoff < 0.3
    assert found.end.payoff > 0.65


@pytest.mark.parametrize("beta", [0.3, 0.6])
def test_under_a_kl_penalty_it_finds_the_best_compromise(tmp_path: Path, beta: float) -> None:
    found = played(tmp_path, **{**BANDIT, "kl_coef": beta})
    assert found.start.payoff + 0.1 < found.best.payoff < 0.95
    assert found.end.payoff == pytest.approx(found.best.payoff, abs=0.02)
    assert found.end.kl == pytest.approx(found.best.kl, abs=0.04)


def test_shuffled_payoffs_teach_nothing(tmp_path: Path) -> None:
    found = played(tmp_path, Shuffled(), **{**BANDIT, "steps": 15})
    assert found.end.payoff < 0.45


def test_a_large_beta_keeps_the_policy_at_its_reference(tmp_path: Path) -> None:
    found = played(tmp_path, **{**BANDIT, "kl_coef": 50.0, "steps": 15})
    assert found.end.kl < 0.01
    assert found.end.payoff == pytest.approx(found.start.payoff, abs=0.05)
