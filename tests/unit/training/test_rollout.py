"""Rollouts against plain forward passes of single rows; rewards per token and metrics worked by hand."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from rewardlab import processes
from rewardlab.config import LoraConfig, ModelConfig, PPOConfig
from rewardlab.functional.ppo import PolicyLoss, ValueLoss
from rewardlab.models import Sample, SamplingConfig, load_trunk
from rewardlab.models.heads import ScalarHead
from rewardlab.models.prompts import shares_prompts
from rewardlab.models.sampler import row_key
from rewardlab.training import rollout as rollout_module
from rewardlab.training.actor import Actor, Chunk
from rewardlab.training.advantages import Target, gae_targets
from rewardlab.training.metrics import GLOSSARY, Averages, critic_metrics, rollout_metrics
from rewardlab.training.rollout import Rollout, SampledChunk, roll_out
from rewardlab.training.shaping import KLController, ScoreScale, mean_response_kl, shape
from tests.support import slow
from tests.support.models import tiny_model
from tests.support.training import EXAMPLES, ppo_trainer

BUDGET, TEMPERATURE = 6, 0.7
SAMPLING = SamplingConfig(BUDGET, TEMPERATURE)


@dataclass(frozen=True)
class Setting:
    """Two actors that share a trunk, one per kind of critic, and a rollout of each."""

    by_head: Actor
    by_adapter: Actor

    def actor(self, critic: str) -> Actor:
        return self.by_head if critic == "head" else self.by_adapter


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def setting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    folder = tiny_model(request.param, tmp_path_factory.mktemp("models") / request.param)
    trunk = load_trunk(ModelConfig(name=str(folder), dtype="float32", device="cpu"))
    generator = torch.Generator().manual_seed(3)
    trunk.roles.add("policy", LoraConfig(rank=4))
    trunk.roles.add("value", LoraConfig(rank=4), head=ScalarHead(trunk.width))
    head = ScalarHead(trunk.width, "mlp")
    for parameter in (*trunk.roles.parameters("policy"), *trunk.roles.parameters("value"), *head.parameters()):
        parameter.data.normal_(0, 0.1, generator=generator)
    return Setting(Actor(trunk, "head", TEMPERATURE, head), Actor(trunk, "adapter", TEMPERATURE))


@pytest.fixture
def rollout(setting: Setting) -> Rollout:
    return roll_out(setting.by_adapter, EXAMPLES, SAMPLING, 3, ("test", 0))


def by_row(rollout: Rollout, name: str) -> dict[int, list[float]]:
    """A chunk quantity at the kept tokens of each row of the rollout."""
    return {
        row: getattr(chunk, name)[index][chunk.response_keep[index]].tolist()
        for chunk in rollout.chunks
        for index, row in enumerate(chunk.rows)
    }


@torch.no_grad()
def row_states(actor: Actor, rollout: Rollout, row: int, role: str | None) -> Tensor:
    """States that predict the response tokens of one row, read alone and without padding."""
    prompt = actor.trunk.codec.prompt_ids(rollout.examples[row])
    ids = torch.tensor([[*prompt, *rollout.samples[row].ids]])
    return actor.trunk.hidden(ids, torch.ones_like(ids, dtype=torch.bool), role)[0, len(prompt) - 1 : -1]


def row_probabilities(actor: Actor, rollout: Rollout, row: int, role: str | None) -> list[list[float]]:
    logits = actor.trunk.head(row_states(actor, rollout, row, role))
    return [slow.softmax(line, TEMPERATURE) for line in logits.tolist()]


def test_logprobs_and_entropies_are_those_of_each_row_alone(setting: Setting, rollout: Rollout) -> None:
    old, reference, entropies = (by_row(rollout, name) for name in ("old", "reference", "entropies"))
    for row, sample in enumerate(rollout.samples):
        policy = row_probabilities(setting.by_adapter, rollout, row, "policy")
        base = row_probabilities(setting.by_adapter, rollout, row, None)
        taken = [math.log(p[token]) for p, token in zip(policy, sample.ids, strict=True)]
        assert old[row] == pytest.approx(taken, abs=2e-5)
        assert reference[row] == pytest.approx(
            [math.log(p[token]) for p, token in zip(base, sample.ids, strict=True)], abs=2e-5
        )
        assert entropies[row] == pytest.approx([-sum(p * math.log(p) for p in line) for line in policy], abs=2e-5)


@pytest.mark.parametrize("critic", ["head", "adapter"])
def test_values_are_those_of_each_row_alone(setting: Setting, critic: str) -> None:
    actor = setting.actor(critic)
    rollout = roll_out(actor, EXAMPLES, SAMPLING, 3, ("test", 0))
    head = actor.value_head if critic == "head" else actor.trunk.roles["value"].head
    assert head is not None
    found = by_row(rollout, "values")
    for row in range(len(EXAMPLES)):
        alone = head(row_states(actor, rollout, row, "policy" if critic == "head" else "value"))
        assert found[row] == pytest.approx(alone.tolist(), abs=2e-5)
    assert len({round(value, 3) for values in found.values() for value in values}) > 10


@pytest.mark.parametrize("micro_batch", [1, 8])
def test_micro_batches_change_nothing(setting: Setting, rollout: Rollout, micro_batch: int) -> None:
    other = roll_out(setting.by_adapter, EXAMPLES, SAMPLING, micro_batch, ("test", 0))
    assert other.samples == rollout.samples
    assert len(other.chunks) == math.ceil(len(EXAMPLES) / micro_batch)
    for name in ("old", "reference", "values", "entropies"):
        left, right = by_row(rollout, name), by_row(other, name)
        for row in range(len(EXAMPLES)):
            assert left[row] == pytest.approx(right[row], abs=2e-5)


def test_more_padding_on_either_side_changes_nothing(setting: Setting, rollout: Rollout) -> None:
    actor, chunk = setting.by_adapter, rollout.chunks[0]
    front, behind = torch.full((len(chunk.rows), 5), 17), torch.full((len(chunk.rows), 2), 23)
    none = torch.zeros_like
    wide = Chunk(
        chunk.rows,
        torch.cat([front, chunk.ids, behind], 1),
        torch.cat([none(front).bool(), chunk.keep, none(behind).bool()], 1),
        chunk.width + 5,
    )
    with torch.no_grad():
        now = actor.policy(wide, with_entropy=True)
        values = actor.values(wide, now.states)
    assert now.entropies is not None
    for found, stored in ((now.logprobs, chunk.old), (now.entropies, chunk.entropies), (values, chunk.values)):
        torch.testing.assert_close(found[:, :-2], stored, atol=2e-5, rtol=0)
        assert not found[:, -2:].any()


def test_recomputed_logprobs_are_bitwise_equal(setting: Setting, rollout: Rollout) -> None:
    for chunk in rollout.chunks:
        assert torch.equal(setting.by_adapter.policy(chunk).logprobs.detach(), chunk.old)


def test_a_fresh_policy_equals_its_reference(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, lambda *_: 0.0)
    rollout = roll_out(trainer.actor, EXAMPLES, trainer.sampling, 4, (0, 0))
    for chunk in rollout.chunks:
        assert torch.equal(chunk.old, chunk.reference)
        assert not chunk.values.any()


def test_samples_end_by_themselves_or_by_their_budget(rollout: Rollout, setting: Setting) -> None:
    eos = setting.by_adapter.trunk.codec.eos_id
    for sample in rollout.samples:
        assert sample.is_finished == (sample.ids[-1] == eos)
        assert sample.is_finished or len(sample.ids) == BUDGET
    lengths = {row: len(kept) for row, kept in by_row(rollout, "old").items()}
    assert lengths == {row: len(sample.ids) for row, sample in enumerate(rollout.samples)}


def test_draws_differ_by_step_and_within_a_batch(setting: Setting) -> None:
    same = [EXAMPLES[0]] * 4
    first = roll_out(setting.by_adapter, same, SAMPLING, 4, (0, 0)).samples
    second = roll_out(setting.by_adapter, same, SAMPLING, 4, (0, 1)).samples
    assert len({sample.ids for sample in [*first, *second]}) == 8


# -- rewards per token ------------------------------------------------------------------------------------------------


def hand_made(
    old: Sequence[Sequence[float]], reference: Sequence[Sequence[float]], finished: Sequence[bool]
) -> Rollout:
    """One chunk of rows with those log-probabilities; prompt of one token; rows stand in reverse order."""
    width = max(map(len, old))
    keep = torch.tensor([[True] + [t < len(row) for t in range(width)] for row in old])
    rows = list(range(len(old)))[::-1]

    def table(lines: Sequence[Sequence[float]]) -> Tensor:
        return torch.tensor([[*line, *[0.0] * (width - len(line))] for line in lines])

    ids, ones = torch.zeros_like(keep, dtype=torch.long), table(old) * 0 + 1
    chunk = SampledChunk(rows, ids, keep, 1, table(old), table(reference), ones, 2 * ones)
    samples = [Sample((1,) * len(old[rows[row]]), "", finished[row]) for row in range(len(old))]
    return Rollout(EXAMPLES[: len(old)], samples, [chunk])


ROLLOUT = hand_made([[-1.0, -2.0], [-1.0, -1.0, -4.0]], [[-1.5, -1.0], [-1.0, -3.0, -2.0]], [False, True])
# row 1 of the rollout is line 0 of the chunk: log-ratios 0.5, -1; row 0 is line 1: 0, 2, -2
PLAIN = {"normalise_scores": False, "kl_coef": 0.1, "missing_end_penalty": 0.75}


def shaped_by(scores: Sequence[float | None], rollout: Rollout = ROLLOUT, **config: Any) -> Any:
    settings = PPOConfig(**{**PLAIN, **config})
    scale = ScoreScale()
    scale.update([score for score in scores if score is not None])
    return shape(scores, rollout, settings, scale, settings.kl_coef)


def test_the_score_sits_on_the_last_token_and_the_penalty_on_every_one() -> None:
    shaping = shaped_by([2.0, 3.0])
    shaped, [rewards] = shaping.shaped, shaping.rewards
    # row 0 (line 1): cut, 2 - 0.75 = 1.25 on its third token; KL: 0, -0.2, +0.2
    # row 1 (line 0): 3 on its second token; KL: -0.05, +0.1; the third token is padding
    expected = torch.tensor([[-0.05, 3.1, 0.0], [0.0, -0.2, 1.45]])
    torch.testing.assert_close(rewards, expected, atol=1e-6, rtol=0)
    assert shaped[0].total == pytest.approx(1.25, abs=1e-6)
    assert (shaped[0].score, shaped[0].penalty, shaped[0].kl) == (2.0, -0.75, 0.0)
    assert shaped[1].total == pytest.approx(3.05, abs=1e-6)
    assert (shaped[1].score, shaped[1].penalty) == (3.0, 0.0)
    assert shaped[1].kl == pytest.approx(0.05, abs=1e-6)


def test_totals_are_the_sums_of_what_the_tokens_receive() -> None:
    shaping = shaped_by([0.3, -7.0], kl_coef=0.3)
    shaped, [rewards] = shaping.shaped, shaping.rewards
    for line, row in enumerate(ROLLOUT.chunks[0].rows):
        assert shaped[row].total == pytest.approx(float(rewards[line].sum()), abs=1e-6)
        shaped[row].check("test")


def test_the_missing_end_penalty_subtracts_from_the_score() -> None:
    with_penalty = shaped_by([5.0, 5.0], missing_end_penalty=2.0).shaped
    without = shaped_by([5.0, 5.0], missing_end_penalty=0.0).shaped
    assert with_penalty[0].total - without[0].total == pytest.approx(-2.0, abs=1e-6)
    assert with_penalty[1].total == without[1].total


def test_unscored_rows_count_nowhere() -> None:
    shaping = shaped_by([None, 3.0])
    assert shaping.shaped[0] is None
    assert shaping.shaped[1].total == pytest.approx(3.05, abs=1e-6)
    assert [each.tolist() for each in shaping.counts] == [[[True, True, False], [False] * 3]]


def test_unscored_rows_stay_out_of_the_scale(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, lambda example, response: None if example.id == "row-0" else 3.0)
    trainer.step(0)
    assert (trainer.scale.count, trainer.scale.mean) == (7, 3.0)


def test_the_kl_of_a_batch_is_summed_over_tokens_and_averaged_over_responses() -> None:
    """Sums of 0 (0, 2, -2) and -0.5 (0.5, -1); k1 over tokens is -0.1, k3 over tokens 0.66, over responses 3.30."""
    assert mean_response_kl(ROLLOUT) == pytest.approx(-0.25, abs=1e-9)
    shape([None, 1.0], ROLLOUT, PPOConfig(), ScoreScale(), 0.05)
    assert mean_response_kl(ROLLOUT) == pytest.approx(-0.25, abs=1e-9)  # a response without a score was drawn, too


def test_beta_is_steered_to_the_target() -> None:
    controller = KLController(PPOConfig(kl_coef=0.1, kl_target=2.0, kl_horizon=1000))
    controller.update(2.2, 100)  # error 0.1: 0.1 * (1 + 0.1 * 100 / 1000)
    assert controller.coef == pytest.approx(0.101, abs=1e-12)
    controller.update(50.0, 100)  # error clipped to 0.2: * 1.02
    assert controller.coef == pytest.approx(0.10302, abs=1e-12)
    controller.update(-3.0, 500)  # error clipped to -0.2: * 0.9
    assert controller.coef == pytest.approx(0.092718, abs=1e-12)
    assert controller.metrics() == {"policy/kl_coef": controller.coef}


def test_without_a_target_beta_stays() -> None:
    controller = KLController(PPOConfig(kl_coef=0.1))
    controller.update(50.0, 10_000)
    assert (controller.coef, controller.metrics()) == (0.1, {})


def test_the_scale_is_the_deviation_of_everything_seen() -> None:
    scale, scores = ScoreScale(), [1.0, 7.5, -2.0, 3.0, 3.0, 11.0]
    assert scale.deviation == 1.0
    scale.update(scores[:1])
    assert scale.deviation == 1.0
    scale.update(scores[1:4])
    scale.update(scores[4:])
    assert scale.deviation == pytest.approx(statistics.stdev(scores), abs=1e-12)
    again = ScoreScale()
    again.restore(scale.state())
    again.update([2.0])
    assert again.deviation == pytest.approx(statistics.stdev([*scores, 2.0]), abs=1e-12)


def test_equal_scores_are_left_as_they_are() -> None:
    scale = ScoreScale()
    scale.update([0.1] * 7)
    assert scale.deviation == 1.0


# -- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["head", "adapter"])
def test_micro_batches_give_the_gradient_of_one_batch(tmp_path: Path, value: str) -> None:
    whole = gradients(tmp_path / "whole", 8, value)
    for micro_batch in (1, 3):
        parts = gradients(tmp_path / str(micro_batch), micro_batch, value)
        assert parts.keys() == whole.keys()
        for name, gradient in whole.items():
            torch.testing.assert_close(parts[name], gradient, atol=1e-6, rtol=1e-5)
    assert sum(bool(gradient.any()) for gradient in whole.values()) > 4


def gradients(folder: Path, micro_batch: int, value: str) -> dict[str, Tensor]:
    """Gradients of all trained tensors after one backward pass over a batch in which one response is unscored."""
    folder.mkdir()
    trainer = ppo_trainer(folder, lambda *_: 0.0, value=value, entropy_coef=0.1)
    generator = torch.Generator().manual_seed(5)
    named = {
        f"{name}.{index}": parameter
        for name, optimizer in trainer.learner.optimizers.items()
        for index, parameter in enumerate(optimizer.param_groups[0]["params"])
    }
    for parameter in named.values():
        parameter.data.normal_(0, 0.1, generator=generator)
    rollout = roll_out(trainer.actor, EXAMPLES, trainer.sampling, micro_batch, (0, 0))
    scores = [float(number % 3) if number != 2 else None for number in range(len(EXAMPLES))]
    trainer.scale.update([score for score in scores if score is not None])
    shaping = shape(scores, rollout, trainer.config, trainer.scale, trainer.kl.coef)
    targets = gae_targets(rollout, shaping, trainer.config).targets
    trainer.learner._optimise = lambda name: 0.0  # type: ignore[method-assign]
    trainer.learner.update(rollout.chunks, targets, 0, 0.0)
    return {name: parameter.grad for name, parameter in named.items() if parameter.grad is not None}


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_rollout_metrics_by_hand() -> None:
    chunk = ROLLOUT.chunks[0]
    target = Target(chunk.old, chunk.response_keep, torch.tensor([[2.0, 2.0, 9.0], [2.0, 2.0, 5.0]]))
    found = rollout_metrics(ROLLOUT) | critic_metrics(ROLLOUT, [target])
    k3 = [math.exp(-0.5) - 0.5, math.exp(1) - 2, 0.0, math.exp(-2) + 1, math.exp(2) - 3]  # q/p - 1 - log(q/p)
    assert found["policy/kl"] == pytest.approx((0.5 - 1 + 0 + 2 - 2) / 2, abs=1e-6)  # per response
    assert found["policy/kl_k3"] == pytest.approx(sum(k3) / 5, abs=1e-6)
    assert found["policy/entropy"] == pytest.approx(1.0)
    assert found["value/mean"] == pytest.approx(2.0)
    assert found["value/explained_variance"] == pytest.approx(0.0)  # a constant critic
    assert found["rollout/response_tokens"] == 2.5
    assert found["rollout/cut_share"] == 0.5
    ended = Rollout(ROLLOUT.examples, [replace(sample, is_finished=True) for sample in ROLLOUT.samples], [chunk])
    assert rollout_metrics(ended)["rollout/cut_share"] == 0.0


def test_averages_by_hand() -> None:
    averages = Averages()
    counts = torch.tensor([[True, True], [True, False]])
    ratio = torch.tensor([[1.0, 1.3], [0.9, 1.0]])
    for clipped in (1, 2):
        policy = PolicyLoss(torch.tensor(0.5 * clipped), ratio, torch.tensor(clipped))
        averages.add_policy(policy, counts)
        averages.add_value(ValueLoss(torch.tensor(2.0), torch.tensor(3)))
        averages.add_norms({"policy": 1.0 * clipped, "value": 5.0})
    found = averages.means()
    assert found == {
        "policy/loss": 0.75,  # (0.5 + 1) / 2 updates
        "policy/clip_share": 0.5,  # 3 of 6 tokens
        "policy/ratio_max": pytest.approx(1.3),
        "value/loss": 2.0,
        "value/clip_share": 1.0,
        "policy/grad_norm": 1.5,
        "value/grad_norm": 5.0,
    }
    assert found.keys() | rollout_metrics(ROLLOUT).keys() <= GLOSSARY.keys()


def test_averages_of_nothing_are_0() -> None:
    names = ("policy/loss", "policy/clip_share", "policy/ratio_max")
    assert Averages().means() == dict.fromkeys(names, 0.0)


def test_averages_of_one_update_on_one_token() -> None:
    averages = Averages()
    policy = PolicyLoss(torch.tensor(0.5), torch.tensor([[0.5]]), torch.tensor(1))
    averages.add_policy(policy, torch.tensor([[True]]))
    averages.add_value(ValueLoss(torch.tensor(2.0), torch.tensor(1)))
    averages.add_kl(torch.tensor(0.25))
    averages.add_norms({"policy": 3.0})
    assert averages.means() == {
        "policy/loss": 0.5,
        "policy/clip_share": 1.0,
        "policy/ratio_max": 0.5,
        "policy/kl_loss": 0.25,
        "value/loss": 2.0,
        "value/clip_share": 1.0,
        "policy/grad_norm": 3.0,
    }


def test_averages_of_two_processes_add_their_chunks() -> None:
    """Both saw the same two optimiser steps."""
    norms = {"policy": 3.0}
    parts = [
        Averages(1.0, 2.0, None, None, 3, 1, 2, 1.5, 2, norms),
        Averages(0.5, 0.25, None, None, 5, 0, 4, 1.25, 2, norms),
    ]
    assert Averages.of_all(parts) == Averages(1.5, 2.25, None, None, 8, 1, 6, 1.5, 2, norms)
    without = [replace(part, value_loss=None, kl_loss=part.policy_loss, sft_loss=part.value_loss) for part in parts]
    assert Averages.of_all(without) == Averages(1.5, None, 1.5, 2.25, 8, 1, 6, 1.5, 2, norms)


def test_the_sampler_measures_what_a_training_pass_does(setting: Setting) -> None:
    measured = replace(SAMPLING, is_measured=True)
    for actor in (setting.by_head, setting.by_adapter):
        passed = roll_out(actor, EXAMPLES, measured, 3, ("test", 0))
        trusted = roll_out(actor, EXAMPLES, measured, 3, ("test", 0), trusts_sampler=True)
        assert [one.ids for one in trusted.samples] == [one.ids for one in passed.samples]
        for name in ("old", "entropies", "values", "reference"):
            for row, expected in by_row(passed, name).items():
                assert by_row(trusted, name)[row] == pytest.approx(expected, abs=2e-5)


def test_a_trusted_sampler_saves_the_policys_pass(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    roles: list[str | None] = []
    original = Actor.policy

    def spying(self: Actor, chunk: Chunk, *, role: str | None = "policy", with_entropy: bool = False) -> Any:
        roles.append(role)
        return original(self, chunk, role=role, with_entropy=with_entropy)

    monkeypatch.setattr(Actor, "policy", spying)
    roll_out(setting.by_head, EXAMPLES, replace(SAMPLING, is_measured=True), 8, ("test", 0), trusts_sampler=True)
    assert roles == [None]
    roll_out(setting.by_head, EXAMPLES, SAMPLING, 8, ("test", 0), trusts_sampler=True)  # nothing was measured
    assert roles == [None, "policy", None]


@pytest.mark.parametrize("group", [1, 2])
def test_each_response_is_drawn_by_a_key_of_its_own(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    """Place in the group is a part of it where a group has several; one response has the key that it always had."""
    seen: list[int] = []

    def watched(trunk: Any, prompts: Any, keys: list[int], *rest: Any) -> list[Sample]:
        seen.extend(keys)
        return [Sample((5,), "x", True)] * len(keys)

    monkeypatch.setattr(rollout_module, "sample", watched)
    made = roll_out(setting.by_adapter, EXAMPLES[:2], SAMPLING, 3, (7, 1), group=group)
    places = [[]] if group == 1 else [[0], [1]]
    assert seen == [row_key(7, 1, "sst2", f"row-{n}", n, *place) for n in range(2) for place in places]
    assert made.places == [0, 0] if group == 1 else [0, 1, 0, 1]


def test_the_only_response_to_a_prompt_is_at_place_0() -> None:
    assert Rollout([], [Sample((5,), "x", True)] * 3, []).places == [0, 0, 0]


def test_chunks_hold_rows_of_like_length() -> None:
    """Prompts and responses of 1 + 6, 5 + 1 and 2 + 1 tokens: the third and the second, then the first."""
    trunk: Any = SimpleNamespace(codec=SimpleNamespace(pad_id=0), device="cpu")
    samples = [Sample((9,) * size, "x", True) for size in (6, 1, 1)]
    first, second = rollout_module._chunks(trunk, [[1], [2] * 5, [3] * 2], samples, 2)
    assert (first.rows, second.rows) == ([2, 1], [0])
    assert first.ids.tolist() == [[0, 0, 0, 3, 3, 9], [2, 2, 2, 2, 2, 9]]
    assert first.keep.sum(1).tolist() == [3, 6]
    assert (first.width, second.width) == (5, 1)


def test_responses_to_one_prompt_stay_together() -> None:
    """Groups by their longest row, 2 + 1, 2 + 6 against 4 + 3, 4 + 2 tokens, and rows of a group by length."""
    trunk: Any = SimpleNamespace(codec=SimpleNamespace(pad_id=0), device="cpu")
    samples = [Sample((9,) * size, "x", True) for size in (1, 6, 3, 2)]
    prompts = [[1] * 2] * 2 + [[1] * 4] * 2
    chunks = list(rollout_module._chunks(trunk, prompts, samples, 3, 2))
    assert [(chunk.rows, chunk.owners) for chunk in chunks] == [([3, 2, 0], [0, 0, 2]), ([1], [0])]
    assert [chunk.owners for chunk in rollout_module._chunks(trunk, prompts, samples, 3)] == [None, None]


@pytest.mark.parametrize("group", [1, 4])
def test_groups_are_measured_and_trained_as_each_row_alone(setting: Setting, group: int) -> None:
    """Old and reference log-probabilities, and the gradient of their sum, against plain passes over single rows."""
    actor = Actor(setting.by_head.trunk, None, TEMPERATURE)
    parameters = actor.parameters()["policy"]
    made = roll_out(actor, EXAMPLES[:3], SAMPLING, 4, ("test", 0), group=group)
    old, reference = by_row(made, "old"), by_row(made, "reference")
    total, whole = torch.zeros(()), sum(actor.policy(chunk).logprobs.sum() for chunk in made.chunks)
    for row, sample in enumerate(made.samples):
        prompt, tokens = actor.trunk.codec.prompt_ids(made.examples[row]), torch.tensor(sample.ids)
        ids = torch.tensor([[*prompt, *sample.ids]])
        with actor.trunk.roles.using("policy"):
            logits = actor.trunk.model(ids, use_cache=False).logits[0, len(prompt) - 1 : -1] / TEMPERATURE
        alone = torch.log_softmax(logits, -1).gather(1, tokens[:, None])[:, 0]
        assert old[row] == pytest.approx(alone.tolist(), abs=2e-5)
        base = row_probabilities(actor, made, row, None)
        taken = [math.log(p[token]) for p, token in zip(base, sample.ids, strict=True)]
        assert reference[row] == pytest.approx(taken, abs=2e-5)
        total = total + alone.sum()
    expected, found = torch.autograd.grad(total, parameters), torch.autograd.grad(torch.as_tensor(whole), parameters)
    for theirs, ours in zip(expected, found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize(("critic", "group"), [(None, 1), (None, 4), ("head", 4)])
def test_a_prompt_is_read_once_for_its_responses_in_every_pass(setting: Setting, critic: Any, group: int) -> None:
    """A method with a critic and one response a prompt read whole rows."""
    actor = Actor(setting.by_head.trunk, critic, TEMPERATURE, setting.by_head.value_head if critic else None)
    assert shares_prompts(actor.trunk)
    sampling = replace(SAMPLING, is_fixed_length=True)
    prompt = len(actor.trunk.codec.prompt_ids(EXAMPLES[0]))
    read: list[int] = []
    table = actor.trunk.model.get_input_embeddings()
    handle = table.register_forward_hook(lambda module, given, out: read.append(given[0].numel()))
    made = roll_out(actor, EXAMPLES[:1], sampling, group, ("test", 0), group=group)
    sampled = [prompt, *[group] * (BUDGET - 1)]
    is_shared = group > 1 and critic is None
    passed = [prompt, group * (BUDGET - 1)] if is_shared else [group * (prompt + BUDGET)]
    assert read == [*sampled, *passed, *passed]  # sampling, old log-probabilities, reference
    read.clear()
    actor.policy(made.chunks[0])
    handle.remove()
    assert read == passed


def test_one_process_keeps_what_it_measured_and_several_hand_it_round(monkeypatch: pytest.MonkeyPatch) -> None:
    number = torch.ones(1)
    mine: list[Any] = [(number, number, number, None), (number, number, number, number)]
    assert rollout_module._exchanged(mine, 2, torch.device("cpu")) is mine
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "collect", lambda part, total: [*part, *part])
    found = rollout_module._exchanged(mine, 4, torch.device("cpu"))
    assert [values is None for *_, values in found] == [True, False] * 2
