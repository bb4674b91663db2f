"""Known ways to get PPO for language models wrong that no other file tests; the table of all is in ``docs/ppo.md``."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rewardlab.config import LoraConfig, ModelConfig
from rewardlab.disk import read_jsonl
from rewardlab.functional.kl import kl_k1
from rewardlab.models import SamplingConfig, Trunk, load_trunk, row_key, sample
from rewardlab.training.advantages import gae_targets
from rewardlab.training.rollout import roll_out
from rewardlab.training.shaping import shape
from rewardlab.training.streaks import PATIENCE, Streaks
from rewardlab.types import Example
from tests.support.models import tiny_llama, tiny_model, tiny_tokenizer
from tests.support.training import EXAMPLES, ppo_config, ppo_trainer

LORA = LoraConfig(rank=4)


def load(folder: Path, dtype: str = "float32") -> Trunk:
    return load_trunk(ModelConfig(name=str(folder), dtype=dtype, device="cpu"))


def spread(example: Example, response: str) -> float:
    return len(response) + 3.0 * (example.id == "row-1")


def metrics(folder: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(folder / "run" / "metrics.jsonl"))


def logits(trunk: Trunk, role: str | None) -> Tensor:
    ids = torch.tensor([trunk.codec.prompt_ids(EXAMPLES[0])])
    with torch.no_grad():
        return trunk.logits(trunk.hidden(ids, torch.ones_like(ids, dtype=torch.bool), role))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_bfloat16_trunk_clips_nothing_before_its_first_update(tmp_path: Path, family: str) -> None:
    """Row 3."""
    tiny_model(family, tmp_path / "model", tiny_tokenizer())
    trunk = load(tmp_path / "model", "bfloat16")
    trainer = ppo_trainer(tmp_path, spread, trunk, {"model.dtype": "bfloat16"}, steps=1, clip_ratio=1e-4)
    trainer.train()
    assert metrics(tmp_path)[0]["policy/clip_share"] == 0.0
    assert metrics(tmp_path)[0]["policy/ratio_max"] == 1.0
    assert trainer.trunk.sha256() == load(tmp_path / "model", "bfloat16").sha256()  # row 20: nothing was merged


def test_a_kl_that_stays_negative_draws_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Row 5."""
    streaks = Streaks()
    values = [-0.1] * (PATIENCE - 1) + [0.0] + [-0.1] * (PATIENCE + 5)
    with caplog.at_level(logging.WARNING):
        for step, value in enumerate(values[: 2 * PATIENCE - 1], 1):
            streaks.add(step, {"policy/kl": value})
        assert caplog.messages == []
        for step, value in enumerate(values[2 * PATIENCE - 1 :], 2 * PATIENCE):
            streaks.add(step, {"policy/kl": value})
    [said] = caplog.messages  # once, however long it lasts
    assert said.startswith("in steps 11 to 20 policy/kl was negative: responses are not drawn")
    assert "`rewardlab doctor`" in said  # what to do


