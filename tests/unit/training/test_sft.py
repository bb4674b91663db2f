"""Supervised fine-tuning on a tiny random model: what the loss covers, what is dropped, what is stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rewardlab.config import RunConfig
from rewardlab.disk import read_jsonl
from rewardlab.errors import DataError, TrainingError
from rewardlab.models import load_codec, load_trunk
from rewardlab.models.output import OutputHead
from rewardlab.runs import RunFolder
from rewardlab.tasks.task import prompt_of, tasks
from rewardlab.training import sft_trainer
from rewardlab.training.answer_loss import IGNORED, takes_own_loss
from rewardlab.training.memory import Longest
from rewardlab.training.sft import encode_rows, train_sft
from rewardlab.training.trl_run import check_trainable, plan_steps, remove_dropout
from rewardlab.types import Example
from tests.support.models import tiny_gpt2, tiny_llama, tiny_tokenizer

WORDS = {"positive": ("good", "fine", "great"), "negative": ("bad", "dull", "poor")}
EXAMPLES = [
    Example("mr", f"{label}-{i}", {"text": f"the film is {words[i % 3]} {i}"}, label)
    for label, words in WORDS.items()
    for i in range(8)
]
RATIONALES = {(e.task, e.id): f"it is {e.fields['text'].split()[3]}" for e in EXAMPLES}
TEXTS = [f"{prompt_of(e)} {RATIONALES[e.task, e.id]}\n\n The answer is: {e.label}" for e in EXAMPLES]


def make_config(model: Path, **sections: object) -> RunConfig:
    """A configuration for the tiny model; keyword arguments replace whole sections."""
    base = {
        "model": {"name": str(model), "device": "cpu", "dtype": "float32", "max_prompt_tokens": 64},
        "sft": {"lr": 1e-2, "epochs": 10, "batch": 8, "micro_batch": 8},
        "lora": {"rank": 4, "alpha": 8},
    }
    return RunConfig.model_validate(base | sections)


def open_folder(path: Path) -> RunFolder:
    folder = RunFolder(path, "sft", {})
    folder.open()
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "llama", tiny_tokenizer(TEXTS))


def test_labels_cover_the_answer_and_its_end_and_nothing_else(llama: Path) -> None:
    codec = load_codec(make_config(llama).model)
    row = encode_rows(codec, EXAMPLES[:1], RATIONALES, budget=50).rows[0]
    kept = [label for label in row["labels"] if label != IGNORED]
    prompt = len(row["input_ids"]) - len(kept)
    assert row["labels"][:prompt] == [IGNORED] * prompt
    assert row["input_ids"][prompt:] == kept
    assert codec.decode(kept) == "it is good\n\n The answer is: positive"
    assert kept[-1] == codec.eos_id
    assert codec.eos_id not in kept[:-1]
    assert codec.decode(row["input_ids"][:prompt]) == prompt_of(EXAMPLES[0])


def test_bare_format_has_no_rationale(llama: Path) -> None:
    codec = load_codec(make_config(llama).model)
    bare = replace(EXAMPLES[0], format="label")
    row = encode_rows(codec, [bare], None, budget=50).rows[0]
    assert codec.decode([label for label in row["labels"] if label != IGNORED]) == "positive"


def test_another_word_is_learned_where_it_is_given_and_the_reader_is_not_told(llama: Path) -> None:
    codec = load_codec(make_config(llama).model)
    bare = [replace(example, format="label") for example in (EXAMPLES[0], EXAMPLES[-1])]

    def learned(words: dict[str, dict[str, str]]) -> list[str]:
        rows = encode_rows(codec, bare, None, 50, words).rows
        return [codec.decode([label for label in row["labels"] if label != IGNORED]) for row in rows]

    assert learned({"mr": {"negative": "No"}}) == ["positive", "No"]
    assert learned({"sst2": {"negative": "No"}}) == learned({}) == ["positive", "negative"]
    assert tasks.get("mr").parse("No", "label").value is None


def test_dropped_rows_are_counted_by_reason(llama: Path) -> None:
    codec = load_codec(make_config(llama).model)
    unlabelled = replace(EXAMPLES[0], label=None)
    stranger = replace(EXAMPLES[0], id="stranger")
    answer = len(codec.response_ids("it is good\n\n The answer is: positive"))
    at_budget = encode_rows(codec, [EXAMPLES[0], unlabelled, stranger], RATIONALES, budget=answer)
    assert len(at_budget.rows) == 1
    assert at_budget.dropped == {"no_label": 1, "no_rationale": 1, "too_long": 0}
    below = encode_rows(codec, [EXAMPLES[0]], RATIONALES, budget=answer - 1)
    assert below.rows == []
    assert below.dropped["too_long"] == 1


def test_training_on_nothing_says_so(llama: Path, tmp_path: Path) -> None:
    config = make_config(llama)
    codec = load_codec(config.model)
    longest = len(codec.response_ids("it is good\n\n The answer is: positive"))
    short = config.model_copy(update={"model": config.model.model_copy(update={"max_new_tokens": 2})})
    rows = [EXAMPLES[0], replace(EXAMPLES[0], label=None), *(replace(EXAMPLES[0], id=name) for name in ("a", "b"))]
    with pytest.raises(DataError) as told:
        train_sft(open_folder(tmp_path / "run"), short, rows, RATIONALES)
    assert str(told.value) == (
        "no labelled row is left to train on: of 4, 1 have no label; 2 have no rationale (annotate.limit, "
        f"annotate.filter_threshold); 1 have an answer of more than 2 tokens (the longest has {longest}: give --set "
        f"model.max_new_tokens={longest}, or another --model)"
    )
    with pytest.raises(DataError, match="no labelled row is left to train on: there are none"):
        train_sft(open_folder(tmp_path / "empty"), short, [])


def test_rows_that_are_left_out_are_told(llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = make_config(llama, sft={"epochs": 0.1})
    long = {**RATIONALES, (EXAMPLES[0].task, EXAMPLES[0].id): "it is good " * 500}
    train_sft(open_folder(tmp_path / "run"), config, EXAMPLES, long)
    told = f"SFT on {len(EXAMPLES) - 1} of {len(EXAMPLES)} rows; left out: 1 have an answer of more than "
    [record] = [record for record in caplog.records if record.message.startswith(told)]
    assert record.levelname == "WARNING"


def test_first_loss_is_the_mean_over_answer_tokens_alone(llama: Path, tmp_path: Path) -> None:
    """The first batch holds all rows, so its loss is a plain mean that can be worked out from the base model."""
    config = make_config(llama, sft={"lr": 1e-2, "epochs": 1, "batch": 16, "micro_batch": 16})
    result = train_sft(open_folder(tmp_path / "run"), config, EXAMPLES, RATIONALES)
    trunk = load_trunk(config.model)
    nats, tokens = 0.0, 0
    for example in EXAMPLES:
        answer = trunk.codec.response_ids(f"{RATIONALES[example.task, example.id]}\n\n The answer is: {example.label}")
        prompt = trunk.codec.prompt_ids(example)
        logits = trunk.model(torch.tensor([prompt + answer])).logits[0].float()
        for position, token in enumerate(answer, len(prompt) - 1):
            nats -= torch.log_softmax(logits[position], -1)[token].item()
            tokens += 1
    assert result["loss"]["first"] == pytest.approx(nats / tokens, rel=1e-5)
    assert result["tokens"] == sum(
        len(row["input_ids"]) for row in encode_rows(trunk.codec, EXAMPLES, RATIONALES, 256).rows
    )


def test_loss_falls_and_the_stored_adapter_answers_better(llama: Path, tmp_path: Path) -> None:
    config = make_config(llama, sft={"lr": 2e-2, "epochs": 30, "batch": 16, "micro_batch": 16})
    folder = open_folder(tmp_path / "run")
    result = train_sft(folder, config, EXAMPLES, RATIONALES)
    assert result["rows"] == 16
    assert result["steps"] == 30
    assert result["loss"]["last"] < result["loss"]["first"] - 1
    rows = list(read_jsonl(folder.path / "metrics.jsonl"))
    assert [row["step"] for row in rows] == list(range(1, 31))
    assert rows[0]["sft/loss"] == result["loss"]["first"]
    assert rows[-1]["sft/token_accuracy"] > rows[0]["sft/token_accuracy"]
    ids = torch.tensor([encode_rows(load_codec(config.model), EXAMPLES[:1], RATIONALES, 50).rows[0]["input_ids"]])
    before = load_trunk(config.model).model(ids, labels=ids).loss
    merged = load_trunk(config.model, folder.path / "adapter").model(ids, labels=ids).loss
    assert merged < before


def test_only_the_adapter_is_stored_and_the_trunk_is_untouched(llama: Path, tmp_path: Path) -> None:
    weights = (llama / "model.safetensors").read_bytes()
    config = make_config(llama)
    untouched = load_trunk(config.model).sha256()
    folder = open_folder(tmp_path / "run")
    result = train_sft(folder, config, EXAMPLES, RATIONALES)
    folder.finish(result)
    assert result["trunk"] == untouched
    assert (llama / "model.safetensors").read_bytes() == weights
    files = sorted(path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file())
    assert files == [
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "config.json",
        "metrics.jsonl",
        "provenance.json",
        "result.json",
    ]
    state = load_file(folder.path / "adapter" / "adapter_model.safetensors")
    # 2 layers x (q, v) x (A, B), rank 4 of width 32; every B has left its start at zero
    assert sorted({tuple(tensor.shape) for tensor in state.values()}) == [(4, 32), (32, 4)]
    assert len(state) == 8
    assert all(tensor.abs().max() > 0 for tensor in state.values())


def test_same_seed_gives_the_same_adapter_and_another_seed_another(llama: Path, tmp_path: Path) -> None:
    def adapter(name: str, seed: int) -> dict[str, torch.Tensor]:
        folder = open_folder(tmp_path / name)
        train_sft(folder, make_config(llama, seed=seed, sft={"epochs": 2, "batch": 8}), EXAMPLES, RATIONALES)
        return load_file(folder.path / "adapter" / "adapter_model.safetensors")

    first, again, other = adapter("first", 1), adapter("again", 1), adapter("other", 2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_one_batch_of_eight_equals_four_micro_batches_of_two(llama: Path, tmp_path: Path) -> None:
    """The answers differ in length, so a mean of micro-batch means would not pass (pitfall 23 of docs/ppo.md)."""
    lengthened = {key: text + " and fine" * (index % 4) for index, (key, text) in enumerate(RATIONALES.items())}
    losses = []
    for micro in (8, 2):
        folder = open_folder(tmp_path / str(micro))
        section = {"lr": 1e-2, "epochs": 2, "batch": 8, "micro_batch": micro}
        train_sft(folder, make_config(llama, sft=section), EXAMPLES, lengthened)
        losses.append([row["sft/loss"] for row in read_jsonl(folder.path / "metrics.jsonl")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_loss_and_gradients_are_those_of_trl(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss that skips unlabelled positions against TRL's own, over the same four steps and micro-batches."""
    section = {"lr": 1e-2, "epochs": 2, "batch": 8, "micro_batch": 4}

    def rows(name: str) -> list[dict[str, float]]:
        folder = open_folder(tmp_path / name)
        train_sft(folder, make_config(llama, sft=section), EXAMPLES, RATIONALES)
        return list(read_jsonl(folder.path / "metrics.jsonl"))

    ours = rows("ours")
    monkeypatch.delattr("rewardlab.training.sft_trainer._Trainer.compute_loss")
    for mine, theirs in zip(ours, rows("trl"), strict=True):
        for name in ("sft/loss", "sft/grad_norm"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4)
        # TRL averages these over micro-batches, here they are averaged over tokens
        for name in ("sft/entropy", "sft/token_accuracy"):
            assert mine[name] == pytest.approx(theirs[name], abs=0.02)


