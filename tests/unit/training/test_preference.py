"""Training on pairs: what a step reads, does and reports; the reference; resume; refusals."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rewardlab.config_loading import NO_FILE, load_config
from rewardlab.disk import read_jsonl
from rewardlab.errors import RunFolderError, TrainingError
from rewardlab.functional.preference import PairLogprobs
from rewardlab.pipeline import Pipeline
from rewardlab.preference_config import DPOConfig, PreferenceConfig
from rewardlab.runs import RunFolder
from rewardlab.training.methods import TrainingMethod, methods
from rewardlab.training.pair_rows import PairRow, Reference, chunks_of
from rewardlab.training.preference import GLOSSARY, Sums, dpo_losses
from rewardlab.training.progress import FolderRecorder
from rewardlab.training.rm_evaluation import EncodedPair
from rewardlab.types import Pair
from tests.support.bandit import WORDS
from tests.support.models import tiny_gpt2, word_tokenizer
from tests.support.preference import metrics_of, preference_trainer, response_logprob, word_pair
from tests.support.training import EXAMPLES

PAIRS = [word_pair(example, WORDS[number % 6], WORDS[(number + 1) % 6]) for number, example in enumerate(EXAMPLES * 3)]
STEPS = {"steps": 5, "checkpoint_every": 2}
LONG: Mapping[str, Any] = {"model.max_new_tokens": 8}


def long_pairs() -> list[Pair]:
    """Responses of one to four words, so that rows of a chunk differ in length."""
    return [
        word_pair(example, " ".join(WORDS[: 1 + number % 4]), " ".join(WORDS[3 : 4 + number % 3]))
        for number, example in enumerate(EXAMPLES)
    ]


class Cut(Exception):
    """The interruption."""


class Cutting(FolderRecorder):
    """Raises when the metrics of a step have been written."""

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(RunFolder(folder / "run", "dpo", {}))
        self._step = step

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        super().emit(step, metrics)
        if step == self._step:
            raise Cut


def outcome(folder: Path) -> dict[str, Any]:
    """Everything a run leaves behind, times left out."""
    adapters = {
        name: load_file(folder / "run" / name / "adapter_model.safetensors") for name in ("adapter", "adapter-best")
    }
    weights = {name: {key: t.numpy().tobytes() for key, t in found.items()} for name, found in adapters.items()}
    return {"metrics": metrics_of(folder), "measures": list(read_jsonl(folder / "run" / "validation.jsonl")), **weights}


def test_a_step_reports_what_its_pairs_are_worth(tmp_path: Path) -> None:
    """The first step's numbers by hand, from the model's own logits; all pairs in one step, in two chunks."""
    trainer = preference_trainer(tmp_path, long_pairs(), LONG, steps=2, beta=0.3)
    pairs = list(zip(EXAMPLES, long_pairs(), strict=True))
    chosen = [response_logprob(trainer, example, pair.chosen, None) for example, pair in pairs]
    rejected = [response_logprob(trainer, example, pair.rejected, None) for example, pair in pairs]
    trainer.train()
    first, second = metrics_of(tmp_path)
    assert first["preference/loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["preference/chosen_logprob"] == pytest.approx(sum(chosen) / 8, abs=1e-4)
    assert first["preference/rejected_logprob"] == pytest.approx(sum(rejected) / 8, abs=1e-4)
    assert first["preference/margin"] == pytest.approx(0, abs=1e-4)
    assert first["preference/kl_k2"] == pytest.approx(0, abs=1e-6)
    assert second["preference/loss"] < first["preference/loss"] - 0.01
    assert second["preference/accuracy"] > 0.9
    assert second["preference/kl_k2"] > 1e-4
    moved = second["preference/chosen_logprob"] - first["preference/chosen_logprob"]
    moved -= second["preference/rejected_logprob"] - first["preference/rejected_logprob"]
    assert second["preference/margin"] == pytest.approx(moved, abs=1e-4)
    assert first["preference/accuracy"] == 0.5
    assert set(GLOSSARY) - {name for row in read_jsonl(tmp_path / "run" / "metrics.jsonl") for name in row} == {
        "time/validate_s"
    }


def test_the_policy_moves_and_the_trunk_does_not(tmp_path: Path) -> None:
    trainer = preference_trainer(tmp_path, PAIRS, steps=2)
    before, start = trainer.trunk.sha256(), [p.detach().clone() for p in trainer.parameters]
    result = trainer.train()
    assert result.trunk_sha256 == before == trainer.trunk.sha256()
    assert all(not torch.equal(old, new) for old, new in zip(start, trainer.parameters, strict=True))
    stored = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert sum(weights.numel() for weights in stored.values()) == sum(p.numel() for p in trainer.parameters)


def test_left_padding_does_not_change_log_probabilities(tmp_path: Path) -> None:
    """With learned positions, where a shift would show (pitfall 1 of docs/ppo.md)."""
    tiny_gpt2(tmp_path / "model", word_tokenizer(WORDS))
    trainer = preference_trainer(tmp_path, long_pairs(), {**LONG, "lora.targets": ["c_attn"]}, steps=1)
    (chunk,) = chunks_of(trainer.trunk, trainer.rows, range(8), 8)
    assert not bool(chunk.keep.all())
    with torch.no_grad():
        sums = trainer.actor.policy(chunk, role=None).logprobs.sum(-1).tolist()
    pairs = list(zip(EXAMPLES, long_pairs(), strict=True))
    expected = [response_logprob(trainer, *(pairs[place][0], pairs[place][1].chosen), None) for place in chunk.rows]
    expected += [response_logprob(trainer, *(pairs[place][0], pairs[place][1].rejected), None) for place in chunk.rows]
    assert sums == pytest.approx(expected, abs=1e-4)


def test_the_prompt_is_read_once_and_the_gradient_is_that_of_whole_rows(tmp_path: Path) -> None:
    """Against plain passes over single rows and -log sigmoid(beta x margin), written out."""
    trainer = preference_trainer(tmp_path, long_pairs(), LONG, beta=0.3, micro_batch=4)
    torch.nn.init.normal_(trainer.parameters[1], 0, 0.3)
    trainer.reference = Reference.computed(trainer.actor, trainer.rows, 8)
    [chunk, _] = chunks_of(trainer.trunk, trainer.rows, range(8), 4)
    read: list[int] = []
    table = trainer.trunk.model.get_input_embeddings()
    handle = table.register_forward_hook(lambda module, given, out: read.append(given[0].numel()))
    trainer._backward(chunk, 8, Sums(), is_first=False)
    handle.remove()
    assert read == [4 * chunk.width, 8 * (chunk.ids.shape[1] - chunk.width - 1)]

    loss = torch.zeros(())
    for place in chunk.rows:
        row, margin = trainer.rows[place], torch.zeros(())
        for sign, response in ((1, row.chosen), (-1, row.rejected)):
            for side, role in ((1, "policy"), (-1, None)):
                ids = torch.tensor([[*row.prompt, *response]])
                with trainer.trunk.roles.using(role):
                    logits = trainer.trunk.model(ids, use_cache=False).logits[0, len(row.prompt) - 1 : -1]
                taken = torch.log_softmax(logits, -1).gather(1, torch.tensor(response)[:, None])
                margin = margin + sign * side * taken.sum()
        loss = loss - torch.nn.functional.logsigmoid(0.3 * margin) / 8
    for parameter, expected in zip(trainer.parameters, torch.autograd.grad(loss, trainer.parameters), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=1e-6 + 1e-4 * float(expected.abs().max()))


def test_chunks_do_not_change_a_step(tmp_path: Path) -> None:
    """A mean over the step's pairs, however many lie in a chunk (pitfall 23 of docs/ppo.md): here 8, and 3 + 3 + 2."""
    found = []
    for size in (8, 3):
        folder = tmp_path / str(size)
        preference_trainer(folder, long_pairs(), LONG, steps=3, micro_batch=size).train()
        found.append(metrics_of(folder))
    for whole, cut in zip(*found, strict=True):
        assert cut == pytest.approx(whole, rel=1e-4, abs=1e-5)


