"""What each loss of pairs learns on a bandit of words, where its optimum is known exactly."""

from __future__ import annotations

import math
import random
from itertools import combinations
from pathlib import Path
from statistics import fmean

import pytest
import torch

from rewardlab.training.preference import PreferenceTrainer
from rewardlab.types import Example, Pair
from tests.support import slow
from tests.support.bandit import WORDS, payoff
from tests.support.preference import preference_trainer, raised, word_pair
from tests.support.training import EXAMPLES

WHOLE = {"batch": 40, "micro_batch": 40, "epochs": 120, "lr": 2e-2, "final_lr": 0.01, "beta": 0.5}


def ranked(example: Example) -> list[Pair]:
    """Every two words of which one pays more."""
    both = (sorted(two, key=lambda word: payoff(example, word)) for two in combinations(WORDS, 2))
    return [word_pair(example, best, other) for other, best in both if payoff(example, best) > payoff(example, other)]


def choices(trainer: PreferenceTrainer, example: Example, role: str | None) -> dict[str, float]:
    """Probability of every token as the response."""
    ids = torch.tensor([trainer.trunk.codec.prompt_ids(example)])
    with torch.no_grad(), trainer.trunk.roles.using(role):
        found = slow.softmax(trainer.trunk.model(ids).logits[0, -1].tolist())
    return {trainer.trunk.codec.tokenizer.convert_ids_to_tokens(token): share for token, share in enumerate(found)}


def mean_payoff(trainer: PreferenceTrainer, role: str | None) -> float:
    gains = [
        sum(share * payoff(example, word) for word, share in choices(trainer, example, role).items())
        for example in EXAMPLES
    ]
    return fmean(gains)


def kl(trainer: PreferenceTrainer) -> float:
    """Of the policy to its reference, exact, mean over the prompts; nats."""
    both = [(choices(trainer, example, "policy"), choices(trainer, example, None)) for example in EXAMPLES]
    return fmean(sum(p * math.log(p / reference[word]) for word, p in policy.items()) for policy, reference in both)


def test_the_bandit_is_solved(tmp_path: Path) -> None:
    """Words alone are compared: what falls to tokens that no pair holds, such as the end, pays nothing."""
    pairs = [pair for example in EXAMPLES for pair in ranked(example)]
    trainer = preference_trainer(tmp_path, pairs, batch=64, micro_batch=64, epochs=20, beta=0.1)
    start = mean_payoff(trainer, "policy")
    trainer.train()
    assert start < 0.3
    assert mean_payoff(trainer, "policy") > 0.8


def test_shuffled_preferences_teach_nothing(tmp_path: Path) -> None:
    """The same pairs, each turned round or not by a coin."""
    coin = random.Random(0)
    pairs = [
        word_pair(example, *coin.sample([pair.chosen, pair.rejected], 2))
        for example in EXAMPLES
        for pair in ranked(example)
    ]
    trainer = preference_trainer(tmp_path, pairs, batch=64, micro_batch=64, epochs=5, beta=0.1)
    trainer.train()
    assert mean_payoff(trainer, "policy") < 0.45


def test_a_large_beta_stays_at_the_reference(tmp_path: Path) -> None:
    """Where four in five agree the margin is ln 4 / beta: 0.069 nats under beta 20, and 2.8 under 0.5."""
    found = {}
    for beta in (0.5, 20.0):
        trainer = preference_trainer(tmp_path / str(beta), yes_or_no(), **{**WHOLE, "lr": 2e-3, "beta": beta})
        trainer.train()
        margins = [raised(trainer, example, "yes") - raised(trainer, example, "no") for example in EXAMPLES]
        assert margins == pytest.approx([math.log(4) / beta] * len(EXAMPLES), rel=0.05)
        found[beta] = kl(trainer)
    assert found[20.0] < 0.001 < 0.1 < found[0.5]


def yes_or_no() -> list[Pair]:
    """Four in five say yes, whatever the prompt."""
    return [
        word_pair(example, *(("no", "yes") if number == 4 else ("yes", "no")))
        for example in EXAMPLES
        for number in range(5)
    ]


@pytest.mark.parametrize(
    ("loss", "flip_rate", "expected"),
    [
        ("sigmoid", 0.0, math.log(4) / 0.5),  # sigmoid(beta m) = 4/5
        ("robust", 0.0, math.log(4) / 0.5),
        ("robust", 0.1, math.log(7) / 0.5),  # unflipped (0.8 - 0.1) / (1 - 0.2) = 7/8
        ("hinge", 0.0, 1 / 0.5),  # falls until beta m = 1, and only the fifth that says no pulls back
        ("ipo", 0.0, 2 * (0.8 - 0.2) * 1 / (2 * 0.5)),  # per token (2 p - 1) / (2 beta); two tokens each
    ],
)
def test_each_loss_finds_its_optimum(tmp_path: Path, loss: str, flip_rate: float, expected: float) -> None:
    rate = {"flip_rate": flip_rate} if loss == "robust" else {}
    trainer = preference_trainer(tmp_path, yes_or_no(), loss=loss, **rate, **WHOLE)
    trainer.train()
    margins = [raised(trainer, example, "yes") - raised(trainer, example, "no") for example in EXAMPLES]
    assert margins == pytest.approx([expected] * len(EXAMPLES), rel=0.05)