def test_gpt2_trains_without_dropout(tmp_path: Path) -> None:
    """GPT-2 has dropout 0.1 by default: with it, the loss of a fixed batch at learning rate ~0 would vary."""
    model = tiny_gpt2(tmp_path / "gpt2", tiny_tokenizer(TEXTS, chat=False, pad="<eos>"))
    section = {"lr": 1e-12, "epochs": 3, "batch": 16, "micro_batch": 16, "warmup": 0}
    folder = open_folder(tmp_path / "run")
    train_sft(folder, make_config(model, sft=section), EXAMPLES, RATIONALES)
    losses = [row["sft/loss"] for row in read_jsonl(folder.path / "metrics.jsonl")]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


def test_plan_counts_steps_by_hand() -> None:
    section = make_config(Path("x"), sft={"epochs": 2.5, "batch": 20, "micro_batch": 8, "warmup": 0.25}).sft
    plan = plan_steps(section, 90)
    # 90 rows in batches of 20 are 5 steps an epoch; 2.5 epochs are 12.5, so 13; the largest divisor of 20 up to 8 is 5
    assert (plan.micro_batch, plan.accumulation, plan.steps, plan.warmup) == (5, 4, 13, 3)


def test_fewer_rows_than_a_batch_are_one_step_an_epoch() -> None:
    section = make_config(Path("x"), sft={"epochs": 3, "batch": 64, "micro_batch": 8, "warmup": 0.0}).sft
    plan = plan_steps(section, 61)
    assert (plan.micro_batch, plan.accumulation, plan.steps, plan.warmup) == (8, 8, 3, 0)


