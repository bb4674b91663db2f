"""The PPO trainer on a tiny random model: it moves what it should, records what it did, and refuses what is wrong.

That it learns stands in ``test_learning.py``, checkpoints and resumes in ``test_checkpoint.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor

from rewardlab.disk import read_jsonl
from rewardlab.errors import TrainingError
from rewardlab.functional.gae import Estimate, gae
from rewardlab.models import Trunk, load_trunk
from rewardlab.models.heads import ScalarHead
from rewardlab.rewards.ledger import GLOSSARY as LEDGER_GLOSSARY
from rewardlab.rewards.ledger import Ledger
from rewardlab.training import advantages, checks, loop
from rewardlab.training.actor import CriticStart
from rewardlab.training.advantages import Target
from rewardlab.training.clock import Clock
from rewardlab.training.loop import OnlineTrainer
from rewardlab.training.metrics import GLOSSARY
from rewardlab.training.ppo import PPOTrainer
from rewardlab.training.progress import Silent
from rewardlab.training.rollout import roll_out
from rewardlab.training.shaping import KLController
from rewardlab.types import Example, Score
from tests.support.models import tiny_llama
from tests.support.training import EXAMPLES, FunctionReward, ppo_config, ppo_trainer


def early_letters(example: Example | None, response: str) -> float:
    """Share of a response's characters that are letters from a to m: dense, and a random model has about a third."""
    letters = sum(character.isascii() and "a" <= character.lower() <= "m" for character in response)
    return letters / max(1, len(response))


def samples(folder: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(folder / "run" / "samples.jsonl"))


def metrics(folder: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(folder / "run" / "metrics.jsonl"))


def bare_logits(trunk: Trunk, role: str | None) -> Tensor:
    ids = torch.tensor([trunk.codec.prompt_ids(EXAMPLES[0])])
    with torch.no_grad():
        return trunk.logits(trunk.hidden(ids, torch.ones_like(ids, dtype=torch.bool), role))


def test_no_steps_leave_the_start_model_exactly(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, early_letters, steps=0)
    result = trainer.train()
    assert (result.steps, result.read.prompts) == (0, 0)
    trunk = load_trunk(trainer.run_config.model)
    expected = bare_logits(trunk, None)
    trunk.roles.load("policy", tmp_path / "run" / "adapter")
    assert torch.equal(bare_logits(trunk, "policy"), expected)


def test_the_stored_adapter_is_the_trained_policy(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, early_letters, steps=2)
    result = trainer.train()
    assert (result.steps, result.read.prompts, result.trunk_sha256) == (2, 8, trainer.trunk.sha256())
    trunk = load_trunk(trainer.run_config.model)
    start = bare_logits(trunk, None)
    trunk.roles.load("policy", tmp_path / "run" / "adapter")
    assert torch.equal(bare_logits(trunk, "policy"), bare_logits(trainer.trunk, "policy"))
    assert not torch.allclose(bare_logits(trunk, "policy"), start, atol=1e-3)


def test_by_default_every_prompt_is_read_once(tmp_path: Path) -> None:
    assert ppo_trainer(tmp_path, early_letters, steps=None, batch=3).steps == 3  # 8 prompts in batches of 3


def test_every_intended_tensor_moves_and_no_other(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, early_letters, steps=3)
    head = trainer.trunk.roles["value"].head
    assert head is not None
    model = trainer.trunk.model
    before = {name: tensor.clone() for name, tensor in [*model.state_dict().items(), *head.state_dict().items()]}
    trainer.train()
    after = {**model.state_dict(), **head.state_dict()}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "lora_" in name} | {"out.weight", "out.bias"}
    assert {".policy." in name for name in moved if "lora_" in name} == {True, False}


def test_a_changed_trunk_is_noticed(tmp_path: Path) -> None:
    calls: list[int] = []

    def meddling(example: Example, response: str) -> float:
        calls.append(1)
        if len(calls) == 9:  # in the second step
            trainer.trunk.model.get_input_embeddings().weight.data[3] += 1e-3
        return float(len(response))

    trainer = ppo_trainer(tmp_path, meddling)
    with pytest.raises(TrainingError, match="the frozen trunk changed during training"):
        trainer.train()
    assert not (tmp_path / "run" / "adapter").exists()


