"""A bandit: one word per response, a payoff per word and prompt, so that the best policy is known exactly."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from rewardlab.disk import read_jsonl
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