def test_a_loss_that_is_not_finite_stops_the_run(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiplied by no number: on some processors the loss stays finite at any learning rate."""
    finite = sft_trainer._Trainer.compute_loss
    monkeypatch.setattr(sft_trainer._Trainer, "compute_loss", lambda *a, **b: finite(*a, **b) * float("nan"))
    folder = open_folder(tmp_path / "run")
    with pytest.raises(TrainingError, match="expected a finite number"):
        train_sft(folder, make_config(llama), EXAMPLES, RATIONALES)
    assert not (folder.path / "adapter").exists()


def test_a_trainable_parameter_outside_the_role_is_refused(llama: Path) -> None:
    config = make_config(llama)
    trunk = load_trunk(config.model)
    trunk.roles.add("sft", config.lora)
    check_trainable(trunk.model, trunk.roles.parameters("sft"))
    next(trunk.model.parameters()).requires_grad_(True)
    with pytest.raises(TrainingError, match="against the plan"):
        check_trainable(trunk.model, trunk.roles.parameters("sft"))


def test_the_adapter_moves_by_its_rate(llama: Path, tmp_path: Path) -> None:
    """B starts at 0; an update moves a weight by its rate at most, or a little more (pitfall 27 of docs/ppo.md)."""
    folder = open_folder(tmp_path / "run")
    train_sft(folder, make_config(llama, sft={"lr": 1e-4, "epochs": 5, "batch": 8}), EXAMPLES, RATIONALES)
    rates = sum(row["sft/lr"] for row in read_jsonl(folder.path / "metrics.jsonl"))
    state = load_file(folder.path / "adapter" / "adapter_model.safetensors")
    assert 0.1 * rates < max(float(t.abs().max()) for name, t in state.items() if "lora_B" in name) < 10 * rates


def test_dropout_of_the_adapter_draws_while_it_trains_and_never_after(llama: Path, tmp_path: Path) -> None:
    """The first loss is that of the base model, for B is 0; from then on dropout changes what the adapter learns."""

    def run(name: str, **sft: object) -> tuple[list[float], dict[str, torch.Tensor]]:
        folder = open_folder(tmp_path / name)
        config = make_config(llama, sft={"lr": 1e-2, "epochs": 2, "batch": 8, **sft})
        train_sft(folder, config, EXAMPLES, RATIONALES)
        losses = [row["sft/loss"] for row in read_jsonl(folder.path / "metrics.jsonl")]
        return losses, load_file(folder.path / "adapter" / "adapter_model.safetensors")

    plain, dropped, again = run("plain"), run("dropped", dropout=0.5), run("again", dropout=0.5)
    assert dropped[0] == again[0]
    assert all(torch.equal(dropped[1][key], again[1][key]) for key in dropped[1])
    assert dropped[0][0] == pytest.approx(plain[0][0], abs=1e-6)
    assert abs(dropped[0][-1] - plain[0][-1]) > 1e-3

    trunk = load_trunk(make_config(llama).model)
    trunk.roles.load("policy", tmp_path / "dropped" / "adapter")
    ids = torch.tensor([trunk.codec.prompt_ids(EXAMPLES[0])])
    kept = torch.ones_like(ids, dtype=torch.bool)
    assert torch.equal(trunk.hidden(ids, kept, "policy"), trunk.hidden(ids, kept, "policy"))


def test_remove_dropout_reaches_modules_and_plain_rates(tmp_path: Path) -> None:
    layer = torch.nn.Sequential(torch.nn.Dropout(0.3))
    layer.attention_dropout = 0.2
    remove_dropout(layer)
    assert layer[0].p == 0.0
    assert layer.attention_dropout == 0.0


def test_trls_fused_layer_is_for_plain_logits_on_cuda() -> None:
    layer = torch.nn.Linear(2, 3)
    for head, device, expected in (
        (OutputHead(layer), "cuda", False),
        (OutputHead(layer, scale=0.5), "cuda", True),
        (OutputHead(layer, cap=30.0), "cuda", True),
        (OutputHead(layer), "cpu", True),
    ):
        trunk: Any = SimpleNamespace(head=head, device=torch.device(device))
        assert takes_own_loss(trunk) is expected


def layer_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts how often a layer of a Llama runs, by its attention; a layer itself that is patched saves no memory."""
    from transformers.models.llama.modeling_llama import LlamaAttention

    runs, original = [0], LlamaAttention.forward

    def forward(self: Any, *given: Any, **named: Any) -> Any:
        runs[0] += torch.is_grad_enabled()
        return original(self, *given, **named)

    monkeypatch.setattr(LlamaAttention, "forward", forward)
    return runs


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_recomputed_activations_change_no_number(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    """Every layer runs again in the backward pass, with the dropout that it had."""
    runs, metrics, counts = layer_runs(monkeypatch), [], []
    for saves in (False, True):
        sft = {"lr": 1e-2, "epochs": 2, "batch": 8, "micro_batch": 4, "dropout": dropout}
        folder = open_folder(tmp_path / str(saves))
        train_sft(folder, make_config(llama, sft={**sft, "gradient_checkpointing": saves}), EXAMPLES, RATIONALES)
        metrics.append(list(read_jsonl(folder.path / "metrics.jsonl")))
        counts.append(runs[0])
    assert len(metrics[0]) == 4
    assert metrics[1] == [pytest.approx(row, rel=1e-5, abs=1e-6) for row in metrics[0]]
    assert counts[1] - counts[0] == 2 * counts[0] > 0


def test_trl_s_own_loss_recomputes_activations_too(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rewardlab.training.sft_trainer.takes_own_loss", lambda trunk: False)
    runs = layer_runs(monkeypatch)
    for saves in (False, True):
        sft = {"lr": 1e-2, "epochs": 1, "batch": 16, "micro_batch": 16, "gradient_checkpointing": saves}
        train_sft(open_folder(tmp_path / str(saves)), make_config(llama, sft=sft), EXAMPLES, RATIONALES)
    assert runs[0] == 2 + 2 * 2  # one step through two layers, then each of them twice


def test_a_micro_batch_from_free_memory_takes_the_same_steps(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where three rows fit, two of a step of eight are read at a time."""
    seen: list[Longest] = []

    def room(kind: str, config: RunConfig, trunk: Any, longest: Longest) -> int:
        seen.append(longest)
        return 3

    metrics = []
    for auto in (False, True):
        if auto:
            monkeypatch.setattr("rewardlab.training.sft.training_batch", room)
        sft = {"lr": 1e-2, "epochs": 1, "batch": 8, "micro_batch": "auto" if auto else 8}
        folder = open_folder(tmp_path / str(auto))
        train_sft(folder, make_config(llama, sft=sft), EXAMPLES, RATIONALES)
        metrics.append(list(read_jsonl(folder.path / "metrics.jsonl")))
    codec = load_codec(make_config(llama).model)
    rows = encode_rows(codec, EXAMPLES, RATIONALES, budget=256).rows
    answers = [sum(label != IGNORED for label in row["labels"]) for row in rows]
    prompts = [len(row["labels"]) - answer for row, answer in zip(rows, answers, strict=True)]
    assert seen == [Longest(max(prompts), max(answers))]
    assert metrics[1] == [pytest.approx(row, rel=1e-4, abs=1e-5) for row in metrics[0]]