def test_each_pass_reads_every_pair_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    trainer = preference_trainer(tmp_path, PAIRS, batch=10)
    places = [place for step in range(5) for place in trainer.places(step)]
    first, second = places[:24], places[24:48]
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second
    assert trainer.places(2) == places[20:30]


@pytest.mark.parametrize(
    ("settings", "steps"), [({}, 3), ({"epochs": 2.0}, 6), ({"batch": 7}, 4), ({"steps": 2, "epochs": 9.0}, 2)]
)
def test_epochs_become_steps(tmp_path: Path, settings: dict[str, Any], steps: int) -> None:
    """24 pairs, 8 a step."""
    assert preference_trainer(tmp_path, PAIRS, **settings).steps == steps


def test_the_result_says_what_was_read(tmp_path: Path) -> None:
    trainer = preference_trainer(tmp_path, PAIRS, steps=2, validate_every=0)
    result = trainer.train().to_json()
    places = [*trainer.places(0), *trainer.places(1)]
    # both responses of a pair have two tokens, a word and the end
    tokens = sum(2 * (len(trainer.trunk.codec.prompt_ids(EXAMPLES[place % 8])) + 2) for place in places)
    assert (result["steps"], result["updates"], result["pairs"], result["trained_tokens"]) == (2, 2, 16, tokens)
    assert (result["forward"], result["backward"]) == (2 * 24 + 2 * 16, 2 * 16)  # two sequences a pair
    assert result["forward"] == trainer.trunk.rows_read - 16  # the check of the first step reads its pairs once more
    assert (result["tokens"], result["responses"]) == (0, 0)  # nothing is generated
    assert result["prompts"] == len({place % 8 for place in places})
    assert result["validation"] is None