def test_a_policy_that_differs_from_its_reference_cannot_start(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, early_letters)
    for parameter in trainer.trunk.roles.parameters("policy"):
        parameter.data += 0.05
    with pytest.raises(TrainingError, match="before the first update the policy differs from its reference by"):
        trainer.train()


def test_logprobs_that_cannot_be_repeated_stop_the_run(tmp_path: Path) -> None:
    def meddling(example: Example, response: str) -> float:
        trainer.trunk.model.get_output_embeddings().weight.data *= 1.01
        return 0.0

    trainer = ppo_trainer(tmp_path, meddling)
    with pytest.raises(TrainingError, match="from its reference by 0 nats and from itself by a ratio of"):
        trainer.train()


def test_too_many_unscored_responses_stop_the_run(tmp_path: Path) -> None:
    class Broken:
        name = "broken"
        needs_gold = False

        def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
            return [Score(None, reason="judge timed out") if n % 4 == 0 else Score(1.0) for n in range(len(responses))]

    expected = r"reward 'broken' could not judge 2 of 8 responses \(ppo\.max_unscored = 0\.2\).*: judge timed out"
    with pytest.raises(TrainingError, match=expected):
        ppo_trainer(tmp_path / "strict", Broken()).train()
    ppo_trainer(tmp_path / "probe", Broken(), max_unscored=0.25, steps=1).step(0)  # exactly the limit


def test_a_step_in_which_nothing_was_judged_moves_nothing(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, lambda *_: None, max_unscored=1.0, steps=1)
    trainer.train()
    assert metrics(tmp_path)[0]["reward/unscored"] == 1.0
    assert torch.equal(bare_logits(trainer.trunk, "policy"), bare_logits(trainer.trunk, None))


def test_unscored_responses_have_no_part_in_the_update(tmp_path: Path) -> None:
    def partly(example: Example, response: str) -> float | None:
        return None if example.id == "row-0" else early_letters(example, response)

    trainer = ppo_trainer(tmp_path, partly, steps=1, micro_batch=8)
    seen: list[Tensor] = []
    original = trainer.learner.update

    def spying(chunks: Any, targets: Any, *rest: Any) -> Any:
        seen.extend(target.counts for target in targets)
        assert not any(target.advantages[~target.counts].any() for target in targets)
        return original(chunks, targets, *rest)

    trainer.learner.update = spying  # type: ignore[method-assign]
    trainer.train()
    [counts] = seen
    lengths = {row["id"]: row["score"] for row in samples(tmp_path)}
    assert lengths["row-0"] is None
    assert int((~counts.any(-1)).sum()) == 1
    assert metrics(tmp_path)[0]["reward/unscored"] == 0.125


def test_the_ledgers_totals_are_what_advantages_were_computed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[float] = []

    def recording(rewards: Tensor, values: Tensor, keep: Tensor, **settings: float) -> Estimate:
        trained.extend(rewards.sum(-1).tolist())
        return gae(rewards, values, keep, **settings)

    monkeypatch.setattr(advantages, "gae", recording)
    ppo_trainer(tmp_path, early_letters, steps=3, kl_coef=0.5).train()
    logged = [row["total"] for row in samples(tmp_path)]
    assert len(logged) == 24
    assert sorted(logged) == pytest.approx(sorted(trained), abs=1e-6)
    assert any(row["shaped"]["kl"] for row in samples(tmp_path)[-8:])
    for row in samples(tmp_path):
        assert sum(row["shaped"].values()) == pytest.approx(row["total"], abs=1e-5)


def test_beta_follows_the_kl_of_each_step(tmp_path: Path) -> None:
    """From 0.1, eight responses of a horizon of 80: a fifth too little is two hundredths less, none at first."""
    ppo_trainer(tmp_path, early_letters, steps=3, kl_coef=0.1, kl_target=0.5, kl_horizon=80).train()
    rows = metrics(tmp_path)
    expected = [0.1]
    for row in rows[:2]:
        expected.append(expected[-1] * (1 + max(-0.2, min(0.2, row["policy/kl"] / 0.5 - 1)) * 8 / 80))
    assert expected[1] == pytest.approx(0.098)
    assert [row["policy/kl_coef"] for row in rows] == pytest.approx(expected)
    penalties = [fmean(row["shaped"]["kl"] for row in samples(tmp_path) if row["step"] == step) for step in (1, 2, 3)]
    assert penalties == pytest.approx([-b * row["policy/kl"] for b, row in zip(expected, rows, strict=True)], abs=1e-6)