def test_dropout_of_the_model_is_off(tmp_path: Path) -> None:
    """Row 6."""
    tiny_model("gpt2", tmp_path / "model", tiny_tokenizer(), resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    trainer = ppo_trainer(tmp_path, spread, steps=2)
    trainer.train()
    assert [row["policy/ratio_max"] for row in metrics(tmp_path)] == [pytest.approx(1.0, abs=1e-5)] * 2
    assert not any(module.training for module in trainer.trunk.model.modules())


def test_dropout_of_a_stored_adapter_is_off(tmp_path: Path) -> None:
    """Row 6: an adapter of other trainers brings its rate along."""
    folder = tiny_llama(tmp_path / "model")
    trunk = load(folder)
    trunk.roles.add("rm", LORA)
    for parameter in trunk.roles.parameters("rm"):
        parameter.data.normal_(0, 0.1)
    trunk.roles.save("rm", tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_dropout": 0.5}))
    again = load(folder)
    again.roles.load("rm", tmp_path / "adapter")
    assert any(isinstance(module, torch.nn.Dropout) and module.p == 0.5 for module in again.model.modules())
    assert torch.equal(logits(again, "rm"), logits(trunk, "rm"))


def test_an_end_token_that_also_pads_is_kept_and_carries_the_score(tmp_path: Path) -> None:
    """Rows 7 and 9: masks come from generation, so that it does not matter which token pads."""
    trainer = ppo_trainer(tmp_path, spread, kl_coef=0.0, missing_end_penalty=0.0, normalise_scores=False)
    trainer.trunk.model.generation_config.eos_token_id = list(range(1, 60))  # so that many responses end
    drawn = roll_out(trainer.actor, EXAMPLES, trainer.sampling, 4, (0, 0)).samples
    trainer.trunk.codec.pad_id = next(one.ids[-1] for one in drawn if one.is_finished)
    rollout = roll_out(trainer.actor, EXAMPLES, trainer.sampling, 4, (0, 0))
    assert rollout.samples == drawn
    assert len({len(one.ids) for one in rollout.samples}) > 2
    rewards = shape([5.0] * 8, rollout, trainer.config, trainer.scale, 0.0).rewards
    for chunk, table in zip(rollout.chunks, rewards, strict=True):
        for line, row in enumerate(chunk.rows):
            length = len(rollout.samples[row].ids)
            assert int(chunk.response_keep[line].sum()) == length
            assert table[line].nonzero().tolist() == [[length - 1]]


def test_an_end_token_in_the_prompt_ends_nothing(tmp_path: Path) -> None:
    """Row 10: chat templates with earlier turns have one per turn."""
    trunk = load(tiny_llama(tmp_path / "model"))
    prompt = [40, trunk.codec.eos_id, 41, trunk.codec.eos_id]
    trunk.head.layer.weight.data[trunk.codec.eos_id] = -trunk.head.layer.weight.data.abs().sum(0)  # never drawn
    [cut] = sample(trunk, [prompt], [row_key("prompt")], SamplingConfig(3, temperature=0), None)
    assert (cut.is_finished, len(cut.ids)) == (False, 3)
    assert trunk.codec.eos_id not in cut.ids


def test_the_kl_penalty_is_k1_inside_the_reward_without_gradient(tmp_path: Path) -> None:
    """Row 15: as a loss, k1 has no gradient on average and k3 descends the other KL."""
    trainer = ppo_trainer(tmp_path, spread, missing_end_penalty=0.0, normalise_scores=False)
    for parameter in trainer.trunk.roles.parameters("policy"):
        parameter.data.normal_(0, 0.1)
    rollout = roll_out(trainer.actor, EXAMPLES, trainer.sampling, 8, (0, 0))
    [chunk] = rollout.chunks
    [free], [priced] = (shape([0.0] * 8, rollout, trainer.config, trainer.scale, beta).rewards for beta in (0.0, 0.3))
    assert not priced.requires_grad
    expected = -0.3 * (chunk.old - chunk.reference) * chunk.response_keep
    torch.testing.assert_close(priced - free, expected)
    assert bool((expected > 0).any())  # k1 has both signs, k2 and k3 one
    assert bool((expected < 0).any())
    assert not kl_k1(chunk.old, chunk.reference).requires_grad


@pytest.mark.parametrize("unit", [0.01, 1.0, 100.0])
@pytest.mark.parametrize(("moved", "share"), [(0.4, 0.0), (0.6, 1.0)])
def test_value_clipping_knows_no_units(tmp_path: Path, unit: float, moved: float, share: float) -> None:
    """Row 16: values that moved further than half a deviation of the returns are clipped, in any unit."""
    settings = {"normalise_scores": False, "score_clip": 1e9, "missing_end_penalty": 0.0, "value_clip": 0.5}
    trainer = ppo_trainer(tmp_path, spread, **settings)
    rollout = roll_out(trainer.actor, EXAMPLES, trainer.sampling, 8, (0, 0))
    scores = [unit * spread(e, text) for e, text in zip(EXAMPLES, rollout.responses, strict=True)]
    trainer.scale.update(scores)
    shaping = shape(scores, rollout, trainer.config, trainer.scale, 0.0)
    [target] = gae_targets(rollout, shaping, trainer.config).targets
    assert target.returns is not None
    assert rollout.chunks[0].values is not None
    returns = target.returns[target.counts]
    assert float(returns.min()) > 0  # above what the critic says now, which is 0
    chunk = replace(rollout.chunks[0], values=rollout.chunks[0].values - moved * returns.std())
    measured = trainer.learner.update([chunk], [target], 0, 0.0).means()
    assert measured["value/clip_share"] == pytest.approx(share)


def test_the_reference_is_the_sft_model_and_not_the_base(tmp_path: Path) -> None:
    """Row 18."""
    folder = tiny_llama(tmp_path / "model")
    trunk = load(folder)
    base = logits(trunk, None)
    trunk.roles.add("sft", LORA)
    for parameter in trunk.roles.parameters("sft"):
        parameter.data.normal_(0, 0.2)
    trunk.roles.save("sft", tmp_path / "sft")
    merged = load_trunk(ppo_config(folder).model, tmp_path / "sft")
    trainer = ppo_trainer(tmp_path, spread, merged, steps=1)
    torch.testing.assert_close(logits(merged, None), logits(trunk, "sft"), atol=1e-4, rtol=1e-4)
    assert float((logits(merged, None) - base).abs().max()) > 0.1
    trainer.train()
    assert metrics(tmp_path)[0]["policy/kl"] == 0.0


def test_the_critic_says_zero_until_it_is_trained(tmp_path: Path) -> None:
    """Row 17: advantages of the first step are the returns, whitened, not the noise of a random head."""
    for value in ("head", "adapter"):
        trainer = ppo_trainer(tmp_path / value, spread, steps=1, value=value)
        trainer.train()
        assert metrics(tmp_path / value)[0]["value/mean"] == 0.0
        assert metrics(tmp_path / value)[0]["value/explained_variance"] == 0.0


def test_the_sampler_sees_each_update(tmp_path: Path) -> None:
    """Row 21: greedy responses of the policy change with its adapter, those of the reference do not."""
    trainer = ppo_trainer(tmp_path, spread)
    prompts = [trainer.trunk.codec.prompt_ids(example) for example in EXAMPLES]

    def greedy(role: str | None) -> list[tuple[int, ...]]:
        keys = [row_key(row) for row in range(len(prompts))]
        return [one.ids for one in sample(trainer.trunk, prompts, keys, SamplingConfig(8, 0.0), role)]

    start = greedy("policy")
    assert start == greedy(None)
    for parameter in trainer.trunk.roles.parameters("policy"):
        parameter.data.normal_(0, 0.3)
    assert greedy("policy") != start
    assert greedy(None) == start


def test_equal_scores_are_reported_and_teach_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 26: a saturated reward; critic and KL stay at zero, so nothing is left to learn from."""
    settings = {"missing_end_penalty": 0.0, "whiten_advantages": False, "steps": 1}
    monkeypatch.setattr("rewardlab.training.streaks.PATIENCE", 1)
    with caplog.at_level(logging.WARNING):
        ppo_trainer(tmp_path, lambda *_: 0.0, **settings).train()
    row = metrics(tmp_path)[0]
    assert (row["reward/deviation"], row["policy/grad_norm"]) == (0.0, 0.0)
    assert "in steps 1 to 1 reward/deviation was 0: every response had the same score" in caplog.text


def test_a_spread_of_scores_is_no_sign(caplog: pytest.LogCaptureFixture) -> None:
    streaks = Streaks()
    for step in range(1, 3 * PATIENCE):
        streaks.add(step, {"policy/kl": 0.0, "reward/deviation": 0.5} if step % 2 else {})
    assert caplog.messages == []