def test_the_best_policy_is_kept_beside_the_last(tmp_path: Path) -> None:
    """All answers are wrong at every measure, so that the first, the start, stays the best."""
    trainer = preference_trainer(tmp_path, PAIRS, steps=4, validate_every=2, validation=EXAMPLES)
    result = trainer.train()
    assert result.validation is not None
    assert [row["step"] for row in read_jsonl(tmp_path / "run" / "validation.jsonl")] == [0, 2, 4]
    assert result.validation["best"]["step"] == 0
    last, best = (
        load_file(tmp_path / "run" / name / "adapter_model.safetensors") for name in ("adapter", "adapter-best")
    )
    moved = [name for name in last if not torch.equal(last[name], best[name])]
    assert len(moved) == len(last)
    assert not any(weights.any() for name, weights in best.items() if "lora_B" in name)
    rows = metrics_of(tmp_path)
    assert [("validation/accuracy" in row) for row in rows] == [False, True, False, True]


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_resume_equals_the_run_without_interruption(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    whole = preference_trainer(straight, PAIRS, **STEPS, validation=EXAMPLES).train()
    first = preference_trainer(cut, PAIRS, **STEPS, validation=EXAMPLES, recorder=Cutting(cut, step))
    with pytest.raises(Cut):
        first.train()
    torch.manual_seed(99)  # a fresh process has another generator state
    monkeypatch.setattr(Reference, "computed", lambda *_: pytest.fail("the reference was computed again"))
    taken: list[int] = []
    second = preference_trainer(cut, PAIRS, **STEPS, validation=EXAMPLES)
    take = second.step
    monkeypatch.setattr(second, "step", lambda step: (taken.append(step), take(step)))
    result = second.train()
    assert taken == list(range((step - 1) // 2 * 2, 5))  # no stored step is repeated
    assert outcome(cut) == outcome(straight)
    assert result.trained_tokens == whole.trained_tokens > 0


def test_a_damaged_reference_is_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    preference_trainer(tmp_path / "one", PAIRS, steps=2).train()
    trainer = preference_trainer(tmp_path / "two", PAIRS, steps=2)
    file = tmp_path / "two" / "run" / "checkpoints" / "reference.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"torn")
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert "reference.safetensors cannot be used" in caplog.text
    assert metrics_of(tmp_path / "two") == metrics_of(tmp_path / "one")


def test_the_reference_of_another_model_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = preference_trainer(tmp_path, PAIRS, steps=2)
    file = tmp_path / "reference.safetensors"
    kept = Reference.kept(file, trainer.actor, "one", trainer.rows, 4)
    assert torch.equal(torch.cat([*kept._chosen]), load_file(file)["chosen"])
    with caplog.at_level(logging.WARNING):
        Reference.kept(file, trainer.actor, "other", trainer.rows, 4)
    assert "of another model" in caplog.text


def test_a_checkpoint_of_other_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        preference_trainer(tmp_path, PAIRS, **STEPS, recorder=Cutting(tmp_path, 3)).train()
    with pytest.raises(RunFolderError, match="differs in pairs"):
        preference_trainer(tmp_path, PAIRS[::-1], **STEPS).train()


def test_a_policy_that_is_not_its_reference_at_the_start_is_refused(tmp_path: Path) -> None:
    trainer = preference_trainer(tmp_path, PAIRS, steps=1)
    for parameter in trainer.parameters:
        parameter.data.normal_()
    with pytest.raises(TrainingError, match="differs from its reference"):
        trainer.train()


def test_no_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no pairs"):
        preference_trainer(tmp_path, [])


def test_a_gradient_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    trainer = preference_trainer(tmp_path, PAIRS, steps=1)
    trainer.parameters[0].register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(TrainingError, match=r"step 1: the gradient is not finite; lower dpo\.lr"):
        trainer.train()


def test_a_row_knows_where_its_responses_begin(tmp_path: Path) -> None:
    trainer = preference_trainer(tmp_path, long_pairs(), LONG)
    codec, pair = trainer.trunk.codec, long_pairs()[2]
    prompt = codec.prompt_ids(EXAMPLES[2])
    encoded = EncodedPair(pair, prompt + codec.response_ids(pair.chosen), prompt + codec.response_ids(pair.rejected))
    row = PairRow.of(encoded, codec)
    assert row == PairRow(prompt, codec.response_ids("good bad yes"), codec.response_ids("maybe no perhaps"))
    assert row.chosen[-1] == row.rejected[-1] == codec.eos_id
    assert row.tokens == 2 * len(prompt) + 4 + 4


def test_robust_without_a_rate_is_not_taken_for_sigmoid(tmp_path: Path) -> None:
    trainer = preference_trainer(tmp_path, PAIRS, steps=1, loss="robust")
    with pytest.raises(TrainingError, match="needs a flip rate"):
        trainer.train()
    pairs = PairLogprobs(*(torch.full((1,), number) for number in (-1.0, -2.0, -1.5, -1.5, 2.0, 2.0)))
    # margin 1, beta 0.1: L = ln(1 + e^-0.1) = 0.644397, L(-m) = 0.744397; (0.8 * 0.644397 - 0.2 * 0.744397) / 0.6
    found = dpo_losses(pairs, DPOConfig(loss="robust", flip_rate=0.2))
    assert float(found) == pytest.approx(0.611063, abs=1e-5)


def test_a_flip_rate_needs_the_robust_loss() -> None:
    with pytest.raises(ValueError, match=r"flip_rate = 0\.1 is for loss = robust alone"):
        DPOConfig(flip_rate=0.1)
    assert DPOConfig(loss="robust", flip_rate=0.1).flip_rate == 0.1
    assert DPOConfig.model_validate({"loss": "robust", "flip_rate": "auto"}).flip_rate is None
    with pytest.raises(ValueError, match=r"flip_rate\n.*less than 0\.5"):
        DPOConfig(loss="robust", flip_rate=0.5)


class PlainConfig(PreferenceConfig):
    """Of a method that another package brings."""

    weight: float = 1.0


def chosen_likelihood(pairs: PairLogprobs, section: PlainConfig) -> torch.Tensor:
    """Raises chosen responses and does not look at rejected ones."""
    return -section.weight * pairs.chosen


def test_another_package_brings_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first step minus twice the mean log-probability of the chosen responses."""
    method = TrainingMethod("plain", "Plain", "likelihood", "preference", PlainConfig, f"{__name__}:chosen_likelihood")
    monkeypatch.setitem(methods._entries, "plain", method)
    trainer = preference_trainer(tmp_path, PAIRS, method="plain", steps=8, weight=2.0)
    assert method.needs == ("pairs",)
    trainer.train()
    rows = metrics_of(tmp_path)
    assert rows[0]["preference/loss"] == pytest.approx(-2 * rows[0]["preference/chosen_logprob"], rel=1e-5)
    assert rows[-1]["preference/chosen_logprob"] > rows[0]["preference/chosen_logprob"] + 0.3
    stage = Pipeline(load_config({"init": "base", "methods.plain.pairs": "ranked"}, NO_FILE), tmp_path).train("plain")
    assert stage.title == "Plain on ranked pairs of sandbox-sentiment"
    assert stage.settings["method_code"] == {"plain": method.code_hash()}
