"""How far policy and critic move under every preset and optimiser; nothing else tells a run whose weights stay put."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rewardlab.disk import read_jsonl
from rewardlab.presets import PUBLISHED_PRESETS
from rewardlab.training.loop import OnlineTrainer
from rewardlab.types import Example
from tests.support.training import ppo_trainer

STEPS = 6
PRESETS = [None, *PUBLISHED_PRESETS]


def letters(example: Example, response: str) -> float:
    return sum(character in "abcdefgh" for character in response) / max(1, len(response))


@dataclass(frozen=True)
class Moved:
    """Largest weight of B, how far the critic's last layer went, and the sum of the rates of all updates."""

    policy: float
    critic: float
    rates: float


def run_of(preset: str | None, **more: Any) -> dict[str, Any]:
    return {"preset": preset, "ppo.least_new_tokens": "none", "eval.least_new_tokens": "none", **more}


def trained(folder: Path, preset: str | None, rate: float, **settings: Any) -> OnlineTrainer:
    folder.mkdir(exist_ok=True)
    rates = {"lr": rate, "value_lr": rate}
    trainer = ppo_trainer(folder, letters, run=run_of(preset), steps=STEPS, **{**rates, **settings})
    trainer.train()
    return trainer


def moved(folder: Path, preset: str | None, optimizer: str) -> Moved:
    """After six steps at PPO-NLU's rate."""
    trainer = trained(folder, preset, 9e-6, optimizer=optimizer)
    head = trainer.actor.value_head or trainer.trunk.roles["value"].head
    assert head is not None
    adapters = [p for name, p in trainer.trunk.model.named_parameters() if "lora_B.policy" in name]
    assert len(adapters) == 4
    return Moved(
        max(float(p.detach().abs().max()) for p in adapters),
        float(head.out.weight.detach().abs().max()),
        9e-6 * trainer.learner.updates,
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_either_optimiser_moves_policy_and_critic_by_its_rate(tmp_path: Path, preset: str | None) -> None:
    """Both start at 0. An update moves a weight by its rate at most, or a little more in Adafactor's single weights."""
    adamw, adafactor = (moved(tmp_path / name, preset, name) for name in ("adamw", "adafactor"))
    assert adamw.rates == adafactor.rates
    for found in (adamw, adafactor):
        for distance in (found.policy, found.critic):
            assert 0.1 * found.rates < distance < 10 * found.rates
    assert 0.1 < adafactor.policy / adamw.policy < 10
    assert 0.1 < adafactor.critic / adamw.critic < 10


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("preset", PRESETS)
def test_kl_and_ratio_leave_their_start(tmp_path: Path, preset: str | None, optimizer: str) -> None:
    """At a rate that shows it; two updates a batch, since the ratio of one is 1."""
    trained(tmp_path / "run", preset, 1e-2, optimizer=optimizer, minibatches=2, kl_coef=0.0, kl_target="none")
    rows = list(read_jsonl(tmp_path / "run" / "run" / "metrics.jsonl"))
    assert rows[0]["policy/kl"] == 0.0
    assert rows[-1]["policy/kl_k3"] > 1e-3
    assert rows[-1]["policy/kl"] > 0.01
    assert max(row["policy/ratio_max"] for row in rows) > 1.01