def test_each_step_draws_its_own_response_budget(tmp_path: Path) -> None:
    """Between 2 and 6 tokens, the same again in another run of the seed, and without the setting always 6."""

    def longest(name: str, **settings: Any) -> list[int]:
        folder = tmp_path / name
        folder.mkdir()
        trainer = ppo_trainer(folder, early_letters, steps=12, **settings)
        clock = Clock(trainer.trunk.device)
        return [max(len(one.ids) for one in trainer._roll_out(step, clock).samples) for step in range(12)]

    drawn = longest("drawn", least_new_tokens=2)
    assert set(drawn) == {2, 3, 4, 5, 6}
    assert longest("again", least_new_tokens=2) == drawn
    assert set(longest("plain")) == {6}


PATTERN = (0.3, -0.1, 0.3, -0.1, 0.3, -0.1)
"""Log-ratios of the tokens of a response of up to six."""


def test_beta_is_steered_by_the_kl_of_whole_responses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from the controller's clip, where k1 a token, k3 a token and k3 a response would all move beta elsewhere."""
    trainer = ppo_trainer(tmp_path, early_letters, kl_coef=0.1, kl_horizon=80)
    trainer.trunk.model.generation_config.eos_token_id = list(range(1, 20))  # so that lengths differ
    original = loop.roll_out
    responses: list[tuple[float, ...]] = []

    def with_known_ratios(*arguments: Any, **named: Any) -> Any:
        rollout = original(*arguments, **named)
        responses.extend(PATTERN[: len(sample.ids)] for sample in rollout.samples)
        target = fmean(map(sum, responses)) / 1.1
        trainer.kl = KLController(trainer.config.model_copy(update={"kl_target": target}))
        known = (torch.tensor(PATTERN)[: c.old.shape[1]] * c.response_keep for c in rollout.chunks)
        chunks = [replace(c, reference=c.old - ratios) for c, ratios in zip(rollout.chunks, known, strict=True)]
        return replace(rollout, chunks=chunks)

    monkeypatch.setattr(loop, "roll_out", with_known_ratios)
    trainer.step(1)

    k3 = [[math.exp(-ratio) - 1 + ratio for ratio in response] for response in responses]
    kl, tokens = fmean(map(sum, responses)), sum(map(len, responses))
    others = [sum(map(sum, responses)) / tokens, sum(map(sum, k3)) / tokens, fmean(map(sum, k3))]
    assert len(set(map(len, responses))) > 2
    assert all(other < 0.8 * kl for other in others)  # they would lower beta; it rises by a tenth of a tenth
    assert trainer.kl.coef == pytest.approx(0.101, abs=1e-7)


