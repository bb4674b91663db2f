"""Every check of ``rewardlab doctor`` finds the fault it is there for; the command tells of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import rewardlab as rl
from rewardlab.cli import main as cli
from rewardlab.config_loading import load_config
from rewardlab.doctor import forward, sampling, tokens, update
from rewardlab.doctor.examine import CHECKS, examine
from rewardlab.doctor.probe import Letters, ProbeModel
from rewardlab.doctor.verdict import Finding
from rewardlab.errors import ModelError
from rewardlab.models import load_trunk, sampler
from rewardlab.presets import PUBLISHED_PRESETS
from rewardlab.training import learner
from rewardlab.types import Example, Score
from tests.support.models import tiny_llama, tiny_model, tiny_tokenizer

Break = Callable[[ProbeModel, pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2: its learned positions hide no mistake in them."""
    return tiny_model("gpt2", tmp_path_factory.mktemp("model") / "model", tiny_tokenizer(chat=True))


@pytest.fixture
def probe(model: Path, tmp_path: Path) -> ProbeModel:
    settings = {"model.name": str(model), "model.dtype": "float32", "model.max_prompt_tokens": 96}
    config = load_config({**settings, "model.device": "cpu"})
    return ProbeModel(load_trunk(config.model), config, tmp_path)


@pytest.mark.parametrize("preset", [None, *PUBLISHED_PRESETS])
def test_a_healthy_model_passes_under_every_preset(model: Path, tmp_path: Path, preset: str | None) -> None:
    """Also where the smallest response budget is above that of the checks."""
    settings = {"model.name": str(model), "model.dtype": "float32", "model.device": "cpu", "preset": preset}
    given = {**settings, "model.max_prompt_tokens": 96, "ppo.least_new_tokens": 13, "lora.bias": "none"}
    config = load_config(given)
    verdicts = list(examine(ProbeModel(load_trunk(config.model), config, tmp_path)))
    assert [each.finding.text for each in verdicts if each.finding.outcome == "failed"] == []