def test_advantages_are_whitened_over_the_whole_batch(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, early_letters, steps=1, batch=8, micro_batch=3)
    seen: list[Tensor] = []
    original = trainer.learner.update

    def spying(chunks: Any, targets: Any, *rest: Any) -> Any:
        seen.extend(target.advantages[target.counts] for target in targets)
        return original(chunks, targets, *rest)

    trainer.learner.update = spying  # type: ignore[method-assign]
    trainer.train()
    assert len(seen) == 3
    together = torch.cat(seen)
    assert float(together.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(together.var()) == pytest.approx(1.0, abs=1e-3)
    assert abs(float(seen[0].mean())) > 1e-3


def test_every_metric_has_a_line_in_a_glossary(tmp_path: Path) -> None:
    ppo_trainer(tmp_path, early_letters, steps=1).train()
    known = [*GLOSSARY, *LEDGER_GLOSSARY]
    unknown = [key for key in metrics(tmp_path)[0] if not any(fnmatch(key, name) for name in known)]
    assert unknown == ["step"]


@pytest.mark.parametrize(
    ("preset", "critic", "epochs"), [("rllr", "adapter", 1), ("ppo-nlu", "head", 4), ("ppo-nlu-code", "head", 4)]
)
def test_published_presets_run(tmp_path: Path, preset: str, critic: str, epochs: int) -> None:
    short = {"ppo.least_new_tokens": 2, "eval.least_new_tokens": 2} if preset == "ppo-nlu-code" else {}
    trainer = ppo_trainer(tmp_path, early_letters, run={"preset": preset, **short}, steps=3)
    assert trainer.actor.critic == critic
    start = [parameter.clone() for parameter in trainer.actor.parameters()["value"]]
    updates = count_updates(trainer)
    trainer.train()
    assert updates == {"policy": 3 * epochs, "value": 3 * epochs}
    # a head that starts at zero lets B move from the second update on, and A from the third
    assert all(not torch.equal(p, q) for p, q in zip(trainer.actor.parameters()["value"], start, strict=True))
    rows = metrics(tmp_path)
    assert (rows[0]["policy/ratio_max"] > 1) == (epochs > 1)
    assert all(row["policy/grad_norm"] > 0 and row["value/grad_norm"] > 0 for row in rows)


def count_updates(trainer: OnlineTrainer) -> dict[str, int]:
    """Counts optimiser steps by name while the trainer runs."""
    counts = dict.fromkeys(trainer.learner.optimizers, 0)
    original = trainer.learner._optimise

    def counting(name: str) -> float:
        counts[name] += 1
        return original(name)

    trainer.learner._optimise = counting  # type: ignore[method-assign]
    return counts


@pytest.mark.parametrize(("minibatches", "expected"), [(1, 1), (2, 2), (5, 2)])
def test_minibatches_are_optimiser_steps_and_the_schedule_ends_with_the_run(
    tmp_path: Path, minibatches: int, expected: int
) -> None:
    trainer = ppo_trainer(tmp_path, early_letters, steps=2, batch=8, micro_batch=4, minibatches=minibatches)
    updates = count_updates(trainer)
    trainer.train()
    assert updates["policy"] == 2 * expected  # never more than there are micro-batches
    assert metrics(tmp_path)[-1]["policy/lr"] == pytest.approx(0.1 * 1e-2)


def test_gradients_that_are_not_finite_stop_the_run(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, early_letters)
    head = trainer.trunk.roles["value"].head
    assert head is not None
    head.out.bias.data.fill_(float("nan"))
    with pytest.raises(TrainingError, match="the gradient of policy is not finite"):
        trainer.train()


def test_no_prompts_are_refused(tmp_path: Path) -> None:
    config = ppo_config(tiny_llama(tmp_path / "model"))
    with pytest.raises(TrainingError, match="PPO has no prompts"):
        PPOTrainer(
            load_trunk(config.model), FunctionReward(early_letters), [], config, Silent(), Ledger(nothing), tmp_path
        )


def nothing(name: str, row: Any) -> None:
    """A ledger that goes nowhere."""


def test_the_critic_starts_from_a_reward_model_in_the_unit_of_scores(tmp_path: Path) -> None:
    config = ppo_config(tiny_llama(tmp_path / "model"))
    trunk = load_trunk(config.model)
    head = ScalarHead(trunk.width)
    torch.nn.init.normal_(head.out.weight)
    torch.nn.init.constant_(head.out.bias, 0.5)
    role = trunk.roles.add("rm", config.lora, head=head)
    for parameter in trunk.roles.parameters("rm")[:-2]:
        parameter.data.normal_(0, 0.1)
    trunk.roles.save("rm", tmp_path / "adapter")

    fresh = load_trunk(config.model)
    trainer = PPOTrainer(
        fresh, FunctionReward(early_letters), EXAMPLES, config, Silent(), Ledger(nothing), tmp_path / "run",
        critic_start=CriticStart(tmp_path / "adapter", 4.0, 3.0),
    )  # fmt: skip
    [chunk] = roll_out(trainer.actor, EXAMPLES, trainer.sampling, 8, (0, 0)).chunks
    with torch.no_grad():
        states = trunk.hidden(chunk.ids, chunk.keep, "rm")[:, chunk.width - 1 : -1][chunk.response_keep]
        expected = (role.head(states) - 3) / 4 if role.head is not None else None
    torch.testing.assert_close(chunk.values[chunk.response_keep], expected, atol=1e-5, rtol=0)
    assert all(parameter.requires_grad for parameter in fresh.roles.parameters("value"))


def test_a_critic_cannot_start_from_an_adapter_without_head(tmp_path: Path) -> None:
    config = ppo_config(tiny_llama(tmp_path / "model"))
    trunk = load_trunk(config.model)
    trunk.roles.add("sft", config.lora)
    trunk.roles.save("sft", tmp_path / "adapter")
    with pytest.raises(TrainingError, match="no scalar head"):
        PPOTrainer(
            load_trunk(config.model), FunctionReward(early_letters), EXAMPLES, config, Silent(), Ledger(nothing),
            tmp_path / "run", critic_start=CriticStart(tmp_path / "adapter"),
        )  # fmt: skip


@pytest.mark.parametrize(("setting", "passes"), [("auto", ["measured", "trusted"]), ("recompute", ["plain", "plain"])])
def test_the_sampler_is_trusted_from_the_second_step_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, passes: list[str]
) -> None:
    seen: list[str] = []
    original = loop.roll_out

    def spying(*arguments: Any, trusts_sampler: bool, **named: Any) -> Any:
        is_measured = arguments[2].is_measured
        seen.append(("trusted" if trusts_sampler else "measured") if is_measured else "plain")
        return original(*arguments, trusts_sampler=trusts_sampler, **named)

    monkeypatch.setattr(loop, "roll_out", spying)
    ppo_trainer(tmp_path, early_letters, old_logprobs=setting).train()
    assert seen == passes