def end_elsewhere(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    probe.trunk.model.generation_config.eos_token_id = [7]


def end_as_padding(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    probe.trunk.codec.pad_id = probe.trunk.codec.eos_id


def template_with_another_end(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    tokenizer = probe.trunk.codec.tokenizer
    patch.setattr(tokenizer, "chat_template", tokenizer.chat_template.replace("{{ eos_token }}", "<|system|>"))


def template_with_another_beginning(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    tokenizer = probe.trunk.codec.tokenizer
    turn = "{% if add_generation_prompt %}<|assistant|> so"
    patch.setattr(tokenizer, "chat_template", tokenizer.chat_template.replace(turn[:-3], turn))


def two_beginnings(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    tokenizer = probe.trunk.codec.tokenizer
    tokenizer.bos_token = "<|system|>"
    patch.setattr(tokenizer, "chat_template", "<|system|><|system|>" + tokenizer.chat_template)


def lossy_tokenizer(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    encode = probe.trunk.codec._encode
    patch.setattr(probe.trunk.codec, "_encode", lambda text: encode(text.lower()))


def bfloat16_adapters(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    for tensor in probe.tensors("policy"):
        tensor.data = tensor.data.bfloat16()


def infinite_weight(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    probe.trunk.model.get_output_embeddings().weight.data[5] = float("inf")


def trained_start(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    """As when an SFT adapter is the policy's start and the bare base its reference."""
    probe.disturb()
    patch.setattr(probe, "_fresh", [tensor.detach().clone() for tensor in probe.trained()])


def dropout(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    probe.trunk.model.train()


def no_positions(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(probe.trunk, "takes_positions", False)


def future_seen(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    hidden = probe.trunk.hidden

    def mixed(ids: Tensor, keep: Tensor, role: str | None) -> Tensor:
        states = hidden(ids, keep, role)
        return states + 0.01 * states[:, -1:]

    patch.setattr(probe.trunk, "hidden", mixed)


def stale_sampler(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    """The sampler never receives the adapter."""
    real = sampler.sample
    patch.setattr("rewardlab.doctor.probe.sample", lambda *arguments: real(*arguments[:-1], None))


def shifted_cache(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    extend = probe.trunk.extend

    def late(ids: Tensor, keep: Tensor, cache: Any) -> Tensor:
        real = probe.trunk.positions
        patch.setattr(probe.trunk, "positions", lambda keep: {n: p + 1 for n, p in real(keep).items()})
        states = extend(ids, keep, cache)
        patch.setattr(probe.trunk, "positions", real)
        return states

    patch.setattr(probe.trunk, "extend", late)


def sharper_draws(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    real = sampler.draw
    patch.setattr(sampler, "draw", lambda logits, temperature, uniform: real(logits, 0.6, uniform))


def top_k_draws(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    real = sampler.draw

    def top(logits: Tensor, temperature: float, uniform: Tensor) -> Tensor:
        border = logits.topk(20).values[:, -1:]
        return real(torch.where(logits < border, -torch.inf, logits), temperature, uniform)

    patch.setattr(sampler, "draw", top)


def reward_one_late(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    real = update.shape

    def late(*arguments: Any) -> Any:
        shaping = real(*arguments)
        return replace(shaping, rewards=[table.roll(1, -1) for table in shaping.rewards])

    patch.setattr(update, "shape", late)


def frozen_critic(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    """What ``set_adapter`` does to the adapters that are not active."""
    switch = probe.trunk.roles._switch

    def flipping(name: str | None) -> None:
        switch(name)
        for tensor in probe.trunk.roles.parameters("value")[:-2]:
            tensor.requires_grad_(False)

    patch.setattr(probe.trunk.roles, "_switch", flipping)


class Meddler(Letters):
    """A reward that changes a tensor of the model."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __call__(self, examples: Sequence[Example], responses: Sequence[str]) -> list[Score]:
        self.tensor.data += 1e-3
        return super().__call__(examples, responses)


def drifting_trunk(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    probe.trainer.reward = Meddler(probe.trunk.model.get_input_embeddings().weight)


def drifting_bystander(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    probe.trunk.roles.add("rm-label", probe.config.lora, is_trainable=False)
    probe.trainer.reward = Meddler(probe.trunk.roles.parameters("rm-label")[0])


def idle_optimiser(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(probe.trainer.learner.optimizers["value"], "step", lambda: None)


def rounded_probabilities(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    """W[token] less a product of probabilities in bfloat16, as the gradient was worked out once."""

    def rounded(logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
        shares = torch.softmax(logits / temperature, -1).bfloat16().float()
        return shares - torch.nn.functional.one_hot(tokens, logits.shape[-1])

    patch.setattr("rewardlab.models.logprobs._shares_of_others", rounded)


def loss_per_micro_batch(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    real = learner.policy_loss

    def per_chunk(logprobs: Tensor, old: Tensor, advantages: Tensor, keep: Tensor, **given: Any) -> Any:
        return real(logprobs, old, advantages, keep, **{**given, "count": keep.sum()})

    patch.setattr(learner, "policy_loss", per_chunk)


def lossy_storage(probe: ProbeModel, patch: pytest.MonkeyPatch) -> None:
    state = probe.trunk.roles.state
    rounded = lambda name: {key: tensor.bfloat16().float() for key, tensor in state(name).items()}  # noqa: E731
    patch.setattr(probe.trunk.roles, "state", rounded)


FAULTS: list[tuple[Break, Callable[[ProbeModel], Finding], str]] = [
    (end_elsewhere, tokens.end_token, r"responses end with '<eos>' \(1\); generation stops at \[1, 7\]"),
    (end_as_padding, tokens.padding_token, r"pads with '<eos>' \(1\), in place of the tokenizer's 0"),
    (template_with_another_end, tokens.chat_template, r"behind the assistant's turn stands '<\|system\|>' \(4\)"),
    (template_with_another_beginning, tokens.chat_template, "does not begin as the prompt"),
    (two_beginnings, tokens.one_beginning, "2 of the first two tokens"),
    (lossy_tokenizer, tokens.round_trip, "changed: 'The film"),
    (bfloat16_adapters, forward.dtypes, "adapters .*bfloat16"),
    (infinite_weight, forward.dtypes, "some logits are not finite"),
    (trained_start, forward.start, "largest .log policy - log reference. "),
    (dropout, forward.ratio, "largest .ratio - 1. "),
    (no_positions, forward.padding_in_front, "5 columns move a log-probability"),
    (future_seen, forward.padding_behind, "5 columns move a log-probability"),
    (trained_start, forward.no_steps, "log-probabilities differ, responses differ"),
    (lossy_storage, forward.storage, "differing: policy, value"),
    (stale_sampler, sampling.greedy, "differ where two tokens are"),
    (shifted_cache, sampling.greedy, "differ where two tokens are"),
    (sharper_draws, sampling.law, "p = "),
    (top_k_draws, sampling.law, "p = "),
    (shifted_cache, sampling.measured, "largest difference of a log-probability"),
    (reward_one_late, update.reward_place, r"wrong in responses \["),
    (frozen_critic, update.gradients, "policy 4 of 4, value 2 of 6"),
    (frozen_critic, update.isolation, "6 of 10 trained tensors moved, 0 others"),
    (idle_optimiser, update.isolation, "4 of 10 trained tensors moved, 0 others"),
    (drifting_bystander, update.isolation, "10 of 10 trained tensors moved, 1 others"),
    (drifting_trunk, update.isolation, "10 of 10 trained tensors moved, 0 others"),
    (rounded_probabilities, update.output_gradient, r"least cosine with float64 0\.[0-8]\d+, at least 0.99"),
    (loss_per_micro_batch, update.micro_batches, "relative difference of the gradient"),
]


@pytest.mark.parametrize(("fault", "check", "expected"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_fault_is_found(
    probe: ProbeModel,
    monkeypatch: pytest.MonkeyPatch,
    fault: Break,
    check: Callable[[ProbeModel], Finding],
    expected: str,
) -> None:
    assert check(probe).outcome != "failed"
    fault(probe, monkeypatch)
    finding = check(probe)
    assert finding.outcome == "failed"
    assert re.search(expected, finding.text), finding.text


def test_every_check_has_a_fault() -> None:
    assert {check.run for check in CHECKS} == {check for _, check, _ in FAULTS}


def test_healing_sets_everything_back(probe: ProbeModel) -> None:
    start = [tensor.clone() for tensor in probe.trained()]
    probe.disturb()
    assert any(not torch.equal(old, new) for old, new in zip(start, probe.trained(), strict=True))
    probe.trainer.step(1)
    probe.heal()
    assert all(torch.equal(old, new) for old, new in zip(start, probe.trained(), strict=True))


class TestCommand:
    def test_a_sound_model(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = str(tiny_llama(tmp_path / "model"))
        assert cli.run(["doctor", "--model", folder, "--dtype", "float32", "--set", "model.max_prompt_tokens=96"]) == 0
        said = capsys.readouterr().out
        assert all(check.name in said for check in CHECKS)
        assert "19 passed, 1 skipped in" in said
        assert "failed" not in said

    def test_a_faulty_model(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        tokenizer = tiny_tokenizer()
        tokenizer.chat_template = str(tokenizer.chat_template).replace("{{ eos_token }}", "<|system|>")
        folder = str(tiny_llama(tmp_path / "model", tokenizer))
        assert cli.run(["doctor", "--model", folder, "--dtype", "float32", "--set", "model.max_prompt_tokens=96"]) == 1
        said = capsys.readouterr().out
        assert "1 failed" in said
        assert "chat template: failed: " in said

    def test_python_has_a_row_a_check(self, tmp_path: Path) -> None:
        tokenizer = tiny_tokenizer()
        tokenizer.chat_template = str(tokenizer.chat_template).replace("{{ eos_token }}", "<|system|>")
        settings = {"model.dtype": "float32", "model.max_prompt_tokens": 96}
        found = rl.Lab(model=tiny_llama(tmp_path / "model", tokenizer), settings=settings, quiet=True).doctor()
        assert found["check"].to_list() == [check.name for check in CHECKS]
        (named,) = (check for check in CHECKS if check.name == "chat template")
        failed = found.filter(outcome="failed").select("check", "claim", "advice")
        assert failed.rows() == [(named.name, named.claim, named.advice)]
        assert len(found.filter(outcome="passed")) == 18

    def test_an_error_of_ours_is_a_finding(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def broken(*_: object) -> None:
            raise ModelError("no such layer")

        monkeypatch.setattr("rewardlab.doctor.probe.roll_out", broken)
        folder = str(tiny_llama(tmp_path / "model"))
        assert cli.run(["doctor", "--model", folder, "--dtype", "float32", "--set", "model.max_prompt_tokens=96"]) == 1
        assert "no such layer" in capsys.readouterr().out

    def test_an_error_of_torch_is_a_finding(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A padding token without an embedding row: every check that pads meets an index out of range."""
        tokenizer = tiny_tokenizer()
        folder = tiny_llama(tmp_path / "model", tokenizer)
        tokenizer.add_special_tokens({"pad_token": "<new pad>"})
        tokenizer.save_pretrained(folder)
        given = ["--dtype", "float32", "--set", "model.max_prompt_tokens=96"]
        assert cli.run(["doctor", "--model", str(folder), *given]) == 1
        said = capsys.readouterr().out
        assert "IndexError: index" in said  # the table breaks the line here
        assert "pads with '<new pad>'" in said
        assert all(check.name in said for check in CHECKS)

    def test_no_such_model(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run(["doctor", "--model", "./nowhere"]) == 2
        assert "no such folder" in capsys.readouterr().err