def test_a_sampler_that_disagrees_with_training_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "SAMPLER_TOLERANCE", 0.0)
    with pytest.raises(TrainingError, match=r"the sampler's probabilities differ .* --set ppo\.old_logprobs=recompute"):
        ppo_trainer(tmp_path, early_letters).train()
    ppo_trainer(tmp_path / "again", early_letters, old_logprobs="recompute").train()


@pytest.mark.parametrize(("critic", "expected"), [("adapter", ["policy", "backward", "value", "backward"]),
                                                  ("head", ["policy", "backward"])])  # fmt: skip
def test_an_adapter_critic_reads_after_the_policys_activations_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, critic: str, expected: list[str]
) -> None:
    trainer = ppo_trainer(tmp_path, early_letters, steps=1, micro_batch=8, value=critic)
    rollout = roll_out(trainer.actor, EXAMPLES, trainer.sampling, 8, (0, 0))
    [chunk] = rollout.chunks
    target = Target(chunk.old, chunk.response_keep, chunk.values)
    events: list[str] = []
    hidden, backward = trainer.trunk.hidden, Tensor.backward

    def reading(ids: Tensor, keep: Tensor, role: str | None) -> Tensor:
        events.append(str(role))
        return hidden(ids, keep, role)

    def going_back(self: Tensor, *rest: Any) -> None:
        events.append("backward")
        backward(self, *rest)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(trainer.trunk, "hidden", reading)
    monkeypatch.setattr(Tensor, "backward", going_back)
    trainer.learner.update([chunk], [target], 0, 0.0)
    assert events == expected


def test_beta_follows_the_kl_of_whole_responses_to_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Responses lie 2.0, 2.1, ... 2.7 nats above the reference, whatever their length: 2.35 in the mean.

    Against a target of 2.15 that is an error of 0.2 / 2.15, well within the clip; eight responses of a horizon of 40.
    A KL per token, its k3 estimate, and the KL after the update would each give another beta.
    """
    trainer = ppo_trainer(tmp_path, early_letters, kl_coef=0.1, kl_target=2.15, kl_horizon=40)

    def moved(*given: Any, **named: Any) -> Any:
        rollout, chunks = roll_out(*given, **named), []
        for chunk in rollout.chunks:
            keep = chunk.response_keep
            sums = torch.tensor([2.0 + 0.1 * row for row in chunk.rows])
            chunks.append(replace(chunk, reference=chunk.old - keep * (sums / keep.sum(-1))[:, None]))
        return replace(rollout, chunks=chunks)

    monkeypatch.setattr(loop, "roll_out", moved)
    trainer.step(1)
    assert trainer.kl.coef == pytest.approx(0.1 * (1 + 0.2 / 2.15 * 8 / 40), rel=1e-5)
